#include "dsr1/model/model.h"

#include <algorithm>
#include <map>

#include "arch/arch.h"
#include "dsr1/io/byte_reader.h"

namespace dsr1::model {

using ops::Linear;
using ops::Mat;

namespace {

// Calls matrix(views) for every weight matrix (the experts of one together) and vector(values, n) for every norm and
// bias that `placement` does not leave; absent ones are null.
template <class Matrix, class Vector>
void for_each_weight(Weights& w, Matrix matrix, Vector vector, const ModelConfig& c, const Placement& placement) {
  auto one = [&](TensorView& v) { matrix(std::span<TensorView>(&v, 1)); };
  auto layer = [&](LayerWeights& l) {
    vector(l.attn_norm, c.n_embd);
    vector(l.ffn_norm, c.n_embd);
    for (TensorView* v : {&l.attn_q, &l.attn_k, &l.attn_v, &l.attn_output, &l.attn_q_a, &l.attn_q_b, &l.attn_kv_a_mqa,
                          &l.attn_kv_b, &l.attn_k_b, &l.attn_v_b, &l.ffn_gate, &l.ffn_up, &l.ffn_down,
                          &l.ffn_gate_shexp, &l.ffn_up_shexp, &l.ffn_down_shexp, &l.ffn_gate_inp})
      one(*v);
    vector(l.attn_q_bias, int64_t{c.n_head} * c.head_dim);
    vector(l.attn_k_bias, int64_t{c.n_head_kv} * c.head_dim);
    vector(l.attn_v_bias, int64_t{c.n_head_kv} * c.v_head_dim);
    vector(l.attn_q_norm, c.head_dim);
    vector(l.attn_k_norm, c.head_dim);
    vector(l.attn_q_a_norm, c.q_lora_rank);
    vector(l.attn_kv_a_norm, c.kv_lora_rank);
    vector(l.exp_probs_b, c.router.n_expert);
    if (l.experts_on_host) return;
    for (auto* experts : {&l.ffn_gate_exps, &l.ffn_up_exps, &l.ffn_down_exps}) matrix(std::span<TensorView>(*experts));
  };
  if (placement.n_host_layers == 0) one(w.token_embd);
  one(w.output);
  vector(w.output_norm, c.n_embd);
  for (size_t i = static_cast<size_t>(placement.n_host_layers); i < w.layers.size(); ++i) layer(w.layers[i]);
  for (MtpWeights& m : w.mtp) {
    layer(m.layer);
    one(m.eh_proj);
    one(m.embed_tokens);
    one(m.shared_head_head);
    for (const float** v : {&m.enorm, &m.hnorm, &m.shared_head_norm}) vector(*v, c.n_embd);
  }
}

constexpr const Architecture* kArchitectures[] = {
#define DSR1_ARCH(a) &a,
#include "arch/all.inc"
#undef DSR1_ARCH
};

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture* a : kArchitectures)
    if (a->name == name) return a;
  return nullptr;
}

}  // namespace

std::string known_architectures() {
  std::string s;
  for (const Architecture* a : kArchitectures) s += (s.empty() ? "" : ", ") + std::string(a->name);
  return s;
}

Result<std::unique_ptr<Model>> Model::load(const io::ModelFile& file, const LoadOptions& options) {
  DSR1_TRY(const std::string_view arch, file.metadata().require_string("general.architecture"));
  auto model = std::make_unique<Model>();
  model->arch_ = find_architecture(arch);
  if (model->arch_ == nullptr) {
    return Error(ErrorCode::kModel, "unknown architecture \"" + io::printable(arch) +
                                        "\" (general.architecture); known: " + known_architectures());
  }
  ModelConfig& c = model->config_;
  c.arch = std::string(arch);
  // The vocabulary's size is the embedding table's; a vocab_size key must agree with it.
  const io::TensorInfo* info = file.find("token_embd.weight");
  if (info == nullptr) return Error(ErrorCode::kModel, "tensor token_embd.weight is missing");
  const TensorView* embd = &info->view;
  if (embd->n_dims != 2 || embd->rows() > (1 << 24))
    return Error(ErrorCode::kModel,
                 "tensor token_embd.weight has shape " + embd->shape_text() + ", expected [n_vocab, n_embd]");
  c.n_vocab = static_cast<int>(embd->rows());

  ConfigReader keys(file.metadata(), c.arch);
  model->arch_->configure(keys, file, options, c);
  const int64_t stated = keys.integer("vocab_size", c.n_vocab, 1, 1 << 24);
  DSR1_TRY_STATUS(keys.status());
  if (stated > c.n_vocab) {
    return Error(ErrorCode::kModel, keys.name("vocab_size") + " is " + std::to_string(stated) +
                                        ", but token_embd.weight has " + std::to_string(c.n_vocab) + " rows");
  }
  DSR1_TRY_STATUS(model->bind(file, options));
  return model;
}

