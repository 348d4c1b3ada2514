#include "backend/cuda/host_experts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/quant/repack.h"

namespace dsr1::backend::cuda {
namespace {

using ops::Mat;

// One thread's copy from the file's pages into pinned memory, which is slower than PCIe 4.0 x16 (25 GB/s in practice).
constexpr double kCopyBytesPerSecond = 1e10;
// Of one buffer: enough experts for kernels to fill the device, little beside its memory (there are two, twice).
constexpr size_t kBufferBytes = size_t{64} << 20;

// Activations lie in whole 64-byte lines (model::plan_scratch).
int64_t padded(int64_t cols) { return (cols + 15) / 16 * 16; }

size_t floats(int64_t n) { return static_cast<size_t>(n) * sizeof(float); }

size_t buffer_bytes(const ops::Limits& l, const ops::HostExperts& host) {
  // Planes and scales are rounded up a little beyond the file's bytes.
  const size_t one = host.matrix_bytes + host.matrix_bytes / 16 + 4096;
  return std::max(one, std::min(kBufferBytes, one * static_cast<size_t>(l.n_expert)));
}

// m's rows, as they lie, to or from a place with the same stride.
size_t extent(Mat m) { return floats((m.rows - 1) * m.stride + m.cols); }

}  // namespace

int64_t rows_worth_streaming(const ops::Limits& l, const ops::HostExperts& host) {
  if (host.stream_rows > 0) return host.stream_rows;
  const double copies =
      3.0 * static_cast<double>(l.n_expert) * static_cast<double>(host.matrix_bytes) / kCopyBytesPerSecond;
  const double a_row = 6.0 * static_cast<double>(l.n_expert_used) * static_cast<double>(l.n_embd) *
                       static_cast<double>(l.n_ff_exp) / std::max(host.ops_per_second, 1e9);
  return std::max<int64_t>(static_cast<int64_t>(std::ceil(copies / a_row)), 2);
}

size_t HostExperts::device_bytes(const ops::Limits& l, const ops::HostExperts& host) {
  if (host.matrix_bytes == 0 || rows_worth_streaming(l, host) > l.max_rows) return 0;
  return 4 * buffer_bytes(l, host);
}

HostExperts::~HostExperts() {
  if (copies_.stream != nullptr) (void)synchronize(copies_.stream);  // before the buffers go
}

Result<HostExperts> HostExperts::make(const ops::Limits& l, const ops::HostExperts& host) {
  HostExperts h;
  h.host_ = host;
  if (host.matrix_bytes == 0) return h;
  DSR1_CHECK(host.ops != nullptr, "experts on the host and nobody to compute them");
  h.stream_rows_ = rows_worth_streaming(l, host);
  const int64_t pairs = l.max_rows * l.n_expert_used;
  const auto pinned = Memory::Where::kPinned;
  const size_t rows = floats(l.max_rows * padded(l.n_embd));
  DSR1_TRY(h.mailbox_x_, Memory::allocate(pinned, rows, "rows for experts on the host"));
  DSR1_TRY(h.mailbox_out_, Memory::allocate(pinned, rows, "results of experts on the host"));
  DSR1_TRY(h.mailbox_ids_, Memory::allocate(pinned, floats(pairs), "chosen experts"));
  DSR1_TRY(h.mailbox_weights_,
           Memory::allocate(pinned, floats(l.max_rows * padded(l.n_expert_used)), "chosen experts"));
  DSR1_TRY(h.arrived_, Event::make());

  // What Ops::moe_ffn wants of its caller, on the host.
  const int64_t wide = padded(l.n_embd), narrow = padded(l.n_ff_exp);
  const size_t bytes = floats(pairs * (2 * wide + 2 * narrow) + pairs + l.n_expert + 1);
  DSR1_TRY(h.scratch_memory_, host.ops->allocate(bytes, "experts on the host"));
  auto* p = reinterpret_cast<float*>(h.scratch_memory_->data());
  auto take = [&](int64_t cols, int64_t stride) {
    const Mat m{p, pairs, cols, stride};
    p += pairs * stride;
    return m;
  };
  h.scratch_.x = take(l.n_embd, wide);
  h.scratch_.gate = take(l.n_ff_exp, narrow);
  h.scratch_.up = take(l.n_ff_exp, narrow);
  h.scratch_.down = take(l.n_embd, wide);
  h.scratch_.slot = reinterpret_cast<int32_t*>(p);
  h.scratch_.offsets = h.scratch_.slot + pairs;

  if (device_bytes(l, host) == 0) return h;
  DSR1_TRY(h.copies_.stream, make_stream());
  for (Buffer& b : h.buffers_) {
    const size_t each = buffer_bytes(l, host);
    DSR1_TRY(b.pinned, Memory::allocate(pinned, each, "experts on their way"));
    DSR1_TRY(b.raw, Memory::allocate(Memory::Where::kDevice, each, "experts on their way"));
    DSR1_TRY(b.planes, Memory::allocate(Memory::Where::kDevice, each, "experts on their way"));
    DSR1_TRY(b.copied, Event::make());
    DSR1_TRY(b.used, Event::make());
  }
  return h;
}

bool HostExperts::streams(const ops::ExpertWeights& e, int64_t rows) const {
  return copies_.stream != nullptr && rows >= stream_rows_ && e.gate[0].dtype != DType::kF32 &&
         e.up[0].dtype != DType::kF32 && e.down[0].dtype != DType::kF32;
}

Status HostExperts::send(const ops::ExpertWeights& experts, Mat x, const int32_t* ids, Mat weights, Mat out,
                         Stream stream) {
  DSR1_CHECK(!pending_, "an earlier layer's experts wait still");
  DSR1_CHECK(extent(x) <= mailbox_x_.size() && extent(out) <= mailbox_out_.size() &&
                 extent(weights) <= mailbox_weights_.size(),
             "more rows than the backend was planned for");
  DSR1_TRY_STATUS(copy_to_host(mailbox_x_.data(), x.data, extent(x), stream));
  DSR1_TRY_STATUS(copy_to_host(mailbox_ids_.data(), ids, floats(x.rows * weights.cols), stream));
  DSR1_TRY_STATUS(copy_to_host(mailbox_weights_.data(), weights.data, extent(weights), stream));
  DSR1_TRY_STATUS(arrived_->record(stream));
  experts_ = experts;
  x_ = x;
  weights_ = weights;
  out_ = out;
  pending_ = true;
  return {};
}

bool HostExperts::touches(Mat m) const {
  return m.data != nullptr && m.rows > 0 && m.data < out_.data + (out_.rows - 1) * out_.stride + out_.cols &&
         out_.data < m.data + (m.rows - 1) * m.stride + m.cols;
}

Status HostExperts::settle(Stream stream) {
  pending_ = false;
  DSR1_TRY_STATUS(arrived_->synchronize());  // the copy of the last result went out before, so its mailbox is free too
  x_.data = mailbox_x_.as<float>();
  weights_.data = mailbox_weights_.as<float>();
  const Mat result{mailbox_out_.as<float>(), out_.rows, out_.cols, out_.stride};
  host_.ops->moe_ffn(x_, experts_, mailbox_ids_.as<int32_t>(), weights_, scratch_, result);
  DSR1_TRY_STATUS(host_.ops->sync());
  return copy_to_device(out_.data, result.data, extent(result), stream);
}

// Queues the copies of some experts' matrix on the copy stream.
Status HostExperts::bring(std::span<const TensorView> experts, const ExpertStrides& strides, Buffer& b) {
  DSR1_TRY_STATUS(b.copied->synchronize());  // what was in the pinned buffer has left it
  DSR1_TRY_STATUS(b.used->make_wait(copies_.stream));
  std::byte* at = b.pinned.data();
  for (size_t i = 0; i < experts.size(); ++i) {
    const TensorView& from = experts[i];
    std::memcpy(at, from.data, from.bytes());
    TensorView to = from;
    to.data = b.planes.data() + i * strides.weights;
    DSR1_TRY_STATUS(put_in_planes(at, b.raw.data() + (at - b.pinned.data()), weight_view(to), copies_.stream));
    at += from.bytes();
    if (from.scale_inv == nullptr) continue;
    std::memcpy(at, from.scale_inv, scale_bytes(from));
    DSR1_TRY_STATUS(copy_to_device(b.planes.data() + experts.size() * strides.weights + i * strides.scales, at,
                                   scale_bytes(from), copies_.stream));
    at += scale_bytes(from);
  }
  return b.copied->record(copies_.stream);
}

Status HostExperts::stream(std::span<const TensorView> experts, Stream stream, const Use& use) {
  const ExpertStrides strides = expert_strides(experts);
  const size_t each = std::max(strides.weights + strides.scales, experts[0].bytes() + scale_bytes(experts[0]));
  const size_t n = std::min(experts.size(), buffers_[0].planes.size() / each);
  DSR1_CHECK(n > 0, "an expert larger than was planned for");
  for (size_t first = 0, turn = 0; first < experts.size(); first += n, ++turn) {
    Buffer& b = buffers_[turn % buffers_.size()];
    const auto part = experts.subspan(first, std::min(n, experts.size() - first));
    DSR1_TRY_STATUS(bring(part, strides, b));
    DSR1_TRY_STATUS(b.copied->make_wait(stream));
    TensorView one = part[0];
    one.data = b.planes.data();
    if (one.scale_inv != nullptr) one.scale_inv = b.planes.data() + part.size() * strides.weights;
    const kernels::ExpertMatrix w{weight_view(one), static_cast<int64_t>(strides.weights),
                                  static_cast<int64_t>(strides.scales / sizeof(float))};
    DSR1_TRY_STATUS(use(w, static_cast<int>(first), static_cast<int>(part.size())));
    DSR1_TRY_STATUS(b.used->record(stream));
  }
  return {};
}

}  // namespace dsr1::backend::cuda
