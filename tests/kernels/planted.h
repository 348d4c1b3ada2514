// Small kernels for the emulator's own tests: right ones, and ones with a planted bug.
#pragma once

#include <cstdint>

#include "kernels/simt/launch.h"

namespace dsr1::test {

enum class Planted {
  kNone,               // reverses 64 values through shared memory
  kMissingBarrier,     // the same without the barrier
  kReadOutOfBounds,    // reads one value beyond the input
  kWriteOutOfBounds,   // writes one value beyond the output
  kReadUninitialised,  // sums a shared value that nobody wrote
  kLaneMissing,        // lane 5 leaves before a shuffle of all lanes
  kThreadMissing,      // one thread leaves before sync_block
  kMixedCollectives,   // half a warp at a shuffle, half at a ballot
  kAsyncTooEarly,      // reads what an async copy brings without waiting
  kAsyncNoBarrier,     // waits, but reads what another thread's copy brought
  kBlocksCollide,      // two blocks write the same place
  kMisaligned,         // a 16-byte load at an odd multiple of 4
  kHostMemory,         // dereferences a pointer of the host
  kLaneNotNamed,       // a shuffle reads a lane its mask leaves out
  kReadOverwritten,    // a warp overwrites what another may still read
};

// in, out: 64 floats each in device memory; host: a float of the host.
Status launch_planted(Planted bug, const float* in, float* out, const float* host, simt::Stream stream);

// Blocks that hand values round a ring, twice: out[b] = in[(b + 2) % blocks], 64 values each.
enum class PlantedGrid {
  kNone,
  kNoBarrier,      // reads the neighbour's values without waiting for them
  kOneBarrier,     // overwrites what the neighbour may still read
  kBlockMissing,   // block 2 leaves before the barrier
  kThreadMissing,  // one thread of block 1 does
  kMixedBarriers,  // half a block at sync_block, half at sync_grid
  kNotResident,    // an ordinary launch
};
// word: zero, and left as the next launch needs it.
Status launch_planted_grid(PlantedGrid bug, int blocks, const float* in, float* ring, float* out, uint32_t* word,
                           simt::Stream stream);

// D [64][256] = A [64][64] B^T, B [256][64], F16 in and F32 out, by one warpgroup; another stores A and copies B.
enum class PlantedWgmma {
  kNone,
  kNoBarrier,        // an mbarrier that nobody initialised
  kWrongParity,      // waits for the phase before
  kMissingArrival,   // one warp never arrives
  kWrongBytes,       // expects more than is copied
  kTooManyArrivals,  // the same, and one warp arrives twice
  kNoProxyFence,     // A is stored and not fenced
  kNoFence,          // products without wgmma_fence
  kNotWaited,        // D is stored while products run
  kRegistersTouched,
  kMatrixTouched,  // A changes while products run
  kPartOfAGroup,   // one warp does not multiply
  kOtherMatrix,    // one warp names another part of A
  kNotOnARow,      // a matrix from the middle of a row on
};
// a: [64][64] rows as they are; b: [256][64], swizzled as in shared memory.
Status launch_planted_wgmma(PlantedWgmma bug, const uint16_t* a, const uint16_t* b, float* d, simt::Stream stream);
bool planted_wgmma_present();
// By one warpgroup, a and b [64][64] swizzled as in shared memory: d [64][64] = A B^T, and by the product whose right
// factor is N-major d_n [64][256] = A V, v four panels of [64][64], swizzled, columns side by side.
enum class PlantedForms {
  kNone,
  kMisplaced,      // panels that begin in the middle of eight rows
  kFenceTooEarly,  // fences v before its asynchronous copies have landed
};
Status launch_planted_wgmma_forms(PlantedForms bug, const uint16_t* a, const uint16_t* b, const uint16_t* v, float* d,
                                  float* d_n, simt::Stream stream);

// What primitives give, for every lane: 32 rows of kProbes values.
inline constexpr int kProbes = 16;
Status launch_probe(const float* in, float* out, simt::Stream stream);

// d = a * b + d of one warp-wide mma from matrices as documented in frag.h: a [16][K], b [8][K] row-major in device
// memory, d [16][8] f32 or s32. kind: 0 f16, 1 bf16 (16-bit elements, K 16), 2 s8 (K 32). ldmatrix loads A and B.
Status launch_mma(int kind, const void* a, const void* b, void* d, simt::Stream stream);

// to_float of every f16, bf16 and fp8 bit pattern: out [65,536 f16][65,536 bf16][256 fp8]; and half_of, bf16_of of in
// [n] to bits [n][2].
Status launch_widen(float* out, simt::Stream stream);
Status launch_narrow(const float* in, uint16_t* out, int n, simt::Stream stream);

}  // namespace dsr1::test
