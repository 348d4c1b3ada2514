#include "dsr1/runtime/engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "dsr1/backend/cpu.h"
#include "dsr1/backend/cuda.h"
#include "dsr1/backend/ref.h"
#include "dsr1/base/log.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/io/bulk_read.h"
#include "dsr1/io/page_cache.h"
#include "dsr1/ops/kv_rows.h"
#include "dsr1/runtime/machine.h"
#include "dsr1/runtime/vocab_loader.h"

namespace dsr1::runtime {
namespace {

// Tokens from which MLA's expanded form is the faster one, at 512 to 4,096 earlier positions (docs/cpu-performance.md
// section 7; tools/bench_mla.cpp). With attn_k_b stored transposed the keys' part of the expansion is float arithmetic,
// with the joined attn_kv_b all of it is integer; where nothing stands before the prompt, that is faster always.
constexpr size_t kMlaExpandedMinSplit = 160, kMlaExpandedMinJoined = 80;

uint64_t expert_bytes(const model::LayerWeights& l, bool chosen_only, int n_used) {
  uint64_t bytes = 0;
  for (const auto* set : {&l.ffn_gate_exps, &l.ffn_up_exps, &l.ffn_down_exps}) {
    const size_t n = chosen_only ? std::min(set->size(), static_cast<size_t>(n_used)) : set->size();
    for (size_t e = 0; e < n; ++e) bytes += (*set)[e].bytes();
  }
  return bytes;
}

// What a thread reaches in int8 products with many rows, roughly: avx2 1.4e11, avx512_vnni 3.2e11
// (docs/cpu-performance.md section 1).
constexpr double kHostOpsPerThread = 2e11;

std::string gib(uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

}  // namespace

// What --device asks for.
struct Device {
  enum Kind { kCpu, kCuda, kRef } kind = kCpu;
  int index = 0;
  bool automatic = false;  // nobody asked for it: where the model does not fit, the CPU serves
};

struct Engine::Impl {
  Impl() : tokenizer(Error(ErrorCode::kModel, "")) {}

  Status load(const std::string& path, const EngineOptions& options);
  Status make_plan(const EngineOptions& options);
  Status make_device_plan(const EngineOptions& options);
  void warn_about_paging() const;
  std::string placement_text() const;
  std::vector<const io::TensorInfo*> tensors(bool experts, bool mtp) const;
  Status read_in(std::span<const io::TensorInfo* const> wanted, const ProgressFn& progress) const;
  Status copy(const EngineOptions& options, const ProgressFn& progress);
  static void lock(std::span<const io::TensorInfo* const> wanted);
  Status allocate();
  ops::Limits limits_for(const EngineOptions& options) const;
  Result<std::unique_ptr<ops::Ops>> make_backend(const struct Device& device, const EngineOptions& options) const;
  size_t logits_bytes() const { return static_cast<size_t>(logits.rows * logits.stride) * sizeof(float); }

  std::unique_ptr<ops::Ops> host_ops;  // of a hybrid: computes what stays in host memory
  std::unique_ptr<ops::Ops> ops;       // outlives what lies in its memory
  std::optional<io::ModelFile> file;
  std::unique_ptr<model::Model> model;
  Result<text::Tokenizer> tokenizer;
  MemoryPlan plan;
  std::optional<DevicePlan> device_plan;
  DType type_k = DType::kF16, type_v = DType::kF16;
  int64_t n_ctx = 0, n_batch = 0;
  int n_threads = 1;
  std::unique_ptr<ops::Memory> scratch_memory, host_scratch_memory;
  size_t activation_bytes = 0;
  model::Scratch scratch, host_scratch;
  ops::Mat logits;  // [kLogitRows, n_vocab], inside scratch_memory
  // Reused per pass, reserved once.
  std::vector<int32_t> tokens, positions, rows;
  std::vector<const ops::SampleRequest*> choices;  // by row
  std::vector<ops::SampleRequest> requests;
  std::vector<ops::Segment> segments;
  std::vector<size_t> order;

