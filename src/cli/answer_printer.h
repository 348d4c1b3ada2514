// AnswerPrinter: the stream of one generation onto stdout, thoughts dimmed, folded to one line or left out.
#pragma once

#include <chrono>
#include <string>

#include "dsr1/runtime/generate.h"
#include "word_wrap.h"

namespace dsr1::cli {

struct PrintOptions {
  // On a terminal with colour thoughts are dimmed, elsewhere they stand between tags. False: a line that counts their
  // tokens shows that something happens.
  bool show_thoughts = true;
  bool word_wrap = true;  // on terminals
  bool chat = false;      // leaves a line behind that says how long the thought took; names the keys
};

class AnswerPrinter {
 public:
  explicit AnswerPrinter(PrintOptions options);
  ~AnswerPrinter() { clear_status(); }

  // False where stdout can take no more.
  bool print(const runtime::TokenEvent& event);
  // A line on stderr in the midst of the text.
  void note(const std::string& line);
  // Ends an open line, after an error.
  void break_off();
  // Ends the line. What a hidden thought that never closed held goes to stderr.
  void finish(const runtime::Generation& generation);

 private:
  using Clock = std::chrono::steady_clock;
  void write(std::string_view text);
  void begin_thought();
  void end_thought();
  std::string thought_summary() const;
  void draw_status();
  void clear_status();
  std::string safe(std::string_view text) const;

  const PrintOptions options_;
  const bool terminal_, escapes_, dim_;
  enum class At { kNothing, kThought, kAnswer } at_ = At::kNothing;
  WordWrap wrap_;
  bool newline_ = true;  // the last character printed ended a line
  int64_t thought_tokens_ = 0;
  Clock::time_point thought_start_{}, last_status_{};
  bool status_drawn_ = false;
};

// "dsr1: the answer ended because ..." for the ends that people should hear about; empty for an ordinary one.
std::string end_note(const runtime::Generation& generation);
// Said once, while there still is room: "the context is nearly full (1000 of 1024 tokens); then the answer stops".
std::string context_note(int64_t used, int64_t n_ctx, runtime::OnContextFull then);
// Three lines of speeds, counts and the seed (--verbose).
std::string footer(const runtime::Generation& generation);

}  // namespace dsr1::cli
