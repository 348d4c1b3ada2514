// The table of one ISA level. An ISA file defines DSR1_ISA, DSR1_ISA_NAME, DSR1_ISA_TABLE and its simd header, then
// includes this inside nothing.

#include "backend/cpu/kernels.h"
#include "dsr1/quant/all.h"

#define DSR1_MEMBER inline __attribute__((always_inline))
#define DSR1_INLINE static DSR1_MEMBER
// Before loops over registers: GCC keeps arrays of them in memory unless such loops are gone.
#if defined(__clang__)
#define DSR1_UNROLL _Pragma("unroll")
#else
#define DSR1_UNROLL _Pragma("GCC unroll 32")
#endif

namespace dsr1::backend::cpu {
namespace {

// Each needs the ones before it.
// clang-format off
#include DSR1_ISA_SIMD
#include "backend/cpu/unpack-inl.h"
#include "backend/cpu/columns-inl.h"
#include "backend/cpu/matmul_block-inl.h"
#include "backend/cpu/matmul_int8-inl.h"
#include "backend/cpu/matmul_float-inl.h"
#include "backend/cpu/rows-inl.h"
#include "backend/cpu/attention-inl.h"
// clang-format on

static ActFormat activation_format(uint32_t type) {
  switch (type) {
    case quant::F32::kGgufId:
    case quant::F16::kGgufId:
    case quant::BF16::kGgufId:
    case quant::F8_E4M3::kGgufId: return ActFormat::kFloat;
    case quant::Q2_K::kGgufId:
    case quant::Q3_K::kGgufId:
    case quant::Q4_K::kGgufId:
    case quant::Q5_K::kGgufId:
    case quant::Q6_K::kGgufId:
    case quant::IQ4_XS::kGgufId: return ActFormat::kInt8Blocks;
    default: return ActFormat::kInt8;
  }
}

static size_t activation_bytes(ActFormat format, int64_t k, int64_t n) {
  const int64_t row = format == ActFormat::kFloat  ? 4 * k
                      : format == ActFormat::kInt8 ? 4 * kRecord * (k / 32)
                                                   : 4 * kBlockRecord * 8 * (k / 256);
  return static_cast<size_t>(round64(row * n));
}

static int64_t activation_units(ActFormat format, int64_t k, int64_t n) {
  if (format == ActFormat::kInt8) return ColumnGroups(n, kCols).count * (k / 32);
  if (format == ActFormat::kInt8Blocks) return ColumnGroups(n, kBlockCols).count * (k / 256);
  return n <= kFewFloat ? n : ColumnGroups(n, kFloatCols).count * ((k + kSegment - 1) / kSegment);
}

static void prepare_activations(ActFormat format, const float* x, int64_t ldx, const int32_t* index, int64_t k,
                                int64_t n, void* acts, int64_t unit_begin, int64_t unit_end) {
  switch (format) {
    case ActFormat::kInt8: return prepare_int8(x, ldx, index, k, n, static_cast<int32_t*>(acts), unit_begin, unit_end);
    case ActFormat::kInt8Blocks:
      return prepare_blocks(x, ldx, index, k, n, static_cast<int32_t*>(acts), unit_begin, unit_end);
    case ActFormat::kFloat: return prepare_float(x, ldx, index, k, n, static_cast<float*>(acts), unit_begin, unit_end);
  }
}

static size_t matmul_scratch_bytes() {
  return static_cast<size_t>(round64(kFloatScratch > kInt8Scratch ? kFloatScratch : kInt8Scratch));
}

static void matmul(const Matrix& w, int64_t row_begin, int64_t row_end, const void* acts, int64_t n, float* y,
                   int64_t ldy, void* scratch) {
  const auto* int8_acts = static_cast<const int32_t*>(acts);
  const auto* float_acts = static_cast<const float*>(acts);
  if (row_begin >= row_end || n <= 0) return;
  switch (w.type) {
#define DSR1_FLOAT_TYPE(T) \
  case quant::T::kGgufId:  \
    return matmul_float<quant::T>(w, row_begin, row_end, float_acts, n, y, ldy, static_cast<float*>(scratch));
#define DSR1_QUANT_TYPE(T) \
  case quant::T::kGgufId:  \
    return matmul_int8<quant::T>(w, row_begin, row_end, int8_acts, n, y, ldy, static_cast<char*>(scratch));
#include "dsr1/quant/all.inc"
    default: return;
  }
}

constexpr CpuKernels kTable = {
    DSR1_ISA,
    DSR1_ISA_NAME,
    activation_format,
    activation_bytes,
    activation_units,
    prepare_activations,
    matmul_scratch_bytes,
    matmul,
    dequantize_row,
    rms_norm,
    add_rows,
    scale_add,
    swiglu,
    softmax,
    sigmoid,
    rope_norm,
    rope_neox,
    store_row,
    load_row,
    attention_scratch_bytes,
    attention,
    attention_partial_floats,
    attention_segment,
    attention_combine,
};

}  // namespace

extern "C" const CpuKernels* DSR1_ISA_TABLE() { return &kTable; }

}  // namespace dsr1::backend::cpu
