// Will it fit, where does each part go, how fast will it be and why: answers before anything is loaded, for this
// machine (its memory, its measured rates) or for one described in words.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dsr1/base/json.h"
#include "dsr1/runtime/plan.h"
#include "dsr1/runtime/rates.h"

namespace dsr1::runtime {

// A machine as far as bytes and rates go. Rates of 0 are unknown.
struct Machine {
  uint64_t vram = 0, ram = 0;  // bytes that a model may use
  double vram_bytes_per_s = 0, ram_bytes_per_s = 0, disk_bytes_per_s = 0;
  double gpu_ops_per_s = 0, cpu_ops_per_s = 0;
  int n_gpus = 1;  // that share the work of each matrix; their figures here are sums
};

// "gpu=24GiB,1008GB/s,165TFLOPS", "ram=128GiB,80GB/s,1.5TOPS", "disk=7GB/s": one word each, any order of the figures.
// What is not named is absent (no GPU) or unknown (a rate). kUsage for what is no such word.
Result<Machine> parse_what_if(const std::vector<std::string>& words);

struct Placement {
  uint64_t vram = 0, ram = 0, disk = 0;  // bytes of weights, cache and scratch
  // Of the weights read for one token, where they are read from.
  double vram_read = 0, ram_read = 0, disk_read = 0;
  double kv_vram_share = 0;  // of the cache
};

// Tokens a second; zeros where it cannot be known.
struct Interval {
  double low = 0, mid = 0, high = 0;
  bool known() const { return mid > 0; }
};

struct Prediction {
  Interval decode, prefill;
  std::string decode_limit, prefill_limit;  // "ram_bandwidth", "vram_bandwidth", "int8", "disk", "overhead", ...
  std::string decode_note, prefill_note;    // the arithmetic in words, or why it cannot be known
};

struct Fit {
  ModelFacts facts;
  DType type_k = DType::kF16, type_v = DType::kF16;
  MemoryPlan plan;    // with the context it is about
  bool fits = false;  // weights, cache and scratch all resident in RAM and VRAM
  bool runs = false;  // at least cache, scratch and what every token needs
  std::string why;    // the verdict in one line
  Placement placement;
  Prediction prediction;
};

struct FitRequest {
  PlanRequest plan;        // n_ctx, types, workspace; `available` is taken from the machine
  int64_t n_prompt = 512;  // of the prefill figure
};

Fit fit_model(const ModelFacts& facts, const Machine& machine, const FitRequest& request);

// From the rates of this machine's kernels: replaces the data-sheet prediction of fit_model where all is in RAM.
// now_over_then: memory bandwidth at this moment over that when the rates were taken. past_ratios: measured over
// predicted of earlier runs; with five or more their spread replaces the assumed one. disk_bytes_per_s: for what the
// placement leaves in the file.
Prediction predict_on(const MachineRates& rates, const Fit& fit, double context, int64_t n_prompt,
                      double now_over_then = 1, const std::vector<double>& past_ratios = {},
                      double disk_bytes_per_s = 0);
// The object of `fit --json`.
Json fit_json(const Fit& fit);

// Predictions beside what was then measured, one JSON line each in `directory`/receipts.jsonl.
struct Receipt {
  std::string machine, model, test;
  double predicted = 0, measured = 0;
};
void store_receipt(const std::filesystem::path& directory, const Receipt& receipt);
// The newest of them for that machine and kind of test ("tg", "pp").
std::vector<Receipt> read_receipts(const std::filesystem::path& directory, const std::string& machine,
                                   const std::string& test, size_t most = 200);

}  // namespace dsr1::runtime
