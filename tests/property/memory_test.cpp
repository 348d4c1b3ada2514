// Memory is planned once: refused with numbers before anything is read, and never allocated while tokens are evaluated.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "dsr1/runtime/scheduler.h"
#include "support/engine_helpers.h"

namespace {

std::atomic<int64_t> allocations{-1};  // -1: not counting

void* counted(std::size_t n) {
  if (allocations.load(std::memory_order_relaxed) >= 0) allocations.fetch_add(1, std::memory_order_relaxed);
  void* p = std::malloc(n == 0 ? 1 : n);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(std::size_t n) { return counted(n); }
void* operator new[](std::size_t n) { return counted(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

namespace dsr1::test {
namespace {

TEST(Memory, EvaluatingAllocatesNothing) {
  for (const char* arch : {"llama", "qwen3", "deepseek2"}) {
    SyntheticSpec spec;
    spec.arch = arch;
    spec.dtype = DType::kQ8_0;
    runtime::EngineOptions o;
    o.n_threads = 2;
    o.n_batch = 64;
    auto engine = open_engine(write_model(spec, std::string("alloc-") + arch), o);
    ASSERT_TRUE(engine);
    auto session = engine->new_session();
    ASSERT_TRUE(session);
    const auto tokens = some_tokens(200);
    double sum = 0;
    const runtime::LogitsFn on_logits = [&](int64_t, std::span<const float> l) { sum += l[0]; };
    allocations = 0;
    const Status prompt = engine->eval(**session, tokens, {}, on_logits);
    bool steps = true;
    for (int i = 0; i < 20; ++i) {
      const runtime::Work work[] = {
          {session->get(), std::span(tokens).subspan(static_cast<size_t>(i), 1), false, true}};
      steps = steps && engine->forward(work, nullptr, on_logits).has_value();
    }
    const int64_t n = allocations.exchange(-1);
    EXPECT_TRUE(prompt.has_value() && steps);
    EXPECT_EQ(n, 0) << arch;
    EXPECT_NE(sum, 0);
  }
}

TEST(Memory, GeneratingManyAtOnceAllocatesNothing) {
  for (const char* arch : {"qwen2", "deepseek2"}) {
    SyntheticSpec spec;
    spec.arch = arch;
    spec.dtype = DType::kQ8_0;
    runtime::EngineOptions o;
    o.n_threads = 2;
    o.n_batch = 64;
    o.n_sessions = 4;
    auto engine = open_engine(write_model(spec, std::string("alloc-many-") + arch), o);
    ASSERT_TRUE(engine);
    auto scheduler = runtime::Scheduler::create(*engine, 4);
    ASSERT_TRUE(scheduler);
    for (uint64_t i = 0; i < 4; ++i) {
      runtime::SequenceRequest r;
      r.prompt = some_tokens(20 + 40 * i, i);
      r.options.n_predict = 100;
      r.options.ignore_eos = true;
      r.options.sampler.seed = i;
      (*scheduler)->submit(std::move(r));
    }
    const runtime::Scheduler::DoneFn done = [](uint64_t, Result<runtime::Generation>) {};
    for (int i = 0; i < 12; ++i) ASSERT_TRUE((*scheduler)->step(nullptr, done));
    allocations = 0;
    bool steps = true;
    for (int i = 0; i < 60; ++i) steps = steps && (*scheduler)->step(nullptr, done).has_value();
    const int64_t n = allocations.exchange(-1);
    EXPECT_TRUE(steps);
    EXPECT_EQ(n, 0) << arch;
    EXPECT_GE((*scheduler)->counts().generated, 240);
  }
}

TEST(Memory, TheGuardSeesAnAllocation) {
  allocations = 0;
  delete new int(1);
  EXPECT_EQ(allocations.exchange(-1), 1);
}

TEST(Memory, WhatDoesNotFitIsRefusedWithTheNumbers) {
  SyntheticSpec spec;
  const auto path = write_model(spec, "limit");
  runtime::EngineOptions o;
  o.n_threads = 1;
  o.n_ctx = 512;
  auto engine = open_engine(path, o);
  ASSERT_TRUE(engine);
  const runtime::MemoryPlan plan = engine->plan();
  EXPECT_EQ(plan.kv, runtime::kv_bytes_per_token(engine->config(), 2, DType::kF16, DType::kF16) * 512);
  o.memory_limit = plan.weights_needed + plan.kv + plan.scratch;
  EXPECT_TRUE(runtime::Engine::open(path.string(), o));
  o.memory_limit -= 1;
  auto refused = runtime::Engine::open(path.string(), o);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDoesNotFit);
  for (const char* part : {"needed", "KV cache for 512 tokens", "available", "-c"})
    EXPECT_NE(refused.error().text().find(part), std::string::npos) << refused.error().text();
  o.n_sessions = 3;
  o.memory_limit = plan.weights_needed + 3 * plan.kv + plan.scratch;
  EXPECT_TRUE(runtime::Engine::open(path.string(), o));
  o.memory_limit -= 1;
  refused = runtime::Engine::open(path.string(), o);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text().find("3 sequences of 512 tokens"), std::string::npos) << refused.error().text();
}

TEST(Memory, AContextIsChosenThatFits) {
  SyntheticSpec spec;
  spec.n_ctx = 32768;
  const auto path = write_model(spec, "auto-context");
  runtime::EngineOptions o;
  o.n_threads = 1;
  auto engine = open_engine(path, o);
  ASSERT_TRUE(engine);
  EXPECT_EQ(engine->n_ctx(), 32768);
  o.memory_limit = engine->plan().total() + (uint64_t{256} << 20) - engine->plan().kv / 2;
  engine = open_engine(path, o);
  ASSERT_TRUE(engine);
  EXPECT_GT(engine->n_ctx(), 8192);
  EXPECT_LT(engine->n_ctx(), 32768);
  EXPECT_LE(engine->plan().total(), o.memory_limit);
}

TEST(Memory, AMixtureLargerThanMemoryRunsByPagingItsExperts) {
  SyntheticSpec spec;
  spec.arch = "deepseek2";
  spec.n_expert = 64;
  spec.n_ff_exp = 256;
  const auto path = write_model(spec, "paged");
  runtime::EngineOptions o;
  o.n_threads = 1;
  auto whole = open_engine(path, o);
  ASSERT_TRUE(whole);
  o.n_ctx = whole->n_ctx();
  const runtime::MemoryPlan plan = whole->plan();
  ASSERT_LT(plan.weights_needed, plan.weights);
  o.memory_limit = plan.weights_needed + plan.kv + plan.scratch + (plan.weights - plan.weights_needed) / 2;
  auto paged = open_engine(path, o);
  ASSERT_TRUE(paged);
  EXPECT_EQ(all_logits(*paged, some_tokens(40)), all_logits(*whole, some_tokens(40)));
  o.use_mmap = false;  // then everything must fit
  EXPECT_EQ(runtime::Engine::open(path.string(), o).error().code, ErrorCode::kDoesNotFit);
}

TEST(Memory, ReadingInsteadOfMappingGivesTheSameLogits) {
  const auto path = write_model({}, "read");
  runtime::EngineOptions o;
  o.n_threads = 1;
  auto mapped = open_engine(path, o);
  o.use_mmap = false;
  auto read = open_engine(path, o);
  ASSERT_TRUE(mapped && read);
  EXPECT_EQ(all_logits(*mapped, some_tokens(20)), all_logits(*read, some_tokens(20)));
}

}  // namespace
}  // namespace dsr1::test
