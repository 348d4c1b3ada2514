// The matmul that knows every type: weights decoded to float, 32 at a time, by the scalar decode of their header.
#pragma once

#include "kernels/matmul/matmul.h"
#include "kernels/quant/decode.cuh"

namespace dsr1::kernels {

template <int kWarps_, int kRows_>
struct MatmulDecodeTraits {
  static constexpr int kWarps = kWarps_, kThreads = 32 * kWarps;
  static constexpr int kRows = kRows_;  // rows of x that share one decoded group
};

// A warp an output column and kRows rows; lanes take groups of 32 elements of the weight row in turn. block_x: kWarps
// columns, block_y: kRows rows, block_z: head.
template <class T, class Tr>
DSR1_DEVICE void matmul_decode_body(const MatmulParams& p) {
  const int o = simt::block_x() * Tr::kWarps + simt::warp(), r0 = simt::block_y() * Tr::kRows, h = simt::block_z();
  if (o >= p.n_out) return;  // the whole warp
  const int64_t weight_row = p.first_row + h * p.head_rows + o;
  const float* x = p.x.data + r0 * p.x.stride + h * p.x_head_stride;
  float sum[Tr::kRows] = {};
  for (int g = simt::lane(); g * kGroup < p.w.cols; g += simt::kWarp) {
    float w[kGroup];
    decode_group<T>(p.w, weight_row, g, w);
    for (int r = 0; r < Tr::kRows; ++r) {
      if (r0 + r >= p.x.rows) break;
      const float* xr = x + r * p.x.stride + g * kGroup;
      for (int i = 0; i < kGroup; ++i)
        if (g * kGroup + i < p.w.cols) sum[r] = simt::fma(w[i], xr[i], sum[r]);
    }
  }
  for (int r = 0; r < Tr::kRows; ++r) {
    const float total = simt::reduce_sum(sum[r]);
    if (simt::lane() == 0 && r0 + r < p.x.rows)
      p.out.data[(r0 + r) * p.out.stride + h * p.out_head_stride + o] = total + (p.bias != nullptr ? p.bias[o] : 0.0f);
  }
}

template <class T, class Tr>
__global__ void __launch_bounds__(Tr::kThreads) matmul_decode_kernel(const MatmulParams p) {
  matmul_decode_body<T, Tr>(p);
}

// A warp 32 output elements of one head and row: lanes share the weight rows among them, then add up.
template <class T>
DSR1_DEVICE void matmul_transposed_body(const MatmulParams& p) {
  const int g = simt::block_x(), r = simt::block_y(), h = simt::block_z();
  const float* x = p.x.data + r * p.x.stride + h * p.x_head_stride;
  float sum[kGroup] = {};
  for (int i = simt::lane(); i < p.n_out; i += simt::kWarp) {
    float w[kGroup];
    decode_group<T>(p.w, p.first_row + h * p.head_rows + i, g, w);
    for (int j = 0; j < kGroup; ++j) sum[j] = simt::fma(w[j], x[i], sum[j]);
  }
  float* out = p.out.data + r * p.out.stride + h * p.out_head_stride + g * kGroup;
  for (int j = 0; j < kGroup; ++j) {
    const float total = simt::reduce_sum(sum[j]);
    if (simt::lane() == j && g * kGroup + j < p.w.cols) out[j] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(simt::kWarp) matmul_transposed_kernel(const MatmulParams p) {
  matmul_transposed_body<T>(p);
}

}  // namespace dsr1::kernels
