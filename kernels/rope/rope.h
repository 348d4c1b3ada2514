// Rotary embedding: the angles of a pass once, then rotation in place.
#pragma once

#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// cos_sin [rows, n_rot]: cos(position * freq[i]) * magnitude at i, sin at n_rot / 2 + i. In double, since positions
// reach 10^5 rad; n_rot / 2 values a row, once a pass.
Status launch_rope_angles(const float* freq, float magnitude, const int32_t* positions, Matrix cos_sin,
                          simt::Stream stream);

// Rotates n_rot = cos_sin.cols values of each head in place; head h of a row starts at h * head_stride. neox: pairs
// (i, i + n_rot / 2), else (2i, 2i + 1).
Status launch_rope(Matrix x, int n_head, int64_t head_stride, bool neox, Matrix cos_sin, simt::Stream stream);

}  // namespace dsr1::kernels
