// The CUDA backend: each op queues kernels on one stream. The same file runs in tests over the emulator (runtime.h).
#include "backend/cuda/ops.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "backend/cuda/attention.h"
#include "backend/cuda/host_experts.h"
#include "backend/cuda/matmul.h"
#include "backend/cuda/moe.h"
#include "backend/cuda/pass.h"
#include "backend/cuda/runtime.h"
#include "backend/cuda/sampler.h"
#include "backend/cuda/weights.h"
#include "kernels/attention/attention.h"
#include "kernels/moe/moe.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"

namespace dsr1::backend::cuda {
namespace {

using ops::Batch;
using ops::Ending;
using ops::HeadedWeight;
using ops::Linear;
using ops::Mat;
using ops::Segment;

kernels::Matrix matrix(Mat m) { return {m.data, m.stride, static_cast<int32_t>(m.rows), static_cast<int32_t>(m.cols)}; }

kernels::KvCache cache(const ops::KvLayerView& v) {
  return {static_cast<uint32_t>(v.k_type),
          static_cast<uint32_t>(v.v_type),
          v.n_head_kv,
          v.k_dim,
          v.v_dim,
          v.n_ctx,
          static_cast<int64_t>(v.k_row_bytes()),
          v.v != nullptr ? static_cast<int64_t>(v.v_row_bytes()) : 0};
}

constexpr size_t kMostJobs = 8;  // matrices of one Ops::linear: q, k, v and the like

class DeviceMemory final : public ops::Memory {
 public:
  explicit DeviceMemory(cuda::Memory memory) : memory_(std::move(memory)) { data_ = memory_.data(); }

 private:
  cuda::Memory memory_;
};

class CudaOps final : public ops::Ops {
 public:
  ~CudaOps() override {
    if (stream_ == nullptr) return;
    (void)synchronize(stream_);
    destroy_stream(stream_);
  }

  static Result<std::unique_ptr<ops::Ops>> make(int index, const ops::Limits& limits) {
    auto o = std::make_unique<CudaOps>();
    DSR1_TRY(o->facts_, open_device(index));
    o->name_ = "cuda:" + std::to_string(index) + " (" + o->facts_.name + ")";
    o->limits_ = limits;
    return std::unique_ptr<ops::Ops>(std::move(o));
  }

  size_t workspace_bytes(const ops::HostExperts& host) const override {
    return PassRows::bytes_for(limits_.max_rows, limits_.n_layer) + Matmul::bytes_for(limits_) +
           Moe::bytes_for(limits_) + Attention::bytes_for(limits_) + ints_bytes() + Sampler::bytes_for(limits_) +
           HostExperts::device_bytes(limits_, host) + kGraphBytes;
  }

  Status reserve(const ops::HostExperts& host) override {
    DSR1_TRY(stream_, make_stream());
    DSR1_TRY(pass_, PassRows::make(limits_.max_rows, limits_.n_layer));
    DSR1_TRY(matmul_, Matmul::make(limits_, stream_));
    DSR1_TRY(moe_, Moe::make(limits_, facts_, stream_));
    DSR1_TRY(attention_, Attention::make(limits_, facts_.n_multiprocessors));
    DSR1_TRY(host_, HostExperts::make(limits_, host));
    DSR1_TRY(sampler_, Sampler::make(limits_));
    DSR1_TRY(ints_pinned_, Memory::allocate(Memory::Where::kPinned, ints_bytes(), "row numbers"));
    DSR1_TRY(ints_, Memory::allocate(Memory::Where::kDevice, ints_bytes(), "row numbers"));
    return grow(fetched_,
                static_cast<size_t>(limits_.max_logit_rows * (limits_.n_vocab + kRowPadding)) * sizeof(float));
  }

  const char* name() const override { return name_.c_str(); }

  Status sync() override {
    settle();
    Status s = synchronize(stream_);
    have_waited();
    ended_ = {};
    Status first = std::move(first_error_);
    first_error_ = {};
    return first ? std::move(s) : std::move(first);
  }

  Result<std::unique_ptr<ops::Memory>> allocate(size_t bytes, std::string_view what) override {
    DSR1_TRY(Memory m, Memory::allocate(Memory::Where::kDevice, bytes, std::string(what)));
    return owner_of(std::move(m));
  }

  bool places_weights() const override { return true; }

