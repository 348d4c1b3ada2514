#include "settings.h"

#include <algorithm>

#include "dsr1/base/json.h"

namespace dsr1::cli {
namespace {

// Ollama's names for what is called otherwise here.
std::string our_name(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  static const std::pair<const char*, const char*> other[] = {
      {"num-predict", "predict"}, {"max-tokens", "predict"}, {"budget", "think-budget"}};
  for (const auto& [theirs, ours] : other)
    if (name == theirs) return ours;
  return name;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> changed_settings(const GenerationOptions& options) {
  GenerationOptions now = options, built_in;
  OptionTable table, defaults;
  now.declare(table);
  built_in.declare(defaults);
  std::vector<std::pair<std::string, std::string>> changed;
  for (const Option& o : table.options()) {
    const Option* usual = defaults.find(o.title());
    const auto values = o.get();
    if (usual == nullptr || values == usual->get()) continue;
    for (const auto& v : values) changed.emplace_back(o.key(), v);
  }
  return changed;
}

std::string settings_json(const GenerationOptions& options) {
  Json all = Json::object();
  for (const auto& [name, value] : changed_settings(options)) {
    const Json* have = all.find(name);
    Json values = have != nullptr ? *have : Json::array();
    values.push(value);
    all.set(name, std::move(values));
  }
  return all.dump();
}

void apply_settings(const std::string& text, GenerationOptions& options) {
  const auto json = Json::parse(text);
  if (!json || !json->is_object()) return;
  GenerationOptions built_in;
  OptionTable table, defaults;
  options.declare(table);
  built_in.declare(defaults);
  for (const auto& [name, values] : json->as_object()) {
    const Option *o = table.find("--" + name), *usual = defaults.find("--" + name);
    if (o == nullptr || !values.is_array() || o->get() != usual->get()) continue;
    for (const Json& v : values.as_array()) {
      const bool known = v.is_string() && (o->choices.empty() || std::find(o->choices.begin(), o->choices.end(),
                                                                           v.as_string()) != o->choices.end());
      if (known) (void)o->set(v.as_string());
    }
  }
}

std::vector<std::string> setting_names() {
  GenerationOptions options;
  OptionTable table;
  options.declare(table);
  std::vector<std::string> names;
  for (const Option& o : table.options()) names.push_back(o.key());
  return names;
}

Status set_option(GenerationOptions& options, const std::string& name, const std::string& value) {
  OptionTable table;
  options.declare(table);
  const std::string key = our_name(name);
  const Option* option = table.find("--" + key);
  if (option == nullptr) {
    std::vector<std::string> known;
    for (const Option& o : table.options())
      for (const auto& l : o.longs()) known.push_back(l.substr(2));
    const std::string near = nearest_word(key, known);
    return Error(ErrorCode::kUsage,
                 "no setting '" + name + "'" + (near.empty() ? "; /set lists them" : "; did you mean " + near + "?"));
  }
  if (value.empty() && !option->is_flag())
    return Error(ErrorCode::kUsage, key + " needs a value (" + option->value + "): " + option->help);
  if (!option->choices.empty() &&
      std::find(option->choices.begin(), option->choices.end(), value) == option->choices.end()) {
    std::string known;
    for (const auto& c : option->choices) known += (known.empty() ? "" : ", ") + c;
    return Error(ErrorCode::kUsage, key + ": unknown value '" + value + "'; known: " + known);
  }
  return option->set(value).context(key);
}

}  // namespace dsr1::cli
