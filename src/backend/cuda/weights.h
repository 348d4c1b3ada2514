// Weights on their way to the device: raw rows through a staging buffer, into planes (kernels/quant/planes.h).
#pragma once

#include <span>

#include "backend/cuda/runtime.h"
#include "dsr1/tensor/tensor.h"
#include "kernels/view.h"

namespace dsr1::backend::cuda {

kernels::Weight weight_view(const TensorView& t);

// How far the matrices, and the FP8 scales, of consecutive experts lie apart on the device.
struct ExpertStrides {
  size_t weights = 0, scales = 0;
};
ExpertStrides expert_strides(std::span<const TensorView> experts);
size_t scale_bytes(const TensorView& t);  // of FP8 scales

// Queues a whole matrix: rows as a file has them at `from` (host memory that stays until copied), by way of `raw`
// (device memory of as many bytes, not read where the type has no planes), to to.data.
Status put_in_planes(const std::byte* from, std::byte* raw, const kernels::Weight& to, Stream stream);

class WeightLoader {
 public:
  // All views share one allocation at equal distances (what the expert kernels index with), are copied there, and are
  // turned to it.
  Result<Memory> place(std::span<TensorView> views, Stream stream);
  void release() { staging_ = {}; }

 private:
  Status upload(const TensorView& from, const kernels::Weight& to, Stream stream);
  Memory staging_;
};

}  // namespace dsr1::backend::cuda
