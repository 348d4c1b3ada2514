#include "dsr1/ops/tap.h"

namespace dsr1::ops {
namespace {

class Tap final : public Ops {
 public:
  Tap(std::unique_ptr<Ops> inner, TapSink sink) : inner_(std::move(inner)), sink_(std::move(sink)) {}

  const char* name() const override { return inner_->name(); }
  size_t workspace_bytes(const HostExperts& host) const override { return inner_->workspace_bytes(host); }
  Status reserve(const HostExperts& host) override { return inner_->reserve(host); }
  void expect_paging() override { inner_->expect_paging(); }
  Status sync() override { return inner_->sync(); }
  Result<std::unique_ptr<Memory>> allocate(size_t bytes, std::string_view what) override {
    return inner_->allocate(bytes, what);
  }
  bool places_weights() const override { return inner_->places_weights(); }
  Result<std::unique_ptr<Memory>> place(std::span<TensorView> views) override { return inner_->place(views); }
  Result<std::unique_ptr<Memory>> place(const float*& values, int64_t n) override { return inner_->place(values, n); }
  uint64_t memory_available() const override { return inner_->memory_available(); }
  void upload(Mat host, Mat out) override { inner_->upload(host, out); }
  void copy_bytes(void* to, const void* from, size_t bytes) override { inner_->copy_bytes(to, from, bytes); }
  Result<Mat> fetch(Mat x) override { return inner_->fetch(x); }
  Result<const int32_t*> fetch(const int32_t* ids, int64_t n) override { return inner_->fetch(ids, n); }
  // begin_pass is not passed on: what is shown op by op cannot be queued as a whole.

  void embed(const TensorView& table, std::span<const int32_t> tokens, Mat out) override {
    inner_->embed(table, tokens, out);
    show("embed", out);
  }
  void rms_norm(Mat x, const float* weight, int64_t n, float eps, Mat out) override {
    inner_->rms_norm(x, weight, n, eps, out);
    show("rms_norm", out);
  }
  void linear(Mat x, std::span<const Linear> jobs) override {
    inner_->linear(x, jobs);
    for (const Linear& job : jobs) show("linear", job.out);
  }
  void linear_heads(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) override {
    inner_->linear_heads(w, x, x_stride, out, out_stride);
    show("linear_heads", out);
  }
  void linear_heads_transposed(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) override {
    inner_->linear_heads_transposed(w, x, x_stride, out, out_stride);
    show("linear_heads_transposed", out);
  }
  void rope_angles(const RopeTable& table, std::span<const int32_t> positions, Mat cos_sin) override {
    inner_->rope_angles(table, positions, cos_sin);
    show("rope_angles", cos_sin);
  }
  void rope(Mat x, int n_head, int64_t head_stride, RopePairing pairing, Mat cos_sin) override {
    inner_->rope(x, n_head, head_stride, pairing, cos_sin);
    show("rope", x);
  }
  void kv_append(const Batch& batch, int layer, Mat k, Mat v) override { inner_->kv_append(batch, layer, k, v); }
  void attention(const Batch& batch, int layer, Mat q, int n_head, float scale, Mat out) override {
    inner_->attention(batch, layer, q, n_head, scale, out);
    show("attention", out);
  }
  void mla_attention_expanded(const Batch& batch, int layer, const MlaWeights& w, const MlaDims& dims, Mat q,
                              float scale, const MlaScratch& scratch, Mat out) override {
    inner_->mla_attention_expanded(batch, layer, w, dims, q, scale, scratch, out);
    show("mla_attention_expanded", out);
  }
  void route(Mat logits, const float* bias, const RouterParams& params, int32_t* ids, Mat weights) override {
    inner_->route(logits, bias, params, ids, weights);
    auto w = inner_->fetch(weights);
    auto i = inner_->fetch(ids, weights.rows * weights.cols);
    if (w && i) sink_("route", *w, *i);
  }
  void swiglu(Mat gate, Mat up, Mat out) override {
    inner_->swiglu(gate, up, out);
    show("swiglu", out);
  }
  void copy_rows(Mat x, std::span<const int32_t> rows, Mat out) override { inner_->copy_rows(x, rows, out); }
  void copy_heads(Mat x, int64_t x_stride, Mat out, int64_t out_stride, int n_head, int64_t n) override {
    inner_->copy_heads(x, x_stride, out, out_stride, n_head, n);
  }
  void add(Mat a, Mat b, Mat out) override {
    inner_->add(a, b, out);
    show("add", out);
  }
  void moe_ffn(Mat x, const ExpertWeights& experts, const int32_t* ids, Mat weights, const MoeScratch& scratch,
               Mat out) override {
    inner_->moe_ffn(x, experts, ids, weights, scratch, out);
    show("moe_ffn", out);
  }

 private:
  // A failed fetch is what the next sync() reports.
  void show(const char* op, const Mat& out) {
    if (auto host = inner_->fetch(out)) sink_(op, *host, nullptr);
  }

  std::unique_ptr<Ops> inner_;
  TapSink sink_;
};

}  // namespace

std::unique_ptr<Ops> make_tap(std::unique_ptr<Ops> inner, TapSink sink) {
  return std::make_unique<Tap>(std::move(inner), std::move(sink));
}

}  // namespace dsr1::ops
