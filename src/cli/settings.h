// GenerationOptions by name, for the chat's /set and for sessions, which keep what differs from the defaults.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "generation_options.h"

namespace dsr1::cli {

// Long names and values of all options that are not as built in, in the table's order.
std::vector<std::pair<std::string, std::string>> changed_settings(const GenerationOptions& options);

// The same as a JSON object of arrays, and back: options that still are as built in take the kept values, the others
// (given on the command line) stay. What no longer means anything is left out.
std::string settings_json(const GenerationOptions& options);
void apply_settings(const std::string& json, GenerationOptions& options);

// Sets one option by its long name ("temp", "top_p"; Ollama's and llama.cpp's other names too). kUsage, naming the
// nearest known one, where there is none such or the value has no meaning.
Status set_option(GenerationOptions& options, const std::string& name, const std::string& value);
std::vector<std::string> setting_names();

}  // namespace dsr1::cli
