// One block of expanded MLA keys on tensor cores: the loop of flash.cuh over keys and values that are computed
// (float32, a head's own), not cached, and whose running maximum, sum and output are carried from block to block.
#pragma once

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/attention/flash.cuh"

namespace dsr1::kernels {

template <int kK_, int kV_>
struct ExpandedTraits {
  static constexpr int kWarps = 8, kThreads = 32 * kWarps, kRows = 16 * kWarps;
  static constexpr int kK = kK_, kV = kV_;  // rounded up: multiples of 16
  static constexpr int kKeys = 32;
  struct SharedStorage {
    alignas(16) simt::Half k[kKeys][kK + 8], v[kKeys][kV + 8];
  };
};

template <class Tr, int kRow>
DSR1_DEVICE void load_floats(simt::Half (&to)[Tr::kKeys][kRow], const float* rows, int64_t stride, int dim, int valid) {
  constexpr int pairs = (kRow - 8) / 2;
  for (int i = simt::thread(); i < Tr::kKeys * pairs; i += Tr::kThreads) {
    const int key = i / pairs, c = i % pairs * 2;
    const float* from = rows + key * stride + c;
    const bool there = key < valid && c < dim;
    auto* word = reinterpret_cast<uint32_t*>(&to[key][c]);
    *word = there ? pack_halves(from[0], c + 1 < dim ? from[1] : 0.0f) : 0;
  }
}

// block_x: head, block_y: kRows rows of the batch.
template <class Tr>
DSR1_DEVICE void expanded_flash_body(const ExpandedAttentionParams& p) {
  auto& s = simt::shared<typename Tr::SharedStorage>();
  constexpr int k_steps = Tr::kK / 16, n_tiles = Tr::kKeys / 8, v_tiles = Tr::kV / 8;
  const int h = simt::block_x(), row0 = simt::block_y() * Tr::kRows, lane = simt::lane();
  const int last_row = row0 + Tr::kRows < p.q.rows ? row0 + Tr::kRows - 1 : p.q.rows - 1;
  const int visible = p.position[last_row] + 1 - p.keys_first, n_keys = visible < p.n_keys ? visible : p.n_keys;
  const float* keys = p.k.data + int64_t{h} * p.key_stride * p.k.stride;
  const float* values = p.v.data + int64_t{h} * p.key_stride * p.v.stride;

  int row[2], sees[2];  // of the lane's two rows; of this block's keys
  float* state[2];
  float largest[2], sum[2];
  uint32_t q[k_steps][4];
  float out[v_tiles][4] = {};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = row0 + simt::warp() * 16 + lane / 4 + 8 * i;
    const bool there = r < p.q.rows;
    row[i] = there ? r : -1;
    sees[i] = there ? p.position[r] + 1 - p.keys_first : 0;
    state[i] = p.state.data + int64_t{there ? r : 0} * p.state.stride + 2 * h;
    const bool carried = there && !p.first;
    largest[i] = carried ? state[i][0] : -INFINITY;
    sum[i] = carried && lane % 4 == 0 ? state[i][1] : 0.0f;  // one of the four lanes of a row holds what was
    if (!carried) continue;
    const float* from = p.out.data + int64_t{r} * p.out.stride + int64_t{h} * p.v_dim;
#pragma unroll
    for (int n = 0; n < v_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int c = n * 8 + (lane % 4) * 2 + e;
        if (c < p.v_dim) out[n][2 * i + e] = from[c];
      }
  }
  const float to_log2 = p.scale * 1.44269504f;
#pragma unroll
  for (int k = 0; k < k_steps; ++k)
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int i = r & 1, c = k * 16 + (lane % 4) * 2 + 8 * (r >> 1);
      const bool there = row[i] >= 0 && c < p.k_dim;
      const float* from = p.q.data + int64_t{there ? row[i] : 0} * p.q.stride + int64_t{h} * p.k_dim + c;
      q[k][r] = there ? pack_halves(from[0] * to_log2, c + 1 < p.k_dim ? from[1] * to_log2 : 0.0f) : 0;
    }

  for (int first = 0; first < n_keys; first += Tr::kKeys) {
    load_floats<Tr>(s.k, keys + first * p.k.stride, p.k.stride, p.k_dim, n_keys - first);
    load_floats<Tr>(s.v, values + first * p.v.stride, p.v.stride, p.v_dim, n_keys - first);
    simt::sync_block();  // the tile is there
    float score[n_tiles][4] = {};
#pragma unroll
    for (int k = 0; k < k_steps; ++k)
#pragma unroll
      for (int n = 0; n < n_tiles; ++n) {
        uint32_t b[2];
        simt::ldmatrix_x2(b, &s.k[n * 8 + lane % 8][k * 16 + lane / 8 % 2 * 8]);
        simt::mma_m16n8k16<simt::Half>(score[n], q[k], b);
      }
    const int key0 = first + (lane % 4) * 2;
    float top[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < n_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = key0 + n * 8 + (e & 1);
        if (key >= sees[e >> 1] || key >= n_keys) score[n][e] = -INFINITY;
        top[e >> 1] = score[n][e] > top[e >> 1] ? score[n][e] : top[e >> 1];
      }
    float keep[2], from[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      for (int bits = 1; bits <= 2; bits *= 2) {
        const float other = simt::shfl_xor(top[i], bits);
        top[i] = other > top[i] ? other : top[i];
      }
      from[i] = top[i] == -INFINITY ? 0.0f : top[i];
      keep[i] = simt::exp2(largest[i] - from[i]);
      largest[i] = top[i];
      sum[i] *= keep[i];
    }
#pragma unroll
    for (int n = 0; n < v_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[n][e] *= keep[e >> 1];
#pragma unroll
    for (int n = 0; n < n_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        score[n][e] = simt::exp2(score[n][e] - from[e >> 1]);
        sum[e >> 1] += score[n][e];
      }
#pragma unroll
    for (int k = 0; k < n_tiles / 2; ++k) {
      const uint32_t w[4] = {
          pack_halves(score[2 * k][0], score[2 * k][1]), pack_halves(score[2 * k][2], score[2 * k][3]),
          pack_halves(score[2 * k + 1][0], score[2 * k + 1][1]), pack_halves(score[2 * k + 1][2], score[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < v_tiles; ++n) {
        uint32_t b[2];
        simt::ldmatrix_x2_trans(b, &s.v[k * 16 + lane % 16][n * 8]);
        simt::mma_m16n8k16<simt::Half>(out[n], w, b);
      }
    }
    simt::sync_block();  // before the next tile overwrites it
  }

#pragma unroll
  for (int i = 0; i < 2; ++i) {
    for (int bits = 1; bits <= 2; bits *= 2) sum[i] += simt::shfl_xor(sum[i], bits);
    if (row[i] < 0) continue;
    if (lane % 4 == 0) {
      state[i][0] = largest[i];
      state[i][1] = sum[i];
    }
    const float factor = p.last ? 1.0f / sum[i] : 1.0f;
    float* to = p.out.data + int64_t{row[i]} * p.out.stride + int64_t{h} * p.v_dim;
#pragma unroll
    for (int n = 0; n < v_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int c = n * 8 + (lane % 4) * 2 + e;
        if (c < p.v_dim) to[c] = out[n][2 * i + e] * factor;
      }
  }
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads) expanded_flash_kernel(const ExpandedAttentionParams p) {
  expanded_flash_body<Tr>(p);
}

}  // namespace dsr1::kernels
