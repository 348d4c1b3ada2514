// Experts for many rows: pairs of (row, choice) are sorted by expert on the device, and every expert's matrix meets its
// rows in tiles on tensor cores (matmul/gemm.h), one launch for all experts.
//
// Floor: 2 * pairs * n_ff_exp * n_embd operations a matrix; the bytes of every expert that any row chose, once.
#pragma once

#include "kernels/matmul/gemm.h"
#include "kernels/moe/moe.h"

namespace dsr1::kernels {

inline constexpr int kMoeTile = 64;  // rows of a tile

// Filled by launch_moe_sort. order[slot]: the pair, by expert, ascending within one. Tile t takes `count` slots from
// `first` on, of one expert.
struct MoeTile {
  int32_t expert, first, count;
};
struct MoeOrder {
  int32_t* order = nullptr;  // [pairs]
  MoeTile* tiles = nullptr;  // [moe_most_tiles(pairs, n_expert)]; the unused have count 0
};
inline int64_t moe_most_tiles(int64_t pairs, int64_t n_expert) {
  return pairs / kMoeTile + (pairs < n_expert ? pairs : n_expert);
}
Status launch_moe_sort(const int32_t* ids, int32_t pairs, int32_t n_expert, const MoeOrder& order, simt::Stream stream);

// out[pair] = W_(its expert) x[pair / divide], for pairs of experts first ... first + n - 1: w holds only those.
struct GroupedParams {
  ExpertMatrix w;
  MoeOrder order;
  HalfRows x;
  Matrix out;
  int32_t divide, n_tiles;
  int32_t first = 0, n = kMaxExperts;
};
Status launch_grouped(const GroupedParams& params, simt::Stream stream);

}  // namespace dsr1::kernels
