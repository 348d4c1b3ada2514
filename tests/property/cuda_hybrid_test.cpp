// Models of which the CPU backend computes a part: experts, or whole layers.
#include "cuda_model.h"

namespace dsr1::test {
namespace {

class CudaHybrid : public testing::Test {
  void SetUp() override {
    if (const std::string why = no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

// F32 weights and cache, so that only the order of float sums differs; logits are of size 3.
TEST_F(CudaHybrid, ExpertsOfSomeOrAllLayersOnTheCpuAgreeWithTheReference) {
  SyntheticSpec s;
  s.arch = "deepseek2";
  s.n_layer = 3;
  const auto path = write_model(s, "hybrid-experts");
  const auto tokens = some_tokens(7), steps = some_tokens(2);
  auto truth = open_engine(path, reference(4, DType::kF32));
  ASSERT_TRUE(truth);
  const Rows prompt = all_logits(*truth, tokens), single = step_logits(*truth, steps);
  for (int64_t n : {int64_t{2}, int64_t{99}}) {
    auto o = on_device(4, DType::kF32);
    o.placement.n_cpu_moe = n;
    auto engine = open_engine(path, o);
    ASSERT_TRUE(engine);
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(engine->model().weights().layers[static_cast<size_t>(i)].experts_on_host, i > 0 && i < n);
    EXPECT_LT(largest_difference(all_logits(*engine, tokens), prompt), 2e-4) << n;
    EXPECT_LT(largest_difference(step_logits(*engine, steps), single), 2e-4) << n;
  }
}

TEST_F(CudaHybrid, LayersOnTheCpuAgreeWithTheReference) {
  for (const char* arch : {"qwen3", "deepseek2"}) {
    SyntheticSpec s;
    s.arch = arch;
    s.n_layer = 3;
    s.tied = true;  // the table is read in both halves
    const auto path = write_model(s, std::string("hybrid-layers-") + arch);
    const auto tokens = some_tokens(7), steps = some_tokens(2);
    auto truth = open_engine(path, reference(4, DType::kF32));
    auto o = on_device(4, DType::kF32);
    o.placement.n_gpu_layers = 1;
    if (s.arch == "deepseek2") {
      o.placement.n_gpu_layers = 2;
      o.placement.n_cpu_moe = 2;
    }
    auto engine = open_engine(path, o);
    ASSERT_TRUE(truth && engine);
    EXPECT_EQ(engine->model().placement().n_host_layers, 3 - o.placement.n_gpu_layers);
    EXPECT_LT(largest_difference(all_logits(*engine, tokens), all_logits(*truth, tokens)), 2e-4) << arch;
    EXPECT_LT(largest_difference(step_logits(*engine, steps), step_logits(*truth, steps)), 2e-4) << arch;
  }
}

TEST_F(CudaHybrid, ExpertsStreamedForAPromptGiveTheBitsOfResidentOnes) {
  SyntheticSpec s;
  s.arch = "deepseek2";
  s.dtype = DType::kQ8_0;
  const auto path = write_model(s, "hybrid-stream");
  const auto tokens = some_tokens(12);
  auto resident = open_engine(path, on_device(12, DType::kF16));
  auto o = on_device(12, DType::kF16);
  o.placement.n_cpu_moe = 99;
  o.stream_rows = 12;
  auto streamed = open_engine(path, o);
  o.stream_rows = 1000;
  auto computed = open_engine(path, o);
  ASSERT_TRUE(resident && streamed && computed);
  const Rows rows = all_logits(*resident, tokens);
  EXPECT_EQ(all_logits(*streamed, tokens), rows);
  EXPECT_NE(all_logits(*computed, tokens), rows) << "the CPU's int8 activations round otherwise";
}

}  // namespace
}  // namespace dsr1::test
