// Small kernels that show what primitives give: one launch each, results in device memory.
#pragma once

#include <cstdint>

#include "kernels/simt/launch.h"

namespace dsr1::test {

// For each of n inputs: exp, exp2, log |x|, log2 |x|, rsqrt |x|, x * 0.3 as mul, round_to_even as float.
inline constexpr int kArithmetic = 7;
Status launch_arithmetic(const float* in, float* out, int n, simt::Stream stream);

// in: a 16 x 16 matrix of 16-bit elements. out [32 lanes][12]: registers of ldmatrix_x4, _x4_trans, _x2, _x2_trans,
// lane l giving the address of row l % 16 and, for the x4, columns l / 16 * 8.
Status launch_loads(const uint16_t* in, uint32_t* out, simt::Stream stream);

// 256 threads: block_sum and block_max of in, to out[2 * thread ...].
Status launch_block_reductions(const float* in, float* out, simt::Stream stream);

// out[i] = byte_perm(lo, hi, in[i]); out[n + i]: async_copy16 of i % 17 bytes of 16 0xff, its four words summed.
Status launch_bytes(const uint32_t* in, uint32_t lo, uint32_t hi, const uint8_t* ones, uint32_t* out, int n,
                    simt::Stream stream);

}  // namespace dsr1::test
