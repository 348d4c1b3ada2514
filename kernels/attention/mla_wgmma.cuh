#pragma once

#include <cmath>

#include "kernels/attention/flash.cuh"
#include "kernels/attention/mla_wgmma.h"

namespace dsr1::kernels {

struct MlaWgmma {
  static constexpr int kDim = 576, kV = 512, kKeys = 64, kThreads = 256;
  static constexpr int kPanels = kDim / 64;     // of 64 columns, swizzled (simt::swizzled); the last is the key's alone
  static constexpr int kPanel = 64 * 8;         // in 16 bytes
  static constexpr int kOfGroup = kV / 64 / 2;  // whole panels of the scores' columns that a warpgroup takes
  struct SharedStorage {
    alignas(1024) simt::Bytes16 q[kPanels][kPanel], k[2][kPanels][kPanel], weight[kPanel];
    float keep[kMlaWgmmaHeads], sum[kMlaWgmmaHeads], largest[kMlaWgmmaHeads];
  };
  static_assert(sizeof(SharedStorage) <= 227 << 10);
};

// kKeys latents from key `first` on; of those beyond the seen ones, zeros.
DSR1_DEVICE void load_latents(simt::Bytes16 (&to)[MlaWgmma::kPanels][MlaWgmma::kPanel], const uint8_t* latents,
                              int64_t row_bytes, int first, int seen) {
  const int part = simt::thread() % 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = simt::thread() / 8 + 32 * half;
    const bool there = first + r < seen;
    const uint8_t* row = latents + (there ? first + r : 0) * row_bytes + part * 16;
#pragma unroll
    for (int i = 0; i < MlaWgmma::kPanels; ++i)
      simt::async_copy16(&to[i][simt::swizzled(r, part)], row + i * 128, there ? 16 : 0);
  }
}

// block_x: 64 heads, block_y: row, block_z: split.
DSR1_DEVICE void mla_wgmma_body(const FlashParams& p) {
  using Tr = MlaWgmma;
  auto& s = simt::shared<Tr::SharedStorage>();
  const int lane = simt::lane(), group = simt::thread() / 128, warp = simt::warp() % 4;
  const int h0 = simt::block_x() * kMlaWgmmaHeads, row = simt::block_y(), split = simt::block_z();
  const AttentionParams& a = p.a;
  const int heads = a.n_head - h0 < kMlaWgmmaHeads ? a.n_head - h0 : kMlaWgmmaHeads;
  const uint8_t* latents = a.batch.bases[a.batch.sequence[row]].k;
  const int seen = a.batch.position[row] + 1, all_blocks = (seen + Tr::kKeys - 1) / Tr::kKeys;
  const int per_split = (all_blocks + p.plan.n_splits - 1) / p.plan.n_splits;
  const int first = split * per_split * Tr::kKeys;
  const int end = first + per_split * Tr::kKeys < seen ? first + per_split * Tr::kKeys : seen;
  const int n_blocks = end > first ? (end - first + Tr::kKeys - 1) / Tr::kKeys : 0;

  if (n_blocks > 0) load_latents(s.k[0], latents, a.cache.k_row_bytes, first, seen);
  simt::async_commit();
  const float to_log2 = a.scale * 1.44269504f;
  for (int i = simt::thread(); i < kMlaWgmmaHeads * (Tr::kDim / 8); i += Tr::kThreads) {
    const int h = i / (Tr::kDim / 8), c = i % (Tr::kDim / 8) * 8;
    const float* from = a.q.data + row * a.q.stride + int64_t{h0 + h} * Tr::kDim + c;
    simt::Bytes16 v = {};
    if (h < heads) {
#pragma unroll
      for (int j = 0; j < 4; ++j) v.w[j] = pack_halves(from[2 * j] * to_log2, from[2 * j + 1] * to_log2);
    }
    s.q[c / 64][simt::swizzled(h, c % 64 / 8)] = v;
  }

  // Of the sixteen heads of a warp's scores, eight are this warpgroup's; what their parts pass through is the eight
  // rows of weights that this warp will write, and as much of the tile's last panel, which holds no values.
  const int own = warp * 16 + group * 8 + lane / 4, eight = (warp * 2 + group) * 64,
            other = (warp * 2 + 1 - group) * 64;
  float largest = -INFINITY, sum = 0;  // of head `own`; the sum of the lane's own keys
  float out[simt::FragWgmma::kRegisters] = {};
  for (int block = 0; block < n_blocks; ++block) {
    const int at = block & 1, key0 = first + block * Tr::kKeys;
    simt::async_wait<0>();
    simt::fence_async_proxy();
    simt::sync_block();  // the tile is there, queries too, and the other one free

    float score[32] = {};
    simt::wgmma_fence();
#pragma unroll
    for (int k = 0; k < Tr::kOfGroup * 4; ++k)
      simt::wgmma_m64n64k16(score, simt::wgmma_matrix(&s.q[group * Tr::kOfGroup + k / 4][k % 4 * 2]),
                            simt::wgmma_matrix(&s.k[at][group * Tr::kOfGroup + k / 4][k % 4 * 2]));
#pragma unroll
    for (int k = 0; k < 2; ++k)
      simt::wgmma_m64n64k16(score, simt::wgmma_matrix(&s.q[Tr::kPanels - 1][group * 4 + k * 2]),
                            simt::wgmma_matrix(&s.k[at][Tr::kPanels - 1][group * 4 + k * 2]));
    simt::wgmma_commit();
    if (block + 1 < n_blocks) load_latents(s.k[at ^ 1], latents, a.cache.k_row_bytes, key0 + Tr::kKeys, seen);
    simt::async_commit();
    simt::wgmma_wait<0>(score);
    simt::sync_block();  // nobody reads the last panel any more

    simt::Bytes16* last = s.k[at][Tr::kPanels - 1];
    float x[16];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      simt::Bytes16 part;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = (2 * j + e / 2) * 4 + e % 2;
        x[4 * j + e] = group == 0 ? score[i] : score[i + 2];
        part.w[e] = __builtin_bit_cast(uint32_t, group == 0 ? score[i + 2] : score[i]);
      }
      (j < 2 ? s.weight : last)[other + j % 2 * 32 + lane] = part;
    }
    simt::sync_block();
    float top = largest;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const simt::Bytes16 part = (j < 2 ? s.weight : last)[eight + j % 2 * 32 + lane];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float& v = x[4 * j + e];
        v += __builtin_bit_cast(float, part.w[e]);
        if (key0 + (2 * j + e / 2) * 8 + lane % 4 * 2 + e % 2 >= seen) v = -INFINITY;
        top = v > top ? v : top;
      }
    }
    // The four lanes of a head. The first key of a block is always seen, so the maximum is finite.
    for (int bits = 1; bits <= 2; bits *= 2) {
      const float theirs = simt::shfl_xor(top, bits);
      top = theirs > top ? theirs : top;
    }
    const float keep = simt::exp2(largest - top);
    largest = top;
    sum *= keep;
    simt::sync_warp();  // the parts have been read where the weights go
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float w0 = simt::exp2(x[2 * n] - top), w1 = simt::exp2(x[2 * n + 1] - top);
      sum += w0 + w1;
      s.weight[simt::swizzled(own, n)].w[lane % 4] = pack_halves(w0, w1);
    }
    if (lane % 4 == 0) s.keep[own] = keep;
    simt::fence_async_proxy();
    simt::sync_block();

    const float kept[2] = {s.keep[warp * 16 + lane / 4], s.keep[warp * 16 + lane / 4 + 8]};
    if (simt::ballot(kept[0] != 1.0f || kept[1] != 1.0f) != 0) {  // a maximum changed: seldom after the first tiles
#pragma unroll
      for (int i = 0; i < simt::FragWgmma::kRegisters; ++i) out[i] *= kept[i >> 1 & 1];
    }
    simt::wgmma_fence();
