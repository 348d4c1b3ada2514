// The CUDA backend over the emulator. Other schedules: tests/kernels and property_cuda_emulated.
#include <gtest/gtest.h>

#include "ops/large_product.h"
#include "support/emulated_cuda.h"

namespace dsr1::test {

// Tensor cores take F16: each factor is rounded by 2^-11 at most, 1.4e-4 on average, so a sum of products by 2e-4 of
// its size; the same product with few rows rounds activations to int8 instead (0.5 %).
Expectations expected() { return {1e-3, 0.015, 1.5e-3, 70, 20, 2, 5, 128}; }

void for_each_backend(const ops::Limits& limits, const std::function<void(ops::Ops&)>& f) {
  auto cuda = backend::cuda::make_ops(0, limits);
  ASSERT_TRUE(cuda) << cuda.error().text();
  ASSERT_TRUE((*cuda)->reserve());
  HostAdapter adapter(std::move(*cuda), emulated_copies());
  f(adapter);
}

namespace {

class LibraryTakenAway {
 public:
  LibraryTakenAway() { simt::emu::set_blas(false); }
  ~LibraryTakenAway() { simt::emu::set_blas(true); }
};

// Without cuBLAS the tile kernels round rows to F16 with a scale, and leave BF16 weights as they are in F16's range.
TEST(CudaOps, WithoutTheLibraryLargeUnquantizedProductsAgreeToo) {
  const LibraryTakenAway taken;
  for (DType type : {DType::kF16, DType::kBF16}) {
    const uint64_t before = simt::emu::launches();
    EXPECT_LT(large_product_error(type), 1e-3) << dtype_name(type);
    EXPECT_EQ(simt::emu::launches() - before, 2u) << "rows to F16, and the product";
  }
}

TEST(CudaOps, WithTheLibraryTwoSmallKernelsStandAroundIt) {
  const uint64_t before = simt::emu::launches();
  large_product_error(DType::kF16);
  EXPECT_EQ(simt::emu::launches() - before, 2u) << "rows to 16 bits, and what the library lacks";
}

}  // namespace
}  // namespace dsr1::test
