// What `fit` promises is what loading does: the same bytes, the same verdict at every limit.
#include "dsr1/runtime/fit.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "dsr1/backend/cpu.h"
#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using runtime::ModelFacts;

SyntheticSpec random_spec(std::mt19937_64& rng) {
  const auto pick = [&](std::initializer_list<uint32_t> v) { return v.begin()[rng() % v.size()]; };
  SyntheticSpec s;
  const char* archs[] = {"llama", "qwen2", "qwen3", "deepseek2"};
  s.arch = archs[rng() % 4];
  s.n_layer = pick({1, 2, 3});
  s.n_head = pick({2, 4});
  s.n_head_kv = pick({1, 2});
  s.n_embd = s.n_head * pick({16, 32});
  s.n_ff = pick({32, 64, 96});
  s.n_vocab = pick({270, 300, 333});
  s.tied = rng() % 3 == 0;
  s.dtype = rng() % 2 == 0 ? DType::kQ8_0 : DType::kF16;
  s.mla = rng() % 2 == 0 ? MlaLayout::kSplit : MlaLayout::kJoined;
  s.merged_gate_up = rng() % 3 == 0;
  s.q_lora_rank = rng() % 2 == 0 ? 0 : 48;
  s.kv_lora_rank = pick({32, 64});
  s.rope = pick({16, 32});
  s.n_expert = pick({8, 16});
  s.n_expert_used = pick({2, 4});
  s.n_expert_shared = pick({0, 1, 2});
  s.n_group = pick({1, 4});
  s.n_group_used = s.n_group == 1 ? 1 : 2;
  s.n_dense_lead = rng() % s.n_layer;
  s.seed = rng();
  return s;
}

struct Question {
  runtime::EngineOptions engine;
  runtime::FitRequest fit;
  ModelFacts facts;
};

// The same question for Engine::open and for fit; the facts come from the header alone.
Question ask(const std::filesystem::path& path, std::mt19937_64& rng) {
  Question q;
  q.engine.n_threads = 1 + static_cast<int>(rng() % 2);
  q.engine.n_ctx = 256 << rng() % 3;
  q.engine.n_batch = 32 << rng() % 3;
  constexpr DType kTypes[] = {DType::kF16, DType::kF32, DType::kQ8_0};
  q.engine.type_k = kTypes[rng() % 3];
  q.engine.n_sessions = 1 + static_cast<int>(rng() % 3);
  q.engine.use_mmap = false;
  auto file = io::ModelFile::open(path, {.allow_truncated = true});
  EXPECT_TRUE(file);
  auto model = model::Model::load(*file, {.expert_groups = true, .load_mtp = false, .require_data = false});
  EXPECT_TRUE(model) << model.error().text();
  q.facts = runtime::facts_of(*file, **model, false);
  const auto& c = q.facts.config;
  if (q.engine.type_k == DType::kQ8_0 && (c.kv_k_dim() % 32 != 0 || (!c.is_mla() && c.kv_v_dim() % 32 != 0)))
    q.engine.type_k = DType::kF16;  // q8_0 has blocks of 32
  if (!c.is_mla()) q.engine.type_v = q.engine.type_k;
  q.fit.plan.n_ctx = q.engine.n_ctx;
  q.fit.plan.n_batch = q.engine.n_batch;
  q.fit.plan.n_sessions = q.engine.n_sessions;
  q.fit.plan.type_k = q.fit.plan.type_v = *q.engine.type_k;
  auto ops =
      backend::make_cpu("auto", q.engine.n_threads, model::limits_of(q.facts.config, q.engine.n_ctx, q.engine.n_batch));
  EXPECT_TRUE(ops);
  q.fit.plan.workspace = (*ops)->workspace_bytes();
  return q;
}