Result<std::unique_ptr<Model>> Model::assemble(const ModelConfig& config, const io::ModelFile& file) {
  auto model = std::make_unique<Model>();
  model->arch_ = find_architecture(config.arch);
  if (model->arch_ == nullptr)
    return Error(ErrorCode::kModel, "unknown architecture \"" + config.arch + "\"; known: " + known_architectures());
  model->config_ = config;
  DSR1_TRY_STATUS(model->bind(file, {}));
  return model;
}

Status Model::bind(const io::ModelFile& file, const LoadOptions& options) {
  weights_.layers.resize(static_cast<size_t>(config_.n_layer));
  TensorBinder binder(file, *this, options.require_data);
  arch_->bind(binder, config_, options, weights_);
  return binder.status();
}

bool Model::run_layers(int begin, int end, const ops::Batch& batch, const Scratch& s, ops::Ops& ops,
                       const LayerFn& on_layer) const {
  for (int i = begin; i < end; ++i) {
    if (batch.cancel != nullptr && batch.cancel->load(std::memory_order_relaxed)) return false;
    arch_->layer(config_, weights_.layers[static_cast<size_t>(i)], batch, i, s, ops);
    if (on_layer) on_layer(i + 1);
  }
  return true;
}

bool Model::forward(const ops::Batch& batch, const Scratch& scratch, ops::Ops& ops, const LayerFn& on_layer,
                    const HostPart* host, const ops::Ending& ending) const {
  const int n_host = host != nullptr ? placement_.n_host_layers : 0;
  const Scratch s = scratch.rows(batch.n_rows());
  if (n_host > 0) {
    const Scratch h = host->scratch.rows(batch.n_rows());
    host->ops.embed(weights_.token_embd, batch.tokens, h.x);
    host->ops.rope_angles(config_.rope, batch.positions, h.cos_sin);
    if (!run_layers(0, n_host, batch, h, host->ops, on_layer)) return false;
    ops.upload(h.x, s.x);
  }
  bool done = ops.begin_pass(batch, /*repeats=*/true, ending);
  if (!done) {
    if (n_host == 0) ops.embed(weights_.token_embd, batch.tokens, s.x);
    ops.rope_angles(config_.rope, batch.positions, s.cos_sin);
    done = run_layers(n_host, config_.n_layer, batch, s, ops, on_layer);
    if (done && ending.logits.data != nullptr) head_of(s.x, scratch, ops, ending.logits);
  }
  ops.end_pass(done);
  return done;
}

