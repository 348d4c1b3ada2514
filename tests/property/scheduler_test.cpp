// Many sequences at once give each what it would get alone, bit for bit.
#include "dsr1/runtime/scheduler.h"

#include <gtest/gtest.h>

#include <map>

#include "support/engine_helpers.h"

namespace dsr1::test {
namespace {

using runtime::Generation;
using runtime::SequenceRequest;

// Prompts of many lengths, some of which begin alike, some of which are the same.
std::vector<SequenceRequest> mixed_requests() {
  std::vector<SequenceRequest> all;
  const auto shared = some_tokens(90, 1), other = some_tokens(20, 2);
  const std::pair<size_t, size_t> lengths[] = {{90, 5}, {90, 1}, {60, 40}, {0, 3},  {20, 8}, {90, 5}, {0, 150},
                                               {31, 1}, {31, 0}, {90, 5},  {90, 0}, {20, 9}, {0, 1},  {45, 0}};
  for (const auto& [n_shared, n_own] : lengths) {
    SequenceRequest r;
    r.tag = all.size();
    const auto& from = n_shared == 20 ? other : shared;
    r.prompt.assign(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(n_shared));
    const auto own = some_tokens(n_own, 100 + n_own);
    r.prompt.insert(r.prompt.end(), own.begin(), own.end());
    r.options.sampler.seed = 40 + r.tag / 2;
    r.options.sampler.temperature = r.tag % 3 == 0 ? 0.0f : 1.2f;
    r.options.sampler.repeat_penalty = r.tag % 4 == 0 ? 1.3f : 1.0f;
    r.options.n_predict = 6 + 5 * static_cast<int64_t>(r.tag % 5);
    all.push_back(std::move(r));
  }
  return all;
}

using Answers = std::map<uint64_t, std::vector<int32_t>>;

Answers one_by_one(const std::filesystem::path& path, const std::vector<SequenceRequest>& requests,
                   runtime::EngineOptions options = {}) {
  options.n_threads = 2;
  auto engine = open_engine(path, options);
  Answers answers;
  for (const SequenceRequest& r : requests) {
    auto session = engine->new_session();
    auto g = runtime::generate(*engine, **session, r.prompt, r.options, {});
    EXPECT_TRUE(g) << g.error().text();
    if (g) answers[r.tag] = g->tokens;
  }
  return answers;
}

struct Together {
  Answers answers;
  runtime::Scheduler::Counts counts;
};

Together together(const std::filesystem::path& path, const std::vector<SequenceRequest>& requests, int n_parallel,
                  runtime::EngineOptions options = {}) {
  options.n_threads = 2;
  options.n_sessions = n_parallel;
  auto engine = open_engine(path, options);
  auto scheduler = runtime::Scheduler::create(*engine, n_parallel);
  EXPECT_TRUE(scheduler);
  Together t;
  size_t next = 0;
  for (int steps = 0; next < requests.size() || !(*scheduler)->idle(); ++steps) {
    EXPECT_LT(steps, 100000);
    while (next < requests.size() && (*scheduler)->n_free() > 0) (*scheduler)->submit(requests[next++]);
    const Status s = (*scheduler)->step(nullptr, [&](uint64_t tag, Result<Generation> g) {
      EXPECT_TRUE(g) << g.error().text();
      EXPECT_EQ(t.answers.count(tag), 0u);
      if (g) t.answers[tag] = g->tokens;
    });
    EXPECT_TRUE(s);
    if (!s) break;
  }
  t.counts = (*scheduler)->counts();
  return t;
}

class SchedulerOf : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path model() const {
    SyntheticSpec s;
    s.arch = GetParam();
    s.dtype = DType::kQ8_0;
    return write_model(s, std::string("scheduler-") + GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Scheduler, SchedulerOf, testing::Values("qwen2", "deepseek2"));

TEST_P(SchedulerOf, AnswersAreThoseOfEachAloneForAnyNumberAtOnceAndAnyPassSize) {
  const auto path = model();
  const auto requests = mixed_requests();
  const Answers expected = one_by_one(path, requests);
  for (auto [n_parallel, n_batch] : {std::pair{1, 512}, {2, 64}, {5, 512}, {5, 7}, {16, 40}, {16, 512}}) {
    runtime::EngineOptions o;
    o.n_batch = n_batch;
    EXPECT_EQ(together(path, requests, n_parallel, o).answers, expected) << n_parallel << " at once, " << n_batch;
  }
}

TEST_P(SchedulerOf, OrderOfEntryDoesNotMatter) {
  const auto path = model();
  auto requests = mixed_requests();
  const Answers expected = one_by_one(path, requests);
  std::mt19937_64 rng(3);
  for (int i = 0; i < 3; ++i) {
    std::shuffle(requests.begin(), requests.end(), rng);
    EXPECT_EQ(together(path, requests, 4).answers, expected);
  }
}

TEST_P(SchedulerOf, WhatPromptsBeginWithAlikeIsReadOnce) {
  const auto path = model();
  const auto shared = some_tokens(200, 9);
  std::vector<SequenceRequest> requests(8);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].tag = i;
    requests[i].prompt = shared;
    for (int32_t t : some_tokens(10, 50 + i)) requests[i].prompt.push_back(t);
    requests[i].options.n_predict = 4;
  }
  for (int n_parallel : {2, 8}) {
    const Together t = together(path, requests, n_parallel);
    EXPECT_EQ(t.counts.prompt, 200 + 8 * 10) << n_parallel;
    EXPECT_EQ(t.answers, one_by_one(path, requests));
  }
}

TEST_P(SchedulerOf, SamplesOfOnePromptReadItOnce) {
  const auto path = model();
  std::vector<SequenceRequest> requests(6);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].tag = i;
    requests[i].prompt = some_tokens(100, 5);
    requests[i].options.n_predict = 12;
    requests[i].options.sampler.seed = i;
    requests[i].options.sampler.temperature = 1;
  }
  const Answers expected = one_by_one(path, requests);
  const Together t = together(path, requests, 6);
  EXPECT_EQ(t.answers, expected);
  EXPECT_EQ(t.counts.prompt, 100);
  EXPECT_EQ(t.counts.most_together, 6);
  EXPECT_EQ(together(path, requests, 2).answers, expected);
}

