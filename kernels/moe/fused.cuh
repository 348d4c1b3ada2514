#pragma once

#include "kernels/matmul/activations.cuh"
#include "kernels/moe/fused.h"
#include "kernels/moe/moe_dots.cuh"
#include "kernels/moe/route.cuh"

namespace dsr1::kernels {

// 16 warps with up to 128 registers: two weight rows in step and two steps unrolled are 32 KB on their way a
// multiprocessor, of which 18 are needed (700 ns x 3.35 TB/s / 132).
inline constexpr int kFusedWarps = 16, kFusedThreads = 32 * kFusedWarps;
inline constexpr int kFusedColumns = 128;  // that a block computes between two barriers of its own

struct FusedStorage {
  RouteStorage<kFusedExperts> route[kFusedRows];
  int32_t id[kFusedRows][kFusedUsed];
  float weight[kFusedRows][kFusedUsed];
  alignas(16) float hidden[2][kFusedColumns];
  float down[2][kFusedColumns / 2][kFusedUsed + 1];
};

// This block's share of n things, as even as whole numbers are: first ... first + count - 1.
struct Share {
  int first, count;
};
DSR1_DEVICE Share share_of(int n) {
  const int64_t b = simt::block_x(), blocks = simt::grid_x();
  const int first = static_cast<int>(n * b / blocks);
  return {first, static_cast<int>(n * (b + 1) / blocks) - first};
}

// Hidden values, groups of 32 columns of a (row, choice) pair at a time: one group's scale is one block's to compute.
// Four groups lie between two barriers; while one warp stores those, the others compute the next (two buffers).
template <class T>
DSR1_DEVICE_CALL void fused_gate_up(const MoeFusedParams& p) {
  auto& s = simt::shared<FusedStorage>();
  const int n_ff = p.m.gate.first.rows, groups = (n_ff + 31) / 32;
  const Share share = share_of(p.m.x.rows * p.m.n_used * groups);
  constexpr int kGroups = kFusedColumns / 32;
  for (int done = 0, buffer = 0; done < share.count; done += kGroups, buffer ^= 1) {
    const int n = share.count - done < kGroups ? share.count - done : kGroups;
    for (int c = simt::warp(); c < 32 * n; c += kFusedWarps) {
      const int g = share.first + done + c / 32, pair = g / groups, o = g % groups * 32 + c % 32;
      const int r = pair / p.m.n_used;
      float sum[2] = {};
      if (o < n_ff) {  // the whole warp
        const int e = s.id[r][pair % p.m.n_used];
        const Weight w[2] = {expert(p.m.gate, e), expert(p.m.up, e)};
        dots<T>(w, {o, o}, input_of<T>(p.x, p.m.x, r), sum);
      }
      if (simt::lane() == 0) s.hidden[buffer][c] = gated(sum[0], sum[1]);
    }
    simt::sync_block();
    if (simt::warp() != 0) continue;
    // Eight lanes a group, four values each.
    const int lane = simt::lane(), g = share.first + done + lane / 8, pair = g / groups;
    const int o = g % groups * 32 + lane % 8 * 4;
    float v[4] = {};
    if (lane / 8 < n)
      for (int i = 0; i < 4; ++i) v[i] = s.hidden[buffer][lane * 4 + i];
    if (p.hidden.q != nullptr) {
      ActGroup group;
      const uint32_t packed = quantize4(v, group);
      if (lane / 8 < n) {
        *reinterpret_cast<uint32_t*>(p.hidden.q + pair * p.hidden.stride + o) = packed;
        if (lane % 8 == 0) p.hidden.groups[(pair * p.hidden.stride + o) / 32] = group;
      }
    } else if (lane / 8 < n) {
      for (int i = 0; i < 4; ++i)
        if (o + i < n_ff) p.m.gate_out.data[pair * p.m.gate_out.stride + o + i] = v[i];
    }
  }
}

// The bytes of a row, towards the L2 cache.
template <class T, int k = 0>
DSR1_DEVICE void prefetch_row(const Weight& w, int64_t row) {
  if constexpr (T::kElements == 1) {
    for (int64_t at = simt::lane() * 128; at < w.row_bytes; at += simt::kWarp * 128)
      simt::prefetch(w.data + row * w.row_bytes + at);
  } else if constexpr (k < Planes<T>::kCount) {
    const int bytes = w.cols / T::kElements * kPlaneBytes<T, k>;
    const uint8_t* first = plane<T, k>(w, row, 0);
    for (int at = simt::lane() * 128; at < bytes; at += simt::kWarp * 128) simt::prefetch(first + at);
    prefetch_row<T, k + 1>(w, row);
  }
}

// Columns of the output: all choices of a column are one block's, which adds them in their order. Neighbouring warps
// read neighbouring rows of one expert.
template <class T>
DSR1_DEVICE_CALL void fused_down(const MoeFusedParams& p) {
  auto& s = simt::shared<FusedStorage>();
  const int n_embd = p.m.down.first.rows, n_used = p.m.n_used;
  const Share share = share_of(p.m.x.rows * n_embd);
  constexpr int kColumns = kFusedColumns / 2;
  if (simt::warp() < share.count)  // while the slowest block still computes hidden values
    prefetch_row<T>(expert(p.m.down, s.id[share.first / n_embd][0]),
                    share.first % n_embd + simt::warp() < n_embd ? share.first % n_embd + simt::warp() : 0);
  simt::sync_grid(p.barrier);
  for (int done = 0, buffer = 0; done < share.count; buffer ^= 1) {
    const int r = (share.first + done) / n_embd, o0 = (share.first + done) % n_embd;
    int n = share.count - done < kColumns ? share.count - done : kColumns;
    if (n > n_embd - o0) n = n_embd - o0;  // one row of x at a time
    const int twos = (n + 1) / 2;
    for (int i = simt::warp(); i < n_used * twos; i += kFusedWarps) {
      const int k = i / twos, c = i % twos * 2;
      const Weight w = expert(p.m.down, s.id[r][k]);
      const int second = c + 1 < n ? c + 1 : c;
      float sum[2];
      dots<T>({w, w}, {o0 + c, o0 + second}, input_of<T>(p.hidden, p.m.gate_out, r * n_used + k), sum);
      if (simt::lane() == 0) {
        s.down[buffer][c][k] = sum[0];
        if (second != c) s.down[buffer][second][k] = sum[1];
      }
    }
    simt::sync_block();
    if (const int c = simt::thread(); c < n) {
      float sum = 0;
      for (int k = 0; k < n_used; ++k) sum = simt::fma(s.weight[r][k], s.down[buffer][c][k], sum);
      p.m.out.data[r * p.m.out.stride + o0 + c] = sum;
    }
    done += n;
  }
}

template <class F>
DSR1_DEVICE void with_type_on_device(uint32_t type, F f) {
  switch (type) {
#define DSR1_FLOAT_TYPE(name) \
  case quant::name::kGgufId:  \
    return f.template operator()<quant::name>();
#define DSR1_QUANT_TYPE(name) DSR1_FLOAT_TYPE(name)
#include "dsr1/quant/all.inc"
    default: return;
  }
}

}  // namespace dsr1::kernels
