// out = x W^T for many rows of x, on tensor cores: weights of any type are decoded to F16 in shared memory, straight
// from their blocks, once a tile of kM rows; products are F16 with F32 sums (mma.m16n8k16).
//
// Rows of x become F16 after division by a power of two that brings their largest value to [1, 2): no row overflows,
// and each keeps 11 bits. Error of a product: 2^-11 of each factor, so about 4e-4 of a sum's size.
// Floor: 2 * rows * out * in operations; the weight's bytes once for each kM rows.
#pragma once

#include "kernels/matmul/matmul.h"

namespace dsr1::kernels {

// Row r: F16 bits at data + r * stride, to be multiplied by scale[r]. stride a multiple of 128; columns from cols to
// the next multiple of 128 are zero.
struct HalfRows {
  uint16_t* data = nullptr;
  float* scale = nullptr;
  int64_t stride = 0;
  int32_t rows = 0, cols = 0;
};
constexpr int64_t half_stride(int64_t cols) { return (cols + 127) / 128 * 128; }
inline int64_t half_rows_bytes(int64_t rows, int64_t cols) {
  return rows * (half_stride(cols) * 2 + static_cast<int64_t>(sizeof(float)));
}
Status launch_to_half(Matrix x, HalfRows out, simt::Stream stream);
// As BF16, not scaled; out.scale is not written.
Status launch_to_bf16(Matrix x, HalfRows out, simt::Stream stream);
// out[r] = out[r] * scale[r] + bias, each where not null: what a library's product of such rows lacks.
Status launch_scale_rows(Matrix out, const float* scale, const float* bias, simt::Stream stream);

// Why gemm does not take the shape; null where it does. One head only.
const char* gemm_declines(const MatmulParams& params);
Status launch_gemm(const MatmulParams& params, const HalfRows& x, simt::Stream stream);

}  // namespace dsr1::kernels
