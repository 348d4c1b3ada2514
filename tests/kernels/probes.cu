#include "kernels/probes.h"
#include "kernels/simt/simt.h"

namespace dsr1::test {
namespace {

struct ArithmeticParams {
  const float* in;
  float* out;
  int n;
};

__global__ void arithmetic_kernel(const ArithmeticParams p) {
  const int i = simt::block_x() * 128 + simt::thread();
  if (i >= p.n) return;
  const float x = p.in[i], positive = x < 0 ? -x : x;
  float* out = p.out + i * kArithmetic;
  out[0] = simt::exp(x);
  out[1] = simt::exp2(x);
  out[2] = simt::log(positive);
  out[3] = simt::log2(positive);
  out[4] = simt::rsqrt(positive);
  out[5] = simt::mul(x, 0.3f);
  out[6] = static_cast<float>(simt::round_to_even(x));
}

struct LoadsParams {
  const uint16_t* in;
  uint32_t* out;
};
struct LoadsStorage {
  alignas(16) uint16_t m[16][16];
};

__global__ void loads_kernel(const LoadsParams p) {
  auto& s = simt::shared<LoadsStorage>();
  const int lane = simt::lane();
  for (int i = lane; i < 256; i += 32) s.m[i / 16][i % 16] = p.in[i];
  simt::sync_warp();
  uint32_t a[4], b[4], c[2], d[2];
  const uint16_t* four = &s.m[lane % 16][lane / 16 * 8];
  const uint16_t* two = &s.m[lane % 16][0];
  simt::ldmatrix_x4(a, four);
  simt::ldmatrix_x4_trans(b, four);
  simt::ldmatrix_x2(c, two);
  simt::ldmatrix_x2_trans(d, two);
  for (int i = 0; i < 4; ++i) {
    p.out[lane * 12 + i] = a[i];
    p.out[lane * 12 + 4 + i] = b[i];
  }
  for (int i = 0; i < 2; ++i) {
    p.out[lane * 12 + 8 + i] = c[i];
    p.out[lane * 12 + 10 + i] = d[i];
  }
}

struct ReduceParams {
  const float* in;
  float* out;
};
struct ReduceStorage {
  float parts[8];
};

__global__ void reduce_kernel(const ReduceParams p) {
  auto& s = simt::shared<ReduceStorage>();
  const int t = simt::thread();
  p.out[2 * t] = simt::block_sum<256>(p.in[t], s.parts);
  simt::sync_block();
  p.out[2 * t + 1] = simt::block_max<256>(p.in[t], s.parts);
}

struct BytesParams {
  const uint32_t* in;
  uint32_t lo, hi;
  const uint8_t* ones;
  uint32_t* out;
  int n;
};
struct BytesStorage {
  simt::Bytes16 copied[32];
};

__global__ void bytes_kernel(const BytesParams p) {
  auto& s = simt::shared<BytesStorage>();
  const int i = simt::thread();
  simt::async_copy16(&s.copied[i], p.ones, i % 17);
  simt::async_commit();
  simt::async_wait<0>();
  const simt::Bytes16 v = s.copied[i];
  p.out[i] = simt::byte_perm(p.lo, p.hi, p.in[i]);
  p.out[p.n + i] = v.w[0] + v.w[1] + v.w[2] + v.w[3];
}

}  // namespace

Status launch_arithmetic(const float* in, float* out, int n, simt::Stream stream) {
  return simt::launch("arithmetic", arithmetic_kernel, {(n + 127) / 128}, 128, 0, stream, ArithmeticParams{in, out, n});
}
Status launch_loads(const uint16_t* in, uint32_t* out, simt::Stream stream) {
  return simt::launch("loads", loads_kernel, {}, 32, sizeof(LoadsStorage), stream, LoadsParams{in, out});
}
Status launch_block_reductions(const float* in, float* out, simt::Stream stream) {
  return simt::launch("reduce", reduce_kernel, {}, 256, sizeof(ReduceStorage), stream, ReduceParams{in, out});
}
Status launch_bytes(const uint32_t* in, uint32_t lo, uint32_t hi, const uint8_t* ones, uint32_t* out, int n,
                    simt::Stream stream) {
  return simt::launch("bytes", bytes_kernel, {}, n, sizeof(BytesStorage), stream,
                      BytesParams{in, lo, hi, ones, out, n});
}

}  // namespace dsr1::test
