#include "kernels/planted.h"
#include "kernels/simt/simt.h"

namespace dsr1::test {
namespace {

struct PlantedWgmmaParams {
  PlantedWgmma bug;
  const uint16_t *a, *b;
  float* d;
};

struct PlantedWgmmaStorage {
  alignas(1024) simt::Bytes16 a[64 * 8], b[256 * 8];
  simt::Mbarrier full, other;
};

// Threads 0-127 multiply, 128-255 fill.
__global__ void __launch_bounds__(256, 1) planted_wgmma_kernel(const PlantedWgmmaParams p) {
  auto& s = simt::shared<PlantedWgmmaStorage>();
  const PlantedWgmma bug = p.bug;
  const int t = simt::thread() % 128;
  if (simt::thread() == 0) {
    if (bug != PlantedWgmma::kNoBarrier) simt::mbarrier_init(&s.full, 5);
    simt::mbarrier_init(&s.other, 1);
    simt::fence_async_proxy();
  }
  simt::sync_block();
  if (simt::thread() >= 128) {
    if (t == 0) {
      constexpr int kBytes = sizeof(s.b);
      const bool wrong = bug == PlantedWgmma::kWrongBytes || bug == PlantedWgmma::kTooManyArrivals;
      simt::mbarrier_arrive_expecting(&s.full, wrong ? kBytes + 16 : kBytes);
      for (int i = 0; i < 4; ++i) simt::bulk_copy(&s.b[i * 64 * 8], p.b + i * 64 * 64, kBytes / 4, &s.full);
    }
    for (int i = t; i < 64 * 8; i += 128) s.a[simt::swizzled(i / 8, i % 8)] = simt::load16(p.a + i * 8);
    if (bug != PlantedWgmma::kNoProxyFence) simt::fence_async_proxy();
    simt::sync_warp();
    if (simt::lane() == 0 && !(bug == PlantedWgmma::kMissingArrival && t == 32)) simt::mbarrier_arrive(&s.full);
    if (t == 0 && bug == PlantedWgmma::kTooManyArrivals) simt::mbarrier_arrive(&s.full);
    return;
  }
  simt::mbarrier_wait(&s.full, bug == PlantedWgmma::kWrongParity ? 1 : 0);
  float d[simt::FragWgmma::kRegisters] = {};
  if (bug == PlantedWgmma::kPartOfAGroup && t >= 96) return;
  if (bug != PlantedWgmma::kNoFence) simt::wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int row = bug == PlantedWgmma::kOtherMatrix && t >= 96 ? 8 : 0;
    const int part = bug == PlantedWgmma::kNotOnARow ? 7 : 2 * k;
    simt::wgmma_m64n256k16(d, simt::wgmma_matrix(&s.a[row * 8 + part]), simt::wgmma_matrix(&s.b[2 * k]));
  }
  simt::wgmma_commit();
  if (bug == PlantedWgmma::kRegistersTouched) d[3] = 1;
  if (bug == PlantedWgmma::kMatrixTouched && t == 0) {
    simt::mbarrier_arrive(&s.other);  // order enough for a store, not for what still reads
    s.a[5] = {};
  }
  if (bug != PlantedWgmma::kNotWaited) simt::wgmma_wait<0>(d);
#pragma unroll
  for (int i = 0; i < simt::FragWgmma::kRegisters; ++i) {
    const simt::RowCol c = simt::FragWgmma::at(t, i);
    p.d[c.row * 256 + c.col] = d[i];
  }
}

}  // namespace

bool planted_wgmma_present() { return simt::compiled_for_wgmma(planted_wgmma_kernel); }

Status launch_planted_wgmma(PlantedWgmma bug, const uint16_t* a, const uint16_t* b, float* d, simt::Stream stream) {
  return simt::launch("planted_wgmma", planted_wgmma_kernel, {}, 256, sizeof(PlantedWgmmaStorage), stream,
                      PlantedWgmmaParams{bug, a, b, d});
}

}  // namespace dsr1::test
