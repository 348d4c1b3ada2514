#include "kernels/attention/attention.h"
#include "kernels/attention/kv.cuh"

namespace dsr1::kernels {
namespace {

struct KvAppendParams {
  KvCache cache;
  BatchRows batch;
  Matrix x;
  int32_t dim;
  int64_t row_bytes;
  bool values;  // V instead of K
};

// A warp 32 values of one row and head.
template <class Kv>
__global__ void __launch_bounds__(simt::kWarp) kv_append_kernel(const KvAppendParams p) {
  const int r = simt::block_y(), h = simt::block_z(), i = simt::block_x() * simt::kWarp + simt::lane();
  const bool mine = i < p.dim;
  const float x = mine ? p.x.data[r * p.x.stride + int64_t{h} * p.dim + i] : 0.0f;
  const KvBase base = p.batch.bases[p.batch.sequence[r]];
  uint8_t* row = (p.values ? base.v : base.k) + (h * p.cache.n_ctx + p.batch.position[r]) * p.row_bytes;
  if constexpr (Kv::kType == KvQ8::kType) {
    const float largest = simt::reduce_max(x < 0 ? -x : x);
    const float d = largest / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    uint8_t* block = row + simt::block_x() * 34;
    if (simt::lane() == 0) *reinterpret_cast<simt::Half*>(block) = simt::half_of(d);
    // Half away from zero, as ops/kv_rows.h rounds.
    const float q = x * inverse;
    block[2 + simt::lane()] = static_cast<uint8_t>(static_cast<int8_t>(q < 0 ? q - 0.5f : q + 0.5f));
  } else if constexpr (Kv::kType == KvF16::kType) {
    if (mine) reinterpret_cast<simt::Half*>(row)[i] = simt::half_of(x);
  } else {
    if (mine) reinterpret_cast<float*>(row)[i] = x;
  }
}

struct KvLoadParams {
  KvCache cache;
  const KvBase* base;
  int32_t first;
  Matrix out;
};

template <class Kv>
__global__ void kv_load_kernel(const KvLoadParams p) {
  const int i = simt::block_x() * simt::kWarp + simt::lane(), r = simt::block_y();
  if (i < p.out.cols) p.out.data[r * p.out.stride + i] = Kv::at(p.base->k + (p.first + r) * p.cache.k_row_bytes, i);
}

Error unknown(uint32_t type) {
  return Error(ErrorCode::kRuntime, "no kernel for KV cache type " + std::to_string(type));
}

}  // namespace

Status launch_kv_append(const KvCache& cache, const BatchRows& batch, Matrix k, Matrix v, simt::Stream stream) {
  auto store = [&](uint32_t type, Matrix x, int32_t dim, int64_t row_bytes, bool values) -> Status {
    Status s;
    const bool known = with_kv_type(type, [&]<class Kv>() {
      s = simt::launch("kv_append", kv_append_kernel<Kv>, {(dim + 31) / 32, batch.rows, cache.n_head_kv}, simt::kWarp,
                       0, stream, KvAppendParams{cache, batch, x, dim, row_bytes, values});
    });
    if (!known) return unknown(type);
    return s;
  };
  DSR1_TRY_STATUS(store(cache.k_type, k, cache.k_dim, cache.k_row_bytes, false));
  if (v.data == nullptr) return {};
  return store(cache.v_type, v, cache.v_dim, cache.v_row_bytes, true);
}

Status launch_kv_load(const KvCache& cache, const KvBase* base, int32_t first, Matrix out, simt::Stream stream) {
  Status s;
  const bool known = with_kv_type(cache.k_type, [&]<class Kv>() {
    s = simt::launch("kv_load", kv_load_kernel<Kv>, {(out.cols + 31) / 32, out.rows}, simt::kWarp, 0, stream,
                     KvLoadParams{cache, base, first, out});
  });
  if (!known) return unknown(cache.k_type);
  return s;
}

}  // namespace dsr1::kernels
