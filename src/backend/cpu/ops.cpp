// The CPU backend's Ops: cuts each op into ranges for the thread pool and calls the kernel table. All arithmetic that
// decides a result is in the kernels; nothing here depends on how the work was cut.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "dsr1/backend/cpu.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/ops/kv_rows.h"
#include "kernels.h"
#include "upcoming.h"

namespace dsr1::backend {
namespace {

using cpu::ActFormat;
using cpu::CpuKernels;
using cpu::Matrix;
using ops::Batch;
using ops::HeadedWeight;
using ops::KvLayerView;
using ops::Linear;
using ops::Mat;
using ops::Segment;

constexpr int64_t kAlign = 64;
int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

Matrix matrix(const TensorView& w) {
  return {w.data, static_cast<uint32_t>(w.dtype), w.rows(), w.cols(), static_cast<int64_t>(w.row_size()), w.scale_inv};
}

// Columns [begin, end) of a matrix of whole blocks.
Matrix columns(const TensorView& w, Range cols) {
  Matrix m = matrix(w);
  m.data = w.data + row_bytes(w.dtype, cols.begin);
  m.cols = cols.end - cols.begin;
  m.continues = cols.begin > 0;
  return m;
}

// Columns of a matrix that many rows of activations meet at a time: a multiple of every block. Of 512 rows they are 2
// MB, which a core keeps in its L2 cache or finds in the L3.
constexpr int64_t kColumns = 2048;

// Tokens of one attention task during prefill: enough query rows to reuse each K row, few enough to balance threads.
constexpr int64_t kAttentionTokens = 16;

// Rows of a transposed matrix turned together.
constexpr int64_t kTurned = 16;

// Experts asked for ahead of their use where they are paged: enough to keep a disk's queue full (R1's take 25 MB each),
// few enough that memory keeps them until they are used.
constexpr int64_t kExpertsAhead = 16;

// Starts reading a matrix that lies in a mapped file; faults would fetch it a few pages at a time, each waited for. The
// system cuts one request to the disk's read-ahead, often 128 KiB, hence the steps.
void read_ahead(const TensorView& w) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  constexpr uintptr_t kStep = uintptr_t{128} << 10;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(w.data), end = begin + w.bytes();
  for (uintptr_t at = begin / page * page; at < end; at += kStep)
    madvise(reinterpret_cast<void*>(at), std::min(kStep, end - at), MADV_WILLNEED);
}

class CpuOps final : public ops::Ops {
 public:
  CpuOps(const CpuKernels& kernels, int n_threads, const ops::Limits& limits)
      : k_(kernels), limits_(limits), upcoming_(n_threads), pool_(n_threads) {
    pool_.set_idle([](void* u, int thread, int step) { static_cast<cpu::Upcoming*>(u)->fetch(thread, step); },
                   &upcoming_);
    name_ =
        std::string("cpu (") + k_.name + ", " + std::to_string(n_threads) + (n_threads == 1 ? " thread)" : " threads)");
  }

  // Workspace: [activations | expert activations | per thread scratch].
  Status plan() {
    const int64_t rows = std::max<int64_t>(limits_.max_rows, ops::kMlaBlock);
    acts_bytes_ = 0;
    for (ActFormat f : cpu::kActFormats)
      acts_bytes_ = std::max(acts_bytes_, aligned(static_cast<int64_t>(k_.activation_bytes(f, limits_.max_in, rows))));
    if (limits_.n_expert > 0) {
      active_.reserve(static_cast<size_t>(limits_.n_expert));
      const int64_t pairs = limits_.max_rows * limits_.n_expert_used, active = std::min(limits_.n_expert, pairs);
      const int64_t widest = std::max(limits_.n_embd, limits_.n_ff_exp);
      for (ActFormat f : cpu::kActFormats) {
        // Each expert's activations are padded to the kernels' column groups (at most 16).
        const auto all = static_cast<int64_t>(k_.activation_bytes(f, widest, pairs));
        const auto group = static_cast<int64_t>(k_.activation_bytes(f, widest, 16));
        expert_bytes_ = std::max(expert_bytes_, aligned(all) + active * aligned(group));
      }
    }
    thread_bytes_ = aligned(static_cast<int64_t>(k_.matmul_scratch_bytes()));
    thread_bytes_ = std::max(thread_bytes_,
                             aligned(static_cast<int64_t>(k_.attention_scratch_bytes(limits_.k_dim, limits_.v_dim))));
    if (limits_.mla.n_head > 0) {
      const ops::MlaDims& d = limits_.mla;
      // linear_heads: one head's activations and the matmul scratch; transposed: one row, or one head's tile.
      const int64_t widest = std::max(d.kv_lora_rank, d.nope);
      int64_t head = 0;
      for (ActFormat f : cpu::kActFormats)
        head = std::max(head, aligned(static_cast<int64_t>(k_.activation_bytes(f, widest, rows))));
      head += thread_bytes_ + aligned(int64_t{d.kv_lora_rank} * d.nope * 4) + aligned(kTurned * widest * 4);
      // mla_attention_expanded: partial sums of kAttentionTokens rows beside the attention scratch.
      const int64_t expanded = aligned(static_cast<int64_t>(k_.attention_scratch_bytes(d.nope + d.rope, d.v_head))) +
                               kAttentionTokens * k_.attention_partial_floats(d.v_head) * 4;
      thread_bytes_ = std::max({thread_bytes_, head, aligned(expanded)});
    }
    if (split_context()) {
      partials_bytes_ = aligned((limits_.n_ctx / cpu::kAttentionSegment + 1) * limits_.n_head *
                                k_.attention_partial_floats(limits_.v_dim) * 4);
    }
    DSR1_TRY(workspace_, Buffer::allocate(static_cast<size_t>(acts_bytes_ + expert_bytes_ + partials_bytes_ +
                                                              thread_bytes_ * pool_.n_threads()),
                                          "the CPU workspace"));
    return {};
  }

