// bench_gpu: what each kernel reaches on the GPU at hand, as a share of that card's own copy rate and BF16 matrix rate,
// measured first. Weights are random bytes of real shapes, several copies in turn, so that none is found in the L2
// cache.
//   cmake --build build/gpu_check --target bench_gpu && build/gpu_check/src/backend/cuda/bench_gpu
// Exit 6 without a GPU. tools/gpu_check runs it.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

#include "backend/cuda/runtime.h"
#include "dsr1/tensor/dtype.h"
#include "kernels/attention/flash.h"
#include "kernels/attention/mla.h"
#include "kernels/attention/mla_wgmma.h"
#include "kernels/matmul/gemm_wgmma.h"
#include "kernels/matmul/matvec.h"
#include "kernels/moe/fused.h"
#include "kernels/moe/grouped.h"
#include "kernels/quant/repack.h"

namespace {

using namespace dsr1;           // NOLINT: a program, not a header
using namespace dsr1::kernels;  // NOLINT
namespace rt = backend::cuda;

// Everything here either works or the program has nothing to say.
template <class T>
T must(Result<T> r) {
  if (r) return std::move(*r);
  std::fprintf(stderr, "bench_gpu: %s\n", r.error().text().c_str());
  std::exit(r.error().code == ErrorCode::kNoDevice ? 6 : 1);
}
void must(Status s) {
  if (s) return;
  std::fprintf(stderr, "bench_gpu: %s\n", s.error().text().c_str());
  std::exit(1);
}

struct Bench {
  simt::Stream stream = must(rt::make_stream());
  std::vector<rt::Memory> memory;
  double bytes_per_s = 0, flops_per_s = 0;

  std::byte* bytes(size_t n, bool random = true) {
    memory.push_back(must(rt::Memory::allocate(rt::Memory::Where::kDevice, n, "a benchmark")));
    std::byte* p = memory.back().data();
    if (!random) {
      must(rt::fill_bytes(p, 0, n, stream));
      return p;
    }
    static const std::vector<uint32_t> noise = [] {
      std::vector<uint32_t> v(1 << 22);
      std::mt19937 rng(1);
      // Small exponents in every 16-bit half: whatever field a half is read as, no product overflows.
      for (uint32_t& x : v) x = (rng() & 0xa3ffa3ffu) | 0x04000400u;
      return v;
    }();
    for (size_t at = 0; at < n; at += noise.size() * 4)
      must(rt::copy_to_device(p + at, noise.data(), std::min(noise.size() * 4, n - at), stream));
    return p;
  }
  float* floats(size_t n) { return reinterpret_cast<float*>(bytes(n * 4)); }