  Result<std::unique_ptr<ops::Memory>> place(std::span<TensorView> views) override {
    DSR1_TRY(Memory m, loader_.place(views, stream_));
    return owner_of(std::move(m));
  }

  Result<std::unique_ptr<ops::Memory>> place(const float*& values, int64_t n) override {
    const auto bytes = static_cast<size_t>(n) * sizeof(float);
    DSR1_TRY(Memory m, Memory::allocate(Memory::Where::kDevice, bytes, "weights"));
    DSR1_TRY_STATUS(copy_to_device(m.data(), values, bytes, stream_));
    values = m.as<float>();
    return owner_of(std::move(m));
  }

  uint64_t memory_available() const override { return facts_.free_bytes; }

  void upload(Mat host, Mat out) override {
    Status s;
    if (uploaded_ == nullptr) {  // once
      auto made = Event::make();
      if (!made) return note(made.error());
      uploaded_ = std::move(*made);
    }
    const size_t bytes = static_cast<size_t>((out.rows - 1) * out.stride + out.cols) * sizeof(float);
    s = uploaded_->synchronize();  // what was there before has left
    if (s) s = grow(upload_, static_cast<size_t>(limits_.max_rows * out.stride) * sizeof(float));
    if (!s) return note(std::move(s));
    for (int64_t r = 0; r < host.rows; ++r) std::copy_n(host.row(r), host.cols, upload_.as<float>() + r * out.stride);
    s = copy_to_device(out.data, upload_.data(), bytes, stream_);
    if (s) s = uploaded_->record(stream_);
    note(std::move(s));
  }

  void copy_bytes(void* to, const void* from, size_t bytes) override {
    settle();
    if (bytes > 0) note(copy_on_device(to, from, bytes, stream_));
  }

  Result<Mat> fetch(Mat x) override {
    settle();
    if (ended_.requests.empty() && same(ended_.logits, x)) {  // on their way since the pass ended
      Status s = sync();
      if (!s) note(s);
      DSR1_TRY_STATUS(std::move(s));
    } else {
      if (fetched_.size() < bytes_of(x)) {  // will lie elsewhere: no recorded step may write to where it was
        note(synchronize(stream_));
        recordings_[0] = {};
      }
      DSR1_TRY_STATUS(fetch_bytes(fetched_, x.data, bytes_of(x)));
    }
    return Mat{fetched_.as<float>(), x.rows, x.cols, x.stride};
  }
  Result<const int32_t*> fetch(const int32_t* ids, int64_t n) override {
    settle();
    DSR1_TRY_STATUS(fetch_bytes(fetched_ids_, ids, static_cast<size_t>(n) * sizeof(int32_t)));
    return static_cast<const int32_t*>(fetched_ids_.as<int32_t>());
  }

  int64_t longest_sample_list() const override { return kernels::kSampleKeep; }
  Result<std::span<const ops::Sampled>> sample(Mat logits, std::span<const ops::SampleRequest> requests) override {
    settle();
    const Ending ended = std::exchange(ended_, {});
    if (!same(ended.logits, logits) || ended.requests.data() != requests.data() ||
        ended.requests.size() != requests.size()) {
      note(sampler_.upload(requests, stream_));
      note(sampler_.queue(matrix(logits), stream_));
    }
    auto chosen = sampler_.results(stream_);
    have_waited();
    if (!chosen) note(chosen.error());
    Status s = std::exchange(first_error_, {});
    if (!s) return Error(s.error());
    return chosen;
  }