TEST(Fit, PlannedBytesAreAllocatedBytesInTwoHundredConfigurations) {
  std::mt19937_64 rng(200);
  const auto path = temp_dir() / "fit.gguf";
  std::map<std::pair<std::string, DType>, int> seen;
  for (int i = 0; i < 210; ++i) {
    const SyntheticSpec spec = random_spec(rng);
    SyntheticModel(spec).write(path);
    Question q = ask(path, rng);
    runtime::Machine machine;
    machine.ram = uint64_t{1} << 40;
    const runtime::Fit fit = runtime::fit_model(q.facts, machine, q.fit);
    ASSERT_TRUE(fit.fits);
    q.engine.memory_limit = machine.ram;

    q.engine.use_mmap = true;
    const uint64_t before = Buffer::live_bytes();
    auto engine = open_engine(path, q.engine);
    ASSERT_TRUE(engine) << spec.arch;
    EXPECT_EQ(Buffer::live_bytes() - before, fit.plan.scratch) << spec.arch << " " << i;
    const uint64_t opened = Buffer::live_bytes();
    std::vector<std::unique_ptr<runtime::Session>> sessions;
    for (int n = 0; n < q.engine.n_sessions; ++n) {
      auto session = engine->new_session();
      ASSERT_TRUE(session);
      sessions.push_back(std::move(*session));
    }
    EXPECT_EQ(Buffer::live_bytes() - opened, fit.plan.kv) << spec.arch << " " << i;
    ++seen[{spec.arch, *q.engine.type_k}];
    uint64_t tensors = 0;
    for (const auto& t : engine->file().tensors()) tensors += t.view.bytes();
    EXPECT_EQ(tensors, fit.plan.weights) << spec.arch << " " << i;
    EXPECT_EQ(engine->plan().weights_needed, fit.plan.weights_needed);
    EXPECT_EQ(engine->plan().total(), fit.plan.total());
    EXPECT_EQ(fit.placement.ram, fit.plan.total());
    EXPECT_EQ(fit.placement.disk + fit.placement.vram, 0u);
    sessions.clear();
    engine.reset();
    EXPECT_EQ(Buffer::live_bytes(), before);

    q.engine.use_mmap = false;  // the weights in memory too: tensors and the gaps that align them
    auto copied = open_engine(path, q.engine);
    ASSERT_TRUE(copied);
    const uint64_t weights = Buffer::live_bytes() - before - fit.plan.scratch;
    EXPECT_GE(weights, fit.plan.weights);
    EXPECT_LE(weights, fit.plan.weights + 2 * 4096 + 32 * copied->file().tensors().size());
  }
  for (const char* arch : {"llama", "qwen2", "qwen3", "deepseek2"})
    for (DType type : {DType::kF16, DType::kF32, DType::kQ8_0})
      EXPECT_GE((seen[{arch, type}]), 5) << arch << " " << dtype_name(type);
}

// The smallest limit at which `yes` holds.
template <class F>
uint64_t bisect(uint64_t most, F&& yes) {
  uint64_t no = 0;
  while (most - no > 1) {
    const uint64_t middle = no + (most - no) / 2;
    (yes(middle) ? most : no) = middle;
  }
  return most;
}

TEST(Fit, SaysItFitsExactlyWhereLoadingWithoutMmapSucceeds) {
  std::mt19937_64 rng(300);
  const auto path = temp_dir() / "fit-limit.gguf";
  for (int i = 0; i < 12; ++i) {
    SyntheticModel(random_spec(rng)).write(path);
    Question q = ask(path, rng);
    const uint64_t loads = bisect(uint64_t{1} << 30, [&](uint64_t limit) {
      q.engine.memory_limit = limit;
      return runtime::Engine::open(path.string(), q.engine).has_value();
    });
    const auto fit_at = [&](uint64_t limit) {
      runtime::Machine machine;
      machine.ram = limit;
      return runtime::fit_model(q.facts, machine, q.fit);
    };
    EXPECT_EQ(bisect(uint64_t{1} << 30, [&](uint64_t limit) { return fit_at(limit).fits; }), loads);
    // And it says it runs exactly where loading with mmap succeeds.
    q.engine.use_mmap = true;
    const uint64_t runs = bisect(uint64_t{1} << 30, [&](uint64_t limit) {
      q.engine.memory_limit = limit;
      return runtime::Engine::open(path.string(), q.engine).has_value();
    });
    EXPECT_EQ(bisect(uint64_t{1} << 30, [&](uint64_t limit) { return fit_at(limit).runs; }), runs);
    EXPECT_LE(runs, loads);
  }
}

}  // namespace
}  // namespace dsr1::test
