// Speed measurements in llama-bench's terms: its tests (ppN, tgN, ppN+tgM, each at a depth), its JSON names, its way of
// timing (tokenizing, sampling and loading excluded), and beside each row what it can be held against: probes of memory
// and arithmetic between the repetitions, and the state of the machine.
//
// A Bench owns an engine, a session and the probes; driven by one thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dsr1/backend/probe.h"
#include "dsr1/base/json.h"
#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/machine.h"

namespace dsr1::runtime {

struct BenchTest {
  int64_t n_prompt = 0, n_gen = 0, n_depth = 0;
  int64_t tokens() const { return n_prompt + n_gen; }
  std::string name() const;  // "pp512", "tg128", "pp512+tg128", "tg128 @ d4096"
};

struct BenchOptions {
  int repetitions = 5;
  bool warmup = true;
  double probe_seconds = 0.1;       // each probe between repetitions; 0: no probes
  std::filesystem::path sha_cache;  // see model_sha256
  uint64_t sha_most_bytes = uint64_t{16} << 30;
  std::string build_commit;
  const std::atomic<bool>* cancel = nullptr;
};

// Samples of the probes that ran between the repetitions, one more than there are repetitions.
struct ProbeSeries {
  std::vector<double> read_bytes_per_s, int8_per_s, clock_hz;
  std::vector<double> rehearsed_token_s;  // see Bench::rehearse_with
  std::string int8_how;
};

struct BenchModel {
  std::string filename, type;  // "qwen2 1.5B Q4_K - Medium"
  uint64_t size = 0;           // bytes of tensors
  int64_t n_params = 0;
  Reading<std::string> sha256;
};

struct BenchRow {
  BenchModel model;
  BenchTest test;
  std::string test_time;        // RFC 3339, UTC
  std::string backend, device;  // "CPU", "cpu (avx512_vnni, 2 threads)"
  int n_threads = 0, n_batch = 0, n_ubatch = 0;
  DType type_k = DType::kF16, type_v = DType::kF16;
  bool use_mmap = true;
  std::vector<double> seconds;         // of each repetition
  std::vector<double> prompt_seconds;  // its prompt part, where there is one
  bool on_host = true;                 // the processor's memory holds weights and cache, or else a GPU's
  double bytes_per_token = 0;          // of weights and KV cache read; a prompt's share its passes' weights
  double operations_per_token = 0;     // of prompts
  Reading<double> disk_bytes_per_token, steal_share;  // measured over the repetitions
  Reading<double> watts, joules_per_token;
  Reading<double> throttle_events;
  Reading<double> page_cache_resident;
  MachineState machine;
  std::vector<std::vector<GpuState>> gpus;  // after each repetition; none where there is no GPU
  std::string no_gpu;
  ProbeSeries probes;
  uint64_t kv_bytes = 0;
  int64_t n_ctx = 0;
  std::vector<double> predicted_ts;  // low, mid, high; empty: none was asked for
  std::string build_commit;

  std::vector<double> rates() const;  // tokens a second of each repetition
  // Share of the limit the phase works against: bytes over the read probe (generation), operations over the int8 probe
  // (prompts). 0 where there is no such probe.
  double share_of_bandwidth() const;
  double share_of_int8() const;
};

// Instantaneous speed at a context length, in ds4-bench's terms.
struct FrontierRow {
  int64_t ctx_tokens = 0, prefill_tokens = 0, gen_tokens = 0;
  double prefill_tps = 0, gen_tps = 0;
  uint64_t kvcache_bytes = 0;
  double read_bytes_per_s = 0;  // probe beside it
};

class Bench {
 public:
  // n_batch, n_ubatch as llama-bench names them: engine.n_batch is their minimum. engine.n_ctx must hold every test.
  static Result<std::unique_ptr<Bench>> open(const std::string& model, const EngineOptions& engine, int n_batch,
                                             int n_ubatch, const BenchOptions& options, const ProgressFn& loading = {});
  ~Bench();
  // repetition_done: repetitions finished of all.
  Result<BenchRow> run(const BenchTest& test, const ProgressFn& repetition_done = {});
  // A further probe between repetitions: seconds of one pass of the model's rehearsal.
  void rehearse_with(std::function<double()> token);
  // Rows at contexts step, 2 step, ... up to last; n_gen tokens are generated at each and forgotten again.
  Status frontier(int64_t step, int64_t last, int64_t n_gen, const std::function<void(const FrontierRow&)>& row);

  const Engine& engine() const;
  const ModelFacts& facts() const;
  backend::CpuProbe* probe();  // null where probes are off

 private:
  Bench();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One row as llama-bench's JSON, with our object `dsr1` at its end.
Json bench_json(const BenchRow& row);
// Rows as llama-bench prints them: a Markdown table with columns only for what differs or matters, CSV with its header.
std::string bench_markdown(const std::vector<BenchRow>& rows);
std::string bench_csv(const std::vector<BenchRow>& rows, bool header = true);
Json frontier_json(const FrontierRow& row);
std::string frontier_markdown(const std::vector<FrontierRow>& rows);
std::string frontier_csv(const std::vector<FrontierRow>& rows, bool header = true);

// "Q4_K - Medium" for general.file_type 15, as llama.cpp words it; empty where unknown.
std::string file_type_text(uint32_t file_type);
BenchModel describe_model(const io::ModelFile& file, const ModelFacts& facts);

}  // namespace dsr1::runtime
