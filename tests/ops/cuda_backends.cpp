// The CUDA backend on the first GPU; without one every test is skipped, saying so.
#include <gtest/gtest.h>

#include "backend/cuda/runtime.h"
#include "dsr1/backend/cuda.h"
#include "ops/backends.h"
#include "support/host_adapter.h"

namespace dsr1::test {
namespace {

namespace rt = backend::cuda;

template <auto kCopy>
void copy_now(void* to, const void* from, size_t bytes) {
  static const simt::Stream stream = *rt::make_stream();
  EXPECT_TRUE(kCopy(to, from, bytes, stream));
  EXPECT_TRUE(rt::synchronize(stream));
}

}  // namespace

// Tensor cores take F16: each factor is rounded by 2^-11 at most, 1.4e-4 on average, so a sum of products by 2e-4 of
// its size; the same product with few rows rounds activations to int8 instead (0.5 %).
Expectations expected() { return {1e-3, 0.015, 1.5e-3}; }

void for_each_backend(const ops::Limits& limits, const std::function<void(ops::Ops&)>& f) {
  auto cuda = backend::make_cuda(0, limits);
  if (!cuda && cuda.error().code == ErrorCode::kNoDevice) GTEST_SKIP() << cuda.error().text();
  ASSERT_TRUE(cuda) << cuda.error().text();
  ASSERT_TRUE((*cuda)->reserve());
  HostAdapter adapter(std::move(*cuda), {copy_now<&rt::copy_to_device>, copy_now<&rt::copy_to_host>});
  f(adapter);
}

}  // namespace dsr1::test
