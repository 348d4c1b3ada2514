// simt:: under g++: the same names as kernels/simt/device.cuh, run by fibers (simt_emu.cpp). Stricter than hardware:
// see emulator.h for what is checked. Included by kernels/simt/simt.h only.
#pragma once

#include <cmath>
#include <cstring>

#include "dsr1/base/half.h"
#include "support/emu_async.h"
#include "support/emulator.h"

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __grid_constant__
#define DSR1_DEVICE inline
#define DSR1_DEVICE_CALL __attribute__((noinline))

namespace dsr1::simt {

DSR1_DEVICE int thread() { return emu::current.thread; }
DSR1_DEVICE int threads() { return emu::current.threads; }
DSR1_DEVICE int lane() { return emu::current.thread % kWarp; }
DSR1_DEVICE int warp() { return emu::current.thread / kWarp; }
DSR1_DEVICE int block_x() { return emu::current.block[0]; }
DSR1_DEVICE int block_y() { return emu::current.block[1]; }
DSR1_DEVICE int block_z() { return emu::current.block[2]; }
DSR1_DEVICE int grid_x() { return emu::current.grid_x; }

DSR1_DEVICE void sync_block() { emu::sync_block(); }
DSR1_DEVICE void sync_grid(uint32_t* word) { emu::sync_grid(word); }
DSR1_DEVICE void sync_warp(uint32_t mask = kAllLanes) { emu::exchange(emu::Collective::kSyncWarp, mask, nullptr, 0); }

template <class T>
DSR1_DEVICE T shfl(T v, int source, uint32_t mask = kAllLanes) {
  return emu::exchange(emu::Collective::kShfl, mask, &v, sizeof(T)).template from<T>(source & 31);
}
template <class T>
DSR1_DEVICE T shfl_xor(T v, int bits, uint32_t mask = kAllLanes) {
  return emu::exchange(emu::Collective::kShflXor, mask, &v, sizeof(T)).template from<T>(lane() ^ bits);
}
DSR1_DEVICE uint32_t ballot(bool p, uint32_t mask = kAllLanes) {
  const emu::Gathered g = emu::exchange(emu::Collective::kBallot, mask, &p, sizeof(p));
  uint32_t bits = 0;
  for (int i = 0; i < kWarp; ++i)
    if (mask >> i & 1) bits |= static_cast<uint32_t>(g.from<bool>(i)) << i;
  return bits;
}

template <class Storage>
DSR1_DEVICE Storage& shared() {
  return *static_cast<Storage*>(emu::shared_memory(sizeof(Storage)));
}

DSR1_DEVICE Bytes16 load16(const void* p) {
  emu::check_aligned(p, 16, "load16");
  return *static_cast<const Bytes16*>(p);
}

DSR1_DEVICE void prefetch(const void* p) { emu::prefetch(p); }

DSR1_DEVICE void async_copy16(void* to, const void* from, int bytes = 16) { emu::async_copy16(to, from, bytes); }
DSR1_DEVICE void async_commit() { emu::async_commit(); }
template <int kPending>
DSR1_DEVICE void async_wait() {
  emu::async_wait(kPending);
}

DSR1_DEVICE int atomic_add(int* p, int v) { return emu::atomic_add(p, v); }

DSR1_DEVICE int dp4a(uint32_t a, uint32_t b, int c) {
  for (int i = 0; i < 4; ++i) c += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
  return c;
}
DSR1_DEVICE uint32_t byte_perm(uint32_t lo, uint32_t hi, uint32_t selector) {
  const uint64_t bytes = uint64_t{hi} << 32 | lo;
  uint32_t r = 0;
  for (int i = 0; i < 4; ++i) r |= static_cast<uint32_t>(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
  return r;
}
DSR1_DEVICE int round_to_even(float x) { return static_cast<int>(std::nearbyint(x)); }
DSR1_DEVICE float fma(float a, float b, float c) { return std::fma(a, b, c); }
DSR1_DEVICE float mul(float a, float b) { return a * b; }
DSR1_DEVICE double exp(double x) { return std::exp(x); }
DSR1_DEVICE double log(double x) { return std::log(x); }
DSR1_DEVICE float exp(float x) { return std::exp(x); }
DSR1_DEVICE float exp2(float x) { return std::exp2(x); }
DSR1_DEVICE float log(float x) { return std::log(x); }
DSR1_DEVICE float log2(float x) { return std::log2(x); }
DSR1_DEVICE float rsqrt(float x) { return 1.0f / std::sqrt(x); }

DSR1_DEVICE float to_float(Half h) { return f16_to_f32(h.bits); }
DSR1_DEVICE float to_float(BFloat16 h) { return bf16_to_f32(h.bits); }
DSR1_DEVICE float to_float(Fp8 b) { return f8e4m3_to_f32(b.bits); }
DSR1_DEVICE Half half_of(float x) { return {f32_to_f16(x)}; }
DSR1_DEVICE BFloat16 bf16_of(float x) { return {f32_to_bf16(x)}; }

DSR1_DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void* row) { emu::ldmatrix(r, 4, row, false); }
DSR1_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) { emu::ldmatrix(r, 4, row, true); }
DSR1_DEVICE void ldmatrix_x2(uint32_t (&r)[2], const void* row) { emu::ldmatrix(r, 2, row, false); }
DSR1_DEVICE void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) { emu::ldmatrix(r, 2, row, true); }

