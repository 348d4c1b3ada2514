#include "dsr1/runtime/plan.h"

#include <algorithm>
#include <charconv>

namespace dsr1::runtime {
namespace {

// Left free for the rest of the process and the system when the context is chosen to fit.
constexpr uint64_t kReserve = uint64_t{256} << 20;

// A tensor of the MTP layers, which stand after the decoder layers.
bool is_mtp_tensor(std::string_view name, const model::ModelConfig& c) {
  if (c.n_layer_mtp == 0 || name.rfind("blk.", 0) != 0) return false;
  int layer = 0;
  std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer >= c.n_layer;
}

// "blk.3.ffn_gate_exps.weight", or "blk.3.ffn_gate.17.weight" of Hugging Face directories.
bool is_routed(std::string_view name) {
  if (name.find("_exps.") != std::string_view::npos) return true;
  for (std::string_view part : {".ffn_gate.", ".ffn_up.", ".ffn_down."}) {
    const size_t at = name.find(part);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = name.substr(at + part.size());
    return !rest.empty() && rest[0] >= '0' && rest[0] <= '9';
  }
  return false;
}

std::string gib(uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

}  // namespace

uint64_t ModelFacts::weights() const {
  uint64_t n = 0;
  for (const TensorFact& t : tensors) n += t.bytes;
  return n;
}

uint64_t ModelFacts::routed_bytes() const {
  uint64_t n = 0;
  for (const TensorFact& t : tensors) n += t.routed ? t.bytes : 0;
  return n;
}

uint64_t ModelFacts::weights_needed() const {
  uint64_t n = 0;
  for (const TensorFact& t : tensors) n += t.routed || t.lookup ? 0 : t.bytes;
  const auto all = static_cast<uint64_t>(config.router.n_expert),
             used = static_cast<uint64_t>(config.router.n_expert_used);
  // All experts of a layer are equally large, so this division is exact.
  return n + (all > 0 ? routed_bytes() / all * used : 0);
}

int64_t ModelFacts::n_params() const {
  int64_t n = 0;
  for (const TensorFact& t : tensors) n += t.rows * t.cols;
  return n;
}

ModelFacts facts_of(const io::ModelFile& file, const model::Model& model, bool load_mtp) {
  ModelFacts f;
  f.config = model.config();
  f.n_cache_layers = model.n_cache_layers();
  if (auto name = file.metadata().get_string("general.name"); name && *name) f.name = std::string(**name);
  if (f.name.empty()) f.name = file.path().filename().string();
  const bool tied = file.find("output.weight") == nullptr;
  for (const io::TensorInfo& t : file.tensors()) {
    const bool mtp = is_mtp_tensor(t.name, f.config);
    if (mtp && !load_mtp) continue;
    TensorFact fact;
    fact.name = t.name;
    fact.dtype = t.view.dtype;
    fact.rows = t.view.rows();
    fact.cols = t.view.cols();
    fact.bytes = t.bytes;
    fact.routed = !mtp && f.config.is_moe() && is_routed(t.name);
    fact.lookup = t.name == "token_embd.weight" && !tied;
    fact.is_output = t.name == (tied ? "token_embd.weight" : "output.weight");
    f.tensors.push_back(std::move(fact));
  }
  return f;
}

int64_t most_context(const model::ModelConfig& c, int64_t requested) {
  return requested > 0 ? requested : std::min(c.n_ctx_train, kDefaultContext);
}

int64_t logits_stride(const model::ModelConfig& c) { return (int64_t{c.n_vocab} + 15) / 16 * 16; }

MemoryPlan plan_memory(const ModelFacts& facts, const PlanRequest& r) {
  MemoryPlan plan;
  plan.weights = facts.weights();
  plan.weights_needed = facts.weights_needed();
  plan.scratch = model::plan_scratch(facts.config, r.n_batch, nullptr, nullptr) +
                 static_cast<uint64_t>(kLogitRows * logits_stride(facts.config)) * sizeof(float) + r.workspace;
  plan.available = r.available;
  const uint64_t resident = r.use_mmap ? plan.weights_needed : plan.weights;
  plan.n_sessions = std::max(r.n_sessions, 1);
  const uint64_t per_token = kv_bytes_per_token(facts.config, facts.n_cache_layers, r.type_k, r.type_v) *
                             static_cast<uint64_t>(plan.n_sessions);
  plan.n_ctx = most_context(facts.config, r.n_ctx);
  const uint64_t fixed = resident + plan.scratch + kReserve;
  if (r.n_ctx == 0 && plan.available > fixed) {
    const auto fits = static_cast<int64_t>(std::min<uint64_t>((plan.available - fixed) / per_token, uint64_t{1} << 40));
    if (fits < plan.n_ctx) plan.n_ctx = std::max<int64_t>(fits / 256 * 256, 256);
  }
  plan.kv = per_token * static_cast<uint64_t>(plan.n_ctx);
  return plan;
}

Status check_plan(const MemoryPlan& plan, bool use_mmap) {
  const uint64_t resident = use_mmap ? plan.weights_needed : plan.weights;
  const uint64_t needed = resident + plan.kv + plan.scratch;
  const bool several = plan.n_sessions > 1;
  if (plan.available == 0 || needed <= plan.available) return {};
  return Error(ErrorCode::kDoesNotFit,
               "does not fit: " + gib(needed) + " needed (" +
                   (use_mmap ? "weights read for every token " : "weights, all in memory without mmap, ") +
                   gib(resident) + ", KV cache for " +
                   (several ? std::to_string(plan.n_sessions) + " sequences of " : "") + std::to_string(plan.n_ctx) +
                   " tokens " + gib(plan.kv) + ", scratch " + gib(plan.scratch) + "), " + gib(plan.available) +
                   " available; use " + (several ? "fewer at once (-np), " : "") +
                   "a smaller quantization, a smaller context (-c) or -ctk q8_0");
}

uint64_t kv_bytes_per_token(const model::ModelConfig& c, int n_layers, DType type_k, DType type_v) {
  uint64_t row = row_bytes(type_k, c.kv_k_dim());
  if (!c.is_mla()) row += row_bytes(type_v, c.kv_v_dim());
  return row * static_cast<uint64_t>(c.kv_heads()) * static_cast<uint64_t>(n_layers);
}

}  // namespace dsr1::runtime
