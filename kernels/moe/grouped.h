// Experts for many rows: pairs of (row, choice) are sorted by expert on the device, and every expert's matrix meets its
// rows in tiles on tensor cores (matmul/gemm.h), one launch for all experts.
//
// Floor: 2 * pairs * n_ff_exp * n_embd operations a matrix; the bytes of every expert that any row chose, once.
#pragma once

#include "kernels/matmul/gemm.h"
#include "kernels/moe/moe.h"

namespace dsr1::kernels {

// Rows of a tile: 64, or 16 where an expert has no more on average. A tile of 16 takes six tenths of the time of one of
// 64 (docs/kernels/gemm.md); with 17 to 32 rows there would be two of them.
inline constexpr int kMoeTile = 64, kSmallMoeTile = 16;
inline int32_t moe_tile_rows(int64_t pairs, int64_t n_expert) {
  return pairs <= n_expert * kSmallMoeTile ? kSmallMoeTile : kMoeTile;
}

// Filled by launch_moe_sort. order[slot]: the pair, by expert, ascending
// within one. Tile t takes `count` slots from `first` on, of one expert.
struct MoeTile {
  int32_t expert, first, count;
};
struct MoeOrder {
  int32_t* order = nullptr;  // [pairs]
  MoeTile* tiles = nullptr;  // [moe_most_tiles(pairs, n_expert, rows of a tile)]; the unused have count 0
};
inline int64_t moe_most_tiles(int64_t pairs, int64_t n_expert, int32_t tile_rows) {
  return pairs / tile_rows + (pairs < n_expert ? pairs : n_expert);
}
// For any number of pairs up to this one.
inline int64_t moe_most_tiles_up_to(int64_t pairs, int64_t n_expert) {
  const int64_t small = n_expert * kSmallMoeTile < pairs ? n_expert * kSmallMoeTile : pairs;
  const int64_t a = moe_most_tiles(pairs, n_expert, moe_tile_rows(pairs, n_expert)),
                b = moe_most_tiles(small, n_expert, kSmallMoeTile);
  return a > b ? a : b;
}
Status launch_moe_sort(const int32_t* ids, int32_t pairs, int32_t n_expert, int32_t tile_rows, const MoeOrder& order,
                       simt::Stream stream);

// out[pair] = W_(its expert) x[pair / divide], for pairs of experts first ... first + n - 1: w holds only those.
struct GroupedParams {
  ExpertMatrix w;
  MoeOrder order;
  HalfRows x;
  Matrix out;
  int32_t divide, n_tiles, tile_rows;  // kMoeTile or kSmallMoeTile, as it was sorted
  int32_t first = 0, n = kMaxExperts;
};
Status launch_grouped(const GroupedParams& params, simt::Stream stream);

}  // namespace dsr1::kernels
