#include "backend/cuda/weights.h"

#include <algorithm>

#include "kernels/quant/repack.h"

namespace dsr1::backend::cuda {
namespace {

// Rows in file order wait here for their kernel: large enough to keep a copy engine busy, small beside any device.
constexpr size_t kStagingBytes = size_t{16} << 20;

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

size_t scale_bytes(const TensorView& t) {
  return t.scale_inv == nullptr ? 0 : static_cast<size_t>((t.rows() + 127) / 128 * ((t.cols() + 127) / 128)) * 4;
}

ExpertStrides expert_strides(std::span<const TensorView> experts) {
  ExpertStrides s;
  for (const TensorView& v : experts) {
    s.weights = std::max(s.weights, aligned(static_cast<size_t>(kernels::planar_bytes(weight_view(v)))));
    s.scales = std::max(s.scales, aligned(scale_bytes(v)));
  }
  return s;
}

Status put_in_planes(const std::byte* from, std::byte* raw, const kernels::Weight& to, Stream stream) {
  auto* data = const_cast<uint8_t*>(to.data);
  const size_t bytes = static_cast<size_t>(to.rows) * static_cast<size_t>(to.row_bytes);
  if (!kernels::has_planes(to.type)) return copy_to_device(data, from, bytes, stream);
  DSR1_TRY_STATUS(copy_to_device(raw, from, bytes, stream));
  return kernels::launch_repack(to, reinterpret_cast<uint8_t*>(raw), 0, to.rows, stream);
}

kernels::Weight weight_view(const TensorView& t) {
  return {reinterpret_cast<const uint8_t*>(t.data), static_cast<uint32_t>(t.dtype),
          static_cast<int32_t>(t.rows()),           static_cast<int32_t>(t.cols()),
          static_cast<int64_t>(t.row_size()),       reinterpret_cast<const float*>(t.scale_inv)};
}

Status WeightLoader::upload(const TensorView& from, const kernels::Weight& to, Stream stream) {
  auto* data = const_cast<uint8_t*>(to.data);
  if (!kernels::has_planes(to.type)) return copy_to_device(data, from.data, from.bytes(), stream);
  const auto row = static_cast<size_t>(to.row_bytes);
  const size_t wanted = std::min(std::max(kStagingBytes, row), from.bytes());
  if (staging_.size() < wanted) {
    DSR1_TRY_STATUS(synchronize(stream));
    DSR1_TRY(staging_, Memory::allocate(Memory::Where::kDevice, wanted, "weights on their way"));
  }
  const auto step = static_cast<int64_t>(staging_.size() / row);
  for (int64_t first = 0; first < to.rows; first += step) {
    const int64_t n = std::min<int64_t>(step, to.rows - first);
    DSR1_TRY_STATUS(copy_to_device(staging_.data(), from.row(first), static_cast<size_t>(n) * row, stream));
    DSR1_TRY_STATUS(kernels::launch_repack(to, staging_.as<uint8_t>(), first, n, stream));
  }
  return {};
}

Result<Memory> WeightLoader::place(std::span<TensorView> views, Stream stream) {
  for (const TensorView& v : views) {
    if (v.dtype != views[0].dtype)
      return Error(ErrorCode::kRuntime, std::string("experts of one matrix are stored in different types, ") +
                                            dtype_name(views[0].dtype) + " and " + dtype_name(v.dtype) +
                                            "; the CUDA backend wants one");
  }
  const auto [stride, scale_stride] = expert_strides(views);
  const size_t n = views.size();
  DSR1_TRY(Memory m, Memory::allocate(Memory::Where::kDevice, n * (stride + scale_stride), "weights"));
  for (size_t i = 0; i < n; ++i) {
    TensorView& v = views[i];
    TensorView to = v;
    to.data = m.data() + i * stride;
    DSR1_TRY_STATUS(upload(v, weight_view(to), stream));
    if (v.scale_inv != nullptr) {
      std::byte* scales = m.data() + n * stride + i * scale_stride;
      DSR1_TRY_STATUS(copy_to_device(scales, v.scale_inv, scale_bytes(v), stream));
      to.scale_inv = scales;
    }
    v = to;
  }
  return m;
}

}  // namespace dsr1::backend::cuda
