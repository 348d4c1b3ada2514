// Whole models on the CUDA backend against the reference backend: the same tokens, every architecture, prompts and
// single steps. Over the emulator always, on a GPU where there is one.
#include "cuda_model.h"

namespace dsr1::test {
namespace {

class OnTheDevice : public testing::TestWithParam<const char*> {
  void SetUp() override {
    if (const std::string why = no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};
INSTANTIATE_TEST_SUITE_P(Cuda, OnTheDevice, testing::Values("llama", "qwen2", "qwen3", "deepseek2"));

TEST_P(OnTheDevice, EveryArchitectureAgreesWithTheReference) {
  // F32 weights and cache: only the order of float sums differs, and logits are of size 3.
  SyntheticSpec s;
  s.arch = GetParam();
  const auto path = write_model(s, std::string("device-") + GetParam());
  auto a = open_engine(path, on_device(12, DType::kF32)), b = open_engine(path, reference(12, DType::kF32));
  ASSERT_TRUE(a && b);
  const auto tokens = some_tokens(15);  // two chunks
  EXPECT_LT(largest_difference(all_logits(*a, tokens), all_logits(*b, tokens)), 2e-4);
  EXPECT_LT(largest_difference(step_logits(*a, some_tokens(3)), step_logits(*b, some_tokens(3))), 2e-4);
}

TEST_P(OnTheDevice, CacheTypesAndStoredWeightsAgreeWithTheReference) {
  SyntheticSpec s;
  s.arch = GetParam();
  s.dtype = DType::kQ8_0;
  s.n_head = 2;  // head size 32, for q8_0
  s.n_head_kv = 1;
  s.rope = 32;
  s.n_dense_lead = s.n_layer;  // no router: one flipped expert would drown what the cache rounds
  const auto path = write_model(s, std::string("device-kv-") + GetParam());
  const auto tokens = some_tokens(20);
  for (DType type : {DType::kF16, DType::kQ8_0}) {
    auto a = open_engine(path, on_device(20, type)), b = open_engine(path, reference(20, type));
    ASSERT_TRUE(a && b);
    // Weights quantized: int8 activations round to 1/254 of a group's largest value, on top of a cache in the same
    // type.
    EXPECT_LT(relative_rms_difference(all_logits(*a, tokens), all_logits(*b, tokens)), 0.03) << dtype_name(type);
  }
}

}  // namespace
}  // namespace dsr1::test
