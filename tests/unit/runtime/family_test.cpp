#include "dsr1/runtime/family.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>

#include "dsr1/io/model_file.h"
#include "dsr1/runtime/cost.h"
#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using runtime::ModelFacts;

ModelFacts facts(const char* name, const char* quant) {
  const runtime::FamilyName n = runtime::find_family_member(name);
  EXPECT_NE(n.member, nullptr) << name;
  auto f = runtime::family_facts(*n.member, quant);
  EXPECT_TRUE(f) << name << " " << quant;
  return f ? *f : ModelFacts{};
}

struct Known {
  const char* name;
  int64_t n_params;
  uint64_t kv;    // bytes a token, f16
  double gib[7];  // Q2_K Q3_K_M Q4_K_M Q5_K_M Q6_K Q8_0 F16 (specification 3.3)
  double gflop;   // a token of a prompt of 2048 (performance notes 2.5); 0: not stated there
};
constexpr Known kKnown[] = {
    {"DeepSeek-R1", 671026419200, 70272, {227.26, 297.27, 376.65, 442.74, 512.97, 664.30, 1250.08}, 76.5},
    {"DeepSeek-V2-Lite", 15706484224, 31104, {5.99, 7.57, 9.65, 11.03, 13.10, 15.55, 29.26}, 0},
    {"DeepSeek-R1-Distill-Qwen-1.5B", 1777088000, 28672, {0.70, 0.86, 1.04, 1.19, 1.36, 1.76, 3.31}, 2.80},
    {"DeepSeek-R1-Distill-Qwen-7B", 7615616512, 57344, {2.80, 3.54, 4.36, 5.07, 5.82, 7.54, 14.19}, 13.46},
    {"DeepSeek-R1-Distill-Qwen-14B", 14770033664, 196608, {5.37, 6.83, 8.37, 9.78, 11.29, 14.62, 27.51}, 27.43},
    {"DeepSeek-R1-Distill-Qwen-32B", 32763876352, 262144, {11.46, 14.84, 18.48, 21.66, 25.03, 32.42, 61.03}, 63.75},
    {"DeepSeek-R1-Distill-Llama-8B", 8030261312, 131072, {2.95, 3.74, 4.58, 5.33, 6.14, 7.95, 14.96}, 14.50},
    {"DeepSeek-R1-Distill-Llama-70B", 70553706560, 327680, {24.56, 31.91, 39.59, 46.51, 53.91, 69.82, 131.42}, 139.59},
    {"DeepSeek-R1-0528-Qwen3-8B", 8190735360, 147456, {3.05, 3.84, 4.68, 5.44, 6.26, 8.11, 15.26}, 0},
};
constexpr const char* kQuants[] = {"Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"};

TEST(Family, ParametersCachesAndFileSizesAreThePublishedOnes) {
  for (const Known& k : kKnown) {
    for (int q = 0; q < 7; ++q) {
      const ModelFacts f = facts(k.name, kQuants[q]);
      EXPECT_EQ(f.n_params(), k.n_params) << k.name;
      EXPECT_NEAR(static_cast<double>(f.weights()) / (1 << 30), k.gib[q], 0.006) << k.name << " " << kQuants[q];
    }
    const ModelFacts f = facts(k.name, "F16");
    EXPECT_EQ(runtime::kv_bytes_per_token(f.config, f.n_cache_layers, DType::kF16, DType::kF16), k.kv) << k.name;
    if (k.gflop > 0) {
      const double operations = runtime::matrix_operations(f, false) + runtime::attention_operations(f, 1024, false);
      EXPECT_NEAR(operations / 1e9, k.gflop, k.gflop * 0.01) << k.name;
    }
  }
}

