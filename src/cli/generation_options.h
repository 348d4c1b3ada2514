// The options that say how text is generated: sampling, thinking, limits.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "dsr1/runtime/generate.h"
#include "dsr1/text/chat_template.h"

namespace dsr1::cli {

struct GenerationOptions {
  runtime::SamplerParams sampler;
  int64_t seed = -1, n_predict = -1, think_budget = -1, answer_budget = -1;
  std::vector<std::string> stop, logit_bias, dry_breakers;
  bool ignore_eos = false, no_loop_check = false, parse_special = false;
  std::string think = "auto", on_context_full = "stop";
  std::optional<std::string> chat, redact;

  void declare(OptionTable& table);
  // kUsage for values without meaning, ids outside the vocabulary, rules of --redact that are refused. A seed is drawn
  // where none was given.
  Result<runtime::GenerateOptions> make(const text::Tokenizer& tokenizer) const;
  text::Thinking thinking() const;
  // The template that --chat names, or the file's. kUsage, saying what to do, where it is unknown or absent.
  Result<text::ChatTemplate> chat_template(const io::ModelFile& file) const;
};

uint64_t random_seed();

}  // namespace dsr1::cli
