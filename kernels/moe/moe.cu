#include "kernels/moe/moe_pairs.cuh"
#include "kernels/moe/route.cuh"

namespace dsr1::kernels {
namespace {

struct RouteKernelStorage {
  RouteStorage<kMaxExperts> row;
  int32_t id[kMaxExperts];
  float weight[kMaxExperts];
};

// A warp a row.
__global__ void __launch_bounds__(simt::kWarp) route_kernel(const RouteParams p) {
  auto& s = simt::shared<RouteKernelStorage>();
  const int r = simt::block_x();
  route_row(p, r, s.row, s.id, s.weight);
  for (int k = simt::lane(); k < p.n_used; k += simt::kWarp) {
    p.ids[r * p.n_used + k] = s.id[k];
    p.weights.data[r * p.weights.stride + k] = s.weight[k];
  }
}

}  // namespace

Status launch_route(const RouteParams& p, simt::Stream stream) {
  if (p.n_expert > kMaxExperts)
    return Error(ErrorCode::kRuntime, "routing takes up to " + std::to_string(kMaxExperts) + " experts, found " +
                                          std::to_string(p.n_expert));
  return simt::launch("route", route_kernel, {p.logits.rows}, simt::kWarp, sizeof(RouteKernelStorage), stream, p);
}

namespace {

// out[r] = sum over k, in order, of weights[r][k] * down_out[r * n_used + k].
__global__ void __launch_bounds__(128) moe_combine_kernel(const MoeFfnParams p) {
  const int c = simt::block_x() * 128 + simt::thread(), r = simt::block_y();
  if (c >= p.out.cols) return;
  float sum = 0;
  for (int k = 0; k < p.n_used; ++k)
    sum = simt::fma(p.weights.data[r * p.weights.stride + k],
                    p.down_out.data[(int64_t{r} * p.n_used + k) * p.down_out.stride + c], sum);
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
    s = simt::launch("moe_gate_up", moe_gate_up_kernel<T>, blocks_of(p, p.gate.first.rows), 32 * kMoeWarps, 0, stream,
                     MoePairsParams{p, x, {}});
  });
  if (!known) return unknown(p.gate.first.type);
  return s;
}

Status launch_moe_down(const MoeFfnParams& p, const Activations& hidden, simt::Stream stream) {
  Status s;
  const bool known = with_type(p.down.first.type, [&]<class T>() {
    s = simt::launch("moe_down", moe_down_kernel<T>, blocks_of(p, p.down.first.rows), 32 * kMoeWarps, 0, stream,
                     MoePairsParams{p, {}, hidden});
  });
  if (!known) return unknown(p.down.first.type);
  return s;
}

Status launch_moe_combine(const MoeFfnParams& p, simt::Stream stream) {
  return simt::launch("moe_combine", moe_combine_kernel, {(p.out.cols + 127) / 128, p.x.rows}, 128, 0, stream, p);
}

}  // namespace dsr1::kernels
