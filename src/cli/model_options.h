// The options that say which model runs where, shared by the commands that load one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "dsr1/runtime/engine.h"

namespace dsr1::cli {

struct ModelOptions {
  std::optional<std::string> model;
  int64_t n_ctx = 0;
  int n_threads = 0, n_threads_batch = 0;
  int n_batch = 2048, n_ubatch = 512;
  std::string gpu_layers = "auto";
  int n_cpu_moe = -1;
  bool cpu_moe = false, mlock = false, no_mmap = false;
  std::vector<std::string> override_tensor;
  std::optional<std::string> type_k, type_v;
  std::string device = "auto", cpu_isa = "auto", expert_groups = "auto";
  std::string cpu_mask, cpu_range, cpu_strict = "0", numa;

  // context_help: what -c means for this command.
  void declare(OptionTable& table, const std::string& context_help);
  // kUsage for contradictions, kNoDevice where a GPU is asked for that this build or machine lacks.
  Result<runtime::EngineOptions> engine_options() const;
};

// Opens with a progress bar on stderr.
Result<std::unique_ptr<runtime::Engine>> open_engine(const std::string& path, const runtime::EngineOptions& options);

// The same for several sequences at once: `asked` of them, or where that is 0 at most `wanted`, fewer rather than a
// context below 8192 tokens. engine->plan().n_sessions says how many.
Result<std::unique_ptr<runtime::Engine>> open_engine_for_many(const std::string& path, runtime::EngineOptions options,
                                                              int asked, int wanted);

// The engine's tokenizer, or an error that says why there is none.
Result<const text::Tokenizer*> tokenizer_of(const runtime::Engine& engine);

// -m and the positional MODEL name the same thing: kUsage where both are given.
Result<std::optional<std::string>> one_model(const std::optional<std::string>& flag,
                                             const std::optional<std::string>& positional);

}  // namespace dsr1::cli
