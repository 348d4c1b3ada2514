#include "dsr1/runtime/rehearsal.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <map>
#include <random>

#include "dsr1/backend/cpu.h"
#include "dsr1/backend/probe.h"

namespace dsr1::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kTokens = 256;  // rows of the embedding table that exist
constexpr uint64_t kLeastRing = uint64_t{64} << 20, kMostRing = uint64_t{512} << 20;

// Memory as a mapped file has it: small pages, which the system does not join into large ones.
class Ring {
 public:
  static Result<std::unique_ptr<Ring>> create(uint64_t bytes, std::byte even, std::byte odd) {
    auto ring = std::make_unique<Ring>();
    const int fd = memfd_create("dsr1 rehearsal", MFD_CLOEXEC);
    void* p = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0)
      p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (p == MAP_FAILED)
      return Error(ErrorCode::kDoesNotFit,
                   "the rehearsal's " + human_bytes(static_cast<double>(bytes)) + " of memory cannot be had");
    ring->data_ = static_cast<std::byte*>(p);
    ring->size_ = bytes;
    for (uint64_t i = 0; i + 1 < bytes; i += 2) {
      ring->data_[i] = even;
      ring->data_[i + 1] = odd;
    }
    return ring;
  }
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    if (data_ != nullptr) munmap(data_, size_);
  }
  // The next `bytes`, from the start again where they would pass the end.
  std::byte* take(uint64_t bytes) {
    if (at_ + bytes > size_) at_ = 0;
    std::byte* p = data_ + at_;
    at_ += (bytes + 63) / 64 * 64;
    return p;
  }

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0, at_ = 0;
};

// Little-endian halves of a number that is small and normal in the type: kernels must not stumble over subnormals, and
// layers must not drown the random embeddings that spread tokens over experts.
std::pair<std::byte, std::byte> fill_of(DType t) {
  switch (t) {
    case DType::kF32:
    case DType::kBF16: return {std::byte{0x80}, std::byte{0x39}};  // 2.4e-4
    case DType::kF16: return {std::byte{0x00}, std::byte{0x0c}};   // 2.4e-4
    default: return {std::byte{0x04}, std::byte{0x04}};            // f16 scales of 6.1e-5
  }
}

// "blk.7.attn_q.weight" -> 7, "attn_q.weight"; -1 where it is of no layer.
int layer_of(std::string_view name, std::string_view* rest) {
  if (!name.starts_with("blk.")) return -1;
  int layer = -1;
  const auto end = std::from_chars(name.data() + 4, name.data() + name.size(), layer).ptr;
  *rest = name.substr(static_cast<size_t>(end - name.data()));
  return layer;
}

// "blk.7.ffn_up.17.weight" -> 17; 0 where the name has no such number.
int64_t expert_of(std::string_view name) {
  const size_t end = name.rfind('.'), begin = name.rfind('.', end - 1);
  int64_t expert = 0;
  std::from_chars(name.data() + begin + 1, name.data() + end, expert);
  return expert;
}

// The layers that stand for all: all of them, or n evenly taken.
std::vector<int> chosen_layers(int all, int n) {
  std::vector<int> layers;
  n = n > 0 ? std::min(n, all) : all;
  for (int i = 0; i < n; ++i) layers.push_back(static_cast<int>((int64_t{2 * i + 1} * all) / (2 * n)));
  return layers;
}

}  // namespace

// What lies in one ring: weights filled alike. Routed experts have their own, for every token reads others of them.
struct RingKey {
  std::pair<std::byte, std::byte> fill;
  bool routed = false;
  auto operator<=>(const RingKey&) const = default;
};

struct Rehearsal::Impl {
  std::unique_ptr<ops::Ops> ops;
  std::map<RingKey, std::unique_ptr<Ring>> rings;
  Buffer floats, cache, scratch_memory;
  std::unique_ptr<io::ModelFile> file;
  std::unique_ptr<model::Model> model;
  model::Scratch scratch;
  ops::Mat logits;
  std::vector<ops::KvLayerView> layers;
  Options options;
  int64_t next_token = 0;

  Status make_weights(const ModelFacts& facts);
  Status make_cache();
  double pass(int64_t context, int64_t rows, bool prompt);
};

