// Attention of MLA in its absorbed form: all heads meet one latent row a key, whose first v_dim values are also the
// value.
//
// A block takes 32 heads of one row of the batch and a range of its keys, 32 at a time: a warp takes a
// quarter of the columns of 16 heads' scores, then comes softmax with a key a lane, then each warp sums its eighth of
// the value columns. The latent tile is loaded once and serves as keys and values (DeepSeek-V3 report 2.1.1; FlashMLA's
// deep dive, April 2025). Ranges of keys are joined as in flash.h.
//
// Floor: 2 * k_dim bytes of F16 latents a key, once for all heads (32 at a time, the rest from L2); 2 * (k_dim + v_dim)
// operations a key and head: at 128 heads as many as the bandwidth's time allows.
#pragma once

#include "kernels/attention/flash.h"

namespace dsr1::kernels {

inline constexpr int kMlaHeads = 32;  // of a block

// Why this form does not take the shape; null where it does.
const char* mla_declines(const AttentionParams& params);
// plan.tokens_per_tile is 1.
Status launch_mla(const AttentionParams& params, const FlashPlan& plan, simt::Stream stream);
// Joins partial results (flash.cu).
Status launch_flash_join(const AttentionParams& params, const FlashPlan& plan, simt::Stream stream);

}  // namespace dsr1::kernels
