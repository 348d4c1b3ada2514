// The CPU backend at every instruction-set level of this machine, on 1 and 3 threads; and what only it promises.
#include <gtest/gtest.h>

#include <random>
#include <sstream>

#include "dsr1/backend/cpu.h"
#include "dsr1/ops/kv_rows.h"
#include "kernels/random_weights.h"
#include "ops/backends.h"

namespace dsr1::test {
namespace {

std::vector<std::string> isas() {
  std::istringstream names(backend::available_cpu_isas());
  std::vector<std::string> v;
  for (std::string n; names >> n;) v.push_back(n);
  return v;
}

}  // namespace

Expectations expected() { return {}; }

void for_each_backend(const ops::Limits& limits, const std::function<void(ops::Ops&)>& f) {
  for (const std::string& isa : isas()) {
    for (int threads : {1, 3}) {
      auto cpu = backend::make_cpu(isa, threads, limits);
      ASSERT_TRUE(cpu);
      ASSERT_NE(std::string((*cpu)->name()).find(isa + ","), std::string::npos) << "another level ran than the pinned";
      f(**cpu);
    }
  }
}

namespace {

TEST(CpuOps, OneTokenOfALongContextIsSharedBetweenThreadsWithoutChangingABit) {
  constexpr int64_t kContext = 1500;
  constexpr int kHeads = 6, kHeadsKv = 2, kDim = 64;
  std::mt19937 rng(11);
  std::normal_distribution<float> normal;
  ops::KvLayerView view;
  view.n_head_kv = kHeadsKv;
  view.k_dim = view.v_dim = kDim;
  view.n_ctx = kContext;
  std::vector<std::byte> keys(view.k_row_bytes() * kHeadsKv * kContext), values(keys.size());
  view.k = keys.data();
  view.v = values.data();
  std::vector<float> row(kDim);
  for (int h = 0; h < kHeadsKv; ++h)
    for (int64_t p = 0; p < kContext; ++p) {
      for (float& x : row) x = normal(rng);
      ops::store_row(row.data(), view.k_type, kDim, view.k_row(h, p));
      ops::store_row(row.data(), view.v_type, kDim, view.v_row(h, p));
    }
  ops::Limits l;
  l.max_rows = 1;
  l.max_in = 64;
  l.n_head = kHeads;
  l.n_head_kv = kHeadsKv;
  l.k_dim = l.v_dim = kDim;
  l.n_ctx = kContext;
  const ops::Segment segments[] = {{&view, kContext - 1, 1, false}};
  const std::vector<int32_t> tokens(1), positions(1);
  const ops::Batch batch{tokens, positions, segments};
  std::vector<float> q(kHeads * kDim), alone(q.size(), NAN), shared(q.size(), NAN);
  for (float& x : q) x = normal(rng);
  auto mat = [](std::vector<float>& v) {
    return ops::Mat{v.data(), 1, static_cast<int64_t>(v.size()), static_cast<int64_t>(v.size())};
  };
  for (const std::string& isa : isas()) {
    auto a = backend::make_cpu(isa, 1, l), b = backend::make_cpu(isa, 5, l);
    ASSERT_TRUE(a && b);
    (*a)->attention(batch, 0, mat(q), kHeads, 0.125f, mat(alone));
    (*b)->attention(batch, 0, mat(q), kHeads, 0.125f, mat(shared));
    EXPECT_EQ(shared, alone) << isa;
  }
}

// Matrices wider than one piece, and prompts of more rows than go straight through registers.
constexpr int64_t kRows = 40, kIn = 512, kHidden = 4352;

struct Rows {
  explicit Rows(int64_t cols) : data(static_cast<size_t>(kRows * cols), NAN), m{data.data(), kRows, cols, cols} {}
  std::vector<float> data;
  ops::Mat m;
};

TensorView view(const RandomWeights& w) {
  TensorView t;
  t.data = reinterpret_cast<const std::byte*>(w.bytes.data() + 1);
  t.dtype = w.dtype;
  t.n_dims = 2;
  t.dims = {w.rows, w.cols, 0, 0};
  return t;
}

ops::Limits wide_limits() {
  ops::Limits l;
  l.max_rows = kRows;
  l.max_in = kHidden;
  l.n_ctx = 1;
  return l;
}

TEST(CpuOps, AWideMatrixInPiecesGivesEachRowWhatItGetsAlone) {
  const RandomWeights a = random_weights(DType::kQ4_K, 70, kHidden, 1), b = random_weights(DType::kF16, 70, kHidden, 2),
                      c = random_weights(DType::kQ6_K, 130, kHidden, 3);
  const TensorView va = view(a), vb = view(b), vc = view(c);
  const std::vector<float> bias = random_activations(1, 130, 4);
  Rows x(kHidden);
  x.data = random_activations(kRows, kHidden, 5);
  x.m.data = x.data.data();
  for_each_backend(wide_limits(), [&](ops::Ops& cpu) {
    Rows ya(70), yb(70), yc(130), one_a(70), one_b(70), one_c(130);
    const ops::Linear jobs[] = {{&va, bias.data(), ya.m}, {&vb, nullptr, yb.m}, {&vc, bias.data(), yc.m}};
    cpu.linear(x.m, jobs);
    for (int64_t r = 0; r < kRows; ++r) {
      const ops::Linear one[] = {{&va, bias.data(), one_a.m.row_range(r, 1)},
                                 {&vb, nullptr, one_b.m.row_range(r, 1)},
                                 {&vc, bias.data(), one_c.m.row_range(r, 1)}};
      cpu.linear(x.m.row_range(r, 1), one);
    }
    EXPECT_EQ(ya.data, one_a.data) << cpu.name();
    EXPECT_EQ(yb.data, one_b.data) << cpu.name();
    EXPECT_EQ(yc.data, one_c.data) << cpu.name();
  });
}

TEST(CpuOps, AFeedForwardNetworkInPiecesHasTheBitsOfItsComposition) {
  const RandomWeights gate = random_weights(DType::kQ4_K, kHidden, kIn, 1),
                      up = random_weights(DType::kQ5_K, kHidden, kIn, 2),
                      down = random_weights(DType::kQ6_K, 70, kHidden, 3),
                      back = random_weights(DType::kQ8_0, kIn, kHidden, 4);
  const TensorView vg = view(gate), vu = view(up), vd = view(down), vb = view(back);
  const std::vector<float> input = random_activations(kRows, kIn, 5);
  for_each_backend(wide_limits(), [&](ops::Ops& cpu) {
    Rows x(kIn), g(kHidden), u(kHidden), fused(70), composed(70), expected(kIn);
    x.data = input;
    x.m.data = x.data.data();
    cpu.ffn(x.m, {vg, vu, vd}, g.m, u.m, fused.m, nullptr);
    cpu.Ops::ffn(x.m, {vg, vu, vd}, g.m, u.m, composed.m, nullptr);
    EXPECT_EQ(fused.data, composed.data) << cpu.name();
    cpu.Ops::ffn(x.m, {vg, vu, vb}, g.m, u.m, expected.m, nullptr);
    cpu.ffn(x.m, {vg, vu, vb}, g.m, u.m, x.m, nullptr);  // in place
    EXPECT_EQ(x.data, expected.data) << cpu.name();
  });
}

TEST(CpuOps, AFeedForwardNetworkThatIsCutLeavesBeforeItIsDone) {
  const RandomWeights gate = random_weights(DType::kQ4_K, kHidden, kIn, 1),
                      down = random_weights(DType::kQ4_K, 70, kHidden, 3);
  const TensorView vg = view(gate), vd = view(down);
  const std::atomic<bool> cut{true};
  for_each_backend(wide_limits(), [&](ops::Ops& cpu) {
    Rows x(kIn), g(kHidden), u(kHidden), out(70);
    std::fill(x.data.begin(), x.data.end(), 1.0f);
    cpu.ffn(x.m, {vg, vg, vd}, g.m, u.m, out.m, &cut);
    for (float v : out.data) ASSERT_TRUE(std::isnan(v)) << cpu.name();
  });
}

}  // namespace
}  // namespace dsr1::test
