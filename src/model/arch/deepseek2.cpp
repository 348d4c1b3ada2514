// deepseek2: DeepSeek-V2, V3, R1 and relatives. Multi-head latent attention and mixture of experts
// (DeepSeek-V3 report, sections 2.1.1 and 2.1.2; inference/model.py of deepseek-ai/DeepSeek-V3).
#include <cmath>

#include "arch.h"
#include "dsr1/base/log.h"

namespace dsr1::model {

using ops::Batch;
using ops::HeadedWeight;
using ops::Linear;
using ops::Mat;

namespace {

// Group-limited routing is part of the published models, but most GGUF files carry no group keys: what the official
// configurations say (config.json of DeepSeek-R1 and DeepSeek-V2) holds then.
void configure_groups(ConfigReader& k, const LoadOptions& options, ModelConfig& c) {
  ops::RouterParams& r = c.router;
  const bool in_file = k.has("expert_group_count") || k.has("expert_group_used_count");
  r.n_group = static_cast<int>(k.integer("expert_group_count", 1, 1, r.n_expert));
  r.n_group_used = static_cast<int>(k.integer("expert_group_used_count", r.n_group, 1, r.n_group));
  if (!k.ok()) return;
  if (r.n_expert % r.n_group != 0) {
    return k.fail(k.name("expert_group_count") + " is " + std::to_string(r.n_group) + ", which does not divide " +
                  k.name("expert_count") + " = " + std::to_string(r.n_expert));
  }
  if (r.n_expert_used > r.n_group_used * (r.n_expert / r.n_group)) {
    return k.fail(k.name("expert_used_count") + " is " + std::to_string(r.n_expert_used) + ", more than the " +
                  std::to_string(r.n_group_used * (r.n_expert / r.n_group)) + " experts of the " +
                  std::to_string(r.n_group_used) + " groups used");
  }
  if (!in_file && r.n_expert == 256 && r.gating == ops::Gating::kSigmoid) {
    r.n_group = 8;
    r.n_group_used = 4;
    c.expert_groups_note = "the file has no expert group keys: routing with DeepSeek-V3's 8 groups, 4 used";
  } else if (!in_file && r.n_expert == 160 && r.gating == ops::Gating::kSoftmax) {
    r.n_group = 8;
    r.n_group_used = 3;
    c.expert_groups_note = "the file has no expert group keys: routing with DeepSeek-V2's 8 groups, 3 used";
  }
  if (!options.expert_groups) {
    r.n_group = r.n_group_used = 1;
    c.expert_groups_note = "routing without expert groups, as asked";
  }
  if (!c.expert_groups_note.empty()) log_info(c.expert_groups_note);
}

void configure(ConfigReader& k, const io::ModelFile& file, const LoadOptions& options, ModelConfig& c) {
  configure_common(k, c);
  c.n_layer_mtp = static_cast<int>(k.integer("nextn_predict_layers", 0, 0, 16));
  if (!k.ok()) return;
  if (c.n_layer_mtp >= c.n_layer) {
    return k.fail(k.name("nextn_predict_layers") + " is " + std::to_string(c.n_layer_mtp) + ", not less than " +
                  k.name("block_count") + " = " + std::to_string(c.n_layer));
  }
  c.n_layer -= c.n_layer_mtp;  // block_count counts them

  c.q_lora_rank = static_cast<int>(k.integer("attention.q_lora_rank", 0, 0, 1 << 17));
  c.kv_lora_rank = static_cast<int>(k.required("attention.kv_lora_rank", 1, 1 << 16));
  c.qk_rope_dim = static_cast<int>(k.required("rope.dimension_count", 2, 4096));
  // Split-MLA files say 576/512 (the latent row) in key_length/value_length and the true sizes in the _mla keys.
  const bool mla_keys = k.has("attention.key_length_mla") || k.has("attention.value_length_mla");
  c.head_dim = static_cast<int>(k.required(mla_keys ? "attention.key_length_mla" : "attention.key_length", 1, 4096));
  c.v_head_dim =
      static_cast<int>(k.required(mla_keys ? "attention.value_length_mla" : "attention.value_length", 1, 4096));
  c.qk_nope_dim = c.head_dim - c.qk_rope_dim;
  // 1 in split-MLA files (the latent), head_count in the others: both mean what MLA does.
  const auto blocks = static_cast<size_t>(c.n_layer + c.n_layer_mtp);
  c.n_head_kv = static_cast<int>(k.uniform("attention.head_count_kv", blocks, c.n_head, 1, c.n_head));
  if (!k.ok()) return;
  if (c.n_head_kv != 1 && c.n_head_kv != c.n_head) {
    return k.fail(k.name("attention.head_count_kv") + " is " + std::to_string(c.n_head_kv) + ", expected 1 or " +
                  k.name("attention.head_count") + " = " + std::to_string(c.n_head));
  }
  if (c.qk_nope_dim < 1) {
    return k.fail(k.name("rope.dimension_count") + " is " + std::to_string(c.qk_rope_dim) +
                  ", not less than the key length " + std::to_string(c.head_dim));
  }
  if (mla_keys) {
    const int64_t key = k.integer("attention.key_length", c.kv_lora_rank + c.qk_rope_dim, 1, 1 << 17);
    const int64_t value = k.integer("attention.value_length", c.kv_lora_rank, 1, 1 << 17);
    if (k.ok() && key != c.kv_lora_rank + c.qk_rope_dim)
      k.fail(k.name("attention.key_length") + " is " + std::to_string(key) +
             ", expected kv_lora_rank + rope dimensions = " + std::to_string(c.kv_lora_rank + c.qk_rope_dim));
    if (k.ok() && value != c.kv_lora_rank)
      k.fail(k.name("attention.value_length") + " is " + std::to_string(value) +
             ", expected kv_lora_rank = " + std::to_string(c.kv_lora_rank));
  }

  c.n_layer_dense_lead = static_cast<int>(k.required("leading_dense_block_count", 0, c.n_layer));
  ops::RouterParams& r = c.router;
  r.n_expert = static_cast<int>(k.required("expert_count", 1, 4096));
  r.n_expert_used = static_cast<int>(k.required("expert_used_count", 1, r.n_expert));
  c.n_expert_shared = static_cast<int>(k.integer("expert_shared_count", 0, 0, 64));
  c.n_ff_exp = static_cast<int>(k.required("expert_feed_forward_length", 1, 1 << 20));
  const int64_t gating = k.integer("expert_gating_func", 1, 1, 4);
  if (k.ok() && gating > 2)
    k.fail(k.name("expert_gating_func") + " is " + std::to_string(gating) + ", expected 1 (softmax) or 2 (sigmoid)");
  r.gating = static_cast<ops::Gating>(gating);
  r.normalize = k.flag("expert_weights_norm", false);
  const double scale = k.real("expert_weights_scale", 1, 0, 1e6);
  r.scale = scale == 0 ? 1.0f : static_cast<float>(scale);
  if (!k.ok()) return;
  configure_groups(k, options, c);
  if (!k.ok()) return;

  c.rope.pairing = ops::RopePairing::kNorm;
  configure_rope(k, file, c.qk_rope_dim, c);
  // Softmax scale: YaRN's magnitude M, squared, goes here (V3 model.py MLA.__init__). The file's multiplier already
  // contains the 0.1.
  double m = 1;
  if (k.ok() && k.text("rope.scaling.type", "none") == "yarn") {
    const double factor = k.real("rope.scaling.factor", 1, 0, 1e6);
    double l = k.real("rope.scaling.yarn_log_multiplier", 0, 0, 10);
    if (!k.has("rope.scaling.yarn_log_multiplier")) {
      l = r.n_expert == 256 ? 0.1 : 0.0707;
      log_warn(k.name("rope.scaling.yarn_log_multiplier") + " is missing (an old file); using " + std::to_string(l));
    }
    if (factor > 1) m = 1 + l * std::log(factor);
  }
  c.attn_scale = static_cast<float>(m * m / std::sqrt(static_cast<double>(c.head_dim)));
}

void bind_mla(TensorBinder& t, const ModelConfig& c, const std::string& p, LayerWeights& l) {
  const int64_t qk = int64_t{c.n_head} * c.head_dim, rank = c.kv_lora_rank;
  t.vector(l.attn_norm, p + "attn_norm.weight", c.n_embd);
  if (c.q_lora_rank > 0) {
    t.matrix(l.attn_q_a, p + "attn_q_a.weight", {c.q_lora_rank, c.n_embd});
    t.vector(l.attn_q_a_norm, p + "attn_q_a_norm.weight", c.q_lora_rank);
    t.matrix(l.attn_q_b, p + "attn_q_b.weight", {qk, c.q_lora_rank});
  } else {
    t.matrix(l.attn_q, p + "attn_q.weight", {qk, c.n_embd});
  }
  t.matrix(l.attn_kv_a_mqa, p + "attn_kv_a_mqa.weight", {rank + c.qk_rope_dim, c.n_embd});
  t.vector(l.attn_kv_a_norm, p + "attn_kv_a_norm.weight", rank);
  // Three layouts in the wild: joined, split, or both (then the split pair is used: no transposition is needed).
  if (t.has(p + "attn_k_b.weight") || t.has(p + "attn_v_b.weight")) {
    t.matrix(l.attn_k_b, p + "attn_k_b.weight", {c.n_head, rank, c.qk_nope_dim});
    t.matrix(l.attn_v_b, p + "attn_v_b.weight", {c.n_head, c.v_head_dim, rank});
  } else {
    t.matrix(l.attn_kv_b, p + "attn_kv_b.weight", {int64_t{c.n_head} * (c.qk_nope_dim + c.v_head_dim), rank});
  }
  t.matrix(l.attn_output, p + "attn_output.weight", {c.n_embd, int64_t{c.n_head} * c.v_head_dim});
}

void bind_moe(TensorBinder& t, const ModelConfig& c, const std::string& p, LayerWeights& l) {
  const int64_t n = c.router.n_expert, shared = int64_t{c.n_expert_shared} * c.n_ff_exp;
  t.vector(l.ffn_norm, p + "ffn_norm.weight", c.n_embd);
  t.matrix(l.ffn_gate_inp, p + "ffn_gate_inp.weight", {n, c.n_embd});
  t.vector(l.exp_probs_b, p + "exp_probs_b.bias", n, /*required=*/false);  // V2 has none
  t.experts(l.ffn_gate_exps, p + "ffn_gate_exps.weight", n, c.n_ff_exp, c.n_embd);
  t.experts(l.ffn_up_exps, p + "ffn_up_exps.weight", n, c.n_ff_exp, c.n_embd);
  t.experts(l.ffn_down_exps, p + "ffn_down_exps.weight", n, c.n_embd, c.n_ff_exp);
  if (shared > 0) {
    t.matrix(l.ffn_gate_shexp, p + "ffn_gate_shexp.weight", {shared, c.n_embd});
    t.matrix(l.ffn_up_shexp, p + "ffn_up_shexp.weight", {shared, c.n_embd});
    t.matrix(l.ffn_down_shexp, p + "ffn_down_shexp.weight", {c.n_embd, shared});
  }
}

void bind(TensorBinder& t, const ModelConfig& c, const LoadOptions& options, Weights& w) {
  bind_common(t, c, w);
  for (int i = 0; i < c.n_layer; ++i) {
    const std::string p = "blk." + std::to_string(i) + ".";
    LayerWeights& l = w.layers[static_cast<size_t>(i)];
    bind_mla(t, c, p, l);
    c.layer_is_moe(i) ? bind_moe(t, c, p, l) : bind_dense_ffn(t, c, p, l);
  }
  if (!options.load_mtp) return;
  w.mtp.resize(static_cast<size_t>(c.n_layer_mtp));
  for (int i = 0; i < c.n_layer_mtp; ++i) {
    const std::string p = "blk." + std::to_string(c.n_layer + i) + ".";
    MtpWeights& m = w.mtp[static_cast<size_t>(i)];
    bind_mla(t, c, p, m.layer);
    bind_moe(t, c, p, m.layer);
    t.matrix(m.eh_proj, p + "nextn.eh_proj.weight", {c.n_embd, 2 * int64_t{c.n_embd}});
    t.vector(m.enorm, p + "nextn.enorm.weight", c.n_embd);
    t.vector(m.hnorm, p + "nextn.hnorm.weight", c.n_embd);
    t.vector(m.shared_head_norm, p + "nextn.shared_head_norm.weight", c.n_embd, /*required=*/false);
    if (m.shared_head_norm == nullptr) m.shared_head_norm = w.output_norm;
    m.embed_tokens = w.token_embd;  // shared with the main model where the file omits them
    m.shared_head_head = w.output;
    t.matrix(m.embed_tokens, p + "nextn.embed_tokens.weight", {c.n_vocab, c.n_embd}, /*required=*/false);
    t.matrix(m.shared_head_head, p + "nextn.shared_head_head.weight", {c.n_vocab, c.n_embd}, /*required=*/false);
  }
}

// Where K_h and V_h lie in either layout.
ops::MlaWeights mla_weights(const ModelConfig& c, const LayerWeights& w) {
  const int64_t nope = c.qk_nope_dim, v = c.v_head_dim, rank = c.kv_lora_rank;
  if (w.attn_kv_b)
    return {{&w.attn_kv_b, c.n_head, 0, nope + v, nope}, {&w.attn_kv_b, c.n_head, nope, nope + v, v}, false};
  return {{&w.attn_k_b, c.n_head, 0, rank, rank}, {&w.attn_v_b, c.n_head, 0, v, v}, true};
}

void mla_attention(const ModelConfig& c, const LayerWeights& w, const Batch& b, int layer, const Scratch& s,
                   ops::Ops& ops) {
  const int64_t rank = c.kv_lora_rank, rope = c.qk_rope_dim, nope = c.qk_nope_dim, row = rank + rope;
  if (c.q_lora_rank > 0) {
    const Linear down[] = {{&w.attn_q_a, nullptr, s.q_a}, {&w.attn_kv_a_mqa, nullptr, s.kv_a}};
    ops.linear(s.h, down);
    ops.rms_norm(s.q_a, w.attn_q_a_norm, c.q_lora_rank, c.rms_eps, s.q_a);
    const Linear up[] = {{&w.attn_q_b, nullptr, s.q}};
    ops.linear(s.q_a, up);
  } else {
    const Linear both[] = {{&w.attn_q, nullptr, s.q}, {&w.attn_kv_a_mqa, nullptr, s.kv_a}};
    ops.linear(s.h, both);
  }
  const Mat latent = s.kv_a.col_range(0, rank);
  ops.rms_norm(latent, w.attn_kv_a_norm, rank, c.rms_eps, latent);  // the norm is not applied to the rope part
  const Mat q_rope = s.q.col_range(nope, s.q.cols - nope);
  ops.rope(q_rope, c.n_head, c.head_dim, c.rope.pairing, s.cos_sin);
  ops.rope(s.kv_a.col_range(rank, rope), 1, rope, c.rope.pairing, s.cos_sin);
  ops.kv_append(b, layer, s.kv_a, {});

  const ops::MlaWeights kv = mla_weights(c, w);
  size_t n_expanded = 0;
  int64_t rows = 0;
  while (n_expanded < b.segments.size() && b.segments[n_expanded].expanded) rows += b.segments[n_expanded++].n_rows;
  if (rows > 0) {
    const Batch part{b.tokens.first(static_cast<size_t>(rows)), b.positions.first(static_cast<size_t>(rows)),
                     b.segments.first(n_expanded)};
    const ops::MlaDims dims{c.n_head, c.kv_lora_rank, c.qk_nope_dim, c.qk_rope_dim, c.v_head_dim};
    ops.mla_attention_expanded(part, layer, kv, dims, s.q.first_rows(rows), c.attn_scale, s.mla,
                               s.attn.first_rows(rows));
  }
  if (const int64_t n = b.n_rows() - rows; n > 0) {
    const Batch part{b.tokens.subspan(static_cast<size_t>(rows)), b.positions.subspan(static_cast<size_t>(rows)),
                     b.segments.subspan(n_expanded)};
    const Mat q = s.q.row_range(rows, n), qc = s.q_latent.row_range(rows, n), u = s.latent.row_range(rows, n);
    // Absorbed form: q meets the latent directly, qc_h = K_h^T qn_h; one latent row serves all heads.
    kv.k_transposed ? ops.linear_heads(kv.k, q, c.head_dim, qc, row)
                    : ops.linear_heads_transposed(kv.k, q, c.head_dim, qc, row);
    ops.copy_heads(q.col_range(nope, q.cols - nope), c.head_dim, qc.col_range(rank, qc.cols - rank), row, c.n_head,
                   rope);
    ops.attention(part, layer, qc, c.n_head, c.attn_scale, u);
    ops.linear_heads(kv.v, u, rank, s.attn.row_range(rows, n), c.v_head_dim);
  }
  const Linear out[] = {{&w.attn_output, nullptr, s.y}};
  ops.linear(s.attn, out);
}

// Returns what is still to be added to s.x.
Mat moe_ffn(const ModelConfig& c, const LayerWeights& w, const Scratch& s, ops::Ops& ops,
            const std::atomic<bool>* cut) {
  const Linear router[] = {{&w.ffn_gate_inp, nullptr, s.router}};
  ops.linear(s.h, router);
  ops.route(s.router, w.exp_probs_b, c.router, s.ids, s.weights);
  ops.moe_ffn(s.h, {w.ffn_gate_exps, w.ffn_up_exps, w.ffn_down_exps, w.experts_on_host}, s.ids, s.weights, s.moe, s.y);
  if (!w.ffn_gate_shexp || is_cut(cut)) return s.y;
  // Before the chosen experts' sum is read: where the host computes those, a device computes this one meanwhile.
  dense_ffn(w.ffn_gate_shexp, w.ffn_up_shexp, w.ffn_down_shexp, s.h, s, ops, s.h, cut);
  ops.add(s.x, s.y, s.x);
  return s.h;
}

void layer(const ModelConfig& c, const LayerWeights& w, const Batch& b, int layer, const Scratch& s, ops::Ops& ops) {
  ops.rms_norm(s.x, w.attn_norm, c.n_embd, c.rms_eps, s.h);
  mla_attention(c, w, b, layer, s, ops);
  const auto* cut = cut_flag(c, b, layer);
  if (is_cut(cut)) return;
  ops.add(s.x, s.y, s.x);
  ops.rms_norm(s.x, w.ffn_norm, c.n_embd, c.rms_eps, s.h);
  Mat last = s.y;
  if (w.ffn_gate_inp) {
    last = moe_ffn(c, w, s, ops, cut);
  } else {
    dense_ffn(w.ffn_gate, w.ffn_up, w.ffn_down, s.h, s, ops, s.y, cut);
  }
  ops.add(s.x, last, s.x);
}

}  // namespace

const Architecture kDeepseek2 = {"deepseek2", configure, bind, layer};

}  // namespace dsr1::model