  const char* name() const override { return name_.c_str(); }
  size_t workspace_bytes(const ops::HostExperts& /*host*/) const override { return workspace_.size(); }
  void expect_paging() override { paging_ = true; }
  void on_threads(int64_t n, void (*f)(void* context, int64_t i), void* context) override {
    pool_.parallel_for(n, [&](int64_t i, int) { f(context, i); });
  }

  void embed(const TensorView& table, std::span<const int32_t> tokens, Mat out) override {
    const Matrix m = matrix(table);
    rows_parallel(static_cast<int64_t>(tokens.size()), 16,
                  [&](int64_t r) { k_.dequantize_row(m, tokens[static_cast<size_t>(r)], out.row(r)); });
  }

  void rms_norm(Mat x, const float* weight, int64_t n, float eps, Mat out) override {
    rows_parallel(x.rows, 4, [&](int64_t r) {
      for (int64_t g = 0; g < x.cols; g += n) k_.rms_norm(x.row(r) + g, weight, n, eps, out.row(r) + g);
    });
  }

  void linear(Mat x, std::span<const Linear> jobs) override {
    for (ActFormat f : cpu::kActFormats) {
      if (f != ActFormat::kFloat && x.rows > kFewRows && x.cols > kColumns) {
        linear_in_pieces(f, x, jobs);
        continue;
      }
      int64_t n_parts = 0;
      for (const Linear& j : jobs) n_parts += format(*j.weight) == f ? parts(*j.weight, x.rows) : 0;
      if (n_parts == 0) continue;
      // Where a part of this call begins in memory.
      const auto address = [&](int64_t part) -> const std::byte* {
        for (const Linear& j : jobs) {
          if (format(*j.weight) != f) continue;
          const int64_t n = parts(*j.weight, x.rows);
          if (part < n) return j.weight->data + part_range(*j.weight, x.rows, part).begin * row_stride(*j.weight);
          part -= n;
        }
        return nullptr;
      };
      const bool few = x.rows <= kFewRows;
      if (few) upcoming_.begin(jobs[0].weight->data, n_parts, address);
      std::byte* acts = workspace_.data();
      prepare(f, x.data, x.stride, nullptr, x.cols, x.rows, acts);
      pool_.parallel_for(n_parts, [&](int64_t part, int t) {
        const void* next = few ? upcoming_.after(part, n_parts, t, address) : address(part + 1);
        for (const Linear& j : jobs) {
          if (format(*j.weight) != f) continue;
          const int64_t n = parts(*j.weight, x.rows);
          if (part < n) {
            Matrix m = matrix(*j.weight);
            m.next = next;
            return multiply(m, j.bias, acts, x.rows, j.out, part_range(*j.weight, x.rows, part), t);
          }
          part -= n;
        }
      });
    }
  }

  void linear_heads(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) override {
    const ActFormat f = format(*w.weight);
    const auto first_row = [&](int64_t h) { return w.first_row + h * w.head_rows; };
    const auto address = [&](int64_t h) { return w.weight->data + first_row(h) * row_stride(*w.weight); };
    const bool few = x.rows <= kFewRows;
    if (few) upcoming_.begin(address(0), w.n_head, address);
    pool_.parallel_for(w.n_head, [&](int64_t h, int t) {
      std::byte* scratch = thread_scratch(t);
      std::byte* acts = scratch + aligned(static_cast<int64_t>(k_.matmul_scratch_bytes()));
      k_.prepare_activations(f, x.data + h * x_stride, x.stride, nullptr, w.cols(), x.rows, acts, 0,
                             k_.activation_units(f, w.cols(), x.rows));
      Matrix all = matrix(*w.weight);
      if (few) all.next = upcoming_.after(h, w.n_head, t, address);
      const int64_t first = first_row(h);
      // matmul writes y[r] for weight row r of the whole tensor: shift y so that this head's rows land at its place.
      k_.matmul(all, first, first + w.n_rows, acts, x.rows, out.data + h * out_stride - first, out.stride, scratch);
    });
  }

  // One weight row at a time, y += x_i * W[i]: reads the weights once for all rows of the batch, in file order.
  void linear_heads_transposed(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) override {
    const Matrix all = matrix(*w.weight);
    const int64_t cols = w.cols();
    pool_.parallel_for(w.n_head, [&](int64_t h, int t) {
      float* row = reinterpret_cast<float*>(thread_scratch(t));
      for (int64_t r = 0; r < x.rows; ++r) std::fill_n(out.row(r) + h * out_stride, cols, 0.0f);
      for (int64_t i = 0; i < w.n_rows; ++i) {
        k_.dequantize_row(all, w.first_row + h * w.head_rows + i, row);
        for (int64_t r = 0; r < x.rows; ++r)
          k_.scale_add(row, x.row(r)[h * x_stride + i], cols, out.row(r) + h * out_stride);
      }
    });
  }

