// What llama, qwen2 and qwen3 share, and what every architecture shares.
#include <cmath>
#include <numbers>

#include "arch.h"

namespace dsr1::model {

using ops::Linear;
using ops::Mat;

namespace {

// Limits that bound every later product of sizes (reliability: layers 1..1024, widths 1..65536, context 16 Mi).
constexpr int64_t kMaxLayers = 1024, kMaxWidth = 1 << 17, kMaxContext = 16 << 20, kMaxFf = 1 << 20;

// llama3 rule (Llama 3.1 model card; transformers' modeling_rope_utils): long wavelengths are slowed by `factor`,
// short ones kept, those between blended.
void scale_llama3(std::vector<float>& freq, double factor, double low, double high, double original) {
  for (float& f : freq) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength > original / low) {
      f = static_cast<float>(f / factor);
    } else if (wavelength >= original / high) {
      const double s = (original / wavelength - low) / (high - low);
      f = static_cast<float>((1 - s) * f / factor + s * f);
    }
  }
}

// YaRN (arXiv 2309.00071; DeepSeek-V3 inference/model.py precompute_freqs_cis): pairs that turn often within the
// original context keep their frequency, slow ones are divided by `factor`, a linear ramp between.
void scale_yarn(std::vector<float>& freq, double base, double factor, double original, double beta_fast,
                double beta_slow) {
  const double d = 2.0 * static_cast<double>(freq.size());
  auto correction = [&](double rotations) {
    return d * std::log(original / (2 * std::numbers::pi * rotations)) / (2 * std::log(base));
  };
  const double lo = std::max(0.0, std::floor(correction(beta_fast)));
  const double hi = std::min(d - 1, std::ceil(correction(beta_slow)));
  for (size_t i = 0; i < freq.size(); ++i) {
    const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(i) - lo) / std::max(0.001, hi - lo)));
    const double f = freq[i];
    freq[i] = static_cast<float>(f / factor * ramp + f * (1 - ramp));
  }
}

}  // namespace

void configure_common(ConfigReader& k, ModelConfig& c) {
  c.n_layer = static_cast<int>(k.required("block_count", 1, kMaxLayers));
  c.n_ctx_train = k.required("context_length", 1, kMaxContext);
  c.n_embd = static_cast<int>(k.required("embedding_length", 1, kMaxWidth));
  c.rms_eps = static_cast<float>(k.required_real("attention.layer_norm_rms_epsilon", 0, 1));
  const auto layers = static_cast<size_t>(c.n_layer);
  c.n_head = static_cast<int>(k.required_uniform("attention.head_count", layers, 1, 65536));
  c.n_ff = static_cast<int>(k.required_uniform("feed_forward_length", layers, 1, kMaxFf));
}

void configure_gqa(ConfigReader& k, ModelConfig& c) {
  configure_common(k, c);
  c.n_head_kv =
      static_cast<int>(k.uniform("attention.head_count_kv", static_cast<size_t>(c.n_layer), c.n_head, 1, c.n_head));
  if (!k.ok()) return;
  if (c.n_head % c.n_head_kv != 0) {
    k.fail(k.name("attention.head_count_kv") + " is " + std::to_string(c.n_head_kv) + ", which does not divide " +
           k.name("attention.head_count") + " = " + std::to_string(c.n_head));
  }
  if (!k.has("attention.key_length") && c.n_embd % c.n_head != 0) {
    k.fail(k.name("attention.head_count") + " is " + std::to_string(c.n_head) + ", which does not divide " +
           k.name("embedding_length") + " = " + std::to_string(c.n_embd) + ", and attention.key_length is missing");
  }
  c.head_dim = static_cast<int>(k.integer("attention.key_length", c.n_embd / c.n_head, 2, 4096));
  c.v_head_dim = static_cast<int>(k.integer("attention.value_length", c.n_embd / c.n_head, 1, 4096));
  c.attn_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
}

