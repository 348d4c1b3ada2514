#include "paths.h"

#include <algorithm>
#include <cstdlib>

namespace dsr1::cli {
namespace fs = std::filesystem;
namespace {

constexpr const char* kBundledModel = "r1-nano";  // of those that come along, the one to talk to

fs::path env_path(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? fs::path(value) : fs::path();
}

fs::path under_home(const char* xdg, const char* fallback) {
  if (fs::path p = env_path(xdg); p.is_absolute()) return p / "dsr1";  // relative ones are to be ignored (XDG)
  if (fs::path home = env_path("HOME"); !home.empty()) return home / fallback / "dsr1";
  return {};
}

// The GGUF files in a directory and one level below (first parts only of split sets), and Hugging Face directories.
std::vector<fs::path> models_in(const fs::path& dir) {
  std::vector<fs::path> found;
  std::error_code ec;
  auto add = [&](const fs::path& p) {
    const std::string name = p.filename().string();
    if (p.extension() != ".gguf" || !fs::is_regular_file(p, ec)) return;
    const size_t of = name.find("-of-");
    if (of != std::string::npos && of >= 5 && name.substr(of - 5, 5) != "00001") return;
    found.push_back(p);
  };
  for (fs::directory_iterator it(dir, ec), end; !ec && it != end; it.increment(ec)) {
    std::error_code inner;
    add(it->path());
    if (!fs::is_directory(it->path(), inner)) continue;
    if (fs::exists(it->path() / "config.json", inner) && fs::exists(it->path() / "tokenizer.json", inner))
      found.push_back(it->path());
    for (fs::directory_iterator sub(it->path(), inner); !inner && sub != end; sub.increment(inner)) add(sub->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string model_name(const fs::path& p) {
  return p.extension() == ".gguf" ? p.stem().string() : p.filename().string();
}

}  // namespace

fs::path config_file() {
  if (fs::path p = env_path("DSR1_CONFIG"); !p.empty()) return p;
  if (fs::path p = env_path("DSR1_HOME"); !p.empty()) return p / "config.json";
  const fs::path dir = under_home("XDG_CONFIG_HOME", ".config");
  return dir.empty() ? dir : dir / "config.json";
}

fs::path cache_dir() {
  if (fs::path p = env_path("DSR1_HOME"); !p.empty()) return p / "cache";
  return under_home("XDG_CACHE_HOME", ".cache");
}

fs::path state_dir() {
  if (fs::path p = env_path("DSR1_HOME"); !p.empty()) return p / "state";
  return under_home("XDG_STATE_HOME", ".local/state");
}

fs::path sessions_dir() {
  if (fs::path p = env_path("DSR1_HOME"); !p.empty()) return p / "sessions";
  const fs::path data = under_home("XDG_DATA_HOME", ".local/share");
  return data.empty() ? data : data / "sessions";
}

std::vector<fs::path> bundled_model_dirs() {
  std::error_code ec;
  const fs::path program = fs::read_symlink("/proc/self/exe", ec);
  if (ec) return {};
  const fs::path bin = program.parent_path();
  // Installed: PREFIX/bin/dsr1. In a source tree: build/PRESET/dsr1.
  return {bin.parent_path() / "share/dsr1/models", bin.parent_path().parent_path() / "models"};
}

std::vector<fs::path> user_model_dirs() {
  if (fs::path p = env_path("DSR1_HOME"); !p.empty()) return {p / "models"};
  std::vector<fs::path> dirs;
  for (const fs::path& p : {under_home("XDG_DATA_HOME", ".local/share"), under_home("XDG_CACHE_HOME", ".cache")})
    if (!p.empty()) dirs.push_back(p / "models");
  return dirs;
}

bool looks_like_model(const std::string& word) {
  std::error_code ec;
  return word.ends_with(".gguf") || (fs::exists(word, ec) && word.find('/') != std::string::npos) ||
         fs::exists(fs::path(word) / "config.json", ec);
}

Result<std::string> resolve_model(const std::optional<std::string>& typed, bool lone) {
  std::error_code ec;
  if (typed && fs::exists(*typed, ec)) return *typed;
  if (typed && typed->find('/') == std::string::npos) {
    for (const auto& dirs : {bundled_model_dirs(), user_model_dirs()})
      for (const fs::path& dir : dirs)
        for (const fs::path& model : models_in(dir))
          if (model_name(model) == *typed || model.filename() == *typed) return model.string();
  }
  if (typed) {
    std::string shown = typed->substr(0, 60) + (typed->size() > 60 ? "..." : "");
    std::replace(shown.begin(), shown.end(), '\n', ' ');
    std::string message = "no model file or directory '" + shown + "'";
    return Error(ErrorCode::kModel, message + (lone ? "; for a prompt use -p" : ""));
  }
  for (const fs::path& dir : bundled_model_dirs()) {
    const auto models = models_in(dir);
    if (models.empty()) continue;
    const auto named =
        std::find_if(models.begin(), models.end(), [](const fs::path& m) { return model_name(m) == kBundledModel; });
    return (named != models.end() ? *named : models.front()).string();
  }
  for (const fs::path& dir : user_model_dirs()) {
    const auto models = models_in(dir);
    if (models.size() == 1) return models.front().string();
    if (models.empty()) continue;
    std::string names;
    for (const fs::path& m : models) names += " " + model_name(m);
    return Error(ErrorCode::kUsage, "which model? " + dir.string() + " has:" + names);
  }
  return Error(
      ErrorCode::kModel,
      "no model is bundled with this version; name one: dsr1 run MODEL, a GGUF file or a Hugging Face directory");
}

}  // namespace dsr1::cli
