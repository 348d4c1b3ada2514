#include "backend/cuda/moe.h"

#include "dsr1/tensor/dtype.h"
#include "kernels/moe/grouped.h"
#include "kernels/rows/rows.h"

namespace dsr1::backend::cuda {

using kernels::MoeFfnParams;

Result<Moe> Moe::make(const ops::Limits& l) {
  Moe m;
  if (l.n_expert_used == 0) return m;
  const int64_t tiles = kernels::moe_most_tiles(l.max_rows * l.n_expert_used, l.n_expert);
  DSR1_TRY(m.tiles_, Memory::allocate(Memory::Where::kDevice, static_cast<size_t>(tiles) * sizeof(kernels::MoeTile),
                                      "tiles of experts"));
  return m;
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
  const kernels::MoeOrder order{slots, tiles_.as<kernels::MoeTile>()};
  const auto n_tiles = static_cast<int32_t>(kernels::moe_most_tiles(pairs, n_expert));
  DSR1_TRY_STATUS(kernels::launch_moe_sort(p.ids, pairs, n_expert, order, stream));
  DSR1_TRY(const kernels::HalfRows x, matmul.to_half(p.x, stream));
  DSR1_TRY_STATUS(kernels::launch_grouped({p.gate, order, x, p.gate_out, p.n_used, n_tiles}, stream));
  DSR1_TRY_STATUS(kernels::launch_grouped({p.up, order, x, up, p.n_used, n_tiles}, stream));
  DSR1_TRY_STATUS(kernels::launch_swiglu(p.gate_out, up, p.gate_out, stream));
  DSR1_TRY(const kernels::HalfRows hidden, matmul.to_half_hidden(p.gate_out, stream));
  DSR1_TRY_STATUS(kernels::launch_grouped({p.down, order, hidden, p.down_out, 1, n_tiles}, stream));
  return kernels::launch_moe_combine(p, stream);
}

}  // namespace dsr1::backend::cuda
