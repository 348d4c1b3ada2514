// The memory plan: what a model will take before anything is taken. Engine::open and `fit` ask the same functions, so
// that what fit promises is what open allocates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dsr1/io/model_file.h"
#include "dsr1/model/model.h"
#include "dsr1/tensor/dtype.h"

namespace dsr1::runtime {

// One tensor, as far as sizes and speed go.
struct TensorFact {
  std::string name;
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0;  // of all experts together
  uint64_t bytes = 0;
  bool routed = false;  // experts of which a token chooses some
  bool lookup = false;  // one row a token is read: an embedding table that is not the output matrix too
  bool is_output = false;
};

// What must be known of a model to plan and predict it; from a file (also a header without data) or from the table of
// published models (family.h).
struct ModelFacts {
  std::string name;
  model::ModelConfig config;
  int n_cache_layers = 0;
  std::vector<TensorFact> tensors;

  uint64_t weights() const;
  // Read for every token: all but lookup tables and the experts a token does not choose.
  uint64_t weights_needed() const;
  uint64_t routed_bytes() const;
  int64_t n_params() const;
};

// load_mtp false: the MTP layers' tensors are left out.
ModelFacts facts_of(const io::ModelFile& file, const model::Model& model, bool load_mtp);

// What is held where, in bytes.
struct MemoryPlan {
  uint64_t weights = 0;         // all tensors bound
  uint64_t weights_needed = 0;  // read for every token: all but the experts a token does not choose
  uint64_t kv = 0;              // all sessions
  uint64_t scratch = 0;         // activations, logits and the backend's workspace
  uint64_t available = 0;       // memory this process may still use, cgroup limits included
  int64_t n_ctx = 0;            // context of each session
  int n_sessions = 1;
  uint64_t total() const { return weights + kv + scratch; }
};

struct PlanRequest {
  int64_t n_ctx = 0;  // 0: at most kDefaultContext, at most what fits beside the weights
  int64_t n_batch = 512;
  DType type_k = DType::kF16, type_v = DType::kF16;
  int n_sessions = 1;
  bool use_mmap = true;    // weights that not every token needs may then be paged from the file
  uint64_t workspace = 0;  // of the backend (ops::Ops::workspace_bytes)
  uint64_t available = 0;  // 0: unknown, anything fits
};

inline constexpr int64_t kDefaultContext = 32768;

// The longest context a request may end with: what backends size their workspace for.
int64_t most_context(const model::ModelConfig& config, int64_t requested);

// Rows of logits computed together: enough to use the matrix kernels, little enough to keep 150k-token vocabularies
// small.
inline constexpr int64_t kLogitRows = 64;
int64_t logits_stride(const model::ModelConfig& config);  // floats a row

MemoryPlan plan_memory(const ModelFacts& facts, const PlanRequest& request);
// Success, or kDoesNotFit with the numbers.
Status check_plan(const MemoryPlan& plan, bool use_mmap);

// KV bytes of one token over all cache layers.
uint64_t kv_bytes_per_token(const model::ModelConfig& config, int n_layers, DType type_k, DType type_v);

}  // namespace dsr1::runtime
