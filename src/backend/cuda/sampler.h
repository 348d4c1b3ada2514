// The choice of tokens on the device: requests go there in one copy, results come back in one.
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

  // Waits for the stream: the results are what everybody waits for.
  Result<std::span<const ops::Sampled>> run(kernels::Matrix logits, std::span<const ops::SampleRequest> requests,
                                            Stream stream);

 private:
  Memory pinned_, device_, scratch_, results_, pinned_results_;
  int64_t max_rows_ = 0;
  std::vector<ops::Sampled> sampled_;
};

}  // namespace dsr1::backend::cuda
