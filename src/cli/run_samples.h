// Several answers to one prompt (`run --samples`, `--best-of`): made together, the prompt read once.
#pragma once

#include <string>
#include <vector>

#include "answer_printer.h"
#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/generate.h"

namespace dsr1::cli {

// At most so many at once: more gain little on a CPU and hold that many caches.
inline constexpr int kSamplesTogether = 8;

struct SampleOptions {
  int samples = 1;
  bool vote = false;  // print only the answer that most agree with
  bool json = false, verbose = false;
  PrintOptions print;
  std::string model;  // as --json names it
};

// Sample k has seed options.sampler.seed + k, so that each can be had again alone. Prints them in order, each as soon
// as it is its turn. kInterrupted after a signal, with those printed that were done.
Status answer_samples(runtime::Engine& engine, const std::vector<int32_t>& prompt, runtime::GenerateOptions options,
                      const SampleOptions& samples);

}  // namespace dsr1::cli
