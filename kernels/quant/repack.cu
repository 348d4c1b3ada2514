#include "kernels/quant/decode.cuh"
#include "kernels/quant/repack.h"
#include "kernels/simt/simt.h"

namespace dsr1::kernels {
namespace {

constexpr int kThreads = 128;

struct RepackParams {
  Weight w;
  const uint8_t* rows;
  int64_t first, n_blocks;
};

template <class T, int k>
DSR1_DEVICE void copy_planes(const RepackParams& p, int64_t block, const uint8_t* from) {
  if constexpr (k < Planes<T>::kCount) {
    constexpr int bytes = kPlaneBytes<T, k>;
    auto* to = const_cast<uint8_t*>(plane<T, k>(p.w, p.first, 0)) + block * bytes;
    for (int i = 0; i < bytes; ++i) to[i] = from[i];
    copy_planes<T, k + 1>(p, block, from + bytes);
  }
}

// A thread a block.
template <class T>
__global__ void repack_kernel(const RepackParams p) {
  const int64_t block = int64_t{simt::block_x()} * kThreads + simt::thread();
  if (block < p.n_blocks) copy_planes<T, 0>(p, block, p.rows + block * static_cast<int64_t>(sizeof(typename T::Block)));
}

}  // namespace

int64_t planar_bytes(const Weight& w) {
  int64_t bytes = 0;
  with_type(w.type,
            [&]<class T>() { bytes = plane_offset<T, Planes<T>::kCount>(int64_t{w.rows} * (w.cols / T::kElements)); });
  return bytes;
}

bool has_planes(uint32_t type) {
  bool planes = false;
  with_type(type, [&]<class T>() { planes = Planes<T>::kCount > 1; });
  return planes;
}

Status launch_repack(const Weight& w, const uint8_t* rows, int64_t first, int64_t n, simt::Stream stream) {
  Status s;
  const bool known = with_type(w.type, [&]<class T>() {
    if constexpr (Planes<T>::kCount > 1) {
      const int64_t blocks = n * (w.cols / T::kElements);
      s = simt::launch("repack", repack_kernel<T>, {(blocks + kThreads - 1) / kThreads}, kThreads, 0, stream,
                       RepackParams{w, rows, first, blocks});
    }
  });
  if (!known) return Error(ErrorCode::kRuntime, "repack: no such tensor type " + std::to_string(w.type));
  return s;
}

}  // namespace dsr1::kernels
