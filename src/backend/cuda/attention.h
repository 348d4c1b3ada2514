// Which form of attention serves a batch, and how many ranges the keys of single tokens are cut into.
#pragma once

#include <span>

#include "backend/cuda/runtime.h"
#include "dsr1/ops/ops.h"
#include "kernels/attention/attention.h"

namespace dsr1::backend::cuda {

class Attention {
 public:
  static size_t bytes_for(const ops::Limits& limits);
  static Result<Attention> make(const ops::Limits& limits, int n_multiprocessors);

  // params.batch holds the rows of all segments, in order. What is queued depends on the segments' row counts alone,
  // not on positions, so that a recorded graph of single rows serves every length.
  Status run(const kernels::AttentionParams& params, std::span<const ops::Segment> segments, Stream stream);

 private:
  int n_splits(const kernels::AttentionParams& params, int blocks_a_row, int blocks_each) const;

  Memory partial_;
  int n_multiprocessors_ = 1;
  bool mla_wgmma_ = false;
};

}  // namespace dsr1::backend::cuda
