#include "chat.h"

#include <unistd.h>

#include <csignal>
#include <utility>

#include "answer_printer.h"
#include "output.h"
#include "paths.h"
#include "signals.h"
#include "terminal.h"
#include "text_layout.h"

namespace dsr1::cli {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";
constexpr char kControlT = 20;
// From this share of the context on, what will happen at its end is said after each answer.
constexpr double kNearlyFull = 0.8;

std::string when_full(runtime::OnContextFull then) {
  switch (then) {
    case runtime::OnContextFull::kStop: return "when it is full, answers stop";
    case runtime::OnContextFull::kError: return "when it is full, the chat ends with an error";
    case runtime::OnContextFull::kDropOldest: return "when it is full, the oldest messages are forgotten";
  }
  return {};
}

}  // namespace

Chat::Chat(Conversation& conversation, SavedChat& saved, ChatOptions options)
    : conversation_(conversation),
      saved_(saved),
      o_(std::move(options)),
      editor_([this](std::string_view before) { return completions(before, &saved_); }),
      input_history_(state_dir().empty() ? std::filesystem::path() : state_dir() / "history") {}

void Chat::note(const std::string& text) const {
  const auto columns = static_cast<size_t>(terminal_columns(STDERR_FILENO));
  to_stderr(is_terminal(STDERR_FILENO) ? wrap(text, 0, columns - 1) : text + "\n");
}

Status Chat::run() {
  // Signals end the chat in order: what was said is kept, the caches too. A second one leaves at once.
  const Interruptible whole;
  const auto& engine = conversation_.engine();
  note(engine.file().path().filename().string() + " on " + engine.device_name());
  note("context " + std::to_string(engine.n_ctx()) + " tokens; " + when_full(o_.generate.on_context_full));
  note("/help lists commands, Ctrl-D leaves");
  if (o_.keep) editor_.history() = input_history_.load();
  Status status = loop();
  saved_.close();
  return status;
}

Status Chat::loop() {
  while (Output::get().ok()) {
    const auto text = read_entry();
    if (!text) break;
    const size_t begin = text->find_first_not_of(" \t\n");
    if (begin == std::string::npos) continue;
    if ((*text)[begin] == '/' && !multi_line_) {
      DSR1_TRY_STATUS(command(text->substr(begin)));
      if (leave_) break;
      continue;
    }
    DSR1_TRY_STATUS(ask(*text));
  }
  if (last_signal() != 0) return Error(ErrorCode::kInterrupted, "");
  return {};
}

std::optional<std::string> Chat::read_entry(std::string initial) {
  auto read = [&](const char* prompt, std::string begin) -> std::optional<std::string> {
    const LineEditor::Line line = editor_.read(prompt, std::move(begin));
    if (line.end == LineEditor::End::kEntry) return line.text;
    if (line.end == LineEditor::End::kInterrupt && last_signal() == 0) ::raise(SIGINT);  // leaves as the signal does
    return std::nullopt;
  };
  multi_line_ = false;
  auto text = read(">>> ", std::move(initial));
  if (!text) return text;
  if (text->starts_with(kQuotes)) {
    multi_line_ = true;
    text->erase(0, kQuotes.size());
    size_t end;
    while ((end = text->find(kQuotes)) == std::string::npos) {
      const auto more = read("... ", {});
      if (!more) return std::nullopt;
      *text += (text->empty() ? "" : "\n") + *more;
    }
    text->resize(end);
  }
  auto& entries = editor_.history();
  if (!text->empty() && (entries.empty() || entries.back() != *text)) {
    entries.push_back(*text);
    if (o_.keep) input_history_.add(*text);
  }
  return text;
}

Status Chat::ask(std::string question) {
  if (!pending_.empty()) question = pending_ + "\n" + question;
  asked_with_ = std::exchange(pending_, {});
  kept(saved_.add({.role = "user", .content = std::move(question)}, o_.generation));
  return answer();
}

// The ids for all messages that still have a place.
Result<std::vector<int32_t>> Chat::make_prompt() {
  auto& messages = conversation_.messages;
  messages.clear();
  const auto& log = saved_.log();
  for (size_t i = std::min(dropped_, log.size()); i < log.size(); ++i)
    messages.push_back(
        {.role = log[i].role == "user" ? text::Role::kUser : text::Role::kAssistant, .content = log[i].content});
  return conversation_.prompt(o_.generation.thinking(), o_.generation.parse_special, &o_.generate.start);
}

