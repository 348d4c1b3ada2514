// The CUDA backend over the emulator. Other schedules: tests/kernels and property_cuda_emulated.
#include <gtest/gtest.h>

#include "ops/backends.h"
#include "support/emulated_cuda.h"

namespace dsr1::test {

// Tensor cores take F16: each factor is rounded by 2^-11 at most, 1.4e-4 on average, so a sum of products by 2e-4 of
// its size; the same product with few rows rounds activations to int8 instead (0.5 %).
Expectations expected() { return {1e-3, 0.015, 1.5e-3, 70, 12, 5}; }

void for_each_backend(const ops::Limits& limits, const std::function<void(ops::Ops&)>& f) {
  auto cuda = backend::cuda::make_ops(0, limits);
  ASSERT_TRUE(cuda) << cuda.error().text();
  ASSERT_TRUE((*cuda)->reserve());
  HostAdapter adapter(std::move(*cuda), emulated_copies());
  f(adapter);
}

}  // namespace dsr1::test
