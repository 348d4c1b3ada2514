// `dsr1 run`: one answer, or the interactive chat.
#include <unistd.h>

#include "answer_printer.h"
#include "chat.h"
#include "command.h"
#include "conversation.h"
#include "devices.h"
#include "dsr1/base/log.h"
#include "generation_options.h"
#include "input.h"
#include "model_options.h"
#include "output.h"
#include "paths.h"
#include "receipts.h"
#include "run_json.h"
#include "run_samples.h"
#include "saved_chat.h"
#include "signals.h"
#include "terminal.h"
#include "terminal_guard.h"

namespace dsr1::cli {
namespace {

class RunCommand final : public Command {
 public:
  CommandInfo info() const override {
    return {"run",
            "chat with a model, or answer one prompt",
            "With a prompt (argument, -p, -f FILE or piped in) it is answered once and only the answer goes to "
            "standard output; piped "
            "text and files go before the argument, a newline between. With none, on a terminal, the interactive chat "
            "opens. MODEL is "
            "a GGUF file (any part of a split set), a Hugging Face directory, or nothing for the bundled model; a "
            "single word is "
            "the MODEL, so a prompt for the bundled model needs -p.",
            {{"dsr1 run model.gguf", "chat"},
             {"dsr1 run model.gguf \"Why is the sky blue?\"", "one answer"},
             {"git diff | dsr1 run model.gguf -p \"Review this.\"", "piped text goes first"},
             {"dsr1 run model.gguf -p Hi --think off --json", "one JSON object"},
             {"dsr1 run model.gguf --raw -p \"Once upon\" -n 50", "plain continuation"},
             {"dsr1 run model.gguf -p \"2+2?\" --temp 0 --verbose", "greedy; speeds on stderr"}}};
  }
  void declare(OptionTable& table) override;
  Status run() override;

 private:
  // The prompt from all its sources; nothing where none was given.
  Result<std::optional<std::string>> read_prompt() const;
  Status answer_once(Conversation& conversation, SavedChat& saved, const std::string& prompt,
                     const std::string& model_name, runtime::GenerateOptions options);

