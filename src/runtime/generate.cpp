#include <chrono>

#include "generator.h"

namespace dsr1::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Drives one Generator over one session.
class Driver {
 public:
  Driver(Engine& engine, Session& session, Generator& generator, const GenerateOptions& options)
      : engine_(engine), session_(session), generator_(generator), options_(options) {}

  Status run() {
    auto start = Clock::now();
    Status status = read_prompt();
    generator_.timings().prompt_ms = ms_since(start);
    if (status) {
      start = Clock::now();
      status = loop();
      generator_.timings().predicted_ms = ms_since(start);
    }
    if (!status && status.error().code == ErrorCode::kInterrupted) {
      generator_.end(FinishReason::kInterrupt);
      return {};
    }
    return status;
  }

 private:
  // Evaluates tokens and chooses what follows the last of them.
  Status eval(std::span<const int32_t> tokens, bool prompt) {
    EvalOptions o;
    o.prompt = prompt;
    o.cancel = options_.cancel;
    if (prompt) o.progress = options_.prompt_progress;
    Status choice;
    const auto request = generator_.request(engine_.longest_sample_list());
    if (request) {
      o.sample = &*request;
      o.on_sampled = [&](int64_t, const ops::Sampled& s) { generator_.choose(s); };
    }
    DSR1_TRY_STATUS(engine_.eval(session_, tokens, o,
                                 [&](int64_t, std::span<const float> logits) { choice = generator_.choose(logits); }));
    return choice;
  }

  Status read_prompt() {
    const auto& known = session_.tokens();
    const auto prompt = generator_.history();
    const auto limit = std::min(known.size(), prompt.size());
    size_t same = 0;
    while (same < limit && known[same] == prompt[same]) ++same;
    same = std::min(same, prompt.size() - 1);  // the last one is evaluated anew: its logits are needed
    session_.rewind(static_cast<int64_t>(same));
    generator_.timings().cache_n = static_cast<int64_t>(same);
    generator_.timings().prompt_n = static_cast<int64_t>(prompt.size() - same);
    return eval(prompt.subspan(same), true);
  }

  Status loop() {
    while (true) {
      if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed))
        return Error(ErrorCode::kInterrupted, "interrupted");
      DSR1_TRY(const auto step, generator_.next(session_.tokens()));
      if (!step) return {};
      session_.rewind(step->keep);
      DSR1_TRY_STATUS(eval(step->tokens, false));
    }
  }

  Engine& engine_;
  Session& session_;
  Generator& generator_;
  const GenerateOptions& options_;
};

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kLoop: return "loop";
    case FinishReason::kContext: return "context";
    case FinishReason::kInterrupt: return "interrupt";
  }
  return "stop";
}

const char* think_end_name(ThinkEnd end) {
  switch (end) {
    case ThinkEnd::kNone: return "none";
    case ThinkEnd::kModel: return "model";
    case ThinkEnd::kBudget: return "budget";
    case ThinkEnd::kUser: return "user";
  }
  return "none";
}

Status check_request(const Engine& engine, std::span<const int32_t> prompt, const GenerateOptions& options,
                     int64_t n_ctx) {
  const auto& tokenizer = engine.tokenizer();
  if (!tokenizer) return Error(tokenizer.error());
  DSR1_TRY_STATUS(check_sampler_params(options.sampler));
  if (prompt.empty())
    return Error(ErrorCode::kUsage, "the prompt is empty, and this model has no BOS token to begin with");
  const auto n = static_cast<int64_t>(prompt.size());
  if (n > n_ctx)
    return Error(ErrorCode::kDoesNotFit, "the prompt is longer than the context: " + std::to_string(n) +
                                             " tokens, context " + std::to_string(n_ctx) + "; use a larger -c");
  for (int32_t id : prompt)
    if (!tokenizer->valid(id))
      return Error(ErrorCode::kUsage, "token id " + std::to_string(id) + " is outside the vocabulary");
  return {};
}

Result<Generation> generate(Engine& engine, Session& session, std::span<const int32_t> prompt,
                            const GenerateOptions& options, const TokenFn& on_token) {
  DSR1_TRY_STATUS(check_request(engine, prompt, options, session.n_ctx()));
  Generator generator(*engine.tokenizer(), prompt, options, session.n_ctx(), on_token);
  DSR1_TRY_STATUS(Driver(engine, session, generator, options).run());
  return generator.finish();
}

}  // namespace dsr1::runtime