  // A decode step (single rows only, all of them looked at) of a size and an ending seen before is recorded, from the
  // embedding to the copy of what it ends with into pinned memory, and from then on replayed: what differs between two
  // of them (tokens, positions, caches, sampling) lies in device memory. The first one runs op by op: what is allocated
  // once is allocated then. With experts on the host every layer waits for it: nothing is recorded.
  bool begin_pass(const Batch& batch, bool repeats, const Ending& ending) override {
    settle();
    note(pass_.upload(batch, stream_));
    if (!ending.requests.empty()) note(sampler_.upload(ending.requests, stream_));
    in_pass_ = true;
    ended_ = ending;
    const bool single = std::all_of(batch.segments.begin(), batch.segments.end(),
                                    [](const Segment& s) { return s.n_rows == 1 && !s.expanded; });
    if (!repeats || !single || ending.logits.data == nullptr || batch.n_rows() > kMostRecordedRows || !first_error_ ||
        host_.present())
      return false;
    Recording& r = recordings_[ending.requests.empty() ? 0 : 1][static_cast<size_t>(batch.n_rows() - 1)];
    if (!same(r.logits, ending.logits)) r = {0, ending.logits, nullptr};
    if (r.graph != nullptr) {
      note(r.graph->launch(stream_));
      replayed_ = true;
      return true;
    }
    if (r.seen++ == 0) return false;
    Status s = begin_capture(stream_);
    if (s) recording_ = &r;
    note(std::move(s));
    return false;
  }
  void end_pass(bool complete) override {
    settle();
    if (!complete) ended_ = {};
    if (!replayed_ && ended_.logits.data != nullptr) note(queue_ending());
    if (recording_ != nullptr) {
      auto graph = end_capture(stream_);
      if (graph && !(complete && first_error_)) {  // cancelled, or some op failed: nothing to keep, nothing ran
      } else if (graph) {
        recording_->graph = std::move(*graph);
        note(recording_->graph->launch(stream_));
      } else {
        note(graph.error());
      }
      recording_ = nullptr;
    }
    in_pass_ = replayed_ = false;
    pass_.forget();
  }

  void embed(const TensorView& table, std::span<const int32_t> tokens, Mat out) override {
    settle();
    const bool of_pass = in_pass_ && static_cast<int64_t>(tokens.size()) == pass_.n_rows();
    note(kernels::launch_embed(weight_view(table), of_pass ? pass_.tokens() : upload(tokens), matrix(out), stream_));
  }

  void rms_norm(Mat x, const float* w, int64_t n, float eps, Mat out) override {
    settle();
    // Whole rows are what matrices meet next.
    const kernels::Activations int8 = n == x.cols ? matmul_.prepare(matrix(out)) : kernels::Activations{};
    note(kernels::launch_rms_norm({matrix(x), w, static_cast<int32_t>(n), eps, matrix(out), int8}, stream_));
  }

  // Few rows: queued with the next op, which may be joined to it (SwiGLU, a residual's addition).
  void linear(Mat x, std::span<const Linear> jobs) override {
    DSR1_CHECK(jobs.size() <= kMostJobs, "more matrices than one call takes");
    run_waiting();
    settle_before({x});
    for (const Linear& j : jobs) settle_before({j.out});
    for (const Linear& j : jobs) {
      kernels::MatmulParams p{.w = weight_view(*j.weight), .x = matrix(x), .bias = j.bias, .out = matrix(j.out)};
      p.n_out = p.w.rows;
      waiting_[n_waiting_++] = p;
    }
    if (!matmul_.takes_matvec(waiting())) run_waiting();
  }

  void linear_heads(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) override {
    settle();
    const kernels::MatmulParams p = headed(w, x, x_stride, out, out_stride);
    note(matmul_.run(std::span(&p, 1), stream_));
  }
  void linear_heads_transposed(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) override {
    settle();
    note(kernels::launch_matmul_transposed(headed(w, x, x_stride, out, out_stride), stream_));
  }

  void rope_angles(const ops::RopeTable& table, std::span<const int32_t> positions, Mat cos_sin) override {
    settle();
    const bool of_pass = in_pass_ && static_cast<int64_t>(positions.size()) == pass_.n_rows();
    if (table.freq != freq_host_) {  // once a model
      if (Status s = new_freq(table.freq); !s) return note(std::move(s));
    }
    note(kernels::launch_rope_angles(freq_.as<float>(), table.magnitude,
                                     of_pass ? pass_.positions() : upload(positions), matrix(cos_sin), stream_));
  }

  void rope(Mat x, int n_head, int64_t head_stride, ops::RopePairing pairing, Mat cos_sin) override {
    settle();
    note(kernels::launch_rope(matrix(x), n_head, head_stride, pairing == ops::RopePairing::kNeox, matrix(cos_sin),
                              stream_));
  }

  void kv_append(const Batch& batch, int layer, Mat k, Mat v) override {
    settle();
    const kernels::BatchRows rows = rows_of(batch, layer);
    note(kernels::launch_kv_append(cache(batch.segments[0].kv[layer]), rows, matrix(k),
                                   v.data != nullptr ? matrix(v) : kernels::Matrix{}, stream_));
  }

  void attention(const Batch& batch, int layer, Mat q, int n_head, float scale, Mat out) override {
    settle();
    const kernels::BatchRows rows = rows_of(batch, layer);
    note(attention_.run({cache(batch.segments[0].kv[layer]), rows, matrix(q), matrix(out), n_head, scale},
                        batch.segments, stream_));
  }

