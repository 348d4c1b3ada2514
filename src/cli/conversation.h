// Conversation: an open model, one session, and what was said so far. One-shot answers and the interactive chat both
// are one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dsr1/runtime/generate.h"
#include "dsr1/text/chat_template.h"
#include "generation_options.h"

namespace dsr1::cli {

class Conversation {
 public:
  // chat: the format, or nothing for plain continuation (--raw). The engine outlives the conversation.
  static Result<std::unique_ptr<Conversation>> start(runtime::Engine& engine, std::optional<text::ChatTemplate> chat);

  std::vector<text::ChatMessage> messages;
  std::optional<std::string> system;

  // The prompt's ids for the messages so far. parse_special: control tokens in what people wrote count.
  Result<std::vector<int32_t>> prompt(text::Thinking thinking, bool parse_special,
                                      text::ThinkParser::Start* start) const;
  // The same for plain text.
  std::vector<int32_t> raw_prompt(const std::string& text, bool parse_special) const;

  Result<runtime::Generation> generate(std::span<const int32_t> prompt, const runtime::GenerateOptions& options,
                                       const runtime::TokenFn& on_token) {
    return runtime::generate(engine_, *session_, prompt, options, on_token);
  }

  runtime::Engine& engine() { return engine_; }
  runtime::Session& session() { return *session_; }
  const text::Tokenizer& tokenizer() const { return *engine_.tokenizer(); }
  const std::optional<text::ChatTemplate>& chat() const { return chat_; }
  void set_chat(const text::ChatTemplate& chat) { chat_ = chat; }

 private:
  explicit Conversation(runtime::Engine& engine) : engine_(engine) {}
  runtime::Engine& engine_;
  std::unique_ptr<runtime::Session> session_;
  std::optional<text::ChatTemplate> chat_;
};

}  // namespace dsr1::cli
