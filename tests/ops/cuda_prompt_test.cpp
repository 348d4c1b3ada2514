// Prompts of more rows than ops_test.cpp asks for, as warpgroups' products want them (where the device has those).
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "dsr1/backend/ref.h"
#include "kernels/random_weights.h"
#include "ops/backends.h"

namespace dsr1::test {
namespace {

TEST(CudaOps, PromptsOfManyRowsAgreeWithTheReference) {
  constexpr int64_t kRows = 130, kIn = 256, kOut = 40;
  ops::Limits l;
  l.max_rows = kRows;
  l.max_in = kIn;
  std::vector<float> x(kRows * kIn), bias(kOut, 0.25f);
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  for (float& v : x) v = normal(rng);
  std::vector<RandomWeights> weights;
  for (DType type : {DType::kQ4_K, DType::kF8_E4M3, DType::kF32}) weights.push_back(random_weights(type, kOut, kIn, 3));
  std::vector<TensorView> views;
  for (const RandomWeights& w : weights) {
    TensorView v;
    v.data = reinterpret_cast<const std::byte*>(w.bytes.data() + 1);
    v.dtype = w.dtype;
    v.n_dims = 2;
    v.dims = {kOut, kIn, 0, 0};
    v.scale_inv = w.scales.empty() ? nullptr : reinterpret_cast<const std::byte*>(w.scales.data());
    views.push_back(v);
  }
  const auto ref = backend::make_ref(1);
  for_each_backend(l, [&](ops::Ops& backend) {
    std::vector<std::vector<float>> a, b;
    std::vector<ops::Linear> ja, jb;
    for (const TensorView& v : views) {
      a.emplace_back(kRows * kOut, NAN);
      b.emplace_back(kRows * kOut, NAN);
      ja.push_back({&v, bias.data(), {a.back().data(), kRows, kOut, kOut}});
      jb.push_back({&v, bias.data(), {b.back().data(), kRows, kOut, kOut}});
    }
    backend.linear({x.data(), kRows, kIn, kIn}, ja);
    ref->linear({x.data(), kRows, kIn, kIn}, jb);
    EXPECT_TRUE(backend.sync());
    for (size_t j = 0; j < views.size(); ++j) {
      double error = 0, size = 0;
      for (size_t i = 0; i < a[j].size(); ++i) {
        error += std::pow(static_cast<double>(a[j][i]) - b[j][i], 2);
        size += std::pow(static_cast<double>(b[j][i]), 2);
      }
      // F16 factors: 2^-11 of each at most. The reference's activations are int8 where weights are quantized.
      EXPECT_LT(std::sqrt(error / size), j == 0 ? 0.012 : expected().many_rows) << dtype_name(views[j].dtype);
    }
  });
}

}  // namespace
}  // namespace dsr1::test
