// OptionTable: the options of one command, written down once. Parsing (app.cpp), --help, the man page and the shell
// completions all come from it.
//
// Names are given as "-c,--ctx-size": letters first, then long names; the first long name is the canonical one, from
// which the environment variable (DSR1_CTX_SIZE) and the key of the config file ("ctx-size") are made. Letters may be
// several ("-ngl", as llama.cpp has them). An option without a value name is a flag.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dsr1/base/result.h"

namespace dsr1::cli {

enum class Complete { kNothing, kFile, kModel };

struct Option {
  std::string names;
  std::string value;  // "N", "FILE"; empty: a flag
  std::string help;
  std::string section;
  std::vector<std::string> choices;  // the only values allowed, where not empty
  Complete complete = Complete::kNothing;
  bool repeatable = false;
  bool positional = false;
  std::function<Status(std::string_view)> set;    // a flag gets "true" or "false"
  std::function<void()> reset;                    // forgets what the environment or the config file said
  std::function<std::vector<std::string>()> get;  // the values it has now, as set() takes them; none where not given

  bool is_flag() const { return value.empty() && !positional; }
  std::vector<std::string> letters() const;  // "-c", "-ngl"
  std::vector<std::string> longs() const;    // "--ctx-size"
  std::string key() const;                   // "ctx-size"; a positional's name in lower case
  std::string env() const;                   // "DSR1_CTX_SIZE"
  std::string title() const;                 // as errors name it: "--ctx-size", "-p/--prompt"

  Option& one_of(std::vector<std::string> values) {
    choices = std::move(values);
    return *this;
  }
  Option& completes(Complete kind) {
    complete = kind;
    return *this;
  }
};

class OptionTable {
 public:
  // Options added from here on stand under this heading in --help.
  void section(std::string title) { section_ = std::move(title); }

  Option& flag(std::string names, bool* target, std::string help);
  Option& add(std::string names, std::string value, std::string* target, std::string help);
  Option& add(std::string names, std::string value, std::optional<std::string>* target, std::string help);
  Option& add(std::string names, std::string value, std::vector<std::string>* target, std::string help);
  Option& add(std::string names, std::string value, int* target, std::string help);
  Option& add(std::string names, std::string value, int64_t* target, std::string help);
  Option& add(std::string names, std::string value, float* target, std::string help);
  Option& positional(std::string name, std::optional<std::string>* target, std::string help);
  Option& positional(std::string name, std::vector<std::string>* target, std::string help);

  const std::deque<Option>& options() const { return options_; }
  std::deque<Option>& options() { return options_; }
  // By any of its names, "-ngl" or "--ctx-size"; null where there is none.
  const Option* find(std::string_view name) const;

 private:
  Option& push(std::string names, std::string value, std::string help);

  std::string section_ = "Options";
  std::deque<Option> options_;  // a deque: references stay valid while options are added
};

// kUsage naming what was expected and found.
Result<int64_t> parse_int(std::string_view text);
Result<double> parse_number(std::string_view text);
Result<bool> parse_bool(std::string_view text);

// The known word nearest to what was typed (at most a third of its letters wrong); empty where none is near.
std::string nearest_word(std::string_view typed, const std::vector<std::string>& known);

}  // namespace dsr1::cli