TEST(Family, TypesAreMixedAsTheRulesSay) {
  const auto counts = [](const char* name, const char* quant) {
    std::map<std::string, int> n;
    for (const runtime::TensorFact& t : facts(name, quant).tensors) ++n[dtype_name(t.dtype)];
    return n;
  };
  using Counts = std::map<std::string, int>;
  EXPECT_EQ(counts("DeepSeek-R1", "Q4_K_M"), (Counts{{"F32", 361}, {"Q4_K", 606}, {"Q6_K", 58}}));
  EXPECT_EQ(counts("DeepSeek-R1", "Q2_K"), (Counts{{"F32", 361}, {"Q2_K", 483}, {"Q3_K", 180}, {"Q6_K", 1}}));
  EXPECT_EQ(counts("DeepSeek-R1", "Q3_K_M"),
            (Counts{{"F32", 361}, {"Q3_K", 483}, {"Q4_K", 177}, {"Q5_K", 3}, {"Q6_K", 1}}));
  EXPECT_EQ(counts("DeepSeek-V2-Lite", "Q4_K_M"),
            (Counts{{"F32", 108}, {"Q4_K", 229}, {"Q5_0", 14}, {"Q8_0", 13}, {"Q6_K", 13}}));
  EXPECT_EQ(counts("DeepSeek-V2-Lite", "Q3_K_M"),
            (Counts{{"F32", 108}, {"Q3_K", 188}, {"Q4_K", 53}, {"Q5_0", 26}, {"Q5_1", 1}, {"Q6_K", 1}}));
  EXPECT_EQ(counts("DeepSeek-R1-Distill-Qwen-14B", "Q5_K_M"), (Counts{{"F32", 241}, {"Q5_K", 289}, {"Q6_K", 49}}));
  EXPECT_EQ(counts("DeepSeek-R1-Distill-Qwen-14B", "Q3_K_M"),
            (Counts{{"F32", 241}, {"Q3_K", 193}, {"Q4_K", 139}, {"Q5_K", 5}, {"Q6_K", 1}}));
  EXPECT_EQ(counts("DeepSeek-R1-Distill-Qwen-14B", "Q2_K"),
            (Counts{{"F32", 241}, {"Q2_K", 193}, {"Q3_K", 96}, {"Q4_K", 48}, {"Q6_K", 1}}));
}

// Bytes that one token reads, in GB (performance notes 2.3).
TEST(Family, BytesReadForATokenAreThoseOfTheNotes) {
  const std::tuple<const char*, const char*, double> rows[] = {
      {"DeepSeek-R1-Distill-Qwen-1.5B", "Q4_K_M", 0.980}, {"DeepSeek-R1-Distill-Qwen-1.5B", "Q8_0", 1.641},
      {"DeepSeek-R1-Distill-Qwen-7B", "Q4_K_M", 4.371},   {"DeepSeek-R1-Distill-Llama-8B", "Q4_K_M", 4.617},
      {"DeepSeek-R1-Distill-Qwen-14B", "Q8_0", 14.868},   {"DeepSeek-R1-Distill-Qwen-32B", "F16", 63.973},
      {"DeepSeek-R1-Distill-Llama-70B", "Q4_K_M", 41.921}};
  for (const auto& [name, quant, gb] : rows)
    EXPECT_NEAR(static_cast<double>(facts(name, quant).weights_needed()) / 1e9, gb, gb * 0.002) << name << " " << quant;
  const ModelFacts r1 = facts("DeepSeek-R1", "Q4_K_M");
  EXPECT_NEAR(static_cast<double>(r1.weights_needed()) / 1e9, 22.23, 0.2);
  EXPECT_NEAR(static_cast<double>(r1.routed_bytes()) / 256 * 8 / 1e9, 12.31, 0.05);
  EXPECT_NEAR(static_cast<double>(r1.weights()) / 1e9, 404.4, 0.1);
  // Distinct experts that a batch reads: 8, 57, 163 of 256 for 1, 8, 32 tokens (performance notes 2.2).
  const double dense = runtime::weight_bytes_per_token(r1) - static_cast<double>(r1.routed_bytes()) * 8 / 256;
  for (const auto& [rows_, experts] : {std::pair<int64_t, double>{1, 8}, {8, 57}, {32, 163}}) {
    const double routed = runtime::weight_bytes_per_token(r1, rows_) * static_cast<double>(rows_) - dense;
    EXPECT_NEAR(routed / static_cast<double>(r1.routed_bytes()) * 256, experts, 0.6);
  }
  EXPECT_NEAR(static_cast<double>(facts("DeepSeek-R1", "FP8").weights()) / 1e9, 673.1, 1.0);
}

