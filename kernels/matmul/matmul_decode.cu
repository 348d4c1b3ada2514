#include "kernels/matmul/matmul_decode.cuh"

namespace dsr1::kernels {
namespace {

Error unknown(const char* op, uint32_t type) {
  return Error(ErrorCode::kRuntime, std::string(op) + ": no kernel for tensor type " + std::to_string(type));
}

}  // namespace

Status launch_matmul_decode(const MatmulParams& p, simt::Stream stream) {
  Status s;
  const bool known = with_type(p.w.type, [&]<class T>() {
    auto go = [&]<class Tr>(Tr) {
      const simt::Grid grid{(p.n_out + Tr::kWarps - 1) / Tr::kWarps, (p.x.rows + Tr::kRows - 1) / Tr::kRows, p.n_head};
      s = simt::launch("matmul_decode", matmul_decode_kernel<T, Tr>, grid, Tr::kThreads, 0, stream, p);
    };
    p.x.rows == 1 ? go(MatmulDecodeTraits<4, 1>{}) : go(MatmulDecodeTraits<4, 8>{});
  });
  if (!known) return unknown("matmul", p.w.type);
  return s;
}

Status launch_matmul_transposed(const MatmulParams& p, simt::Stream stream) {
  Status s;
  const bool known = with_type(p.w.type, [&]<class T>() {
    const simt::Grid grid{(p.w.cols + kGroup - 1) / kGroup, p.x.rows, p.n_head};
    s = simt::launch("matmul_transposed", matmul_transposed_kernel<T>, grid, simt::kWarp, 0, stream, p);
  });
  if (!known) return unknown("transposed matmul", p.w.type);
  return s;
}

}  // namespace dsr1::kernels
