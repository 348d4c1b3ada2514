// out = x W^T for a prompt's rows on sm_90a: gemm.h's sibling with warpgroup products (wgmma), which read both factors
// from shared memory while other warps decode the next weights and bulk copies bring the next activations.
//
// x lies in device memory as the tiles that shared memory wants: no tensor map, no address arithmetic, one bulk copy of
// 8 KB a tile. Rounding is gemm.h's: F16 with a power-of-two scale a row.
#pragma once

#include "kernels/matmul/gemm.h"

namespace dsr1::kernels {

// Tiles of 64 rows by 64 columns, swizzled (simt::swizzled), ordered by rows and then columns; rows a multiple of 256,
// columns of 128, what is beyond x zero.
struct HalfTiles {
  uint16_t* data = nullptr;  // 128-byte aligned
  float* scale = nullptr;    // [padded rows]
  int32_t rows = 0, cols = 0;
};
inline constexpr int64_t kWgmmaTileRows = 256, kWgmmaTile = 64 * 64;
inline int64_t tile_rows(int64_t rows) { return (rows + kWgmmaTileRows - 1) / kWgmmaTileRows * kWgmmaTileRows; }
inline int64_t half_tiles_bytes(int64_t rows, int64_t cols) { return half_rows_bytes(tile_rows(rows), cols); }
Status launch_to_half_tiles(Matrix x, HalfTiles out, simt::Stream stream);

// Whether this device runs it: compute capability 9.0, and a build for 90a.
bool wgmma_present();
// Takes what gemm takes, but for F32.
Status launch_gemm_wgmma(const MatmulParams& params, const HalfTiles& x, simt::Stream stream);

}  // namespace dsr1::kernels
