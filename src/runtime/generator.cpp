#include "generator.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dsr1::runtime {
namespace {

// Within the last tenth of its budget a thought is closed as soon as the model itself finds that this likely.
constexpr double kSoftPart = 0.9;
constexpr double kSoftProbability = 0.1;
// A thought over its budget gets this many tokens more to reach the end of a sentence.
constexpr int64_t kSentenceGrace = 64;

bool ends_sentence(std::string_view piece) {
  while (!piece.empty() && (piece.back() == ' ' || piece.back() == '"' || piece.back() == ')')) piece.remove_suffix(1);
  if (piece.empty()) return false;
  for (std::string_view mark : {"\n", ".", "!", "?", "。", "！", "？"})
    if (piece.ends_with(mark)) return true;
  return false;
}

bool is_set(const std::atomic<bool>* flag) { return flag != nullptr && flag->load(std::memory_order_relaxed); }

SamplerParams sampler_params(const GenerateOptions& options, const text::Tokenizer& tokenizer) {
  SamplerParams p = options.sampler;
  if (options.ignore_eos)
    for (int32_t id : tokenizer.end_of_generation())
      p.logit_bias.emplace_back(id, -std::numeric_limits<float>::infinity());
  return p;
}

}  // namespace

Generator::Generator(const text::Tokenizer& tokenizer, std::span<const int32_t> prompt, const GenerateOptions& options,
                     int64_t n_ctx, TokenFn on_token)
    : tokenizer_(tokenizer),
      options_(options),
      n_ctx_(n_ctx),
      on_token_(std::move(on_token)),
      history_(prompt.begin(), prompt.end()),
      sampler_(sampler_params(options, tokenizer), tokenizer.size()),
      stops_(options.stop),
      think_(options.start),
      redact_text_(options.redact.get()),
      redact_thought_(options.redact.get()),
      redact_answer_(options.redact.get()) {
  out_.redacted = options.redact != nullptr;
  out_.seed = options.sampler.seed;
  out_.prompt_tokens = static_cast<int64_t>(prompt.size());
  open_tag_ = tokenizer.find_special("<think>");
  close_tag_ = tokenizer.find_special("</think>");
  // As much as there will be at most (texts: at 4 bytes a token), so that steps allocate nothing.
  auto most = static_cast<size_t>(std::max<int64_t>(n_ctx - out_.prompt_tokens, 0)) + 1;
  if (options.n_predict >= 0) most = std::min(most, static_cast<size_t>(options.n_predict) + 1);
  history_.reserve(prompt.size() + most);
  out_.tokens.reserve(most);
  for (std::string* text : {&out_.text, &out_.thought, &out_.answer}) text->reserve(4 * most);
}

Status Generator::choose(std::span<const float> logits) {
  DSR1_TRY(next_, sampler_.sample(logits, history_));
  close_probability_ = close_tag_ && static_cast<size_t>(*close_tag_) < logits.size()
                           ? std::exp(sampler_.logprob_of(logits, *close_tag_))
                           : 0;
  return {};
}

std::optional<ops::SampleRequest> Generator::request(int64_t longest_list) {
  auto r = sampler_.request(history_, longest_list);
  if (r && close_tag_) r->watched = *close_tag_;
  return r;
}

void Generator::choose(const ops::Sampled& s) {
  next_ = sampler_.accept(s);
  close_probability_ = close_tag_ ? static_cast<float>(std::exp(s.watched_logit - s.log_sum)) : 0;
}

Result<std::optional<Generator::Step>> Generator::next(const std::vector<int32_t>& tokens) {
  const std::optional<Step> over;
  auto ended = [&](FinishReason reason) {
    end(reason);
    return over;
  };
  auto limit_reached = [&] {
    return options_.n_predict >= 0 && static_cast<int64_t>(out_.tokens.size()) >= options_.n_predict;
  };
  if (limit_reached()) return ended(FinishReason::kLength);
  warn_of_full_context(static_cast<int64_t>(tokens.size()));
  // Forced tokens are worth the name only while the thought is open.
  if (forced_.empty() && think_.thinking()) close_thought_if_due();
  const bool forced = !forced_.empty();
  int32_t id = next_.id;
  if (forced) {
    id = forced_.front();
    forced_.pop_front();
  }
  out_.tokens.push_back(id);
  history_.push_back(id);
  ++out_.timings.predicted_n;
  if (!forced && tokenizer_.is_end_of_generation(id)) return ended(FinishReason::kStop);
  if (!emit(id, forced)) return over;
  if (options_.detect_loops && loops_.push(id)) return ended(FinishReason::kLoop);
  if (options_.answer_budget >= 0 && answer_tokens_ >= options_.answer_budget) return ended(FinishReason::kLength);
  if (limit_reached()) return ended(FinishReason::kLength);
  if (static_cast<int64_t>(tokens.size()) >= n_ctx_) {
    if (options_.on_context_full == OnContextFull::kError)
      return Error(ErrorCode::kDoesNotFit,
                   "the context of " + std::to_string(n_ctx_) +
                       " tokens is full; use a larger -c, or --on-context-full stop or drop-oldest");
    const bool can_drop = n_ctx_ - options_.n_keep >= 8;
    if (options_.on_context_full == OnContextFull::kStop || !can_drop) return ended(FinishReason::kContext);
    return std::optional<Step>(drop_oldest(tokens));
  }
  step_.assign(1, id);
  return std::optional<Step>(Step{static_cast<int64_t>(tokens.size()), step_});
}