  void rope_angles(const ops::RopeTable& table, std::span<const int32_t> positions, Mat cos_sin) override {
    const auto half = static_cast<int64_t>(table.freq.size());
    rows_parallel(static_cast<int64_t>(positions.size()), 4, [&](int64_t r) {
      float* y = cos_sin.row(r);
      for (int64_t i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(positions[static_cast<size_t>(r)]) * table.freq[static_cast<size_t>(i)];
        y[i] = static_cast<float>(std::cos(angle) * table.magnitude);
        y[half + i] = static_cast<float>(std::sin(angle) * table.magnitude);
      }
    });
  }

  void rope(Mat x, int n_head, int64_t head_stride, ops::RopePairing pairing, Mat cos_sin) override {
    const int64_t half = cos_sin.cols / 2;
    auto turn = pairing == ops::RopePairing::kNeox ? k_.rope_neox : k_.rope_norm;
    rows_parallel(x.rows, 8, [&](int64_t r) {
      const float* cs = cos_sin.row(r);
      for (int h = 0; h < n_head; ++h) turn(x.row(r) + h * head_stride, cs, cs + half, half);
    });
  }

  void kv_append(const Batch& batch, int layer, Mat k, Mat v) override {
    int64_t first = 0;
    for (const Segment& s : batch.segments) {
      const KvLayerView& kv = s.kv[layer];
      rows_parallel(s.n_rows, 16, [&](int64_t i) {
        const int64_t r = first + i;
        for (int h = 0; h < kv.n_head_kv; ++h) {
          k_.store_row(static_cast<uint32_t>(kv.k_type), k.row(r) + h * kv.k_dim, kv.k_dim, kv.k_row(h, s.pos + i));
          if (v.data != nullptr)
            k_.store_row(static_cast<uint32_t>(kv.v_type), v.row(r) + h * kv.v_dim, kv.v_dim, kv.v_row(h, s.pos + i));
        }
      });
      first += s.n_rows;
    }
  }

  void attention(const Batch& batch, int layer, Mat q, int n_head, float scale, Mat out) override {
    if (split_context() && batch.n_rows() == 1) return attention_split(batch, layer, q, n_head, scale, out);
    // Tasks: (segment, KV head or slice of query heads, run of tokens), the longest contexts first.
    const KvLayerView& shape = batch.segments[0].kv[layer];
    const int64_t group = n_head / shape.n_head_kv;
    const int64_t slices = shape.n_head_kv == 1 ? std::min<int64_t>(group, pool_.n_threads()) : 1;
    int64_t n_runs = 0;
    for (const Segment& s : batch.segments) n_runs += (s.n_rows + kAttentionTokens - 1) / kAttentionTokens;
    const int64_t heads = shape.n_head_kv * slices, n_tasks = n_runs * heads;
    pool_.parallel_for(n_tasks, [&](int64_t task, int t) {
      {
        int64_t run = n_runs - 1 - task / heads, first_row = 0;
        const int64_t hk = task % heads / slices, slice = task % slices;
        const Segment* s = batch.segments.data();
        for (;; ++s) {
          const int64_t n = (s->n_rows + kAttentionTokens - 1) / kAttentionTokens;
          if (run < n) break;
          run -= n;
          first_row += s->n_rows;
        }
        const int64_t token = run * kAttentionTokens, n_tokens = std::min(kAttentionTokens, s->n_rows - token);
        const Range h = split_range(group, 1, static_cast<int>(slice), static_cast<int>(slices));
        const KvLayerView& kv = s->kv[layer];
        const int64_t head = hk * group + h.begin;
        cpu::Attention a = attention_of(kv, static_cast<int>(hk));
        a.q = q.row(first_row + token) + head * kv.k_dim;
        a.q_token_stride = q.stride;
        a.q_head_stride = kv.k_dim;
        a.n_tokens = n_tokens;
        a.n_heads = h.end - h.begin;
        a.pos0 = s->pos + token;
        a.scale = scale;
        k_.attention(a, out.row(first_row + token) + head * kv.v_dim, out.stride, kv.v_dim, thread_scratch(t));
      }
    });
  }

