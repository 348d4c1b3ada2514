// simt:: on the device: each function is one instruction or a named pair of them. The only inline PTX of the tree.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <string>

#define DSR1_DEVICE __device__ __forceinline__
#define DSR1_DEVICE_CALL __device__ __noinline__

namespace dsr1::simt {

DSR1_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
DSR1_DEVICE int threads() { return static_cast<int>(blockDim.x); }
DSR1_DEVICE int lane() { return static_cast<int>(threadIdx.x % kWarp); }
DSR1_DEVICE int warp() { return static_cast<int>(threadIdx.x / kWarp); }
DSR1_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
DSR1_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
DSR1_DEVICE int block_z() { return static_cast<int>(blockIdx.z); }
DSR1_DEVICE int grid_x() { return static_cast<int>(gridDim.x); }

DSR1_DEVICE void sync_block() { __syncthreads(); }
DSR1_DEVICE void sync_warp(uint32_t mask = kAllLanes) { __syncwarp(mask); }

// Bit 31 of the word turns over once all blocks have come: block 0 adds 2^31 less the others' ones. The polls' limit, a
// minute or so, makes an error of what would hang.
DSR1_DEVICE void sync_grid(uint32_t* word) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    uint32_t before, now, polls = 0;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(word), "r"(blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1u)
                 : "memory");
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(word) : "memory");
      if (++polls == 1u << 27) __trap();
    } while (((before ^ now) >> 31) == 0);
    __threadfence();
  }
  __syncthreads();
}

template <class T>
DSR1_DEVICE T shfl(T v, int source, uint32_t mask = kAllLanes) {
  return __shfl_sync(mask, v, source);
}
template <class T>
DSR1_DEVICE T shfl_xor(T v, int bits, uint32_t mask = kAllLanes) {
  return __shfl_xor_sync(mask, v, bits);
}
DSR1_DEVICE uint32_t ballot(bool p, uint32_t mask = kAllLanes) { return __ballot_sync(mask, p); }

template <class Storage>
DSR1_DEVICE Storage& shared() {
  extern __shared__ __align__(1024) unsigned char dsr1_shared[];
  return *reinterpret_cast<Storage*>(dsr1_shared);
}

// 16 bytes that are read once by the whole grid: read-only path, not kept in L1. p is 16-byte aligned.
DSR1_DEVICE Bytes16 load16(const void* p) {
  Bytes16 r;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.w[0]), "=r"(r.w[1]), "=r"(r.w[2]), "=r"(r.w[3])
               : "l"(p));
  return r;
}

// The 128 bytes around p on their way to the L2 cache.
DSR1_DEVICE void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

DSR1_DEVICE uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// 16 bytes global to shared, both 16-byte aligned; bytes < 16: the rest becomes zero, and nothing beyond is read.
DSR1_DEVICE void async_copy16(void* to, const void* from, int bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
DSR1_DEVICE void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All groups but the newest kPending have landed.
template <int kPending>
DSR1_DEVICE void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

DSR1_DEVICE int atomic_add(int* p, int v) { return atomicAdd(p, v); }

// c + the dot product of four signed bytes each.
DSR1_DEVICE int dp4a(uint32_t a, uint32_t b, int c) { return __dp4a(static_cast<int>(a), static_cast<int>(b), c); }
// Bytes of the eight in (hi, lo), lowest first, picked by the four low nibbles of selector (0-7).
DSR1_DEVICE uint32_t byte_perm(uint32_t lo, uint32_t hi, uint32_t selector) { return __byte_perm(lo, hi, selector); }
DSR1_DEVICE int round_to_even(float x) { return __float2int_rn(x); }
DSR1_DEVICE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DSR1_DEVICE float mul(float a, float b) { return __fmul_rn(a, b); }  // never part of an fma
DSR1_DEVICE double exp(double x) { return ::exp(x); }
DSR1_DEVICE double log(double x) { return ::log(x); }
DSR1_DEVICE float exp(float x) { return ::expf(x); }
DSR1_DEVICE float exp2(float x) { return ::exp2f(x); }
DSR1_DEVICE float log(float x) { return ::logf(x); }
DSR1_DEVICE float log2(float x) { return ::log2f(x); }
DSR1_DEVICE float rsqrt(float x) { return ::rsqrtf(x); }

DSR1_DEVICE float to_float(Half h) { return __half2float(__ushort_as_half(h.bits)); }
DSR1_DEVICE float to_float(BFloat16 h) { return __uint_as_float(static_cast<uint32_t>(h.bits) << 16); }
DSR1_DEVICE Half half_of(float x) { return {__half_as_ushort(__float2half_rn(x))}; }
DSR1_DEVICE BFloat16 bf16_of(float x) {
  uint16_t r;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x));
  return {r};
}
// Every E4M3 value is a half; the widening cvt needs sm_89, so bits are placed by hand: exponent bias 7 to 15.
DSR1_DEVICE float to_float(Fp8 b) {
  const uint32_t sign = (b.bits & 0x80u) << 24, magnitude = b.bits & 0x7fu;
  if (magnitude == 0x7fu) return __uint_as_float(sign | 0x7fc00000u);
  return __uint_as_float(sign | (magnitude << 20)) * 0x1p120f;  // subnormal in, normal out: exact without flushing
}

