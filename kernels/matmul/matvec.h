// out = x W^T for few rows of x: what a decode step is. A warp takes kRows output columns, reads each weight once with
// 16-byte loads, and serves up to kMatvecMost rows of x from it.
//
// Floor: the weight's bytes over the device's bandwidth; 2 * rows * out * in operations.
#pragma once

#include "kernels/matmul/activations.h"
#include "kernels/matmul/matmul.h"

namespace dsr1::kernels {

// Rows of x one launch takes in a pass over the weight; more are taken in several passes.
inline constexpr int kMatvecMost = 8;

// Quantized types, activations as int8 (params.x is not read). Heads' inputs start at multiples of 32 values.
Status launch_matvec_int8(const MatmulParams& params, const Activations& x, simt::Stream stream);
// F32, F16, BF16, FP8: float activations. in a multiple of 16 bytes of weights, and of 4 values of x.
Status launch_matvec_float(const MatmulParams& params, simt::Stream stream);
bool matvec_float_takes(const MatmulParams& params);
bool is_quantized(uint32_t type);

}  // namespace dsr1::kernels
