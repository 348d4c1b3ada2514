#include "backend/cuda/moe.h"

#include "dsr1/tensor/dtype.h"
#include "kernels/moe/grouped.h"
#include "kernels/rows/rows.h"

namespace dsr1::backend::cuda {

using kernels::MoeFfnParams;

namespace {

constexpr size_t kBarrierBytes = 256;

size_t tile_bytes(const ops::Limits& l) {
  return static_cast<size_t>(kernels::moe_most_tiles_up_to(l.max_rows * l.n_expert_used, l.n_expert)) *
         sizeof(kernels::MoeTile);
}

}  // namespace

size_t Moe::bytes_for(const ops::Limits& l) { return l.n_expert_used == 0 ? 0 : tile_bytes(l) + kBarrierBytes; }

Result<Moe> Moe::make(const ops::Limits& l, const DeviceFacts& facts, Stream stream) {
  Moe m;
  if (l.n_expert_used == 0) return m;
  DSR1_TRY(m.tiles_, Memory::allocate(Memory::Where::kDevice, tile_bytes(l), "tiles of experts"));
  DSR1_TRY(m.barrier_, Memory::allocate(Memory::Where::kDevice, kBarrierBytes, "tiles of experts"));
  DSR1_TRY_STATUS(fill_bytes(m.barrier_.data(), 0, kBarrierBytes, stream));
  m.n_multiprocessors_ = facts.n_multiprocessors;
  return m;
}

bool Moe::takes_fused(const kernels::RouteParams& route, const MoeFfnParams& p) const {
  return kernels::moe_fused_declines(route, p) == nullptr;
}

Status Moe::run_fused(const kernels::RouteParams& route, const MoeFfnParams& given, Matmul& matmul, Stream stream) {
  kernels::MoeFusedParams p{route, given, {}, {}, barrier_.as<uint32_t>()};
  p.m.gate_out.rows = given.x.rows * given.n_used;
  if (kernels::is_quantized(p.m.gate.first.type)) {
    DSR1_TRY(p.x, matmul.quantize(p.m.x, stream));
  }
  if (kernels::is_quantized(p.m.down.first.type)) p.hidden = matmul.space_for_hidden(p.m.gate_out);
  return kernels::launch_moe_fused(p, n_multiprocessors_, stream);
}

// Quantized experts meet int8 activations: of the rows for gate and up, of the hidden values for down.
Status Moe::run_pairs(const MoeFfnParams& p, Matmul& matmul, Stream stream) {
  kernels::Activations x, hidden;
  if (kernels::is_quantized(p.gate.first.type)) {
    DSR1_TRY(x, matmul.quantize(p.x, stream));
  }
  DSR1_TRY_STATUS(kernels::launch_moe_gate_up(p, x, stream));
  if (kernels::is_quantized(p.down.first.type)) {
    DSR1_TRY(hidden, matmul.quantize_hidden(p.gate_out, stream));
  }
  DSR1_TRY_STATUS(kernels::launch_moe_down(p, hidden, stream));
  return kernels::launch_moe_combine(p, stream);
}

Status Moe::run(const MoeFfnParams& given, int n_expert, kernels::Matrix up, int32_t* slots, Matmul& matmul,
                Stream stream) {
  MoeFfnParams p = given;
  const int32_t pairs = p.x.rows * p.n_used;
  p.gate_out.rows = p.down_out.rows = up.rows = pairs;
  const auto f32 = static_cast<uint32_t>(DType::kF32);  // meets float activations only, as everywhere
  if (p.x.rows <= kernels::kMatvecMost || p.gate.first.type == f32 || p.down.first.type == f32)
    return run_pairs(p, matmul, stream);
  return run_grouped(p, n_expert, up, slots, matmul, stream, [&](Which which, const kernels::GroupedParams& all_but_w) {
    kernels::GroupedParams g = all_but_w;
    g.w = which == Which::kGate ? p.gate : which == Which::kUp ? p.up : p.down;
    return kernels::launch_grouped(g, stream);
  });
}

Status Moe::run_streamed(const MoeFfnParams& p, const ops::ExpertWeights& experts, kernels::Matrix up, int32_t* slots,
                         Matmul& matmul, HostExperts& host, Stream stream) {
  const auto n_expert = static_cast<int>(experts.gate.size());
  return run_grouped(p, n_expert, up, slots, matmul, stream, [&](Which which, const kernels::GroupedParams& all_but_w) {
    const auto views = which == Which::kGate ? experts.gate : which == Which::kUp ? experts.up : experts.down;
    return host.stream(views, stream, [&](const kernels::ExpertMatrix& w, int first, int n) {
      kernels::GroupedParams g = all_but_w;
      g.w = w;
      g.first = first;
      g.n = n;
      return kernels::launch_grouped(g, stream);
    });
  });
}

Status Moe::run_grouped(MoeFfnParams p, int n_expert, kernels::Matrix up, int32_t* slots, Matmul& matmul, Stream stream,
                        const Project& project) {
  const int32_t pairs = p.x.rows * p.n_used;
  p.gate_out.rows = p.down_out.rows = up.rows = pairs;
  const kernels::MoeOrder order{slots, tiles_.as<kernels::MoeTile>()};
  const int32_t tile_rows = kernels::moe_tile_rows(pairs, n_expert);
  const auto n_tiles = static_cast<int32_t>(kernels::moe_most_tiles(pairs, n_expert, tile_rows));
  DSR1_TRY_STATUS(kernels::launch_moe_sort(p.ids, pairs, n_expert, tile_rows, order, stream));
  DSR1_TRY(const kernels::HalfRows x, matmul.to_half(p.x, stream));
  DSR1_TRY_STATUS(project(Which::kGate, {{}, order, x, p.gate_out, p.n_used, n_tiles, tile_rows}));
  DSR1_TRY_STATUS(project(Which::kUp, {{}, order, x, up, p.n_used, n_tiles, tile_rows}));
  DSR1_TRY_STATUS(kernels::launch_swiglu(p.gate_out, up, p.gate_out, stream));
  DSR1_TRY(const kernels::HalfRows hidden, matmul.to_half_hidden(p.gate_out, stream));
  DSR1_TRY_STATUS(project(Which::kDown, {{}, order, hidden, p.down_out, 1, n_tiles, tile_rows}));
  return kernels::launch_moe_combine(p, stream);
}

}  // namespace dsr1::backend::cuda