DSR1_DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
DSR1_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
DSR1_DEVICE void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row)));
}
DSR1_DEVICE void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row)));
}

template <class T>
DSR1_DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
DSR1_DEVICE void mma_m16n8k16<Half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
DSR1_DEVICE void mma_m16n8k16<BFloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DSR1_DEVICE void mma_m16n8k32(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// --- sm_90a only: what the rest compiles to is never queued (compiled_for_wgmma) -------------------------------------

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define DSR1_SM90(...) asm volatile(__VA_ARGS__)
#else
#define DSR1_SM90(...) __trap()
#endif

DSR1_DEVICE void mbarrier_init(Mbarrier* b, int arrivals) {
  DSR1_SM90("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
DSR1_DEVICE void mbarrier_arrive(Mbarrier* b) {
  DSR1_SM90("{\n.reg .b64 s;\nmbarrier.arrive.shared::cta.b64 s, [%0];\n}" ::"r"(shared_address(b)) : "memory");
}
DSR1_DEVICE void mbarrier_arrive_expecting(Mbarrier* b, int bytes) {
  DSR1_SM90("{\n.reg .b64 s;\nmbarrier.arrive.expect_tx.shared::cta.b64 s, [%0], %1;\n}" ::"r"(shared_address(b)),
            "r"(bytes)
            : "memory");
}
DSR1_DEVICE void mbarrier_wait(Mbarrier* b, int parity) {
  uint32_t done = 0;
  while (done == 0)
    DSR1_SM90("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
              : "=r"(done)
              : "r"(shared_address(b)), "r"(parity)
              : "memory");
}
DSR1_DEVICE void fence_async_proxy() { DSR1_SM90("fence.proxy.async.shared::cta;" ::: "memory"); }
DSR1_DEVICE void bulk_copy(void* to, const void* from, int bytes, Mbarrier* b) {
  DSR1_SM90("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                shared_address(to)),
            "l"(from), "r"(bytes), "r"(shared_address(b))
            : "memory");
}

DSR1_DEVICE uint64_t wgmma_matrix(const void* p) {
  return uint64_t{(shared_address(p) & 0x3ffffu) >> 4} | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
// The right factor with its columns side by side, rows of K below each other: panels of 64 columns, panel_bytes apart,
// each as swizzled() has it with a row of K a row.
DSR1_DEVICE uint64_t wgmma_matrix_n_major(const void* p, int panel_bytes) {
  return uint64_t{(shared_address(p) & 0x3ffffu) >> 4} | static_cast<uint64_t>(panel_bytes >> 4) << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}
DSR1_DEVICE void wgmma_fence() { DSR1_SM90("wgmma.fence.sync.aligned;" ::: "memory"); }
DSR1_DEVICE void wgmma_commit() { DSR1_SM90("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// d is named so that nothing computed from it moves before the wait.
template <int kPending, int kN>
DSR1_DEVICE void wgmma_wait(float (&d)[kN]) {
  DSR1_SM90("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#pragma unroll
  for (int i = 0; i < kN; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
#define DSR1_D8(i)                                                                                            \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define DSR1_D64(i)                                                                                                \
  DSR1_D8(i), DSR1_D8(i + 8), DSR1_D8(i + 16), DSR1_D8(i + 24), DSR1_D8(i + 32), DSR1_D8(i + 40), DSR1_D8(i + 48), \
      DSR1_D8(i + 56)
DSR1_DEVICE void wgmma_m64n64k16(float (&d)[32], uint64_t a, uint64_t b) {
  DSR1_SM90(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, 0;\n}"
      : DSR1_D8(0), DSR1_D8(8), DSR1_D8(16), DSR1_D8(24)
      : "l"(a), "l"(b), "r"(1));
}
#define DSR1_M64N256K16(b_is_n_major)                                                                    \
  DSR1_SM90(                                                                                             \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {" \
      "%0, %1, %2, %3, %4, %5, %6, %7, "                                                                 \
      "%8, %9, %10, %11, %12, %13, %14, %15, "                                                           \
      "%16, %17, %18, %19, %20, %21, %22, %23, "                                                         \
      "%24, %25, %26, %27, %28, %29, %30, %31, "                                                         \
      "%32, %33, %34, %35, %36, %37, %38, %39, "                                                         \
      "%40, %41, %42, %43, %44, %45, %46, %47, "                                                         \
      "%48, %49, %50, %51, %52, %53, %54, %55, "                                                         \
      "%56, %57, %58, %59, %60, %61, %62, %63, "                                                         \
      "%64, %65, %66, %67, %68, %69, %70, %71, "                                                         \
      "%72, %73, %74, %75, %76, %77, %78, %79, "                                                         \
      "%80, %81, %82, %83, %84, %85, %86, %87, "                                                         \
      "%88, %89, %90, %91, %92, %93, %94, %95, "                                                         \
      "%96, %97, %98, %99, %100, %101, %102, %103, "                                                     \
      "%104, %105, %106, %107, %108, %109, %110, %111, "                                                 \
      "%112, %113, %114, %115, %116, %117, %118, %119, "                                                 \
      "%120, %121, %122, %123, %124, %125, %126, %127"                                                   \
      "}, %128, %129, p, 1, 1, 0, " b_is_n_major ";\n}"                                                  \
      : DSR1_D64(0), DSR1_D64(64)                                                                        \
      : "l"(a), "l"(b), "r"(1))
DSR1_DEVICE void wgmma_m64n256k16(float (&d)[128], uint64_t a, uint64_t b) { DSR1_M64N256K16("0"); }
// b: wgmma_matrix_n_major.
DSR1_DEVICE void wgmma_m64n256k16_n_major(float (&d)[128], uint64_t a, uint64_t b) { DSR1_M64N256K16("1"); }
#undef DSR1_M64N256K16
#undef DSR1_D64
#undef DSR1_D8
#undef DSR1_SM90

// Whether the kernel as this device loads it was compiled for sm_90a, and so has the instructions above.
template <class P>
bool compiled_for_wgmma(void (*kernel)(P)) {
  cudaFuncAttributes a = {};
  if (cudaFuncGetAttributes(&a, kernel) == cudaSuccess) return a.ptxVersion >= 90 && a.binaryVersion == 90;
  (void)cudaGetLastError();
  return false;
}

// Queues the kernel; a refusal of the runtime names the kernel. Lengths and positions come from device memory, so that
// the same launch can be replayed by a graph.
template <class P>
Status launch_with(const char* name, void (*kernel)(P), Grid grid, int n_threads, size_t shared_bytes, bool resident,
                   Stream stream, const P& params) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};
  cudaError_t e = cudaSuccess;
  if (shared_bytes > kSharedDefault)
    e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  if (e == cudaSuccess) {
    cudaLaunchAttribute cooperative = {};
    cooperative.id = cudaLaunchAttributeCooperative;
    cooperative.val.cooperative = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
    config.blockDim = dim3(static_cast<unsigned>(n_threads));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &cooperative;
    config.numAttrs = resident ? 1 : 0;
    e = cudaLaunchKernelEx(&config, kernel, params);
  }
  if (e == cudaSuccess) return {};
  (void)cudaGetLastError();
  return Error(ErrorCode::kRuntime, std::string("kernel ") + name + " was not launched: " + cudaGetErrorString(e));
}
template <class P>
Status launch(const char* name, void (*kernel)(P), Grid grid, int n_threads, size_t shared_bytes, Stream stream,
              const P& params) {
  return launch_with(name, kernel, grid, n_threads, shared_bytes, false, stream, params);
}
// With a promise that all blocks run at once, so that they can wait for each other (sync_grid): refused where they
// cannot.
template <class P>
Status launch_resident(const char* name, void (*kernel)(P), int64_t blocks, int n_threads, size_t shared_bytes,
                       Stream stream, const P& params) {
  return launch_with(name, kernel, {blocks}, n_threads, shared_bytes, true, stream, params);
}

}  // namespace dsr1::simt