  // Median seconds of one call, of 9 groups of `calls`, after two warm-ups; f gets the number of the call. A group is
  // recorded and replayed, as a decode step is: queueing kernels of some microseconds takes longer than they do.
  double seconds(int calls, const std::function<void(int)>& f) {
    auto begin = must(rt::Event::make()), end = must(rt::Event::make());
    for (int i = 0; i < calls; ++i) f(i);
    must(rt::synchronize(stream));
    must(rt::begin_capture(stream));
    for (int i = 0; i < calls; ++i) f(i);
    const auto graph = must(rt::end_capture(stream));
    std::vector<double> t;
    for (int group = -1; group < 9; ++group) {
      must(begin->record(stream));
      must(graph->launch(stream));
      must(end->record(stream));
      must(rt::synchronize(stream));
      if (group >= 0) t.push_back(must(end->seconds_since(*begin)) / calls);
    }
    std::sort(t.begin(), t.end());
    return t[t.size() / 2];
  }
  void row(const char* what, double s, double n_bytes, double flops) const {
    const double by_bytes = n_bytes / s / bytes_per_s, by_flops = flops / s / flops_per_s;
    std::printf("| %-44s | %9.1f | %7.0f | %5.1f %% | %7.1f | %5.1f %% |\n", what, s * 1e6, n_bytes / s / 1e9,
                100 * by_bytes, flops / s / 1e12, 100 * by_flops);
    std::fflush(stdout);
  }
};

void measure_ceilings(Bench& b) {
  const size_t n = size_t{1} << 30;
  std::byte *from = b.bytes(n), *to = b.bytes(n, false);
  b.bytes_per_s =
      2.0 * static_cast<double>(n) / b.seconds(4, [&](int) { must(rt::copy_on_device(to, from, n, b.stream)); });
  // Deep, so that writing F32 sums counts for little.
  const int64_t m = 8192, k = 32768;
  if (const std::string why = rt::Blas::problem(); !why.empty()) {
    std::printf("no cuBLAS (%s): shares of arithmetic are of 989 TFLOP/s, an H100's data sheet\n", why.c_str());
    b.flops_per_s = 989e12;
  } else {
    const auto blas = must(rt::Blas::make(b.stream));
    const double s = b.seconds(3, [&](int) {
      must(blas->run({from, from + n / 2, reinterpret_cast<float*>(to), true, m, m, k, k, k, m}));
    });
    b.flops_per_s = 2.0 * static_cast<double>(m * m * k) / s;
  }
  b.memory.clear();
}

Weight weight_of(DType type, int rows, int cols, const std::byte* data) {
  return {reinterpret_cast<const uint8_t*>(data),
          static_cast<uint32_t>(type),
          rows,
          cols,
          static_cast<int64_t>(row_bytes(type, cols)),
          nullptr};
}

void matmuls(Bench& b, DType type, int n_out, int n_in) {
  Weight w = weight_of(type, n_out, n_in, nullptr);
  const auto size = static_cast<size_t>(planar_bytes(w) + 255) / 256 * 256;
  const int copies = static_cast<int>(std::min<size_t>(16, (size_t{512} << 20) / size + 2));
  std::byte* data = b.bytes(size * static_cast<size_t>(copies));
  const Matrix x{b.floats(static_cast<size_t>(2048) * n_in), n_in, 2048, n_in};
  const Matrix out{b.floats(static_cast<size_t>(2048) * n_out), n_out, 2048, n_out};
  Activations a{nullptr, nullptr, activation_stride(n_in), 8, n_in};
  a.groups = reinterpret_cast<ActGroup*>(b.bytes(static_cast<size_t>(activation_bytes(8, n_in))));
  a.q = reinterpret_cast<int8_t*>(a.groups + 8 * a.stride / 32);
  HalfRows h{nullptr, nullptr, half_stride(n_in), 2048, n_in};
  h.data = reinterpret_cast<uint16_t*>(b.bytes(static_cast<size_t>(half_rows_bytes(2048, n_in))));
  h.scale = reinterpret_cast<float*>(h.data + 2048 * h.stride);
  HalfTiles tiles{h.data, h.scale, 2048, n_in};
  for (int rows : {1, 8, 64, 512, 2048}) {
    tiles.rows = rows;
    MatmulParams p{.w = w, .x = x, .out = out, .n_out = n_out};
    p.x.rows = a.rows = h.rows = rows;
    if (rows <= 8 && is_quantized(p.w.type)) must(launch_quantize(p.x, a, b.stream));
    if (rows > 8) must(launch_to_half(p.x, h, b.stream));
    const double s = b.seconds(rows > 64 ? 4 : 20, [&](int i) {
      p.w.data = reinterpret_cast<const uint8_t*>(data) + static_cast<size_t>(i % copies) * size;
      must(rows > 8                 ? launch_gemm(p, h, b.stream)
           : is_quantized(p.w.type) ? launch_matvec_int8({&p, 1}, a, b.stream)
                                    : launch_matvec_float({&p, 1}, b.stream));
    });
    char name[80];
    std::snprintf(name, sizeof name, "%s %s %d x %d, %d rows", rows > 8 ? "gemm" : "matvec", dtype_name(type), n_out,
                  n_in, rows);
    b.row(name, s, static_cast<double>(planar_bytes(w)), 2.0 * rows * n_out * n_in);
    if (rows <= 128 || !wgmma_present()) continue;
    must(launch_to_half_tiles(p.x, tiles, b.stream));
    const double s90 = b.seconds(4, [&](int i) {
      p.w.data = reinterpret_cast<const uint8_t*>(data) + static_cast<size_t>(i % copies) * size;
      must(launch_gemm_wgmma(p, tiles, b.stream));
    });
    std::snprintf(name, sizeof name, "gemm_wgmma %s %d x %d, %d rows", dtype_name(type), n_out, n_in, rows);
    b.row(name, s90, static_cast<double>(planar_bytes(w)), 2.0 * rows * n_out * n_in);
  }
  b.memory.clear();
}

// One sequence at each of `rows` positions n_keys - 1 (single tokens), or its last `rows` positions (a prompt).
void attention(Bench& b, int n_head, int n_head_kv, int k_dim, int v_dim, bool latent, int rows, bool prompt,
               int n_keys, int n_multiprocessors) {
  KvCache c;
  c.k_type = c.v_type = static_cast<uint32_t>(DType::kF16);
  c.n_head_kv = n_head_kv;
  c.k_dim = k_dim;
  c.v_dim = v_dim;
  c.n_ctx = n_keys;
  c.k_row_bytes = 2 * k_dim;
  c.v_row_bytes = latent ? 0 : 2 * v_dim;
  const int sequences = prompt ? 1 : rows;
  const auto k_bytes = static_cast<size_t>(c.k_row_bytes * n_keys * n_head_kv),
             v_bytes = static_cast<size_t>(c.v_row_bytes * n_keys * n_head_kv);
  std::vector<KvBase> bases;
  for (int i = 0; i < sequences; ++i)
    bases.push_back({reinterpret_cast<uint8_t*>(b.bytes(k_bytes)),
                     latent ? nullptr : reinterpret_cast<uint8_t*>(b.bytes(v_bytes))});
  std::vector<int32_t> ints;
  for (int r = 0; r < rows; ++r) ints.push_back(prompt ? n_keys - rows + r : n_keys - 1);
  for (int r = 0; r < rows; ++r) ints.push_back(prompt ? 0 : r);
  std::byte *di = b.bytes(ints.size() * 4, false), *db = b.bytes(bases.size() * sizeof(KvBase), false);
  must(rt::copy_to_device(di, ints.data(), ints.size() * 4, b.stream));
  must(rt::copy_to_device(db, bases.data(), bases.size() * sizeof(KvBase), b.stream));
  AttentionParams p{c, {}, {}, {}, n_head, 0.1f};
  p.batch = {reinterpret_cast<int32_t*>(di), reinterpret_cast<int32_t*>(di) + rows, reinterpret_cast<KvBase*>(db),
             rows};
  p.q = {b.floats(static_cast<size_t>(rows) * n_head * k_dim), int64_t{n_head} * k_dim, rows, n_head * k_dim};
  p.out = {b.floats(static_cast<size_t>(rows) * n_head * v_dim), int64_t{n_head} * v_dim, rows, n_head * v_dim};
  FlashPlan plan;
  if (prompt) {
    plan.tokens_per_tile = flash_prompt_tokens(p);
  } else {
    const int blocks = rows * (latent ? (n_head + kMlaHeads - 1) / kMlaHeads : n_head_kv);
    plan.n_splits =
        std::clamp(n_multiprocessors * (latent ? 2 : 6) / blocks, 1, std::max(1, std::min(n_keys / 128, 256 / rows)));
    plan.partial = b.floats(static_cast<size_t>(flash_partial_floats(int64_t{rows} * plan.n_splits, n_head, v_dim)));
  }
  const double s = b.seconds(
      prompt ? 4 : 20, [&](int) { must(latent ? launch_mla(p, plan, b.stream) : launch_flash(p, plan, b.stream)); });
  const double keys = prompt ? static_cast<double>(rows) * (n_keys - rows / 2.0) : static_cast<double>(rows) * n_keys;
  char name[80];
  std::snprintf(name, sizeof name, "%s, %d heads on %d, %s %d at %d", latent ? "mla" : "flash", n_head, n_head_kv,
                prompt ? "prompt" : "tokens", rows, n_keys);
  const double bytes = static_cast<double>(k_bytes + v_bytes) * sequences, work = 2.0 * keys * n_head * (k_dim + v_dim);
  b.row(name, s, bytes, work);
  if (latent && !prompt && mla_wgmma_present() && mla_wgmma_declines(p) == nullptr) {
    const int blocks = rows * ((n_head + kMlaWgmmaHeads - 1) / kMlaWgmmaHeads);
    plan.n_splits = std::clamp(n_multiprocessors / blocks, 1, plan.n_splits);  // so that the partial results fit
    std::snprintf(name, sizeof name, "mla_wgmma, %d heads, tokens %d at %d", n_head, rows, n_keys);
    b.row(name, b.seconds(20, [&](int) { must(launch_mla_wgmma(p, plan, b.stream)); }), bytes, work);
  }
  b.memory.clear();
}

void experts(Bench& b, DType type, int n_expert, int n_used, int n_out, int n_in, int rows) {
  const Weight w = weight_of(type, n_out, n_in, nullptr);
  const auto stride = static_cast<size_t>(planar_bytes(w) + 255) / 256 * 256;
  GroupedParams p;
  p.w = {weight_of(type, n_out, n_in, b.bytes(stride * static_cast<size_t>(n_expert))), static_cast<int64_t>(stride),
         0};
  const int pairs = rows * n_used;
  p.tile_rows = moe_tile_rows(pairs, n_expert);
  std::vector<int32_t> ids;
  for (int i = 0; i < pairs; ++i) ids.push_back(static_cast<int32_t>((int64_t{i} * 37 + i / n_used) % n_expert));
  std::byte* di = b.bytes(ids.size() * 4, false);
  must(rt::copy_to_device(di, ids.data(), ids.size() * 4, b.stream));
  p.order.order = reinterpret_cast<int32_t*>(b.bytes(ids.size() * 4, false));
  p.n_tiles = static_cast<int32_t>(moe_most_tiles(pairs, n_expert, p.tile_rows));
  p.order.tiles = reinterpret_cast<MoeTile*>(b.bytes(static_cast<size_t>(p.n_tiles) * sizeof(MoeTile), false));
  p.divide = n_used;
  p.out = {b.floats(static_cast<size_t>(pairs) * n_out), n_out, pairs, n_out};
  const Matrix x{b.floats(static_cast<size_t>(rows) * n_in), n_in, rows, n_in};
  p.x = {nullptr, nullptr, half_stride(n_in), rows, n_in};
  p.x.data = reinterpret_cast<uint16_t*>(b.bytes(static_cast<size_t>(half_rows_bytes(rows, n_in))));
  p.x.scale = reinterpret_cast<float*>(p.x.data + rows * p.x.stride);
  must(launch_to_half(x, p.x, b.stream));
  const double s = b.seconds(4, [&](int) {
    must(launch_moe_sort(reinterpret_cast<int32_t*>(di), pairs, n_expert, p.tile_rows, p.order, b.stream));
    must(launch_grouped(p, b.stream));
  });
  char name[80];
  std::snprintf(name, sizeof name, "sort and grouped %s, %d rows, %d of %d", dtype_name(type), rows, n_used, n_expert);
  b.row(name, s, static_cast<double>(stride) * n_expert, 2.0 * pairs * n_out * n_in);
  b.memory.clear();
}

// Routing and experts of a decode step in one launch, and one by one.
void expert_steps(Bench& b, DType type, int n_expert, int n_used, int n_ff, int n_embd, int rows, int n_sm) {
  auto all = [&](int n_out, int n_in) {
    const auto stride = static_cast<size_t>(planar_bytes(weight_of(type, n_out, n_in, nullptr)) + 255) / 256 * 256;
    return ExpertMatrix{weight_of(type, n_out, n_in, b.bytes(stride * static_cast<size_t>(n_expert))),
                        static_cast<int64_t>(stride), 0};
  };
  auto floats = [&](int n_rows, int cols) {
    return Matrix{b.floats(static_cast<size_t>(n_rows) * static_cast<size_t>(cols)), cols, n_rows, cols};
  };
  auto int8 = [&](int n_rows, int cols) {
    Activations a{nullptr, nullptr, activation_stride(cols), n_rows, cols};
    a.groups = reinterpret_cast<ActGroup*>(b.bytes(static_cast<size_t>(activation_bytes(n_rows, cols))));
    a.q = reinterpret_cast<int8_t*>(a.groups + n_rows * a.stride / 32);
    return a;
  };
  const int pairs = rows * n_used;
  // Other logits each time: other experts, which no cache holds.
  constexpr int kSteps = 64;
  const Matrix logits = floats(kSteps * rows, n_expert), weights = floats(rows, n_used);
  std::vector<float> values(static_cast<size_t>(kSteps * rows * n_expert));
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  for (float& v : values) v = normal(rng);
  must(rt::copy_to_device(logits.data, values.data(), values.size() * sizeof(float), b.stream));
  must(rt::synchronize(b.stream));
  auto* ids = reinterpret_cast<int32_t*>(b.bytes(static_cast<size_t>(pairs) * sizeof(int32_t), false));
  const MoeFfnParams m{
      all(n_ff, n_embd),   all(n_ff, n_embd),     all(n_embd, n_ff),    ids,   floats(rows, n_embd), weights,
      floats(pairs, n_ff), floats(pairs, n_embd), floats(rows, n_embd), n_used};
  const bool quantized = is_quantized(static_cast<uint32_t>(type));
  const Activations x = int8(rows, n_embd), hidden = quantized ? int8(pairs, n_ff) : Activations{};
  auto* word = reinterpret_cast<uint32_t*>(b.bytes(256, false));
  auto route = [&](int i) {
    RouteParams r{logits, nullptr, true, true, n_expert, n_used, 8, 4, 2.5f, ids, weights};
    r.logits.data += int64_t{i % kSteps} * rows * n_expert;
    r.logits.rows = rows;
    return r;
  };
  const double one = b.seconds(20, [&](int i) {
    must(launch_moe_fused({route(i), m, x, hidden, word}, n_sm, b.stream));
  });
  const double several = b.seconds(20, [&](int i) {
    must(launch_route(route(i), b.stream));
    must(launch_moe_gate_up(m, x, b.stream));
    if (quantized) must(launch_quantize(m.gate_out, hidden, b.stream));
    must(launch_moe_down(m, hidden, b.stream));
    must(launch_moe_combine(m, b.stream));
  });
  const double n_bytes = static_cast<double>(pairs) * (2 * m.gate.stride_bytes + m.down.stride_bytes);
  for (const bool fused : {true, false}) {
    char name[80];
    std::snprintf(name, sizeof name, "%s %s, %d rows, %d of %d", fused ? "moe_fused" : "route and experts, 5 launches",
                  dtype_name(type), rows, n_used, n_expert);
    b.row(name, fused ? one : several, n_bytes, 6.0 * pairs * n_ff * n_embd);
  }
  b.memory.clear();
}

void dense(Bench& b, int /*n_multiprocessors*/) {
  for (DType t : {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K, DType::kIQ4_XS, DType::kF8_E4M3})
    matmuls(b, t, 14336, 4096);
  matmuls(b, DType::kQ4_K, 4096, 14336);
}
void grouped_heads(Bench& b, int n_multiprocessors) {
  for (int n : {1024, 8192, 32768}) attention(b, 32, 8, 128, 128, false, 1, false, n, n_multiprocessors);
  attention(b, 32, 8, 128, 128, false, 16, false, 8192, n_multiprocessors);
  attention(b, 32, 8, 128, 128, false, 2048, true, 2048, n_multiprocessors);
}
void latents(Bench& b, int n_multiprocessors) {
  for (int n : {1024, 8192, 32768}) attention(b, 128, 1, 576, 512, true, 1, false, n, n_multiprocessors);
  attention(b, 128, 1, 576, 512, true, 16, false, 8192, n_multiprocessors);
}
void few_rows_of_experts(Bench& b, int n_multiprocessors) {
  for (DType t : {DType::kQ4_K, DType::kF8_E4M3})
    for (int rows : {1, 4}) expert_steps(b, t, 256, 8, 2048, 7168, rows, n_multiprocessors);
}
void many_rows_of_experts(Bench& b, int /*n_multiprocessors*/) {
  for (int rows : {512, 2048}) experts(b, DType::kQ4_K, 256, 8, 2048, 7168, rows);
}

using Section = void (*)(Bench&, int);

// In a process of its own: an error, or a kernel that does not end, costs its section alone.
int run_apart(Section section, bool first) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) return 1;
  if (child > 0) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  }
  alarm(100);
  const rt::DeviceFacts facts = must(rt::open_device(0));
  Bench b;
  measure_ceilings(b);
  if (first) {
    std::printf("%s: copies %.0f GB/s (read and written), BF16 products %.0f TFLOP/s (cuBLAS, 8192 x 8192 x 32768)\n\n",
                facts.name.c_str(), b.bytes_per_s / 1e9, b.flops_per_s / 1e12);
    std::printf("| %-44s | %9s | %7s | %7s | %7s | %7s |\n|---|--:|--:|--:|--:|--:|\n", "kernel", "us", "GB/s", "share",
                "TFLOP/s", "share");
  }
  section(b, facts.n_multiprocessors);
  std::fflush(stdout);
  std::exit(0);
}

}  // namespace

int main() {
  constexpr std::pair<const char*, Section> kSections[] = {{"products", dense},
                                                           {"attention of grouped heads", grouped_heads},
                                                           {"attention over latents", latents},
                                                           {"experts, few rows", few_rows_of_experts},
                                                           {"experts, many rows", many_rows_of_experts}};
  int worst = 0;
  for (const auto& [name, section] : kSections) {
    const int code = run_apart(section, section == dense);
    if (code == 6) return 6;
    if (code != 0) std::printf("| **%s: failed or did not end** | | | | | |\n", name);
    worst = std::max(worst, code);
  }
  return worst == 0 ? 0 : 1;
}
