#include "answer_printer.h"

#include <unistd.h>

#include <cstdio>

#include "output.h"
#include "terminal.h"

namespace dsr1::cli {

AnswerPrinter::AnswerPrinter(PrintOptions options)
    : options_(options),
      terminal_(is_terminal(STDOUT_FILENO)),
      escapes_(has_escapes(STDOUT_FILENO)),
      dim_(has_colour(STDOUT_FILENO)) {}

// On a terminal a model must not move the cursor or set the title: control characters but newline and tab are shown as
// ^X, C1 controls as '?'.
std::string AnswerPrinter::safe(std::string_view text) const {
  std::string s;
  if (!terminal_) return std::string(text);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      s += '?';
      ++i;
    } else if ((c < 32 && c != '\n' && c != '\t') || c == 127) {
      s += '^';
      s += static_cast<char>(c ^ 64);
    } else {
      s += text[i];
    }
  }
  return s;
}

void AnswerPrinter::write(std::string_view text) {
  if (text.empty()) return;
  const std::string shown = safe(text);
  Output::get().write(escapes_ && options_.word_wrap ? wrap_.push(shown, terminal_columns(STDOUT_FILENO)) : shown);
  newline_ = shown.back() == '\n';
}

bool AnswerPrinter::print(const runtime::TokenEvent& event) {
  Output& out = Output::get();
  if (event.thinking && at_ == At::kNothing) begin_thought();
  if (event.thinking && event.id >= 0) ++thought_tokens_;
  if (!event.thought.empty() && options_.show_thoughts) {
    clear_status();
    if (at_ == At::kNothing) begin_thought();
    write(event.thought);
  }
  if (!event.answer.empty()) {
    clear_status();
    if (at_ == At::kThought) end_thought();
    at_ = At::kAnswer;
    write(event.answer);
  }
  if (at_ == At::kThought) draw_status();
  out.flush();
  return out.ok();
}

void AnswerPrinter::note(const std::string& line) {
  clear_status();
  Output& out = Output::get();
  if (terminal_ && !newline_) {
    out.write("\n");
    wrap_.restart();
    newline_ = true;
  }
  out.flush();
  to_stderr(line + "\n");
}

void AnswerPrinter::begin_thought() {
  at_ = At::kThought;
  thought_start_ = Clock::now();
  if (!options_.show_thoughts) return;
  Output::get().write(dim_ ? "\x1b[2m" : "<think>\n");
}

std::string AnswerPrinter::thought_summary() const {
  const double seconds = std::chrono::duration<double>(Clock::now() - thought_start_).count();
  return std::to_string(thought_tokens_) + (thought_tokens_ == 1 ? " token, " : " tokens, ") + human_seconds(seconds);
}

void AnswerPrinter::end_thought() {
  Output& out = Output::get();
  if (options_.show_thoughts) {
    if (dim_) out.write("\x1b[0m");
    if (!newline_) out.write("\n");
    if (!dim_) out.write("</think>\n");
  }
  if (options_.chat)
    out.write((dim_ ? "\x1b[2m[thought: " : "[thought: ") + thought_summary() + (dim_ ? "]\x1b[0m\n" : "]\n"));
  if (options_.show_thoughts || options_.chat) out.write("\n");
  wrap_.restart();
  newline_ = true;
}

// Below a thought that is shown: one row further down, the cursor coming back to where the text goes on. In place of a
// hidden one: on the row itself; where stdout is no terminal, on stderr's.
void AnswerPrinter::draw_status() {
  const auto now = Clock::now();
  if (now - thought_start_ < std::chrono::milliseconds(500)) return;
  const bool below = options_.show_thoughts;
  if (below && !escapes_) return;
  if (!below && !has_escapes(STDERR_FILENO)) return;
  if (status_drawn_ && now - last_status_ < std::chrono::milliseconds(100)) return;
  last_status_ = now;
  status_drawn_ = true;
  std::string status = "thinking: " + thought_summary();
  if (options_.chat) status += "  (Ctrl-T: answer now, Ctrl-C: stop)";
  const auto columns = static_cast<size_t>(terminal_columns(below ? STDOUT_FILENO : STDERR_FILENO));
  if (status.size() >= columns) status.resize(columns - 1);
  // IND makes room for the row, then the cursor is kept (DECSC), moved and brought back (DECRC).
  if (below) Output::get().show("\x1b\x44\x1b[A\x1b\x37\x1b[B\r" + status + "\x1b[K\x1b\x38");
  else to_stderr("\r" + status + "\x1b[K");
}

