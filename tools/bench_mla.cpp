// bench_mla [threads] [isa]: MLA's absorbed and expanded form timed beside each other, for a prompt's part of n tokens
// after `depth` earlier ones: where Engine's kMlaExpandedMin comes from. One layer, from the queries to the heads'
// outputs (what both forms share is left out), best of several. Not a test. Run it on a quiet machine.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "dsr1/backend/cpu.h"
#include "dsr1/ops/ops.h"

namespace {

using namespace dsr1;
using ops::Mat;
using Clock = std::chrono::steady_clock;

struct Shape {
  const char* name;
  ops::MlaDims dims;
  DType type;
  bool split;  // attn_k_b and attn_v_b, or the joined attn_kv_b
};

constexpr int64_t kMaxRows = 512, kMaxContext = 4096 + kMaxRows;

class Bench {
 public:
  static Result<Bench> create(const Shape& shape, const std::string& isa, int n_threads) {
    Bench b;
    const ops::MlaDims& d = b.dims_ = shape.dims;
    const int64_t row = d.kv_lora_rank + d.rope, heads = d.n_head;
    ops::Limits l;
    l.max_rows = kMaxRows;
    l.max_in = row;
    l.n_head = heads;
    l.n_head_kv = 1;
    l.k_dim = row;
    l.v_dim = d.kv_lora_rank;
    l.n_ctx = kMaxContext;
    l.n_embd = d.kv_lora_rank;
    l.mla = d;
    DSR1_TRY(b.ops_, backend::make_cpu(isa, n_threads, l));

    const auto tensor = [&](int64_t rows, int64_t cols) -> Result<TensorView> {
      TensorView v;
      v.dtype = shape.type;
      v.n_dims = 2;
      v.dims = {rows, cols, 0, 0};
      DSR1_TRY(Buffer memory, Buffer::allocate(v.bytes(), "weights"));
      std::memset(memory.data(), 0x2c, memory.size());  // normal numbers in every type
      v.data = memory.data();
      b.memory_.push_back(std::move(memory));
      return v;
    };
    if (shape.split) {
      DSR1_TRY(b.k_, tensor(heads * d.kv_lora_rank, d.nope));
      DSR1_TRY(b.v_, tensor(heads * d.v_head, d.kv_lora_rank));
      b.weights_ = {
          {&b.k_, d.n_head, 0, d.kv_lora_rank, d.kv_lora_rank}, {&b.v_, d.n_head, 0, d.v_head, d.v_head}, true};
    } else {
      const int64_t both = d.nope + d.v_head;
      DSR1_TRY(b.k_, tensor(heads * both, d.kv_lora_rank));
      b.weights_ = {{&b.k_, d.n_head, 0, both, d.nope}, {&b.k_, d.n_head, d.nope, both, d.v_head}, false};
    }

    const auto mat = [&](Mat* m, int64_t rows, int64_t cols) -> Status {
      DSR1_TRY(Buffer memory, Buffer::allocate(static_cast<size_t>(rows * cols) * sizeof(float), "activations"));
      *m = {memory.as<float>(), rows, cols, cols};
      for (int64_t i = 0; i < rows * cols; ++i) m->data[i] = static_cast<float>(i % 251) / 125.0f - 1.0f;
      b.memory_.push_back(std::move(memory));
      return {};
    };
    DSR1_TRY_STATUS(mat(&b.q_, kMaxRows, heads * (d.nope + d.rope)));
    DSR1_TRY_STATUS(mat(&b.q_latent_, kMaxRows, heads * row));
    DSR1_TRY_STATUS(mat(&b.latent_, kMaxRows, heads * d.kv_lora_rank));
    DSR1_TRY_STATUS(mat(&b.out_, kMaxRows, heads * d.v_head));
    DSR1_TRY_STATUS(mat(&b.scratch_.latent, ops::kMlaBlock, row));
    DSR1_TRY_STATUS(mat(&b.scratch_.k, heads * ops::kMlaBlock, d.nope + d.rope));
    DSR1_TRY_STATUS(mat(&b.scratch_.v, heads * ops::kMlaBlock, d.v_head));
    DSR1_TRY_STATUS(mat(&b.scratch_.state, kMaxRows, heads * 2));

    DSR1_TRY(Buffer cache, Buffer::allocate(row_bytes(DType::kF16, row) * kMaxContext, "the cache"));
    std::memset(cache.data(), 0x2c, cache.size());
    b.cache_.k = cache.data();
    b.cache_.n_head_kv = 1;
    b.cache_.k_dim = static_cast<int>(row);
    b.cache_.v_dim = d.kv_lora_rank;
    b.cache_.n_ctx = kMaxContext;
    b.memory_.push_back(std::move(cache));
    return b;
  }

