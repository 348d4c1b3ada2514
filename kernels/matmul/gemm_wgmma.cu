#include "kernels/matmul/gemm_wgmma.cuh"
#include "kernels/quant/decode.cuh"

namespace dsr1::kernels {
namespace {

struct ToTilesParams {
  Matrix x;
  HalfTiles out;
};

struct ToTilesStorage {
  float parts[8];
};

// A block a row, padded ones too, of 256 threads; a thread eight columns at a time.
__global__ void __launch_bounds__(256) to_half_tiles_kernel(const ToTilesParams p) {
  auto& s = simt::shared<ToTilesStorage>();
  const int r = simt::block_x(), cols = r < p.x.rows ? p.x.cols : 0;
  const float* x = p.x.data + r * p.x.stride;
  float largest = 0;
  for (int c = simt::thread(); c < cols; c += 256) {
    const float a = x[c] < 0 ? -x[c] : x[c];
    largest = a > largest ? a : largest;
  }
  const float scale = half_scale(simt::block_max<256>(largest, s.parts)), inverse = 1.0f / scale;
  const int stride = static_cast<int>(half_stride(p.x.cols));
  for (int c = simt::thread() * 8; c < stride; c += 256 * 8) {
    Bytes16 h;
    for (int j = 0; j < 8; j += 2)
      h.w[j / 2] =
          two_halves(c + j < cols ? x[c + j] * inverse : 0.0f, c + j + 1 < cols ? x[c + j + 1] * inverse : 0.0f);
    *reinterpret_cast<Bytes16*>(p.out.data + (int64_t{r / 64} * (stride / 64) + c / 64) * kWgmmaTile +
                                simt::swizzled(r % 64, c % 64 / 8) * 8) = h;
  }
  if (simt::thread() == 0) p.out.scale[r] = scale;
}

}  // namespace

Status launch_to_half_tiles(Matrix x, HalfTiles out, simt::Stream stream) {
  return simt::launch("to_half_tiles", to_half_tiles_kernel, {tile_rows(x.rows)}, 256, sizeof(ToTilesStorage), stream,
                      ToTilesParams{x, out});
}

bool wgmma_present() { return simt::compiled_for_wgmma(gemm_wgmma_kernel<quant::F16>); }

Status launch_gemm_wgmma(const MatmulParams& p, const HalfTiles& x, simt::Stream stream) {
  if (const char* why = gemm_declines(p)) return Error(ErrorCode::kRuntime, std::string("gemm_wgmma: ") + why);
  Status s;
  const bool known = with_type(p.w.type, [&]<class T>() {
    using Tr = WgmmaTile;
    if constexpr (T::kGgufId == quant::F32::kGgufId) s = Error(ErrorCode::kRuntime, "gemm_wgmma: F32 weights");
    else
      s = simt::launch("gemm_wgmma", gemm_wgmma_kernel<T>,
                       {(p.n_out + Tr::kM - 1) / Tr::kM, (x.rows + Tr::kN - 1) / Tr::kN}, Tr::kThreads,
                       sizeof(Tr::SharedStorage), stream, WgmmaParams{p, x});
  });
  if (!known) return Error(ErrorCode::kRuntime, "gemm_wgmma: no kernel for tensor type " + std::to_string(p.w.type));
  return s;
}

}  // namespace dsr1::kernels
