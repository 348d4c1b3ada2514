#pragma once

#include <cmath>

#include "kernels/attention/flash.cuh"
#include "kernels/attention/mla.h"

namespace dsr1::kernels {

template <int kK_, int kV_>
struct MlaTraits {
  static constexpr int kWarps = 8, kThreads = 32 * kWarps;
  static constexpr int kDim = kK_, kV = kV_;  // of keys and values, rounded up: multiples of 16 and of 64
  static constexpr int kKeys = 32;
  static constexpr int kRow = kDim + 8;
  static constexpr int kTilesV = kV / kWarps / 8;  // value columns of a warp, in eights
  static constexpr int kParts = 4;                 // of a score's sum, a warp each
  static_assert(kDim % (16 * kParts) == 0 && kKeys == 32);
  struct SharedStorage {
    alignas(16) simt::Half q[kMlaHeads][kRow], k[kKeys][kRow];
    alignas(16) simt::Half weight[kMlaHeads][kKeys + 8];
    float score[kParts][kMlaHeads][kKeys + 1];
    float keep[kMlaHeads], sum[kMlaHeads], largest[kMlaHeads];
  };
};

// block_x: 32 heads, block_y: row, block_z: split.
template <class Kv, class Tr>
DSR1_DEVICE void mla_body(const FlashParams& p) {
  auto& s = simt::shared<typename Tr::SharedStorage>();
  const int lane = simt::lane(), warp = simt::warp(), h0 = simt::block_x() * kMlaHeads, row = simt::block_y();
  const int split = simt::block_z();
  const AttentionParams& a = p.a;
  const int heads = a.n_head - h0 < kMlaHeads ? a.n_head - h0 : kMlaHeads;
  const uint8_t* latents = a.batch.bases[a.batch.sequence[row]].k;
  const int seen = a.batch.position[row] + 1, all_blocks = (seen + Tr::kKeys - 1) / Tr::kKeys;
  const int per_split = (all_blocks + p.plan.n_splits - 1) / p.plan.n_splits;
  const int first = split * per_split * Tr::kKeys;
  const int end = first + per_split * Tr::kKeys < seen ? first + per_split * Tr::kKeys : seen;

  const float to_log2 = a.scale * 1.44269504f;
  for (int i = simt::thread(); i < kMlaHeads * Tr::kDim; i += Tr::kThreads) {
    const int h = i / Tr::kDim, c = i % Tr::kDim;
    const bool there = h < heads && c < a.cache.k_dim;
    s.q[h][c] =
        simt::half_of(there ? a.q.data[row * a.q.stride + int64_t{h0 + h} * a.cache.k_dim + c] * to_log2 : 0.0f);
  }
  if (simt::thread() < kMlaHeads) {
    s.largest[simt::thread()] = -INFINITY;
    s.sum[simt::thread()] = 0;
  }
  float out[2][Tr::kTilesV][4] = {};
  for (int key0 = first; key0 < end; key0 += Tr::kKeys) {
    load_rows<Kv, Tr>(s.k, latents, a.cache.k_row_bytes, a.cache.k_dim, key0, seen - key0);
    simt::async_commit();
    simt::async_wait<0>();
    simt::sync_block();  // the tile, and before the first: queries and state

    // A warp takes sixteen heads, all keys, and a quarter of the columns: 384 bytes of shared memory a product, where a
    // tile of eight keys over all columns would load 768.
    const int m = warp / Tr::kParts * 16, part = warp % Tr::kParts;
    float score[4][4] = {};
#pragma unroll 3
    for (int i = 0; i < Tr::kDim / 16 / Tr::kParts; ++i) {
      const int k = (part * (Tr::kDim / 16 / Tr::kParts) + i) * 16;
      uint32_t q[4];
      simt::ldmatrix_x4(q, &s.q[m + lane % 16][k + lane / 16 * 8]);
#pragma unroll
      for (int n = 0; n < 4; n += 2) {
        uint32_t b[4];
        simt::ldmatrix_x4(b, &s.k[n * 8 + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]);
        simt::mma_m16n8k16<simt::Half>(score[n], q, {b[0], b[1]});
        simt::mma_m16n8k16<simt::Half>(score[n + 1], q, {b[2], b[3]});
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const simt::RowCol at = simt::FragC::at(lane, i);
        s.score[part][m + at.row][n * 8 + at.col] = score[n][i];
      }
    simt::sync_block();
    // Softmax of four heads a warp, a key a lane. The first key of a split is always seen, so the maximum is finite.
#pragma unroll
    for (int i = 0; i < kMlaHeads / Tr::kWarps; ++i) {
      const int h = warp * (kMlaHeads / Tr::kWarps) + i;
      float x = 0;
#pragma unroll
      for (int j = 0; j < Tr::kParts; ++j) x += s.score[j][h][lane];
      if (key0 + lane >= seen) x = -INFINITY;
      const float before = s.largest[h];
      const float top = simt::reduce_max(x), largest = top > before ? top : before;
      const float w = simt::exp2(x - largest), sum = simt::reduce_sum(w), keep = simt::exp2(before - largest);
      s.weight[h][lane] = simt::half_of(w);
      simt::sync_warp();  // every lane has read the state
      if (lane == 0) {
        s.largest[h] = largest;
        s.keep[h] = keep;
        s.sum[h] = simt::fma(s.sum[h], keep, sum);
      }
    }
    simt::sync_block();
    uint32_t w[2][2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int k = 0; k < 2; ++k) simt::ldmatrix_x4(w[i][k], &s.weight[16 * i + lane % 16][16 * k + lane / 16 * 8]);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float keep[2] = {s.keep[16 * i + lane / 4], s.keep[16 * i + lane / 4 + 8]};
#pragma unroll
      for (int t = 0; t < Tr::kTilesV; ++t)
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][t][e] *= keep[e >> 1];
    }
#pragma unroll
    for (int t = 0; t < Tr::kTilesV; ++t)
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        uint32_t b[2];
        simt::ldmatrix_x2_trans(b, &s.k[16 * k + lane % 16][(warp * Tr::kTilesV + t) * 8]);
#pragma unroll
        for (int i = 0; i < 2; ++i) simt::mma_m16n8k16<simt::Half>(out[i][t], w[i][k], b);
      }
    simt::sync_block();  // the tile is free
  }
  simt::sync_block();  // a split without keys: the state is there
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const simt::RowCol at = simt::FragC::at(lane, e);
      const int h = 16 * i + at.row;
      if (h >= heads) continue;
      const float sum = s.sum[h], inverse = sum > 0 ? 1.0f / sum : 0.0f;
      float* to = a.out.data + row * a.out.stride + int64_t{h0 + h} * a.cache.v_dim;
      if (p.plan.n_splits > 1) {
        const int64_t pair = int64_t{row} * a.n_head + h0 + h;
        to = p.plan.partial + (int64_t{split} * a.batch.rows * a.n_head + pair) * (a.cache.v_dim + 1);
        if (warp == 0 && at.col == 0) to[a.cache.v_dim] = sum > 0 ? s.largest[h] + simt::log2(sum) : -INFINITY;
      }
#pragma unroll
      for (int t = 0; t < Tr::kTilesV; ++t) {
        const int c = (warp * Tr::kTilesV + t) * 8 + at.col;
        if (c < a.cache.v_dim) to[c] = out[i][t][e] * inverse;
      }
    }
}

template <class Kv, class Tr>
__global__ void __launch_bounds__(Tr::kThreads, 2) mla_kernel(const FlashParams p) {
  mla_body<Kv, Tr>(p);
}

}  // namespace dsr1::kernels
