#include "app.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>

#include "dsr1/base/log.h"
#include "dsr1/io/mapped_file.h"
#include "help.h"
#include "output.h"
#include "paths.h"
#include "signals.h"
#include "terminal.h"
#include "version.h"

namespace dsr1::cli {

#define DSR1_COMMAND(name) std::unique_ptr<Command> make_##name();
#include "all.inc"
#undef DSR1_COMMAND

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
#define DSR1_COMMAND(name) commands.push_back(make_##name());
#include "all.inc"
#undef DSR1_COMMAND
  return commands;
}

const std::vector<std::string>& future_commands() {
  static const std::vector<std::string> words = {"quality", "quantize", "imatrix", "convert", "serve", "pull"};
  return words;
}

int exit_code(const Error& error) {
  switch (error.code) {
    case ErrorCode::kRuntime: return 1;
    case ErrorCode::kUsage: return 2;
    case ErrorCode::kModel: return 3;
    case ErrorCode::kDoesNotFit: return 4;
    case ErrorCode::kBatchFailed: return 5;
    case ErrorCode::kNoDevice: return 6;
    case ErrorCode::kNetwork: return 7;
    case ErrorCode::kCheckFailed: return 8;
    case ErrorCode::kResumable: return 75;
    case ErrorCode::kInterrupted: return 128 + (last_signal() != 0 ? last_signal() : SIGINT);
  }
  return 1;
}

namespace {

struct LogOptions {
  std::string level = "warn";
  std::optional<std::string> file;
  bool verbose = false, help = false, version = false;

  void declare(OptionTable& table) {
    table.section("Messages");
    table.add("--log-level", "LEVEL", &level, "what is reported on stderr (default: warn)")
        .one_of({"trace", "debug", "info", "warn", "error", "off"});
    table.add("--log-file", "FILE", &file, "write the messages there instead").completes(Complete::kFile);
    table.flag("-v", &verbose, "the same as --log-level debug");
    table.flag("-h,--help", &help, "this text");
    table.flag("--version", &version, "version, commit, compilers, CPU levels, CUDA");
  }
  Status apply() const {
    DSR1_TRY(const LogLevel parsed, parse_log_level(level));
    return log_init(verbose ? std::min(parsed, LogLevel::kDebug) : parsed, file.value_or(""));
  }
};

Error unknown_command(const std::string& word) {
  const auto& later = future_commands();
  if (std::find(later.begin(), later.end(), word) != later.end())
    return {ErrorCode::kUsage, "'" + word + "' is not in this version yet; dsr1 --help lists what is"};
  if (looks_like_model(word))
    return {ErrorCode::kUsage, "'" + word + "' is no command; to talk with that model: dsr1 run " + word};
  std::vector<std::string> known;
  for (const auto& c : all_commands()) known.push_back(c->info().name);
  // Words people bring along from other programs.
  static const std::pair<const char*, const char*> synonyms[] = {
      {"chat", "run"},     {"show", "inspect"}, {"info", "inspect"},     {"ppl", "perplexity"},
      {"generate", "run"}, {"help", "--help"},  {"version", "--version"}};
  std::string near = nearest_word(word, known);
  for (const auto& [theirs, ours] : synonyms)
    if (word == theirs) near = ours;
  std::string message = "unknown command '" + word + "'";
  if (!near.empty()) return {ErrorCode::kUsage, message + "; did you mean 'dsr1 " + near + "'?"};
  return {ErrorCode::kUsage, message + "; dsr1 --help lists the commands"};
}

Status run_command(Command& command, std::vector<std::string> args) {
  OptionTable table;
  command.declare(table);
  LogOptions log;
  log.declare(table);
  DSR1_TRY_STATUS(parse_arguments(command.info().name, table, std::move(args)));
  if (log.help) {
    Output::get().write(command_help(command.info(), table, terminal_columns(1)));
    return {};
  }
  if (log.version) {
    Output::get().write(version_text());
    return {};
  }
  DSR1_TRY_STATUS(log.apply());
  return command.run();
}

Status dispatch(std::vector<std::string> args) {
  if (args.empty()) {
    to_stderr(short_usage());
    return Error(ErrorCode::kUsage, "");
  }
  const std::string word = args.front();
  args.erase(args.begin());
  if (word == "--help" || word == "-h" || (word == "help" && args.empty())) {
    Output::get().write(general_help(terminal_columns(1)));
    return {};
  }
  if (word == "help") return dispatch({args.front(), "--help"});
  if (word == "--version") {
    Output::get().write(version_text());
    return {};
  }
  if (word == "--man") {
    Output::get().write(man_page());
    return {};
  }
  if (word == "--list-devices") return dispatch({"doctor", "--list-devices"});
  if (word.starts_with("-")) {
    const std::string near = nearest_word(word, {"--help", "--version", "--list-devices"});
    return Error(ErrorCode::kUsage, "unknown option '" + word + "' before a command" +
                                        (near.empty() ? "; the command comes first: dsr1 run " + word + " ..."
                                                      : "; did you mean " + near + "?"));
  }
  for (const auto& command : all_commands())
    if (command->info().name == word) return run_command(*command, std::move(args));
  return unknown_command(word);
}

int report(const Status& status) {
  Status end = Output::get().finish();
  if (!status) {
    if (!status.error().message.empty() && status.error().code != ErrorCode::kInterrupted)
      to_stderr("dsr1: error: " + status.error().text() + "\n");
    return exit_code(status.error());
  }
  if (!end) {
    to_stderr("dsr1: error: " + end.error().text() + "\n");
    return exit_code(end.error());
  }
  return 0;
}

}  // namespace

void declare_common_options(OptionTable& table) {
  static LogOptions unused;
  unused.declare(table);
}

int run_app(std::vector<std::string> args) {
  reserve_standard_descriptors();
  install_signal_handlers();
  io::install_mapping_fault_handler();
  try {
    return report(dispatch(std::move(args)));
  } catch (const std::bad_alloc&) {
    to_stderr("dsr1: error: out of memory; a smaller context (-c) or model needs less\n");
    return 4;
  } catch (const std::exception& e) {
    to_stderr(std::string("dsr1: error: unexpected: ") + e.what() + "\n");
    return 1;
  }
}

}  // namespace dsr1::cli
