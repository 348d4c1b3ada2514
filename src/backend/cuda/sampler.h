// The choice of tokens on the device: requests go there in one copy, results come back in one. What queue() queues
// depends on the number of rows alone, so that it can be part of a recorded step: parameters, penalties and draws are
// read from where upload() put them.
#pragma once

#include <span>
#include <vector>

#include "backend/cuda/runtime.h"
#include "dsr1/ops/ops.h"
#include "kernels/sample/sample.h"

namespace dsr1::backend::cuda {

class Sampler {
 public:
  static size_t bytes_for(const ops::Limits& limits);
  static Result<Sampler> make(const ops::Limits& limits);

  // Queues the requests' copy. Waits for the stream first where an earlier copy may still be read.
  Status upload(std::span<const ops::SampleRequest> requests, Stream stream);
  // Queues the choice, by the requests uploaded last, and the copy of its results.
  Status queue(kernels::Matrix logits, Stream stream);
  // Waits for the stream: the results are what everybody waits for.
  Result<std::span<const ops::Sampled>> results(Stream stream);
  void copies_have_landed() { busy_ = false; }  // the stream was waited for

 private:
  Memory pinned_, device_, scratch_, results_, pinned_results_;
  int64_t max_rows_ = 0;
  size_t n_requests_ = 0;
  bool busy_ = false;
  std::vector<ops::Sampled> sampled_;
};

}  // namespace dsr1::backend::cuda
