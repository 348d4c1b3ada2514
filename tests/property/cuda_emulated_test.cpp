// What only the emulator can ask of the CUDA backend: other schedules, devices of a chosen size, the order of waits.
#include "cuda_model.h"

namespace dsr1::test {
namespace {

TEST(CudaEmulated, SchedulesNeverChangeABit) {
  SyntheticSpec s;
  s.arch = "deepseek2";
  const auto path = write_model(s, "emulated-seeds");
  const auto tokens = some_tokens(9);  // more rows than matvec takes
  Rows first;
  for (uint64_t seed : {1, 2}) {
    auto engine = open_engine(path, on_device(16, DType::kF16, seed));
    ASSERT_TRUE(engine);
    const Rows rows = all_logits(*engine, tokens);
    if (first.empty()) first = rows;
    EXPECT_EQ(rows, first) << seed;
  }
}

// What a tap is shown was computed op by op; without one, norms and their int8 form, matrices of one input, SwiGLU and
// the residual's addition share launches.
TEST(CudaEmulated, JoinedOpsGiveTheBitsOfSeparateOnesInFewerLaunches) {
  for (const char* arch : {"qwen2", "deepseek2"}) {
    for (DType type : {DType::kQ8_0, DType::kF16}) {
      if (type == DType::kF16 && std::string_view(arch) == "deepseek2") continue;
      SyntheticSpec s;
      s.arch = arch;
      s.dtype = type;
      const auto path = write_model(s, std::string("emulated-joined-") + arch);
      auto o = on_device(4, DType::kF16);
      auto joined = open_engine(path, o);
      o.tap = [](const char*, const ops::Mat&, const int32_t*) {};
      auto separate = open_engine(path, o);
      ASSERT_TRUE(joined && separate);
      const auto tokens = some_tokens(2);
      const uint64_t before = simt::emu::launches();
      const Rows a = step_logits(*joined, tokens);
      const uint64_t between = simt::emu::launches();
      const Rows b = step_logits(*separate, tokens);
      EXPECT_EQ(a, b) << arch << " " << dtype_name(type);
      EXPECT_LT(10 * (between - before), 9 * (simt::emu::launches() - between))
          << arch << " " << dtype_name(type) << ": " << between - before;
    }
  }
}

// Counts what it is asked to compute.
class Watched : public testing::Test {
 public:
  struct Host final : ops::Ops {
    const char* name() const override { return "watched"; }
    void embed(const TensorView&, std::span<const int32_t>, ops::Mat) override {}
    void rms_norm(ops::Mat, const float*, int64_t, float, ops::Mat) override {}
    void linear(ops::Mat, std::span<const ops::Linear>) override {}
    void linear_heads(const ops::HeadedWeight&, ops::Mat, int64_t, ops::Mat, int64_t) override {}
    void linear_heads_transposed(const ops::HeadedWeight&, ops::Mat, int64_t, ops::Mat, int64_t) override {}
    void rope_angles(const ops::RopeTable&, std::span<const int32_t>, ops::Mat) override {}
    void rope(ops::Mat, int, int64_t, ops::RopePairing, ops::Mat) override {}
    void kv_append(const ops::Batch&, int, ops::Mat, ops::Mat) override {}
    void attention(const ops::Batch&, int, ops::Mat, int, float, ops::Mat) override {}
    void mla_attention_expanded(const ops::Batch&, int, const ops::MlaWeights&, const ops::MlaDims&, ops::Mat, float,
                                const ops::MlaScratch&, ops::Mat) override {}
    void route(ops::Mat, const float*, const ops::RouterParams&, int32_t*, ops::Mat) override {}
    void swiglu(ops::Mat, ops::Mat, ops::Mat) override {}
    void copy_rows(ops::Mat, std::span<const int32_t>, ops::Mat) override {}
    void copy_heads(ops::Mat, int64_t, ops::Mat, int64_t, int, int64_t) override {}
    void add(ops::Mat, ops::Mat, ops::Mat) override {}
    void moe_ffn(ops::Mat x, const ops::ExpertWeights&, const int32_t* ids, ops::Mat, const ops::MoeScratch&,
                 ops::Mat out) override {
      ++calls;
      for (int64_t r = 0; r < x.rows; ++r)
        for (int64_t c = 0; c < x.cols; ++c) out.row(r)[c] = x.row(r)[c] + static_cast<float>(ids[0]);
    }
    int calls = 0;
  };
};

TEST_F(Watched, TheSharedExpertIsQueuedBeforeTheHostIsWaitedFor) {
  ops::Limits l;
  l.max_rows = 4;
  l.max_in = 32;
  l.n_embd = 32;
  l.n_ff_exp = 32;
  l.n_expert = 2;
  l.n_expert_used = 1;
  auto made = backend::cuda::make_ops(0, l);
  ASSERT_TRUE(made);
  ops::Ops& device = **made;
  Host host;
  ASSERT_TRUE(device.reserve({&host, 1, 1e9, 1000}));
  auto memory = device.allocate(4 * 32 * 6 * sizeof(float), "a test");
  ASSERT_TRUE(memory);
  auto* p = reinterpret_cast<float*>((*memory)->data());
  std::vector<float> values(4 * 32 * 6, 0.5f);
  std::memcpy(p, values.data(), values.size() * sizeof(float));
  simt::emu::mark_written(p, values.size() * sizeof(float));
  auto mat = [&](int i) { return ops::Mat{p + i * 128, 2, 32, 32}; };
  const ops::Mat x = mat(0), y = mat(1), shared = mat(2), residual = mat(3);
  auto* ids = reinterpret_cast<int32_t*>(p + 4 * 128);
  const int32_t chosen[] = {1, 0};
  std::memcpy(ids, chosen, sizeof chosen);
  TensorView none;
  const ops::ExpertWeights experts{{&none, 1}, {&none, 1}, {&none, 1}, true};
  device.moe_ffn(x, experts, ids, {p + 5 * 128, 2, 1, 1}, {}, y);
  const uint64_t before = simt::emu::launches();
  device.swiglu(x, x, shared);
  EXPECT_EQ(host.calls, 0) << "the device could have gone on";
  device.add(residual, y, residual);
  EXPECT_EQ(host.calls, 1);
  EXPECT_EQ(simt::emu::launches(), before) << "waiting for the mailbox waited for the shared expert too";
  auto sum = device.fetch(residual);
  ASSERT_TRUE(sum);
  EXPECT_EQ(sum->row(0)[0], 0.5f + 0.5f + 1.0f);
  EXPECT_EQ(sum->row(1)[31], 0.5f + 0.5f + 1.0f);
}

TEST(CudaEmulated, WhatDoesNotFitIsRefusedBeforeAnythingIsAllocated) {
  SyntheticSpec s;
  const auto path = write_model(s, "emulated-fit");
  simt::emu::set_device_bytes(200 << 10);
  const size_t free_before = simt::emu::device_bytes_free();
  auto o = on_device(16, DType::kF16);
  o.placement.n_gpu_layers = 99;
  const auto engine = runtime::Engine::open(path.string(), o);
  EXPECT_EQ(simt::emu::device_bytes_free(), free_before);
  simt::emu::set_device_bytes(size_t{1} << 30);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, ErrorCode::kDoesNotFit) << engine.error().text();
  EXPECT_NE(engine.error().message.find("free; "), std::string::npos) << engine.error().text();
}

TEST(CudaEmulated, AModelLargerThanTheDeviceLeavesExpertsOnTheHostAndThePlanHolds) {
  SyntheticSpec s;
  s.arch = "deepseek2";
  s.n_layer = 4;
  s.n_embd = 128;
  s.n_ff_exp = 256;
  s.n_expert = 32;
  const auto path = write_model(s, "emulated-auto");  // three layers of 12.6 MB of experts
  auto o = on_device(8, DType::kF32);
  auto all = open_engine(path, o);
  ASSERT_TRUE(all);
  const uint64_t needed = all->plan().total();
  all.reset();
  const size_t device = needed - (size_t{14} << 20);
  simt::emu::set_device_bytes(device);
  auto engine = open_engine(path, o);
  auto session = engine != nullptr ? engine->new_session()
                                   : Result<std::unique_ptr<runtime::Session>>(Error(ErrorCode::kRuntime, ""));
  const size_t taken = device - simt::emu::device_bytes_free();
  simt::emu::set_device_bytes(size_t{1} << 30);
  ASSERT_TRUE(engine && session);
  EXPECT_TRUE(engine->model().placement().experts_stay(1));
  EXPECT_FALSE(engine->model().placement().experts_stay(3));
  // What was planned covers what was taken, by no more than the allowances for graphs (32 MiB) and loading (16 MiB).
  EXPECT_LE(taken, engine->plan().total());
  EXPECT_GE(taken + (size_t{49} << 20), engine->plan().total());
}

}  // namespace
}  // namespace dsr1::test
