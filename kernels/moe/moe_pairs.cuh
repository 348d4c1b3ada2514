// Experts one (row, choice) pair at a time: right for every type and any number of rows, reading an expert once a pair.
// What a decode step of one row needs anyway; batches go through the grouped form.
#pragma once

#include "kernels/moe/moe_dots.cuh"

namespace dsr1::kernels {

inline constexpr int kMoeWarps = 4;

struct MoePairsParams {
  MoeFfnParams m;
  Activations x, hidden;  // of the rows; of the pairs' silu(gate) * up
};

// gate_out[pair][o] = silu(Gate x) * Up x. block_x: kMoeWarps of n_ff_exp, a warp each; block_y: pair.
template <class T>
__global__ void __launch_bounds__(32 * kMoeWarps, 5) moe_gate_up_kernel(const MoePairsParams p) {
  const int o = simt::block_x() * kMoeWarps + simt::warp(), pair = simt::block_y();
  if (o >= p.m.gate.first.rows) return;  // the whole warp
  const int e = p.m.ids[pair];
  const Weight w[2] = {expert(p.m.gate, e), expert(p.m.up, e)};
  float sum[2];
  dots<T>(w, {o, o}, input_of<T>(p.x, p.m.x, pair / p.m.n_used), sum);
  if (simt::lane() == 0) p.m.gate_out.data[pair * p.m.gate_out.stride + o] = gated(sum[0], sum[1]);
}

// down_out[pair][o] = Down h.
template <class T>
__global__ void __launch_bounds__(32 * kMoeWarps, 6) moe_down_kernel(const MoePairsParams p) {
  const int o = simt::block_x() * kMoeWarps + simt::warp(), pair = simt::block_y();
  if (o >= p.m.down.first.rows) return;  // the whole warp
  const Weight w[1] = {expert(p.m.down, p.m.ids[pair])};
  float sum[1];
  dots<T>(w, {o}, input_of<T>(p.hidden, p.m.gate_out, pair), sum);
  if (simt::lane() == 0) p.m.down_out.data[pair * p.m.down_out.stride + o] = sum[0];
}

}  // namespace dsr1::kernels