  ModelOptions model_;
  GenerationOptions generation_;
  std::optional<std::string> positional_model_, positional_prompt_, prompt_, file_, system_, system_file_, session_;
  bool no_history_ = false, no_word_wrap_ = false;
  bool raw_ = false, json_ = false, json_stream_ = false, verbose_ = false, list_devices_ = false;
  int samples_ = 1, best_of_ = 0;
};

void RunCommand::declare(OptionTable& table) {
  table.positional("MODEL", &positional_model_, "a GGUF file or a Hugging Face directory").completes(Complete::kModel);
  table.positional("PROMPT", &positional_prompt_, "answered once");
  table.section("Prompt");
  table.add("-p,--prompt", "TEXT", &prompt_, "the prompt");
  table.add("-f,--file", "FILE", &file_, "read the prompt from a file; - is standard input").completes(Complete::kFile);
  table.add("-sys,--system-prompt", "TEXT", &system_, "system prompt (default: none, but where the template has one)");
  table.add("-sysf,--system-prompt-file", "FILE", &system_file_, "read it from a file").completes(Complete::kFile);
  table.flag("--raw", &raw_, "no chat format: go on with the text as it is");
  table.add(
      "--session", "NAME", &session_,
      "go on with this conversation (name or number), or begin one of that name; its KV cache is kept between runs");
  table.flag("--no-history", &no_history_, "keep neither the chat nor what is typed");
  table.section("Output");
  table.flag("--json", &json_, "print one JSON object");
  table.flag("--json-stream", &json_stream_, "print a JSON line for each token, and the object of --json last");
  table.add("--samples", "N", &samples_, "N answers, with seeds counting up from --seed (default: 1)");
  table.add("--best-of", "N", &best_of_, "of N answers the one that most agree with (\\boxed{} or last line)");
  table.flag("--no-word-wrap,--nowordwrap", &no_word_wrap_, "on a terminal: do not break lines between words");
  table.flag("--verbose", &verbose_, "speeds, counts and the seed on stderr at the end");
  table.flag("--list-devices", &list_devices_, "what can compute, and nothing else");
  generation_.declare(table);
  model_.declare(table, "context in tokens (default: the model's, at most 32768, and what fits in memory)");
}

Result<std::optional<std::string>> RunCommand::read_prompt() const {
  if (positional_prompt_ && prompt_)
    return Error(ErrorCode::kUsage, "two prompts: '" + positional_prompt_->substr(0, 40) + "' and --prompt");
  std::optional<std::string> prompt;
  auto add = [&](const std::string& text) { prompt = prompt ? *prompt + "\n" + text : text; };
  // One newline at the end of a file or pipe is the file's, not the text's.
  auto trimmed = [](std::string text) {
    if (text.ends_with('\n')) text.pop_back();
    return text;
  };
  if (stdin_is_piped() && file_ != "-") {
    DSR1_TRY(const std::string piped, read_stdin());
    if (!piped.empty()) add(trimmed(piped));
  }
  if (file_) {
    DSR1_TRY(const std::string text, read_input_file(*file_));
    add(trimmed(text));
  }
  if (positional_prompt_) add(*positional_prompt_);
  if (prompt_) add(*prompt_);
  return prompt;
}

Status RunCommand::run() {
  if (list_devices_) {
    Output::get().write(device_list());
    return {};
  }
  if (json_ && json_stream_) return Error(ErrorCode::kUsage, "--json contradicts --json-stream");
  if (samples_ < 1 || samples_ > 100000) return Error(ErrorCode::kUsage, "--samples must be between 1 and 100000");
  if (best_of_ < 0 || best_of_ > 100000) return Error(ErrorCode::kUsage, "--best-of must be between 1 and 100000");
  if (samples_ > 1 && best_of_ > 0) return Error(ErrorCode::kUsage, "--samples contradicts --best-of");
  const char* several = samples_ > 1 ? "--samples" : best_of_ > 0 ? "--best-of" : nullptr;
  if (several != nullptr && json_stream_)
    return Error(ErrorCode::kUsage, std::string(several) + " contradicts --json-stream; use --json");
  if (system_ && system_file_) return Error(ErrorCode::kUsage, "--system-prompt contradicts --system-prompt-file");
  if (raw_ && (system_ || system_file_)) return Error(ErrorCode::kUsage, "--raw contradicts a system prompt");
  if (raw_ && generation_.chat) return Error(ErrorCode::kUsage, "--raw contradicts --chat");
  if (session_ && (raw_ || several != nullptr || no_history_))
    return Error(ErrorCode::kUsage, std::string("--session contradicts ") + (raw_                 ? "--raw"
                                                                             : several != nullptr ? several
                                                                                                  : "--no-history"));
  DSR1_TRY(const auto typed, one_model(model_.model, positional_model_));
  const bool lone = positional_model_ && !positional_prompt_ && !prompt_ && !file_;
  DSR1_TRY(const std::string path, resolve_model(typed, lone));
  DSR1_TRY(runtime::EngineOptions engine_options, model_.engine_options());
  if (system_file_) {
    DSR1_TRY(std::string text, read_input_file(*system_file_));
    if (text.ends_with('\n')) text.pop_back();
    system_ = std::move(text);
  }
  DSR1_TRY(const auto prompt, read_prompt());
  const bool interactive = !prompt && is_terminal(STDIN_FILENO) && is_terminal(STDOUT_FILENO);
  if (!prompt && !interactive)
    return Error(ErrorCode::kUsage, "no prompt, and no terminal to chat on: give one with -p TEXT, -f FILE or a pipe");
  if (interactive && (json_ || json_stream_ || raw_ || several != nullptr))
    return Error(ErrorCode::kUsage, std::string(json_          ? "--json"
                                                : json_stream_ ? "--json-stream"
                                                : raw_         ? "--raw"
                                                               : several) +
                                        " needs a prompt: -p TEXT");

  std::optional<TerminalGuard> guard;
  if (interactive) guard.emplace();  // before the engine's memory exists
  DSR1_TRY(auto engine, several == nullptr ? open_engine(path, engine_options)
                                           : open_engine_for_many(path, engine_options, 0,
                                                                  std::min(samples_ + best_of_, kSamplesTogether)));
  DSR1_TRY(const text::Tokenizer* tokenizer, tokenizer_of(*engine));
  DSR1_TRY(runtime::GenerateOptions options, generation_.make(*tokenizer));
  std::optional<text::ChatTemplate> chat;
  if (!raw_) {
    DSR1_TRY(chat, generation_.chat_template(engine->file()));
  }
  const std::string start = engine->device_name() + ", context " + std::to_string(engine->n_ctx()) + " tokens";
  // For people; a script's stderr stays empty.
  if (!interactive && !json_ && !json_stream_ && is_terminal(STDERR_FILENO) && is_terminal(STDOUT_FILENO))
    to_stderr(start + "\n");
  else log_info(start);
  DSR1_TRY(auto conversation, Conversation::start(*engine, chat));
  conversation->system = system_;
  SavedChat saved(*conversation, interactive && !no_history_);
  if (session_) {
    DSR1_TRY_STATUS(saved.open(*session_, true, generation_, [&](const std::string& text) {
      if (interactive) to_stderr(text + "\n");
      else log_info(text);
    }));
    DSR1_TRY(options, generation_.make(*tokenizer));  // with the settings it was left with
    DSR1_TRY(chat, generation_.chat_template(engine->file()));
    conversation->set_chat(*chat);
  }
  if (interactive)
    return Chat(*conversation, saved,
                {.generation = generation_,
                 .generate = options,
                 .verbose = verbose_,
                 .word_wrap = !no_word_wrap_,
                 .keep = !no_history_})
        .run();
  return answer_once(*conversation, saved, *prompt, path, options);
}

Status RunCommand::answer_once(Conversation& conversation, SavedChat& saved, const std::string& prompt,
                               const std::string& model_name, runtime::GenerateOptions options) {
  std::vector<int32_t> ids;
  if (raw_) {
    ids = conversation.raw_prompt(prompt, generation_.parse_special);
    options.start = text::ThinkParser::Start::kAnswer;
  } else {
    for (const auto& m : saved.log())
      conversation.messages.push_back(
          {.role = m.role == "user" ? text::Role::kUser : text::Role::kAssistant, .content = m.content});
    conversation.messages.push_back({.role = text::Role::kUser, .content = prompt});
    DSR1_TRY(ids, conversation.prompt(generation_.thinking(), generation_.parse_special, &options.start));
  }
  const auto bos = conversation.tokenizer().bos();
  options.n_keep = !ids.empty() && bos == ids.front() ? 1 : 0;

  const Interruptible interruptible;
  options.cancel = interruptible.flag();
  const bool shown = is_terminal(STDOUT_FILENO) ? generation_.think != "hide" : generation_.think == "on";
  if (samples_ > 1 || best_of_ > 0)
    return answer_samples(conversation.engine(), ids, options,
                          {.samples = std::max(samples_, best_of_),
                           .vote = best_of_ > 0,
                           .json = json_,
                           .verbose = verbose_,
                           .print = {.show_thoughts = shown, .word_wrap = !no_word_wrap_},
                           .model = model_name});
  Output& out = Output::get();
  ProgressBar bar("reading the prompt");
  options.prompt_progress = [&](int64_t done, int64_t total) {
    if (done < total) bar.update(done, total);
    else bar.clear();
  };
  AnswerPrinter printer({.show_thoughts = shown && !json_ && !json_stream_, .word_wrap = !no_word_wrap_});
  options.context_low = [&](int64_t used, int64_t all) {
    bar.clear();
    const std::string note = context_note(used, all, options.on_context_full);
    if (is_terminal(STDERR_FILENO) && !json_ && !json_stream_) printer.note("dsr1: " + note);
    else log_warn(note);
  };
  auto result = conversation.generate(ids, options, [&](const runtime::TokenEvent& event) {
    if (json_) return out.ok();
    if (!json_stream_) return printer.print(event);
    out.show(event_line(event, options.redact != nullptr));
    return out.ok();
  });
  bar.clear();
  if (!result) {
    printer.break_off();
    return std::move(result).error();
  }
  const runtime::Generation& g = *result;
  note_speed(conversation.engine(), model_, g.prompt_tokens, g.timings.predicted_n, g.timings.predicted_ms / 1e3);
  if (!json_ && !json_stream_) printer.finish(g);
  if (session_ && !g.tokens.empty()) {
    DSR1_TRY_STATUS(saved.add({.role = "user", .content = prompt}, generation_));
    DSR1_TRY_STATUS(saved.add(assistant_message(g), generation_));
    saved.close();
  }
  if (json_ || json_stream_) {
    Json j = Json::object();
    j.set("model", model_name).set("seed", g.seed).set("prompt_tokens", g.prompt_tokens);
    const Json generated = generation_json(g);
    for (const auto& [key, value] : generated.as_object()) j.set(key, value);
    out.write(j.dump(json_ ? 2 : -1) + "\n");
  }
  if (out.ok()) {
    to_stderr(end_note(g));
    if (verbose_) to_stderr(footer(g));
  }
  if (interruptible.interrupted()) return Error(ErrorCode::kInterrupted, "");
  return {};
}

}  // namespace

std::unique_ptr<Command> make_run() { return std::make_unique<RunCommand>(); }

}  // namespace dsr1::cli