  Status run(std::span<const Work> work, int64_t logits_from, const std::atomic<bool>* cancel,
             const LogitsFn& on_logits, const SampledFn& on_sampled, const model::LayerFn& on_layer = {});
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

const io::ModelFile& Engine::file() const { return *impl_->file; }
const model::Model& Engine::model() const { return *impl_->model; }
const Result<text::Tokenizer>& Engine::tokenizer() const { return impl_->tokenizer; }
const MemoryPlan& Engine::plan() const { return impl_->plan; }
int64_t Engine::n_ctx() const { return impl_->n_ctx; }
std::string Engine::device_name() const { return impl_->ops->name(); }
int Engine::n_threads() const { return impl_->n_threads; }
int64_t Engine::n_batch() const { return impl_->n_batch; }
DType Engine::type_k() const { return impl_->type_k; }
DType Engine::type_v() const { return impl_->type_v; }

namespace {

Status check_options(const EngineOptions& o, const model::ModelConfig& c, DType type_k, DType type_v) {
  for (DType t : {type_k, type_v}) {
    if (!ops::kv_type_supported(t))
      return Error(ErrorCode::kUsage,
                   std::string("KV cache type ") + dtype_name(t) + " is not supported; expected f32, f16 or q8_0");
  }
  if (c.is_mla() && o.type_v && *o.type_v != type_k) {
    return Error(ErrorCode::kUsage, std::string("this model caches one latent for keys and values: -ctv ") +
                                        dtype_name(*o.type_v) + " contradicts -ctk " + dtype_name(type_k) +
                                        "; leave -ctv out");
  }
  if (type_k == DType::kQ8_0 && c.kv_k_dim() % 32 != 0)
    return Error(ErrorCode::kUsage, "KV cache type q8_0 needs head sizes that are multiples of 32, this model's is " +
                                        std::to_string(c.kv_k_dim()) + "; use f16");
  if (!c.is_mla() && type_v == DType::kQ8_0 && c.kv_v_dim() % 32 != 0)
    return Error(ErrorCode::kUsage, "KV cache type q8_0 needs head sizes that are multiples of 32, this model's is " +
                                        std::to_string(c.kv_v_dim()) + "; use f16");
  if (!c.is_mla() && type_k != type_v)
    return Error(ErrorCode::kUsage, std::string("-ctk ") + dtype_name(type_k) + " and -ctv " + dtype_name(type_v) +
                                        " differ; the cache keeps keys and values in one type");
  if (o.n_batch < 1 || o.n_batch > 65536) return Error(ErrorCode::kUsage, "batch size must be 1 to 65536");
  if (o.n_ctx < 0 || o.n_ctx > (16 << 20)) return Error(ErrorCode::kUsage, "context size must be 0 (auto) to 16777216");
  return {};
}

}  // namespace

namespace {

Result<Device> parse_device(const EngineOptions& o) {
  if (o.device == "auto" && !o.make_ops && backend::cuda_info().problem.empty())
    return Device{Device::kCuda, 0, /*automatic=*/true};
  if (o.device == "auto" || o.device == "cpu") return Device{Device::kCpu};
  if (o.device == "ref") return Device{Device::kRef};
  int index = 0;
  const bool cuda = o.device == "cuda" || (o.device.rfind("cuda:", 0) == 0 && o.device.size() < 9 && [&] {
                      const char *begin = o.device.data() + 5, *end = o.device.data() + o.device.size();
                      const auto [stop, error] = std::from_chars(begin, end, index);
                      return error == std::errc() && stop == end && index >= 0;
                    }());
  if (!cuda) return Error(ErrorCode::kUsage, "unknown device '" + o.device + "'; known: auto, cpu, cuda, cuda:N, ref");
  const std::string problem = backend::cuda_info().problem;
  if (!problem.empty())
    return Error(ErrorCode::kNoDevice, "device " + o.device + " was asked for: " + problem + "; use --device cpu");
  return Device{Device::kCuda, index};
}

}  // namespace

ops::Limits Engine::Impl::limits_for(const EngineOptions& o) const {
  ops::Limits limits = model::limits_of(model->config(), most_context(model->config(), o.n_ctx), n_batch);
  limits.max_logit_rows = kLogitRows;
  limits.n_layer = model->n_cache_layers();
  return limits;
}

Result<std::unique_ptr<ops::Ops>> Engine::Impl::make_backend(const Device& device, const EngineOptions& o) const {
  const ops::Limits limits = limits_for(o);
  if (o.make_ops) return o.make_ops(limits);
  switch (device.kind) {
    case Device::kRef: return backend::make_ref(n_threads);
    case Device::kCuda: return backend::make_cuda(device.index, limits);
    case Device::kCpu: break;
  }
  return backend::make_cpu(o.cpu_isa, n_threads, limits);
}

Result<std::unique_ptr<Engine>> Engine::open(const std::string& path, const EngineOptions& o,
                                             const ProgressFn& progress) {
  DSR1_TRY(const Device device, parse_device(o));
  DSR1_TRY_STATUS(place_process(o.cpu_placement));
  auto impl = std::make_unique<Impl>();
  DSR1_TRY_STATUS(impl->load(path, o));
  const model::ModelConfig& c = impl->model->config();
  if (impl->tokenizer && impl->tokenizer->size() > c.n_vocab) {
    return Error(ErrorCode::kModel, "the vocabulary has " + std::to_string(impl->tokenizer->size()) +
                                        " tokens, but token_embd.weight has only " + std::to_string(c.n_vocab) +
                                        " rows");
  }
  const bool ref = device.kind == Device::kRef;
  impl->type_k = o.type_k.value_or(ref ? DType::kF32 : DType::kF16);
  impl->type_v = c.is_mla() ? impl->type_k : o.type_v.value_or(ref ? DType::kF32 : DType::kF16);
  DSR1_TRY_STATUS(check_options(o, c, impl->type_k, impl->type_v));
  impl->n_threads = o.n_threads > 0 ? o.n_threads : default_threads();
  impl->n_batch = o.n_batch;

  auto settle = [&](const Device& on) -> Status {
    impl->host_ops.reset();
    impl->device_plan.reset();
    DSR1_TRY(impl->ops, impl->make_backend(on, o));
    if (o.tap) impl->ops = ops::make_tap(std::move(impl->ops), o.tap);
    if (impl->ops->places_weights()) return impl->make_device_plan(o);
    DSR1_TRY_STATUS(impl->make_plan(o));
    return impl->ops->reserve();
  };
  Status settled = settle(device);
  if (!settled && device.automatic) {
    log_info("the GPU is left alone: " + settled.error().text());
    settled = settle({Device::kCpu});
  }
  DSR1_TRY_STATUS(std::move(settled));

  const bool on_device = impl->ops->places_weights();
  if (!o.use_mmap && !on_device) DSR1_TRY_STATUS(impl->copy(o, progress));  // only now, that it is known to fit
  const bool paged =
      !on_device && o.use_mmap && c.is_moe() && impl->plan.available > 0 && impl->plan.total() > impl->plan.available;
  if (paged) {
    impl->warn_about_paging();
    impl->ops->expect_paging();
  }
  // What is paged are the experts; the rest is read now and stays, lest the system drop it for an expert.
  const bool hybrid = on_device && impl->device_plan->hybrid();
  const auto resident = impl->tensors(/*experts=*/!paged, o.load_mtp);
  if (o.use_mmap || on_device) {
    impl->file->drop_fetched();
    DSR1_TRY_STATUS(impl->read_in(resident, progress));
  }
  if (paged || (o.use_mlock && !on_device)) Impl::lock(resident);
  DSR1_TRY_STATUS(impl->allocate());
  if (on_device) DSR1_TRY_STATUS(impl->model->place(*impl->ops, impl->device_plan->placement));
  if (hybrid) log_info(impl->placement_text());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Status Engine::Impl::load(const std::string& path, const EngineOptions& o) {
  DSR1_TRY(io::ModelFile opened, io::ModelFile::open(path));
  file.emplace(std::move(opened));
  file->fetch_vectors();
  DSR1_TRY(model, model::Model::load(*file, {.expert_groups = o.expert_groups, .load_mtp = o.load_mtp}));
  tokenizer = load_tokenizer(*file);
  return {};
}

Status Engine::Impl::copy(const EngineOptions& o, const ProgressFn& progress) {
  DSR1_TRY_STATUS(file->copy_to_memory(tensors(/*experts=*/true, o.load_mtp), [&](uint64_t done, uint64_t total) {
    if (progress) progress(static_cast<int64_t>(done), static_cast<int64_t>(total));
  }));
  model.reset();  // its views point to where the weights were
  DSR1_TRY(model, model::Model::load(*file, {.expert_groups = o.expert_groups, .load_mtp = o.load_mtp}));
  return {};
}

// Everything that will be held, before anything is allocated or read.
Status Engine::Impl::make_plan(const EngineOptions& o) {
  const model::ModelConfig& c = model->config();
  activation_bytes = model::plan_scratch(c, n_batch, nullptr, nullptr);
  logits = {nullptr, kLogitRows, c.n_vocab, logits_stride(c)};
  plan =
      plan_memory(facts_of(*file, *model, o.load_mtp), {.n_ctx = o.n_ctx,
                                                        .n_batch = n_batch,
                                                        .type_k = type_k,
                                                        .type_v = type_v,
                                                        .n_sessions = o.n_sessions,
                                                        .use_mmap = o.use_mmap && !ops->places_weights(),
                                                        .workspace = ops->workspace_bytes(),
                                                        .available = o.memory_limit > 0      ? o.memory_limit
                                                                     : ops->places_weights() ? ops->memory_available()
                                                                                             : available_memory()});
  n_ctx = plan.n_ctx;
  return check_plan(plan, o.use_mmap && !ops->places_weights());
}

// The same for a device, and which part of the model it takes.
Status Engine::Impl::make_device_plan(const EngineOptions& o) {
  const model::ModelConfig& c = model->config();
  activation_bytes = model::plan_scratch(c, n_batch, nullptr, nullptr);
  logits = {nullptr, kLogitRows, c.n_vocab, logits_stride(c)};
  const ModelFacts facts = facts_of(*file, *model, o.load_mtp);
  const PlanRequest request{
      .n_ctx = o.n_ctx, .n_batch = n_batch, .type_k = type_k, .type_v = type_v, .n_sessions = o.n_sessions};
  ops::HostExperts host{nullptr, 0, kHostOpsPerThread * n_threads, o.stream_rows};
  const DeviceRoom room{.name = ops->name(),
                        .available = o.memory_limit > 0 ? o.memory_limit : ops->memory_available(),
                        .workspace = [&](const ops::HostExperts& h) { return ops->workspace_bytes(h); },
                        .host_ops_per_second = host.ops_per_second,
                        .stream_rows = o.stream_rows};
  DSR1_TRY(device_plan, plan_device(facts, request, o.placement, room));
  plan = device_plan->memory;
  n_ctx = plan.n_ctx;
  if (device_plan->hybrid()) {
    const ops::Limits limits = limits_for(o);
    DSR1_TRY(host_ops, backend::make_cpu(o.cpu_isa, n_threads, limits));
    const uint64_t needed = device_plan->host_kv + activation_bytes + host_ops->workspace_bytes(),
                   free = available_memory();
    if (free > 0 && needed > free)
      return Error(ErrorCode::kDoesNotFit, "does not fit: what stays in host memory needs " + gib(needed) +
                                               " beside its weights, " + gib(free) +
                                               " available; use a smaller -c or -ub, or a larger -ngl");
    if (free > 0 && device_plan->host_weights + needed > free)
      log_warn("the weights that stay in host memory (" + gib(device_plan->host_weights) + ") do not fit there (" +
               gib(free) + " available): they are read from the file as they are needed");
  }
  host.ops = host_ops.get();
  host.matrix_bytes = device_plan->expert_bytes;
  return ops->reserve(host);
}

std::string Engine::Impl::placement_text() const {
  const model::Placement& p = device_plan->placement;
  const int n_layer = model->config().n_layer;
  int stay = 0;
  for (int i = p.n_host_layers; i < n_layer; ++i)
    stay += model->weights().layers[static_cast<size_t>(i)].experts_on_host;
  std::string text = std::to_string(n_layer - p.n_host_layers) + " of " + std::to_string(n_layer) + " layers on " +
                     ops->name() + " (" + gib(plan.weights) + ")";
  if (stay > 0) text += ", the experts of " + std::to_string(stay) + " of them";
  if (p.n_host_layers > 0) text += std::string(stay > 0 ? " and " : ", ") + std::to_string(p.n_host_layers) + " layers";
  return text + " in host memory (" + gib(device_plan->host_weights) + ")";
}

void Engine::Impl::warn_about_paging() const {
  const uint64_t held = plan.weights_needed + plan.kv + plan.scratch;
  uint64_t experts = 0, chosen = 0;
  const TensorView* sample = nullptr;
  for (const model::LayerWeights& l : model->weights().layers) {
    experts += expert_bytes(l, false, 0);
    chosen += expert_bytes(l, true, model->config().router.n_expert_used);
    if (!l.ffn_down_exps.empty()) sample = &l.ffn_down_exps.back();
  }
  // Experts are used about evenly, so the share of them that memory can keep is the share that is found there.
  const uint64_t room = plan.available > held - chosen ? plan.available - (held - chosen) : 0;
  const double missing =
      experts > 0 ? 1.0 - std::min(1.0, static_cast<double>(room) / static_cast<double>(experts)) : 1;
  std::string speed = "the speed of the disk";
  if (sample != nullptr) {
    for (const io::TensorInfo& t : file->tensors()) {
      if (sample->data < t.view.data || sample->data >= t.view.data + t.bytes) continue;
      const double rate = disk_read_rate(file->files()[t.file].path, t.offset, t.bytes);
      const double per_second = rate / (static_cast<double>(chosen) * missing);
      char text[80];
      std::snprintf(text, sizeof(text), "about %.*f tokens a second (the disk reads %.1f GB/s)",
                    per_second < 10 ? 2 : 0, per_second, rate / 1e9);
      if (rate > 0) speed = text;
    }
  }
  log_warn("the weights (" + gib(plan.weights) + ") do not fit in memory (" + gib(plan.available) +
           " available): experts are read from the file as they are needed, expect " + speed);
}

std::vector<const io::TensorInfo*> Engine::Impl::tensors(bool experts, bool mtp) const {
  std::vector<const io::TensorInfo*> wanted;
  for (const TensorFact& t : facts_of(*file, *model, mtp).tensors)
    if (experts || !t.routed) wanted.push_back(file->find(t.name));
  return wanted;
}

// Brings what the page cache lacks of them into it, at the disk's speed: pages that the first pass would fault in come
// a few at a time, each waited for.
Status Engine::Impl::read_in(std::span<const io::TensorInfo* const> wanted, const ProgressFn& progress) const {
  constexpr uint64_t kWorthIt = uint64_t{64} << 20, kPiece = uint64_t{4} << 20;
  const auto files = file->files();
  std::vector<std::vector<io::ReadRange>> missing(files.size());
  uint64_t total = 0, done = 0;
  for (const io::TensorInfo* t : wanted) {
    for (uint64_t at = 0; at < t->bytes; at += kPiece) {
      const uint64_t n = std::min(kPiece, t->bytes - at);
      const auto held = io::resident_share(files[t->file].path, t->view.data + at, n);
      if (held && *held >= 1) continue;
      missing[t->file].push_back({t->offset + at, n, nullptr});
    }
  }
  for (size_t i = 0; i < files.size(); ++i) {
    missing[i] = io::joined(std::move(missing[i]), files[i].size);
    for (const io::ReadRange& r : missing[i]) total += r.length;
  }
  if (total < kWorthIt) return {};
  if (progress) progress(0, static_cast<int64_t>(total));
  for (size_t i = 0; i < files.size(); ++i) {
    DSR1_TRY_STATUS(io::bulk_read(files[i].path, missing[i], [&](uint64_t more) {
      done += more;
      if (progress) progress(static_cast<int64_t>(done), static_cast<int64_t>(total));
    }));
  }
  return {};
}

void Engine::Impl::lock(std::span<const io::TensorInfo* const> wanted) {
  for (const io::TensorInfo* t : wanted) {
    if (mlock(t->view.data, t->bytes) == 0) continue;
    return log_warn("the system refuses to lock the weights in memory (ulimit -l); going on without");
  }
}

Status Engine::Impl::allocate() {
  DSR1_TRY(scratch_memory, ops->allocate(activation_bytes + logits_bytes(), "activations"));
  model::plan_scratch(model->config(), n_batch, scratch_memory->data(), &scratch);
  logits.data = reinterpret_cast<float*>(scratch_memory->data() + activation_bytes);
  if (device_plan && device_plan->placement.n_host_layers > 0) {
    DSR1_TRY(host_scratch_memory, host_ops->allocate(activation_bytes, "activations"));
    model::plan_scratch(model->config(), n_batch, host_scratch_memory->data(), &host_scratch);
  }
  const auto rows_max = static_cast<size_t>(n_batch);
  for (auto* v : {&tokens, &positions, &rows}) v->reserve(rows_max);
  segments.reserve(rows_max);
  order.reserve(rows_max);
  choices.reserve(rows_max);
  requests.reserve(rows_max);
  return {};
}

Result<std::unique_ptr<Session>> Engine::new_session() {
  const model::ModelConfig& c = config();
  const int n_layers = impl_->model->n_cache_layers();
  auto s = std::make_unique<Session>();
  s->n_ctx_ = impl_->n_ctx;
  s->on_host_ = !impl_->ops->places_weights();
  const auto heads = static_cast<size_t>(c.kv_heads()), ctx = static_cast<size_t>(impl_->n_ctx);
  const size_t k_bytes = row_bytes(impl_->type_k, c.kv_k_dim()) * heads * ctx;
  const size_t v_bytes = c.is_mla() ? 0 : row_bytes(impl_->type_v, c.kv_v_dim()) * heads * ctx;
  const int n_host = impl_->device_plan ? impl_->device_plan->placement.n_host_layers : 0;
  const size_t of_layer = k_bytes + v_bytes;
  if (n_host > 0) {
    DSR1_TRY(s->host_memory_, impl_->host_ops->allocate(of_layer * static_cast<size_t>(n_host), "the KV cache"));
  }
  DSR1_TRY(s->memory_, impl_->ops->allocate(of_layer * static_cast<size_t>(n_layers - n_host), "the KV cache"));
  std::byte* p = n_host > 0 ? s->host_memory_->data() : s->memory_->data();
  for (int i = 0; i < n_layers; ++i) {
    if (i == n_host) p = s->memory_->data();
    ops::KvLayerView l;
    l.k = p;
    l.v = c.is_mla() ? nullptr : p + k_bytes;
    l.k_type = impl_->type_k;
    l.v_type = impl_->type_v;
    l.n_head_kv = c.kv_heads();
    l.k_dim = c.kv_k_dim();
    l.v_dim = c.kv_v_dim();
    l.n_ctx = impl_->n_ctx;
    s->layers_.push_back(l);
    p += k_bytes + v_bytes;
  }
  s->tokens_.reserve(ctx);
  return s;
}

bool Engine::expanded_form(int64_t before, size_t n) const {
  if (!config().is_mla()) return false;
  const bool joined = static_cast<bool>(impl_->model->weights().layers[0].attn_kv_b);
  return (joined && before == 0) || n >= (joined ? kMlaExpandedMinJoined : kMlaExpandedMinSplit);
}

void Engine::copy_prefix(Session& to, const Session& from, int64_t n) {
  DSR1_CHECK(n >= 0 && n <= from.n_past() && n <= to.n_ctx(), "copying tokens that are not there");
  if (&to == &from) return to.rewind(n);
  const auto rows = static_cast<size_t>(n);
  const int n_host = impl_->device_plan ? impl_->device_plan->placement.n_host_layers : 0;
  for (size_t i = 0; i < to.layers_.size(); ++i) {
    ops::Ops& ops = static_cast<int>(i) < n_host ? *impl_->host_ops : *impl_->ops;
    const ops::KvLayerView &a = from.layers_[i], &b = to.layers_[i];
    for (int h = 0; h < a.n_head_kv; ++h) {
      ops.copy_bytes(b.k_row(h, 0), a.k_row(h, 0), rows * a.k_row_bytes());
      if (a.v != nullptr) ops.copy_bytes(b.v_row(h, 0), a.v_row(h, 0), rows * a.v_row_bytes());
    }
  }
  to.tokens_.assign(from.tokens_.begin(), from.tokens_.begin() + n);
}

void Session::rewind(int64_t n) {
  DSR1_CHECK(n >= 0 && n <= n_past(), "rewind past the end");
  tokens_.resize(static_cast<size_t>(n));
}

std::vector<std::span<std::byte>> Session::kv_runs(int64_t n) const {
  DSR1_CHECK(n >= 0 && n <= n_ctx_, "more tokens than the context");
  std::vector<std::span<std::byte>> runs;
  const auto rows = static_cast<size_t>(n);
  for (const ops::KvLayerView& l : layers_) {
    for (int head = 0; head < l.n_head_kv; ++head) runs.emplace_back(l.k_row(head, 0), rows * l.k_row_bytes());
    for (int head = 0; l.v != nullptr && head < l.n_head_kv; ++head)
      runs.emplace_back(l.v_row(head, 0), rows * l.v_row_bytes());
  }
  return runs;
}

void Session::adopt(std::vector<int32_t> tokens) {
  DSR1_CHECK(static_cast<int64_t>(tokens.size()) <= n_ctx_, "more tokens than the context");
  tokens_.assign(tokens.begin(), tokens.end());  // keeps what is reserved
}

// One pass. logits_from < 0: the last token of each item that wants logits, reported by item; otherwise (one item)
// every token from logits_from on, reported by token.
Status Engine::Impl::run(std::span<const Work> work, int64_t logits_from, const std::atomic<bool>* cancel,
                         const LogitsFn& on_logits, const SampledFn& on_sampled, const model::LayerFn& on_layer) {
  const model::ModelConfig& c = model->config();
  tokens.clear();
  positions.clear();
  rows.clear();
  choices.clear();
  segments.clear();
  order.clear();
  for (size_t pass = 0; pass < 2; ++pass) {  // expanded segments first
    for (size_t i = 0; i < work.size(); ++i) {
      const bool expanded = c.is_mla() && work[i].prompt;
      if (expanded == (pass == 0)) order.push_back(i);
    }
  }
  for (size_t i : order) {
    const Work& item = work[i];
    Session& s = *item.session;
    if (item.tokens.empty()) continue;
    if (s.n_past() + static_cast<int64_t>(item.tokens.size()) > s.n_ctx()) {
      return Error(ErrorCode::kDoesNotFit,
                   "the context is full: " + std::to_string(s.n_past() + static_cast<int64_t>(item.tokens.size())) +
                       " tokens needed, " + std::to_string(s.n_ctx()) + " available; use a larger -c");
    }
    for (size_t j = 0; j < item.tokens.size(); ++j) {
      const int32_t t = item.tokens[j];
      if (t < 0 || t >= c.n_vocab)
        return Error(ErrorCode::kUsage,
                     "token id " + std::to_string(t) + " is outside the vocabulary of " + std::to_string(c.n_vocab));
      tokens.push_back(t);
      positions.push_back(static_cast<int32_t>(s.n_past() + static_cast<int64_t>(j)));
    }
    segments.push_back({s.layers_.data(), static_cast<int32_t>(s.n_past()), static_cast<int32_t>(item.tokens.size()),
                        c.is_mla() && item.prompt});
  }
  const auto n_rows = static_cast<int64_t>(tokens.size());
  DSR1_CHECK(n_rows <= n_batch, "more rows than the batch");
  if (n_rows == 0) return {};
  const ops::Batch batch{tokens, positions, segments, cancel};

  // Which hidden rows are looked at.
  if (logits_from >= 0) {
    for (int64_t r = logits_from; r < n_rows; ++r) rows.push_back(static_cast<int32_t>(r));
    if (rows.size() == 1 && work[0].sample != nullptr) choices.push_back(work[0].sample);
  } else {
    int32_t row = 0;
    size_t kept = 0;
    for (size_t i : order) {
      row += static_cast<int32_t>(work[i].tokens.size());
      if (!work[i].want_logits || work[i].tokens.empty()) continue;
      rows.push_back(row - 1);
      choices.push_back(work[i].sample);
      order[kept++] = i;
    }
  }
  // What is asked of n of them, from the begin-th on: all are chosen on the device, or none.
  auto ask = [&](size_t begin, size_t n) {
    requests.clear();
    if (choices.size() != rows.size() ||
        std::any_of(&choices[begin], &choices[begin] + n, [](auto* wish) { return !wish; }))
      return;
    for (size_t i = begin; i < begin + n; ++i) requests.push_back(*choices[i]);
  };
  // A decode step: the head, and the choice, belong to the pass.
  ops::Ending ending;
  if (static_cast<int64_t>(rows.size()) == n_rows && n_rows <= kLogitRows) {
    ask(0, rows.size());
    ending = {logits.first_rows(n_rows), requests};
  }
  const bool split = host_scratch_memory != nullptr;
  const model::HostPart host_part{split ? *host_ops : *ops, host_scratch};
  if (!model->forward(batch, scratch, *ops, on_layer, split ? &host_part : nullptr, ending)) {
    DSR1_TRY_STATUS(ops->sync());
    return Error(ErrorCode::kInterrupted, "interrupted");
  }

  bool waited = false;  // for everything: nothing was queued since
  // Their logits, kLogitRows at a time, each reported under its caller's name.
  auto give = [&](auto name_of, bool in_order) -> Status {
    for (size_t begin = 0; begin < rows.size(); begin += kLogitRows) {
      const auto part =
          std::span<const int32_t>(rows).subspan(begin, std::min<size_t>(kLogitRows, rows.size() - begin));
      const ops::Mat out = logits.first_rows(static_cast<int64_t>(part.size()));
      if (ending.logits.data == nullptr) {
        model->head(part, scratch, *ops, out);
        ask(begin, part.size());
      }
      if (requests.size() == part.size()) {
        DSR1_TRY(const std::span<const ops::Sampled> chosen, ops->sample(out, requests));
        bool all = true;
        for (size_t i = 0; i < part.size(); ++i) {
          all = all && chosen[i].covered;
          if (chosen[i].covered) on_sampled(name_of(begin + i), chosen[i]);
          else requests[i].n_tokens = -1;  // to be looked at
        }
        waited = all;
        if (all) continue;
      }
      DSR1_TRY(const ops::Mat host, ops->fetch(out));
      DSR1_TRY_STATUS(ops->sync());
      waited = true;
      auto report = [&](int64_t row) {
        const auto i = static_cast<size_t>(row);
        if (requests.size() == part.size() && requests[i].n_tokens >= 0) return;  // chosen
        on_logits(name_of(begin + i), {host.row(row), static_cast<size_t>(c.n_vocab)});
      };
      if (in_order) {
        for (int64_t i = 0; i < host.rows; ++i) report(i);
      } else {
        ops->on_threads(
            host.rows, [](void* f, int64_t i) { (*static_cast<decltype(report)*>(f))(i); }, &report);
      }
    }
    return {};
  };
  if (logits_from >= 0) {
    DSR1_TRY_STATUS(give([&](size_t i) { return logits_from + static_cast<int64_t>(i); }, /*in_order=*/true));
  } else {
    DSR1_TRY_STATUS(give([&](size_t i) { return static_cast<int64_t>(order[i]); }, /*in_order=*/false));
  }
  if (!waited) DSR1_TRY_STATUS(ops->sync());
  for (const Work& item : work)
    item.session->tokens_.insert(item.session->tokens_.end(), item.tokens.begin(), item.tokens.end());
  return {};
}

Status Engine::forward(std::span<const Work> work, const std::atomic<bool>* cancel, const LogitsFn& on_logits,
                       const SampledFn& on_sampled) {
  return impl_->run(work, -1, cancel, on_logits, on_sampled);
}

int64_t Engine::longest_sample_list() const { return impl_->ops->longest_sample_list(); }

Status Engine::eval(Session& session, std::span<const int32_t> tokens, const EvalOptions& o,
                    const LogitsFn& on_logits) {
  const auto total = static_cast<int64_t>(tokens.size());
  if (session.n_past() + total > session.n_ctx()) {
    return Error(ErrorCode::kDoesNotFit,
                 "the prompt does not fit the context: " + std::to_string(session.n_past() + total) +
                     " tokens, context " + std::to_string(session.n_ctx()) + "; use a larger -c");
  }
  const bool prompt = o.prompt && expanded_form(session.n_past(), tokens.size());
  const int64_t from = o.logits_from >= 0 ? o.logits_from : total - 1;
  for (int64_t done = 0; done < total;) {
    if (o.cancel != nullptr && o.cancel->load(std::memory_order_relaxed))
      return Error(ErrorCode::kInterrupted, "interrupted");
    // Chunk borders stand at multiples of the batch size in the sequence, wherever the prompt began.
    const int64_t n = std::min(total - done, impl_->n_batch - session.n_past() % impl_->n_batch);
    const bool chooses = o.sample != nullptr && o.logits_from < 0 && done + n == total;
    const Work work[] = {{&session, tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(n)), prompt, true,
                          chooses ? o.sample : nullptr}};
    const int64_t base = done;
    const int64_t first = std::max<int64_t>(from - done, 0);
    model::LayerFn on_layer;
    if (o.progress) on_layer = [&, n](int n_done) { o.progress(base + n * n_done / model().config().n_layer, total); };
    DSR1_TRY_STATUS(impl_->run(
        work, first, o.cancel, [&](int64_t i, std::span<const float> l) { on_logits(base + i, l); },
        [&](int64_t i, const ops::Sampled& s) { o.on_sampled(base + i, s); }, on_layer));
    done += n;
  }
  return {};
}

}  // namespace dsr1::runtime
