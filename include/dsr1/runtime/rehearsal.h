// Rehearsal: a model's own forward pass over weights that are not there. The tensors of the real one (names, types,
// shapes) point into a ring of memory larger than the caches, so that a token reads as many bytes, through the same
// kernels and calls, as it will from the file; a model of any size is rehearsed in some hundred megabytes.
//
// Owns its memory and a thread team; driven by one thread. Refuses (kDoesNotFit) where the memory cannot be had, and
// (kModel) tensors that are no model of that configuration.
#pragma once

#include <memory>
#include <string>

#include "dsr1/runtime/plan.h"

namespace dsr1::runtime {

class Rehearsal {
 public:
  struct Options {
    std::string cpu_isa = "auto";
    int n_threads = 1;
    DType type_k = DType::kF16;
    int64_t n_ctx = 2048;  // tokens before the last one, at most
    int64_t n_rows = 512;  // of a prompt's chunk
    int n_layer = 0;       // 0: all; fewer are evenly taken
  };
  static Result<std::unique_ptr<Rehearsal>> create(const ModelFacts& facts, const Options& options);
  ~Rehearsal();

  // Seconds of a pass: one token after `context` others, with its logits, or a prompt's chunk of n_rows without.
  double token(int64_t context);
  double chunk(int64_t context);

 private:
  Rehearsal();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsr1::runtime
