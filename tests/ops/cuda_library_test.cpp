// Products that go through cuBLAS: the emulator's stand-in here, the library itself in the build for a GPU.
#include "ops/large_product.h"

namespace dsr1::test {
namespace {

TEST(CudaOps, LargeUnquantizedProductsGoThroughTheLibraryAndAgree) {
  for (DType type : {DType::kF16, DType::kBF16})
    EXPECT_LT(large_product_error(type), large_product_bound(type)) << dtype_name(type);
}

}  // namespace
}  // namespace dsr1::test
