// One generation: a prompt's ids in, a stream of text out, until something ends it.
//
// The session is brought to the prompt first: the prefix it already holds is kept (cache_n), the rest evaluated. The
// text comes in whole characters, thought and answer apart (text/stream.h). Stop strings are looked for in the answer
// only: a thought may quote them. Nothing here prints; one thread drives it, the flags may be set from anywhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dsr1/base/result.h"
#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/sampler.h"
#include "dsr1/text/redact.h"
#include "dsr1/text/stream.h"

namespace dsr1::runtime {

enum class FinishReason {
  kStop,       // an end token, or a stop string
  kLength,     // n_predict or answer_budget reached
  kLoop,       // the same words again and again
  kContext,    // the context is full
  kInterrupt,  // cancelled
};
const char* finish_reason_name(FinishReason reason);  // "stop" ...

// What closed the thought.
enum class ThinkEnd { kNone, kModel, kBudget, kUser };
const char* think_end_name(ThinkEnd end);

enum class OnContextFull { kStop, kError, kDropOldest };

struct GenerateOptions {
  SamplerParams sampler;
  int64_t n_predict = -1;      // most tokens; negative: no limit
  int64_t think_budget = -1;   // tokens of thought; from then on it is closed at the next end of a sentence
  int64_t answer_budget = -1;  // tokens after the thought
  std::vector<std::string> stop;
  // Applied to all text that comes out; stop strings see what stood before.
  std::shared_ptr<const text::Redactor> redact;
  bool ignore_eos = false;  // end tokens are banned
  bool detect_loops = true;
  text::ThinkParser::Start start = text::ThinkParser::Start::kAnswer;
  OnContextFull on_context_full = OnContextFull::kStop;
  int64_t n_keep = 0;                             // kDropOldest: first tokens that always stay
  const std::atomic<bool>* cancel = nullptr;      // ends with kInterrupt
  const std::atomic<bool>* answer_now = nullptr;  // closes the thought
  ProgressFn prompt_progress;
  // Called once, when the answer may fill the context and a sixteenth of it (at least 8 tokens) is left.
  std::function<void(int64_t used, int64_t n_ctx)> context_low;
};

// What one token brought; text may be empty (half a character, a tag, a possible stop string). The last event of a
// generation has id -1 and the text that was held back.
struct TokenEvent {
  int32_t id = -1;
  float logprob = 0;
  std::span<const TokenLogprob> top;
  bool forced = false;    // put in to close a thought, not chosen
  bool thinking = false;  // the token belongs to a thought, its tags included
  std::string_view thought, answer;
};
// False ends the generation with kInterrupt.
using TokenFn = std::function<bool(const TokenEvent&)>;

struct Timings {  // llama-server's names
  int64_t cache_n = 0, prompt_n = 0, predicted_n = 0;
  double prompt_ms = 0, predicted_ms = 0;
};

struct Generation {
  uint64_t seed = 0;
  int64_t prompt_tokens = 0;
  std::vector<int32_t> tokens;  // generated, an end token included
  std::string text;             // of all of them as generated, control tokens left out
  std::string thought, answer;
  int64_t thought_tokens = 0;
  int64_t dropped_tokens = 0;  // by kDropOldest
  FinishReason finish_reason = FinishReason::kStop;
  ThinkEnd think_end = ThinkEnd::kNone;
  bool in_thought = false;  // it ended inside an unclosed thought
  bool redacted = false;    // there were rules: `tokens` may spell what the texts do not say
  Timings timings;
};

// Errors: kModel without a tokenizer, kUsage for an empty prompt or bad sampler parameters, kDoesNotFit where the
// prompt is longer than the context, or the context filled up under OnContextFull::kError.
Result<Generation> generate(Engine& engine, Session& session, std::span<const int32_t> prompt,
                            const GenerateOptions& options, const TokenFn& on_token);

}  // namespace dsr1::runtime
