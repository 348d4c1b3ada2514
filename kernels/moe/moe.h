// Mixture of experts, wholly on the device: routing, then the chosen experts' FFN.
#pragma once

#include "kernels/matmul/activations.h"
#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// ops::RouterParams and Ops::route: sigmoid or softmax scores, bias for the choice only, groups by their two best
// (sigmoid) or best (softmax), top-k with the lower index first on ties, weights normalised and scaled. Float
// arithmetic: scores closer than its rounding may be chosen otherwise than in double.
struct RouteParams {
  Matrix logits;      // [rows, n_expert]
  const float* bias;  // [n_expert] or null
  bool sigmoid, normalize;
  int32_t n_expert, n_used, n_group, n_group_used;
  float scale;
  int32_t* ids;    // [rows * n_used]
  Matrix weights;  // [rows, n_used]
};
// n_expert up to kMaxExperts.
inline constexpr int kMaxExperts = 1024;
Status launch_route(const RouteParams& params, simt::Stream stream);

// The same matrix of every expert: expert e's bytes start at first.data + e * stride_bytes, its FP8 scales at
// first.scale_inv + e * scale_stride.
struct ExpertMatrix {
  Weight first;
  int64_t stride_bytes = 0, scale_stride = 0;
};

// out[r] = sum over k of weight[r][k] * Down(silu(Gate x) * Up x) of expert ids[r][k], summed in the order of k.
// gate and down: scratch [rows * n_used, n_ff_exp] and [rows * n_used, n_embd].
struct MoeFfnParams {
  ExpertMatrix gate, up, down;
  const int32_t* ids;
  Matrix x, weights, gate_out, down_out, out;
  int32_t n_used;
};
// gate_out = silu(Gate x) * Up x, down_out = Down gate_out, and the weighted sum. x and hidden: the inputs as int8,
// read where the experts' type is quantized (is_quantized) and not otherwise.
Status launch_moe_gate_up(const MoeFfnParams& params, const Activations& x, simt::Stream stream);
Status launch_moe_down(const MoeFfnParams& params, const Activations& hidden, simt::Stream stream);
Status launch_moe_combine(const MoeFfnParams& params, simt::Stream stream);

}  // namespace dsr1::kernels
