// The sm_90a form of gemm against gemm, for every type it takes: the same rounding of both factors, sums in another
// order.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cuda/weights.h"
#include "dsr1/base/half.h"
#include "kernels/matmul/gemm_wgmma.h"
#include "kernels/planted.h"
#include "kernels/random_weights.h"
#include "support/device_fixture.h"

namespace dsr1::test {
namespace {

using namespace kernels;  // NOLINT: a test

class GemmWgmma : public testing::Test {
  void SetUp() override {
    if (auto facts = backend::cuda::open_device(0); !facts) GTEST_SKIP() << facts.error().text();
    if (!wgmma_present() || !planted_wgmma_present()) GTEST_SKIP() << "no kernels for sm_90a on this device";
  }
};

// Small integers, whose sums are exact; the matrices' layout written out here once more.
TEST_F(GemmWgmma, ProductsOfWarpgroupsFollowTheFragmentMapAndTheSwizzle) {
  std::mt19937 rng(2);
  std::vector<int> a(64 * 64), b(256 * 64);
  for (auto* v : {&a, &b})
    for (int& x : *v) x = static_cast<int>(rng() % 17) - 8;
  std::vector<uint16_t> a_bits(a.size()), b_bits(b.size());
  for (size_t i = 0; i < a.size(); ++i) a_bits[i] = f32_to_f16(static_cast<float>(a[i]));
  for (size_t r = 0; r < 256; ++r)
    for (size_t k = 0; k < 64; ++k) {
      const size_t bytes = (r * 128 + k * 2) ^ (r % 8 * 16);  // bits 4-6 of the address change with bits 7-9
      b_bits[bytes / 2] = f32_to_f16(static_cast<float>(b[r * 64 + k]));
    }
  Device d;
  float* out = d.make<float>(64 * 256);
  ASSERT_TRUE(launch_planted_wgmma(PlantedWgmma::kNone, d.put(a_bits), d.put(b_bits), out, d.stream));
  const auto r = d.get(out, 64 * 256);
  for (size_t i = 0; i < 64; ++i)
    for (size_t j = 0; j < 256; ++j) {
      int sum = 0;
      for (size_t k = 0; k < 64; ++k) sum += a[i * 64 + k] * b[j * 64 + k];
      ASSERT_EQ(r[i * 256 + j], static_cast<float>(sum)) << i << ", " << j;
    }
}

// The same for the other two forms that kernels use. The N-major layout follows the PTX ISA's figure for 128-byte
// swizzle: a row of K is 64 columns in 128 bytes, rows follow each other, panels of 64 columns too.
TEST_F(GemmWgmma, ProductsOf64ColumnsAndOfNMajorMatricesFollowTheirLayouts) {
  std::mt19937 rng(4);
  auto small = [&](size_t n) {
    std::vector<int> v(n);
    for (int& x : v) x = static_cast<int>(rng() % 17) - 8;
    return v;
  };
  auto swizzle = [](const std::vector<int>& v) {  // rows of 64
    std::vector<uint16_t> bits(v.size());
    for (size_t i = 0; i < v.size(); ++i) {
      const size_t row = i / 64, chunk = i % 64 / 8;
      bits[row * 64 + (chunk ^ row % 8) * 8 + i % 8] = f32_to_f16(static_cast<float>(v[i]));
    }
    return bits;
  };
  const std::vector<int> a = small(64 * 64), b = small(64 * 64), v = small(64 * 256);
  std::vector<int> panels;
  for (size_t panel = 0; panel < 4; ++panel)
    for (size_t k = 0; k < 64; ++k)
      for (size_t j = 0; j < 64; ++j) panels.push_back(v[k * 256 + panel * 64 + j]);
  Device d;
  float *out = d.make<float>(64 * 64), *out_n = d.make<float>(64 * 256);
  ASSERT_TRUE(launch_planted_wgmma_forms(PlantedForms::kNone, d.put(swizzle(a)), d.put(swizzle(b)),
                                         d.put(swizzle(panels)), out, out_n, d.stream));
  const auto r = d.get(out, 64 * 64), r_n = d.get(out_n, 64 * 256);
  for (size_t i = 0; i < 64; ++i)
    for (size_t j = 0; j < 256; ++j) {
      int sum = 0, sum_n = 0;
      for (size_t k = 0; k < 64; ++k) {
        if (j < 64) sum += a[i * 64 + k] * b[j * 64 + k];
        sum_n += a[i * 64 + k] * v[k * 256 + j];
      }
      if (j < 64) {
        ASSERT_EQ(r[i * 64 + j], static_cast<float>(sum)) << i << ", " << j;
      }
      ASSERT_EQ(r_n[i * 256 + j], static_cast<float>(sum_n)) << i << ", " << j;
    }
}

void expect_agreement(DType type, int rows, int n_out, int cols, bool with_bias) {
  SCOPED_TRACE(std::string(dtype_name(type)) + ", rows " + std::to_string(rows));
  Device d;
  const RandomWeights w = random_weights(type, n_out, cols, 3);
  TensorView view;
  view.data = reinterpret_cast<const std::byte*>(w.bytes.data() + 1);
  view.dtype = type;
  view.n_dims = 2;
  view.dims = {n_out, cols, 0, 0};
  view.scale_inv = w.scales.empty() ? nullptr : reinterpret_cast<const std::byte*>(w.scales.data());
  backend::cuda::WeightLoader loader;
  auto placed = loader.place({&view, 1}, d.stream);
  ASSERT_TRUE(placed && backend::cuda::synchronize(d.stream));
  std::vector<float> values(static_cast<size_t>(rows * cols)), bias(static_cast<size_t>(n_out), 0.25f);
  std::mt19937 rng(5);
  std::normal_distribution<float> normal(0.0f, 30.0f);
  for (float& v : values) v = normal(rng);
  const Matrix x{d.put(values), cols, rows, cols};
  auto product = [&](bool wgmma) {
    const Matrix out{d.make<float>(static_cast<size_t>(rows * n_out)), n_out, rows, n_out};
    MatmulParams p{
        .w = backend::cuda::weight_view(view), .x = x, .bias = with_bias ? d.put(bias) : nullptr, .out = out};
    p.n_out = n_out;
    const auto padded = static_cast<size_t>(tile_rows(rows)), stride = static_cast<size_t>(half_stride(cols));
    auto* data = d.make<uint16_t>(padded * stride);
    auto* scale = d.make<float>(padded);
    if (wgmma) {
      const HalfTiles tiles{data, scale, rows, cols};
      EXPECT_TRUE(launch_to_half_tiles(x, tiles, d.stream));
      EXPECT_TRUE(launch_gemm_wgmma(p, tiles, d.stream));
    } else {
      const HalfRows half{data, scale, static_cast<int64_t>(stride), rows, cols};
      EXPECT_TRUE(launch_to_half(x, half, d.stream));
      EXPECT_TRUE(launch_gemm(p, half, d.stream));
    }
    return d.get(out.data, static_cast<size_t>(rows * n_out));
  };
  const auto a = product(true), b = product(false);
  double error = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  // Exact products, F32 sums of `cols` of them in two orders: each rounds by 2^-24 of a partial sum a step at most.
  EXPECT_LT(std::sqrt(error / size), 2 * std::sqrt(cols) * 0x1p-24);
}

TEST_F(GemmWgmma, AgreesWithGemmForEveryType) {
  for (DType type : kAllTypes)
    if (type != DType::kF32) expect_agreement(type, 20, 40, 256, false);
}

TEST_F(GemmWgmma, AgreesWithGemmForEveryShape) {
  // More outputs and rows than a block takes; several steps, so that both stages are used again; a ragged end.
  expect_agreement(DType::kQ8_0, 257, 130, 96, true);
  expect_agreement(DType::kQ4_K, 3, 65, 1280, true);
  expect_agreement(DType::kF16, 9, 8, 712, false);
}

}  // namespace
}  // namespace dsr1::test