TEST_P(SchedulerOf, AFullContextDropsTheOldestAsAlone) {
  const auto path = model();
  auto requests = mixed_requests();
  std::erase_if(requests, [](const SequenceRequest& r) { return r.prompt.size() > 100; });
  runtime::EngineOptions o;
  o.n_ctx = 112;
  for (auto& r : requests) {
    r.options.on_context_full = runtime::OnContextFull::kDropOldest;
    r.options.n_keep = 3;
    r.options.n_predict = 90;
    r.options.ignore_eos = true;
  }
  EXPECT_EQ(together(path, requests, 5, o).answers, one_by_one(path, requests, o));
}

TEST(Scheduler, APassThatIsCancelledLosesNothing) {
  SyntheticSpec spec;
  spec.arch = "qwen2";
  const auto path = write_model(spec, "scheduler-cancel");
  const auto requests = mixed_requests();
  runtime::EngineOptions o;
  o.n_threads = 2;
  o.n_sessions = 20;
  o.n_batch = 32;
  auto engine = open_engine(path, o);
  auto scheduler = runtime::Scheduler::create(*engine, 20);
  ASSERT_TRUE(scheduler);
  for (const auto& r : requests) (*scheduler)->submit(r);
  std::atomic<bool> cancel{false};
  Answers answers;
  for (int i = 0; !(*scheduler)->idle(); ++i) {
    cancel = i % 2 == 0;
    const Status s = (*scheduler)->step(&cancel, [&](uint64_t tag, Result<Generation> g) { answers[tag] = g->tokens; });
    EXPECT_EQ(!s && s.error().code == ErrorCode::kInterrupted, cancel.load());
    ASSERT_LT(i, 10000);
  }
  EXPECT_EQ(answers, one_by_one(path, requests));
}

TEST(Scheduler, ARequestThatCannotRunFailsAlone) {
  SyntheticSpec spec;
  spec.arch = "qwen2";
  const auto path = write_model(spec, "scheduler-errors");
  std::vector<SequenceRequest> requests = mixed_requests();
  requests.resize(4);
  requests[0].prompt = some_tokens(600);  // the model's context is 512
  requests[1].prompt.clear();
  requests[2].options.sampler.top_p = 7;
  runtime::EngineOptions o;
  o.n_threads = 1;
  auto engine = open_engine(path, o);
  auto scheduler = runtime::Scheduler::create(*engine, 1);
  std::map<uint64_t, ErrorCode> failed;
  int done = 0;
  for (const auto& r : requests) (*scheduler)->submit(r);
  while (!(*scheduler)->idle())
    ASSERT_TRUE((*scheduler)->step(nullptr, [&](uint64_t tag, Result<Generation> g) {
      if (g) ++done;
      else failed[tag] = g.error().code;
    }));
  EXPECT_EQ(done, 1);
  EXPECT_EQ(failed, (std::map<uint64_t, ErrorCode>{
                        {0, ErrorCode::kDoesNotFit}, {1, ErrorCode::kUsage}, {2, ErrorCode::kUsage}}));
}

}  // namespace
}  // namespace dsr1::test
