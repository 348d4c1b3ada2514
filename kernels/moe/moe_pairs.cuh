// Experts one (row, choice) pair at a time: right for every type and any number of rows, reading an expert once a pair.
// What a decode step of one row needs anyway; batches go through the grouped form.
#pragma once

#include "kernels/moe/moe.h"
#include "kernels/quant/decode.cuh"

namespace dsr1::kernels {

inline constexpr int kMoeWarps = 4;

DSR1_DEVICE Weight expert(const ExpertMatrix& m, int e) {
  Weight w = m.first;
  w.data += e * m.stride_bytes;
  if (w.scale_inv != nullptr) w.scale_inv += e * m.scale_stride;
  return w;
}

// The warp's dot product of weight row o with x.
template <class T>
DSR1_DEVICE float dot_row(const Weight& w, int o, const float* x) {
  float sum = 0;
  for (int g = simt::lane(); g * kGroup < w.cols; g += simt::kWarp) {
    float v[kGroup];
    decode_group<T>(w, o, g, v);
    for (int i = 0; i < kGroup; ++i)
      if (g * kGroup + i < w.cols) sum = simt::fma(v[i], x[g * kGroup + i], sum);
  }
  return simt::reduce_sum(sum);
}

// gate_out[pair][o] = silu(Gate x) * Up x. block_x: kMoeWarps of n_ff_exp, block_y: pair.
template <class Gate, class Up>
__global__ void __launch_bounds__(32 * kMoeWarps) moe_gate_up_kernel(const MoeFfnParams p) {
  const int o = simt::block_x() * kMoeWarps + simt::warp(), pair = simt::block_y();
  if (o >= p.gate.first.rows) return;  // the whole warp
  const int e = p.ids[pair];
  const float* x = p.x.data + pair / p.n_used * p.x.stride;
  const float g = dot_row<Gate>(expert(p.gate, e), o, x), u = dot_row<Up>(expert(p.up, e), o, x);
  if (simt::lane() == 0) p.gate_out.data[pair * p.gate_out.stride + o] = g / (1.0f + simt::exp(-g)) * u;
}

// down_out[pair][o] = Down h.
template <class T>
__global__ void __launch_bounds__(32 * kMoeWarps) moe_down_kernel(const MoeFfnParams p) {
  const int o = simt::block_x() * kMoeWarps + simt::warp(), pair = simt::block_y();
  if (o >= p.down.first.rows) return;  // the whole warp
  const float d = dot_row<T>(expert(p.down, p.ids[pair]), o, p.gate_out.data + pair * p.gate_out.stride);
  if (simt::lane() == 0) p.down_out.data[pair * p.down_out.stride + o] = d;
}

}  // namespace dsr1::kernels
