// Of batch_run.h: names and requests.
#include <algorithm>
#include <cstring>

#include "batch_run.h"
#include "dsr1/base/log.h"
#include "dsr1/base/sha256.h"

namespace dsr1::cli {
namespace {

// A warning a field; more different ones than this are no misspellings.
constexpr size_t kMostWarnings = 50;

// OpenAI's efforts as budgets of thought; R1 itself knows none. Absent: no limit.
std::optional<int64_t> budget_of(std::string_view effort) {
  if (effort == "minimal") return 512;
  if (effort == "low") return 2048;
  if (effort == "medium") return 8192;
  return {};
}

}  // namespace

NameSet::NameSet(size_t expected) : keys_(expected + expected / 4 + 16) {}

bool NameSet::insert(std::string_view name) {
  if (n_ + n_ / 8 >= keys_.size()) {
    std::vector<Key> old(keys_.size() * 2);
    old.swap(keys_);
    for (const Key& k : old)
      if (!is_free(k)) place(k);
  }
  const auto digest = sha256(name);
  Key key;
  std::memcpy(key.data(), digest.data(), sizeof key);
  if (is_free(key)) key[0] = 1;
  const bool is_new = place(key);
  n_ += is_new ? 1 : 0;
  return is_new;
}

bool NameSet::place(const Key& key) {
  for (size_t i = key[0] % keys_.size();; i = i + 1 == keys_.size() ? 0 : i + 1) {
    if (keys_[i] == key) return false;
    if (!is_free(keys_[i])) continue;
    keys_[i] = key;
    return true;
  }
}

PreparedRow RowMaker::make(const BatchRecord& record) {
  PreparedRow out;
  out.result.line = record.line;
  BatchRow row;
  std::optional<RowError> error = record.error;
  if (settings_.format == BatchFormat::kOpenAi) {
    if (!error) {
      ParsedRow parsed = parse_batch_row(record.text);
      row = std::move(parsed.row);
      error = std::move(parsed.error);
      out.result.custom_id = row.custom_id;
      if (!row.custom_id.empty() && !names_.insert(row.custom_id))
        error = RowError{"duplicate_custom_id",
                         "custom_id " + Json(row.custom_id).dump().substr(0, 100) + " was given to an earlier line"};
      if (!error) warn_unknown(parsed.unknown, record.line);
    }
  } else {
    row.custom_id = out.result.custom_id = std::to_string(record.line);
    row.chat = !settings_.raw;
    if (row.chat) row.messages.push_back({.role = text::Role::kUser, .content = record.text});
    else row.prompt = record.text;
  }
  out.result.chat = row.chat;
  out.result.model = row.model.value_or(settings_.model);
  out.result.logprobs = row.logprobs;
  if (!error) error = prepare(row, out);
  if (error) {
    out.prompt.clear();
    out.result.error = std::move(error);
  }
  return out;
}

std::optional<RowError> RowMaker::prepare(const BatchRow& row, PreparedRow& out) const {
  out.options = settings_.options;
  if (auto error = apply(row, out)) return error;
  if (!row.chat) {
    out.options.start = text::ThinkParser::Start::kAnswer;
    out.prompt = row.prompt_ids;
    if (out.prompt.empty()) {
      out.prompt =
          tokenizer_.encode(row.prompt, settings_.parse_special ? text::Match::kAll : text::Match::kNone, true);
      // An EOS that the file asks for would end the text before it goes on.
      if (tokenizer_.add_eos() && !out.prompt.empty() && tokenizer_.eos() == out.prompt.back()) out.prompt.pop_back();
    }
    for (const int32_t id : out.prompt)
      if (!tokenizer_.valid(id))
        return RowError{"invalid_request", "body.prompt: token id " + std::to_string(id) +
                                               " is outside the vocabulary of " + std::to_string(tokenizer_.size())};
  } else {
    if (!settings_.chat)
      return RowError{"unsupported", "this model's chat format is not known; --chat NAME chooses one"};
    std::vector<text::ChatMessage> messages;
    const bool has_system = std::any_of(row.messages.begin(), row.messages.end(),
                                        [](const auto& m) { return m.role == text::Role::kSystem; });
    if (settings_.system && !has_system)
      messages.push_back({.role = text::Role::kSystem, .content = *settings_.system});
    messages.insert(messages.end(), row.messages.begin(), row.messages.end());
    const text::Thinking thinking = row.reasoning_effort == "none" ? text::Thinking::kOff : settings_.thinking;
    auto rendered = settings_.chat->render(messages, thinking);
    if (!rendered) return RowError{"invalid_request", rendered.error().message};
    if (settings_.parse_special)
      for (auto& part : rendered->parts) part.match = text::Match::kAll;
    out.options.start = rendered->start;
    out.prompt = tokenizer_.encode(rendered->segments());
  }
  const auto bos = tokenizer_.bos();
  out.options.n_keep = !out.prompt.empty() && bos == out.prompt.front() ? 1 : 0;
  if (static_cast<int64_t>(out.prompt.size()) > n_ctx_)
    return RowError{"context_length_exceeded", "the prompt has " + std::to_string(out.prompt.size()) +
                                                   " tokens, the context " + std::to_string(n_ctx_)};
  if (out.prompt.empty()) return RowError{"invalid_request", "the prompt is empty"};
  return {};
}

// The row's own options over those of the command line.
std::optional<RowError> RowMaker::apply(const BatchRow& row, PreparedRow& out) const {
  runtime::GenerateOptions& o = out.options;
  runtime::SamplerParams& s = o.sampler;
  auto set = [](auto& target, const auto& value) {
    if (value) target = static_cast<std::remove_reference_t<decltype(target)>>(*value);
  };
  set(o.n_predict, row.max_tokens);
  set(s.temperature, row.temperature);
  set(s.top_k, row.top_k);
  set(s.top_p, row.top_p);
  set(s.min_p, row.min_p);
  set(s.presence_penalty, row.presence_penalty);
  set(s.frequency_penalty, row.frequency_penalty);
  if (row.reasoning_effort) o.think_budget = budget_of(*row.reasoning_effort).value_or(-1);
  set(o.think_budget, row.think_budget);
  if (row.stop) o.stop.insert(o.stop.end(), row.stop->begin(), row.stop->end());
  s.seed = row.seed.value_or(row_seed(settings_.options.sampler.seed, row.custom_id));
  s.n_top_logprobs = row.top_logprobs;
  for (const auto& [id, bias] : row.logit_bias) {
    if (!tokenizer_.valid(id))
      return RowError{"invalid_request", "body.logit_bias: token id " + std::to_string(id) +
                                             " is outside the vocabulary of " + std::to_string(tokenizer_.size())};
    s.logit_bias.emplace_back(static_cast<int32_t>(id), static_cast<float>(bias));
  }
  if (const Status ok = runtime::check_sampler_params(s); !ok) return RowError{"invalid_request", ok.error().message};
  if (row.logprobs && o.redact != nullptr)
    return RowError{"unsupported", "body.logprobs would tell what --redact takes out"};
  if (row.n.value_or(1) > 1 && settings_.best_of > 0)
    return RowError{"invalid_request", "body.n contradicts --best-of"};
  out.vote = settings_.best_of > 0;
  out.n = out.vote ? settings_.best_of : static_cast<int>(row.n.value_or(settings_.samples));
  return {};
}

void RowMaker::warn_unknown(const std::vector<std::string>& fields, int64_t line) {
  for (const std::string& field : fields) {
    if (warned_.size() >= kMostWarnings) return;
    if (warned_.insert(field.substr(0, 100)).second)
      log_warn("line " + std::to_string(line) + ": field " + Json(field.substr(0, 100)).dump() +
               " is not known and ignored, here and in other lines");
  }
}

}  // namespace dsr1::cli