  void mla_attention_expanded(const Batch& batch, int layer, const ops::MlaWeights& w, const ops::MlaDims& d, Mat q,
                              float scale, const ops::MlaScratch& s, Mat out) override {
    const int64_t qk = d.nope + d.rope;
    const int64_t partial_floats = k_.attention_partial_floats(d.v_head);
    const int64_t attention_scratch = aligned(static_cast<int64_t>(k_.attention_scratch_bytes(qk, d.v_head)));
    int64_t first = 0;
    for (const Segment& seg : batch.segments) {
      const KvLayerView& kv = seg.kv[layer];
      const int64_t n_keys = seg.pos + seg.n_rows;
      for (int64_t begin = 0; begin < n_keys; begin += ops::kMlaBlock) {
        // Keys and values of this block of positions, for all heads: K [head][position][nope | rope].
        const int64_t n = std::min<int64_t>(ops::kMlaBlock, n_keys - begin);
        const Mat latent = s.latent.first_rows(n);
        rows_parallel(n, 16, [&](int64_t i) {
          k_.load_row(static_cast<uint32_t>(kv.k_type), kv.k_row(0, begin + i), kv.k_dim, latent.row(i));
        });
        const Mat c = latent.col_range(0, d.kv_lora_rank);
        const Mat keys{s.k.data, n, d.nope, s.k.stride}, values{s.v.data, n, d.v_head, s.v.stride};
        w.k_transposed ? expand_transposed(w.k, c, keys, ops::kMlaBlock * s.k.stride)
                       : linear_heads(w.k, c, 0, keys, ops::kMlaBlock * s.k.stride);
        linear_heads(w.v, c, 0, values, ops::kMlaBlock * s.v.stride);
        pool_.parallel_for(d.n_head, [&](int64_t h, int t) {
          std::byte* scratch = thread_scratch(t);
          float* partials = reinterpret_cast<float*>(scratch + attention_scratch);
          {
            float* kh = s.k.data + h * ops::kMlaBlock * s.k.stride;
            for (int64_t i = 0; i < n; ++i)
              std::memcpy(kh + i * s.k.stride + d.nope, latent.row(i) + d.kv_lora_rank,
                          static_cast<size_t>(d.rope) * 4);
            cpu::Attention a{};
            a.type = static_cast<uint32_t>(DType::kF32);
            a.k_row_bytes = s.k.stride * 4;
            a.v_row_bytes = s.v.stride * 4;
            a.k_dim = qk;
            a.v_dim = d.v_head;
            // The kernel addresses keys by absolute position.
            a.k = kh - begin * s.k.stride;
            a.v = s.v.data + h * ops::kMlaBlock * s.v.stride - begin * s.v.stride;
            a.q_token_stride = q.stride;
            a.n_heads = 1;
            a.scale = scale;
            const int64_t from = std::max<int64_t>(begin - seg.pos, 0);  // earlier tokens do not see this block
            for (int64_t token = from; token < seg.n_rows; token += kAttentionTokens) {
              a.n_tokens = std::min<int64_t>(kAttentionTokens, seg.n_rows - token);
              a.q = q.row(first + token) + h * qk;
              a.pos0 = seg.pos + token;
              k_.attention_segment(a, begin / cpu::kAttentionSegment, partials, scratch);
              for (int64_t i = 0; i < a.n_tokens; ++i) {
                const int64_t r = first + token + i;
                merge(partials + i * partial_floats, d.v_head, begin == 0, s.state.row(r) + 2 * h,
                      out.row(r) + h * d.v_head);
              }
            }
          }
        });
      }
      rows_parallel(seg.n_rows, 4, [&](int64_t i) {
        for (int64_t h = 0; h < d.n_head; ++h) {
          const float inverse = 1.0f / s.state.row(first + i)[2 * h + 1];
          float* o = out.row(first + i) + h * d.v_head;
          for (int64_t j = 0; j < d.v_head; ++j) o[j] *= inverse;
        }
      });
      first += seg.n_rows;
    }
  }

  void route(Mat logits, const float* bias, const ops::RouterParams& p, int32_t* ids, Mat weights) override {
    rows_parallel(logits.rows, 8, [&](int64_t r) {
      ops::route_rows(logits.row_range(r, 1), bias, p, ids + r * p.n_expert_used, weights.row_range(r, 1));
    });
  }

  void swiglu(Mat gate, Mat up, Mat out) override {
    rows_parallel(gate.rows, 1, [&](int64_t r) { k_.swiglu(gate.row(r), up.row(r), gate.cols, out.row(r)); });
  }

  void copy_rows(Mat x, std::span<const int32_t> rows, Mat out) override {
    for (size_t i = 0; i < rows.size(); ++i)
      std::memcpy(out.row(static_cast<int64_t>(i)), x.row(rows[i]), static_cast<size_t>(x.cols) * 4);
  }

  void copy_heads(Mat x, int64_t x_stride, Mat out, int64_t out_stride, int n_head, int64_t n) override {
    rows_parallel(x.rows, 16, [&](int64_t r) {
      for (int h = 0; h < n_head; ++h)
        std::memcpy(out.row(r) + h * out_stride, x.row(r) + h * x_stride, static_cast<size_t>(n) * 4);
    });
  }

  void add(Mat a, Mat b, Mat out) override {
    rows_parallel(a.rows, 8, [&](int64_t r) { k_.add(a.row(r), b.row(r), a.cols, out.row(r)); });
  }

