// The CUDA backend over whatever runtime it is linked with (runtime.h).
#pragma once

#include <memory>

#include "dsr1/ops/ops.h"

namespace dsr1::backend::cuda {

// Opens the device; allocates nothing on it before Ops::reserve.
Result<std::unique_ptr<ops::Ops>> make_ops(int index, const ops::Limits& limits);

}  // namespace dsr1::backend::cuda
