#include "run_json.h"

namespace dsr1::cli {

Json generation_json(const runtime::Generation& g) {
  Json tokens = Json::array();
  if (!g.redacted)  // ids would spell what the texts do not say
    for (int32_t id : g.tokens) tokens.push(id);
  Json j = Json::object();
  j.set("tokens", std::move(tokens)).set("text", g.text).set("reasoning_content", g.thought).set("answer", g.answer);
  j.set("finish_reason", finish_reason_name(g.finish_reason)).set("think_end", think_end_name(g.think_end));

  const auto completion = static_cast<int64_t>(g.tokens.size());
  Json usage = Json::object();
  usage.set("prompt_tokens", g.prompt_tokens).set("completion_tokens", completion);
  usage.set("total_tokens", g.prompt_tokens + completion);
  usage.set("prompt_tokens_details", Json::object().set("cached_tokens", g.timings.cache_n));
  usage.set("completion_tokens_details", Json::object().set("reasoning_tokens", g.thought_tokens));
  j.set("usage", std::move(usage));

  const auto& t = g.timings;
  auto per_token = [](double ms, int64_t n) { return n > 0 ? ms / static_cast<double>(n) : 0.0; };
  auto per_second = [](double ms, int64_t n) { return ms > 0 ? static_cast<double>(n) * 1000 / ms : 0.0; };
  Json timings = Json::object();
  timings.set("cache_n", t.cache_n).set("prompt_n", t.prompt_n).set("prompt_ms", t.prompt_ms);
  timings.set("prompt_per_token_ms", per_token(t.prompt_ms, t.prompt_n));
  timings.set("prompt_per_second", per_second(t.prompt_ms, t.prompt_n));
  timings.set("predicted_n", t.predicted_n).set("predicted_ms", t.predicted_ms);
  timings.set("predicted_per_token_ms", per_token(t.predicted_ms, t.predicted_n));
  timings.set("predicted_per_second", per_second(t.predicted_ms, t.predicted_n));
  j.set("timings", std::move(timings));
  return j;
}

std::string event_line(const runtime::TokenEvent& e, bool redacted) {
  Json j = Json::object();
  if (e.id >= 0 && !redacted) j.set("id", e.id);
  if (e.id >= 0 && !redacted && !e.forced) j.set("logprob", static_cast<double>(e.logprob));
  if (e.forced) j.set("forced", true);
  if (!e.thought.empty()) j.set("reasoning_content", e.thought);
  if (!e.answer.empty()) j.set("content", e.answer);
  return j.dump() + "\n";
}

}  // namespace dsr1::cli
