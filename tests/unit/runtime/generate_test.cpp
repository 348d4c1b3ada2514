#include "dsr1/runtime/generate.h"

#include <gtest/gtest.h>

#include "dsr1/runtime/loop_detector.h"
#include "support/engine_helpers.h"
#include "support/scripted_model.h"

namespace dsr1::runtime {
namespace {

using test::Script;
using Start = text::ThinkParser::Start;

// One engine and session for a script, and everything that a generation told.
class Talk {
 public:
  explicit Talk(const Script& script, EngineOptions options = {}) {
    static int n = 0;
    const auto path = test::temp_dir() / ("script" + std::to_string(n++) + ".gguf");
    test::scripted_model(script).write(path);
    options.n_threads = 1;
    engine = test::open_engine(path, options);
    EXPECT_TRUE(engine->tokenizer()) << engine->tokenizer().error().text();
    session = std::move(*engine->new_session());
    o.sampler.temperature = 0;
  }
  Generation generate(const std::string& prompt = "hi") {
    auto g = try_generate(prompt);
    EXPECT_TRUE(g) << g.error().text();
    return g ? *g : Generation{};
  }
  Result<Generation> try_generate(const std::string& prompt = "hi") {
    events.clear();
    streamed_thought.clear();
    streamed_answer.clear();
    const auto ids = engine->tokenizer()->encode(prompt, text::Match::kAll, true);
    return runtime::generate(*engine, *session, ids, o, [&](const TokenEvent& e) {
      events.push_back(e.id);
      streamed_thought += e.thought;
      streamed_answer += e.answer;
      return !stop_after || events.size() < *stop_after;
    });
  }

  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;
  GenerateOptions o;
  std::vector<int32_t> events;
  std::string streamed_thought, streamed_answer;
  std::optional<size_t> stop_after;
};

TEST(Generate, SaysTheScriptAndEndsWithTheModel) {
  Talk talk({.pieces = {"Hello", ",", " world"}});
  const Generation g = talk.generate();
  EXPECT_EQ(g.answer, "Hello, world");
  EXPECT_EQ(g.text, "Hello, world");
  EXPECT_EQ(talk.streamed_answer, "Hello, world");
  EXPECT_EQ(g.tokens.size(), 4u);  // three and the end token
  EXPECT_EQ(g.tokens.back(), 257);
  EXPECT_EQ(g.finish_reason, FinishReason::kStop);
  EXPECT_EQ(g.think_end, ThinkEnd::kNone);
  EXPECT_EQ(g.prompt_tokens, 3);  // BOS h i
  EXPECT_EQ(g.timings.prompt_n, 3);
  EXPECT_EQ(g.timings.predicted_n, 4);
}

TEST(Generate, KeepsTheCommonPrefixOfTheNextPrompt) {
  Talk talk({.pieces = {"a"}});
  talk.generate("hello");
  const Generation g = talk.generate("help");
  EXPECT_EQ(g.timings.cache_n, 4);  // BOS h e l
  EXPECT_EQ(g.timings.prompt_n, 1);
  EXPECT_EQ(g.answer, "a");
  EXPECT_EQ(talk.generate("help").timings.cache_n, 4);  // the last token is evaluated for its logits
}

TEST(Generate, NeverStreamsHalfACharacter) {
  Talk talk({.pieces = {"\xe4\xbd", "\xa0\xe5", "\xa5\xbd", "!"}});
  std::vector<std::string> parts;
  const auto ids = talk.engine->tokenizer()->encode("x", text::Match::kNone, true);
  auto g = runtime::generate(*talk.engine, *talk.session, ids, talk.o, [&](const TokenEvent& e) {
    parts.emplace_back(e.answer);
    return true;
  });
  ASSERT_TRUE(g);
  EXPECT_EQ(parts, (std::vector<std::string>{"", "你", "好", "!"}));
}

TEST(Generate, AnUnfinishedCharacterAtTheEndBecomesAReplacement) {
  Talk talk({.pieces = {"a", "\xe4\xbd"}});
  EXPECT_EQ(talk.generate().answer, "a\uFFFD");
}

TEST(Generate, StopStringsReachAcrossTokens) {
  Talk talk({.pieces = {"one S", "TO", "P two"}});
  talk.o.stop = {"STOP"};
  const Generation g = talk.generate();
  EXPECT_EQ(g.answer, "one ");
  EXPECT_EQ(talk.streamed_answer, "one ");
  EXPECT_EQ(g.finish_reason, FinishReason::kStop);
  EXPECT_EQ(g.tokens.size(), 3u);
  talk.o.stop = {"STOX"};
  EXPECT_EQ(talk.generate().answer, "one STOP two");
}

TEST(Generate, StopStringsInAThoughtDoNotCount) {
  Talk talk({.pieces = {"maybe STOP here", "</think>", "yes", " STOP", " no"}});
  talk.o.start = Start::kThinking;
  talk.o.stop = {"STOP"};
  const Generation g = talk.generate();
  EXPECT_EQ(g.thought, "maybe STOP here");
  EXPECT_EQ(g.answer, "yes ");
}

TEST(Generate, TellsThoughtFromAnswer) {
  Talk talk({.pieces = {"let me", " see\n", "</think>", "\n\n", "four"}});
  talk.o.start = Start::kThinking;
  const Generation g = talk.generate();
  EXPECT_EQ(g.thought, "let me see");
  EXPECT_EQ(g.answer, "four");
  EXPECT_EQ(g.text, "let me see\n</think>\n\nfour");
  EXPECT_EQ(g.think_end, ThinkEnd::kModel);
  EXPECT_FALSE(g.in_thought);
  EXPECT_EQ(g.thought_tokens, 3);
}

TEST(Generate, AThoughtThatNeverClosesIsSaid) {
  Talk talk({.pieces = {"<think>", "hm", " hm"}});
  talk.o.start = Start::kWaiting;
  const Generation g = talk.generate();
  EXPECT_EQ(g.thought, "hm hm");
  EXPECT_EQ(g.answer, "");
  EXPECT_TRUE(g.in_thought);
  EXPECT_EQ(g.think_end, ThinkEnd::kNone);
}

TEST(Generate, TheThinkBudgetClosesTheThoughtAtASentenceEnd) {
  Talk talk({.pieces = {"One", " two", " three.", " Four", " five.", " six", "</think>", "done"}});
  talk.o.start = Start::kThinking;
  talk.o.think_budget = 4;
  const Generation g = talk.generate();
  // Over budget after " Four", the sentence ends after " five."; what follows the forced tag is the script's start.
  EXPECT_EQ(g.thought, "One two three. Four five.");
  EXPECT_EQ(g.think_end, ThinkEnd::kBudget);
  talk.o.think_budget = 0;
  EXPECT_EQ(talk.generate().thought, "");
}

TEST(Generate, InTheLastTenthOfItsBudgetAThoughtIsClosedWhereTheModelNearlyWould) {
  Script script{.pieces = {"a ", "b ", "c ", "d ", "e ", "f ", "g ", "h ", "i ", "j ", "k ", "l ", "m "}};
  script.nearly_closes = {2, 9};  // too early, and due
  Talk talk(script);
  talk.o.start = Start::kThinking;
  talk.o.think_budget = 11;
  const Generation g = talk.generate();
  EXPECT_EQ(g.thought, "a b c d e f g h i j");
  EXPECT_EQ(g.think_end, ThinkEnd::kBudget);
  talk.o.think_budget = -1;
  EXPECT_TRUE(talk.generate().in_thought);
}

TEST(Generate, ANearlyFullContextIsSaidOnceAndOnlyWhereTheAnswerMayReachIt) {
  Talk talk({.pieces = {"x ", "y "}, .loops = true, .n_ctx = 160});
  talk.o.detect_loops = false;
  std::vector<int64_t> said;
  talk.o.context_low = [&](int64_t used, int64_t n_ctx) {
    EXPECT_EQ(n_ctx, 160);
    said.push_back(used);
  };
  talk.generate();
  EXPECT_EQ(said, std::vector<int64_t>{150});  // a sixteenth is left
  talk.o.n_predict = 150;
  talk.generate();
  EXPECT_EQ(said.size(), 1u);
}

TEST(Generate, TokensOfAThoughtAreCalledSo) {
  Talk talk({.pieces = {"<think>", "hm", "</think>", "yes"}});
  std::string kinds;
  const auto ids = talk.engine->tokenizer()->encode("x", text::Match::kNone, true);
  talk.o.start = Start::kWaiting;
  auto g = runtime::generate(*talk.engine, *talk.session, ids, talk.o, [&](const TokenEvent& e) {
    if (e.id >= 0) kinds += e.thinking ? 't' : 'a';
    return true;
  });
  ASSERT_TRUE(g);
  EXPECT_EQ(kinds, "ttta");
  EXPECT_EQ(g->thought_tokens, 3);
}

TEST(Generate, AnswerNowClosesTheThought) {
  Talk talk({.pieces = {"One", " two", " three", "</think>", "done"}});
  talk.o.start = Start::kThinking;
  std::atomic<bool> now{true};
  talk.o.answer_now = &now;
  const Generation g = talk.generate();
  EXPECT_EQ(g.thought, "");
  EXPECT_EQ(g.think_end, ThinkEnd::kUser);
}

TEST(Generate, LimitsEndIt) {
  Talk talk({.pieces = {"a", "b", "</think>", "c", "d", "e"}});
  talk.o.start = Start::kThinking;
  talk.o.n_predict = 2;
  Generation g = talk.generate();
  EXPECT_EQ(g.tokens.size(), 2u);
  EXPECT_EQ(g.finish_reason, FinishReason::kLength);
  EXPECT_TRUE(g.in_thought);
  talk.o.n_predict = -1;
  talk.o.answer_budget = 2;
  g = talk.generate();
  EXPECT_EQ(g.answer, "cd");
  EXPECT_EQ(g.finish_reason, FinishReason::kLength);
  talk.o.n_predict = 0;
  EXPECT_TRUE(talk.generate().tokens.empty());
}

TEST(Generate, IgnoreEosGoesOn) {
  Talk talk({.pieces = {"a", "b"}});
  talk.o.ignore_eos = true;
  talk.o.n_predict = 5;
  const Generation g = talk.generate();
  EXPECT_EQ(g.tokens.size(), 5u);
  EXPECT_EQ(g.finish_reason, FinishReason::kLength);
}

TEST(Generate, AWordForWordLoopIsEnded) {
  Talk talk({.pieces = {"no", " way", ".", " "}, .loops = true, .n_ctx = 2048});
  Generation g = talk.generate();
  EXPECT_EQ(g.finish_reason, FinishReason::kLoop);
  EXPECT_LT(g.tokens.size(), 300u);
  talk.o.detect_loops = false;
  talk.o.n_predict = 600;
  EXPECT_EQ(talk.generate().finish_reason, FinishReason::kLength);
}

TEST(Generate, AFullContextStopsFailsOrForgets) {
  Talk talk({.pieces = {"x", "y", "z"}, .loops = true, .n_ctx = 32});
  talk.o.detect_loops = false;
  Generation g = talk.generate();
  EXPECT_EQ(g.finish_reason, FinishReason::kContext);
  EXPECT_EQ(g.tokens.size(), 30u);  // 32 - 3 of the prompt, and the last one, which needs no place
  talk.o.on_context_full = OnContextFull::kError;
  auto failed = talk.try_generate();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kDoesNotFit);
  talk.o.on_context_full = OnContextFull::kDropOldest;
  talk.o.n_keep = 1;
  talk.o.n_predict = 100;
  g = talk.generate();
  EXPECT_EQ(g.tokens.size(), 100u);
  EXPECT_GT(g.dropped_tokens, 0);
  EXPECT_EQ(g.answer.substr(0, 12), "xyzxyzxyzxyz");
  EXPECT_EQ(g.answer.substr(88), "yzxyzxyzxyzx");
  EXPECT_EQ(talk.session->tokens().front(), 256);
}

TEST(Generate, APromptLongerThanTheContextIsRefusedBeforeAnyWork) {
  Talk talk({.pieces = {"x"}, .n_ctx = 32});
  auto failed = talk.try_generate(std::string(60, 'a'));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kDoesNotFit);
  EXPECT_NE(failed.error().message.find("61 tokens"), std::string::npos) << failed.error().message;
  EXPECT_EQ(talk.session->n_past(), 0);
}

