// Experts of a few rows with int8 activations: a warp an output column of a (row, choice) pair, gate and up together.
#pragma once

#include "kernels/moe/moe.h"
#include "kernels/moe/moe_pairs.cuh"
#include "kernels/quant/pieces.cuh"

namespace dsr1::kernels {

struct MoeInt8Params {
  MoeFfnParams m;
  Activations x, hidden;  // of the rows; of the pairs' silu(gate) * up
};

// The warp's dot product of weight row o with a row of activations.
template <class T>
DSR1_DEVICE float dot_row_int8(const Weight& w, int o, const int8_t* q, const ActGroup* groups) {
  using P = Pieces<T>;
  const int blocks = w.cols / T::kElements, part = simt::lane() % P::kParts;
  float sum = 0;
#pragma unroll 2
  for (int b = simt::lane() / P::kParts; b < blocks; b += simt::kWarp / P::kParts)
    sum += dot<T>(P::load(w, o, b, part), part, q + b * T::kElements, groups + b * (T::kElements / 32));
  return simt::reduce_sum(sum);
}

template <class T>
__global__ void __launch_bounds__(32 * kMoeWarps) moe_gate_up_int8_kernel(const MoeInt8Params p) {
  const int o = simt::block_x() * kMoeWarps + simt::warp(), pair = simt::block_y();
  if (o >= p.m.gate.first.rows) return;  // the whole warp
  const int e = p.m.ids[pair];
  const int64_t at = pair / p.m.n_used * p.x.stride;
  const float g = dot_row_int8<T>(expert(p.m.gate, e), o, p.x.q + at, p.x.groups + at / 32);
  const float u = dot_row_int8<T>(expert(p.m.up, e), o, p.x.q + at, p.x.groups + at / 32);
  if (simt::lane() == 0) p.m.gate_out.data[pair * p.m.gate_out.stride + o] = g / (1.0f + simt::exp(-g)) * u;
}

template <class T>
__global__ void __launch_bounds__(32 * kMoeWarps) moe_down_int8_kernel(const MoeInt8Params p) {
  const int o = simt::block_x() * kMoeWarps + simt::warp(), pair = simt::block_y();
  if (o >= p.m.down.first.rows) return;  // the whole warp
  const int64_t at = pair * p.hidden.stride;
  const float d = dot_row_int8<T>(expert(p.m.down, p.m.ids[pair]), o, p.hidden.q + at, p.hidden.groups + at / 32);
  if (simt::lane() == 0) p.m.down_out.data[pair * p.m.down_out.stride + o] = d;
}

}  // namespace dsr1::kernels
