// One request of a batch: a line of an OpenAI batch file, read and checked field by field.
//
// Nothing here knows a model: what only a model can judge (ids outside its vocabulary, prompts longer than its context)
// is found later. A line that is refused still gives its custom_id where it has one, for the errors file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dsr1/text/chat_template.h"

namespace dsr1::cli {

struct RowError {
  std::string code;  // "invalid_json", "invalid_request", "duplicate_custom_id" ...
  std::string message;
};

struct BatchRow {
  std::string custom_id;
  bool chat = true;                         // /v1/chat/completions; otherwise plain continuation
  std::optional<std::string> model;         // echoed
  std::vector<text::ChatMessage> messages;  // chat
  std::string prompt;                       // otherwise
  std::vector<int32_t> prompt_ids;          // the same, where it came as ids

  // Absent: as the command line says.
  std::optional<int64_t> max_tokens, top_k, n, think_budget;
  std::optional<double> temperature, top_p, min_p, presence_penalty, frequency_penalty;
  std::optional<uint64_t> seed;
  std::optional<std::vector<std::string>> stop;
  std::vector<std::pair<int64_t, double>> logit_bias;
  std::optional<std::string> reasoning_effort;
  bool logprobs = false;
  int top_logprobs = 0;
};

inline constexpr int64_t kMostChoices = 128;

struct ParsedRow {
  BatchRow row;
  std::optional<RowError> error;
  std::vector<std::string> unknown;  // fields that were ignored: "body.foo"
};

ParsedRow parse_batch_row(std::string_view line);

}  // namespace dsr1::cli
