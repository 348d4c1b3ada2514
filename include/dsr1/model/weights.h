// Weights: views of a model's tensors, one field a tensor, named as GGUF names them. Bound once at load from the
// architecture's table, which also says each shape; nothing here owns memory.
#pragma once

#include <vector>

#include "dsr1/tensor/tensor.h"

namespace dsr1::model {

struct LayerWeights {
  const float* attn_norm = nullptr;  // norms and biases: f32 [n], copied out of the file where it stores another type
  const float* ffn_norm = nullptr;

  // GQA
  TensorView attn_q, attn_k, attn_v, attn_output;
  const float *attn_q_bias = nullptr, *attn_k_bias = nullptr, *attn_v_bias = nullptr;
  const float *attn_q_norm = nullptr, *attn_k_norm = nullptr;

  // MLA
  TensorView attn_q_a, attn_q_b, attn_kv_a_mqa;
  const float *attn_q_a_norm = nullptr, *attn_kv_a_norm = nullptr;
  TensorView attn_kv_b;           // joined layout
  TensorView attn_k_b, attn_v_b;  // split layout

  // Dense FFN, or the shared expert of a MoE layer
  TensorView ffn_gate, ffn_up, ffn_down;
  TensorView ffn_gate_shexp, ffn_up_shexp, ffn_down_shexp;

  // MoE
  TensorView ffn_gate_inp;
  const float* exp_probs_b = nullptr;
  std::vector<TensorView> ffn_gate_exps, ffn_up_exps, ffn_down_exps;  // one view an expert
  bool experts_on_host = false;                                       // where the rest of the layer is not
};

// The MTP (next-n) layer: a decoder layer with its own entrance and norm (DeepSeek-V3 report, section 2.2).
struct MtpWeights {
  LayerWeights layer;
  TensorView eh_proj;  // [n_embd, 2 n_embd]: embedding half first
  const float *enorm = nullptr, *hnorm = nullptr, *shared_head_norm = nullptr;
  TensorView embed_tokens, shared_head_head;  // may be the main model's
};

struct Weights {
  TensorView token_embd, output;
  const float* output_norm = nullptr;
  std::vector<LayerWeights> layers;
  std::vector<MtpWeights> mtp;
};

}  // namespace dsr1::model
