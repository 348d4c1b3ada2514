// What stays in host memory when a device is too small, and what is said when nothing helps.
#include "dsr1/runtime/placement.h"

#include <gtest/gtest.h>

#include "dsr1/runtime/family.h"

namespace dsr1::test {
namespace {

using runtime::DevicePlan;
using runtime::PlacementRequest;

constexpr uint64_t kGiB = uint64_t{1} << 30;

runtime::ModelFacts facts(const char* name, const char* quant) {
  const runtime::FamilyName found = runtime::find_family_member(name);
  EXPECT_NE(found.member, nullptr) << name;
  auto f = runtime::family_facts(*found.member, quant);
  EXPECT_TRUE(f);
  return f ? *f : runtime::ModelFacts{};
}

runtime::DeviceRoom room(uint64_t available) {
  return {.name = "cuda:0 (a test)",
          .available = available,
          .workspace = [](const ops::HostExperts& h) { return (h.matrix_bytes > 0 ? 2 : 1) * (kGiB / 8); },
          .host_ops_per_second = 1e12};
}

Result<DevicePlan> plan(const runtime::ModelFacts& f, uint64_t available, const PlacementRequest& wanted,
                        int64_t n_ctx = 0) {
  return runtime::plan_device(f, {.n_ctx = n_ctx}, wanted, room(available));
}

int64_t n_stay(const DevicePlan& d) {
  return std::count(d.placement.host_experts.begin(), d.placement.host_experts.end(), true);
}

TEST(Placement, WhatFitsIsAllOnTheDevice) {
  auto d = plan(facts("deepseek-r1:8b", "Q4_K_M"), 24 * kGiB, {});
  ASSERT_TRUE(d);
  EXPECT_FALSE(d->hybrid());
  EXPECT_EQ(d->memory.n_ctx, runtime::kDefaultContext);
  EXPECT_LE(d->memory.total(), 24 * kGiB);
}

TEST(Placement, ExpertsStayFirstAndNoMoreOfThemThanNeeded) {
  const auto r1 = facts("DeepSeek-R1", "Q4_K_M");  // 377 GiB, of which experts all but 11
  auto d = plan(r1, 80 * kGiB, {});
  ASSERT_TRUE(d) << d.error().text();
  EXPECT_EQ(d->placement.n_host_layers, 0);
  EXPECT_GT(n_stay(*d), 40);
  EXPECT_LT(n_stay(*d), 58);
  EXPECT_EQ(d->host_kv, 0u);
  EXPECT_GT(d->expert_bytes, uint64_t{8} << 20);  // 7168 x 2048 of at least 4.5 bits
  const int64_t n = 3 + n_stay(*d) - 1;           // one layer's experts fewer; the first three are dense
  auto fewer = plan(r1, 80 * kGiB, {.n_gpu_layers = 999, .n_cpu_moe = n}, d->memory.n_ctx);
  EXPECT_FALSE(fewer);
}

TEST(Placement, ADenseModelTooLargeLeavesItsFirstLayersWithTheirCache) {
  auto d = plan(facts("deepseek-r1:70b", "Q4_K_M"), 24 * kGiB, {});
  ASSERT_TRUE(d) << d.error().text();
  EXPECT_GT(d->placement.n_host_layers, 30);
  EXPECT_LT(d->placement.n_host_layers, 60);
  EXPECT_GT(d->host_kv, 0u);
  EXPECT_LE(d->memory.total(), 24 * kGiB);
}

TEST(Placement, ARefusalNamesTheNumbersAndOptionsThatFit) {
  const auto f = facts("deepseek-r1:14b", "Q4_K_M");
  auto d = plan(f, 8 * kGiB, {.n_gpu_layers = 999}, 16384);
  ASSERT_FALSE(d);
  EXPECT_EQ(d.error().code, ErrorCode::kDoesNotFit);
  const std::string text = d.error().message;
  for (const char* part : {"does not fit on cuda:0 (a test)", "weights", "KV cache for 16384 tokens", "8.00 GiB free",
                           "what would fit: -ngl "})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  // What it names does fit, and one layer more does not.
  const int64_t n = std::stoll(text.substr(text.find("-ngl ") + 5));
  EXPECT_TRUE(plan(f, 8 * kGiB, {.n_gpu_layers = n}, 16384)) << n;
  EXPECT_FALSE(plan(f, 8 * kGiB, {.n_gpu_layers = n + 1}, 16384)) << n;
}

TEST(Placement, EveryOptionARefusalOffersFits) {
  const auto f = facts("deepseek-r1:1.5b", "Q8_0");
  const uint64_t little = 3 * kGiB;
  auto d = plan(f, little, {.n_gpu_layers = 999}, 65536);
  ASSERT_FALSE(d);
  const std::string text = d.error().message;
  ASSERT_NE(text.find("-c "), std::string::npos) << text;
  const int64_t c = std::stoll(text.substr(text.find("-c ") + 3));
  EXPECT_TRUE(plan(f, little, {.n_gpu_layers = 999}, c)) << c;
  EXPECT_FALSE(plan(f, little, {.n_gpu_layers = 999}, c + 256)) << c;
  ASSERT_NE(text.find("-ctk q8_0"), std::string::npos) << text;
  EXPECT_TRUE(runtime::plan_device(f, {.n_ctx = 65536, .type_k = DType::kQ8_0, .type_v = DType::kQ8_0},
                                   {.n_gpu_layers = 999}, room(little)));
  const auto r1 = facts("DeepSeek-R1", "Q4_K_M");
  auto large = plan(r1, 80 * kGiB, {.n_gpu_layers = 999}, 8192);
  ASSERT_FALSE(large);
  const std::string said = large.error().message;
  ASSERT_NE(said.find("-ncmoe "), std::string::npos) << said;
  const int64_t n = std::stoll(said.substr(said.find("-ncmoe ") + 7));
  EXPECT_TRUE(plan(r1, 80 * kGiB, {.n_gpu_layers = 999, .n_cpu_moe = n}, 8192));
  EXPECT_FALSE(plan(r1, 80 * kGiB, {.n_gpu_layers = 999, .n_cpu_moe = n - 1}, 8192));
  auto hopeless = plan(f, kGiB / 16, {.n_gpu_layers = 999}, 512);
  ASSERT_FALSE(hopeless);
  EXPECT_NE(hopeless.error().message.find("--device cpu"), std::string::npos) << hopeless.error().message;
}

TEST(Placement, RulesPlaceExpertsTheFirstThatFindsANameDecides) {
  const auto r1 = facts("DeepSeek-R1", "Q4_K_M");
  auto d = plan(r1, 1024 * kGiB, {.rules = {{"blk\\.1[0-9]\\.ffn_.*_exps", false}, {"exps", true}}}, 4096);
  ASSERT_TRUE(d) << d.error().text();
  for (int i = 3; i < 61; ++i) EXPECT_EQ(d->placement.experts_stay(i), i < 10 || i > 19) << i;
  EXPECT_FALSE(d->placement.experts_stay(2));  // dense
}

TEST(Placement, RulesForWhatCannotStayAloneAreRefused) {
  const auto r1 = facts("DeepSeek-R1", "Q4_K_M");
  for (const char* pattern : {"ffn_gate_exps", "attn_output", "(", "ffn_.*"}) {
    auto d = plan(r1, 1024 * kGiB, {.rules = {{pattern, true}}}, 4096);
    ASSERT_FALSE(d) << pattern;
    EXPECT_EQ(d.error().code, ErrorCode::kUsage) << pattern;
    EXPECT_NE(d.error().message.find(pattern[0] == '(' ? "regular expression" : "experts"), std::string::npos)
        << d.error().message;
  }
}

}  // namespace
}  // namespace dsr1::test
