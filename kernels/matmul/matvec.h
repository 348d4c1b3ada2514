// out = x W^T for few rows of x: what a decode step is. A warp takes kRows output columns, reads each weight once with
// 16-byte loads, and serves up to kMatvecMost rows of x from it.
//
// Floor: the weight's bytes over the device's bandwidth; 2 * rows * out * in operations.
#pragma once

#include <span>

#include "kernels/matmul/activations.h"
#include "kernels/matmul/matmul.h"

namespace dsr1::kernels {

// Rows of x one launch takes in a pass over the weight; more are taken in several passes.
inline constexpr int kMatvecMost = 8;

// Matrices of one width, and types that join, that share x, with one head each where there are several: one launch.
inline constexpr int kMatvecJobs = 3;

// Whether matrices of these types share a launch: one type, or with one or two rows what mixtures of K types have side
// by side (q and k in Q4_K or Q5_K, v in Q6_K).
bool matvec_joins(uint32_t type_a, uint32_t type_b, int rows);
// Quantized types, activations as int8 (params.x is not read). Heads' inputs start at multiples of 32 values.
Status launch_matvec_int8(std::span<const MatmulParams> jobs, const Activations& x, simt::Stream stream);
// F32, F16, BF16, FP8: float activations. in a multiple of 16 bytes of weights, and of 4 values of x.
Status launch_matvec_float(std::span<const MatmulParams> jobs, simt::Stream stream);
// gate.out = silu(Gate x) * Up x, up.out is not written. One or two rows, one type, as many rows of each; x is read
// where the type is quantized.
Status launch_matvec_gate_up(const MatmulParams& gate, const MatmulParams& up, const Activations& x,
                             simt::Stream stream);
bool matvec_float_takes(const MatmulParams& params);
bool is_quantized(uint32_t type);

}  // namespace dsr1::kernels
