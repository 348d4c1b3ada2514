// Weights on their way to the device: raw rows through a staging buffer, into planes (kernels/quant/planes.h).
#pragma once

#include <span>

#include "backend/cuda/runtime.h"
#include "dsr1/tensor/tensor.h"
#include "kernels/view.h"

namespace dsr1::backend::cuda {

kernels::Weight weight_view(const TensorView& t);

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