Status Model::place(ops::Ops& ops, const Placement& placement) {
  placement_ = placement;
  for (int i = placement.n_host_layers; i < config_.n_layer; ++i) {
    LayerWeights& l = weights_.layers[static_cast<size_t>(i)];
    l.experts_on_host = !l.ffn_gate_exps.empty() && placement.experts_stay(i);
  }
  // Tied weights share one copy, known by where they lay on the host.
  std::map<const void*, TensorView> matrices;
  std::map<const float*, const float*> vectors;
  Status status;
  auto keep = [&](Result<std::unique_ptr<ops::Memory>> owner) {
    if (!owner) {
      status = owner.error();
    } else if (*owner) {
      placed_.push_back(std::move(*owner));
    }
  };
  for_each_weight(
      weights_,
      [&](std::span<TensorView> views) {
        if (!status || views.empty() || !views[0]) return;
        const void* host = views[0].data;
        if (const auto found = matrices.find(host); found != matrices.end() && views.size() == 1) {
          views[0] = found->second;
          return;
        }
        keep(ops.place(views));
        matrices[host] = views[0];
      },
      [&](const float*& values, int64_t n) {
        if (!status || values == nullptr) return;
        const float* host = values;
        if (const auto found = vectors.find(host); found != vectors.end()) {
          values = found->second;
          return;
        }
        keep(ops.place(values, n));
        vectors[host] = values;
      },
      config_, placement_);
  DSR1_TRY_STATUS(std::move(status));
  return ops.sync();
}

void Model::head(std::span<const int32_t> rows, const Scratch& scratch, ops::Ops& ops, Mat logits) const {
  const Mat h = scratch.h.first_rows(static_cast<int64_t>(rows.size()));
  ops.copy_rows(scratch.x, rows, h);
  head_of(h, scratch, ops, logits);
}

void Model::head_of(Mat x, const Scratch& scratch, ops::Ops& ops, Mat logits) const {
  const Mat h = scratch.h.first_rows(x.rows);
  ops.rms_norm(x, weights_.output_norm, config_.n_embd, config_.rms_eps, h);
  const Linear out[] = {{&weights_.output, nullptr, logits}};
  ops.linear(h, out);
}

void Model::mtp_forward(const ops::Batch& next, int module, bool normed_hidden, const Scratch& scratch, ops::Ops& ops,
                        Mat logits) const {
  const MtpWeights& m = weights_.mtp[static_cast<size_t>(module)];
  const Scratch s = scratch.rows(next.n_rows());
  if (ops.begin_pass(next, /*repeats=*/false)) return ops.end_pass(true);
  const int64_t n = config_.n_embd;
  if (normed_hidden) ops.rms_norm(s.x, weights_.output_norm, n, config_.rms_eps, s.x);
  ops.embed(m.embed_tokens, next.tokens, s.mtp_h);
  ops.rms_norm(s.mtp_h, m.enorm, n, config_.rms_eps, s.concat.col_range(0, n));
  ops.rms_norm(s.x, m.hnorm, n, config_.rms_eps, s.concat.col_range(n, n));
  const Linear in[] = {{&m.eh_proj, nullptr, s.x}};
  ops.linear(s.concat, in);
  ops.rope_angles(config_.rope, next.positions, s.cos_sin);
  arch_->layer(config_, m.layer, next, config_.n_layer + module, s, ops);
  ops.rms_norm(s.x, m.shared_head_norm, n, config_.rms_eps, s.h);
  const Linear out[] = {{&m.shared_head_head, nullptr, logits}};
  ops.linear(s.h, out);
  ops.end_pass(true);
}

ops::Limits limits_of(const ModelConfig& c, int64_t n_ctx, int64_t max_rows) {
  ops::Limits l;
  l.max_rows = max_rows;
  l.n_layer = c.n_layer;
  l.n_vocab = c.n_vocab;
  l.n_ctx = n_ctx;
  l.n_head = c.n_head;
  l.n_head_kv = c.kv_heads();
  l.k_dim = c.kv_k_dim();
  l.v_dim = c.kv_v_dim();
  l.n_embd = c.n_embd;
  l.max_in =
      std::max<int64_t>({int64_t{c.n_embd} * (c.n_layer_mtp > 0 ? 2 : 1), c.n_ff, int64_t{c.n_head} * c.v_head_dim,
                         int64_t{c.n_expert_shared} * c.n_ff_exp, c.n_ff_exp, c.q_lora_rank, c.kv_lora_rank});
  l.n_expert = c.router.n_expert;
  l.n_expert_used = c.router.n_expert_used;
  l.n_ff_exp = c.n_ff_exp;
  if (c.is_mla()) l.mla = {c.n_head, c.kv_lora_rank, c.qk_nope_dim, c.qk_rope_dim, c.v_head_dim};
  return l;
}

