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

struct PlantedFormsParams {
  PlantedForms bug;
  const uint16_t *a, *b, *v;
  float *d, *d_n;
};

struct PlantedFormsStorage {
  alignas(1024) simt::Bytes16 a[64 * 8], b[64 * 8], v[4 * 64 * 8];
};

__global__ void __launch_bounds__(128, 1) planted_wgmma_forms_kernel(const PlantedFormsParams p) {
  auto& s = simt::shared<PlantedFormsStorage>();
  const int t = simt::thread();
  for (int i = t; i < 64 * 8; i += 128) {
    s.a[i] = simt::load16(p.a + i * 8);
    s.b[i] = simt::load16(p.b + i * 8);
  }
  for (int i = t; i < 4 * 64 * 8; i += 128) simt::async_copy16(&s.v[i], p.v + i * 8);
  simt::async_commit();
  if (p.bug == PlantedForms::kFenceTooEarly) simt::fence_async_proxy();
  simt::async_wait<0>();
  if (p.bug != PlantedForms::kFenceTooEarly) simt::fence_async_proxy();
  simt::sync_block();
  float d[32] = {}, d_n[simt::FragWgmma::kRegisters] = {};
  simt::wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; ++k)
    simt::wgmma_m64n64k16(d, simt::wgmma_matrix(&s.a[2 * k]), simt::wgmma_matrix(&s.b[2 * k]));
  simt::wgmma_commit();
  simt::wgmma_wait<0>(d);
  simt::wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; ++k)
    simt::wgmma_m64n256k16_n_major(
        d_n, simt::wgmma_matrix(&s.a[2 * k]),
        simt::wgmma_matrix_n_major(&s.v[k * 16 * 8 + (p.bug == PlantedForms::kMisplaced ? 2 : 0)], 64 * 8 * 16));
  simt::wgmma_commit();
  simt::wgmma_wait<0>(d_n);
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const simt::RowCol c = simt::FragWgmma::at(t, i);
    p.d[c.row * 64 + c.col] = d[i];
  }
#pragma unroll
  for (int i = 0; i < simt::FragWgmma::kRegisters; ++i) {
    const simt::RowCol c = simt::FragWgmma::at(t, i);
    p.d_n[c.row * 256 + c.col] = d_n[i];
  }
}

}  // namespace

Status launch_planted_wgmma_forms(PlantedForms bug, const uint16_t* a, const uint16_t* b, const uint16_t* v, float* d,
                                  float* d_n, simt::Stream stream) {
  return simt::launch("planted_wgmma_forms", planted_wgmma_forms_kernel, {}, 128, sizeof(PlantedFormsStorage), stream,
                      PlantedFormsParams{bug, a, b, v, d, d_n});
}

bool planted_wgmma_present() { return simt::compiled_for_wgmma(planted_wgmma_kernel); }

Status launch_planted_wgmma(PlantedWgmma bug, const uint16_t* a, const uint16_t* b, float* d, simt::Stream stream) {
  return simt::launch("planted_wgmma", planted_wgmma_kernel, {}, 256, sizeof(PlantedWgmmaStorage), stream,
                      PlantedWgmmaParams{bug, a, b, d});
}

}  // namespace dsr1::test