  // With many rows: kColumns of the hidden layer at a time are made, gated and quantized while a core's cache holds
  // them, and go into out, which continues; the next are made in the same pass. gate's memory holds a tile for each
  // thread.
  void ffn(Mat x, const ops::FfnWeights& w, Mat gate, Mat up, Mat out, const std::atomic<bool>* cut) override {
    constexpr int64_t kTile = cpu::kRowGrain;
    const ActFormat in = format(w.gate), made_as = format(w.down);
    const int64_t unit = made_as == ActFormat::kInt8Blocks ? 256 : 32, made_rows = std::max(kTile, unit);
    const int64_t n = x.rows, n_ff = w.gate.rows();
    const int64_t in_bytes = aligned(static_cast<int64_t>(k_.activation_bytes(in, x.cols, n)));
    const int64_t column_bytes = 2 * static_cast<int64_t>(k_.activation_bytes(made_as, 256, n)) / 256;
    const int64_t step = std::min(kColumns, (acts_bytes_ - in_bytes - 2 * kAlign) / column_bytes / 256 * 256);
    // Parts of a piece for each thread, at least; with fewer some would wait for others at its end.
    constexpr int64_t kPartsEach = 4;
    if (n <= kFewColumns || std::min(step, n_ff) < kPartsEach * made_rows * pool_.n_threads() ||
        gate.stride < (2 * kTile + made_rows) * pool_.n_threads() || n_ff % made_rows != 0 || in == ActFormat::kFloat ||
        format(w.up) != in || made_as == ActFormat::kFloat)
      return Ops::ffn(x, w, gate, up, out, cut);
    const int64_t piece_bytes = aligned(static_cast<int64_t>(k_.activation_bytes(made_as, step, n)));
    std::byte* pieces = workspace_.data() + in_bytes;
    prepare(in, x.data, x.stride, nullptr, x.cols, n, workspace_.data());
    const int64_t out_parts = (out.cols + kTile - 1) / kTile, n_pieces = (n_ff + step - 1) / step;
    const auto piece = [&](int64_t i) { return Range{i * step, std::min(n_ff, (i + 1) * step)}; };
    for (int64_t i = 0; i <= n_pieces; ++i) {
      if (cut != nullptr && cut->load(std::memory_order_relaxed)) return;
      // Into out goes the piece before this one.
      const int64_t last_parts = i > 0 ? out_parts : 0;
      const Range cols = piece(i);
      const int64_t width = cols.end - cols.begin, units = width / unit;
      std::byte* made = pieces + i % 2 * piece_bytes;
      const std::byte* before = pieces + (i + 1) % 2 * piece_bytes;
      // Those of gate and up take several times as long as those of down: they come first, so that what is left when
      // some thread finds nothing more is short.
      const int64_t made_parts = i < n_pieces ? width / made_rows : 0;
      std::atomic<int64_t> taken{0};
      pool_.parallel_for(made_parts + last_parts, [&](int64_t, int t) {
        const int64_t part = taken.fetch_add(1, std::memory_order_relaxed);
        if (part >= made_parts) {
          const int64_t first = (part - made_parts) * kTile;
          const Range r{first, std::min(out.cols, first + kTile)};
          Matrix down = columns(w.down, piece(i - 1));
          down.next = static_cast<const std::byte*>(down.data) + r.end * down.row_bytes;
          return multiply(down, nullptr, before, n, out, r, t);
        }
        const int64_t first = part * made_rows;
        float *g = gate.data + (2 * kTile + made_rows) * t * n, *u = g + n * kTile, *h = u + n * kTile;
        for (int64_t at = 0; at < made_rows; at += kTile) {
          const int64_t r = cols.begin + first + at;
          Matrix gate_rows = matrix(w.gate), up_rows = matrix(w.up);
          gate_rows.next = w.up.data + r * up_rows.row_bytes;
          up_rows.next = w.gate.data + (r + kTile) * gate_rows.row_bytes;
          k_.matmul(gate_rows, r, r + kTile, workspace_.data(), n, g - r, kTile, thread_scratch(t));
          k_.matmul(up_rows, r, r + kTile, workspace_.data(), n, u - r, kTile, thread_scratch(t));
          for (int64_t c = 0; c < n; ++c) k_.swiglu(g + c * kTile, u + c * kTile, kTile, h + c * made_rows + at);
        }
        for (int64_t j = first / unit; j < k_.activation_units(made_as, width, n); j += units)
          k_.prepare_activations(made_as, h - first, made_rows, nullptr, width, n, made, j, j + made_rows / unit);
      });
    }
  }

