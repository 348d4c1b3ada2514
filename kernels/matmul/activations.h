// Activations as int8: what meets quantized weights. Groups of 32 along a row (docs/numerics.md section 1):
// d = amax / 127, q = round_to_even(x * 127 / amax); a group with amax < 2^-100 is zero, one that holds a NaN or
// infinity has levels 0 and scale NaN.
#pragma once

#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// sum: of the levels of elements 0-15 and 16-31, for weight types with an offset or a minimum.
struct alignas(8) ActGroup {
  float d;
  int16_t sum[2];
};

// Row r: levels at q + r * stride, groups at groups + r * stride / 32. stride is a multiple of 128 and at least cols;
// q is 16-byte aligned.
struct Activations {
  int8_t* q = nullptr;
  ActGroup* groups = nullptr;
  int64_t stride = 0;
  int32_t rows = 0, cols = 0;
};

// Bytes of `rows` rows of `cols`: levels, then groups.
inline int64_t activation_stride(int64_t cols) { return (cols + 127) / 128 * 128; }
inline int64_t activation_bytes(int64_t rows, int64_t cols) {
  return rows * activation_stride(cols) * (32 + static_cast<int64_t>(sizeof(ActGroup))) / 32;
}

// x.cols a multiple of 32. Bytes: 4 a value read, 1.25 written.
Status launch_quantize(Matrix x, Activations out, simt::Stream stream);

}  // namespace dsr1::kernels