  void mla_attention_expanded(const Batch& batch, int layer, const ops::MlaWeights& w, const ops::MlaDims& d, Mat q,
                              float scale, const ops::MlaScratch& s, Mat out) override {
    settle();
    kernels::BatchRows rows = rows_of(batch, layer);
    const int64_t qk = d.nope + d.rope;
    int64_t first_row = 0;
    for (const Segment& segment : batch.segments) {
      const kernels::KvCache c = cache(segment.kv[layer]);
      const int32_t n_keys = segment.pos + segment.n_rows;
      for (int32_t begin = 0; begin < n_keys; begin += ops::kMlaBlock) {
        const int64_t n = std::min<int64_t>(n_keys - begin, ops::kMlaBlock);
        const Mat latent = s.latent.first_rows(n);
        note(kernels::launch_kv_load(c, rows.bases, begin, matrix(latent), stream_));
        // Head h's keys lie at rows h * kMlaBlock of s.k: nope values from the latent, then the shared rope part.
        const Mat c_part = latent.col_range(0, d.kv_lora_rank);
        const Mat k{s.k.data, n, d.nope, s.k.stride}, v{s.v.data, n, d.v_head, s.v.stride};
        const int64_t k_head = ops::kMlaBlock * s.k.stride, v_head = ops::kMlaBlock * s.v.stride;
        w.k_transposed ? linear_heads_transposed(w.k, c_part, 0, k, k_head) : linear_heads(w.k, c_part, 0, k, k_head);
        copy_heads(latent.col_range(d.kv_lora_rank, d.rope), 0, Mat{s.k.data + d.nope, n, d.rope, s.k.stride}, k_head,
                   d.n_head, d.rope);
        linear_heads(w.v, c_part, 0, v, v_head);
        kernels::ExpandedAttentionParams p;
        p.position = rows.position + first_row;
        p.q = matrix(q.row_range(first_row, segment.n_rows));
        p.k = matrix(s.k);
        p.v = matrix(s.v);
        p.state = matrix(s.state.row_range(first_row, segment.n_rows));
        p.out = matrix(out.row_range(first_row, segment.n_rows));
        p.n_head = d.n_head;
        p.k_dim = static_cast<int32_t>(qk);
        p.v_dim = d.v_head;
        p.keys_first = begin;
        p.n_keys = static_cast<int32_t>(n);
        p.key_stride = ops::kMlaBlock;
        p.scale = scale;
        p.first = begin == 0;
        p.last = begin + n == n_keys;
        p.halves = segment.kv[layer].k_type != DType::kF32;
        note(kernels::launch_expanded_attention(p, stream_));
      }
      first_row += segment.n_rows;
      ++rows.bases;
    }
  }

  // Queued with the next op, which may be the experts chosen here.
  void route(Mat logits, const float* bias, const ops::RouterParams& r, int32_t* ids, Mat weights) override {
    run_waiting();
    settle_before({logits});
    route_ = {matrix(logits),
              bias,
              r.gating == ops::Gating::kSigmoid,
              r.normalize,
              r.n_expert,
              r.n_expert_used,
              r.n_group,
              r.n_group_used,
              r.scale,
              ids,
              matrix(weights)};
    route_waits_ = true;
  }

  void swiglu(Mat gate, Mat up, Mat out) override {
    const auto jobs = waiting();
    if (jobs.size() == 2 && jobs[0].out.data == gate.data && jobs[1].out.data == up.data && gate.data == out.data &&
        matmul_.takes_gate_up(jobs)) {
      n_waiting_ = 0;
      return note(matmul_.run_gate_up(jobs, stream_));
    }
    run_waiting();
    settle_before({gate, up, out});
    matmul_.forget();
    note(kernels::launch_swiglu(matrix(gate), matrix(up), matrix(out), stream_));
  }
  void copy_rows(Mat x, std::span<const int32_t> rows, Mat out) override {
    settle();
    note(kernels::launch_copy_rows(matrix(x), upload(rows), matrix(out.first_rows(static_cast<int64_t>(rows.size()))),
                                   stream_));
  }
  void copy_heads(Mat x, int64_t x_stride, Mat out, int64_t out_stride, int n_head, int64_t n) override {
    settle();
    note(
        kernels::launch_copy_heads(matrix(x), x_stride, matrix(out), out_stride, n_head, static_cast<int>(n), stream_));
  }
  void add(Mat a, Mat b, Mat out) override {
    if (n_waiting_ == 1 && waiting_[0].out.data == b.data && waiting_[0].out.rows == b.rows &&
        waiting_[0].out.cols == b.cols && !(host_.pending() && (host_.touches(a) || host_.touches(b)))) {
      waiting_[0].add = matrix(a);
      waiting_[0].sum = matrix(out);
    }
    const bool joined = n_waiting_ == 1 && waiting_[0].sum.data != nullptr;
    settle();
    if (joined) return;
    note(kernels::launch_add(matrix(a), matrix(b), matrix(out), stream_));
  }

