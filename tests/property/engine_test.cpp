// Properties of the whole forward pass on small synthetic models.
#include <gtest/gtest.h>

#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using runtime::EngineOptions;
using runtime::Work;

SyntheticSpec spec(const std::string& arch, DType dtype = DType::kQ8_0) {
  SyntheticSpec s;
  s.arch = arch;
  s.dtype = dtype;
  return s;
}

EngineOptions with(int threads, int batch, const std::string& device = "cpu") {
  EngineOptions o;
  o.n_threads = threads;
  o.n_batch = batch;
  o.device = device;
  return o;
}

class EveryArchitecture : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Engine, EveryArchitecture, testing::Values("llama", "qwen2", "qwen3", "deepseek2"));

TEST_P(EveryArchitecture, ThreadsNeverChangeABit) {
  const auto path = write_model(spec(GetParam()), std::string("threads-") + GetParam());
  const auto tokens = some_tokens(70);
  auto one = open_engine(path, with(1, 512));
  ASSERT_TRUE(one);
  const Rows expected = all_logits(*one, tokens), expected_steps = step_logits(*one, some_tokens(20));
  for (int threads : {2, 3, 5, 8}) {
    auto engine = open_engine(path, with(threads, 512));
    ASSERT_TRUE(engine);
    EXPECT_EQ(all_logits(*engine, tokens), expected) << threads;
    EXPECT_EQ(step_logits(*engine, some_tokens(20)), expected_steps) << threads;
  }
}

TEST_P(EveryArchitecture, ChunkSizeNeverChangesABit) {
  const auto path = write_model(spec(GetParam()), std::string("chunks-") + GetParam());
  const auto tokens = some_tokens(150);
  auto whole = open_engine(path, with(2, 512));
  ASSERT_TRUE(whole);
  const Rows expected = all_logits(*whole, tokens);
  for (int batch : {1, 7, 64}) {
    auto engine = open_engine(path, with(2, batch));
    ASSERT_TRUE(engine);
    EXPECT_EQ(all_logits(*engine, tokens), expected) << batch;
  }
}

TEST_P(EveryArchitecture, NeighboursInABatchNeverChangeABit) {
  const auto path = write_model(spec(GetParam()), std::string("neighbours-") + GetParam());
  EngineOptions o = with(2, 512);
  o.n_sessions = 6;
  auto engine = open_engine(path, o);
  ASSERT_TRUE(engine);
  // Six sequences of different lengths, decoded together and alone.
  std::vector<std::unique_ptr<runtime::Session>> together;
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < 6; ++i) {
    auto s = engine->new_session();
    ASSERT_TRUE(s);
    together.push_back(std::move(*s));
    prompts.push_back(some_tokens(3 + 11 * i, i));
  }
  Rows joined(6), alone(6);
  std::vector<Work> work;
  for (size_t i = 0; i < 6; ++i) work.push_back({together[i].get(), prompts[i], i % 2 == 0, true});
  ASSERT_TRUE(engine->forward(work, nullptr, [&](int64_t i, std::span<const float> l) {
    joined[static_cast<size_t>(i)].assign(l.begin(), l.end());
  }));
  for (size_t i = 0; i < 6; ++i) {
    auto s = engine->new_session();
    ASSERT_TRUE(s);
    const Work single[] = {{s->get(), prompts[i], i % 2 == 0, true}};
    ASSERT_TRUE(engine->forward(single, nullptr,
                                [&](int64_t, std::span<const float> l) { alone[i].assign(l.begin(), l.end()); }));
  }
  EXPECT_EQ(joined, alone);
}

TEST_P(EveryArchitecture, RewindingEqualsStartingFresh) {
  auto engine = open_engine(write_model(spec(GetParam()), std::string("rewind-") + GetParam()), with(2, 512));
  ASSERT_TRUE(engine);
  auto session = engine->new_session();
  ASSERT_TRUE(session);
  const auto tokens = some_tokens(60);
  const auto ignore = [](int64_t, std::span<const float>) {};
  ASSERT_TRUE(engine->eval(**session, tokens, {}, ignore));
  (*session)->rewind(40);
  EXPECT_EQ((*session)->n_past(), 40);
  std::vector<float> again;
  ASSERT_TRUE(engine->eval(**session, std::span(tokens).subspan(40), {},
                           [&](int64_t, std::span<const float> l) { again.assign(l.begin(), l.end()); }));
  // The tail of 20 tokens is a short request of its own; give a fresh session the same two requests.
  auto fresh = engine->new_session();
  ASSERT_TRUE(fresh);
  std::vector<float> expected;
  ASSERT_TRUE(engine->eval(**fresh, std::span(tokens).first(60), {}, ignore));
  (*fresh)->rewind(0);
  ASSERT_TRUE(engine->eval(**fresh, std::span(tokens).first(60), {}, ignore));
  (*fresh)->rewind(40);
  ASSERT_TRUE(engine->eval(**fresh, std::span(tokens).subspan(40), {},
                           [&](int64_t, std::span<const float> l) { expected.assign(l.begin(), l.end()); }));
  EXPECT_EQ(again, expected);
}

