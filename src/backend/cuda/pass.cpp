#include "backend/cuda/pass.h"

#include <algorithm>

namespace dsr1::backend::cuda {

size_t PassRows::bytes_for(int64_t max_rows, int64_t n_layer) {
  const auto layers = static_cast<size_t>(std::max<int64_t>(n_layer, 1));
  return static_cast<size_t>(max_rows) * (3 * sizeof(int32_t) + layers * sizeof(kernels::KvBase)) + 16;
}

Result<PassRows> PassRows::make(int64_t max_rows, int64_t n_layer) {
  PassRows p;
  p.max_rows_ = max_rows;
  p.n_layer_ = std::max<int64_t>(n_layer, 1);
  const size_t bytes = bytes_for(max_rows, n_layer);
  DSR1_TRY(p.pinned_, Memory::allocate(Memory::Where::kPinned, bytes, "rows of a batch"));
  DSR1_TRY(p.device_, Memory::allocate(Memory::Where::kDevice, bytes, "rows of a batch"));
  return p;
}

Status PassRows::upload(const ops::Batch& b, Stream stream) {
  DSR1_CHECK(b.n_rows() <= max_rows_, "more rows than the backend was planned for");
  if (busy_) DSR1_TRY_STATUS(synchronize(stream));
  n_rows_ = b.n_rows();
  segments_ = b.segments;
  auto* ints = pinned_.as<int32_t>();
  std::copy(b.tokens.begin(), b.tokens.end(), ints);
  int64_t r = 0;
  for (size_t s = 0; s < b.segments.size(); ++s) {
    for (int32_t i = 0; i < b.segments[s].n_rows; ++i, ++r) {
      ints[n_rows_ + r] = b.segments[s].pos + i;
      ints[2 * n_rows_ + r] = static_cast<int32_t>(s);
    }
  }
  DSR1_CHECK(r == n_rows_, "segments do not add up to the batch");
  auto* bases = reinterpret_cast<kernels::KvBase*>(pinned_.data() + bases_offset());
  for (int64_t layer = 0; layer < n_layer_; ++layer)
    for (const ops::Segment& s : b.segments)
      *bases++ = {reinterpret_cast<uint8_t*>(s.kv[layer].k), reinterpret_cast<uint8_t*>(s.kv[layer].v)};
  busy_ = true;
  const auto bytes = static_cast<size_t>(reinterpret_cast<std::byte*>(bases) - pinned_.data());
  return copy_to_device(device_.data(), pinned_.data(), bytes, stream);
}

bool PassRows::holds(const ops::Batch& part) const {
  return !segments_.empty() && part.segments.data() >= segments_.data() &&
         part.segments.data() + part.segments.size() <= segments_.data() + segments_.size();
}

kernels::BatchRows PassRows::rows_of(const ops::Batch& part, int layer) const {
  int64_t first = 0;
  for (const ops::Segment* s = segments_.data(); s != part.segments.data(); ++s) first += s->n_rows;
  const auto* bases = reinterpret_cast<const kernels::KvBase*>(device_.data() + bases_offset());
  return {positions() + first, sequences() + first, bases + static_cast<size_t>(layer) * segments_.size(),
          static_cast<int32_t>(part.n_rows())};
}

}  // namespace dsr1::backend::cuda
