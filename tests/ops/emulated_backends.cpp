// The CUDA backend over the emulator. Other schedules: tests/kernels and property_cuda_emulated.
#include <gtest/gtest.h>

#include <cmath>

#include "dsr1/backend/ref.h"
#include "kernels/random_weights.h"
#include "ops/backends.h"
#include "support/emulated_cuda.h"

namespace dsr1::test {

// Tensor cores take F16: each factor is rounded by 2^-11 at most, 1.4e-4 on average, so a sum of products by 2e-4 of
// its size; the same product with few rows rounds activations to int8 instead (0.5 %).
Expectations expected() { return {1e-3, 0.015, 1.5e-3, 70, 12, 2, 5, 128}; }

void for_each_backend(const ops::Limits& limits, const std::function<void(ops::Ops&)>& f) {
  auto cuda = backend::cuda::make_ops(0, limits);
  ASSERT_TRUE(cuda) << cuda.error().text();
  ASSERT_TRUE((*cuda)->reserve());
  HostAdapter adapter(std::move(*cuda), emulated_copies());
  f(adapter);
}

namespace {

TEST(CudaOps, LargeUnquantizedProductsGoThroughTheLibraryAndAgree) {
  for (DType type : {DType::kF16, DType::kBF16}) {
    constexpr int64_t kRows = 64, kIn = 40, kOut = 9;
    const RandomWeights w = random_weights(type, kOut, kIn, 3);
    TensorView v;
    v.data = reinterpret_cast<const std::byte*>(w.bytes.data() + 1);
    v.dtype = type;
    v.n_dims = 2;
    v.dims = {kOut, kIn, 0, 0};
    std::vector<float> x(kRows * kIn), a(kRows * kOut, NAN), b(a), bias(kOut, 0.25f);
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i)) * 100;
    ops::Limits l;
    l.max_rows = kRows;
    l.max_in = kIn;
    const auto ref = backend::make_ref(1);
    for_each_backend(l, [&](ops::Ops& cuda) {
      const uint64_t before = simt::emu::launches();
      const ops::Linear ja[] = {{&v, bias.data(), {a.data(), kRows, kOut, kOut}}},
                        jb[] = {{&v, bias.data(), {b.data(), kRows, kOut, kOut}}};
      cuda.linear({x.data(), kRows, kIn, kIn}, ja);
      ref->linear({x.data(), kRows, kIn, kIn}, jb);
      EXPECT_TRUE(cuda.sync());
      EXPECT_EQ(simt::emu::launches() - before, 2u) << "rows to 16 bits, and what the library lacks";
      double error = 0, size = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        error += std::pow(static_cast<double>(a[i]) - b[i], 2);
        size += std::pow(static_cast<double>(b[i]), 2);
      }
      EXPECT_LT(std::sqrt(error / size), type == DType::kF16 ? 1e-3 : 8e-3) << dtype_name(type);
    });
  }
}

}  // namespace
}  // namespace dsr1::test
