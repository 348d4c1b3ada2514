#include "dsr1/runtime/placement.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <regex>

namespace dsr1::runtime {
namespace {

// With less, an automatic plan rather leaves more on the host.
constexpr int64_t kWantedContext = 8192;
// Left free where the plan is ours to make: what the driver and small allocations round up.
constexpr uint64_t kReserve = uint64_t{256} << 20;
// Raw rows on their way to the device while weights are loaded (backend/cuda/weights.cpp).
constexpr uint64_t kStaging = uint64_t{16} << 20;

std::string gib(uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

int layer_of(std::string_view name) {
  int layer = -1;
  if (name.rfind("blk.", 0) == 0) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

// The model's bytes by where they can lie.
struct Sizes {
  explicit Sizes(const ModelFacts& f) : n_layer(f.config.n_layer) {
    layer.resize(static_cast<size_t>(n_layer));
    experts.resize(layer.size());
    largest.resize(layer.size());
    const auto n_expert = static_cast<uint64_t>(std::max(f.config.router.n_expert, 1));
    for (const TensorFact& t : f.tensors) {
      // Planes and distances between experts are rounded up to 256 bytes (kernels/quant/planes.h).
      const bool single = t.routed && t.name.find("_exps.") == std::string::npos;
      const uint64_t bytes = t.bytes + 512 * (t.routed && !single ? n_expert : 1);
      const int i = layer_of(t.name);
      if (i >= 0 && i < n_layer) {
        const auto at = static_cast<size_t>(i);
        (t.routed ? experts : layer)[at] += bytes;
        if (t.routed) largest[at] = std::max(largest[at], t.bytes / (single ? 1 : n_expert));
      } else if (t.name == "token_embd.weight") {
        embedding = bytes;
        tied = t.is_output;
      } else {
        rest += bytes;
      }
    }
  }
  int n_layer;
  std::vector<uint64_t> layer, experts, largest;  // without experts; experts; one matrix of one expert
  uint64_t embedding = 0, rest = 0;
  bool tied = false;
};

class Planner {
 public:
  Planner(const ModelFacts& facts, const PlanRequest& request, const DeviceRoom& device)
      : facts_(facts), request_(request), device_(device), sizes_(facts) {}

  DevicePlan plan(const model::Placement& p, int64_t n_ctx, DType type_k, DType type_v) const {
    DevicePlan d;
    d.placement = p;
    MemoryPlan& m = d.memory;
    const auto first = static_cast<size_t>(p.n_host_layers);
    for (size_t i = 0; i < sizes_.layer.size(); ++i) {
      const bool host = i < first, stay = p.experts_stay(static_cast<int>(i));
      (host ? d.host_weights : m.weights) += sizes_.layer[i];
      (host || stay ? d.host_weights : m.weights) += sizes_.experts[i];
      if (!host && stay) d.expert_bytes = std::max(d.expert_bytes, sizes_.largest[i]);
    }
    m.weights += sizes_.rest;
    if (first == 0 || sizes_.tied) m.weights += sizes_.embedding;
    if (first > 0) d.host_weights += sizes_.embedding;
    m.weights_needed = m.weights;
    m.n_sessions = std::max(request_.n_sessions, 1);
    m.n_ctx = n_ctx;
    const auto tokens = static_cast<uint64_t>(n_ctx) * static_cast<uint64_t>(m.n_sessions);
    m.kv = tokens * kv_bytes_per_token(facts_.config, facts_.n_cache_layers - p.n_host_layers, type_k, type_v);
    d.host_kv = tokens * kv_bytes_per_token(facts_.config, p.n_host_layers, type_k, type_v);
    m.scratch = model::plan_scratch(facts_.config, request_.n_batch, nullptr, nullptr) +
                static_cast<uint64_t>(kLogitRows * logits_stride(facts_.config)) * sizeof(float) + kStaging +
                device_.workspace({nullptr, d.expert_bytes, device_.host_ops_per_second, device_.stream_rows});
    m.available = device_.available;
    return d;
  }
  DevicePlan plan(const model::Placement& p, int64_t n_ctx) const {
    return plan(p, n_ctx, request_.type_k, request_.type_v);
  }

  static bool fits(const DevicePlan& d) { return d.memory.total() <= d.memory.available; }

  // The longest context with which p fits, in steps of 256, up to `most`; 0: none.
  int64_t longest(const model::Placement& p, int64_t most, uint64_t reserve) const {
    const DevicePlan none = plan(p, 0), one = plan(p, 256);
    const uint64_t fixed = none.memory.total() + reserve, step = one.memory.kv;
    if (fixed > device_.available) return 0;
    if (step == 0) return most;
    const uint64_t steps = (device_.available - fixed) / step;
    if (steps >= static_cast<uint64_t>(most) / 256 + 1) return most;
    return std::min(static_cast<int64_t>(steps) * 256, most);
  }

  bool is_moe() const {
    return std::any_of(sizes_.experts.begin(), sizes_.experts.end(), [](uint64_t b) { return b > 0; });
  }
  bool has_experts(int layer) const { return sizes_.experts[static_cast<size_t>(layer)] > 0; }
  int n_layer() const { return sizes_.n_layer; }

  model::Placement with_experts(model::Placement p, int64_t n) const {
    p.host_experts.assign(sizes_.layer.size(), false);
    for (int i = 0; i < n_layer() && i < n; ++i) p.host_experts[static_cast<size_t>(i)] = has_experts(i);
    return p;
  }

  // "what would fit: -ngl 12, -c 4096"
  std::string advice(const model::Placement& p, int64_t n_ctx) const {
    std::string text;
    auto offer = [&](const std::string& option) { text += (text.empty() ? "" : ", ") + option; };
    for (int host = p.n_host_layers + 1; host < n_layer(); ++host) {
      model::Placement fewer = p;
      fewer.n_host_layers = host;
      if (!fits(plan(fewer, n_ctx))) continue;
      offer("-ngl " + std::to_string(n_layer() - host));
      break;
    }
    for (int n = 1; is_moe() && n <= n_layer(); ++n) {
      if (!fits(plan(with_experts(p, n), n_ctx))) continue;
      offer("-ncmoe " + std::to_string(n));
      break;
    }
    if (const int64_t shorter = longest(p, n_ctx, 0) / 256 * 256; shorter >= 256 && shorter < n_ctx)
      offer("-c " + std::to_string(shorter));
    const bool q8 =
        facts_.config.kv_k_dim() % 32 == 0 && (facts_.config.is_mla() || facts_.config.kv_v_dim() % 32 == 0);
    if (q8 && request_.type_k != DType::kQ8_0 && fits(plan(p, n_ctx, DType::kQ8_0, DType::kQ8_0))) offer("-ctk q8_0");
    return text.empty() ? "nothing smaller on this device fits: --device cpu" : "what would fit: " + text;
  }

  Error refusal(const DevicePlan& d) const {
    const MemoryPlan& m = d.memory;
    const std::string sessions = m.n_sessions > 1 ? std::to_string(m.n_sessions) + " sequences of " : "";
    return {ErrorCode::kDoesNotFit, "does not fit on " + device_.name + ": " + gib(m.total()) + " needed (weights " +
                                        gib(m.weights) + ", KV cache for " + sessions + std::to_string(m.n_ctx) +
                                        " tokens " + gib(m.kv) + ", activations, workspace and graphs " +
                                        gib(m.scratch) + "), " + gib(m.available) + " free; " +
                                        advice(d.placement, m.n_ctx)};
  }

 private:
  const ModelFacts& facts_;
  const PlanRequest& request_;
  const DeviceRoom& device_;
  Sizes sizes_;
};

Result<model::Placement> apply_rules(const ModelFacts& facts, const Planner& planner, model::Placement p,
                                     const std::vector<TensorRule>& rules) {
  std::vector<std::pair<std::regex, const TensorRule*>> compiled;
  for (const TensorRule& r : rules) {
    try {
      compiled.emplace_back(std::regex(r.pattern), &r);
    } catch (const std::regex_error&) {
      return Error(ErrorCode::kUsage, "-ot: '" + r.pattern + "' is no regular expression");
    }
  }
  auto rule_for = [&](const std::string& name) -> const TensorRule* {
    for (const auto& [expression, rule] : compiled)
      if (std::regex_search(name, expression)) return rule;
    return nullptr;
  };
  for (const TensorFact& t : facts.tensors) {
    const TensorRule* r = t.routed ? nullptr : rule_for(t.name);
    if (r != nullptr && r->host && layer_of(t.name) >= p.n_host_layers)
      return Error(ErrorCode::kUsage, "-ot: '" + r->pattern + "' finds " + t.name +
                                          "; only experts (ffn_*_exps) can stay in host memory on their own, whole "
                                          "layers with -ngl");
  }
  if (p.host_experts.empty()) p = planner.with_experts(p, 0);
  for (int i = 0; i < planner.n_layer(); ++i) {
    if (!planner.has_experts(i)) continue;
    const std::string prefix = "blk." + std::to_string(i) + ".ffn_";
    int named = 0, host = 0;
    for (const char* which : {"gate", "up", "down"}) {
      if (const TensorRule* r = rule_for(prefix + which + "_exps.weight")) {
        ++named;
        host += r->host ? 1 : 0;
      }
    }
    if (named == 0) continue;
    if (named < 3 || (host > 0 && host < 3))
      return Error(ErrorCode::kUsage, "-ot: the experts of layer " + std::to_string(i) +
                                          " are parted; name ffn_gate_exps, ffn_up_exps and ffn_down_exps together");
    p.host_experts[static_cast<size_t>(i)] = host > 0;
  }
  return p;
}

}  // namespace

Result<DevicePlan> plan_device(const ModelFacts& facts, const PlanRequest& request, const PlacementRequest& wanted,
                               const DeviceRoom& device) {
  const Planner planner(facts, request, device);
  const int n_layer = planner.n_layer();
  const bool layers_said = wanted.n_gpu_layers >= 0, experts_said = wanted.n_cpu_moe >= 0 || !wanted.rules.empty();
  model::Placement asked;
  if (layers_said)
    asked.n_host_layers = static_cast<int>(std::clamp<int64_t>(n_layer - wanted.n_gpu_layers, 0, n_layer));
  if (asked.n_host_layers == n_layer)
    return Error(ErrorCode::kUsage, "-ngl 0 leaves nothing to the device: use --device cpu");
  if (wanted.n_cpu_moe >= 0) asked = planner.with_experts(asked, wanted.n_cpu_moe);
  if (!wanted.rules.empty()) {
    DSR1_TRY(asked, apply_rules(facts, planner, asked, wanted.rules));
  }

  // From what asks least of the host to what asks most.
  std::vector<model::Placement> candidates = {asked};
  if (!layers_said && !experts_said && planner.is_moe())
    for (int n = 1; n <= n_layer; ++n)
      if (planner.has_experts(n - 1)) candidates.push_back(planner.with_experts(asked, n));
  if (!layers_said) {
    for (int host = 1; host < n_layer; ++host) {
      candidates.push_back(candidates.back());
      candidates.back().n_host_layers = host;
    }
  }
  const int64_t most = most_context(facts.config, request.n_ctx);
  const uint64_t reserve = std::min(kReserve, device.available / 16);
  for (const int64_t enough : {request.n_ctx > 0 ? most : std::min(most, kWantedContext),
                               request.n_ctx > 0 ? most : std::min<int64_t>(most, 256)}) {
    for (const model::Placement& p : candidates) {
      const int64_t n_ctx = request.n_ctx > 0 ? most : planner.longest(p, most, reserve);
      if (n_ctx < enough) continue;
      DevicePlan d = planner.plan(p, n_ctx);
      if (Planner::fits(d)) return d;
    }
  }
  const int64_t n_ctx = request.n_ctx > 0 ? most : std::min(most, kWantedContext);
  // Of an automatic placement the first is what people meant.
  return planner.refusal(planner.plan(candidates[0], n_ctx));
}

}  // namespace dsr1::runtime
