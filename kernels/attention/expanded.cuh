// One block of expanded MLA keys on tensor cores: the loop of flash.cuh over keys and values that are computed
// (float32, a head's own), not cached, and whose running maximum, sum and output are carried from block to block.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/attention/tile.cuh"

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
  constexpr int k_steps = Tr::kK / 16, v_tiles = Tr::kV / 8;
  const int h = simt::block_x(), row0 = simt::block_y() * Tr::kRows, lane = simt::lane();
  const int last_row = row0 + Tr::kRows < p.q.rows ? row0 + Tr::kRows - 1 : p.q.rows - 1;
  const int visible = p.position[last_row] + 1 - p.keys_first, n_keys = visible < p.n_keys ? visible : p.n_keys;
  const float* keys = p.k.data + int64_t{h} * p.key_stride * p.k.stride;
  const float* values = p.v.data + int64_t{h} * p.key_stride * p.v.stride;

  int row[2], sees[2];  // of the lane's two rows; of this block's keys
  float* kept[2];
  RunningSoftmax<Tr::kV> state;
  uint32_t q[k_steps][4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = row0 + simt::warp() * 16 + lane / 4 + 8 * i;
    const bool there = r < p.q.rows;
    row[i] = there ? r : -1;
    sees[i] = there ? p.position[r] + 1 - p.keys_first : 0;
    kept[i] = p.state.data + int64_t{there ? r : 0} * p.state.stride + 2 * h;
    const bool carried = there && !p.first;
    if (!carried) continue;
    state.largest[i] = kept[i][0];
    if (lane % 4 == 0) state.sum[i] = kept[i][1];  // one of the four lanes of a row holds what was
    const float* from = p.out.data + int64_t{r} * p.out.stride + int64_t{h} * p.v_dim;
#pragma unroll
    for (int n = 0; n < v_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int c = n * 8 + (lane % 4) * 2 + e;
        if (c < p.v_dim) state.out[n][2 * i + e] = from[c];
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
    attend_tile(q, s.k, s.v, state, [&](int i, int key) { return first + key >= sees[i] || first + key >= n_keys; });
    simt::sync_block();  // before the next tile overwrites it
  }

  state.join_lanes();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (row[i] < 0) continue;
    if (lane % 4 == 0) {
      kept[i][0] = state.largest[i];
      kept[i][1] = state.sum[i];
    }
    const float factor = p.last ? 1.0f / state.sum[i] : 1.0f;
    float* to = p.out.data + int64_t{row[i]} * p.out.stride + int64_t{h} * p.v_dim;
#pragma unroll
    for (int n = 0; n < v_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int c = n * 8 + (lane % 4) * 2 + e;
        if (c < p.v_dim) to[c] = state.out[n][2 * i + e] * factor;
      }
  }
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads) expanded_flash_kernel(const ExpandedAttentionParams p) {
  expanded_flash_body<Tr>(p);
}

}  // namespace dsr1::kernels
