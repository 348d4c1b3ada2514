#include "kernels/moe/fused.cuh"

namespace dsr1::kernels {
namespace {

// Types of gate and up, and of down, are looked up as the kernel runs, once each: 256 kernels otherwise. Every block's
// threads find the same.
__global__ void __launch_bounds__(kFusedThreads, 1) moe_fused_kernel(const __grid_constant__ MoeFusedParams p) {
  auto& s = simt::shared<FusedStorage>();
  if (const int r = simt::warp(); r < p.m.x.rows) {
    route_row(p.route, r, s.route[r], s.id[r], s.weight[r]);
    if (const int k = simt::lane(); simt::block_x() == 0 && k < p.m.n_used) {
      p.route.ids[r * p.m.n_used + k] = s.id[r][k];
      p.route.weights.data[r * p.route.weights.stride + k] = s.weight[r][k];
    }
  }
  simt::sync_block();
  with_type_on_device(p.m.gate.first.type, [&]<class T>() { fused_gate_up<T>(p); });
  with_type_on_device(p.m.down.first.type, [&]<class T>() { fused_down<T>(p); });
}

}  // namespace

const char* moe_fused_declines(const RouteParams& route, const MoeFfnParams& p) {
  if (p.x.rows > kFusedRows) return "more than 8 rows: experts that several rows share are better read once";
  if (route.n_expert > kFusedExperts) return "more than 256 experts to route to";
  if (p.n_used > kFusedUsed) return "more than 16 experts a row";
  if (p.gate.first.type != p.up.first.type) return "gate and up are stored in different types";
  if (is_quantized(p.down.first.type) && p.gate.first.rows % 32 != 0) return "hidden values are not whole groups of 32";
  return nullptr;
}

Status launch_moe_fused(const MoeFusedParams& p, int n_multiprocessors, simt::Stream stream) {
  if (const char* why = moe_fused_declines(p.route, p.m)) return Error(ErrorCode::kRuntime, std::string("moe: ") + why);
  if (is_quantized(p.m.down.first.type) != (p.hidden.q != nullptr))
    return Error(ErrorCode::kRuntime,
                 "moe: space for int8 hidden values is what quantized experts need, and no others");
  int known = 0;
  for (const uint32_t type : {p.m.gate.first.type, p.m.down.first.type})
    if (!with_type(type, [&]<class T>() { known += 1; }))
      return Error(ErrorCode::kRuntime, "experts: no kernel for tensor type " + std::to_string(type));
  return simt::launch_resident("moe_fused", moe_fused_kernel, n_multiprocessors, kFusedThreads, sizeof(FusedStorage),
                               stream, p);
}

}  // namespace dsr1::kernels
