// HostAdapter: an Ops over host memory that runs another whose memory is a device's. Each call copies its inputs there,
// and its outputs (with what stood in them before, so that gaps and unwritten poison stay visible) there and back. So
// one test of an op serves every backend.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "dsr1/ops/ops.h"

namespace dsr1::test {

class HostAdapter final : public ops::Ops {
 public:
  using Mat = ops::Mat;
  // copy_in and copy_out move bytes to and from the inner backend's memory, at once.
  struct Copies {
    void (*to_device)(void* to, const void* from, size_t bytes);
    void (*to_host)(void* to, const void* from, size_t bytes);
  };
  HostAdapter(std::unique_ptr<Ops> inner, Copies copies) : inner_(std::move(inner)), copies_(copies) {}

  const char* name() const override { return inner_->name(); }
  Status sync() override { return std::exchange(status_, {}); }
  Ops& inner() { return *inner_; }

  void embed(const TensorView& table, std::span<const int32_t> tokens, Mat out) override {
    const TensorView t = weight(table);
    Mat o = inout(out);
    inner_->embed(t, tokens, o);
    finish();
  }
  void rms_norm(Mat x, const float* w, int64_t n, float eps, Mat out) override {
    const float* dw = floats(w, n);
    Mat dx = in(x), o = x.data == out.data ? dx : inout(out);
    if (x.data == out.data) outputs_.push_back({out, o});
    inner_->rms_norm(dx, dw, n, eps, o);
    finish();
  }
  void linear(Mat x, std::span<const ops::Linear> jobs) override {
    std::deque<TensorView> views;
    std::vector<ops::Linear> inner;
    for (const ops::Linear& j : jobs) {
      views.push_back(weight(*j.weight));
      inner.push_back({&views.back(), floats(j.bias, j.weight->rows()), inout(j.out)});
    }
    inner_->linear(in(x), inner);
    finish();
  }
  void linear_heads(const ops::HeadedWeight& w, Mat x, int64_t xs, Mat out, int64_t os) override {
    const TensorView t = weight(*w.weight);
    ops::HeadedWeight h = w;
    h.weight = &t;
    Mat o = inout(out);
    inner_->linear_heads(h, in(x), xs, o, os);
    finish();
  }
  void linear_heads_transposed(const ops::HeadedWeight& w, Mat x, int64_t xs, Mat out, int64_t os) override {
    const TensorView t = weight(*w.weight);
    ops::HeadedWeight h = w;
    h.weight = &t;
    Mat o = inout(out);
    inner_->linear_heads_transposed(h, in(x), xs, o, os);
    finish();
  }
  void rope_angles(const ops::RopeTable& table, std::span<const int32_t> positions, Mat cos_sin) override {
    Mat o = inout(cos_sin);
    inner_->rope_angles(table, positions, o);
    finish();
  }
  void rope(Mat x, int n_head, int64_t head_stride, ops::RopePairing pairing, Mat cos_sin) override {
    Mat o = inout(x);
    inner_->rope(o, n_head, head_stride, pairing, in(cos_sin));
    finish();
  }
  void kv_append(const ops::Batch& batch, int layer, Mat k, Mat v) override {
    const DeviceBatch b = caches(batch, layer);
    inner_->kv_append(b.batch, layer, in(k), v.data != nullptr ? in(v) : Mat{});
    for (size_t i = 0; i < batch.segments.size(); ++i) {
      const ops::KvLayerView& from = b.views[i][static_cast<size_t>(layer)];
      const ops::KvLayerView& to = batch.segments[i].kv[layer];
      downloads_.push_back({to.k, from.k, cache_bytes(to, true)});
      if (to.v != nullptr) downloads_.push_back({to.v, from.v, cache_bytes(to, false)});
    }
    finish();
  }
  void attention(const ops::Batch& batch, int layer, Mat q, int n_head, float scale, Mat out) override {
    const DeviceBatch b = caches(batch, layer);
    Mat o = inout(out);
    inner_->attention(b.batch, layer, in(q), n_head, scale, o);
    finish();
  }
  void mla_attention_expanded(const ops::Batch& batch, int layer, const ops::MlaWeights& w, const ops::MlaDims& dims,
                              Mat q, float scale, const ops::MlaScratch& s, Mat out) override {
    const DeviceBatch b = caches(batch, layer);
    const TensorView k = weight(*w.k.weight), v = weight(*w.v.weight);
    ops::MlaWeights dw = w;
    dw.k.weight = &k;
    dw.v.weight = &v;
    Mat o = inout(out);
    const ops::MlaScratch ds{unwritten(s.latent), unwritten(s.k), unwritten(s.v), unwritten(s.state)};
    inner_->mla_attention_expanded(b.batch, layer, dw, dims, in(q), scale, ds, o);
    finish();
  }
  void route(Mat logits, const float* bias, const ops::RouterParams& p, int32_t* ids, Mat weights) override {
    const float* db = floats(bias, p.n_expert);
    const size_t n = static_cast<size_t>(logits.rows * p.n_expert_used);
    auto* di = reinterpret_cast<int32_t*>(memory(n * sizeof(int32_t)));
    downloads_.push_back({reinterpret_cast<std::byte*>(ids), reinterpret_cast<std::byte*>(di), n * sizeof(int32_t)});
    Mat o = inout(weights);
    inner_->route(in(logits), db, p, di, o);
    finish();
  }
  void swiglu(Mat gate, Mat up, Mat out) override {
    Mat g = in(gate), o = gate.data == out.data ? g : inout(out);
    if (gate.data == out.data) outputs_.push_back({out, o});
    inner_->swiglu(g, in(up), o);
    finish();
  }
  void copy_rows(Mat x, std::span<const int32_t> rows, Mat out) override {
    Mat o = inout(out);
    inner_->copy_rows(in(x), rows, o);
    finish();
  }
  void copy_heads(Mat x, int64_t xs, Mat out, int64_t os, int n_head, int64_t n) override {
    Mat o = inout(out);
    inner_->copy_heads(in(x), xs, o, os, n_head, n);
    finish();
  }
  void add(Mat a, Mat b, Mat out) override {
    Mat da = in(a), o = a.data == out.data ? da : inout(out);
    if (a.data == out.data) outputs_.push_back({out, o});
    inner_->add(da, in(b), o);
    finish();
  }
  void moe_ffn(Mat x, const ops::ExpertWeights& e, const int32_t* ids, Mat weights, const ops::MoeScratch& s,
               Mat out) override {
    std::vector<TensorView> gate(e.gate.begin(), e.gate.end()), up(e.up.begin(), e.up.end()),
        down(e.down.begin(), e.down.end());
    for (auto* v : {&gate, &up, &down}) place_all(*v);
    const size_t n = static_cast<size_t>(x.rows * weights.cols);
    std::byte* di = memory(n * sizeof(int32_t));
    copies_.to_device(di, ids, n * sizeof(int32_t));
    const ops::MoeScratch ds{unwritten(s.x),
                             unwritten(s.gate),
                             unwritten(s.up),
                             unwritten(s.down),
                             reinterpret_cast<int32_t*>(memory(n * sizeof(int32_t))),
                             reinterpret_cast<int32_t*>(memory((e.gate.size() + 1) * sizeof(int32_t)))};
    Mat o = inout(out);
    inner_->moe_ffn(in(x), {gate, up, down}, reinterpret_cast<int32_t*>(di), in(weights), ds, o);
    finish();
  }

