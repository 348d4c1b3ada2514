#include "kernels/moe/moe_int8.cuh"
#include "kernels/moe/moe_pairs.cuh"
#include "kernels/moe/route.cuh"

namespace dsr1::kernels {

Status launch_route(const RouteParams& p, simt::Stream stream) {
  if (p.n_expert > kMaxExperts)
    return Error(ErrorCode::kRuntime, "routing takes up to " + std::to_string(kMaxExperts) + " experts, found " +
                                          std::to_string(p.n_expert));
  return simt::launch("route", route_kernel, {p.logits.rows}, simt::kWarp, sizeof(RouteStorage), stream, p);
}

namespace {

// out[r] = sum over k, in order, of weights[r][k] * down_out[r * n_used + k].
__global__ void __launch_bounds__(128) moe_combine_kernel(const MoeFfnParams p) {
  const int c = simt::block_x() * 128 + simt::thread(), r = simt::block_y();
  if (c >= p.out.cols) return;
  float sum = 0;
  for (int k = 0; k < p.n_used; ++k)
    sum +=
        p.weights.data[r * p.weights.stride + k] * p.down_out.data[(int64_t{r} * p.n_used + k) * p.down_out.stride + c];
  p.out.data[r * p.out.stride + c] = sum;
}

simt::Grid blocks_of(const MoeFfnParams& p, int64_t rows) {
  return {(rows + kMoeWarps - 1) / kMoeWarps, int64_t{p.x.rows} * p.n_used};
}

Error unknown(uint32_t type) {
  return Error(ErrorCode::kRuntime, "experts: no kernel for tensor type " + std::to_string(type));
}

}  // namespace

Status launch_moe_gate_up(const MoeFfnParams& p, const Activations& x, simt::Stream stream) {
  // Gate and up share a type in every file seen; a kernel for each pair of types would be 256 of them.
  if (p.gate.first.type != p.up.first.type)
    return Error(ErrorCode::kRuntime, "moe_ffn: gate and up experts are stored in different types (" +
                                          std::to_string(p.gate.first.type) + " and " +
                                          std::to_string(p.up.first.type) + "); expected one");
  Status s;
  const bool known = with_type(p.gate.first.type, [&]<class T>() {
    const simt::Grid grid = blocks_of(p, p.gate.first.rows);
    if constexpr (T::kElements > 1) {
      s = simt::launch("moe_gate_up_int8", moe_gate_up_int8_kernel<T>, grid, 32 * kMoeWarps, 0, stream,
                       MoeInt8Params{p, x, {}});
    } else {
      s = simt::launch("moe_gate_up", moe_gate_up_kernel<T, T>, grid, 32 * kMoeWarps, 0, stream, p);
    }
  });
  if (!known) return unknown(p.gate.first.type);
  return s;
}

Status launch_moe_down(const MoeFfnParams& p, const Activations& hidden, simt::Stream stream) {
  Status s;
  const bool known = with_type(p.down.first.type, [&]<class T>() {
    const simt::Grid grid = blocks_of(p, p.down.first.rows);
    if constexpr (T::kElements > 1) {
      s = simt::launch("moe_down_int8", moe_down_int8_kernel<T>, grid, 32 * kMoeWarps, 0, stream,
                       MoeInt8Params{p, {}, hidden});
    } else {
      s = simt::launch("moe_down", moe_down_kernel<T>, grid, 32 * kMoeWarps, 0, stream, p);
    }
  });
  if (!known) return unknown(p.down.first.type);
  return s;
}

Status launch_moe_combine(const MoeFfnParams& p, simt::Stream stream) {
  return simt::launch("moe_combine", moe_combine_kernel, {(p.out.cols + 127) / 128, p.x.rows}, 128, 0, stream, p);
}

}  // namespace dsr1::kernels
