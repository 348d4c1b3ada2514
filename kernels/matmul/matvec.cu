#include "kernels/matmul/matvec.cuh"

namespace dsr1::kernels {
namespace {

// Few rows of x: two weight rows a warp share each load of activations. Eight: one, or registers run out.
template <class F>
auto with_traits(int rows, F f) {
  if (rows == 1) return f(MatvecTraits<4, 2, 1>{});
  if (rows == 2) return f(MatvecTraits<4, 2, 2>{});
  if (rows <= 4) return f(MatvecTraits<4, 1, 4>{});
  return f(MatvecTraits<4, 1, kMatvecMost>{});
}

template <class Tr>
simt::Grid grid_of(const MatmulParams& p) {
  constexpr int columns = Tr::kWarps * Tr::kRows;
  return {(p.n_out + columns - 1) / columns, (p.x.rows + Tr::kCols - 1) / Tr::kCols, p.n_head};
}

}  // namespace

bool is_quantized(uint32_t type) {
  return with_quantized_type(type, []<class T>() { return T::kElements; });
}

bool matvec_float_takes(const MatmulParams& p) {
  return !is_quantized(p.w.type) && p.w.row_bytes % 16 == 0 && p.x.stride % 4 == 0 && p.x_head_stride % 4 == 0 &&
         reinterpret_cast<uintptr_t>(p.x.data) % 16 == 0;
}

Status launch_matvec_int8(const MatmulParams& p, const Activations& x, simt::Stream stream) {
  if (p.x_head_stride % 32 != 0)
    return Error(ErrorCode::kRuntime,
                 "matvec_int8 needs heads at multiples of 32, found " + std::to_string(p.x_head_stride));
  Status s;
  const bool known = with_quantized_type(p.w.type, [&]<class T>() {
    s = with_traits(p.x.rows, [&]<class Tr>(Tr) {
      return simt::launch("matvec_int8", matvec_int8_kernel<T, Tr>, grid_of<Tr>(p), Tr::kThreads, 0, stream,
                          MatvecParams{p, x});
    });
  });
  if (!known) return Error(ErrorCode::kRuntime, "matvec_int8: no quantized type " + std::to_string(p.w.type));
  return s;
}

Status launch_matvec_float(const MatmulParams& p, simt::Stream stream) {
  if (!matvec_float_takes(p))
    return Error(ErrorCode::kRuntime, "matvec_float needs weight rows of whole 16 bytes and x rows of whole 4 values");
  auto go = [&]<class T>() {
    return with_traits(p.x.rows, [&]<class Tr>(Tr) {
      return simt::launch("matvec_float", matvec_float_kernel<T, Tr>, grid_of<Tr>(p), Tr::kThreads, 0, stream, p);
    });
  };
  switch (p.w.type) {
    case quant::F32::kGgufId: return go.template operator()<quant::F32>();
    case quant::F16::kGgufId: return go.template operator()<quant::F16>();
    case quant::BF16::kGgufId: return go.template operator()<quant::BF16>();
    case quant::F8_E4M3::kGgufId: return go.template operator()<quant::F8_E4M3>();
    default: return Error(ErrorCode::kRuntime, "matvec_float: no float type " + std::to_string(p.w.type));
  }
}

}  // namespace dsr1::kernels
