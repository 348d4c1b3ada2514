#include "option_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace dsr1::cli {
namespace {

std::vector<std::string> split_names(const std::string& names, bool longs) {
  std::vector<std::string> out;
  size_t begin = 0;
  while (begin < names.size()) {
    size_t end = names.find(',', begin);
    if (end == std::string::npos) end = names.size();
    std::string name = names.substr(begin, end - begin);
    if (name.starts_with("-") && name.starts_with("--") == longs) out.push_back(std::move(name));
    begin = end + 1;
  }
  return out;
}

using Values = std::vector<std::string>;

std::string quoted(std::string_view s) { return "'" + std::string(s) + "'"; }

template <class T>
Status set_integer(T* target, std::string_view text) {
  DSR1_TRY(const int64_t v, parse_int(text));
  if (v < std::numeric_limits<T>::min() || v > std::numeric_limits<T>::max())
    return Error(ErrorCode::kUsage, "number out of range: " + std::string(text));
  *target = static_cast<T>(v);
  return {};
}

}  // namespace

std::vector<std::string> Option::letters() const { return split_names(names, false); }
std::vector<std::string> Option::longs() const { return split_names(names, true); }

std::string Option::key() const {
  const auto all = longs();
  std::string key = all.empty() ? names : all.front().substr(2);
  std::transform(key.begin(), key.end(), key.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return key;
}

std::string Option::env() const {
  std::string name = "DSR1_" + key();
  for (char& c : name) c = c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return name;
}

std::string Option::title() const {
  if (positional) return names;
  const auto all = longs();
  return all.empty() ? letters().front() : all.front();
}

Option& OptionTable::push(std::string names, std::string value, std::string help) {
  Option& o = options_.emplace_back();
  o.names = std::move(names);
  o.value = std::move(value);
  o.help = std::move(help);
  o.section = section_;
  o.reset = [] {};
  return o;
}

Option& OptionTable::flag(std::string names, bool* target, std::string help) {
  Option& o = push(std::move(names), "", std::move(help));
  o.set = [target](std::string_view text) -> Status {
    DSR1_TRY(*target, parse_bool(text));
    return {};
  };
  o.get = [target] { return Values{*target ? "true" : "false"}; };
  return o;
}

Option& OptionTable::add(std::string names, std::string value, std::string* target, std::string help) {
  Option& o = push(std::move(names), std::move(value), std::move(help));
  o.set = [target](std::string_view text) -> Status {
    *target = text;
    return {};
  };
  o.get = [target] { return Values{*target}; };
  return o;
}

Option& OptionTable::add(std::string names, std::string value, std::optional<std::string>* target, std::string help) {
  Option& o = push(std::move(names), std::move(value), std::move(help));
  o.set = [target](std::string_view text) -> Status {
    *target = std::string(text);
    return {};
  };
  o.get = [target] { return *target ? Values{**target} : Values{}; };
  return o;
}

Option& OptionTable::add(std::string names, std::string value, std::vector<std::string>* target, std::string help) {
  Option& o = push(std::move(names), std::move(value), std::move(help));
  o.repeatable = true;
  o.set = [target](std::string_view text) -> Status {
    target->emplace_back(text);
    return {};
  };
  o.reset = [target] { target->clear(); };
  o.get = [target] { return *target; };
  return o;
}

Option& OptionTable::add(std::string names, std::string value, int* target, std::string help) {
  Option& o = push(std::move(names), std::move(value), std::move(help));
  o.set = [target](std::string_view text) { return set_integer(target, text); };
  o.get = [target] { return Values{std::to_string(*target)}; };
  return o;
}

Option& OptionTable::add(std::string names, std::string value, int64_t* target, std::string help) {
  Option& o = push(std::move(names), std::move(value), std::move(help));
  o.set = [target](std::string_view text) { return set_integer(target, text); };
  o.get = [target] { return Values{std::to_string(*target)}; };
  return o;
}

Option& OptionTable::add(std::string names, std::string value, float* target, std::string help) {
  Option& o = push(std::move(names), std::move(value), std::move(help));
  o.set = [target](std::string_view text) -> Status {
    DSR1_TRY(const double v, parse_number(text));
    *target = static_cast<float>(v);
    return {};
  };
  o.get = [target] {
    char text[32];
    return Values{std::string(text, std::to_chars(text, text + sizeof text, *target).ptr)};
  };
  return o;
}

Option& OptionTable::positional(std::string name, std::optional<std::string>* target, std::string help) {
  Option& o = add(std::move(name), "", target, std::move(help));
  o.positional = true;
  return o;
}

Option& OptionTable::positional(std::string name, std::vector<std::string>* target, std::string help) {
  Option& o = add(std::move(name), "", target, std::move(help));
  o.positional = true;
  return o;
}

const Option* OptionTable::find(std::string_view name) const {
  for (const Option& o : options_) {
    if (o.positional) continue;
    for (const auto& l : o.letters())
      if (l == name) return &o;
    for (const auto& l : o.longs())
      if (l == name) return &o;
  }
  return nullptr;
}

Result<int64_t> parse_int(std::string_view text) {
  std::string_view digits = text;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  int64_t v = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), v);
  if (ec == std::errc::result_out_of_range)
    return Error(ErrorCode::kUsage, "number out of range: " + std::string(text));
  if (ec != std::errc() || end != digits.data() + digits.size())
    return Error(ErrorCode::kUsage, "expected a whole number, found " + quoted(text));
  return v;
}

Result<double> parse_number(std::string_view text) {
  std::string_view digits = text;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double v = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), v);
  if (ec != std::errc() || end != digits.data() + digits.size() || std::isnan(v))
    return Error(ErrorCode::kUsage, "expected a number, found " + quoted(text));
  return v;
}

Result<bool> parse_bool(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  for (const char* yes : {"true", "1", "on", "yes", ""})
    if (lower == yes) return true;
  for (const char* no : {"false", "0", "off", "no"})
    if (lower == no) return false;
  return Error(ErrorCode::kUsage, "expected on or off, found " + quoted(text));
}

std::string nearest_word(std::string_view typed, const std::vector<std::string>& known) {
  // Optimal string alignment distance: insert, delete, replace, swap of neighbours.
  auto distance = [](std::string_view a, std::string_view b) {
    std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
    for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
    for (size_t i = 1; i <= a.size(); ++i)
      for (size_t j = 1; j <= b.size(); ++j) {
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    return d[a.size()][b.size()];
  };
  if (typed.size() > 64) return {};
  std::string best;
  size_t best_distance = std::max<size_t>(1, typed.size() / 3) + 1;
  for (const std::string& word : known) {
    size_t d = distance(typed, word);
    // A word cut short is near whatever is missing: "--temperat".
    if (typed.size() >= 4 && std::string_view(word).starts_with(typed)) d = std::min<size_t>(d, 1);
    if (d < best_distance) {
      best = word;
      best_distance = d;
    }
  }
  return best;
}

}  // namespace dsr1::cli
