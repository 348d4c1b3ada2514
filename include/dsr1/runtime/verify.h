// Is this model file whole and sane: the checks of `dsr1 verify`, each with what it found and what to do.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dsr1/runtime/engine.h"

namespace dsr1::runtime {

struct VerifyCheck {
  enum class Verdict { kOk, kFailed, kSkipped };
  std::string name;  // "parts", "sha256", "numbers", "tokenizer", "template", "decode"
  Verdict verdict = Verdict::kOk;
  std::string found;
  std::string mend;  // what to do, where it failed
};

struct VerifyOptions {
  std::string cpu_isa = "auto";
  int n_threads = 0;
  std::filesystem::path sha256_list;   // lines "digest  name"; empty: SHA256SUMS beside the model, where there is one
  std::filesystem::path sha256_cache;  // see model_sha256
  bool decode = true;                  // the comparison with the scalar reference, slow for large models
  const std::atomic<bool>* cancel = nullptr;
};

// Bytes of the pass that is under way ("hashing", then "scanning"); each begins at 0.
using VerifyProgressFn = std::function<void(const char* pass, int64_t done, int64_t total)>;

// Every check in order; each is given to `done` as soon as it is known. kInterrupted where *cancel became true.
Result<std::vector<VerifyCheck>> verify_model(const std::string& path, const VerifyOptions& options,
                                              const std::function<void(const VerifyCheck&)>& done,
                                              const VerifyProgressFn& progress = {});

// One tensor's numbers: what is wrong with them, or empty. Not-a-numbers, infinities, scales no trained tensor has,
// matrices of zeros.
std::string implausible_numbers(const TensorView& tensor);

}  // namespace dsr1::runtime
