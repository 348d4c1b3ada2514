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
  // What was planned covers what was taken, by no more than the allowances for graphs (64 MiB) and loading (16 MiB).
  EXPECT_LE(taken, engine->plan().total());
  EXPECT_GE(taken + (size_t{81} << 20), engine->plan().total());
}

// One request of a step: what changes from step to step must not be part of what was recorded.
ops::SampleRequest request(int step, int row, std::vector<ops::SampleAdjust>& adjust) {
  ops::SampleRequest r;
  r.n_tokens = 250;  // of 300
  r.watched = 3 * step + row;
  adjust.clear();
  for (int i = 0; i < (step * 5 + row) % 7; ++i)
    adjust.push_back({(step * 31 + row * 7 + i * 11) % 250, 0.5f * static_cast<float>(i), 0.1f, i % 2 == 0});
  r.adjust = adjust;
  r.repeat = 1.0f + 0.1f * static_cast<float>(step);
  if ((step + row) % 3 == 0) return r;  // greedy
  r.temperature = 0.5f + 0.3f * static_cast<float>(step);
  r.top_k = 10 + 13 * step;
  r.top_p = (step + row) % 3 == 1 ? 0.9f : 1.0f;
  r.min_p_log = row % 2 == 0 ? -3.0f : -INFINITY;
  r.uniform = 0.17 * (step + 1) + 0.03 * row;
  r.uniform -= std::floor(r.uniform);
  return r;
}

// Steps with tokens chosen by what is asked of each, then with logits for the host, then chosen again, among them some
// that the list of candidates does not cover: against an engine that is shown every op (nothing is recorded, nothing is
// chosen there) and a choice from its logits op by op.
void compare_steps(const char* arch, size_t rows) {
  SyntheticSpec s;
  s.arch = arch;
  s.n_dense_lead = s.arch == "deepseek2" ? 0 : 1;
  s.n_layer = 1;
  const auto path = write_model(s, std::string("emulated-step-") + arch);
  auto o = on_device(4, DType::kF16);
  auto recorded = open_engine(path, o);
  o.tap = [](const char*, const ops::Mat&, const int32_t*) {};
  auto separate = open_engine(path, o);
  ASSERT_TRUE(recorded && separate);
  const auto n_vocab = static_cast<int64_t>(recorded->config().n_vocab);
  ops::Limits l;
  l.max_rows = l.max_logit_rows = 4;
  l.n_vocab = n_vocab;
  l.max_in = 64;
  l.n_head = 1;
  l.v_dim = 32;
  auto chooser = device_ops(l);
  ASSERT_TRUE(chooser && (*chooser)->reserve());
  auto memory = (*chooser)->allocate(4 * static_cast<size_t>(n_vocab) * sizeof(float), "logits");
  ASSERT_TRUE(memory);
  std::vector<std::unique_ptr<runtime::Session>> sessions[2];
  for (size_t r = 0; r < rows; ++r) {
    for (size_t e = 0; e < 2; ++e) {
      auto session = (e == 0 ? recorded : separate)->new_session();
      ASSERT_TRUE(session);
      sessions[e].push_back(std::move(*session));
    }
  }
  std::vector<int32_t> tokens = some_tokens(rows);
  for (int step = 0; step < 8; ++step) {
    const bool chooses = step < 3 || step > 5, uncovered = step == 7;
    std::vector<std::vector<ops::SampleAdjust>> adjusts(rows);
    std::vector<ops::SampleRequest> requests(rows);
    std::vector<runtime::Work> work[2];
    for (size_t r = 0; r < rows; ++r) {
      requests[r] = request(step, static_cast<int>(r), adjusts[r]);
      if (uncovered && r == rows - 1) {
        requests[r].temperature = 1;
        requests[r].top_k = 0;
        requests[r].top_p = 1;
      }
      for (size_t e = 0; e < 2; ++e)
        work[e].push_back(
            {sessions[e][r].get(), {&tokens[r], 1}, false, true, chooses && e == 0 ? &requests[r] : nullptr});
    }
    Rows logits[2];
    std::vector<ops::Sampled> got(rows), expected(rows);
    const auto run = [&](runtime::Engine& engine, size_t e) {
      logits[e].resize(rows);
      return engine.forward(
          work[e], nullptr,
          [&](int64_t i, std::span<const float> row) {
            logits[e][static_cast<size_t>(i)] = {row.begin(), row.end()};
          },
          [&](int64_t i, const ops::Sampled& sampled) { got[static_cast<size_t>(i)] = sampled; });
    };
    const simt::emu::HostCalls before = simt::emu::host_calls();
    const Status status = run(*recorded, 0);
    const simt::emu::HostCalls after = simt::emu::host_calls();
    ASSERT_TRUE(status) << status.error().text();
    ASSERT_TRUE(run(*separate, 1));
    const auto where = std::string(arch) + ", rows " + std::to_string(rows) + ", step " + std::to_string(step);
    if (step > 0) {
      EXPECT_EQ(after.allocations, before.allocations) << where;
    }
    // The first step of an ending runs op by op, the second is recorded, both are launched as one from then on.
    EXPECT_EQ(after.graphs - before.graphs, step == 0 || step == 3 ? 0u : 1u) << where;
    if (step != 0 && step != 3) {
      EXPECT_EQ(after.queued - before.queued, chooses && !uncovered ? 2u : chooses ? 3u : 1u) << where;
      if (chooses && !uncovered) {
        EXPECT_EQ(after.waits - before.waits, 1u) << where;
      }
    }
    if (!chooses) {
      EXPECT_EQ(logits[0], logits[1]) << where;
    } else {
      std::vector<float> flat;
      for (const auto& row : logits[1]) flat.insert(flat.end(), row.begin(), row.end());
      const auto n = static_cast<int64_t>(rows);
      const ops::Mat device{reinterpret_cast<float*>((*memory)->data()), n, n_vocab, n_vocab};
      (*chooser)->upload({flat.data(), n, n_vocab, n_vocab}, device);
      const auto chosen = (*chooser)->sample(device, requests);
      ASSERT_TRUE(chosen) << chosen.error().text();
      expected.assign(chosen->begin(), chosen->end());
    }
    for (size_t r = 0; r < rows; ++r) {
      EXPECT_EQ(expected[r].covered, chooses && !(uncovered && r == rows - 1)) << where;
      EXPECT_EQ(got[r].covered, expected[r].covered) << where;
      if (got[r].covered) {
        EXPECT_EQ(got[r].id, expected[r].id) << where;
        EXPECT_EQ(got[r].log_sum, expected[r].log_sum) << where;
        EXPECT_EQ(got[r].logit, expected[r].logit) << where;
        EXPECT_EQ(got[r].watched_logit, expected[r].watched_logit) << where;
        EXPECT_TRUE(logits[0][r].empty()) << where;
      } else {
        EXPECT_EQ(logits[0][r], logits[1][r]) << where;
      }
      tokens[r] = got[r].covered ? got[r].id : static_cast<int32_t>((static_cast<size_t>(step) * 37 + r) % 250);
    }
  }
}

TEST(CudaEmulated, AStepIsOneLaunchFromTheEmbeddingToTheChosenTokens) {
  for (const char* arch : {"qwen2", "deepseek2"})
    for (size_t rows : {1, 4}) compare_steps(arch, rows);
}

}  // namespace
}  // namespace dsr1::test