  // Gate and up, then down, cut inside every expert, so that one token's eight experts keep all threads reading; then
  // the weighted sum in the order of ids.
  void moe_ffn(Mat x, const ops::ExpertWeights& e, const int32_t* ids, Mat weights, const ops::MoeScratch& s,
               Mat out) override {
    const int64_t used = weights.cols, pairs = x.rows * used, n_expert = static_cast<int64_t>(e.gate.size());
    // Counting sort of (row, k) pairs by expert. order[slot] is the row, slot[pair] where the pair went; both live in
    // s.slot's and s.x's memory (s.x is not needed: activations are gathered while they are prepared).
    int32_t* order = reinterpret_cast<int32_t*>(s.x.data);
    std::fill_n(s.offsets, n_expert + 1, 0);
    for (int64_t i = 0; i < pairs; ++i) ++s.offsets[ids[i] + 1];
    for (int64_t i = 0; i < n_expert; ++i) s.offsets[i + 1] += s.offsets[i];
    for (int64_t i = 0; i < pairs; ++i) {
      const int32_t slot = s.offsets[ids[i]]++;
      s.slot[i] = slot;
      order[slot] = static_cast<int32_t>(i / used);
    }
    const ActFormat gate_format = format(e.gate[0]), down_format = format(e.down[0]);
    const bool same = format(e.up[0]) == gate_format;
    if (!same) return Ops::moe_ffn(x, e, ids, weights, s, out);
    const int64_t n_embd = x.cols, n_ff = e.gate[0].rows();
    active_.clear();
    for (int64_t i = 0, begin = 0; i < n_expert; ++i) {
      const int64_t n = s.offsets[i] - begin;
      if (n > 0) active_.push_back({static_cast<size_t>(i), begin, n, nullptr});
      begin += n;
    }
    const auto n_active = static_cast<int64_t>(active_.size());
    const auto ask = [&](int64_t i, bool gate_and_up, bool down) {
      if (!paging_ || i >= n_active) return;
      const size_t expert = active_[static_cast<size_t>(i)].expert;
      if (gate_and_up) {
        read_ahead(e.gate[expert]);
        read_ahead(e.up[expert]);
      }
      if (down) read_ahead(e.down[expert]);
    };
    const bool few_experts = n_active <= kExpertsAhead;
    for (int64_t i = 0; i < kExpertsAhead; ++i) ask(i, true, few_experts);
    place_activations(gate_format, n_embd);
    const bool few = pairs <= 16;  // then the copies are not worth waking others for
    if (x.rows == 1)               // every expert reads the same row
      for (ActiveExpert& a : active_) a.acts = active_[0].acts;
    for_each(x.rows == 1 ? 1 : n_active, few, [&](int64_t i, int) {
      const ActiveExpert& a = active_[static_cast<size_t>(i)];
      k_.prepare_activations(gate_format, x.data, x.stride, order + a.begin, n_embd, a.n, a.acts, 0,
                             k_.activation_units(gate_format, n_embd, a.n));
    });
    // All experts have the same shapes. What a thread reads after a part: the other matrix, the next part.
    const int64_t per_expert = pairs / n_active, ff_parts = parts(e.gate[0], per_expert),
                  ff_tasks = n_active * ff_parts;
    const auto part_address = [&](std::span<const TensorView> matrices, int64_t task, int64_t n) -> const std::byte* {
      const TensorView& w = matrices[active_[static_cast<size_t>(task / n)].expert];
      return w.data + part_range(w, per_expert, task % n).begin * row_stride(w);
    };
    const auto gate_address = [&](int64_t task) { return part_address(e.gate, task, ff_parts); };
    const int64_t embd_parts = parts(e.down[0], per_expert), embd_tasks = n_active * embd_parts;
    const auto down_address = [&](int64_t task) { return part_address(e.down, task, embd_parts); };
    const bool fetch = x.rows <= kFewRows;
    // Most experts of a prompt have few rows: what such a part waits for is memory.
    const auto after = [&](int64_t task, int64_t n, int t, const auto& address) -> const std::byte* {
      if (fetch) return upcoming_.after(task, n, t, address);
      return task + 1 < n ? address(task + 1) : nullptr;
    };
    if (fetch) upcoming_.will_be(embd_tasks, down_address);
    pool_.parallel_for(ff_tasks, [&](int64_t task, int t) {
      if (task % ff_parts == 0) ask(task / ff_parts + kExpertsAhead, true, false);
      const ActiveExpert& a = active_[static_cast<size_t>(task / ff_parts)];
      const Range r = part_range(e.gate[a.expert], per_expert, task % ff_parts);
      float *g = s.gate.row(a.begin), *up = s.up.row(a.begin);
      Matrix gate = matrix(e.gate[a.expert]), other = matrix(e.up[a.expert]);
      gate.next = part_address(e.up, task, ff_parts);
      other.next = after(task, ff_tasks, t, gate_address);
      k_.matmul(gate, r.begin, r.end, a.acts, a.n, g, s.gate.stride, thread_scratch(t));
      k_.matmul(other, r.begin, r.end, a.acts, a.n, up, s.up.stride, thread_scratch(t));
      for (int64_t c = 0; c < a.n; ++c) {
        float* y = g + c * s.gate.stride + r.begin;
        k_.swiglu(y, up + c * s.up.stride + r.begin, r.end - r.begin, y);
      }
    });
    place_activations(down_format, n_ff);
    for_each(n_active, few, [&](int64_t i, int) {
      const ActiveExpert& a = active_[static_cast<size_t>(i)];
      k_.prepare_activations(down_format, s.gate.row(a.begin), s.gate.stride, nullptr, n_ff, a.n, a.acts, 0,
                             k_.activation_units(down_format, n_ff, a.n));
    });
    for (int64_t i = 0; i < kExpertsAhead; ++i) ask(i, false, !few_experts);
    if (fetch) upcoming_.begin(e.down[0].data, embd_tasks, down_address);
    pool_.parallel_for(embd_tasks, [&](int64_t task, int t) {
      if (task % embd_parts == 0) ask(task / embd_parts + kExpertsAhead, false, true);
      const ActiveExpert& a = active_[static_cast<size_t>(task / embd_parts)];
      const Range r = part_range(e.down[a.expert], per_expert, task % embd_parts);
      Matrix down = matrix(e.down[a.expert]);
      down.next = after(task, embd_tasks, t, down_address);
      k_.matmul(down, r.begin, r.end, a.acts, a.n, s.down.row(a.begin), s.down.stride, thread_scratch(t));
    });
    rows_parallel(x.rows, 4, [&](int64_t row) {
      float* y = out.row(row);
      std::fill_n(y, n_embd, 0.0f);
      for (int64_t i = 0; i < used; ++i)
        k_.scale_add(s.down.row(s.slot[row * used + i]), weights.row(row)[i], n_embd, y);
    });
  }

 private:
  ActFormat format(const TensorView& w) const { return k_.activation_format(static_cast<uint32_t>(w.dtype)); }
  std::byte* thread_scratch(int t) {
    return workspace_.data() + acts_bytes_ + expert_bytes_ + partials_bytes_ + t * thread_bytes_;
  }

  static int64_t row_stride(const TensorView& w) { return static_cast<int64_t>(w.row_size()); }

