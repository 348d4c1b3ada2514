#include "backend/cuda/sampler.h"

#include <algorithm>

namespace dsr1::backend::cuda {
namespace {

using kernels::SampleAdjust;
using kernels::SampleResult;
using kernels::SampleRow;

struct Bytes {
  size_t requests, scratch, results;
};

Bytes bytes_of(const ops::Limits& l) {
  const auto rows = static_cast<size_t>(l.max_logit_rows);
  return {rows * (sizeof(SampleRow) + ops::Ops::kMostAdjusts * sizeof(SampleAdjust)),
          static_cast<size_t>(kernels::sample_scratch_bytes(l.max_logit_rows, l.n_vocab)), rows * sizeof(SampleResult)};
}

}  // namespace

size_t Sampler::bytes_for(const ops::Limits& l) {
  const Bytes b = bytes_of(l);
  return b.requests + b.scratch + b.results;
}

Result<Sampler> Sampler::make(const ops::Limits& l) {
  Sampler s;
  s.max_rows_ = l.max_logit_rows;
  if (s.max_rows_ == 0) return s;
  const Bytes b = bytes_of(l);
  DSR1_TRY(s.pinned_, Memory::allocate(Memory::Where::kPinned, b.requests, "sampling"));
  DSR1_TRY(s.device_, Memory::allocate(Memory::Where::kDevice, b.requests, "sampling"));
  DSR1_TRY(s.scratch_, Memory::allocate(Memory::Where::kDevice, b.scratch, "sampling"));
  DSR1_TRY(s.results_, Memory::allocate(Memory::Where::kDevice, b.results, "sampling"));
  DSR1_TRY(s.pinned_results_, Memory::allocate(Memory::Where::kPinned, b.results, "sampling"));
  s.sampled_.reserve(static_cast<size_t>(s.max_rows_));
  return s;
}

Status Sampler::upload(std::span<const ops::SampleRequest> requests, Stream stream) {
  DSR1_CHECK(static_cast<int64_t>(requests.size()) <= max_rows_,
             "more rows to choose from than the backend was planned for");
  if (busy_) DSR1_TRY_STATUS(synchronize(stream));
  n_requests_ = requests.size();
  auto* rows = pinned_.as<SampleRow>();
  auto* adjusts = reinterpret_cast<SampleAdjust*>(rows + requests.size());
  int32_t n = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const ops::SampleRequest& r = requests[i];
    DSR1_CHECK(r.adjust.size() <= ops::Ops::kMostAdjusts && r.top_k <= kernels::kSampleKeep, "too much to sample");
    rows[i] = {r.uniform, r.temperature, r.top_p,   r.min_p_log, r.repeat,
               r.top_k,   r.n_tokens,    r.watched, n,           static_cast<int32_t>(r.adjust.size())};
    for (const ops::SampleAdjust& a : r.adjust) adjusts[n++] = {a.id, a.bias, a.minus, a.penalized ? 1 : 0};
  }
  busy_ = true;
  const auto used = static_cast<size_t>(reinterpret_cast<std::byte*>(adjusts + n) - pinned_.data());
  return copy_to_device(device_.data(), pinned_.data(), used, stream);
}

Status Sampler::queue(kernels::Matrix logits, Stream stream) {
  const auto n = static_cast<size_t>(logits.rows);
  DSR1_CHECK(n == n_requests_, "other rows to choose from than requests");
  const auto* rows = device_.as<SampleRow>();
  DSR1_TRY_STATUS(kernels::launch_sample(
      {logits, rows, reinterpret_cast<const SampleAdjust*>(rows + n), scratch_.data(), results_.as<SampleResult>()},
      stream));
  return copy_to_host(pinned_results_.data(), results_.data(), n * sizeof(SampleResult), stream);
}

Result<std::span<const ops::Sampled>> Sampler::results(Stream stream) {
  DSR1_TRY_STATUS(synchronize(stream));
  busy_ = false;
  sampled_.clear();
  for (size_t i = 0; i < n_requests_; ++i) {
    const SampleResult& r = pinned_results_.as<SampleResult>()[i];
    sampled_.push_back({r.id, r.covered != 0, r.log_sum, r.logit, r.watched_logit});
  }
  return std::span<const ops::Sampled>(sampled_);
}

}  // namespace dsr1::backend::cuda
