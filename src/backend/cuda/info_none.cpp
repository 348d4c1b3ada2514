// The build without the CUDA Toolkit.
#include "dsr1/backend/cuda.h"

namespace dsr1::backend {

CudaInfo cuda_info(CudaDetail /*detail*/) {
  CudaInfo info;
  info.problem = "this build has no CUDA support (build the preset `cuda`)";
  return info;
}

Result<std::unique_ptr<ops::Ops>> make_cuda(int /*index*/, const ops::Limits& /*limits*/) {
  return Error(ErrorCode::kNoDevice, cuda_info().problem);
}

}  // namespace dsr1::backend
