// Attention on tensor cores, for grouped query heads over an F16 or Q8_0 cache: prompts and single tokens alike.
//
// A tile is up to 16 * kWarps (token, head) pairs that share a KV head and a sequence: tokens times the heads of the
// group. Keys come in blocks through shared memory, two in flight; scores, softmax and the weighted sum stay in
// registers (FlashAttention-2, arXiv 2307.08691). A single token has few pairs, so its keys are cut into n_splits
// ranges, each a block of its own, joined by a second kernel; ranges follow from the positions in device memory, so
// that a recorded graph serves every length.
//
// Queries are scaled by scale * log2(e) and rounded to F16, weights to F16 before they meet the values; sums are F32.
// Floor: bytes of the keys and values, once a tile; 4 * k_dim operations a pair and key.
#pragma once

#include "kernels/attention/attention.h"

namespace dsr1::kernels {

struct FlashPlan {
  int32_t tokens_per_tile = 1;  // 1: rows may belong to any sequences; more: all rows are one run of one sequence
  int32_t n_splits = 1;
  float* partial = nullptr;  // flash_partial_floats(...) where n_splits > 1
};

// Floats of scratch for rows * n_splits partial results.
inline int64_t flash_partial_floats(int64_t row_splits, int64_t n_head, int64_t v_dim) {
  return row_splits * n_head * (v_dim + 1);
}

// Why this form does not take the shape; null where it does.
const char* flash_declines(const AttentionParams& params);
// Tokens of a tile of a prompt.
int32_t flash_prompt_tokens(const AttentionParams& params);
Status launch_flash(const AttentionParams& params, const FlashPlan& plan, simt::Stream stream);

}  // namespace dsr1::kernels
