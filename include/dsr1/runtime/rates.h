// How fast this machine runs a model: the numbers a prediction is made of. Measured in seconds by a rehearsal of the
// model's own forward pass (rehearsal.h), kept in a file for the next question.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dsr1/base/json.h"
#include "dsr1/runtime/plan.h"

namespace dsr1::runtime {

struct MachineRates {
  std::string machine;                   // what the figures belong to: processor, threads, level, program version
  std::vector<double> read_bytes_per_s;  // samples of the memory probe during the measurement
  double int8_ops_per_s = 0;
  double matrix_call_s = 0;  // a call of a matrix too small to matter
  // One token with nothing before it, and what each token before it adds.
  double token_s = 0, token_s_per_key = 0;
  // A prompt's token by itself, and what each token before it adds.
  double prompt_s = 0, prompt_s_per_key = 0;

  double read_median() const;
  double decode_seconds(double context) const { return token_s + token_s_per_key * context; }
  double prefill_seconds(int64_t n_prompt) const {
    const auto n = static_cast<double>(n_prompt);
    return n * (prompt_s + prompt_s_per_key * n / 2);
  }
};

struct RateRequest {
  std::string cpu_isa = "auto";
  int n_threads = 0;       // 0: all usable cores
  std::string version;     // of the program: kernels change
  double seconds = 6;      // about, for a model that was not rehearsed before
  bool kept_only = false;  // measure nothing: kRuntime where something is not kept
  bool fresh = false;      // measure even what is kept
};

// The rates for `facts`, from `cache` (a JSON file; empty: nowhere) where kept and measured where not; new ones are
// kept. kDoesNotFit where the memory of a rehearsal cannot be had.
Result<MachineRates> machine_rates(const ModelFacts& facts, DType type_k, const RateRequest& request,
                                   const std::filesystem::path& cache);

Json rates_json(const MachineRates& rates);
std::optional<MachineRates> rates_from_json(const Json& json);

// A whole small JSON file; null where it is missing or no JSON. And back: written beside and renamed, directories made;
// best effort.
Json read_json_file(const std::filesystem::path& path);
void write_json_file(const std::filesystem::path& path, const Json& json);

}  // namespace dsr1::runtime