  // Milliseconds of one layer's attention.
  double time(int64_t n, int64_t depth, bool expanded) {
    std::vector<int32_t> ids(static_cast<size_t>(n), 0), positions(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) positions[static_cast<size_t>(i)] = static_cast<int32_t>(depth + i);
    const ops::Segment segment[] = {{&cache_, static_cast<int32_t>(depth), static_cast<int32_t>(n), expanded}};
    const ops::Batch batch{ids, positions, segment, nullptr};
    double best = 1e9, spent = 0;
    for (int i = 0; i < 20 && (i < 2 || spent < 150); ++i) {
      const auto begin = Clock::now();
      expanded ? expanded_form(batch, n) : absorbed_form(batch, n);
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
      best = std::min(best, ms);
      spent += ms;
    }
    return best;
  }

 private:
  static constexpr float kScale = 0.05f;

  // As src/model/arch/deepseek2.cpp.
  void absorbed_form(const ops::Batch& batch, int64_t n) {
    const ops::MlaDims& d = dims_;
    const int64_t rank = d.kv_lora_rank, row = rank + d.rope, head = d.nope + d.rope;
    const Mat q = q_.first_rows(n), qc = q_latent_.first_rows(n), u = latent_.first_rows(n);
    weights_.k_transposed ? ops_->linear_heads(weights_.k, q, head, qc, row)
                          : ops_->linear_heads_transposed(weights_.k, q, head, qc, row);
    ops_->copy_heads(q.col_range(d.nope, q.cols - d.nope), head, qc.col_range(rank, qc.cols - rank), row, d.n_head,
                     d.rope);
    ops_->attention(batch, 0, qc, d.n_head, kScale, u);
    ops_->linear_heads(weights_.v, u, rank, out_.first_rows(n), d.v_head);
  }
  void expanded_form(const ops::Batch& batch, int64_t n) {
    ops_->mla_attention_expanded(batch, 0, weights_, dims_, q_.first_rows(n), kScale, scratch_, out_.first_rows(n));
  }

  ops::MlaDims dims_;
  std::unique_ptr<ops::Ops> ops_;
  std::vector<Buffer> memory_;
  TensorView k_, v_;
  ops::MlaWeights weights_;  // points at k_ and v_: set again after a move
  Mat q_, q_latent_, latent_, out_;
  ops::MlaScratch scratch_;
  ops::KvLayerView cache_;

 public:
  void rebind() {
    weights_.k.weight = &k_;
    weights_.v.weight = weights_.k_transposed ? &v_ : &k_;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int n_threads = argc > 1 ? std::max(std::atoi(argv[1]), 1) : 2;
  const std::string isa = argc > 2 ? argv[2] : "auto";
  const Shape shapes[] = {
      {"16 heads, split Q8_0", {16, 512, 128, 64, 128}, DType::kQ8_0, true},
      {"16 heads, joined Q4_K", {16, 512, 128, 64, 128}, DType::kQ4_K, false},
      {"128 heads (R1), split Q8_0", {128, 512, 128, 64, 128}, DType::kQ8_0, true},
      {"128 heads (R1), joined Q4_K", {128, 512, 128, 64, 128}, DType::kQ4_K, false},
  };
  std::printf("| shape | earlier tokens | n | absorbed, ms | expanded, ms | absorbed / expanded |\n");
  std::printf("|---|--:|--:|--:|--:|--:|\n");
  for (const Shape& shape : shapes) {
    auto bench = Bench::create(shape, isa, n_threads);
    if (!bench) return std::fprintf(stderr, "bench_mla: %s\n", bench.error().text().c_str()), 1;
    bench->rebind();
    for (const int64_t depth : {0, 512, 4096}) {
      for (const int64_t n : {1, 8, 32, 64, 96, 128, 192, 256, 512}) {
        if (depth == 4096 && (n < 32 || n > 256)) continue;  // a minute is enough
        const double absorbed = bench->time(n, depth, false), expanded = bench->time(n, depth, true);
        std::printf("| %s | %ld | %ld | %.2f | %.2f | %.2f |\n", shape.name, static_cast<long>(depth),
                    static_cast<long>(n), absorbed, expanded, absorbed / expanded);
        std::fflush(stdout);
      }
    }
  }
  return 0;
}