template <class T>
DSR1_DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emu::mma_16(d, a, b, [](uint16_t bits) { return to_float(T{bits}); });
}
DSR1_DEVICE void mma_m16n8k32(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { emu::mma_8(d, a, b); }

DSR1_DEVICE void mbarrier_init(Mbarrier* b, int arrivals) { emu::mbarrier_init(b, arrivals); }
DSR1_DEVICE void mbarrier_arrive(Mbarrier* b) { emu::mbarrier_arrive(b, 0); }
DSR1_DEVICE void mbarrier_arrive_expecting(Mbarrier* b, int bytes) { emu::mbarrier_arrive(b, bytes); }
DSR1_DEVICE void mbarrier_wait(Mbarrier* b, int parity) { emu::mbarrier_wait(b, parity); }
DSR1_DEVICE void fence_async_proxy() { emu::fence_async_proxy(); }
DSR1_DEVICE void bulk_copy(void* to, const void* from, int bytes, Mbarrier* b) { emu::bulk_copy(to, from, bytes, b); }
DSR1_DEVICE uint64_t wgmma_matrix(const void* p) { return emu::wgmma_matrix(p); }
DSR1_DEVICE uint64_t wgmma_matrix_n_major(const void* p, int panel_bytes) {
  return emu::wgmma_matrix_n_major(p, panel_bytes);
}
DSR1_DEVICE void wgmma_fence() { emu::wgmma_fence(); }
DSR1_DEVICE void wgmma_commit() { emu::wgmma_commit(); }
template <int kPending, int kN>
DSR1_DEVICE void wgmma_wait(float (&)[kN]) {
  emu::wgmma_wait(kPending);
}
DSR1_DEVICE void wgmma_m64n64k16(float (&d)[32], uint64_t a, uint64_t b) {
  emu::wgmma(d, 32, a, b, false, [](uint16_t bits) { return to_float(Half{bits}); });
}
DSR1_DEVICE void wgmma_m64n256k16(float (&d)[128], uint64_t a, uint64_t b) {
  emu::wgmma(d, 128, a, b, false, [](uint16_t bits) { return to_float(Half{bits}); });
}
DSR1_DEVICE void wgmma_m64n256k16_n_major(float (&d)[128], uint64_t a, uint64_t b) {
  emu::wgmma(d, 128, a, b, true, [](uint16_t bits) { return to_float(Half{bits}); });
}
template <class P>
bool compiled_for_wgmma(void (*)(P)) {
  return true;
}

namespace emu {
template <class P>
std::function<void()> body_of(void (*kernel)(P), const P& params) {
  return [kernel, params] {
    const P mine = params;  // parameters, not memory that the kernel reads
    void (*const entry)(P) = kernel;
    emu::enter_kernel();
    entry(mine);
  };
}
}  // namespace emu

template <class P>
Status launch(const char* name, void (*kernel)(P), Grid grid, int n_threads, size_t shared_bytes, Stream stream,
              const P& params) {
  return emu::launch(name, grid, n_threads, shared_bytes, false, stream, emu::body_of(kernel, params));
}
template <class P>
Status launch_resident(const char* name, void (*kernel)(P), int64_t blocks, int n_threads, size_t shared_bytes,
                       Stream stream, const P& params) {
  return emu::launch(name, {blocks}, n_threads, shared_bytes, true, stream, emu::body_of(kernel, params));
}

}  // namespace dsr1::simt