  void moe_ffn(Mat x, const ops::ExpertWeights& experts, const int32_t* ids, Mat weights, const ops::MoeScratch& s,
               Mat out) override {
    const bool routed = route_waits_ && route_.ids == ids && route_.weights.data == weights.data && !experts.on_host &&
                        !host_.pending();
    if (!routed) run_waiting();
    if (host_.pending()) settle();
    if (experts.on_host && !host_.streams(experts, x.rows))
      return note(host_.send(experts, x, ids, weights, out, stream_));
    kernels::MoeFfnParams p{{},
                            {},
                            {},
                            ids,
                            matrix(x),
                            matrix(weights),
                            matrix(s.gate),
                            matrix(s.down),
                            matrix(out),
                            static_cast<int32_t>(weights.cols)};
    if (experts.on_host) return note(moe_.run_streamed(p, experts, matrix(s.up), s.slot, matmul_, host_, stream_));
    p.gate = expert_matrix(experts.gate);
    p.up = expert_matrix(experts.up);
    p.down = expert_matrix(experts.down);
    if (routed && moe_.takes_fused(route_, p)) {
      route_waits_ = false;
      return note(moe_.run_fused(route_, p, matmul_, stream_));
    }
    run_waiting();
    note(moe_.run(p, static_cast<int>(experts.gate.size()), matrix(s.up), s.slot, matmul_, stream_));
  }

 private:
  // One size of decode step.
  static constexpr int64_t kMostRecordedRows = 16;
  // What recorded steps may take of the device beside what they compute on: 16 sizes with two endings, each of at most
  // some 2,000 kernels at about 1 KiB a node (parameters included). An allowance, not a measurement.
  static constexpr size_t kGraphBytes = size_t{64} << 20;
  static constexpr int64_t kRowPadding = 16;  // floats between two rows of logits, at most
  struct Recording {
    int64_t seen = 0;
    Mat logits;
    std::unique_ptr<Graph> graph;
  };

  static bool same(Mat a, Mat b) {
    return a.data != nullptr && a.data == b.data && a.rows == b.rows && a.cols == b.cols && a.stride == b.stride;
  }
  static size_t bytes_of(Mat x) { return static_cast<size_t>((x.rows - 1) * x.stride + x.cols) * sizeof(float); }

  // What a pass ends with goes to where fetch() or sample() looks for it.
  Status queue_ending() {
    if (!ended_.requests.empty()) return sampler_.queue(matrix(ended_.logits), stream_);
    const size_t bytes = bytes_of(ended_.logits);
    if (fetched_.size() < bytes) {  // unplanned rows: fetch() makes room
      ended_ = {};
      return {};
    }
    return copy_to_host(fetched_.data(), ended_.logits.data, bytes, stream_);
  }

  void have_waited() {
    pass_.copies_have_landed();
    sampler_.copies_have_landed();
    ints_busy_ = false;
  }

  static std::unique_ptr<ops::Memory> owner_of(Memory m) { return std::make_unique<DeviceMemory>(std::move(m)); }

  size_t ints_bytes() const { return static_cast<size_t>(limits_.max_rows) * sizeof(int32_t); }

  std::span<const kernels::MatmulParams> waiting() const { return {waiting_, n_waiting_}; }
  void run_waiting() {
    if (std::exchange(route_waits_, false)) note(kernels::launch_route(route_, stream_));
    const auto jobs = waiting();
    n_waiting_ = 0;
    if (!jobs.empty()) note(matmul_.run(jobs, stream_));
  }
  // Before an op: products that wait are queued; experts on the host write their result; what is held as int8 may
  // change.
  void settle() {
    run_waiting();
    if (host_.pending()) note(host_.settle(stream_));
    matmul_.forget();
  }
  void settle_before(std::initializer_list<Mat> touched) {
    if (!host_.pending()) return;
    for (Mat m : touched)
      if (host_.touches(m)) return settle();
  }