#pragma unroll
    for (int k = 0; k < Tr::kKeys / 16; ++k)
      simt::wgmma_m64n256k16_n_major(
          out, simt::wgmma_matrix(&s.weight[k * 2]),
          simt::wgmma_matrix_n_major(&s.k[at][group * Tr::kOfGroup][k * 16 * 8], Tr::kPanel * 16));
    simt::wgmma_commit();
    simt::wgmma_wait<0>(out);
  }
  simt::async_wait<0>();

  for (int bits = 1; bits <= 2; bits *= 2) sum += simt::shfl_xor(sum, bits);
  if (lane % 4 == 0) {
    s.sum[own] = sum;
    s.largest[own] = largest;
  }
  simt::sync_block();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int h = warp * 16 + lane / 4 + 8 * i;
    if (h >= heads) continue;
    const float all = s.sum[h], inverse = all > 0 ? 1.0f / all : 0.0f;
    float* to = a.out.data + row * a.out.stride + int64_t{h0 + h} * Tr::kV;
    if (p.plan.n_splits > 1) {
      const int64_t pair = int64_t{row} * a.n_head + h0 + h;
      to = p.plan.partial + (int64_t{split} * a.batch.rows * a.n_head + pair) * (Tr::kV + 1);
      if (group == 0 && lane % 4 == 0) to[Tr::kV] = all > 0 ? s.largest[h] + simt::log2(all) : -INFINITY;
    }
#pragma unroll
    for (int n = 0; n < 32; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        to[group * (Tr::kV / 2) + n * 8 + lane % 4 * 2 + e] = out[4 * n + 2 * i + e] * inverse;
  }
}

__global__ void __launch_bounds__(MlaWgmma::kThreads, 1) mla_wgmma_kernel(const FlashParams p) { mla_wgmma_body(p); }

}  // namespace dsr1::kernels
