// simt: what a kernel needs that a CPU lacks. Two implementations of the same names: device.cuh (PTX, for nvcc) and
// tests/support/simt_emu.h (fibers, for g++), so every .cu file of kernels/ builds twice and runs in ctest without a
// GPU.
//
// House rules that the emulator checks:
//   - blocks are one-dimensional: thread() in 0..threads(), a whole number of warps of 32;
//   - collectives name their lanes (mask, by default all 32) and every named lane arrives: predicate the work, never
//     return or branch around a collective;
//   - shared memory is one struct: auto& s = simt::shared<Storage>(); uninitialised until written;
//   - memory written by one thread is read by another only after sync_block(), or sync_warp() within a warp; shuffles,
//     ballots and mma order nothing;
//   - all blocks meet at sync_grid(word) in a kernel queued with launch_resident only: every thread of every block
//   calls,
//     and what any wrote before, all may read after. The word, in device memory, is zero before its first use and left
//     as the next one needs it; one barrier at a time;
//   - async_copy16 lands at async_wait, for the thread that issued it; others see it after the next barrier.
//
//   index      thread() threads() lane() warp() block_x() block_y() block_z() grid_x()
//   barriers   sync_block() sync_warp(mask) sync_grid(word)
//   exchange   shfl(v, src) shfl_xor(v, bits) ballot(p) reduce_sum(v) reduce_max(v), each with an optional mask
//   memory     load16(p) prefetch(p) async_copy16(shared, global[, bytes]) async_commit() async_wait<N>() atomic_add(p,
//   v) arithmetic dp4a(a, b, c) byte_perm round_to_even fma mul exp exp2 log rsqrt matrices   ldmatrix_x2 ldmatrix_x4
//   (and _trans), mma_m16n8k16<Half|BFloat16>, mma_m16n8k32; element maps in frag.h types      Half BFloat16 Fp8 (bits
//   only), to_float, half_of, bf16_of, Bytes16
#pragma once

#include <cstdint>

#include "kernels/simt/launch.h"

namespace dsr1::simt {

struct alignas(16) Bytes16 {
  uint32_t w[4];
};

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Fp8 {  // E4M3FN
  uint8_t bits;
};

// Of sm_90, in shared memory. Phases are completed one after another, each by its arrivals and by as many bytes as
// arrivals said to expect; parity 0, 1, 0, ... from the first on.
struct alignas(8) Mbarrier {
  uint64_t state;
};

inline constexpr uint32_t kAllLanes = 0xffffffffu;
inline constexpr int kWarp = 32;

}  // namespace dsr1::simt

#if defined(__CUDACC__)
#include "kernels/simt/device.cuh"
#else
#include "support/simt_emu.h"
#endif

#include "kernels/simt/frag.h"
#include "kernels/simt/reduce.h"
