#include "kernels/matmul/gemm.cuh"
#include "kernels/quant/decode.cuh"

namespace dsr1::kernels {
namespace {

struct ToHalfParams {
  Matrix x;
  HalfRows out;
};

struct ToHalfStorage {
  float parts[8];
};

// A block a row, of 256 threads.
__global__ void __launch_bounds__(256) to_half_kernel(const ToHalfParams p) {
  auto& s = simt::shared<ToHalfStorage>();
  const int r = simt::block_x();
  const float* x = p.x.data + r * p.x.stride;
  float largest = 0;
  for (int c = simt::thread(); c < p.x.cols; c += 256) {
    const float a = x[c] < 0 ? -x[c] : x[c];
    largest = a > largest ? a : largest;
  }
  largest = simt::block_max<256>(largest, s.parts);
  const float scale = half_scale(largest), inverse = 1.0f / scale;
  for (int c = simt::thread(); c < p.out.stride; c += 256)
    p.out.data[r * p.out.stride + c] = simt::half_of(c < p.x.cols ? x[c] * inverse : 0.0f).bits;
  if (simt::thread() == 0) p.out.scale[r] = scale;
}

__global__ void __launch_bounds__(256) to_bf16_kernel(const ToHalfParams p) {
  const int r = simt::block_x();
  const float* x = p.x.data + r * p.x.stride;
  for (int c = simt::thread(); c < p.out.stride; c += 256)
    p.out.data[r * p.out.stride + c] = simt::bf16_of(c < p.x.cols ? x[c] : 0.0f).bits;
}

struct ScaleParams {
  Matrix out;
  const float *scale, *bias;
};

// block_x: row, block_y: 1024 columns.
__global__ void __launch_bounds__(256) scale_rows_kernel(const ScaleParams p) {
  const int r = simt::block_x();
  const float scale = p.scale != nullptr ? p.scale[r] : 1.0f;
  for (int c = simt::block_y() * 1024 + simt::thread(); c < p.out.cols && c < (simt::block_y() + 1) * 1024; c += 256) {
    float& y = p.out.data[r * p.out.stride + c];
    y = y * scale + (p.bias != nullptr ? p.bias[c] : 0.0f);
  }
}

}  // namespace

const char* gemm_declines(const MatmulParams& p) {
  if (p.n_head != 1) return "the matrix is one of several heads";
  if (p.w.type == quant::F32::kGgufId) return "F32 weights meet float activations";
  if (!is_quantized(p.w.type) && p.w.row_bytes % 16 != 0) return "weight rows are not whole 16 bytes";
  return nullptr;
}

Status launch_to_half(Matrix x, HalfRows out, simt::Stream stream) {
  return simt::launch("to_half", to_half_kernel, {x.rows}, 256, sizeof(ToHalfStorage), stream, ToHalfParams{x, out});
}

Status launch_to_bf16(Matrix x, HalfRows out, simt::Stream stream) {
  return simt::launch("to_bf16", to_bf16_kernel, {x.rows}, 256, 0, stream, ToHalfParams{x, out});
}

Status launch_scale_rows(Matrix out, const float* scale, const float* bias, simt::Stream stream) {
  return simt::launch("scale_rows", scale_rows_kernel, {out.rows, (out.cols + 1023) / 1024}, 256, 0, stream,
                      ScaleParams{out, scale, bias});
}

Status launch_gemm(const MatmulParams& p, const HalfRows& x, simt::Stream stream) {
  if (const char* why = gemm_declines(p)) return Error(ErrorCode::kRuntime, std::string("gemm: ") + why);
  Status s;
  const bool known = with_type(p.w.type, [&]<class T>() {
    if constexpr (T::kGgufId != quant::F32::kGgufId) {
      using Tr = GemmTile;
      s = simt::launch("gemm", gemm_kernel<T, Tr>, {(p.n_out + Tr::kN - 1) / Tr::kN, (x.rows + Tr::kM - 1) / Tr::kM},
                       Tr::kThreads, sizeof(Tr::SharedStorage), stream, GemmParams{p, x});
    }
  });
  if (!known) return Error(ErrorCode::kRuntime, "gemm: no kernel for tensor type " + std::to_string(p.w.type));
  return s;
}

}  // namespace dsr1::kernels