void AnswerPrinter::clear_status() {
  if (!status_drawn_) return;
  status_drawn_ = false;
  if (options_.show_thoughts) Output::get().write("\x1b[J");
  else to_stderr("\r\x1b[K");
}

void AnswerPrinter::break_off() {
  clear_status();
  Output& out = Output::get();
  if (at_ == At::kThought && options_.show_thoughts && dim_) out.write("\x1b[0m");
  if (!newline_ || (at_ == At::kThought && options_.show_thoughts)) out.write("\n");
  newline_ = true;
  out.flush();
}

void AnswerPrinter::finish(const runtime::Generation& generation) {
  break_off();
  if (generation.in_thought && !options_.show_thoughts && !generation.thought.empty())
    to_stderr(generation.thought + "\n");
}

std::string end_note(const runtime::Generation& g) {
  std::string why;
  switch (g.finish_reason) {
    case runtime::FinishReason::kStop: break;
    case runtime::FinishReason::kLength: why = "the limit of tokens was reached"; break;
    case runtime::FinishReason::kLoop: why = "it repeated itself word for word (--no-loop-check lets it)"; break;
    case runtime::FinishReason::kContext: why = "the context is full (-c sets its size)"; break;
    case runtime::FinishReason::kInterrupt: why = "it was interrupted"; break;
  }
  std::string note;
  if (g.in_thought) note = "the answer ended inside its thought" + (why.empty() ? std::string() : ": " + why);
  else if (g.finish_reason == runtime::FinishReason::kLoop || g.finish_reason == runtime::FinishReason::kContext)
    note = "the answer ended early: " + why;
  if (g.dropped_tokens > 0) {
    if (!note.empty()) note += "; ";
    note += "the context was full, the oldest " + std::to_string(g.dropped_tokens) + " tokens were dropped";
  }
  return note.empty() ? note : "dsr1: " + note + "\n";
}

std::string context_note(int64_t used, int64_t n_ctx, runtime::OnContextFull then) {
  std::string note =
      "the context is nearly full (" + std::to_string(used) + " of " + std::to_string(n_ctx) + " tokens); ";
  switch (then) {
    case runtime::OnContextFull::kStop: return note + "when it is, the answer stops";
    case runtime::OnContextFull::kError: return note + "when it is, the run ends with an error";
    case runtime::OnContextFull::kDropOldest: return note + "when it is, the oldest half is forgotten and read anew";
  }
  return note;
}

std::string footer(const runtime::Generation& g) {
  auto line = [](const char* what, int64_t n, double ms, const std::string& more) {
    char text[160];
    std::snprintf(text, sizeof text, "%-8s %6lld tokens in %s (%.2f tokens/s)", what, static_cast<long long>(n),
                  human_seconds(ms / 1000).c_str(), ms > 0 ? static_cast<double>(n) * 1000 / ms : 0.0);
    return text + more + "\n";
  };
  const auto& t = g.timings;
  std::string out =
      line("prompt", t.prompt_n, t.prompt_ms, t.cache_n > 0 ? ", " + std::to_string(t.cache_n) + " cached" : "");
  out += line("answer", t.predicted_n, t.predicted_ms,
              g.thought_tokens > 0 ? ", " + std::to_string(g.thought_tokens) + " of thought" : "");
  out += "ended by " + std::string(finish_reason_name(g.finish_reason)) + ", seed " + std::to_string(g.seed) + "\n";
  return out;
}

}  // namespace dsr1::cli