void configure_rope(ConfigReader& k, const io::ModelFile& file, int n_rot_default, ModelConfig& c) {
  const int n_rot = static_cast<int>(k.integer("rope.dimension_count", n_rot_default, 2, 4096));
  const double base = k.real("rope.freq_base", 10000.0, 1.0 + 1e-6, 1e12);
  if (!k.ok()) return;
  if (n_rot % 2 != 0 || n_rot > n_rot_default) {
    return k.fail(k.name("rope.dimension_count") + " is " + std::to_string(n_rot) + ", expected an even number up to " +
                  std::to_string(n_rot_default));
  }
  c.rope.freq.resize(static_cast<size_t>(n_rot / 2));
  for (size_t i = 0; i < c.rope.freq.size(); ++i)
    c.rope.freq[i] = static_cast<float>(std::pow(base, -2.0 * static_cast<double>(i) / n_rot));

  const std::string type = k.text("rope.scaling.type", "linear");
  double factor = k.real("rope.scaling.factor", 0, 0, 1e6);
  if (factor == 0 && !k.has("rope.scaling.factor")) factor = k.real("rope.scale_linear", 0, 0, 1e6);  // legacy key
  if (factor == 0) factor = 1;
  const double original =
      static_cast<double>(k.integer("rope.scaling.original_context_length", c.n_ctx_train, 1, kMaxContext));
  const double attn_factor =
      k.real("rope.scaling.attn_factor", 1, 1e-6, 1e6) * k.real("rope.scaling.yarn_attn_factor", 1, 1e-6, 1e6);
  if (!k.ok()) return;
  if (type == "none") {
  } else if (type == "linear") {
    for (float& f : c.rope.freq) f = static_cast<float>(f / factor);
  } else if (type == "yarn") {
    const double ext = k.real("rope.scaling.yarn_ext_factor", 1, 0, 1);
    const double fast = k.real("rope.scaling.yarn_beta_fast", 32, 1e-3, 1e6);
    const double slow = k.real("rope.scaling.yarn_beta_slow", 1, 1e-3, 1e6);
    if (k.ok() && ext != 1) k.fail(k.name("rope.scaling.yarn_ext_factor") + " other than 1 is not supported");
    if (factor > 1) {
      scale_yarn(c.rope.freq, base, factor, original, fast, slow);
      // DeepSeek: mscale = mscale_all_dim, so cos and sin keep magnitude 1 and the softmax scale carries it.
      c.rope.magnitude = static_cast<float>(attn_factor * (c.arch == "deepseek2" ? 1.0 : 0.1 * std::log(factor) + 1.0));
    }
  } else if (type == "llama3") {
    const double low = k.required_real("rope.scaling.low_freq_factor", 1e-6, 1e6);
    const double high = k.required_real("rope.scaling.high_freq_factor", 1e-6, 1e6);
    if (k.ok() && high <= low)
      k.fail(k.name("rope.scaling.high_freq_factor") + " must be greater than low_freq_factor");
    if (k.ok()) scale_llama3(c.rope.freq, factor, low, high, original);
  } else {
    k.fail(k.name("rope.scaling.type") + " is \"" + type + "\", expected none, linear, yarn or llama3");
  }
  // rope_freqs.weight holds one divisor a pair (llama3 scaling as GGUF converters write it).
  if (const io::TensorInfo* info = file.find("rope_freqs.weight"); info != nullptr && k.ok()) {
    const TensorView* t = &info->view;
    if (t->elements() != n_rot / 2 || t->dtype != DType::kF32) {
      return k.fail("tensor rope_freqs.weight has shape " + t->shape_text() + " and type " + dtype_name(t->dtype) +
                    ", expected [" + std::to_string(n_rot / 2) + "] of F32");
    }
    if (t->data == nullptr) return;  // header-only file
    for (size_t i = 0; i < c.rope.freq.size(); ++i) {
      const float divisor = load_unaligned<float>(t->data + 4 * i);
      if (!(divisor > 0) || !std::isfinite(divisor))
        return k.fail("tensor rope_freqs.weight holds " + std::to_string(divisor) + " at " + std::to_string(i) +
                      ", expected positive numbers");
      c.rope.freq[i] /= divisor;
    }
  }
}

void bind_common(TensorBinder& t, const ModelConfig& c, Weights& w) {
  t.matrix(w.token_embd, "token_embd.weight", {c.n_vocab, c.n_embd});
  t.vector(w.output_norm, "output_norm.weight", c.n_embd);
  w.output = w.token_embd;  // tied where the file has no output.weight
  t.matrix(w.output, "output.weight", {c.n_vocab, c.n_embd}, /*required=*/false);
}