  // Rows of a matrix are handed out in parts: several a thread, so that one that is held up leaves work to the others.
  // With few rows of activations, where memory decides, parts are small (they end together) but not below
  // kPartBytes (a microsecond or two of reading); with many they are whole kRowGrains, for the panels. The parts never
  // decide a result.
  static constexpr int64_t kFewRows = 8, kFewColumns = 32, kFewGrain = 16, kPartBytes = 32 << 10;
  int64_t part_rows(const TensorView& w, int64_t n) const {
    const bool few = n <= kFewRows;
    const int64_t grain = few ? kFewGrain : cpu::kRowGrain;
    int64_t rows = w.rows() / (16 * pool_.n_threads());
    if (few) rows = std::max(rows, kPartBytes / row_stride(w));
    return std::max<int64_t>(1, (rows + grain - 1) / grain) * grain;
  }
  int64_t parts(const TensorView& w, int64_t n) const { return (w.rows() + part_rows(w, n) - 1) / part_rows(w, n); }
  Range part_range(const TensorView& w, int64_t n, int64_t part) const {
    const int64_t rows = part_rows(w, n);
    return {part * rows, std::min(w.rows(), (part + 1) * rows)};
  }

  // With many rows the activations of a wide matrix are more than the caches hold, and each part of the rows would read
  // them all from memory: kColumns at a time go through all parts instead.
  void linear_in_pieces(ActFormat f, Mat x, std::span<const Linear> jobs) {
    int64_t n_parts = 0;
    for (const Linear& j : jobs) n_parts += format(*j.weight) == f ? parts(*j.weight, x.rows) : 0;
    if (n_parts == 0) return;
    for (int64_t begin = 0; begin < x.cols; begin += kColumns) {
      const Range cols{begin, std::min(x.cols, begin + kColumns)};
      prepare(f, x.data + begin, x.stride, nullptr, cols.end - begin, x.rows, workspace_.data());
      pool_.parallel_for(n_parts, [&](int64_t part, int t) {
        for (const Linear& j : jobs) {
          if (format(*j.weight) != f) continue;
          const int64_t n = parts(*j.weight, x.rows);
          if (part < n) {
            Matrix m = columns(*j.weight, cols);
            const Range rows = part_range(*j.weight, x.rows, part);
            m.next = static_cast<const std::byte*>(m.data) + rows.end * m.row_bytes;
            return multiply(m, cols.end == x.cols ? j.bias : nullptr, workspace_.data(), x.rows, j.out, rows, t);
          }
          part -= n;
        }
      });
    }
  }

  // One part of out = W acts + bias.
  void multiply(const Matrix& m, const float* bias, const std::byte* acts, int64_t n, Mat out, Range r, int t) {
    k_.matmul(m, r.begin, r.end, acts, n, out.data, out.stride, thread_scratch(t));
    if (bias == nullptr) return;
    for (int64_t c = 0; c < n; ++c) k_.add(out.row(c) + r.begin, bias + r.begin, r.end - r.begin, out.row(c) + r.begin);
  }

  void prepare(ActFormat f, const float* x, int64_t ldx, const int32_t* index, int64_t k, int64_t n, std::byte* acts) {
    constexpr int64_t kRun = 4096;  // elements: a microsecond or two, about what telling another thread takes
    const int64_t units = k_.activation_units(f, k, n), run = std::max<int64_t>(1, kRun * units / (k * n));
    for_each((units + run - 1) / run, /*alone=*/k * n <= 3 * kRun, [&](int64_t i, int) {
      k_.prepare_activations(f, x, ldx, index, k, n, acts, i * run, std::min(units, (i + 1) * run));
    });
  }

  // f(i, thread) for i in 0..n-1: on all threads, or on this one alone.
  template <class F>
  void for_each(int64_t n, bool alone, F f) {
    if (alone) {
      for (int64_t i = 0; i < n; ++i) f(i, 0);
    } else {
      pool_.parallel_for(n, f);
    }
  }

  // f(row) for all rows, in runs of `at_least`; by this thread alone where there are too few to pay for waking others.
  template <class F>
  void rows_parallel(int64_t n, int64_t at_least, F f) {
    for_each((n + at_least - 1) / at_least, n < at_least * 2, [&](int64_t run, int) {
      for (int64_t r = run * at_least; r < std::min(n, (run + 1) * at_least); ++r) f(r);
    });
  }

  // Gives every active expert its place for activations of width k.
  void place_activations(ActFormat f, int64_t k) {
    std::byte *begin = workspace_.data() + acts_bytes_, *at = begin;
    for (ActiveExpert& a : active_) {
      a.acts = at;
      at += aligned(static_cast<int64_t>(k_.activation_bytes(f, k, a.n)));
    }
    DSR1_CHECK(at <= begin + expert_bytes_, "expert activations overflow their plan");
  }

  static cpu::Attention attention_of(const KvLayerView& kv, int head) {
    cpu::Attention a{};
    a.k = kv.k_row(head, 0);
    a.v = kv.v_row(head, 0);
    a.type = static_cast<uint32_t>(kv.k_type);
    a.k_row_bytes = static_cast<int64_t>(kv.k_row_bytes());
    a.v_row_bytes = static_cast<int64_t>(kv.v_row_bytes());
    a.k_dim = kv.k_dim;
    a.v_dim = kv.v_dim;
    return a;
  }