TEST(Family, NamesAreFoundHoweverTheyAreWritten) {
  const std::tuple<const char*, const char*, const char*> names[] = {
      {"DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-Distill-Qwen-7B", "Q4_K_M"},
      {"deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-Distill-Qwen-7B", "Q4_K_M"},
      {"r1-distill-qwen-1.5b:q8_0", "DeepSeek-R1-Distill-Qwen-1.5B", "Q8_0"},
      {"deepseek-r1:70b", "DeepSeek-R1-Distill-Llama-70B", "Q4_K_M"},
      {"deepseek-r1:671b", "DeepSeek-R1", "Q4_K_M"},
      {"DeepSeek-R1-Q2_K", "DeepSeek-R1", "Q2_K"},
      {"DeepSeek-R1-Q2_K.gguf", "DeepSeek-R1", "Q2_K"},
      {"DeepSeek-V3-0324-FP8", "DeepSeek-R1", "FP8"},
      {"deepseek-r1:8b", "DeepSeek-R1-0528-Qwen3-8B", "Q4_K_M"},
  };
  for (const auto& [typed, name, quant] : names) {
    const runtime::FamilyName n = runtime::find_family_member(typed);
    ASSERT_NE(n.member, nullptr) << typed;
    EXPECT_STREQ(n.member->name, name) << typed;
    EXPECT_EQ(n.quant, quant) << typed;
  }
  // Sizes that popular guides invented (conventions 11) are none of the family.
  for (const char* wrong :
       {"DeepSeek-R1-67B", "DeepSeek-R1-13B", "deepseek-r1:33b", "deepseek", "llama", "", "r1-distill-qwen-7b:q9"})
    EXPECT_EQ(runtime::find_family_member(wrong).member, nullptr) << wrong;
  EXPECT_FALSE(runtime::family_facts(*runtime::find_family_member("deepseek-r1:7b").member, "FP8"));
}

TEST(Family, TheTableAgreesWithAPublishedFileTensorByTensor) {
  const std::string packed = DSR1_SOURCE_DIR "/../shared/data/gguf/r1_distill_qwen_7b.q4_k_m.header.gguf.gz";
  if (!std::filesystem::exists(packed)) GTEST_SKIP() << packed << " is absent";
  const auto path = temp_dir() / "7b-header.gguf";
  ASSERT_EQ(std::system(("gzip -dc '" + packed + "' > '" + path.string() + "'").c_str()), 0);
  auto file = io::ModelFile::open(path, {.allow_truncated = true});
  ASSERT_TRUE(file) << file.error().text();
  auto model = model::Model::load(*file, {.expert_groups = true, .load_mtp = false, .require_data = false});
  ASSERT_TRUE(model) << model.error().text();
  const ModelFacts real = runtime::facts_of(*file, **model, false), table = facts("deepseek-r1:7b", "Q4_K_M");
  std::map<std::string, const runtime::TensorFact*> by_name;
  for (const auto& t : table.tensors) by_name[t.name] = &t;
  EXPECT_EQ(real.tensors.size(), table.tensors.size());
  for (const auto& t : real.tensors) {
    ASSERT_TRUE(by_name.contains(t.name)) << t.name;
    const runtime::TensorFact& ours = *by_name[t.name];
    EXPECT_EQ(t.dtype, ours.dtype) << t.name;
    EXPECT_EQ(t.bytes, ours.bytes) << t.name;
    EXPECT_EQ(t.lookup, ours.lookup) << t.name;
    EXPECT_EQ(t.is_output, ours.is_output) << t.name;
  }
  EXPECT_EQ(real.weights(), table.weights());
  EXPECT_EQ(real.weights_needed(), table.weights_needed());
  EXPECT_EQ(model::plan_scratch(real.config, 512, nullptr, nullptr),
            model::plan_scratch(table.config, 512, nullptr, nullptr));
}

}  // namespace
}  // namespace dsr1::test
