// The lines of a batch's output: what became of a row, as OpenAI's batch files have it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "batch_files.h"
#include "batch_row.h"
#include "dsr1/runtime/generate.h"

namespace dsr1::cli {

struct TokenChance {
  int32_t id = 0;
  float logprob = 0;
  bool thought = false;
  std::vector<runtime::TokenLogprob> top;
};

struct BatchChoice {
  runtime::Generation generation;
  std::vector<TokenChance> chances;  // where the row asked for logprobs
};

// One row that is done, or failed.
struct BatchResult {
  int64_t line = 0;
  std::string custom_id;  // empty: the line gave none that can be read
  bool chat = true;
  std::string model;
  bool logprobs = false;
  std::vector<BatchChoice> choices;
  int64_t spent_tokens = 0;  // generated for choices that were outvoted
  std::optional<Json> vote;  // of --best-of
  std::optional<RowError> error;
};

// One line each, newline included. Nothing in them depends on clocks, neighbours or threads.
std::string output_line(const BatchResult& row, const Manifest& manifest, const text::Tokenizer& tokenizer);
std::string error_line(const BatchResult& row, const Manifest& manifest);

// The shortest number that reads back as this float: 0.6, not 0.6000000238418579.
Json short_number(float x);

// The seed of a row that brought none: from the batch's and its name.
uint64_t row_seed(uint64_t seed, std::string_view custom_id);

}  // namespace dsr1::cli
