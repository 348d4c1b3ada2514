// RMS norm: over each of cols / n groups of n values, out = x / sqrt(mean(x^2) + eps) * weight.
// Bytes: 8 * rows * cols (read and written once), the weight from cache.
#pragma once

#include "kernels/matmul/activations.h"
#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

struct RmsNormParams {
  Matrix x;  // out may be x
  const float* weight;
  int32_t n;
  float eps;
  Matrix out;
  // Where set: the result as int8 too (activations.h). Whole rows (n == x.cols), n a multiple of 32.
  Activations int8 = {};
};

Status launch_rms_norm(const RmsNormParams& params, simt::Stream stream);

}  // namespace dsr1::kernels
