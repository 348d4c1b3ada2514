// A decode step's experts in one launch: routing, gate and up, SiLU, int8 of what comes of it, down, weighted sum.
//
// As many blocks as the device has multiprocessors, all resident. Each routes every row for itself (as fast as waiting
// for one block that does, and a barrier less), computes its share of the hidden values, waits for the others once
// (simt::sync_grid), and then its share of the output's columns. No atomics on floats; the bits are those of route and
// the pairs form.
// Floor: the chosen experts' bytes, once a (row, choice) pair, over the bandwidth.
#pragma once

#include "kernels/moe/moe.h"

namespace dsr1::kernels {

inline constexpr int kFusedRows = 8, kFusedExperts = 256, kFusedUsed = 16;

struct MoeFusedParams {
  RouteParams route;      // ids and weights are written too
  MoeFfnParams m;         // ids, weights and down_out are not read; gate_out only where down is a float type
  Activations x, hidden;  // hidden: space for rows * n_used rows of n_ff_exp, where down is quantized
  uint32_t* barrier;      // simt::sync_grid's word
};

// Why it does not take the call; null where it does.
const char* moe_fused_declines(const RouteParams& route, const MoeFfnParams& params);
Status launch_moe_fused(const MoeFusedParams& params, int n_multiprocessors, simt::Stream stream);

}  // namespace dsr1::kernels
