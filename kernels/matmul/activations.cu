#include "kernels/matmul/activations.cuh"

namespace dsr1::kernels {
namespace {

struct QuantizeParams {
  Matrix x;
  Activations out;
};

constexpr int kThreads = 128;

// Four values a thread. block_x: 512 columns, block_y: row.
__global__ void __launch_bounds__(kThreads) quantize_kernel(const QuantizeParams p) {
  const int c = (simt::block_x() * kThreads + simt::thread()) * 4, r = simt::block_y();
  float x[4] = {};
  if (c < p.x.cols)
    for (int i = 0; i < 4; ++i) x[i] = p.x.data[r * p.x.stride + c + i];
  ActGroup group;
  const uint32_t packed = quantize4(x, group);
  if (c >= p.x.cols) return;
  *reinterpret_cast<uint32_t*>(p.out.q + r * p.out.stride + c) = packed;
  if (simt::lane() % 8 == 0) p.out.groups[(r * p.out.stride + c) / 32] = group;
}

}  // namespace

Status launch_quantize(Matrix x, Activations out, simt::Stream stream) {
  if (x.cols % 32 != 0)
    return Error(ErrorCode::kRuntime, "quantize needs cols % 32 == 0, found " + std::to_string(x.cols));
  return simt::launch("quantize", quantize_kernel, {(x.cols + 4 * kThreads - 1) / (4 * kThreads), x.rows}, kThreads, 0,
                      stream, QuantizeParams{x, out});
}

}  // namespace dsr1::kernels
