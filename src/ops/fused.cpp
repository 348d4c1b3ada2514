// Default compositions of the fused ops, on host memory: the slow twins that backends' own versions are tested against.
#include <algorithm>
#include <cstring>

#include "dsr1/ops/ops.h"

namespace dsr1::ops {
namespace {

class HostMemory final : public Memory {
 public:
  explicit HostMemory(Buffer buffer) : buffer_(std::move(buffer)) { data_ = buffer_.data(); }

 private:
  Buffer buffer_;
};

}  // namespace

Result<std::unique_ptr<Memory>> Ops::allocate(size_t bytes, std::string_view what) {
  DSR1_TRY(Buffer buffer, Buffer::allocate(bytes, what));
  return std::unique_ptr<Memory>(std::make_unique<HostMemory>(std::move(buffer)));
}

void Ops::ffn(Mat x, const FfnWeights& w, Mat gate, Mat up, Mat out, const std::atomic<bool>* cut) {
  const Linear in[] = {{&w.gate, nullptr, gate}, {&w.up, nullptr, up}};
  linear(x, in);
  if (cut != nullptr && cut->load(std::memory_order_relaxed)) return;
  swiglu(gate, up, gate);
  const Linear last[] = {{&w.down, nullptr, out}};
  linear(gate, last);
}

void Ops::moe_ffn(Mat x, const ExpertWeights& experts, const int32_t* ids, Mat weights, const MoeScratch& s, Mat out) {
  const int64_t rows = x.rows, used = weights.cols, n_expert = static_cast<int64_t>(experts.gate.size());
  // Counting sort of (row, k) by expert; slot[row * used + k] is where that pair's row lies in s.x.
  std::fill_n(s.offsets, n_expert + 1, 0);
  for (int64_t i = 0; i < rows * used; ++i) ++s.offsets[ids[i] + 1];
  for (int64_t e = 0; e < n_expert; ++e) s.offsets[e + 1] += s.offsets[e];
  for (int64_t i = 0; i < rows * used; ++i) {
    int32_t slot = s.offsets[ids[i]]++;
    s.slot[i] = slot;
    std::memcpy(s.x.row(slot), x.row(i / used), static_cast<size_t>(x.cols) * sizeof(float));
  }
  // offsets[e] now is the end of expert e, and offsets[e - 1] its begin.
  for (int64_t e = 0, begin = 0; e < n_expert; ++e) {
    const int64_t n = s.offsets[e] - begin;
    if (n == 0) continue;
    const auto i = static_cast<size_t>(e);
    Mat gate = s.gate.row_range(begin, n), up = s.up.row_range(begin, n);
    const Linear in_jobs[] = {{&experts.gate[i], nullptr, gate}, {&experts.up[i], nullptr, up}};
    linear(s.x.row_range(begin, n), in_jobs);
    swiglu(gate, up, gate);
    const Linear down_job[] = {{&experts.down[i], nullptr, s.down.row_range(begin, n)}};
    linear(gate, down_job);
    begin += n;
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* y = out.row(r);
    std::fill_n(y, out.cols, 0.0f);
    for (int64_t k = 0; k < used; ++k) {
      const float w = weights.row(r)[k];
      const float* d = s.down.row(s.slot[r * used + k]);
      for (int64_t j = 0; j < out.cols; ++j) y[j] += w * d[j];
    }
  }
}

}  // namespace dsr1::ops
