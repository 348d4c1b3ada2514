// Model: configuration, weights and the forward pass of one file. Immutable after load (and place), shared const by all
// sessions.
//
// load() refuses (kModel) a file whose architecture is unknown, whose metadata lack a required field or contradict each
// other, or that lacks a tensor or has it in another shape: each message names the key or tensor, found and expected.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dsr1/io/model_file.h"
#include "dsr1/model/config.h"
#include "dsr1/model/weights.h"
#include "dsr1/ops/ops.h"

namespace dsr1::model {

struct LoadOptions {
  bool expert_groups = true;  // false: route without groups, as llama.cpp does on files that lack the group keys
  bool load_mtp = false;      // bind the MTP layers too
  bool require_data = true;   // false: only configuration and shapes (a header-only file)
};

// All activations of a forward pass of up to max_rows rows, planned once. Field comments: columns.
struct Scratch {
  ops::Mat x, h, y;           // n_embd: residual stream, normed input, block output
  ops::Mat q, k, v, attn;     // GQA: n_head * head_dim, kv, kv, n_head * v_head_dim
  ops::Mat cos_sin;           // n_rot
  ops::Mat gate, up;          // widest dense or shared FFN
  ops::Mat q_a, kv_a;         // MLA: q_lora_rank, kv_lora_rank + rope
  ops::Mat q_latent, latent;  // MLA: n_head * (kv_lora_rank + rope), n_head * kv_lora_rank
  ops::Mat router, weights;   // n_expert, n_expert_used
  ops::Mat concat;            // MTP: 2 n_embd
  ops::Mat mtp_h;             // MTP: n_embd
  int32_t* ids = nullptr;     // [max_rows * n_expert_used]
  ops::MoeScratch moe;
  ops::MlaScratch mla;
  int64_t max_rows = 0;

  Scratch rows(int64_t n) const;  // the same memory for a batch of n <= max_rows
};

// Bytes that plan_scratch's block needs; `out` filled with addresses inside `base` where base is not null.
size_t plan_scratch(const ModelConfig& config, int64_t max_rows, std::byte* base, Scratch* out);

// The sizes a backend plans its workspace from.
ops::Limits limits_of(const ModelConfig& config, int64_t n_ctx, int64_t max_rows);

// What stays in host memory when a device computes the rest.
struct Placement {
  int n_host_layers = 0;           // the first layers whole, and the embedding's rows
  std::vector<bool> host_experts;  // [n_layer]: this layer's experts alone; empty: none
  bool experts_stay(int layer) const {
    return static_cast<size_t>(layer) < host_experts.size() && host_experts[static_cast<size_t>(layer)];
  }
};

// Who computes the host's layers, with what scratch.
struct HostPart {
  ops::Ops& ops;
  const Scratch& scratch;
};

struct Architecture;

// Called with the number of layers done.
using LayerFn = std::function<void(int n_done)>;

class Model {
 public:
  static Result<std::unique_ptr<Model>> load(const io::ModelFile& file, const LoadOptions& options = {});

  // From a configuration that is known already: tensors are bound as load() binds them, metadata are not read.
  static Result<std::unique_ptr<Model>> assemble(const ModelConfig& config, const io::ModelFile& file);
  // Moves weights into the memory of a backend that wants them there (Ops::places_weights), all but what `placement`
  // leaves: from then on only that backend computes this model. Before the model is shared.
  Status place(ops::Ops& ops, const Placement& placement = {});
  const Placement& placement() const { return placement_; }

  const ModelConfig& config() const { return config_; }
  const Weights& weights() const { return weights_; }

  // Layers of the cache: n_layer, and n_layer_mtp more where the MTP layers were loaded.
  int n_cache_layers() const { return config_.n_layer + static_cast<int>(weights_.mtp.size()); }

  // Runs all layers over the batch; scratch.x holds the last hidden states [rows, n_embd], before the final norm.
  // False where batch.cancel ended it early. on_layer, where set, is called after each layer. host: of a model placed
  // with layers left in host memory. ending: where it asks for logits, head() of every row is part of the pass.
  bool forward(const ops::Batch& batch, const Scratch& scratch, ops::Ops& ops, const LayerFn& on_layer = {},
               const HostPart* host = nullptr, const ops::Ending& ending = {}) const;
  // logits[i] for hidden row rows[i]: [rows.size(), n_vocab].
  void head(std::span<const int32_t> rows, const Scratch& scratch, ops::Ops& ops, ops::Mat logits) const;
  // The MTP module (DeepSeek-V3 report 2.2): from hidden states (in scratch.x, as forward left them, where
  // `normed_hidden` the final norm is applied first) and the tokens that follow each row, logits for the token after.
  void mtp_forward(const ops::Batch& next_tokens, int module, bool normed_hidden, const Scratch& scratch, ops::Ops& ops,
                   ops::Mat logits) const;

 private:
  friend class TensorBinder;
  Status bind(const io::ModelFile& file, const LoadOptions& options);
  void head_of(ops::Mat x, const Scratch& scratch, ops::Ops& ops, ops::Mat logits) const;
  bool run_layers(int begin, int end, const ops::Batch& batch, const Scratch& scratch, ops::Ops& ops,
                  const LayerFn& on_layer) const;
  ModelConfig config_;
  Placement placement_;
  Weights weights_;
  const Architecture* arch_ = nullptr;
  std::deque<std::vector<float>> floats_;             // norms and biases, converted to f32
  std::vector<std::unique_ptr<ops::Memory>> placed_;  // weights in a backend's memory
};

// "qwen2, llama, ...": what Model::load knows.
std::string known_architectures();

}  // namespace dsr1::model