namespace {

void bind_gqa_layer(TensorBinder& t, const ModelConfig& c, const std::string& p, LayerWeights& l) {
  const int64_t q = int64_t{c.n_head} * c.head_dim, k = int64_t{c.n_head_kv} * c.head_dim,
                v = int64_t{c.n_head_kv} * c.v_head_dim;
  t.vector(l.attn_norm, p + "attn_norm.weight", c.n_embd);
  t.matrix(l.attn_q, p + "attn_q.weight", {q, c.n_embd});
  t.matrix(l.attn_k, p + "attn_k.weight", {k, c.n_embd});
  t.matrix(l.attn_v, p + "attn_v.weight", {v, c.n_embd});
  t.matrix(l.attn_output, p + "attn_output.weight", {c.n_embd, int64_t{c.n_head} * c.v_head_dim});
  if (c.has_qkv_bias) {
    t.vector(l.attn_q_bias, p + "attn_q.bias", q);
    t.vector(l.attn_k_bias, p + "attn_k.bias", k);
    t.vector(l.attn_v_bias, p + "attn_v.bias", v);
  }
  if (c.has_qk_norm) {
    t.vector(l.attn_q_norm, p + "attn_q_norm.weight", c.head_dim);
    t.vector(l.attn_k_norm, p + "attn_k_norm.weight", c.head_dim);
  }
}

}  // namespace

void bind_dense_ffn(TensorBinder& t, const ModelConfig& c, const std::string& p, LayerWeights& l) {
  t.vector(l.ffn_norm, p + "ffn_norm.weight", c.n_embd);
  t.matrix(l.ffn_gate, p + "ffn_gate.weight", {c.n_ff, c.n_embd});
  t.matrix(l.ffn_up, p + "ffn_up.weight", {c.n_ff, c.n_embd});
  t.matrix(l.ffn_down, p + "ffn_down.weight", {c.n_embd, c.n_ff});
}

void bind_gqa_model(TensorBinder& t, const ModelConfig& c, const LoadOptions&, Weights& w) {
  bind_common(t, c, w);
  for (int i = 0; i < c.n_layer; ++i) {
    const std::string p = "blk." + std::to_string(i) + ".";
    bind_gqa_layer(t, c, p, w.layers[static_cast<size_t>(i)]);
    bind_dense_ffn(t, c, p, w.layers[static_cast<size_t>(i)]);
  }
}

// SwiGLU: down(silu(gate x) * up x).
void dense_ffn(const TensorView& gate, const TensorView& up, const TensorView& down, Mat x, const Scratch& s,
               ops::Ops& ops, Mat out, const std::atomic<bool>* cut) {
  const Mat g{s.gate.data, s.gate.rows, gate.rows(), s.gate.stride}, u{s.up.data, s.up.rows, up.rows(), s.up.stride};
  ops.ffn(x, {gate, up, down}, g, u, out, cut);
}

namespace {

void gqa_attention(const ModelConfig& c, const LayerWeights& w, const ops::Batch& b, int layer, const Scratch& s,
                   ops::Ops& ops) {
  const Linear qkv[] = {
      {&w.attn_q, w.attn_q_bias, s.q}, {&w.attn_k, w.attn_k_bias, s.k}, {&w.attn_v, w.attn_v_bias, s.v}};
  ops.linear(s.h, qkv);
  if (c.has_qk_norm) {
    ops.rms_norm(s.q, w.attn_q_norm, c.head_dim, c.rms_eps, s.q);
    ops.rms_norm(s.k, w.attn_k_norm, c.head_dim, c.rms_eps, s.k);
  }
  ops.rope(s.q, c.n_head, c.head_dim, c.rope.pairing, s.cos_sin);
  ops.rope(s.k, c.n_head_kv, c.head_dim, c.rope.pairing, s.cos_sin);
  ops.kv_append(b, layer, s.k, s.v);
  ops.attention(b, layer, s.q, c.n_head, c.attn_scale, s.attn);
  const Linear out[] = {{&w.attn_output, nullptr, s.y}};
  ops.linear(s.attn, out);
}

}  // namespace

void gqa_layer(const ModelConfig& c, const LayerWeights& w, const ops::Batch& b, int layer, const Scratch& s,
               ops::Ops& ops) {
  ops.rms_norm(s.x, w.attn_norm, c.n_embd, c.rms_eps, s.h);
  gqa_attention(c, w, b, layer, s, ops);
  const auto* cut = cut_flag(c, b, layer);
  if (is_cut(cut)) return;
  ops.add(s.x, s.y, s.x);
  ops.rms_norm(s.x, w.ffn_norm, c.n_embd, c.rms_eps, s.h);
  dense_ffn(w.ffn_gate, w.ffn_up, w.ffn_down, s.h, s, ops, s.y, cut);
  ops.add(s.x, s.y, s.x);
}

}  // namespace dsr1::model
