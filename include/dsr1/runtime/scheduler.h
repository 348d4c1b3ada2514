// Scheduler: many generations on one Engine at once (continuous batching).
//
// Each step is one forward pass: a token of every sequence that generates, and with the rows left, parts of the prompts
// that still have to be read. A sequence that ends leaves at once and the next one enters. What two prompts begin with
// alike is computed once and copied. A sequence's tokens do not depend on its neighbours, on n_parallel or on the
// order: they are those of generate() with a fresh session.
//
// All memory is planned by the Engine (EngineOptions::n_sessions at least n_parallel); steps allocate nothing, but
// where a sequence enters or leaves. One thread drives it; the Engine outlives it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/generate.h"

namespace dsr1::runtime {

struct SequenceRequest {
  uint64_t tag = 0;  // the caller's
  std::vector<int32_t> prompt;
  GenerateOptions options;  // its cancel and prompt_progress are not used
  TokenFn on_token;
};

class Scheduler {
 public:
  static Result<std::unique_ptr<Scheduler>> create(Engine& engine, int n_parallel);
  ~Scheduler();

  // Queued, and begun by a later step(). The errors of generate() come back through `done`.
  void submit(SequenceRequest request);
  // Sequences that could begin at once: free places less those queued.
  int n_free() const;
  bool idle() const;

  // Tells what became of a sequence: Generation::timings hold its own time, waiting in the queue left out.
  using DoneFn = std::function<void(uint64_t tag, Result<Generation> generation)>;
  // One forward pass. kInterrupted where *cancel became true: nothing is lost, the next step goes on. Other errors
  // (numbers that overflow) end the pass for all.
  Status step(const std::atomic<bool>* cancel, const DoneFn& done);

  // Tokens since the start.
  struct Counts {
    int64_t prompt = 0;     // evaluated
    int64_t shared = 0;     // copied from a sequence with the same beginning
    int64_t generated = 0;  // generated
    int64_t passes = 0;
    int64_t most_together = 0;  // sequences in one pass
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Slot;
  explicit Scheduler(Engine& engine);

  void admit(const DoneFn& done);
  bool begin(Slot& slot, SequenceRequest request, const DoneFn& done);
  void look_for_prefix(Slot& slot);
  bool still_waiting(Slot& slot);
  int64_t shareable(const Slot& source, const Slot& slot) const;
  void compose();
  void on_logits(int64_t item, std::span<const float> logits);
  void on_sampled(int64_t item, const ops::Sampled& sampled);
  void commit();
  void advance(Slot& slot, const DoneFn& done);
  void finish(Slot& slot, const DoneFn& done, const Status& status);

  Engine& engine_;
  std::deque<SequenceRequest> queue_;
  std::vector<std::unique_ptr<Slot>> slots_;
  uint64_t n_begun_ = 0;
  // Of one pass.
  std::vector<Work> work_;
  std::vector<Slot*> worked_;
  LogitsFn logits_fn_;
  SampledFn sampled_fn_;
  std::vector<ops::SampleRequest> requests_;
  Counts counts_;
};

}  // namespace dsr1::runtime
