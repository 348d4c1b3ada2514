#include <cuda_runtime_api.h>

#include "backend/cuda/cudart.h"
#include "backend/cuda/ops.h"
#include "backend/cuda/runtime.h"
#include "dsr1/backend/cuda.h"

namespace dsr1::backend {

CudaInfo cuda_info(CudaDetail detail) {
  CudaInfo info;
  info.built = true;
  int version = 0;
  cudaRuntimeGetVersion(&version);
  info.runtime = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  if (detail == CudaDetail::kAll) info.cublas_problem = cuda::Blas::problem();
  int n = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&n); e != cudaSuccess) {
    info.problem = cuda::why_no_device(e);
    return info;
  }
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp p{};
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) continue;
    if (i == 0) info.problem = cuda::why_too_old(p);  // the device that is taken unless another is named
    CudaDevice d{i, p.name, p.major, p.minor, p.totalGlobalMem, 0};
    // Asking makes a context: half a second and some hundred MB on each device.
    size_t free_bytes = 0, total = 0;
    if (detail == CudaDetail::kAll && cudaSetDevice(i) == cudaSuccess &&
        cudaMemGetInfo(&free_bytes, &total) == cudaSuccess)
      d.free_bytes = free_bytes;
    info.devices.push_back(d);
  }
  if (info.devices.empty()) info.problem = "the driver reports no device";
  return info;
}

Result<std::unique_ptr<ops::Ops>> make_cuda(int index, const ops::Limits& limits) {
  return cuda::make_ops(index, limits);
}

}  // namespace dsr1::backend
