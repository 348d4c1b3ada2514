#include "help.h"

#include <algorithm>

#include "app.h"
#include "text_layout.h"

namespace dsr1::cli {
namespace {

constexpr size_t kLeft = 30;  // columns of the option names

std::string left_side(const Option& o) {
  const auto letters = o.letters(), longs = o.longs();
  std::string s = letters.empty() && !o.positional ? "    " : "";
  for (const auto& l : letters) s += (s.empty() || s == "    " ? "" : ", ") + l;
  for (const auto& l : longs) s += (s.empty() || s == "    " ? "" : ", ") + l;
  if (o.positional) s = o.names;
  if (!o.value.empty()) s += " " + o.value;
  return s;
}

std::string help_text(const Option& o) {
  std::string s = o.help;
  if (!o.choices.empty()) {
    s += ": ";
    for (size_t i = 0; i < o.choices.size(); ++i) s += (i ? ", " : "") + o.choices[i];
  }
  return s;
}

std::string usage_line(const CommandInfo& info, const OptionTable& table) {
  std::string s = "dsr1 " + info.name + " [OPTIONS]";
  for (const Option& o : table.options())
    if (o.positional) s += o.repeatable ? " [" + o.names + "...]" : " [" + o.names + "]";
  return s;
}

void example_lines(std::string& out, const std::vector<Example>& examples) {
  size_t widest = 0;
  for (const Example& e : examples) widest = std::max(widest, std::min<size_t>(e.line.size(), 52));
  for (const Example& e : examples) {
    out += "  " + e.line;
    if (!e.what.empty()) {
      if (e.line.size() > widest) out += "\n  " + std::string(widest, ' ');
      else out += std::string(widest - e.line.size(), ' ');
      out += "  " + e.what;
    }
    out += "\n";
  }
}

constexpr const char* kExitCodes[][2] = {
    {"0", "done"},
    {"1", "run-time error not listed below: a full disk, a broken model"},
    {"2", "wrong usage: an unknown or contradictory option, no prompt and no terminal"},
    {"3", "model or tokenizer file missing, damaged or of an unsupported kind"},
    {"4", "does not fit: memory, a prompt longer than the context"},
    {"6", "a device was asked for and is not there"},
    {"130, 143, 129", "stopped by SIGINT, SIGTERM, SIGHUP"}};

}  // namespace

OptionTable full_table(Command& command) {
  OptionTable table;
  command.declare(table);
  declare_common_options(table);
  return table;
}

std::string short_usage() {
  return "usage: dsr1 COMMAND [OPTIONS] ...\n"
         "  dsr1 run MODEL             chat with a model (a GGUF file or a Hugging Face directory)\n"
         "  dsr1 run MODEL -p TEXT     one answer\n"
         "  dsr1 --help                all commands\n";
}

std::string general_help(int columns) {
  std::string out =
      "usage: dsr1 COMMAND [OPTIONS] ...\n\nLocal inference for the DeepSeek-R1 family of models.\n\nCommands:\n";
  for (const auto& c : all_commands()) {
    const CommandInfo info = c->info();
    out += "  " + info.name + std::string(14 - info.name.size(), ' ') + info.summary + "\n";
  }
  out += "\nExamples:\n";
  example_lines(out, {{"dsr1 run model.gguf", "chat"},
                      {"dsr1 run model.gguf -p \"Why is the sky blue?\"", "one answer"},
                      {"cat notes.txt | dsr1 run model.gguf -p \"Summarize.\"", "piped text goes first"},
                      {"dsr1 inspect model.gguf", "what is in the file"}});
  out +=
      "\n" +
      wrap(
          "dsr1 COMMAND --help tells more. Options can be set in the environment as DSR1_<NAME> (DSR1_TEMP=0.7) and in "
          "config.json under $XDG_CONFIG_HOME/dsr1. --version: version, commit, compilers, CPU levels, CUDA. "
          "--list-devices: what can compute. Exit codes: man dsr1.",
          0, static_cast<size_t>(std::min(columns, 100)));
  return out;
}

std::string command_help(const CommandInfo& info, const OptionTable& table, int columns) {
  const auto width = static_cast<size_t>(std::clamp(columns, 40, 100));
  std::string out = "usage: " + usage_line(info, table) + "\n\n" + wrap(info.description, 0, width);
  if (!info.examples.empty()) {
    out += "\nExamples:\n";
    example_lines(out, info.examples);
  }
  std::string section;
  for (const Option& o : table.options()) {
    const std::string title = o.positional ? "Arguments" : o.section;
    if (title != section) out += "\n" + title + ":\n";
    section = title;
    std::string line = "  " + left_side(o);
    if (line.size() + 2 > kLeft) line += "\n" + std::string(kLeft, ' ');
    else line += std::string(kLeft - line.size(), ' ');
    out += line + wrap(help_text(o), kLeft, width).substr(kLeft);
  }
  return out;
}

std::string man_page() {
  auto roff = [](std::string_view text) {
    std::string s;
    for (char c : text) {
      if (c == '\\') s += "\\e";
      else if (c == '-') s += "\\-";
      else if ((c == '.' || c == '\'') && (s.empty() || s.back() == '\n')) s += std::string("\\&") + c;
      else s += c;
    }
    return s;
  };
  std::string out =
      ".\\\" Made by `dsr1 --man` from the option table.\n.TH DSR1 1 \"\" \"dsr1\" \"User Commands\"\n"
      ".SH NAME\ndsr1 \\- local inference for the DeepSeek\\-R1 family of models\n.SH SYNOPSIS\n"
      ".B dsr1\n.I COMMAND\n[\\fIOPTIONS\\fR] ...\n"
      ".SH DESCRIPTION\nAnswers go to standard output alone; messages, bars and timings to standard error. "
      "Where a stream is no terminal there is no colour, no bar and no prompt sign.\n.SH COMMANDS\n";
  for (const auto& c : all_commands()) {
    const CommandInfo info = c->info();
    const OptionTable table = full_table(*c);
    out += ".SS " + roff(usage_line(info, table)) + "\n" + roff(info.description) + "\n";
    for (const Option& o : table.options()) {
      if (o.section == "Messages") continue;  // said once, below
      std::string left = left_side(o);
      left.erase(0, left.find_first_not_of(' '));
      out += ".TP\n\\fB" + roff(left) + "\\fR\n" + roff(help_text(o)) + "\n";
    }
    if (!info.examples.empty()) {
      out += ".PP\nExamples:\n.nf\n";
      for (const Example& e : info.examples)
        out += roff("  " + e.line + (e.what.empty() ? "" : "    # " + e.what)) + "\n";
      out += ".fi\n";
    }
  }
  out += ".SH COMMON OPTIONS\n";
  OptionTable common;
  declare_common_options(common);
  for (const Option& o : common.options()) {
    std::string left = left_side(o);
    left.erase(0, left.find_first_not_of(' '));
    out += ".TP\n\\fB" + roff(left) + "\\fR\n" + roff(help_text(o)) + "\n";
  }
  out += ".SH EXIT STATUS\n";
  for (const auto& row : kExitCodes) out += std::string(".TP\n") + row[0] + "\n" + roff(row[1]) + "\n";
  out +=
      ".SH ENVIRONMENT\nEach option has a variable that sets its default: DSR1_ and its long name in upper case with _ "
      "for \\-, "
      "as in DSR1_CTX_SIZE. NO_COLOR, TERM and COLUMNS are honoured. DSR1_HOME puts all of dsr1's own directories in "
      "one "
      "place.\n.SH FILES\n.TP\n$XDG_CONFIG_HOME/dsr1/config.json\nDefaults of options by long name: "
      "{\"temp\": 0.7, \"run\": {\"ctx\\-size\": 8192}}; flags win over the environment, the environment over this "
      "file.\n"
      ".TP\n$XDG_DATA_HOME/dsr1/models\nModels that can be named without their path.\n";
  return out;
}

}  // namespace dsr1::cli
