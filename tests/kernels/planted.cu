#include "kernels/planted.h"
#include "kernels/simt/simt.h"

namespace dsr1::test {
namespace {

constexpr int kN = 64;

struct PlantedParams {
  Planted bug;
  const float* in;
  float* out;
  const float* host;
};

struct Storage {
  alignas(16) float values[kN];
  float never;
};

__global__ void planted_kernel(const PlantedParams p) {
  auto& s = simt::shared<Storage>();
  const int t = simt::thread();
  float extra = 0;
  if (p.bug == Planted::kAsyncTooEarly || p.bug == Planted::kAsyncNoBarrier) {
    if (t < kN / 4) simt::async_copy16(&s.values[4 * t], p.in + 4 * t);
    simt::async_commit();
    if (p.bug == Planted::kAsyncNoBarrier) simt::async_wait<0>();
    p.out[t] = s.values[kN - 1 - t];
    simt::async_wait<0>();
    return;
  }
  if (p.bug == Planted::kLaneMissing && t == 5) return;
  if (p.bug == Planted::kThreadMissing && t == 40) return;
  if (p.bug == Planted::kLaneMissing) extra = simt::shfl_xor(0.0f, 1);
  if (p.bug == Planted::kMixedCollectives)
    extra = t % 2 == 0 ? simt::shfl_xor(0.0f, 2) : static_cast<float>(simt::ballot(false));
  if (p.bug == Planted::kLaneNotNamed && t < 16) extra = simt::shfl(0.0f, 20, 0xffff);
  if (p.bug == Planted::kMisaligned) extra = 0.0f * static_cast<float>(simt::load16(p.in + 1).w[0]);
  if (p.bug == Planted::kHostMemory) extra = 0.0f * *p.host;
  if (p.bug == Planted::kReadUninitialised) extra = s.never;
  const int from = p.bug == Planted::kReadOutOfBounds ? t + 1 : t;
  s.values[t] = p.in[from] + extra;
  if (p.bug != Planted::kMissingBarrier) simt::sync_block();
  const float v = s.values[kN - 1 - t];
  if (p.bug == Planted::kReadOverwritten) s.values[t] = 0;
  const int to = p.bug == Planted::kWriteOutOfBounds ? t + 1 : t;
  if (simt::block_x() == 0 || p.bug == Planted::kBlocksCollide) p.out[to] = v;
}

struct PlantedGridParams {
  PlantedGrid bug;
  const float* in;
  float *ring, *out;
  uint32_t* word;
};

__global__ void planted_grid_kernel(const PlantedGridParams p) {
  const int t = simt::thread(), b = simt::block_x(), next = (b + 1) % simt::grid_x();
  if (p.bug == PlantedGrid::kBlockMissing && b == 2) return;
  if (p.bug == PlantedGrid::kThreadMissing && b == 1 && t == 40) return;
  p.ring[b * kN + t] = p.in[b * kN + t];
  if (p.bug == PlantedGrid::kMixedBarriers && t % 2 == 0) simt::sync_block();
  if (p.bug != PlantedGrid::kNoBarrier) simt::sync_grid(p.word);
  const float v = p.ring[next * kN + t];
  if (p.bug != PlantedGrid::kOneBarrier) simt::sync_grid(p.word);
  p.ring[b * kN + t] = v;
  simt::sync_grid(p.word);
  p.out[b * kN + t] = p.ring[next * kN + t];
}

struct ProbeParams {
  const float* in;
  float* out;
};

__global__ void probe_kernel(const ProbeParams p) {
  const int lane = simt::lane();
  const float x = p.in[lane];
  float v[kProbes] = {};
  v[0] = simt::shfl(x, 7);
  v[1] = simt::shfl_xor(x, 5);
  v[2] = static_cast<float>(simt::ballot(x > 0) & 0xffffu);
  v[3] = simt::reduce_sum(x);
  v[4] = simt::reduce_max(x);
  v[5] = static_cast<float>(simt::dp4a(0x807f01ffu, 0x7f80ff02u, lane));
  v[6] = simt::to_float(simt::half_of(x));
  v[7] = simt::to_float(simt::bf16_of(x));
  v[8] = simt::fma(x, x, 1.0f);
  v[9] = simt::reduce_sum_within<8>(x);
  uint32_t some = 0;
  if (lane < 16) some = simt::ballot(lane % 3 == 0, 0xffffu);
  v[10] = static_cast<float>(some);
  v[11] = static_cast<float>(simt::shfl(lane * lane, (lane + 1) % 32));
  for (int i = 0; i < kProbes; ++i) p.out[lane * kProbes + i] = v[i];
}

struct MmaParams {
  const uint32_t *a, *b;
  uint32_t* d;
};

struct MmaStorage {
  alignas(16) uint32_t a[16 * 8], b[8 * 8];  // rows of 32 bytes
};

template <int kKind>
__global__ void mma_kernel(const MmaParams p) {
  auto& s = simt::shared<MmaStorage>();
  const int lane = simt::lane();
  for (int i = lane; i < 16 * 8; i += 32) s.a[i] = p.a[i];
  for (int i = lane; i < 8 * 8; i += 32) s.b[i] = p.b[i];
  simt::sync_warp();
  // Matrices 0, 1: rows 0-7 and 8-15 of the first 16 bytes; 2, 3 of the next.
  uint32_t a[4], b[2];
  simt::ldmatrix_x4(a, &s.a[(lane % 16) * 8 + lane / 16 * 4]);
  simt::ldmatrix_x2(b, &s.b[(lane % 8) * 8 + lane / 8 % 2 * 4]);
  uint32_t bits[4];
  for (int i = 0; i < 4; ++i) {
    const simt::RowCol at = simt::FragC::at(lane, i);
    bits[i] = p.d[at.row * 8 + at.col];
  }
  if constexpr (kKind == 2) {
    int32_t d[4];
    for (int i = 0; i < 4; ++i) d[i] = static_cast<int32_t>(bits[i]);
    simt::mma_m16n8k32(d, a, b);
    for (int i = 0; i < 4; ++i) bits[i] = static_cast<uint32_t>(d[i]);
  } else {
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = __builtin_bit_cast(float, bits[i]);
    if constexpr (kKind == 0) simt::mma_m16n8k16<simt::Half>(d, a, b);
    if constexpr (kKind == 1) simt::mma_m16n8k16<simt::BFloat16>(d, a, b);
    for (int i = 0; i < 4; ++i) bits[i] = __builtin_bit_cast(uint32_t, d[i]);
  }
  for (int i = 0; i < 4; ++i) {
    const simt::RowCol at = simt::FragC::at(lane, i);
    p.d[at.row * 8 + at.col] = bits[i];
  }
}

struct WidenParams {
  float* out;
};

__global__ void widen_kernel(const WidenParams p) {
  const int i = simt::block_x() * 256 + simt::thread();
  p.out[i] = simt::to_float(simt::Half{static_cast<uint16_t>(i)});
  p.out[65536 + i] = simt::to_float(simt::BFloat16{static_cast<uint16_t>(i)});
  if (i < 256) p.out[2 * 65536 + i] = simt::to_float(simt::Fp8{static_cast<uint8_t>(i)});
}

struct NarrowParams {
  const float* in;
  uint16_t* out;
  int n;
};

__global__ void narrow_kernel(const NarrowParams p) {
  const int i = simt::block_x() * 256 + simt::thread();
  if (i >= p.n) return;
  p.out[2 * i] = simt::half_of(p.in[i]).bits;
  p.out[2 * i + 1] = simt::bf16_of(p.in[i]).bits;
}

}  // namespace

Status launch_planted(Planted bug, const float* in, float* out, const float* host, simt::Stream stream) {
  return simt::launch("planted", planted_kernel, {bug == Planted::kBlocksCollide ? 2 : 1}, kN, sizeof(Storage), stream,
                      PlantedParams{bug, in, out, host});
}
Status launch_planted_grid(PlantedGrid bug, int blocks, const float* in, float* ring, float* out, uint32_t* word,
                           simt::Stream stream) {
  const PlantedGridParams p{bug, in, ring, out, word};
  if (bug == PlantedGrid::kNotResident)
    return simt::launch("planted_grid", planted_grid_kernel, {blocks}, kN, 0, stream, p);
  return simt::launch_resident("planted_grid", planted_grid_kernel, blocks, kN, 0, stream, p);
}
Status launch_probe(const float* in, float* out, simt::Stream stream) {
  return simt::launch("probe", probe_kernel, {}, 32, 0, stream, ProbeParams{in, out});
}
Status launch_mma(int kind, const void* a, const void* b, void* d, simt::Stream stream) {
  const MmaParams p{static_cast<const uint32_t*>(a), static_cast<const uint32_t*>(b), static_cast<uint32_t*>(d)};
  constexpr size_t shared = sizeof(MmaStorage);
  if (kind == 0) return simt::launch("mma_f16", mma_kernel<0>, {}, 32, shared, stream, p);
  if (kind == 1) return simt::launch("mma_bf16", mma_kernel<1>, {}, 32, shared, stream, p);
  return simt::launch("mma_s8", mma_kernel<2>, {}, 32, shared, stream, p);
}
Status launch_widen(float* out, simt::Stream stream) {
  return simt::launch("widen", widen_kernel, {256}, 256, 0, stream, WidenParams{out});
}
Status launch_narrow(const float* in, uint16_t* out, int n, simt::Stream stream) {
  return simt::launch("narrow", narrow_kernel, {(n + 255) / 256}, 256, 0, stream, NarrowParams{in, out, n});
}

}  // namespace dsr1::test
