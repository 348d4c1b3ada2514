// What only the emulator can ask of the CUDA backend.
#include "cuda_model.h"

namespace dsr1::test {
namespace {

TEST(CudaEmulated, SchedulesNeverChangeABit) {
  SyntheticSpec s;
  s.arch = "deepseek2";
  const auto path = write_model(s, "emulated-seeds");
  const auto tokens = some_tokens(12);
  Rows first;
  for (uint64_t seed : {1, 2}) {
    auto engine = open_engine(path, on_device(16, DType::kF16, seed));
    ASSERT_TRUE(engine);
    const Rows rows = all_logits(*engine, tokens);
    if (first.empty()) first = rows;
    EXPECT_EQ(rows, first) << seed;
  }
}

TEST(CudaEmulated, RefusesWhatDoesNotFitBeforeAllocating) {
  SyntheticSpec s;
  const auto path = write_model(s, "emulated-fit");
  simt::emu::set_device_bytes(200 << 10);
  const auto engine = runtime::Engine::open(path.string(), on_device(16, DType::kF16));
  simt::emu::set_device_bytes(size_t{1} << 30);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kDoesNotFit) << engine.error().text();
}

}  // namespace
}  // namespace dsr1::test
