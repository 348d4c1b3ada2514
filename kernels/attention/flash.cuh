#pragma once

#include <cmath>

#include "kernels/attention/flash.h"
#include "kernels/attention/kv.cuh"

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

DSR1_DEVICE uint32_t pack_halves(float lo, float hi) {
  return simt::half_of(lo).bits | static_cast<uint32_t>(simt::half_of(hi).bits) << 16;
}

// block_x: KV head, block_y: tile, block_z: split.
template <class Kv, class Tr>
DSR1_DEVICE void flash_body(const FlashParams& p) {
  auto& s = simt::shared<typename Tr::SharedStorage>();
  constexpr int k_steps = Tr::kDim / 16, n_tiles = Tr::kKeys / 8, v_tiles = Tr::kDim / 8;
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

  float out[v_tiles][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
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
    const auto& k_tile = s.k[block & 1];
    const auto& v_tile = s.v[block & 1];

    float score[n_tiles][4] = {};
#pragma unroll
    for (int k = 0; k < k_steps; ++k)
#pragma unroll
      for (int n = 0; n < n_tiles; ++n) {
        uint32_t b[2];
        simt::ldmatrix_x2(b, &k_tile[n * 8 + lane % 8][k * 16 + lane / 8 % 2 * 8]);
        simt::mma_m16n8k16<simt::Half>(score[n], q[k], b);
      }
    // Keys beyond what a row sees are left out; then the running maximum over the four lanes of a row.
    const int key0 = first + block * Tr::kKeys + (lane % 4) * 2;
    float top[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < n_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (key0 + n * 8 + (e & 1) >= sees[e >> 1]) score[n][e] = -INFINITY;
        top[e >> 1] = score[n][e] > top[e >> 1] ? score[n][e] : top[e >> 1];
      }
    float keep[2], from[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      for (int bits = 1; bits <= 2; bits *= 2) {
        const float other = simt::shfl_xor(top[i], bits);
        top[i] = other > top[i] ? other : top[i];
      }
      from[i] = top[i] == -INFINITY ? 0.0f : top[i];  // a row that sees nothing yet: weights 0, not NaN
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
      // The scores' fragments are those of A over 16 keys: two neighbouring tiles of eight.
#pragma unroll
    for (int k = 0; k < n_tiles / 2; ++k) {
      const uint32_t w[4] = {
          pack_halves(score[2 * k][0], score[2 * k][1]), pack_halves(score[2 * k][2], score[2 * k][3]),
          pack_halves(score[2 * k + 1][0], score[2 * k + 1][1]), pack_halves(score[2 * k + 1][2], score[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < v_tiles; ++n) {
        uint32_t b[2];
        simt::ldmatrix_x2_trans(b, &v_tile[k * 16 + lane % 16][n * 8]);
        simt::mma_m16n8k16<simt::Half>(out[n], w, b);
      }
    }
    simt::sync_block();  // the tile is free for the block after the next
  }
  simt::async_wait<0>();

#pragma unroll
  for (int i = 0; i < 2; ++i) {
    for (int bits = 1; bits <= 2; bits *= 2) sum[i] += simt::shfl_xor(sum[i], bits);
    const float inverse = sum[i] > 0 ? 1.0f / sum[i] : 0.0f;
    if (sees[i] == 0) continue;
    const int64_t pair = int64_t{row[i]} * a.n_head + head[i];
    float* to = a.out.data + row[i] * a.out.stride + int64_t{head[i]} * a.cache.v_dim;
    if (p.plan.n_splits > 1) {
      to = p.plan.partial + (int64_t{split} * a.batch.rows * a.n_head + pair) * (a.cache.v_dim + 1);
      if (lane % 4 == 0) to[a.cache.v_dim] = sum[i] > 0 ? largest[i] + simt::log2(sum[i]) : -INFINITY;
    }
#pragma unroll
    for (int n = 0; n < v_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int c = n * 8 + (lane % 4) * 2 + e;
        if (c < a.cache.v_dim) to[c] = out[n][2 * i + e] * inverse;
      }
  }
}

template <class Kv, class Tr>
__global__ void __launch_bounds__(Tr::kThreads) flash_kernel(const FlashParams p) {
  flash_body<Kv, Tr>(p);
}

}  // namespace dsr1::kernels
