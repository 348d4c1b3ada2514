// out = x W^T (+ bias) for any weight type, one matrix or one a head: the parameters of every form of matmul, and the
// form that takes everything. src/backend/cuda/matmul.cpp picks: few rows go to matvec.h, many to gemm.h, the rest
// here.
//
// Floor: bytes of the weight matrix (read once for up to a tile of rows), 2 * rows * out * in operations.
#pragma once

#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// Head h (of n_head; 1 for a plain matrix) owns weight rows first_row + h * head_rows ... + n_out; its input starts at
// h * x_head_stride in each row of x, its output at h * out_head_stride.
struct MatmulParams {
  Weight w;
  Matrix x;                     // [rows, w.cols] at each head's start
  const float* bias = nullptr;  // [n_out], only with one head
  Matrix out;
  int32_t n_out = 0;
  int32_t n_head = 1;
  int64_t first_row = 0, head_rows = 0;
  int64_t x_head_stride = 0, out_head_stride = 0;
  // Where set (matvec only, one head): sum = add + out is stored too.
  Matrix add = {}, sum = {};
};

// Every type: a warp an output column, weights decoded to float by the type's own header, float activations. Slow, and
// what the others are compared with on a device.
Status launch_matmul_decode(const MatmulParams& params, simt::Stream stream);
// out_h = W_h^T x_h: x has n_out values a head, out has w.cols. Every type.
Status launch_matmul_transposed(const MatmulParams& params, simt::Stream stream);

}  // namespace dsr1::kernels
