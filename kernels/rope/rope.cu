#include <cmath>

#include "kernels/rope/rope.h"
#include "kernels/simt/simt.h"

namespace dsr1::kernels {
namespace {

constexpr int kThreads = 64;

struct AnglesParams {
  const float* freq;
  float magnitude;
  const int32_t* positions;
  Matrix out;
};

__global__ void rope_angles_kernel(const AnglesParams p) {
  const int i = simt::block_x() * kThreads + simt::thread(), half = p.out.cols / 2, r = simt::block_y();
  if (i >= half) return;
  const double angle = static_cast<double>(p.positions[r]) * static_cast<double>(p.freq[i]);
  float* row = p.out.data + r * p.out.stride;
  row[i] = static_cast<float>(::cos(angle) * static_cast<double>(p.magnitude));
  row[half + i] = static_cast<float>(::sin(angle) * static_cast<double>(p.magnitude));
}

struct RopeParams {
  Matrix x, cos_sin;
  int64_t head_stride;
  bool neox;
};

__global__ void rope_kernel(const RopeParams p) {
  const int i = simt::block_x() * kThreads + simt::thread(), half = p.cos_sin.cols / 2, r = simt::block_y();
  if (i >= half) return;
  const float* cs = p.cos_sin.data + r * p.cos_sin.stride;
  float* v = p.x.data + r * p.x.stride + simt::block_z() * p.head_stride;
  const int ia = p.neox ? i : 2 * i, ib = p.neox ? i + half : 2 * i + 1;
  const float a = v[ia], b = v[ib], c = cs[i], s = cs[half + i];
  v[ia] = simt::fma(a, c, -(b * s));
  v[ib] = simt::fma(a, s, b * c);
}

}  // namespace

Status launch_rope_angles(const float* freq, float magnitude, const int32_t* positions, Matrix cos_sin,
                          simt::Stream stream) {
  return simt::launch("rope_angles", rope_angles_kernel, {(cos_sin.cols / 2 + kThreads - 1) / kThreads, cos_sin.rows},
                      kThreads, 0, stream, AnglesParams{freq, magnitude, positions, cos_sin});
}

Status launch_rope(Matrix x, int n_head, int64_t head_stride, bool neox, Matrix cos_sin, simt::Stream stream) {
  return simt::launch("rope", rope_kernel, {(cos_sin.cols / 2 + kThreads - 1) / kThreads, x.rows, n_head}, kThreads, 0,
                      stream, RopeParams{x, cos_sin, head_stride, neox});
}

}  // namespace dsr1::kernels