size_t plan_scratch(const ModelConfig& c, int64_t rows, std::byte* base, Scratch* out) {
  size_t used = 0;
  auto take = [&](size_t bytes) {
    std::byte* p = base == nullptr ? nullptr : base + used;
    used += (bytes + 63) / 64 * 64;
    return p;
  };
  auto mat = [&](int64_t r, int64_t cols) {
    // Whole 64-byte lines a row, so that each row starts aligned.
    const int64_t stride = (cols + 15) / 16 * 16;
    return Mat{reinterpret_cast<float*>(take(static_cast<size_t>(r * stride) * sizeof(float))), r, cols, stride};
  };
  Scratch s;
  s.max_rows = rows;
  s.x = mat(rows, c.n_embd);
  s.h = mat(rows, c.n_embd);
  s.y = mat(rows, c.n_embd);
  s.q = mat(rows, int64_t{c.n_head} * c.head_dim);
  s.attn = mat(rows, int64_t{c.n_head} * c.v_head_dim);
  s.cos_sin = mat(rows, c.rope.n_rot());
  const int64_t widest = std::max<int64_t>(c.n_ff, int64_t{c.n_expert_shared} * c.n_ff_exp);
  s.gate = mat(rows, widest);
  s.up = mat(rows, widest);
  if (c.is_mla()) {
    const int64_t row = c.kv_lora_rank + c.qk_rope_dim;
    if (c.q_lora_rank > 0) s.q_a = mat(rows, c.q_lora_rank);
    s.kv_a = mat(rows, row);
    s.q_latent = mat(rows, c.n_head * row);
    s.latent = mat(rows, int64_t{c.n_head} * c.kv_lora_rank);
    s.mla.latent = mat(ops::kMlaBlock, row);
    s.mla.k = mat(c.n_head * int64_t{ops::kMlaBlock}, c.head_dim);
    s.mla.v = mat(c.n_head * int64_t{ops::kMlaBlock}, c.v_head_dim);
    s.mla.state = mat(rows, int64_t{c.n_head} * 2);
  } else {
    s.k = mat(rows, int64_t{c.n_head_kv} * c.head_dim);
    s.v = mat(rows, int64_t{c.n_head_kv} * c.v_head_dim);
  }
  if (c.is_moe()) {
    const int64_t used_rows = rows * c.router.n_expert_used;
    s.router = mat(rows, c.router.n_expert);
    s.weights = mat(rows, c.router.n_expert_used);
    s.ids = reinterpret_cast<int32_t*>(take(static_cast<size_t>(used_rows) * sizeof(int32_t)));
    s.moe.x = mat(used_rows, c.n_embd);
    s.moe.gate = mat(used_rows, c.n_ff_exp);
    s.moe.up = mat(used_rows, c.n_ff_exp);
    s.moe.down = mat(used_rows, c.n_embd);
    s.moe.slot = reinterpret_cast<int32_t*>(take(static_cast<size_t>(used_rows) * sizeof(int32_t)));
    s.moe.offsets = reinterpret_cast<int32_t*>(take(static_cast<size_t>(c.router.n_expert + 1) * sizeof(int32_t)));
  }
  if (c.n_layer_mtp > 0) {
    s.concat = mat(rows, 2 * int64_t{c.n_embd});
    s.mtp_h = mat(rows, c.n_embd);
  }
  if (out != nullptr) *out = s;
  return used;
}

Scratch Scratch::rows(int64_t n) const {
  DSR1_CHECK(n <= max_rows, "batch larger than the scratch");
  Scratch s = *this;
  for (Mat* m : {&s.x, &s.h, &s.y, &s.q, &s.k, &s.v, &s.attn, &s.cos_sin, &s.gate, &s.up, &s.q_a, &s.kv_a, &s.q_latent,
                 &s.latent, &s.router, &s.weights, &s.concat, &s.mtp_h, &s.mla.state})
    m->rows = n;
  return s;
}

}  // namespace dsr1::model