TEST_P(EveryArchitecture, CpuAgreesWithTheReference) {
  // F32 weights and cache: only the order of sums differs.
  const auto path = write_model(spec(GetParam(), DType::kF32), std::string("ref-") + GetParam());
  EngineOptions cpu = with(2, 64), ref = with(2, 64, "ref");
  cpu.type_k = cpu.type_v = DType::kF32;
  auto a = open_engine(path, cpu), b = open_engine(path, ref);
  ASSERT_TRUE(a && b);
  const auto tokens = some_tokens(300);
  EXPECT_LT(largest_difference(all_logits(*a, tokens), all_logits(*b, tokens)), 2e-4);
  EXPECT_LT(largest_difference(step_logits(*a, some_tokens(40)), step_logits(*b, some_tokens(40))), 2e-4);
}

TEST_P(EveryArchitecture, CacheTypesStayCloseToF32) {
  SyntheticSpec s = spec(GetParam(), DType::kF32);
  s.n_head = 2;  // head size 32, for q8_0
  s.n_head_kv = 1;
  s.rope = 32;
  s.n_dense_lead = s.n_layer;  // no router: one flipped expert would drown what the cache rounds
  const auto path = write_model(s, std::string("kv-") + GetParam());
  EngineOptions o = with(2, 64);
  o.type_k = o.type_v = DType::kF32;
  auto exact = open_engine(path, o);
  ASSERT_TRUE(exact);
  const auto tokens = some_tokens(100);
  const Rows expected = all_logits(*exact, tokens);
  // Relative to the logits' own size: f16 keeps 11 bits, q8_0 about 7.
  for (auto [type, bound] : {std::pair{DType::kF16, 0.003}, std::pair{DType::kQ8_0, 0.06}}) {
    o.type_k = o.type_v = type;
    auto engine = open_engine(path, o);
    ASSERT_TRUE(engine);
    const double d = relative_rms_difference(all_logits(*engine, tokens), expected);
    EXPECT_GT(d, 0) << dtype_name(type);
    EXPECT_LT(d, bound) << dtype_name(type);
  }
}

TEST_P(EveryArchitecture, CancellingInTheMidstOfAnyOpLeavesTheSessionAsItWas) {
  std::atomic<bool> cancel{false};
  int64_t ops = 0, cancel_at = -1;
  EngineOptions options = with(1, 64);
  options.tap = [&](const char*, const ops::Mat&, const int32_t*) { cancel = ops++ == cancel_at || cancel; };
  auto engine = open_engine(write_model(spec(GetParam()), std::string("cut-") + GetParam()), options);
  ASSERT_TRUE(engine);
  const auto first = some_tokens(20), second = some_tokens(33, 8);
  runtime::EvalOptions o;
  o.cancel = &cancel;
  Rows rows;
  auto eval = [&](runtime::Session& session, const std::vector<int32_t>& tokens) {
    rows.clear();
    return engine->eval(session, tokens, o,
                        [&](int64_t, std::span<const float> l) { rows.emplace_back(l.begin(), l.end()); });
  };
  auto session = std::move(*engine->new_session());
  ASSERT_TRUE(eval(*session, first));
  ops = 0;
  ASSERT_TRUE(eval(*session, second));
  const int64_t n_ops = ops;
  const Rows expected = rows;
  int interrupted = 0;
  for (int64_t at = 0; at < n_ops; ++at) {
    session->rewind(20);
    cancel = false;
    ops = 0;
    cancel_at = at;
    const Status s = eval(*session, second);
    cancel_at = -1;
    cancel = false;
    if (!s) {
      ++interrupted;
      EXPECT_EQ(s.error().code, ErrorCode::kInterrupted);
      EXPECT_EQ(session->n_past(), 20);
      ASSERT_TRUE(eval(*session, second));
    }
    ASSERT_EQ(rows, expected) << "after op " << at << " of " << n_ops;
  }
  EXPECT_GT(interrupted, n_ops / 4);
}

TEST_P(EveryArchitecture, CancelEndsAPromptAndKeepsTheSessionConsistent) {
  auto engine = open_engine(write_model(spec(GetParam()), std::string("cancel-") + GetParam()), with(2, 16));
  ASSERT_TRUE(engine);
  auto session = engine->new_session();
  ASSERT_TRUE(session);
  std::atomic<bool> cancel{false};
  runtime::EvalOptions o;
  o.cancel = &cancel;
  o.progress = [&](int64_t done, int64_t) { cancel = done >= 32; };
  const Status s = engine->eval(**session, some_tokens(100), o, [](int64_t, std::span<const float>) {});
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, ErrorCode::kInterrupted);
  EXPECT_EQ((*session)->n_past(), 32);
}

