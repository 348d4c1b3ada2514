// bench_kernels [isa] [threads] [filter]: what the machine can do (memory read bandwidth, rate of its best int8 dot
// product, of float FMA) and each kernel's share of it. Not a test. Run it on a quiet machine.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "backend/cpu/kernels.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/tensor/dtype.h"
#include "dsr1/tensor/tensor.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using namespace dsr1;
using namespace dsr1::backend::cpu;

bool own_time = false;  // one thread: its CPU time, which neighbours disturb less

double now() {
  timespec t{};
  clock_gettime(own_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double seconds_of(const std::function<void()>& f) {
  const double t = now();
  f();
  return now() - t;
}

// The best of several runs within about `budget` seconds: the machine may be shared.
double best(const std::function<void()>& f, double budget = 0.4) {
  f();
  double b = 1e9, spent = 0;
  for (int i = 0; i < 100 && (i < 3 || spent < budget); ++i) {
    const double t = seconds_of(f);
    b = std::min(b, t);
    spent += t;
  }
  return b;
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512vnni"))) void int8_loop_512(int64_t n) {
  __m512i a[12], w = _mm512_set1_epi8(1);
  _Pragma("GCC unroll 16") for (auto& v : a) {
    v = _mm512_setzero_si512();
    __asm__ volatile("" : "+v"(v));  // else they are found to be all the same
  }
  for (int64_t i = 0; i < n; ++i) {
    _Pragma("GCC unroll 16") for (auto& v : a) v = _mm512_dpbusd_epi32(v, w, w);
    __asm__ volatile("" : "+v"(w));
  }
  __m512i s = a[0];
  _Pragma("GCC unroll 16") for (auto& v : a) s = _mm512_add_epi32(s, v);
  __asm__ volatile("" ::"v"(s));
}
__attribute__((target("avx2"))) void int8_loop_256(int64_t n) {
  __m256i a[6], w = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  _Pragma("GCC unroll 16") for (auto& v : a) {
    v = _mm256_setzero_si256();
    __asm__ volatile("" : "+v"(v));  // else they are found to be all the same
  }
  for (int64_t i = 0; i < n; ++i) {
    _Pragma("GCC unroll 16") for (auto& v : a) v =
        _mm256_add_epi32(v, _mm256_madd_epi16(_mm256_maddubs_epi16(w, v), ones));
    __asm__ volatile("" : "+v"(w));
  }
  __m256i s = a[0];
  _Pragma("GCC unroll 16") for (auto& v : a) s = _mm256_add_epi32(s, v);
  __asm__ volatile("" ::"v"(s));
}
__attribute__((target("avx512f"))) void fma_loop_512(int64_t n) {
  __m512 a[12], w = _mm512_set1_ps(1.0f);
  _Pragma("GCC unroll 16") for (auto& v : a) {
    v = _mm512_setzero_ps();
    __asm__ volatile("" : "+v"(v));  // else they are found to be all the same
  }
  for (int64_t i = 0; i < n; ++i) {
    _Pragma("GCC unroll 16") for (auto& v : a) v = _mm512_fmadd_ps(w, w, v);
    __asm__ volatile("" : "+v"(w));
  }
  __m512 s = a[0];
  _Pragma("GCC unroll 16") for (auto& v : a) s = _mm512_add_ps(s, v);
  __asm__ volatile("" ::"v"(s));
}
__attribute__((target("avx2,fma"))) void fma_loop_256(int64_t n) {
  __m256 a[10], w = _mm256_set1_ps(1.0f);
  _Pragma("GCC unroll 16") for (auto& v : a) {
    v = _mm256_setzero_ps();
    __asm__ volatile("" : "+v"(v));  // else they are found to be all the same
  }
  for (int64_t i = 0; i < n; ++i) {
    _Pragma("GCC unroll 16") for (auto& v : a) v = _mm256_fmadd_ps(w, w, v);
    __asm__ volatile("" : "+v"(w));
  }
  __m256 s = a[0];
  _Pragma("GCC unroll 16") for (auto& v : a) s = _mm256_add_ps(s, v);
  __asm__ volatile("" ::"v"(s));
}
#endif

double int8_gops(ThreadPool& pool, Isa isa) {
#if defined(__x86_64__)
  const int64_t n = 2000000;
  if (isa >= Isa::kAvx512Vnni && isa != Isa::kNeon)
    return 12.0 * 128 * static_cast<double>(n) * pool.n_threads() /
           best([&] { pool.run([&](int) { int8_loop_512(n); }); }, 0.1) / 1e9;
  if (isa == Isa::kAvx2 || isa == Isa::kAvxVnni || isa == Isa::kAvx512)
    return 6.0 * 64 * static_cast<double>(n) * pool.n_threads() /
           best([&] { pool.run([&](int) { int8_loop_256(n); }); }, 0.1) / 1e9;
#endif
  (void)pool, (void)isa;
  return 0;
}
double fma_gflops(ThreadPool& pool, Isa isa) {
#if defined(__x86_64__)
  const int64_t n = 2000000;
  if (isa >= Isa::kAvx512 && isa != Isa::kNeon)
    return 12.0 * 32 * static_cast<double>(n) * pool.n_threads() /
           best([&] { pool.run([&](int) { fma_loop_512(n); }); }, 0.1) / 1e9;
  if (isa == Isa::kAvx2 || isa == Isa::kAvxVnni)
    return 10.0 * 16 * static_cast<double>(n) * pool.n_threads() /
           best([&] { pool.run([&](int) { fma_loop_256(n); }); }, 0.1) / 1e9;
#endif
  (void)pool, (void)isa;
  return 0;
}

uint64_t sum_words(const uint64_t* p, size_t n) {
  uint64_t s[8] = {};
  for (size_t i = 0; i + 8 <= n; i += 8) {
    __builtin_prefetch(p + i + 2048, 0, 2);
    for (size_t j = 0; j < 8; ++j) s[j] ^= p[i + j];
  }
  return s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
}

volatile uint64_t sink;

double read_gb_s(ThreadPool& pool, const std::byte* data, size_t bytes) {
  const auto* p = reinterpret_cast<const uint64_t*>(data);
  const double t = best(
      [&] {
        pool.run([&](int i) {
          const Range r = split_range(static_cast<int64_t>(bytes / 8), 512, i, pool.n_threads());
          sink = sum_words(p + r.begin, static_cast<size_t>(r.end - r.begin));
        });
      },
      0.3);
  return static_cast<double>(bytes) / t / 1e9;
}

// One head of the cache over n_ctx keys on one thread: GB/s of cache read, GFLOPS of multiply-adds.
void bench_attention(const CpuKernels& k, const char* name, DType type, int64_t heads, int64_t k_dim, int64_t v_dim,
                     bool mla, int64_t tokens, int64_t n_ctx) {
  const size_t k_row = row_bytes(type, k_dim), v_row = mla ? k_row : row_bytes(type, v_dim);
  const auto rows = static_cast<size_t>(n_ctx);
  auto keys = std::move(Buffer::allocate(rows * k_row, "K").value());
  auto values = std::move(Buffer::allocate(rows * v_row, "V").value());
  std::memset(keys.data(), 1, rows * k_row);  // pages never written are all one page of zeros
  std::memset(values.data(), 1, rows * v_row);
  std::vector<float> q(static_cast<size_t>(tokens * heads * k_dim), 0.01f),
      out(static_cast<size_t>(tokens * heads * v_dim));
  auto scratch = std::move(Buffer::allocate(k.attention_scratch_bytes(k_dim, v_dim), "scratch").value());
  const Attention a{keys.data(),
                    mla ? keys.data() : values.data(),
                    static_cast<uint32_t>(type),
                    static_cast<int64_t>(k_row),
                    static_cast<int64_t>(v_row),
                    k_dim,
                    v_dim,
                    q.data(),
                    heads * k_dim,
                    k_dim,
                    tokens,
                    heads,
                    n_ctx - tokens,
                    0.1f};
  const double t = best([&] { k.attention(a, out.data(), heads * v_dim, v_dim, scratch.data()); }, 0.2);
  const double bytes = static_cast<double>(rows) * static_cast<double>(mla ? k_row : k_row + v_row);
  const double flops = 2.0 * static_cast<double>(n_ctx * tokens * heads * (k_dim + v_dim));
  std::printf("attention %-26s %-5s heads %3lld tokens %3lld ctx %6lld: %6.1f GB/s, %6.1f GFLOPS\n", name,
              dtype_name(type), static_cast<long long>(heads), static_cast<long long>(tokens),
              static_cast<long long>(n_ctx), bytes / t / 1e9, flops / t / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  const CpuKernels* k = select_kernels(argc > 1 ? argv[1] : "auto");
  if (k == nullptr)
    return std::fprintf(stderr, "bench_kernels: no such level here; levels: %s\n", available_isa_names()), 2;
  const int threads = argc > 2 ? std::atoi(argv[2]) : available_cpus();
  const std::string filter = argc > 3 ? argv[3] : "";
  ThreadPool pool(threads);
  own_time = threads == 1;
  constexpr size_t kBytes = size_t{256} << 20;
  auto weights = Buffer::allocate(kBytes, "weights");
  if (!weights) return std::fprintf(stderr, "%s\n", weights.error().text().c_str()), 4;
  {  // any bytes do; no NaN in the floats
    auto* p = weights.value().as<uint8_t>();
    uint32_t s = 1;
    for (size_t i = 0; i < kBytes; ++i) s = s * 1664525u + 1013904223u, p[i] = static_cast<uint8_t>((s >> 24) & 0x3b);
  }
  std::printf("isa %s, %d threads\n", k->name, threads);
  std::printf("int8 %.0f GOPS, f32 fma %.0f GFLOPS\n", int8_gops(pool, k->isa), fma_gflops(pool, k->isa));

  if (filter.empty() || filter == "attention")
    for (DType type : {DType::kF16, DType::kQ8_0}) {
      bench_attention(*k, "1.5B decode", type, 6, 128, 128, false, 1, 16384);
      bench_attention(*k, "1.5B decode, from memory", type, 6, 128, 128, false, 1, 131072);
      bench_attention(*k, "1.5B prefill", type, 6, 128, 128, false, 64, 4096);
      bench_attention(*k, "MLA decode, 8 heads", type, 8, 576, 512, true, 1, 8192);  // 16 heads on two threads
      bench_attention(*k, "MLA decode, 16 heads", type, 16, 576, 512, true, 1, 8192);
      bench_attention(*k, "MLA decode, 128 heads", type, 128, 576, 512, true, 1, 8192);
    }
  const int64_t cols = 1536;
  std::vector<float> x(static_cast<size_t>(512 * cols));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int>(i * 7919 % 2001) - 1000) * 1e-3f;
  std::vector<Buffer> scratch;
  for (int i = 0; i < threads; ++i)
    scratch.push_back(std::move(Buffer::allocate(k->matmul_scratch_bytes(), "scratch").value()));
  std::printf("%-8s %9s %9s %6s %7s |", "type", "GB/s", "probe", "share", "in L2");
  const int64_t batches[] = {2, 4, 8, 12, 16, 32, 512};
  for (int64_t n : batches) std::printf(" n=%-4lld G/s", static_cast<long long>(n));
  std::printf("\n");
  for (DType type : {DType::kQ4_K, DType::kQ6_K, DType::kQ8_0, DType::kQ4_1, DType::kQ4_0, DType::kQ5_0, DType::kQ5_1,
                     DType::kQ5_K, DType::kQ2_K, DType::kQ3_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kF16,
                     DType::kBF16, DType::kF32, DType::kF8_E4M3}) {
    if (!filter.empty() && filter != dtype_name(type)) continue;
    const size_t row = row_bytes(type, cols);
    const ActFormat format = k->activation_format(static_cast<uint32_t>(type));
    const auto run = [&](int64_t rows, int64_t n) {
      auto acts = std::move(Buffer::allocate(k->activation_bytes(format, cols, n), "acts").value());
      auto y = std::move(Buffer::allocate(static_cast<size_t>(rows * n) * 4, "y").value());
      k->prepare_activations(format, x.data(), cols, nullptr, cols, n, acts.data(), 0,
                             k->activation_units(format, cols, n));
      const Matrix w{
          weights.value().data(), static_cast<uint32_t>(type), rows, cols, static_cast<int64_t>(row), nullptr};
      return best(
          [&] {
            pool.run([&](int t) {
              const Range r = split_range(rows, kRowGrain, t, threads);
              k->matmul(w, r.begin, r.end, acts.data(), n, y.as<float>(), rows, scratch[static_cast<size_t>(t)].data());
            });
          },
          n > 8 ? 0.2 : 0.3);
    };
    const auto big = static_cast<int64_t>(kBytes / row / 64 * 64);
    const double probe = read_gb_s(pool, weights.value().data(), kBytes);
    const double gb_s = static_cast<double>(row) * static_cast<double>(big) / run(big, 1) / 1e9;
    const int64_t near = std::min<int64_t>(big, static_cast<int64_t>((size_t{384} << 10) / row / 64 * 64) * threads);
    const double cached =
        static_cast<double>(row) * static_cast<double>(near) / run(near, 1) / 1e9;  // in the L2 caches
    std::printf("%-8s %9.1f %9.1f %5.0f%% %7.1f |", dtype_name(type), gb_s, probe, 100 * gb_s / probe, cached);
    for (int64_t n : batches) {
      const int64_t rows = n <= 32 ? big : 2048;
      std::printf(" %10.0f", 2.0 * static_cast<double>(rows * cols * n) / run(rows, n) / 1e9);
      std::fflush(stdout);
    }
    std::printf("\n");
  }
  return 0;
}
