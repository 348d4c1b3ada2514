// What the files over the CUDA runtime library share: why a device cannot be used, for people.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace dsr1::backend::cuda {

// Kernels use cp.async and mma of Ampere (kernels/simt/device.cuh); older devices have neither.
inline constexpr int kLeastMajor = 8;

inline std::string why_no_device(cudaError_t e) {
  (void)cudaGetLastError();  // it would be the next call's
  if (e == cudaErrorInsufficientDriver)
    return "no NVIDIA driver, or one too old for CUDA " + std::to_string(CUDART_VERSION / 1000) + "." +
           std::to_string(CUDART_VERSION % 1000 / 10);
  return cudaGetErrorString(e);
}

// Empty where the device is new enough.
inline std::string why_too_old(const cudaDeviceProp& p) {
  if (p.major >= kLeastMajor) return {};
  return std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
         "; this program needs " + std::to_string(kLeastMajor) + ".0 (Ampere) or newer";
}

}  // namespace dsr1::backend::cuda