void Generator::warn_of_full_context(int64_t used) {
  const int64_t left = n_ctx_ - used;
  if (warned_ || !options_.context_low || left > std::max<int64_t>(n_ctx_ / 16, 8)) return;
  if (options_.n_predict >= 0 && options_.n_predict - static_cast<int64_t>(out_.tokens.size()) <= left) return;
  warned_ = true;
  options_.context_low(used, n_ctx_);
}

// Forgets the older half of what is not kept, and reads the newer half again at its new positions.
Generator::Step Generator::drop_oldest(const std::vector<int32_t>& tokens) {
  const auto keep = static_cast<std::ptrdiff_t>(std::clamp<int64_t>(options_.n_keep, 0, n_ctx_));
  const auto drop = (static_cast<std::ptrdiff_t>(tokens.size()) + 1 - keep) / 2;
  step_.assign(tokens.begin() + keep + drop, tokens.end());
  step_.push_back(out_.tokens.back());
  out_.dropped_tokens += drop;
  return {keep, step_};
}

void Generator::close_thought_if_due() {
  const bool user = is_set(options_.answer_now) && out_.think_end == ThinkEnd::kNone;
  const int64_t budget = options_.think_budget;
  bool due = user;
  if (budget >= 0) {
    const int64_t used = out_.thought_tokens;
    const bool over = used >= budget;
    const bool border = out_.tokens.empty() || ends_sentence(tokenizer_.piece(out_.tokens.back(), true));
    due =
        due || (over && (border || used >= budget + kSentenceGrace || budget == 0)) ||
        (static_cast<double>(used) >= kSoftPart * static_cast<double>(budget) && close_probability_ > kSoftProbability);
  }
  // Where the model closes it at this very moment, the merit is its own.
  if (!due || (close_tag_ && next_.id == *close_tag_)) return;
  out_.think_end = user ? ThinkEnd::kUser : ThinkEnd::kBudget;
  const auto ids = tokenizer_.encode("\n</think>\n\n", text::Match::kAll);
  forced_.assign(ids.begin(), ids.end());
}

// False where the generation is over.
bool Generator::emit(int32_t id, bool forced) {
  const bool was_thinking = think_.thinking();
  // The tags are wanted even where a file marks them as control tokens.
  const bool tag = (open_tag_ && id == *open_tag_) || (close_tag_ && id == *close_tag_);
  characters_.clear();
  utf8_.push(tokenizer_.piece(id, tag), characters_);
  redact_text_.push(characters_, out_.text);
  const bool goes_on = deliver(id, forced, was_thinking);
  if (was_thinking || think_.thinking()) ++out_.thought_tokens;
  else if (!forced) ++answer_tokens_;
  if (was_thinking && think_.closed() && out_.think_end == ThinkEnd::kNone) out_.think_end = ThinkEnd::kModel;
  return goes_on;
}

// characters_ through the think parser and the stop strings to the caller.
bool Generator::deliver(int32_t id, bool forced, bool was_thinking) {
  const bool last = id < 0;
  for (std::string* s : {&raw_thought_, &thought_, &raw_answer_, &stopped_answer_, &answer_}) s->clear();
  think_.push(characters_, raw_thought_, raw_answer_);
  if (last) think_.finish(raw_thought_, raw_answer_);
  const bool stopped = stops_.push(raw_answer_, stopped_answer_);
  if (last && !stopped) stops_.finish(stopped_answer_);
  redact_thought_.push(raw_thought_, thought_);
  redact_answer_.push(stopped_answer_, answer_);
  if (last || think_.closed()) redact_thought_.finish(thought_);
  if (last) redact_answer_.finish(answer_);
  out_.thought += thought_;
  out_.answer += answer_;
  TokenEvent event;
  event.id = id;
  event.forced = forced;
  event.thinking = was_thinking || think_.thinking();
  if (id >= 0 && !forced) {
    event.logprob = next_.logprob;
    event.top = sampler_.top_logprobs();
  }
  event.thought = thought_;
  event.answer = answer_;
  if (id < 0 && thought_.empty() && answer_.empty()) return true;
  if (on_token_ && !on_token_(event)) {
    out_.finish_reason = FinishReason::kInterrupt;
    return false;
  }
  if (stopped && id >= 0) {
    out_.finish_reason = FinishReason::kStop;
    return false;
  }
  return true;
}

Generation Generator::finish() {
  characters_.clear();
  utf8_.finish(characters_);
  redact_text_.push(characters_, out_.text);
  redact_text_.finish(out_.text);
  out_.in_thought = think_.thinking();
  const FinishReason reason = out_.finish_reason;
  deliver(-1, false, out_.in_thought);
  out_.finish_reason = reason;
  return std::move(out_);
}

}  // namespace dsr1::runtime