Status Chat::answer() {
  const auto n_ctx = conversation_.engine().n_ctx();
  DSR1_TRY(auto ids, make_prompt());
  const size_t dropped_before = dropped_;
  while (static_cast<int64_t>(ids.size()) >= n_ctx &&
         o_.generate.on_context_full == runtime::OnContextFull::kDropOldest && saved_.log().size() > dropped_ + 2) {
    dropped_ += 2;
    DSR1_TRY(ids, make_prompt());
  }
  if (dropped_ > dropped_before)
    note("the context is full: the oldest " + std::to_string(dropped_ - dropped_before) + " messages are forgotten");
  if (static_cast<int64_t>(ids.size()) >= n_ctx) {
    const std::string message =
        "the conversation has " + std::to_string(ids.size()) + " tokens and the context only " + std::to_string(n_ctx);
    if (o_.generate.on_context_full == runtime::OnContextFull::kError) return Error(ErrorCode::kDoesNotFit, message);
    note(message +
         "; the question was taken back: /undo or /clear make room, -c sets the size, "
         "/set on-context-full drop-oldest forgets by itself");
    kept(saved_.cut(saved_.log().size() - 1));
    return {};
  }
  o_.generate.n_keep = conversation_.tokenizer().bos() == ids.front() ? 1 : 0;
  if (o_.generation.seed == -1) o_.generate.sampler.seed = random_seed();

  if (last_signal() == SIGINT) forget_signal();
  QuietTerminal quiet;
  const Interruptible interruptible;
  std::atomic<bool> answer_now{false};
  runtime::GenerateOptions options = o_.generate;
  options.cancel = interruptible.flag();
  options.answer_now = &answer_now;
  // Ctrl-T is for now, all else for the next question.
  auto take_keys = [&] {
    std::string rest;
    for (char c : quiet.take_keys()) {
      if (c == kControlT) answer_now = true;
      else rest += c;
    }
    editor_.type_ahead(rest);
  };
  ProgressBar bar("reading");
  options.prompt_progress = [&](int64_t done, int64_t total) {
    take_keys();
    if (done < total) bar.update(done, total);
    else bar.clear();
  };
  AnswerPrinter printer({.show_thoughts = o_.generation.think != "hide", .word_wrap = o_.word_wrap, .chat = true});
  options.context_low = [&](int64_t used, int64_t all) {
    bar.clear();
    printer.note("[" + context_note(used, all, o_.generate.on_context_full) + "]");
  };
  auto result = conversation_.generate(ids, options, [&](const runtime::TokenEvent& e) {
    take_keys();
    return printer.print(e);
  });
  bar.clear();
  if (!result) {
    printer.break_off();
    return std::move(result).error();
  }
  const runtime::Generation& g = *result;
  if (g.in_thought) printer.break_off();  // a hidden thought stays hidden: /history shows it
  else printer.finish(g);
  const bool stopped = g.finish_reason == runtime::FinishReason::kInterrupt;
  if (stopped && g.tokens.empty()) {
    note(std::string("stopped; the question was taken back (the Up key brings it again") +
         (asked_with_.empty() ? ")" : "; what /read read still goes before it)"));
    pending_ = asked_with_;
    kept(saved_.cut(saved_.log().size() - 1));
  } else {
    if (stopped) note("stopped; what was said so far is kept");
    else to_stderr(end_note(g));
    kept(saved_.add(assistant_message(g), o_.generation));
  }
  if (o_.verbose) to_stderr(footer(g));
  if (last_signal() == SIGINT) forget_signal();
  if (last_signal() != 0) return Error(ErrorCode::kInterrupted, "");
  used_ = static_cast<int64_t>(ids.size() + g.tokens.size());
  const bool nearly_full = static_cast<double>(used_) > kNearlyFull * static_cast<double>(n_ctx);
  if (nearly_full && !warned_full_)
    note("[" + std::to_string(used_) + " of the context's " + std::to_string(n_ctx) + " tokens are used; " +
         when_full(o_.generate.on_context_full) +
         (o_.generate.on_context_full == runtime::OnContextFull::kStop
              ? "; /clear begins anew, /set on-context-full drop-oldest forgets]"
              : "]"));
  warned_full_ = nearly_full;
  Output::get().show("\n");
  return {};
}

}  // namespace dsr1::cli
