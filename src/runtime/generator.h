// Generator: one generation taken apart into steps, for whoever drives the model: generate() has one, a Scheduler many.
//
// The driver evaluates the prompt and gives the logits of its last token to choose(); then, as long as next() asks for
// tokens, it brings the session there and gives the new logits; finish() says what became of it. Evaluates nothing
// itself; one thread; `tokenizer` outlives it.
#pragma once

#include <chrono>
#include <deque>
#include <optional>

#include "dsr1/runtime/generate.h"
#include "dsr1/runtime/loop_detector.h"

namespace dsr1::runtime {

class Generator {
 public:
  // The prompt was checked by check_request.
  Generator(const text::Tokenizer& tokenizer, std::span<const int32_t> prompt, const GenerateOptions& options,
            int64_t n_ctx, TokenFn on_token);

  // Prompt and own choices so far: what the session holds once all is evaluated, but for what was dropped.
  std::span<const int32_t> history() const { return history_; }

  // Chooses what follows, from the logits of the last token evaluated.
  Status choose(std::span<const float> logits);
  // The same where a backend samples (Sampler::request): what to ask it, and its answer.
  std::optional<ops::SampleRequest> request(int64_t longest_list);
  void choose(const ops::Sampled& sampled);

  // What the session shall do next: forget all after its first `keep` tokens, then evaluate `tokens` (valid until the
  // next call). None: it is over.
  struct Step {
    int64_t keep = 0;
    std::span<const int32_t> tokens;
  };
  // kDoesNotFit where the context is full under OnContextFull::kError. `tokens`: of the session.
  Result<std::optional<Step>> next(const std::vector<int32_t>& tokens);

  // Ends it early: next() is not asked any more.
  void end(FinishReason reason) { out_.finish_reason = reason; }
  // What was held back goes to on_token, and the whole to the caller.
  Generation finish();

  Timings& timings() { return out_.timings; }

 private:
  void close_thought_if_due();
  bool emit(int32_t id, bool forced);
  bool deliver(int32_t id, bool forced, bool was_thinking);
  void warn_of_full_context(int64_t used);
  Step drop_oldest(const std::vector<int32_t>& tokens);

  const text::Tokenizer& tokenizer_;
  const GenerateOptions& options_;
  const int64_t n_ctx_;
  const TokenFn on_token_;
  std::vector<int32_t> history_;
  Sampler sampler_;
  text::Utf8Stream utf8_;
  text::StopMatcher stops_;
  text::ThinkParser think_;
  text::RedactStream redact_text_, redact_thought_, redact_answer_;
  LoopDetector loops_;
  std::optional<text::TokenId> open_tag_, close_tag_;
  Generation out_;
  TokenLogprob next_;
  float close_probability_ = 0;
  std::deque<int32_t> forced_;
  bool warned_ = false;
  std::vector<int32_t> step_;
  int64_t answer_tokens_ = 0;
  std::string characters_, raw_thought_, thought_, raw_answer_, stopped_answer_, answer_;
};

// What a request must be before a Generator is made of it: errors as generate() says.
Status check_request(const Engine& engine, std::span<const int32_t> prompt, const GenerateOptions& options,
                     int64_t n_ctx);

}  // namespace dsr1::runtime
