#pragma once

#include "kernels/matmul/activations.cuh"
#include "kernels/norm/rms_norm.h"
#include "kernels/simt/simt.h"

namespace dsr1::kernels {

template <int kThreads_>
struct RmsNormTraits {
  static constexpr int kThreads = kThreads_;
  struct SharedStorage {
    float parts[kThreads / simt::kWarp];
  };
};

// A block a group: block_x is the group, block_y the row.
template <class Tr>
DSR1_DEVICE void rms_norm_body(const RmsNormParams& p) {
  auto& s = simt::shared<typename Tr::SharedStorage>();
  const float* x = p.x.data + simt::block_y() * p.x.stride + int64_t{simt::block_x()} * p.n;
  float* out = p.out.data + simt::block_y() * p.out.stride + int64_t{simt::block_x()} * p.n;
  float sum = 0;
  for (int i = simt::thread(); i < p.n; i += Tr::kThreads) sum = simt::fma(x[i], x[i], sum);
  sum = simt::block_sum<Tr::kThreads>(sum, s.parts);
  const float scale = simt::rsqrt(sum / static_cast<float>(p.n) + p.eps);
  if (p.int8.q == nullptr) {
    for (int i = simt::thread(); i < p.n; i += Tr::kThreads) out[i] = x[i] * scale * p.weight[i];
    return;
  }
  const int64_t row = simt::block_y() * p.int8.stride;
  for (int i0 = 0; i0 < p.n; i0 += 4 * Tr::kThreads) {
    const int i = i0 + 4 * simt::thread();
    float v[4] = {};
    for (int j = 0; j < 4 && i < p.n; ++j) out[i + j] = v[j] = x[i + j] * scale * p.weight[i + j];
    ActGroup group;
    const uint32_t packed = quantize4(v, group);
    if (i >= p.n) continue;
    *reinterpret_cast<uint32_t*>(p.int8.q + row + i) = packed;
    if (simt::lane() % 8 == 0) p.int8.groups[(row + i) / 32] = group;
  }
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads) rms_norm_kernel(const RmsNormParams p) {
  rms_norm_body<Tr>(p);
}

}  // namespace dsr1::kernels
