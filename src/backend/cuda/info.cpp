#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "backend/cuda/ops.h"
#include "dsr1/backend/cuda.h"

namespace dsr1::backend {

CudaInfo cuda_info() {
  CudaInfo info;
  info.built = true;
  int version = 0;
  cudaRuntimeGetVersion(&version);
  info.runtime = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  int major = 0, minor = 0;
  cublasGetProperty(MAJOR_VERSION, &major);
  cublasGetProperty(MINOR_VERSION, &minor);
  info.cublas = std::to_string(major) + "." + std::to_string(minor);
  int n = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&n); e != cudaSuccess) {
    info.problem = cudaGetErrorString(e);
    return info;
  }
  if (n == 0) info.problem = "the driver reports no device";
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp p{};
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) continue;
    CudaDevice d{i, p.name, p.major, p.minor, p.totalGlobalMem, 0};
    size_t free_bytes = 0, total = 0;
    if (cudaSetDevice(i) == cudaSuccess && cudaMemGetInfo(&free_bytes, &total) == cudaSuccess)
      d.free_bytes = free_bytes;
    info.devices.push_back(d);
  }
  return info;
}

Result<std::unique_ptr<ops::Ops>> make_cuda(int index, const ops::Limits& limits) {
  return cuda::make_ops(index, limits);
}

}  // namespace dsr1::backend