  // One token whose KV heads are fewer than the threads: its context is shared between them, segment by segment.
  bool split_context() const { return limits_.n_head_kv > 1 && limits_.n_head_kv < pool_.n_threads(); }
  void attention_split(const Batch& batch, int layer, Mat q, int n_head, float scale, Mat out) {
    const Segment& s = batch.segments[0];
    const KvLayerView& kv = s.kv[layer];
    const int64_t group = n_head / kv.n_head_kv, n_segments = s.pos / cpu::kAttentionSegment + 1;
    const int64_t partial_floats = k_.attention_partial_floats(kv.v_dim);
    float* partials = reinterpret_cast<float*>(workspace_.data() + acts_bytes_ + expert_bytes_);
    const int64_t n_tasks = kv.n_head_kv * n_segments;
    pool_.parallel_for(n_tasks, [&](int64_t task, int t) {
      const int64_t hk = task / n_segments, segment = task % n_segments;
      cpu::Attention a = attention_of(kv, static_cast<int>(hk));
      a.q = q.row(0) + hk * group * kv.k_dim;
      a.q_token_stride = q.stride;
      a.q_head_stride = kv.k_dim;
      a.n_tokens = 1;
      a.n_heads = group;
      a.pos0 = s.pos;
      a.scale = scale;
      // [KV head][segment][head of the group]
      k_.attention_segment(a, segment, partials + (hk * n_segments + segment) * group * partial_floats,
                           thread_scratch(t));
    });
    pool_.parallel_for(n_head, [&](int64_t h, int) {
      const float* p = partials + (h / group * n_segments * group + h % group) * partial_floats;
      k_.attention_combine(p, group * partial_floats, n_segments, kv.v_dim, out.row(0) + h * kv.v_dim);
    });
  }

  // K_h c for every position from weights stored as K_h^T: each head's matrix is turned round once, then multiplied.
  void expand_transposed(const HeadedWeight& w, Mat c, Mat out, int64_t out_stride) {
    const Matrix all = matrix(*w.weight);
    const int64_t rank = w.n_rows, nope = w.cols();
    std::byte* acts = workspace_.data();
    prepare(ActFormat::kFloat, c.data, c.stride, nullptr, rank, c.rows, acts);
    pool_.parallel_for(w.n_head, [&](int64_t h, int t) {
      std::byte* scratch = thread_scratch(t);
      float* turned = reinterpret_cast<float*>(scratch + aligned(static_cast<int64_t>(k_.matmul_scratch_bytes())));
      float* some = turned + aligned(rank * nope * 4) / 4;
      for (int64_t j = 0; j < rank; j += kTurned) {  // a cache line of each turned row at a time
        const int64_t n = std::min(kTurned, rank - j);
        for (int64_t i = 0; i < n; ++i) k_.dequantize_row(all, w.first_row + h * w.head_rows + j + i, some + i * nope);
        for (int64_t i = 0; i < nope; ++i)
          for (int64_t l = 0; l < n; ++l) turned[i * rank + j + l] = some[l * nope + i];
      }
      const Matrix m{turned, static_cast<uint32_t>(DType::kF32), nope, rank, rank * 4, nullptr};
      k_.matmul(m, 0, nope, acts, c.rows, out.data + h * out_stride, out.stride, scratch);
    });
  }

  // Adds one segment's partial sum {max, sum, .., acc} to a row's running state {max, sum} and accumulator.
  static void merge(const float* partial, int64_t n, bool first, float* state, float* acc) {
    const float m = partial[0], l = partial[1];
    const float* a = partial + 16;
    if (first) {
      state[0] = m;
      state[1] = l;
      std::copy_n(a, n, acc);
      return;
    }
    if (m == -std::numeric_limits<float>::infinity()) return;
    const float top = std::max(m, state[0]), old = std::exp(state[0] - top), add = std::exp(m - top);
    state[0] = top;
    state[1] = state[1] * old + l * add;
    for (int64_t i = 0; i < n; ++i) acc[i] = acc[i] * old + a[i] * add;
  }

  const CpuKernels& k_;
  const ops::Limits limits_;
  cpu::Upcoming upcoming_;  // outlives the pool, whose threads read it while they wait
  ThreadPool pool_;
  std::string name_;
  Buffer workspace_;
  struct ActiveExpert {
    size_t expert;
    int64_t begin, n;  // its rows among the sorted pairs
    std::byte* acts;
  };
  bool paging_ = false;
  std::vector<ActiveExpert> active_;  // of the running moe_ffn; reserved once
  int64_t acts_bytes_ = 0, expert_bytes_ = 0, thread_bytes_ = 0, partials_bytes_ = 0;
};

static_assert(ops::kMlaBlock == cpu::kAttentionSegment, "an expanded block is one attention segment");

}  // namespace

Result<std::unique_ptr<ops::Ops>> make_cpu(const std::string& isa, int n_threads, const ops::Limits& limits) {
  const CpuKernels* kernels = cpu::select_kernels(isa.c_str());
  if (kernels == nullptr) {
    return Error(ErrorCode::kUsage, "--cpu-isa " + isa + " is unknown or not supported by this CPU; available: auto " +
                                        available_cpu_isas());
  }
  auto cpu_ops = std::make_unique<CpuOps>(*kernels, n_threads, limits);
  DSR1_TRY_STATUS(cpu_ops->plan());
  return std::unique_ptr<ops::Ops>(std::move(cpu_ops));
}

std::string available_cpu_isas() { return cpu::available_isa_names(); }

}  // namespace dsr1::backend