TEST_P(EveryArchitecture, ReadingAPromptReportsEveryLayerOfEveryChunk) {
  auto engine = open_engine(write_model(spec(GetParam()), std::string("progress-") + GetParam()), with(2, 16));
  ASSERT_TRUE(engine);
  auto session = engine->new_session();
  ASSERT_TRUE(session);
  std::vector<int64_t> seen;
  runtime::EvalOptions o;
  o.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 40);
    seen.push_back(done);
  };
  ASSERT_TRUE(engine->eval(**session, some_tokens(40), o, [](int64_t, std::span<const float>) {}));
  const int n_layer = engine->model().config().n_layer;
  std::vector<int64_t> expected;
  for (int64_t chunk = 0; chunk < 3; ++chunk) {
    for (int layer = 1; layer <= n_layer; ++layer)
      expected.push_back(chunk * 16 + (chunk < 2 ? 16 : 8) * layer / n_layer);
  }
  EXPECT_EQ(seen, expected);
}

TEST(Mla, ExpandedAndAbsorbedFormsAgree) {
  for (MlaLayout layout : {MlaLayout::kJoined, MlaLayout::kSplit, MlaLayout::kBoth}) {
    SyntheticSpec s = spec("deepseek2", DType::kF32);
    s.mla = layout;
    s.n_ctx = 1024;
    const auto path = write_model(s, "forms");
    for (const char* device : {"cpu", "ref"}) {
      EngineOptions o = with(2, 512, device);
      o.type_k = o.type_v = DType::kF32;
      auto engine = open_engine(path, o);
      ASSERT_TRUE(engine);
      // 600 positions: three blocks of expanded keys, the last one short.
      const auto tokens = some_tokens(std::string(device) == "cpu" ? 600 : 300);
      EXPECT_LT(largest_difference(all_logits(*engine, tokens, true), all_logits(*engine, tokens, false)), 3e-4)
          << device;
    }
  }
}

TEST(Mla, EveryDialectOfTheSameWeightsGivesTheSameLogits) {
  const auto tokens = some_tokens(80);
  for (const char* device : {"ref", "cpu"}) {
    Rows first;
    double scale = 0;
    for (MlaLayout layout : {MlaLayout::kJoined, MlaLayout::kSplit, MlaLayout::kBoth}) {
      for (bool merged : {false, true}) {
        SyntheticSpec s = spec("deepseek2", DType::kF32);
        s.mla = layout;
        s.merged_gate_up = merged;
        EngineOptions o = with(2, 512, device);
        o.type_k = o.type_v = DType::kF32;
        auto engine = open_engine(write_model(s, "dialect"), o);
        ASSERT_TRUE(engine);
        EXPECT_EQ(runtime::kv_bytes_per_token(engine->config(), s.n_layer, DType::kF16, DType::kF16),
                  (s.kv_lora_rank + s.rope) * s.n_layer * 2);
        const Rows rows = all_logits(*engine, tokens);
        if (first.empty()) {
          first = rows;
          for (float x : rows[0]) scale = std::max(scale, std::fabs(static_cast<double>(x)));
        }
        EXPECT_LE(largest_difference(rows, first), 1e-5 * scale) << device;
      }
    }
  }
}

TEST(Engine, RefusesAPromptLongerThanTheContextAndLeavesTheSessionUsable) {
  EngineOptions o = with(2, 512);
  o.n_ctx = 32;
  auto engine = open_engine(write_model(spec("llama"), "context"), o);
  ASSERT_TRUE(engine);
  auto session = engine->new_session();
  ASSERT_TRUE(session);
  const auto ignore = [](int64_t, std::span<const float>) {};
  const Status s = engine->eval(**session, some_tokens(33), {}, ignore);
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, ErrorCode::kDoesNotFit);
  EXPECT_NE(s.error().text().find("33 tokens, context 32"), std::string::npos) << s.error().text();
  EXPECT_TRUE(engine->eval(**session, some_tokens(32), {}, ignore));
  const int32_t bad = 300;
  (*session)->rewind(0);
  EXPECT_EQ(engine->eval(**session, {&bad, 1}, {}, ignore).error().code, ErrorCode::kUsage);
}

TEST(Engine, ContextReachesTheModelsEnd) {
  auto engine = open_engine(write_model(spec("qwen2"), "full"), with(2, 64));
  ASSERT_TRUE(engine);
  EXPECT_EQ(engine->n_ctx(), 512);
  EXPECT_EQ(all_logits(*engine, some_tokens(512)).size(), 512u);
}

}  // namespace
}  // namespace dsr1::test
