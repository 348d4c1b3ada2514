// Forms of one kernel against each other, bit for bit where both add in the same order. Over the emulator always and on
// a GPU where there is one.
#include <gtest/gtest.h>

#include <optional>

#include "backend/cuda/weights.h"
#include "kernels/matmul/gemm.h"
#include "kernels/matmul/matvec.h"
#include "kernels/moe/grouped.h"
#include "kernels/random_weights.h"
#include "kernels/rows/rows.h"
#include "support/device_fixture.h"

namespace dsr1::test {
namespace {

using kernels::MatmulParams;
using kernels::Matrix;

class CudaForms : public testing::Test {
 protected:
  void SetUp() override {
    if (auto facts = backend::cuda::open_device(0); !facts) GTEST_SKIP() << facts.error().text();
    device.emplace();
  }

  // `n` matrices of one type and shape, as the backend places them.
  std::vector<kernels::Weight> place(DType type, int64_t rows, int64_t cols, size_t n, uint32_t seed) {
    std::vector<RandomWeights> w;
    std::vector<TensorView> views(n);
    for (size_t i = 0; i < n; ++i) w.push_back(random_weights(type, rows, cols, seed + static_cast<uint32_t>(i)));
    for (size_t i = 0; i < n; ++i) {
      views[i].data = reinterpret_cast<const std::byte*>(w[i].bytes.data() + 1);
      views[i].dtype = type;
      views[i].n_dims = 2;
      views[i].dims = {rows, cols, 0, 0};
      if (!w[i].scales.empty()) views[i].scale_inv = reinterpret_cast<const std::byte*>(w[i].scales.data());
    }
    auto memory = loader.place(views, device->stream);
    EXPECT_TRUE(memory);
    EXPECT_TRUE(backend::cuda::synchronize(device->stream));
    device->memory.push_back(std::move(*memory));
    std::vector<kernels::Weight> out;
    for (const TensorView& v : views) out.push_back(backend::cuda::weight_view(v));
    return out;
  }
  Matrix put(const std::vector<float>& v, int32_t rows, int32_t cols) { return {device->put(v), cols, rows, cols}; }
  Matrix make(int32_t rows, int32_t cols) {
    return {device->make<float>(static_cast<size_t>(rows) * static_cast<size_t>(cols)), cols, rows, cols};
  }
  std::vector<float> get(Matrix m) { return device->get(m.data, static_cast<size_t>(m.rows * m.stride)); }
  kernels::Activations quantize(Matrix x) {
    kernels::Activations a;
    a.stride = kernels::activation_stride(x.cols);
    a.rows = x.rows;
    a.cols = x.cols;
    auto* bytes = device->make<std::byte>(static_cast<size_t>(kernels::activation_bytes(x.rows, x.cols)));
    a.groups = reinterpret_cast<kernels::ActGroup*>(bytes);
    a.q = reinterpret_cast<int8_t*>(a.groups + a.rows * a.stride / 32);
    EXPECT_TRUE(kernels::launch_quantize(x, a, device->stream));
    return a;
  }
  static MatmulParams job(const kernels::Weight& w, Matrix x, Matrix out) {
    return {.w = w, .x = x, .out = out, .n_out = w.rows};
  }

