// Routing and experts in one launch against the kernels that do it one by one: the same ids, weights and output, bit
// for bit, for every type and every kind of routing. The latter are held to the reference by tests/ops.
#include <gtest/gtest.h>

#include <cstring>

#include "backend/cuda/weights.h"
#include "kernels/matmul/matvec.h"
#include "kernels/moe/fused.h"
#include "kernels/random_weights.h"
#include "support/device_fixture.h"

namespace dsr1::test {
namespace {

using namespace kernels;  // NOLINT: a test

class FusedMoe : public testing::Test {
  void SetUp() override {
    if (auto facts = backend::cuda::open_device(0); !facts) GTEST_SKIP() << facts.error().text();
    else n_multiprocessors_ = facts->n_multiprocessors;
  }

 protected:
  int n_multiprocessors_ = 0;
};

// One matrix of every expert, on the device.
struct OnDevice {
  OnDevice(Device& d, DType type, int n_expert, int64_t rows, int64_t cols, uint32_t seed) {
    std::vector<RandomWeights> weights;
    for (int e = 0; e < n_expert; ++e)
      weights.push_back(random_weights(type, rows, cols, seed + static_cast<uint32_t>(e)));
    std::vector<TensorView> views;
    for (const RandomWeights& w : weights) {
      TensorView t;
      t.data = reinterpret_cast<const std::byte*>(w.bytes.data() + 1);
      t.dtype = type;
      t.n_dims = 2;
      t.dims = {rows, cols, 0, 0};
      t.scale_inv = w.scales.empty() ? nullptr : reinterpret_cast<const std::byte*>(w.scales.data());
      views.push_back(t);
    }
    auto placed = loader.place(views, d.stream);
    EXPECT_TRUE(placed && backend::cuda::synchronize(d.stream));
    memory = std::move(*placed);
    matrix = {backend::cuda::weight_view(views[0]), views[1].data - views[0].data, 0};
    if (views[0].scale_inv != nullptr)
      matrix.scale_stride = (views[1].scale_inv - views[0].scale_inv) / static_cast<int64_t>(sizeof(float));
  }
  backend::cuda::WeightLoader loader;
  backend::cuda::Memory memory;
  ExpertMatrix matrix;
};

struct Case {
  DType type, down;
  int rows, n_expert, n_used, n_embd, n_ff;
  RouteParams route;  // of it the flags
};

Activations make_int8(Device& d, int rows, int cols) {
  const int64_t stride = activation_stride(cols), n = rows * stride;
  return {d.make<int8_t>(static_cast<size_t>(n)), d.make<ActGroup>(static_cast<size_t>(n / 32)), stride, rows, cols};
}

void expect_same(const Case& c, int n_multiprocessors) {
  SCOPED_TRACE(std::string(dtype_name(c.type)) + " " + dtype_name(c.down) + ", rows " + std::to_string(c.rows));
  Device d;
  const OnDevice gate(d, c.type, c.n_expert, c.n_ff, c.n_embd, 1), up(d, c.type, c.n_expert, c.n_ff, c.n_embd, 100),
      down(d, c.down, c.n_expert, c.n_embd, c.n_ff, 200);
  const auto rows = static_cast<size_t>(c.rows), pairs = rows * static_cast<size_t>(c.n_used);
  auto floats = [&](size_t n_rows, int cols) {
    const auto stride = static_cast<size_t>((cols + 15) / 16 * 16);
    return Matrix{d.make<float>(n_rows * stride), static_cast<int64_t>(stride), static_cast<int32_t>(n_rows), cols};
  };
  auto filled = [&](int cols, float size, uint32_t seed) {
    Matrix m = floats(rows, cols);
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0.0f, size);
    std::vector<float> v(rows * static_cast<size_t>(m.stride));
    for (float& x : v) x = normal(rng);
    EXPECT_TRUE(backend::cuda::copy_to_device(m.data, v.data(), v.size() * sizeof(float), d.stream));
    EXPECT_TRUE(backend::cuda::synchronize(d.stream));
    return m;
  };
  std::vector<float> bias(static_cast<size_t>(c.n_expert));
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = 0.02f * static_cast<float>(i % 7);
  RouteParams route = c.route;
  route.logits = filled(c.n_expert, 1.0f, 7);
  route.bias = route.sigmoid ? d.put(bias) : nullptr;
  route.n_expert = c.n_expert;
  route.n_used = c.n_used;
  const Matrix x = filled(c.n_embd, 1.0f, 8);
  Activations x8, hidden;
  if (is_quantized(static_cast<uint32_t>(c.type))) {
    x8 = make_int8(d, c.rows, c.n_embd);
    ASSERT_TRUE(launch_quantize(x, x8, d.stream));
  }
  struct Results {
    std::vector<int32_t> ids;
    std::vector<float> weights, out;
  };
  auto run = [&](bool fused) {
    route.ids = d.make<int32_t>(pairs);
    route.weights = floats(rows, c.n_used);
    const MoeFfnParams p{gate.matrix,
                         up.matrix,
                         down.matrix,
                         route.ids,
                         x,
                         route.weights,
                         floats(pairs, c.n_ff),
                         floats(pairs, c.n_embd),
                         floats(rows, c.n_embd),
                         c.n_used};
    const bool int8 = is_quantized(static_cast<uint32_t>(c.down));
    hidden = int8 ? make_int8(d, static_cast<int>(pairs), c.n_ff) : Activations{};
    if (fused) {
      EXPECT_EQ(moe_fused_declines(route, p), nullptr);
      uint32_t* word = d.put(std::vector<uint32_t>(1, 0));
      EXPECT_TRUE(launch_moe_fused({route, p, x8, hidden, word}, n_multiprocessors, d.stream));
    } else {
      EXPECT_TRUE(launch_route(route, d.stream));
      EXPECT_TRUE(launch_moe_gate_up(p, x8, d.stream));
      EXPECT_TRUE(!int8 || launch_quantize(p.gate_out, hidden, d.stream));
      EXPECT_TRUE(launch_moe_down(p, hidden, d.stream));
      EXPECT_TRUE(launch_moe_combine(p, d.stream));
    }
    auto dense = [&](const Matrix& m) {
      const auto v = d.get(m.data, static_cast<size_t>(m.rows * m.stride));
      std::vector<float> r;
      for (int i = 0; i < m.rows; ++i) r.insert(r.end(), v.begin() + i * m.stride, v.begin() + i * m.stride + m.cols);
      return r;
    };
    return Results{d.get(route.ids, pairs), dense(route.weights), dense(p.out)};
  };
  const Results one = run(true), several = run(false);
  EXPECT_EQ(one.ids, several.ids);
  EXPECT_EQ(one.weights, several.weights);
  EXPECT_EQ(one.out, several.out);
}

constexpr RouteParams routing(bool sigmoid, bool normalize, int n_group, int n_group_used) {
  RouteParams p = {};
  p.sigmoid = sigmoid;
  p.normalize = normalize;
  p.n_group = n_group;
  p.n_group_used = n_group_used;
  p.scale = 2.5f;
  return p;
}

TEST_F(FusedMoe, GivesTheBitsOfSeparateKernelsForEveryType) {
  // Down in another type each time, so that both float and int8 hidden values meet both kinds of gates.
  for (size_t i = 0; i < std::size(kAllTypes); ++i) {
    const DType down = kAllTypes[(i * 5 + 3) % std::size(kAllTypes)];
    expect_same({kAllTypes[i], down, 1, 4, 2, 256, 256, routing(true, true, 1, 1)}, n_multiprocessors_);
  }
}

TEST_F(FusedMoe, GivesTheBitsOfSeparateKernelsForEveryShapeAndRouting) {
  const DType q = DType::kQ8_0;
  expect_same({q, q, 8, 16, 4, 64, 96, routing(true, true, 4, 2)}, n_multiprocessors_);
  expect_same({q, q, 5, 12, 2, 32, 32, routing(false, false, 1, 1)}, n_multiprocessors_);
  expect_same({q, q, 1, 256, 8, 160, 32, routing(true, true, 8, 4)}, n_multiprocessors_);
  // Rows that are no whole 16 bytes, hidden values that are no whole groups of 32.
  expect_same({DType::kF16, DType::kF32, 3, 4, 2, 44, 39, routing(false, true, 1, 1)}, n_multiprocessors_);
  // A row, and one column of it, more than a block takes at once.
  expect_same({q, q, 2, 4, 2, 1056, 32, routing(true, true, 1, 1)}, n_multiprocessors_);
}

TEST_F(FusedMoe, SaysWhyItDeclines) {
  RouteParams route = routing(true, true, 1, 1);
  MoeFfnParams p = {};
  p.gate.first.type = p.up.first.type = p.down.first.type = static_cast<uint32_t>(DType::kQ8_0);
  p.gate.first.rows = 64;
  p.x.rows = 8;
  p.n_used = 16;
  route.n_expert = 256;
  EXPECT_EQ(moe_fused_declines(route, p), nullptr);
  auto why = [&](auto change) {
    RouteParams r = route;
    MoeFfnParams m = p;
    change(r, m);
    const char* s = moe_fused_declines(r, m);
    return std::string(s != nullptr ? s : "");
  };
  EXPECT_NE(why([](auto&, auto& m) { m.x.rows = 9; }).find("8 rows"), std::string::npos);
  EXPECT_NE(why([](auto& r, auto&) { r.n_expert = 257; }).find("256 experts"), std::string::npos);
  EXPECT_NE(why([](auto&, auto& m) { m.n_used = 17; }).find("16 experts"), std::string::npos);
  EXPECT_NE(why([](auto&, auto& m) { m.up.first.type = 0; }).find("different types"), std::string::npos);
  EXPECT_NE(why([](auto&, auto& m) { m.gate.first.rows = 40; }).find("groups of 32"), std::string::npos);
}

}  // namespace
}  // namespace dsr1::test
