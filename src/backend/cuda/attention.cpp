#include "backend/cuda/attention.h"

#include <algorithm>

#include "kernels/attention/flash.h"
#include "kernels/attention/mla.h"
#include "kernels/attention/mla_wgmma.h"

namespace dsr1::backend::cuda {
namespace {

// Partial results are kept for at most this many rows times splits; with more rows there are blocks enough without.
constexpr int kRowSplits = 256;
// Blocks a multiprocessor holds at once (shared memory: 35 KiB each) and wants, to have enough loads in flight.
constexpr int kBlocksEach = 6;
constexpr int kMlaBlocksEach = 2;  // 92 KiB each; with warpgroup products one of 225
// Keys that are worth a block of their own.
constexpr int kKeysEach = 128;

kernels::Matrix rows_of(kernels::Matrix m, int first, int n) {
  m.data += first * m.stride;
  m.rows = n;
  return m;
}

kernels::AttentionParams part_of(kernels::AttentionParams p, int first, int n) {
  p.q = rows_of(p.q, first, n);
  p.out = rows_of(p.out, first, n);
  p.batch.position += first;
  p.batch.sequence += first;
  p.batch.rows = n;
  return p;
}

}  // namespace

size_t Attention::bytes_for(const ops::Limits& l) {
  return static_cast<size_t>(kernels::flash_partial_floats(kRowSplits, l.n_head, l.v_dim)) * sizeof(float);
}

Result<Attention> Attention::make(const ops::Limits& l, int n_multiprocessors) {
  Attention a;
  a.n_multiprocessors_ = std::max(n_multiprocessors, 1);
  a.mla_wgmma_ = kernels::mla_wgmma_present();
  DSR1_TRY(a.partial_, Memory::allocate(Memory::Where::kDevice, bytes_for(l), "partial attention"));
  return a;
}

int Attention::n_splits(const kernels::AttentionParams& p, int blocks_a_row, int blocks_each) const {
  const int64_t wanted = int64_t{n_multiprocessors_} * blocks_each / (int64_t{blocks_a_row} * p.batch.rows);
  return static_cast<int>(
      std::max<int64_t>(1, std::min({wanted, p.cache.n_ctx / kKeysEach, int64_t{kRowSplits} / p.batch.rows})));
}

Status Attention::run(const kernels::AttentionParams& p, std::span<const ops::Segment> segments, Stream stream) {
  if (mla_wgmma_ && kernels::mla_wgmma_declines(p) == nullptr) {
    const int blocks = (p.n_head + kernels::kMlaWgmmaHeads - 1) / kernels::kMlaWgmmaHeads;
    return kernels::launch_mla_wgmma(p, {1, n_splits(p, blocks, 1), partial_.as<float>()}, stream);
  }
  if (kernels::mla_declines(p) == nullptr) {
    const int blocks = (p.n_head + kernels::kMlaHeads - 1) / kernels::kMlaHeads;
    return kernels::launch_mla(p, {1, n_splits(p, blocks, kMlaBlocksEach), partial_.as<float>()}, stream);
  }
  if (kernels::flash_declines(p) != nullptr) return kernels::launch_attention(p, stream);
  int first = 0;
  for (size_t i = 0; i < segments.size();) {
    int n = segments[i].n_rows;
    kernels::FlashPlan plan;
    if (n > 1) {
      plan.tokens_per_tile = kernels::flash_prompt_tokens(p);
      ++i;
    } else {  // single tokens that follow each other go together
      for (n = 0; i < segments.size() && segments[i].n_rows == 1; ++i) ++n;
    }
    const kernels::AttentionParams part = part_of(p, first, n);
    if (plan.tokens_per_tile == 1) {
      plan.n_splits = n_splits(part, p.cache.n_head_kv, kBlocksEach);
      plan.partial = partial_.as<float>();
    }
    DSR1_TRY_STATUS(kernels::launch_flash(part, plan, stream));
    first += n;
  }
  return {};
}

}  // namespace dsr1::backend::cuda