Status Rehearsal::Impl::make_weights(const ModelFacts& facts) {
  model::ModelConfig config = facts.config;
  config.n_layer_mtp = 0;
  const std::vector<int> kept = chosen_layers(config.n_layer, options.n_layer);
  config.n_layer = static_cast<int>(kept.size());
  config.n_layer_dense_lead = static_cast<int>(
      std::count_if(kept.begin(), kept.end(), [&](int i) { return i < facts.config.n_layer_dense_lead; }));
  if (config.attn_scale == 0) config.attn_scale = 0.1f;
  if (config.rms_eps == 0) config.rms_eps = 1e-6f;

  // Which tensors there are, and how much memory each kind of fill needs.
  struct Planned {
    io::TensorInfo info;
    bool vector = false, random = false, router = false, routed = false;
  };
  std::vector<Planned> planned;
  std::map<RingKey, uint64_t> ring_bytes;
  uint64_t longest = 0;
  int64_t widest = 1, router_floats = 0, most_scales = 1;
  for (const TensorFact& t : facts.tensors) {
    std::string_view rest;
    const int layer = layer_of(t.name, &rest);
    Planned p;
    p.info.name = t.name;
    if (layer >= 0) {
      const auto at = std::find(kept.begin(), kept.end(), layer);
      if (at == kept.end()) continue;
      p.info.name = "blk." + std::to_string(at - kept.begin()) + std::string(rest);
    }
    const bool table = t.name == "token_embd.weight";
    // A tied table is an output matrix too, in its own type.
    if (table && t.is_output) p.info.name = "output.weight";
    p.vector = t.rows == 1;
    p.random = table && !t.is_output;
    p.router = rest.ends_with("ffn_gate_inp.weight");
    p.routed = t.routed;
    TensorView& v = p.info.view;
    v.dtype = p.random || p.router || p.vector ? DType::kF32 : t.dtype;
    if (p.vector) {
      v.n_dims = 1;
      v.dims = {t.cols, 0, 0, 0};
    } else if (t.routed && rest.find("_exps.") != std::string_view::npos) {
      v.n_dims = 3;
      v.dims = {config.router.n_expert, t.rows / config.router.n_expert, t.cols, 0};
    } else {
      v.n_dims = 2;
      v.dims = {t.rows, t.cols, 0, 0};
    }
    widest = std::max(widest, t.cols);
    if (p.router) router_floats = std::max(router_floats, t.rows * t.cols);
    if (!p.vector && !p.random && !p.router) {
      const auto blocks = [](int64_t n) { return (n + 127) / 128; };
      most_scales = std::max(most_scales, blocks(t.rows) * blocks(t.cols));
      ring_bytes[{fill_of(t.dtype), t.routed}] += v.bytes();
      longest = std::max<uint64_t>(longest, v.n_dims == 3 ? v.bytes() / static_cast<uint64_t>(v.dims[0]) : v.bytes());
    }
    planned.push_back(std::move(p));
    if (table && t.is_output) {
      Planned e;
      e.info.name = "token_embd.weight";
      e.info.view = planned.back().info.view;
      e.info.view.dtype = DType::kF32;
      e.random = true;
      planned.push_back(std::move(e));
    }
  }

  const uint64_t most = std::clamp<uint64_t>(6 * backend::last_level_cache_bytes(), uint64_t{256} << 20, kMostRing);
  for (const auto& [key, bytes] : ring_bytes) {
    const uint64_t size = std::max(std::min(bytes, std::max(most, kLeastRing)), longest) + 4096;
    DSR1_TRY(rings[key], Ring::create(size, key.fill.first, key.fill.second));
  }
  // Token t chooses the experts of set t, modulo the sets: its embedding points at their rows of the router. So experts
  // are used evenly, as trained routers use them, and in an order that is known beforehand.
  const int64_t n_used = std::max<int64_t>(config.router.n_expert_used, 1);
  const int64_t n_sets = std::clamp<int64_t>(config.router.n_expert / n_used, 1, config.n_embd);
  const int64_t ones = std::max({widest, most_scales, int64_t{config.router.n_expert}});
  const int64_t table_floats = kTokens * config.n_embd;
  DSR1_TRY(floats,
           Buffer::allocate(static_cast<size_t>(ones + table_floats + router_floats) * sizeof(float), "the rehearsal"));
  float* one = floats.as<float>();
  float *table = one + ones, *router = table + table_floats;
  std::fill_n(one, ones, 1.0f);
  std::mt19937 rng(7);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < table_floats; ++i) table[i] = normal(rng);
  for (int64_t t = 0; t < kTokens; ++t) table[t * config.n_embd + t % n_sets] += 8;
  for (int64_t e = 0; (e + 1) * config.n_embd <= router_floats && e < n_sets * n_used; ++e)
    router[e * config.n_embd + e / n_used] = 1;

  std::vector<io::TensorInfo> tensors;
  std::vector<std::pair<int64_t, size_t>> experts;  // set, index in tensors
  const auto add_expert = [&](io::TensorInfo info, int64_t e) {
    info.bytes = info.view.bytes();
    experts.push_back({e / n_used, tensors.size()});
    tensors.push_back(std::move(info));
  };
  for (Planned& p : planned) {
    TensorView& v = p.info.view;
    if (p.vector) {
      v.data = reinterpret_cast<const std::byte*>(one);
    } else if (p.random || p.router) {
      v.data = reinterpret_cast<const std::byte*>(p.router ? router : table);
    } else {
      v.scale_inv = v.dtype == DType::kF8_E4M3 ? reinterpret_cast<const std::byte*>(one) : nullptr;
      if (v.n_dims == 3) {
        // Stacked experts become single ones ("blk.0.ffn_up.17.weight"), each somewhere in the ring.
        const std::string stem = p.info.name.substr(0, p.info.name.find("_exps."));
        const bool merged = stem.ends_with("ffn_gate_up");
        for (int64_t e = 0; e < v.dims[0]; ++e) {
          for (const char* part : {"gate", "up"}) {
            io::TensorInfo one_expert;
            one_expert.name =
                (merged ? stem.substr(0, stem.size() - 7) + part : stem) + "." + std::to_string(e) + ".weight";
            one_expert.view = v;
            one_expert.view.n_dims = 2;
            one_expert.view.dims = {merged ? v.dims[1] / 2 : v.dims[1], v.dims[2], 0, 0};
            add_expert(std::move(one_expert), e);
            if (!merged) break;
          }
        }
        continue;
      }
      if (p.routed) {
        const int64_t e = expert_of(p.info.name);
        add_expert(std::move(p.info), e);
        continue;
      }
      v.data = rings[{fill_of(v.dtype), false}]->take(v.bytes());
    }
    p.info.bytes = v.bytes();
    tensors.push_back(std::move(p.info));
  }
  // In the order of their use, so that none is met again before the whole ring has been read: chance would find some in
  // the caches, which it hardly does in the larger file.
  std::stable_sort(experts.begin(), experts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [set, i] : experts) {
    TensorView& v = tensors[i].view;
    v.data = rings[{fill_of(v.dtype), true}]->take(v.bytes());
  }
  DSR1_TRY(io::ModelFile in_memory, io::ModelFile::in_memory(std::move(tensors)));
  file = std::make_unique<io::ModelFile>(std::move(in_memory));
  DSR1_TRY(model, model::Model::assemble(config, *file));
  return {};
}