TEST(Generate, CancellingKeepsWhatWasSaid) {
  Talk talk({.pieces = {"a", "b", "c", "d"}});
  talk.stop_after = 2;
  Generation g = talk.generate();
  EXPECT_EQ(g.finish_reason, FinishReason::kInterrupt);
  EXPECT_EQ(g.answer, "ab");
  std::atomic<bool> cancel{true};
  talk.stop_after.reset();
  talk.o.cancel = &cancel;
  g = talk.generate("something else");
  EXPECT_EQ(g.finish_reason, FinishReason::kInterrupt);
  EXPECT_TRUE(g.tokens.empty());
}

TEST(Generate, TheSameSeedGivesTheSameTextForAnyThreadCount) {
  test::SyntheticSpec spec;
  const auto path = test::write_model(spec, "seeded");
  auto run = [&](int threads, uint64_t seed) {
    EngineOptions options;
    options.n_threads = threads;
    auto engine = test::open_engine(path, options);
    auto session = std::move(*engine->new_session());
    GenerateOptions o;
    o.sampler.seed = seed;
    o.sampler.temperature = 1;
    o.n_predict = 40;
    o.ignore_eos = true;
    return runtime::generate(*engine, *session, test::some_tokens(20), o, {})->tokens;
  };
  const auto one = run(1, 5);
  EXPECT_EQ(one.size(), 40u);
  EXPECT_EQ(one, run(2, 5));
  EXPECT_EQ(one, run(3, 5));
  EXPECT_NE(one, run(1, 6));
}

TEST(LoopDetector, SeesRepetitionAndNothingElse) {
  LoopDetector text;
  uint32_t x = 1;
  for (int i = 0; i < 20000; ++i) ASSERT_FALSE(text.push(static_cast<int32_t>((x = x * 1664525 + 1013904223) >> 25)));
  LoopDetector equal;
  int n = 0;
  while (!equal.push(7)) ASSERT_LT(++n, 1000);
  EXPECT_EQ(n + 1, LoopDetector::kMinRun + 1);
  EXPECT_EQ(equal.period(), 1);
  LoopDetector paragraph;
  n = 0;
  while (!paragraph.push(n % 400)) ASSERT_LT(++n, 3000);
  EXPECT_EQ(n + 1, 5 * 400);
  EXPECT_EQ(paragraph.period(), 400);
}

}  // namespace
}  // namespace dsr1::runtime
