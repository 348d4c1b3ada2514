// Where things are: the user's directories (XDG, or DSR1_HOME for all of them), the bundled model, a model by name.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dsr1/base/result.h"

namespace dsr1::cli {

// DSR1_CONFIG, or config.json in DSR1_HOME or $XDG_CONFIG_HOME/dsr1. Empty where no home is known.
std::filesystem::path config_file();

// What can be made again, and what is worth keeping (measurements): empty where no home is known.
std::filesystem::path cache_dir();
std::filesystem::path state_dir();
// Conversations: what the user would miss. Empty where no home is known.
std::filesystem::path sessions_dir();

// Where models are looked for, nearest first: what came with the program, then the user's.
std::vector<std::filesystem::path> bundled_model_dirs();
std::vector<std::filesystem::path> user_model_dirs();

// "x.gguf", or a directory with a config.json, or anything with a slash in it that exists.
bool looks_like_model(const std::string& word);

// The path for what was typed (a path, or the name of a model in one of the directories), or the bundled model for
// nothing. kModel, saying what to do, where there is none. `lone`: the only word typed, perhaps meant as a prompt.
Result<std::string> resolve_model(const std::optional<std::string>& typed, bool lone);

}  // namespace dsr1::cli