  std::optional<Device> device;
  backend::cuda::WeightLoader loader;
};

TEST_F(CudaForms, MatricesOfTwoTypesInOneLaunchHaveTheBitsOfSeparateLaunches) {
  constexpr int32_t kIn = 512;
  for (DType other : {DType::kQ4_K, DType::kQ5_K}) {
    for (int32_t rows : {1, 2}) {
      SCOPED_TRACE(std::string(dtype_name(other)) + ", rows " + std::to_string(rows));
      const Matrix x = put(random_activations(rows, kIn, 7), rows, kIn);
      const auto a = quantize(x);
      const auto qk = place(other, 19, kIn, 2, 1), v = place(DType::kQ6_K, 9, kIn, 1, 5);
      ASSERT_TRUE(kernels::matvec_joins(qk[0].type, v[0].type, rows));
      const Matrix joined[] = {make(rows, 19), make(rows, 9), make(rows, 19)};
      const Matrix apart[] = {make(rows, 19), make(rows, 9), make(rows, 19)};
      const MatmulParams jobs[] = {job(qk[0], x, joined[0]), job(v[0], x, joined[1]), job(qk[1], x, joined[2])};
      const Status s = kernels::launch_matvec_int8(jobs, a, device->stream);
      ASSERT_TRUE(s) << s.error().text();
      for (size_t i = 0; i < 3; ++i) {
        MatmulParams p = jobs[i];
        p.out = apart[i];
        ASSERT_TRUE(kernels::launch_matvec_int8({&p, 1}, a, device->stream));
        EXPECT_EQ(get(joined[i]), get(apart[i])) << i;
      }
    }
  }
}

TEST_F(CudaForms, ThreeTypesOrManyRowsDoNotShareALaunch) {
  const auto q4 = static_cast<uint32_t>(DType::kQ4_K), q6 = static_cast<uint32_t>(DType::kQ6_K);
  EXPECT_TRUE(kernels::matvec_joins(q4, q6, 1));
  EXPECT_FALSE(kernels::matvec_joins(q4, q6, 3));
  EXPECT_FALSE(kernels::matvec_joins(q4, static_cast<uint32_t>(DType::kQ5_K), 1));
  EXPECT_TRUE(kernels::matvec_joins(q4, q4, 8));
}

TEST_F(CudaForms, GateUpAndSwigluInOneLaunchHaveTheBitsOfThree) {
  constexpr int32_t kIn = 256, kOut = 21;
  for (DType type : {DType::kQ4_K, DType::kQ8_0, DType::kF32, DType::kF16, DType::kBF16, DType::kF8_E4M3}) {
    for (int32_t rows : {1, 2}) {
      SCOPED_TRACE(std::string(dtype_name(type)) + ", rows " + std::to_string(rows));
      const Matrix x = put(random_activations(rows, kIn, 11), rows, kIn);
      const auto w = place(type, kOut, kIn, 2, 3);
      const Matrix joined = make(rows, kOut), gate = make(rows, kOut), up = make(rows, kOut);
      const MatmulParams jobs[] = {job(w[0], x, gate), job(w[1], x, up)};
      MatmulParams g = jobs[0];
      g.out = joined;
      kernels::Activations a;
      if (kernels::is_quantized(w[0].type)) {
        a = quantize(x);
        ASSERT_TRUE(kernels::launch_matvec_int8(jobs, a, device->stream));
      } else {
        ASSERT_TRUE(kernels::launch_matvec_float(jobs, device->stream));
      }
      const Status s = kernels::launch_matvec_gate_up(g, jobs[1], a, device->stream);
      ASSERT_TRUE(s) << s.error().text();
      ASSERT_TRUE(kernels::launch_swiglu(gate, up, gate, device->stream));
      EXPECT_EQ(get(joined), get(gate));
    }
  }
}

// 5 experts with 0 to 40 rows each, in tiles of 64 and of 16.
TEST_F(CudaForms, ExpertsInSmallTilesHaveTheBitsOfLargeOnes) {
  constexpr int32_t kExperts = 5, kIn = 256, kOut = 24, kRows = 26;
  const size_t n_pairs = 2 * kRows;
  for (DType type : {DType::kQ4_K, DType::kF16}) {
    SCOPED_TRACE(dtype_name(type));
    const auto w = place(type, kOut, kIn, kExperts, 9);
    std::vector<int32_t> ids;  // expert 3 is nobody's first choice, 1 is everybody's second
    for (int32_t r = 0; r < kRows; ++r) {
      ids.push_back(r % 7 == 0 ? 4 : r % 2 == 0 ? 0 : 2);
      ids.push_back(1);
    }
    const Matrix x = put(random_activations(kRows, kIn, 13), kRows, kIn);
    kernels::HalfRows h{nullptr, nullptr, kernels::half_stride(kIn), kRows, kIn};
    h.data =
        reinterpret_cast<uint16_t*>(device->make<std::byte>(static_cast<size_t>(kernels::half_rows_bytes(kRows, kIn))));
    h.scale = reinterpret_cast<float*>(h.data + kRows * h.stride);
    ASSERT_TRUE(kernels::launch_to_half(x, h, device->stream));
    std::vector<float> results[2];
    const int32_t sizes[] = {kernels::kMoeTile, kernels::kSmallMoeTile};
    for (size_t i = 0; i < 2; ++i) {
      kernels::GroupedParams p;
      p.w = {w[0], w[1].data - w[0].data, 0};
      p.tile_rows = sizes[i];
      p.n_tiles = static_cast<int32_t>(kernels::moe_most_tiles(static_cast<int64_t>(n_pairs), kExperts, sizes[i]));
      p.order = {device->make<int32_t>(n_pairs), device->make<kernels::MoeTile>(static_cast<size_t>(p.n_tiles))};
      p.x = h;
      p.out = make(static_cast<int32_t>(n_pairs), kOut);
      p.divide = 2;
      ASSERT_TRUE(kernels::launch_moe_sort(device->put(ids), static_cast<int32_t>(n_pairs), kExperts, sizes[i], p.order,
                                           device->stream));
      const Status s = kernels::launch_grouped(p, device->stream);
      ASSERT_TRUE(s) << s.error().text();
      results[i] = get(p.out);
    }
    EXPECT_EQ(results[0], results[1]);
  }
}

TEST(MoeTiles, ThePlanCoversEveryNumberOfPairs) {
  for (int64_t n_expert : {3, 64, 256})
    for (int64_t most : {1, 100, 4096, 40000})
      for (int64_t pairs = 1; pairs <= most; pairs += 1 + most / 50)
        EXPECT_LE(kernels::moe_most_tiles(pairs, n_expert, kernels::moe_tile_rows(pairs, n_expert)),
                  kernels::moe_most_tiles_up_to(most, n_expert))
            << n_expert << " " << most << " " << pairs;
  EXPECT_EQ(kernels::moe_tile_rows(4096, 256), kernels::kSmallMoeTile);
  EXPECT_EQ(kernels::moe_tile_rows(4097, 256), kernels::kMoeTile);
}

}  // namespace
}  // namespace dsr1::test
