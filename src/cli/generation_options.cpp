#include "generation_options.h"

#include <algorithm>
#include <limits>
#include <random>

#include "input.h"
#include "template_report.h"

namespace dsr1::cli {

// 32 bits: short enough to read out and type again.
uint64_t random_seed() { return std::random_device{}(); }

void GenerationOptions::declare(OptionTable& table) {
  table.section("Thinking");
  table
      .add("--think", "MODE", &think,
           "auto: as the model's template says, R1 and its distills always think; on: forced; off: not at all; hide: "
           "as auto, not "
           "shown")
      .one_of({"auto", "on", "off", "hide"});
  table.add("--think-budget", "N", &think_budget, "tokens of thought; then it is closed at the next end of a sentence");
  table.add("--answer-budget", "N", &answer_budget, "tokens of answer after the thought");

  table.section("Limits");
  table.add("-n,--predict,--n-predict", "N", &n_predict,
            "most tokens to generate (default: until the model ends or the context is full)");
  table.add("-r,--reverse-prompt,--stop", "TEXT", &stop, "end the answer where this text appears; may be repeated");
  table
      .add(
          "--redact", "FILE", &redact,
          "print [redacted] for what matches a line of FILE: a word, or /a pattern of PCRE2/ of at most 256 characters")
      .completes(Complete::kFile);
  table.flag("--ignore-eos", &ignore_eos, "go on past the model's end");
  table.flag("--no-loop-check", &no_loop_check, "do not end an answer that repeats itself word for word");
  table.add("--on-context-full", "WHAT", &on_context_full, "when the context is full (default: stop)")
      .one_of({"stop", "error", "drop-oldest"});

  table.section("Sampling");
  table.add("-s,--seed", "N", &seed, "the same seed gives the same text (default: -1, random)");
  table.add("--temp,--temperature", "X", &sampler.temperature,
            "temperature; 0: always the likeliest token (default: 0.6)");
  table.add("--top-k", "N", &sampler.top_k, "only the N likeliest (default: 0, off)");
  table.add("--top-p", "X", &sampler.top_p, "only the likeliest that make up this mass (default: 0.95)");
  table.add("--min-p", "X", &sampler.min_p, "only those at least this likely, the likeliest being 1 (default: 0)");
  table.add("--typical,--typical-p", "X", &sampler.typical_p, "locally typical sampling (default: 1, off)");
  table.add("--top-nsigma,--top-n-sigma", "X", &sampler.top_n_sigma,
            "only logits within X standard deviations of the largest (default: -1, off)");
  table.add("--repeat-penalty", "X", &sampler.repeat_penalty, "penalty for repeated tokens (default: 1, off)");
  table.add("--repeat-last-n", "N", &sampler.repeat_last_n, "tokens the penalties look back; -1: all (default: 64)");
  table.add("--presence-penalty", "X", &sampler.presence_penalty, "penalty for tokens that were there (default: 0)");
  table.add("--frequency-penalty", "X", &sampler.frequency_penalty,
            "penalty for each time they were there (default: 0)");
  table.add("--dry-multiplier", "X", &sampler.dry_multiplier, "DRY repetition penalty (default: 0, off)");
  table.add("--dry-base", "X", &sampler.dry_base, "its base (default: 1.75)");
  table.add("--dry-allowed-length", "N", &sampler.dry_allowed_length,
            "repetitions up to this length are free (default: 2)");
  table.add("--dry-penalty-last-n", "N", &sampler.dry_penalty_last_n, "tokens it looks back; -1: all (default)");
  table.add("--dry-sequence-breaker", "TEXT", &dry_breakers,
            "no repetition reaches across this (default: newline : \" *)");
  table.add("--xtc-probability", "X", &sampler.xtc_probability,
            "chance of dropping the likeliest tokens (default: 0, off)");
  table.add("--xtc-threshold", "X", &sampler.xtc_threshold, "how likely these are (default: 0.1)");
  table.add("--dynatemp-range", "X", &sampler.dynatemp_range, "temperature +- this, by entropy (default: 0, off)");
  table.add("--dynatemp-exp", "X", &sampler.dynatemp_exponent, "its exponent (default: 1)");
  table.add("--mirostat", "N", &sampler.mirostat, "mirostat 1 or 2 instead of the filters (default: 0, off)");
  table.add("--mirostat-ent", "X", &sampler.mirostat_tau, "its target surprise in bits (default: 5)");
  table.add("--mirostat-lr", "X", &sampler.mirostat_eta, "its learning rate (default: 0.1)");
  table.add("-l,--logit-bias", "ID(+|-)X", &logit_bias,
            "add to a token's logit: 15043+1, 15043-inf bans; may be repeated");

  table.section("Template");
  table.add("--chat,--chat-template", "NAME", &chat,
            "chat format, where the file's is unknown: a name, see --chat help");
  table.flag("--parse-special", &parse_special, "take control tokens such as <|im_end|> in prompts for what they say");
}

Result<runtime::GenerateOptions> GenerationOptions::make(const text::Tokenizer& tokenizer) const {
  runtime::GenerateOptions o;
  o.sampler = sampler;
  if (seed < -1)
    return Error(ErrorCode::kUsage, "--seed must be -1 (random), 0 or more, found " + std::to_string(seed));
  // llama.cpp's hands know 4294967295 as "random" too.
  o.sampler.seed = seed == -1 || seed == 4294967295 ? random_seed() : static_cast<uint64_t>(seed);
  for (const std::string& bias : logit_bias) {
    const size_t sign = bias.find_first_of("+-=", 1);
    const auto id = parse_int(bias.substr(0, sign));
    const std::string number = sign == std::string::npos ? "" : bias.substr(bias[sign] == '=' ? sign + 1 : sign);
    const bool ban = number == "-inf" || number == "-infinity";
    const auto value = ban ? Result<double>(-std::numeric_limits<double>::infinity()) : parse_number(number);
    if (!id || !value)
      return Error(ErrorCode::kUsage, "--logit-bias: expected ID+NUMBER or ID-NUMBER, found '" + bias + "'");
    if (!tokenizer.valid(*id))
      return Error(ErrorCode::kUsage, "--logit-bias: token id " + std::to_string(*id) +
                                          " is outside the vocabulary of " + std::to_string(tokenizer.size()));
    o.sampler.logit_bias.emplace_back(static_cast<int32_t>(*id), static_cast<float>(*value));
  }
  if (sampler.dry_multiplier > 0) {
    const std::vector<std::string> usual = {"\n", ":", "\"", "*"};
    for (const std::string& b : dry_breakers.empty() ? usual : dry_breakers)
      for (int32_t id = 0; id < tokenizer.size(); ++id)
        if (!b.empty() && tokenizer.piece(id, true).find(b) != std::string_view::npos)
          o.sampler.dry_breakers.push_back(id);
  }
  DSR1_TRY_STATUS(runtime::check_sampler_params(o.sampler));
  o.n_predict = n_predict;
  o.think_budget = think_budget;
  o.answer_budget = answer_budget;
  o.stop = stop;
  if (redact) {
    DSR1_TRY(const std::string rules, read_input_file(*redact));
    DSR1_TRY(auto redactor, text::Redactor::parse(rules).context("--redact " + *redact));
    o.redact = std::make_shared<const text::Redactor>(std::move(redactor));
  }
  o.ignore_eos = ignore_eos;
  o.detect_loops = !no_loop_check;
  if (on_context_full == "error") o.on_context_full = runtime::OnContextFull::kError;
  if (on_context_full == "drop-oldest") o.on_context_full = runtime::OnContextFull::kDropOldest;
  return o;
}

text::Thinking GenerationOptions::thinking() const {
  if (think == "on") return text::Thinking::kOn;
  if (think == "off") return text::Thinking::kOff;
  return text::Thinking::kAuto;
}

Result<text::ChatTemplate> GenerationOptions::chat_template(const io::ModelFile& file) const {
  std::string names;
  std::vector<std::string> known;
  for (std::string_view name : text::ChatTemplate::names()) {
    names += (names.empty() ? "" : ", ") + std::string(name);
    known.emplace_back(name);
  }
  if (chat) {
    if (const auto t = text::ChatTemplate::by_name(*chat)) return *t;
    std::string message = "--chat: unknown format '" + *chat + "'; known: " + names;
    if (const std::string near = nearest_word(*chat, known); !near.empty()) message += "; did you mean " + near + "?";
    return Error(ErrorCode::kUsage, message);
  }
  const TemplateReport report = report_template(file);
  if (report.known) return *report.known;
  return Error(ErrorCode::kUsage,
               std::string("this model has ") +
                   (report.present ? "a chat template that is not known here (sha256 " + report.fingerprint + ")"
                                   : std::string("no chat template")) +
                   "; --raw continues the text as it is, --chat NAME chooses a format: " + names);
}

}  // namespace dsr1::cli