 private:
  struct DeviceBatch {
    std::vector<std::vector<ops::KvLayerView>> views;
    std::vector<ops::Segment> segments;
    ops::Batch batch;
  };
  struct Download {
    std::byte* to;
    const std::byte* from;
    size_t bytes;
  };

  void note(Status s) {
    if (!s && status_) status_ = std::move(s);
  }
  std::byte* memory(size_t bytes) {
    auto m = inner_->allocate(bytes, "a test's matrix");
    DSR1_CHECK(m, "no device memory for a test");
    owned_.push_back(std::move(*m));
    return owned_.back()->data();
  }
  static size_t bytes_of(Mat m) {
    return m.rows == 0 ? 0 : static_cast<size_t>((m.rows - 1) * m.stride + m.cols) * sizeof(float);
  }
  Mat unwritten(Mat m) {
    m.data = reinterpret_cast<float*>(memory(bytes_of(m)));
    return m;
  }
  Mat in(Mat m) {
    const float* from = m.data;
    m = unwritten(m);
    copies_.to_device(m.data, from, bytes_of(m));
    return m;
  }
  Mat inout(Mat m) {
    const Mat d = in(m);
    outputs_.push_back({m, d});
    return d;
  }
  const float* floats(const float* v, int64_t n) {
    if (v == nullptr) return nullptr;
    std::byte* d = memory(static_cast<size_t>(n) * sizeof(float));
    copies_.to_device(d, v, static_cast<size_t>(n) * sizeof(float));
    return reinterpret_cast<const float*>(d);
  }
  TensorView weight(TensorView t) {
    place_all(std::span(&t, 1));
    return t;
  }
  // For this call only.
  void place_all(std::span<TensorView> views) {
    auto owner = inner_->place(views);
    if (!owner) return note(owner.error());
    owned_.push_back(std::move(*owner));
  }
  static size_t cache_bytes(const ops::KvLayerView& v, bool keys) {
    return (keys ? v.k_row_bytes() : v.v_row_bytes()) * static_cast<size_t>(v.n_head_kv * v.n_ctx);
  }
  DeviceBatch caches(const ops::Batch& batch, int layer) {
    DeviceBatch b;
    for (const ops::Segment& s : batch.segments) {
      std::vector<ops::KvLayerView> views(s.kv, s.kv + layer + 1);
      for (ops::KvLayerView& v : views) {
        const size_t k_bytes = cache_bytes(v, true), v_bytes = cache_bytes(v, false);
        std::byte* k = memory(k_bytes);
        copies_.to_device(k, v.k, k_bytes);
        v.k = k;
        if (v.v == nullptr) continue;
        std::byte* values = memory(v_bytes);
        copies_.to_device(values, v.v, v_bytes);
        v.v = values;
      }
      b.views.push_back(std::move(views));
    }
    for (size_t i = 0; i < batch.segments.size(); ++i) {
      ops::Segment s = batch.segments[i];
      s.kv = b.views[i].data();
      b.segments.push_back(s);
    }
    b.batch = batch;
    b.batch.segments = b.segments;
    return b;
  }
  void finish() {
    note(inner_->sync());
    for (const auto& [host, device] : outputs_) {
      for (int64_t r = 0; r < host.rows; ++r)
        copies_.to_host(host.row(r), device.row(r), static_cast<size_t>(host.cols) * sizeof(float));
    }
    for (const Download& d : downloads_) copies_.to_host(d.to, d.from, d.bytes);
    outputs_.clear();
    downloads_.clear();
    owned_.clear();
  }

  std::unique_ptr<Ops> inner_;
  Copies copies_;
  Status status_;
  std::vector<std::unique_ptr<ops::Memory>> owned_;
  std::vector<std::pair<Mat, Mat>> outputs_;
  std::vector<Download> downloads_;
};

}  // namespace dsr1::test
