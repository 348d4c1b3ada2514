// CpuKernels: the arithmetic of the CPU backend as one table of plain functions per instruction-set level.
//
// Every function works on a range of its output, single-threaded, allocates nothing and keeps no state: the caller owns
// the threads and all memory. All levels give the same bits (docs/numerics.md): an output element depends only on its
// weight row and its activation row, not on the level, the range, the number of columns or the scratch.
//
// This header is included by files compiled for one ISA only: nothing but <cstdint> and <cstddef> may come in with it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsr1::backend::cpu {

// In ascending order of preference within a family; names as --cpu-isa takes them.
enum class Isa : uint8_t { kScalar, kAvx2, kAvxVnni, kAvx512, kAvx512Vnni, kAvx512Bf16, kAvx512Fp16, kNeon };
inline constexpr int kIsaCount = 8;

// A weight matrix: y[r] = sum over c of row r [c] * x[c]. Rows are blocks of the type in file order, any alignment.
struct Matrix {
  const void* data;
  uint32_t type;          // DType as a number
  int64_t rows, cols;     // cols: a whole number of blocks, and of 32 for quantized types
  int64_t row_bytes;      // from one row to the next
  const void* scale_inv;  // F8_E4M3: multipliers of 128x128 blocks, [ceil(rows/128), ceil(cols/128)] f32; else null
  // What the calling thread reads after the rows it was given (null: unknown): its beginning is fetched during the last
  // of them. Any address: it is never read.
  const void* next = nullptr;
  // The columns before these are in y already: y continues over them, with the bits of one matmul over all (not
  // for float types).
  bool continues = false;
};

// How a weight type wants its activations. Types in blocks of 32: int8 in groups of 32. Types in blocks of 256: int8 in
// groups of 32 whose scales are powers of two below that of their 256. Float types: float.
enum class ActFormat : uint8_t { kInt8, kInt8Blocks, kFloat };
inline constexpr ActFormat kActFormats[] = {ActFormat::kInt8, ActFormat::kInt8Blocks, ActFormat::kFloat};

// Keys of a segment of the attention sum. Segment s holds keys [s * kAttentionSegment, (s+1) * kAttentionSegment) of
// the absolute position, so results do not depend on how the work is cut.
inline constexpr int kAttentionSegment = 256;

// Queries of consecutive tokens of one sequence that share one head of the cache. Row r of K and V is position r.
// MLA: V is the first v_dim columns of K (v = k, v_row_bytes = k_row_bytes). A query of token t attends to keys
// [0, pos0 + t]. q and out are indexed token * token_stride + head * head_stride (in floats).
struct Attention {
  const void* k;
  const void* v;
  uint32_t type;  // F32, F16 or Q8_0 (dims then multiples of 32)
  int64_t k_row_bytes, v_row_bytes;
  int64_t k_dim, v_dim;
  const float* q;
  int64_t q_token_stride, q_head_stride;
  int64_t n_tokens, n_heads;
  int64_t pos0;
  float scale;
};

struct CpuKernels {
  Isa isa;
  const char* name;

  // --- matrices ---
  ActFormat (*activation_format)(uint32_t type);
  // n rows of k floats made ready for matmul, once for all matrices of that format that read them. Work is cut into
  // units that any threads do in any order; kInt8 and kInt8Blocks: unit i * k / e + b is elements [e b, e b + e) of the
  // i-th group of rows, e = 32 and 256. x row i is x + index[i] * ldx (index null: i). acts: 64-byte aligned.
  size_t (*activation_bytes)(ActFormat format, int64_t k, int64_t n);
  int64_t (*activation_units)(ActFormat format, int64_t k, int64_t n);
  void (*prepare_activations)(ActFormat format, const float* x, int64_t ldx, const int32_t* index, int64_t k, int64_t n,
                              void* acts, int64_t unit_begin, int64_t unit_end);
  // y[c * ldy + r] = w row r . activation row c, r in [row_begin, row_end), c in [0, n). Ranges that begin at multiples
  // of kRowGrain are the fast ones. scratch: matmul_scratch_bytes, 64-byte aligned, one per thread.
  size_t (*matmul_scratch_bytes)();
  void (*matmul)(const Matrix& w, int64_t row_begin, int64_t row_end, const void* acts, int64_t n, float* y,
                 int64_t ldy, void* scratch);
  void (*dequantize_row)(const Matrix& w, int64_t row, float* y);

  // --- rows of floats; y may be x ---
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* y);  // weight null: all ones
  void (*add)(const float* a, const float* b, int64_t n, float* y);
  void (*scale_add)(const float* x, float s, int64_t n, float* y);          // y += s * x (fma)
  void (*swiglu)(const float* gate, const float* up, int64_t n, float* y);  // silu(gate) * up
  void (*softmax)(const float* x, int64_t n, float* y);
  void (*sigmoid)(const float* x, int64_t n, float* y);
  // x[2 * n_pairs] turned in place: pair i is (2i, 2i+1), or (i, i + n_pairs) for neox.
  void (*rope_norm)(float* x, const float* cos, const float* sin, int64_t n_pairs);
  void (*rope_neox)(float* x, const float* cos, const float* sin, int64_t n_pairs);

  // --- KV cache rows: F32, F16 or Q8_0 (n a multiple of 32) ---
  void (*store_row)(uint32_t type, const float* x, int64_t n, void* row);
  void (*load_row)(uint32_t type, const void* row, int64_t n, float* y);

  // --- attention ---
  size_t (*attention_scratch_bytes)(int64_t k_dim, int64_t v_dim);
  // All segments, in order: out[token * out_token_stride + head * out_head_stride + 0..v_dim).
  void (*attention)(const Attention& a, float* out, int64_t out_token_stride, int64_t out_head_stride, void* scratch);
  // One segment, for sharing a long context between threads; row r = token * n_heads + head of partial is
  // { max, sum, 0 x 14, acc[v_dim] } (attention_partial_floats(v_dim) floats). Segments a row does not see: max = -inf.
  int64_t (*attention_partial_floats)(int64_t v_dim);
  void (*attention_segment)(const Attention& a, int64_t segment, float* partial, void* scratch);
  // out[v_dim] of one row from its n partials, `stride` floats apart: the same bits as `attention`.
  void (*attention_combine)(const float* partials, int64_t stride, int64_t n, int64_t v_dim, float* out);
};

inline constexpr int64_t kRowGrain = 64;

// The tables compiled in; see select.cpp for which exist.
extern "C" {
const CpuKernels* dsr1_cpu_kernels_scalar();
const CpuKernels* dsr1_cpu_kernels_avx2();
const CpuKernels* dsr1_cpu_kernels_avx_vnni();
const CpuKernels* dsr1_cpu_kernels_avx512();
const CpuKernels* dsr1_cpu_kernels_avx512_vnni();
const CpuKernels* dsr1_cpu_kernels_neon();
}

const char* isa_name(Isa isa);
// Compiled in and able to run on this CPU. The table's isa is the one asked for.
const CpuKernels* find_kernels(Isa isa);
// By name; null if unknown or unavailable. "auto" takes the best this CPU runs well.
const CpuKernels* select_kernels(const char* name);
// Space-separated names of the levels that run here, for messages.
const char* available_isa_names();

}  // namespace dsr1::backend::cpu
