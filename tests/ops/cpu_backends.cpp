// The CPU backend at every instruction-set level of this machine, on 1 and 3 threads; and what only it promises.
#include <gtest/gtest.h>

#include <random>
#include <sstream>

#include "dsr1/backend/cpu.h"
#include "dsr1/ops/kv_rows.h"
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

}  // namespace
}  // namespace dsr1::test