// Layers have their own places while those are few; then they share them.
Status Rehearsal::Impl::make_cache() {
  const model::ModelConfig& c = model->config();
  const auto rows = static_cast<size_t>(c.kv_heads()) * static_cast<size_t>(options.n_ctx);
  const size_t k = row_bytes(options.type_k, c.kv_k_dim()) * rows;
  const size_t v = c.is_mla() ? 0 : row_bytes(options.type_k, c.kv_v_dim()) * rows;
  const size_t places = std::clamp<size_t>(kMostRing / (k + v), 1, static_cast<size_t>(c.n_layer));
  DSR1_TRY(cache, Buffer::allocate((k + v) * places, "the rehearsal's cache"));
  // Untouched pages are one page of zeros, which stays in the caches; 0x0404 is a small normal number in every type.
  std::memset(cache.data(), 4, (k + v) * places);
  for (int i = 0; i < c.n_layer; ++i) {
    ops::KvLayerView l;
    l.k = cache.data() + (k + v) * (static_cast<size_t>(i) % places);
    l.v = c.is_mla() ? nullptr : l.k + k;
    l.k_type = l.v_type = options.type_k;
    l.n_head_kv = c.kv_heads();
    l.k_dim = c.kv_k_dim();
    l.v_dim = c.kv_v_dim();
    l.n_ctx = options.n_ctx;
    layers.push_back(l);
  }
  return {};
}

double Rehearsal::Impl::pass(int64_t context, int64_t rows, bool prompt) {
  std::vector<int32_t> ids, positions;
  for (int64_t i = 0; i < rows; ++i) {
    ids.push_back(static_cast<int32_t>(next_token++ % kTokens));
    positions.push_back(static_cast<int32_t>(context + i));
  }
  const ops::Segment segment[] = {
      {layers.data(), static_cast<int32_t>(context), static_cast<int32_t>(rows), prompt && model->config().is_mla()}};
  const ops::Batch batch{ids, positions, segment, nullptr};
  const int32_t last[] = {static_cast<int32_t>(rows - 1)};
  const auto begin = Clock::now();
  model->forward(batch, scratch, *ops);
  if (!prompt) model->head(last, scratch, *ops, logits);
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

Rehearsal::Rehearsal() : impl_(std::make_unique<Impl>()) {}
Rehearsal::~Rehearsal() = default;

Result<std::unique_ptr<Rehearsal>> Rehearsal::create(const ModelFacts& facts, const Options& options) {
  std::unique_ptr<Rehearsal> r(new Rehearsal());
  Impl& i = *r->impl_;
  i.options = options;
  DSR1_TRY_STATUS(i.make_weights(facts));
  DSR1_TRY_STATUS(i.make_cache());
  const model::ModelConfig& c = i.model->config();
  DSR1_TRY(i.ops,
           backend::make_cpu(options.cpu_isa, options.n_threads, model::limits_of(c, options.n_ctx, options.n_rows)));
  const size_t activations = model::plan_scratch(c, options.n_rows, nullptr, nullptr);
  DSR1_TRY(i.scratch_memory, Buffer::allocate(activations + static_cast<size_t>(logits_stride(c)) * sizeof(float),
                                              "the rehearsal's activations"));
  model::plan_scratch(c, options.n_rows, i.scratch_memory.data(), &i.scratch);
  i.logits = {reinterpret_cast<float*>(i.scratch_memory.data() + activations), 1, c.n_vocab, logits_stride(c)};
  return r;
}

double Rehearsal::token(int64_t context) { return impl_->pass(context, 1, false); }
double Rehearsal::chunk(int64_t context) { return impl_->pass(context, impl_->options.n_rows, true); }

}  // namespace dsr1::runtime