  // The first failure sticks; sync() returns it.
  void note(Status s) {
    if (!s && first_error_) first_error_ = std::move(s);
  }

  static kernels::MatmulParams headed(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) {
    return {.w = weight_view(*w.weight),
            .x = matrix(x),
            .out = matrix(out),
            .n_out = static_cast<int32_t>(w.n_rows),
            .n_head = w.n_head,
            .first_row = w.first_row,
            .head_rows = w.head_rows,
            .x_head_stride = x_stride,
            .out_head_stride = out_stride};
  }

  static kernels::ExpertMatrix expert_matrix(std::span<const TensorView> views) {
    kernels::ExpertMatrix m{weight_view(views[0]), 0, 0};
    if (views.size() > 1) {
      m.stride_bytes = views[1].data - views[0].data;
      if (views[0].scale_inv != nullptr)
        m.scale_stride = (views[1].scale_inv - views[0].scale_inv) / static_cast<int64_t>(sizeof(float));
    }
    return m;
  }

  // The rows of a batch on the device: those of the pass, or uploaded now (an op called on its own).
  kernels::BatchRows rows_of(const Batch& batch, int layer) {
    if (!in_pass_ || !pass_.holds(batch)) note(pass_.upload(batch, stream_));
    return pass_.rows_of(batch, layer);
  }

  const int32_t* upload(std::span<const int32_t> values) {
    DSR1_CHECK(values.size_bytes() <= ints_.size(), "more rows than the backend was planned for");
    if (ints_busy_) note(synchronize(stream_));
    std::copy(values.begin(), values.end(), ints_pinned_.as<int32_t>());
    ints_busy_ = true;
    note(copy_to_device(ints_.data(), ints_pinned_.data(), values.size_bytes(), stream_));
    return ints_.as<int32_t>();
  }

  Status new_freq(const std::vector<float>& freq) {
    DSR1_TRY_STATUS(synchronize(stream_));
    freq_host_ = freq;
    DSR1_TRY(freq_, Memory::allocate(Memory::Where::kDevice, freq.size() * sizeof(float), "rope frequencies"));
    return copy_to_device(freq_.data(), freq_host_.data(), freq.size() * sizeof(float), stream_);
  }

  // Planned for logits; larger only where a tap looks at whole batches.
  static Status grow(Memory& memory, size_t bytes) {
    if (memory.size() >= bytes && memory.data() != nullptr) return {};
    DSR1_TRY(memory, Memory::allocate(Memory::Where::kPinned, bytes, "results"));
    return {};
  }

  Status fetch_bytes(Memory& to, const void* from, size_t bytes) {
    Status s = grow(to, bytes);
    if (s) s = copy_to_host(to.data(), from, bytes, stream_);
    if (s) s = sync();
    if (!s) note(s);
    return s;
  }

  DeviceFacts facts_;
  ops::Limits limits_;
  std::string name_;
  Stream stream_ = nullptr;
  Status first_error_;
  PassRows pass_;
  Matmul matmul_;
  Attention attention_;
  Moe moe_;
  HostExperts host_;
  Sampler sampler_;
  WeightLoader loader_;
  kernels::MatmulParams waiting_[kMostJobs];  // of the last linear()
  size_t n_waiting_ = 0;
  kernels::RouteParams route_ = {};  // of the last route()
  bool route_waits_ = false;
  bool in_pass_ = false;
  std::array<std::array<Recording, kMostRecordedRows>, 2> recordings_;  // ends with logits, with tokens chosen
  Recording* recording_ = nullptr;                                      // being recorded
  bool replayed_ = false;                                               // this pass
  Ending ended_;  // what the last pass brought to the host, or this one will, until it is asked for
  Memory ints_pinned_, ints_, fetched_, fetched_ids_, freq_, upload_;
  std::unique_ptr<Event> uploaded_;
  bool ints_busy_ = false;
  std::vector<float> freq_host_;
};

}  // namespace

Result<std::unique_ptr<ops::Ops>> make_ops(int index, const ops::Limits& limits) {
  return CudaOps::make(index, limits);
}

}  // namespace dsr1::backend::cuda
