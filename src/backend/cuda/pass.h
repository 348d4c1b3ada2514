// The rows of a pass in device memory: tokens, positions, which sequence each row belongs to, and where each sequence's
// cache lies. Written to pinned memory, copied in one piece, read by every kernel of the pass; addresses depend only on
// the number of rows and sequences, so that a graph recorded for them finds the next pass in the same place.
#pragma once

#include <span>

#include "backend/cuda/runtime.h"
#include "dsr1/ops/ops.h"
#include "kernels/view.h"

namespace dsr1::backend::cuda {

class PassRows {
 public:
  static size_t bytes_for(int64_t max_rows, int64_t n_layer);
  static Result<PassRows> make(int64_t max_rows, int64_t n_layer);

  // Queues the batch's rows. Waits for the stream first where an earlier copy may still be read.
  Status upload(const ops::Batch& batch, Stream stream);
  void copies_have_landed() { busy_ = false; }  // the stream was waited for

  // Whether part is (a run of segments of) the batch uploaded last.
  bool holds(const ops::Batch& part) const;
  void forget() { segments_ = {}; }
  kernels::BatchRows rows_of(const ops::Batch& part, int layer) const;
  const int32_t* tokens() const { return device_.as<int32_t>(); }
  const int32_t* positions() const { return device_.as<int32_t>() + n_rows_; }
  int64_t n_rows() const { return n_rows_; }

 private:
  const int32_t* sequences() const { return device_.as<int32_t>() + 2 * n_rows_; }
  size_t bases_offset() const { return (static_cast<size_t>(n_rows_) * 12 + 15) / 16 * 16; }

  Memory pinned_, device_;
  int64_t n_layer_ = 1, n_rows_ = 0, max_rows_ = 0;
  std::span<const ops::Segment> segments_;
  bool busy_ = false;
};

}  // namespace dsr1::backend::cuda
