#pragma once

#include "kernels/attention/flash.h"
#include "kernels/attention/kv.cuh"
#include "kernels/attention/tile.cuh"

namespace dsr1::kernels {

struct FlashParams {
  AttentionParams a;
  FlashPlan plan;
  int32_t group;  // query heads of a KV head
};

template <int kWarps_, int kDim_>
struct FlashTraits {
  static constexpr int kWarps = kWarps_, kThreads = 32 * kWarps;
  static constexpr int kDim = kDim_;  // of keys and values, rounded up
  static constexpr int kKeys = 32;    // of a block
  static constexpr int kRow =
      kDim + 8;  // halves of a row in shared memory: 16 bytes more, so that ldmatrix meets 8 banks
  struct SharedStorage {
    alignas(16) simt::Half k[2][kKeys][kRow], v[2][kKeys][kRow];
  };
};

// kKeys rows of the cache from key `first` on, `valid` of them; the rest, and columns beyond dim, become zero.
template <class Kv, class Tr>
DSR1_DEVICE void load_rows(simt::Half (&to)[Tr::kKeys][Tr::kRow], const uint8_t* rows, int64_t row_bytes, int dim,
                           int first, int valid) {
  constexpr int chunks = Tr::kDim / 8;
  for (int i = simt::thread(); i < Tr::kKeys * chunks; i += Tr::kThreads) {
    const int key = i / chunks, c = i % chunks * 8;
    const bool there = key < valid && c < dim;
    const uint8_t* row = rows + (first + (there ? key : 0)) * row_bytes;
    if constexpr (Kv::kType == KvF16::kType) {
      simt::async_copy16(&to[key][c], there ? row + 2 * c : rows, there ? 16 : 0);
    } else {
      for (int j = 0; j < 8; ++j) to[key][c + j] = simt::half_of(there ? Kv::at(row, c + j) : 0.0f);
    }
  }
}

// block_x: KV head, block_y: tile, block_z: split.
template <class Kv, class Tr>
DSR1_DEVICE void flash_body(const FlashParams& p) {
  auto& s = simt::shared<typename Tr::SharedStorage>();
  constexpr int k_steps = Tr::kDim / 16, v_tiles = Tr::kDim / 8;
  const int hk = simt::block_x(), tile = simt::block_y(), split = simt::block_z(), lane = simt::lane();
  const AttentionParams& a = p.a;
  const int row0 = tile * p.plan.tokens_per_tile, left = a.batch.rows - row0;
  const int tokens = left < p.plan.tokens_per_tile ? left : p.plan.tokens_per_tile;
  const KvBase base = a.batch.bases[a.batch.sequence[row0]];
  const uint8_t* keys = base.k + hk * a.cache.n_ctx * a.cache.k_row_bytes;
  const uint8_t* values = base.v + hk * a.cache.n_ctx * a.cache.v_row_bytes;

  // This split's keys, in whole blocks, of those the tile's last token sees.
  const int seen = a.batch.position[row0 + tokens - 1] + 1, all_blocks = (seen + Tr::kKeys - 1) / Tr::kKeys;
  const int per_split = (all_blocks + p.plan.n_splits - 1) / p.plan.n_splits;
  const int first = split * per_split * Tr::kKeys;
  const int end = first + per_split * Tr::kKeys < seen ? first + per_split * Tr::kKeys : seen;
  const int n_blocks = end > first ? (end - first + Tr::kKeys - 1) / Tr::kKeys : 0;

  // The lane's two pairs: rows lane / 4 and + 8 of the warp's sixteen.
  int row[2], head[2], sees[2];
  for (int i = 0; i < 2; ++i) {
    const int m = simt::warp() * 16 + lane / 4 + 8 * i, token = m / p.group;
    const bool there = token < tokens;
    row[i] = row0 + (there ? token : 0);
    head[i] = hk * p.group + m % p.group;
    sees[i] = there ? a.batch.position[row[i]] + 1 : 0;
  }
  uint32_t q[k_steps][4];
  const float to_log2 = a.scale * 1.44269504f;
#pragma unroll
  for (int k = 0; k < k_steps; ++k)
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int i = r & 1, c = k * 16 + (lane % 4) * 2 + 8 * (r >> 1);
      const bool there = sees[i] > 0 && c < a.cache.k_dim;
      const float* from = a.q.data + row[i] * a.q.stride + int64_t{head[i]} * a.cache.k_dim + c;
      q[k][r] = there ? pack_halves(from[0] * to_log2, from[1] * to_log2) : 0;
    }

  RunningSoftmax<Tr::kDim> state;
  auto load = [&](int block) {
    const int key = first + block * Tr::kKeys, valid = seen - key;
    load_rows<Kv, Tr>(s.k[block & 1], keys, a.cache.k_row_bytes, a.cache.k_dim, key, valid);
    load_rows<Kv, Tr>(s.v[block & 1], values, a.cache.v_row_bytes, a.cache.v_dim, key, valid);
  };
  if (n_blocks > 0) load(0);
  simt::async_commit();
  for (int block = 0; block < n_blocks; ++block) {
    if (block + 1 < n_blocks) load(block + 1);
    simt::async_commit();
    simt::async_wait<1>();
    simt::sync_block();  // everybody's part of this block has landed
    const int key0 = first + block * Tr::kKeys;
    attend_tile(q, s.k[block & 1], s.v[block & 1], state, [&](int i, int key) { return key0 + key >= sees[i]; });
    simt::sync_block();  // the tile is free for the block after the next
  }
  simt::async_wait<0>();

  state.join_lanes();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float inverse = state.sum[i] > 0 ? 1.0f / state.sum[i] : 0.0f;
    if (sees[i] == 0) continue;
    const int64_t pair = int64_t{row[i]} * a.n_head + head[i];
    float* to = a.out.data + row[i] * a.out.stride + int64_t{head[i]} * a.cache.v_dim;
    if (p.plan.n_splits > 1) {
      to = p.plan.partial + (int64_t{split} * a.batch.rows * a.n_head + pair) * (a.cache.v_dim + 1);
      if (lane % 4 == 0) to[a.cache.v_dim] = state.sum[i] > 0 ? state.largest[i] + simt::log2(state.sum[i]) : -INFINITY;
    }
#pragma unroll
    for (int n = 0; n < v_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int c = n * 8 + (lane % 4) * 2 + e;
        if (c < a.cache.v_dim) to[c] = state.out[n][2 * i + e] * inverse;
      }
  }
}

template <class Kv, class Tr>
__global__ void __launch_bounds__(Tr::kThreads) flash_kernel(const FlashParams p) {
  flash_body<Kv, Tr>(p);
}

}  // namespace dsr1::kernels
