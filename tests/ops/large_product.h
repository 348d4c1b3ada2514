// Products large enough for cuBLAS, on the backends of the program, against the reference.
#pragma once

#include <gtest/gtest.h>

#include <cmath>

#include "dsr1/backend/ref.h"
#include "dsr1/tensor/dtype.h"
#include "kernels/random_weights.h"
#include "ops/backends.h"

namespace dsr1::test {

// The relative error of 64 rows, values of up to 100, meeting a matrix of this type, with a bias.
inline double large_product_error(DType type) {
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
  double error = 0, size = 0;
  for_each_backend(l, [&](ops::Ops& backend) {
    const ops::Linear ja[] = {{&v, bias.data(), {a.data(), kRows, kOut, kOut}}},
                      jb[] = {{&v, bias.data(), {b.data(), kRows, kOut, kOut}}};
    backend.linear({x.data(), kRows, kIn, kIn}, ja);
    ref->linear({x.data(), kRows, kIn, kIn}, jb);
    EXPECT_TRUE(backend.sync());
    for (size_t i = 0; i < a.size(); ++i) {
      error += std::pow(static_cast<double>(a[i]) - b[i], 2);
      size += std::pow(static_cast<double>(b[i]), 2);
    }
  });
  return size > 0 ? std::sqrt(error / size) : 0;
}

// BF16 keeps 8 bits of each factor: 2^-9 of x at most.
inline double large_product_bound(DType type) { return type == DType::kF16 ? 1e-3 : 8e-3; }

}  // namespace dsr1::test
