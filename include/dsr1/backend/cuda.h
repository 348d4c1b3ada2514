// The CUDA backend: an Ops whose weights, caches and activations live in device memory (src/backend/cuda, kernels/),
// and what CUDA devices this build and this machine have. A device asked for and absent is refused
// (ErrorCode::kNoDevice), never a silent fallback.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dsr1/ops/ops.h"

namespace dsr1::backend {

struct CudaDevice {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  uint64_t memory_bytes = 0, free_bytes = 0;
};

struct CudaInfo {
  bool built = false;          // this program was built with the CUDA Toolkit
  std::string runtime;         // version, "13.0"; empty where not built
  std::string problem;         // why no device can be used, for people; empty where one can
  std::string cublas_problem;  // why cuBLAS cannot be loaded (kAll); empty where it can
  std::vector<CudaDevice> devices;
};

// kAll: free memory and cuBLAS too, which costs a context on every device and loading half a gigabyte.
enum class CudaDetail { kDevices, kAll };
CudaInfo cuda_info(CudaDetail detail = CudaDetail::kDevices);

// Computes on device `index`; Ops::reserve allocates all workspace (kDoesNotFit without memory). kNoDevice without the
// device or in a build without CUDA. Experts may stay in host memory (ops::HostExperts). Mats, caches (Segment::kv) and
// weights given to it must lie in its memory (Ops::allocate, Ops::place).
Result<std::unique_ptr<ops::Ops>> make_cuda(int index, const ops::Limits& limits);

}  // namespace dsr1::backend
