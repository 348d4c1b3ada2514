// Small ops on rows: embedding look-up, residual addition, SwiGLU, copies. Bytes: what is read plus what is written;
// each reads its input once.
#pragma once

#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// out[r] = table[tokens[r]].
Status launch_embed(const Weight& table, const int32_t* tokens, Matrix out, simt::Stream stream);
// out = a + b; out may be a.
Status launch_add(Matrix a, Matrix b, Matrix out, simt::Stream stream);
// out = silu(gate) * up; out may be gate.
Status launch_swiglu(Matrix gate, Matrix up, Matrix out, simt::Stream stream);
// out[i] = x[rows[i]] for out.rows rows.
Status launch_copy_rows(Matrix x, const int32_t* rows, Matrix out, simt::Stream stream);
// n values of each head: from x at h * x_stride to out at h * out_stride.
Status launch_copy_heads(Matrix x, int64_t x_stride, Matrix out, int64_t out_stride, int n_head, int n,
                         simt::Stream stream);

}  // namespace dsr1::kernels
