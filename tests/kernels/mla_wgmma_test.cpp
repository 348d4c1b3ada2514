// The sm_90a form of absorbed MLA against the mma form: queries and latents rounded alike, scores and sums in another
// order, weights rounded to F16 below another running maximum.
#include "kernels/attention/mla_wgmma.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "dsr1/base/half.h"
#include "dsr1/tensor/dtype.h"
#include "kernels/attention/mla.h"
#include "support/device_fixture.h"

namespace dsr1::test {
namespace {

using namespace kernels;  // NOLINT: a test

constexpr int kKey = 576, kValue = 512;

class MlaForms : public testing::Test {
  void SetUp() override {
    if (auto facts = backend::cuda::open_device(0); !facts) GTEST_SKIP() << facts.error().text();
  }
};

AttentionParams params_of(int heads) {
  AttentionParams p{};
  p.cache.k_type = p.cache.v_type = static_cast<uint32_t>(DType::kF16);
  p.cache.n_head_kv = 1;
  p.cache.k_dim = kKey;
  p.cache.v_dim = kValue;
  p.cache.k_row_bytes = kKey * 2;
  p.n_head = heads;
  p.scale = 0.1f;
  return p;
}

// Rows at `positions`, each of a sequence of its own.
void expect_agreement(int heads, const std::vector<int32_t>& positions, int n_splits) {
  SCOPED_TRACE(std::to_string(heads) + " heads, " + std::to_string(n_splits) + " splits");
  Device d;
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  const auto rows = static_cast<int32_t>(positions.size());
  std::vector<KvBase> bases;
  std::vector<int32_t> sequence;
  for (int32_t r = 0; r < rows; ++r) {
    std::vector<uint16_t> bits(static_cast<size_t>((positions[static_cast<size_t>(r)] + 1) * kKey));
    for (uint16_t& b : bits) b = f32_to_f16(normal(rng));
    bases.push_back({reinterpret_cast<uint8_t*>(d.put(bits)), nullptr});
    sequence.push_back(r);
  }
  std::vector<float> q(static_cast<size_t>(rows * heads * kKey));
  for (float& x : q) x = normal(rng);
  AttentionParams p = params_of(heads);
  p.cache.n_ctx = 1024;
  p.batch = {d.put(positions), d.put(sequence), d.put(bases), rows};
  p.q = {d.put(q), int64_t{heads} * kKey, rows, heads * kKey};
  auto attend = [&](auto launch) {
    p.out = {d.make<float>(static_cast<size_t>(rows * heads * kValue)), int64_t{heads} * kValue, rows, heads * kValue};
    float* partial = d.make<float>(static_cast<size_t>(flash_partial_floats(int64_t{rows} * n_splits, heads, kValue)));
    const Status s = launch(p, FlashPlan{1, n_splits, partial}, d.stream);
    EXPECT_TRUE(s) << s.error().text();
    return d.get(p.out.data, static_cast<size_t>(rows * heads * kValue));
  };
  const auto a = attend(launch_mla_wgmma), b = attend(launch_mla);
  double error = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  // Each weight is rounded twice, by 2^-11 of itself at most, independently: of a sum over values of either sign.
  EXPECT_LT(std::sqrt(error / size), std::sqrt(2.0) * 0x1p-11);
}

TEST_F(MlaForms, WarpgroupProductsAgreeWithTheMmaForm) {
  if (!mla_wgmma_present()) GTEST_SKIP() << "no kernels for sm_90a on this device";
  expect_agreement(128, {199, 4}, 1);  // several tiles, a ragged end, less than a tile
  expect_agreement(64, {255, 63}, 3);  // whole tiles; a split of two, and splits without keys
  expect_agreement(70, {64, 0}, 2);    // a block of six heads; one key beyond a tile, and one alone
}

TEST_F(MlaForms, WarpgroupProductsDeclineOtherShapes) {
  AttentionParams p = params_of(64);
  EXPECT_EQ(mla_wgmma_declines(p), nullptr);
  p.cache.k_type = static_cast<uint32_t>(DType::kQ8_0);
  EXPECT_STREQ(mla_wgmma_declines(p), "the cache is not F16");
  p = params_of(63);
  EXPECT_STREQ(mla_wgmma_declines(p), "fewer than 64 heads");
  p = params_of(64);
  p.cache.v_dim = 504;
  EXPECT_STREQ(mla_wgmma_declines(p), "the latent is not 512 + 64 wide");
  p.cache.v_row_bytes = 1024;
  EXPECT_STREQ(mla_wgmma_declines(p), "keys and values are not one latent");
}

}  // namespace
}  // namespace dsr1::test
