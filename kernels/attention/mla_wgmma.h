// The absorbed form of MLA on sm_90a: mla.h's sibling with warpgroup products, which read latents from shared memory
// once for 64 heads. For R1's latent (512 values, 64 more of a key) in F16, and 64 heads or more.
//
// A block takes 64 heads of one row of the batch and a range of its keys, 64 at a time. Two warpgroups each compute
// the scores over half the columns and exchange parts; each then holds the whole scores of half the heads, their
// maximum and sum. Weights go through shared memory to both, of which each sums half the value columns. Rounding is
// mla.h's: queries, scaled, and weights to F16, sums F32.
#pragma once

#include "kernels/attention/flash.h"

namespace dsr1::kernels {

inline constexpr int kMlaWgmmaHeads = 64;  // of a block

// Whether this device runs it: compute capability 9.0, and a build for 90a.
bool mla_wgmma_present();
// Why this form does not take the shape; null where it does.
const char* mla_wgmma_declines(const AttentionParams& params);
// plan.tokens_per_tile is 1.
Status launch_mla_wgmma(const AttentionParams& params, const FlashPlan& plan, simt::Stream stream);

}  // namespace dsr1::kernels
