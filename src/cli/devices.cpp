#include "devices.h"

#include "dsr1/backend/cpu.h"
#include "dsr1/backend/cuda.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/tensor/tensor.h"

namespace dsr1::cli {

std::string device_list() {
  std::string out = "cpu     " + std::to_string(available_cpus()) + " threads; " + backend::available_cpu_isas() + "\n";
  const backend::CudaInfo cuda = backend::cuda_info(backend::CudaDetail::kAll);
  for (const backend::CudaDevice& d : cuda.devices) {
    out += "cuda:" + std::to_string(d.index) + "  " + d.name + ", compute capability " + std::to_string(d.major) + "." +
           std::to_string(d.minor) + ", " + human_bytes(static_cast<double>(d.free_bytes)) + " free of " +
           human_bytes(static_cast<double>(d.memory_bytes)) + "\n";
  }
  if (!cuda.problem.empty()) out += "cuda    none: " + cuda.problem + "\n";
  return out + "ref     the slow scalar reference, for comparisons\n";
}

}  // namespace dsr1::cli
