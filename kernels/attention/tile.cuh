// One tile of keys on tensor cores, for the kernels that keep a warp's 16 queries, its running softmax and its weighted
// sum in registers (flash.cuh, expanded.cuh): scores, online softmax in powers of two, weighted sum.
#pragma once

#include <cmath>

#include "kernels/simt/simt.h"

namespace dsr1::kernels {

DSR1_DEVICE uint32_t pack_halves(float lo, float hi) {
  return simt::half_of(lo).bits | static_cast<uint32_t>(simt::half_of(hi).bits) << 16;
}

// A lane's part of two query rows, lane / 4 and + 8 of the warp's sixteen. sum is over the lane's own keys until
// join_lanes; kV: columns of a value row, a multiple of 16.
template <int kV>
struct RunningSoftmax {
  float out[kV / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};

  DSR1_DEVICE void join_lanes() {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      for (int bits = 1; bits <= 2; bits *= 2) sum[i] += simt::shfl_xor(sum[i], bits);
  }
};

// q: fragments of A, scaled by log2(e) too. keys [kKeys][], values [kKeys][], both in shared memory; hidden(i, key):
// whether row i of the two does not see key `key` of the tile.
template <int kKeys, int kSteps, int kKeyRow, int kValueRow, int kV, class Hidden>
DSR1_DEVICE void attend_tile(const uint32_t (&q)[kSteps][4], const simt::Half (&keys)[kKeys][kKeyRow],
                             const simt::Half (&values)[kKeys][kValueRow], RunningSoftmax<kV>& r, Hidden hidden) {
  constexpr int n_tiles = kKeys / 8, v_tiles = kV / 8;
  static_assert(n_tiles % 2 == 0 && v_tiles % 2 == 0);
  const int lane = simt::lane();
  float score[n_tiles][4] = {};
#pragma unroll
  for (int k = 0; k < kSteps; ++k)
#pragma unroll
    for (int n = 0; n < n_tiles; n += 2) {  // a load of four 8 x 8 matrices: sixteen keys
      uint32_t b[4];
      simt::ldmatrix_x4(b, &keys[n * 8 + lane / 16 * 8 + lane % 8][k * 16 + lane / 8 % 2 * 8]);
      simt::mma_m16n8k16<simt::Half>(score[n], q[k], {b[0], b[1]});
      simt::mma_m16n8k16<simt::Half>(score[n + 1], q[k], {b[2], b[3]});
    }
  float top[2] = {r.largest[0], r.largest[1]};
#pragma unroll
  for (int n = 0; n < n_tiles; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (hidden(e >> 1, n * 8 + (lane % 4) * 2 + (e & 1))) score[n][e] = -INFINITY;
      top[e >> 1] = score[n][e] > top[e >> 1] ? score[n][e] : top[e >> 1];
    }
  float keep[2], from[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    for (int bits = 1; bits <= 2; bits *= 2) {  // the four lanes of a row
      const float other = simt::shfl_xor(top[i], bits);
      top[i] = other > top[i] ? other : top[i];
    }
    from[i] = top[i] == -INFINITY ? 0.0f : top[i];  // a row that sees nothing yet: weights 0, not NaN
    keep[i] = simt::exp2(r.largest[i] - from[i]);
    r.largest[i] = top[i];
    r.sum[i] *= keep[i];
  }
#pragma unroll
  for (int n = 0; n < v_tiles; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) r.out[n][e] *= keep[e >> 1];
#pragma unroll
  for (int n = 0; n < n_tiles; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      score[n][e] = simt::exp2(score[n][e] - from[e >> 1]);
      r.sum[e >> 1] += score[n][e];
    }
    // The scores' fragments are those of A over 16 keys: two neighbouring tiles of eight.
#pragma unroll
  for (int k = 0; k < n_tiles / 2; ++k) {
    const uint32_t w[4] = {pack_halves(score[2 * k][0], score[2 * k][1]), pack_halves(score[2 * k][2], score[2 * k][3]),
                           pack_halves(score[2 * k + 1][0], score[2 * k + 1][1]),
                           pack_halves(score[2 * k + 1][2], score[2 * k + 1][3])};
#pragma unroll
    for (int n = 0; n < v_tiles; n += 2) {
      uint32_t b[4];
      simt::ldmatrix_x4_trans(b, &values[k * 16 + lane % 16][(n + lane / 16) * 8]);
      simt::mma_m16n8k16<simt::Half>(r.out[n], w, {b[0], b[1]});
      simt::mma_m16n8k16<simt::Half>(r.out[n + 1], w, {b[2], b[3]});
    }
  }
}

}  // namespace dsr1::kernels
