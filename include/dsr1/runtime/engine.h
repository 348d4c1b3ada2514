// Engine: a model opened on a device, with its tokenizer and all memory planned; Session: one timeline of tokens with
// its KV cache. The owners of everything (docs/architecture.md).
//
// Engine::open plans weights, KV cache and scratch before it allocates, and refuses (kDoesNotFit) with the numbers
// where the machine cannot hold what every token needs. After open, evaluating tokens allocates nothing. One thread
// drives an Engine and its sessions; `cancel` flags may be set from anywhere, a signal handler included.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dsr1/base/cpu_placement.h"
#include "dsr1/io/model_file.h"
#include "dsr1/model/model.h"
#include "dsr1/ops/ops.h"
#include "dsr1/ops/tap.h"
#include "dsr1/runtime/placement.h"
#include "dsr1/runtime/plan.h"
#include "dsr1/text/tokenizer.h"

namespace dsr1::runtime {

struct EngineOptions {
  std::string device = "auto";          // auto cpu cuda cuda:N ref
  std::string cpu_isa = "auto";         // a level of `cli.md`, pinned
  int n_threads = 0;                    // 0: default_threads()
  CpuPlacement cpu_placement;           // of the process, before anything is opened
  int64_t n_ctx = 0;                    // 0: the model's, at most 32768, at most what fits beside the weights
  int n_batch = 512;                    // rows of one forward pass
  std::optional<DType> type_k, type_v;  // default f16; f32 on the reference device
  bool use_mmap = true, use_mlock = false;
  bool expert_groups = true;
  bool load_mtp = false;
  PlacementRequest placement;  // of a GPU: what stays in host memory; by default what does not fit
  int n_sessions = 1;          // sessions that will exist at once (for the memory plan)
  uint64_t memory_limit = 0;   // bytes this process may use; 0: what the system says (available_memory)
  ops::TapSink tap;            // where set: shown every op's result (ops/tap.h); slow
  // Where set: computes instead of `device` (a backend that is not part of the program, as tests have).
  std::function<Result<std::unique_ptr<ops::Ops>>(const ops::Limits&)> make_ops;
  int64_t stream_rows = 0;  // ops::HostExperts::stream_rows, for tests
};

class Engine;

class Session {
 public:
  const std::vector<int32_t>& tokens() const { return tokens_; }
  int64_t n_past() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t n_ctx() const { return n_ctx_; }
  // Forgets everything after the first n tokens (n <= n_past).
  void rewind(int64_t n);

  // Whether the cache lies in host memory; where it does not, kv_runs() cannot be read.
  bool on_host() const { return on_host_; }
  // Where the cache of the first n tokens lies: runs of bytes in a fixed order (layer, keys then values, head), for
  // keeping it elsewhere (kv_file.h). Valid while the session lives.
  std::vector<std::span<std::byte>> kv_runs(int64_t n) const;
  // Takes over tokens whose cache was written into kv_runs().
  void adopt(std::vector<int32_t> tokens);

 private:
  friend class Engine;
  std::vector<int32_t> tokens_;
  std::vector<ops::KvLayerView> layers_;
  std::unique_ptr<ops::Memory> memory_, host_memory_;  // of layers that a device leaves to the host
  int64_t n_ctx_ = 0;
  bool on_host_ = true;
};

// Tokens to append to one session in one pass.
struct Work {
  Session* session = nullptr;
  std::span<const int32_t> tokens;
  bool prompt = false;      // in the expanded form: part of a prompt that is long enough for it
  bool want_logits = true;  // of the last token
  // Where set and the backend can: a token is chosen for the last row instead, its logits stay on the device.
  const ops::SampleRequest* sample = nullptr;
};

// Logits of one token: index into the evaluated tokens, [n_vocab] values valid during the call.
using LogitsFn = std::function<void(int64_t index, std::span<const float> logits)>;
// The token chosen instead (Work::sample).
using SampledFn = std::function<void(int64_t index, const ops::Sampled& sampled)>;
// Tokens done of total; called after every layer, where each counts for its share of the chunk being read.
using ProgressFn = std::function<void(int64_t done, int64_t total)>;

struct EvalOptions {
  bool prompt = true;
  int64_t logits_from = -1;  // give logits of tokens logits_from...; -1: of the last only
  const std::atomic<bool>* cancel = nullptr;
  ProgressFn progress;
  // Of the last token, where logits_from is -1: Work::sample. on_logits is called where the choice was not covered.
  const ops::SampleRequest* sample = nullptr;
  SampledFn on_sampled;
};

class Engine {
 public:
  // path: a GGUF file (any part of a split set) or a Hugging Face directory. `progress`: bytes of weights read, where
  // they are read at all (no mmap, mlock, or a file that is not in memory yet).
  static Result<std::unique_ptr<Engine>> open(const std::string& path, const EngineOptions& options,
                                              const ProgressFn& progress = {});
  ~Engine();

  const io::ModelFile& file() const;
  const model::Model& model() const;
  const model::ModelConfig& config() const { return model().config(); }
  // The model's tokenizer, or why it has none.
  const Result<text::Tokenizer>& tokenizer() const;
  const MemoryPlan& plan() const;
  int64_t n_ctx() const;
  std::string device_name() const;  // "cpu (avx512_vnni, 2 threads)"
  int n_threads() const;
  int64_t n_batch() const;  // rows of one forward pass
  DType type_k() const;
  DType type_v() const;

  Result<std::unique_ptr<Session>> new_session();
  // Whether a prompt (or what a conversation adds) of n tokens after `before` others takes MLA's expanded form, which
  // has fewer operations a token, rather than the absorbed one of short prompts and generated tokens, which reads less.
  // Depends on the request alone, never on the batch around it.
  bool expanded_form(int64_t before, size_t n) const;
  // Gives `to` the first n tokens of `from` with their cache, instead of what it held. n <= from.n_past().
  void copy_prefix(Session& to, const Session& from, int64_t n);

  // Appends tokens to a session in chunks of at most n_batch. Errors: kDoesNotFit where the context is too short
  // (nothing is evaluated), kInterrupted where *cancel became true (complete chunks stay in the session).
  Status eval(Session& session, std::span<const int32_t> tokens, const EvalOptions& options, const LogitsFn& on_logits);
  // One pass over several sessions together (continuous batching); the rows' sum is at most n_batch. on_logits gets the
  // index of the work item, for several items at once on several threads. A row's result does not depend on the other
  // items.
  Status forward(std::span<const Work> work, const std::atomic<bool>* cancel, const LogitsFn& on_logits,
                 const SampledFn& on_sampled = {});
  // The longest list of candidates the backend chooses a token from; 0: it does not choose.
  int64_t longest_sample_list() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Memory this process may still use: MemAvailable, cut by cgroup limits; 0 where unknown.
uint64_t available_memory();
// Bytes a second the disk under `path` delivers without the page cache, from up to 64 MiB at offset; 0 where it cannot
// be measured (no O_DIRECT).
double disk_read_rate(const std::filesystem::path& path, uint64_t offset, uint64_t bytes);

}  // namespace dsr1::runtime
