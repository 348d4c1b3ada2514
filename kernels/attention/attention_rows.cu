#include "kernels/attention/attention_rows.cuh"

namespace dsr1::kernels {
namespace {

Error too_wide(const char* op, int32_t k_dim, int32_t v_dim) {
  return Error(ErrorCode::kRuntime, std::string(op) + " takes keys up to 576 and values up to 512 wide, found " +
                                        std::to_string(k_dim) + " and " + std::to_string(v_dim));
}

}  // namespace

Status launch_attention(const AttentionParams& p, simt::Stream stream) {
  const int k = p.cache.k_dim, v = p.cache.v_dim;
  if (k > 576 || v > 512) return too_wide("attention", k, v);
  if (p.cache.k_type != p.cache.v_type && p.cache.v_row_bytes != 0)
    return Error(ErrorCode::kRuntime, "attention: keys and values of different types");
  Status s;
  const bool known = with_kv_type(p.cache.k_type, [&]<class Kv>() {
    auto go = [&]<class Tr>(Tr) {
      s = simt::launch("attention_rows", attention_rows_kernel<Kv, Tr>, {p.n_head, p.batch.rows}, Tr::kThreads,
                       sizeof(typename Tr::SharedStorage), stream, p);
    };
    if (k <= 128 && v <= 128) return go(AttentionRowsTraits<4, 4, 4>{});
    go(AttentionRowsTraits<4, 18, 16>{});
  });
  if (!known) return Error(ErrorCode::kRuntime, "no kernel for KV cache type " + std::to_string(p.cache.k_type));
  return s;
}

Status launch_expanded_attention(const ExpandedAttentionParams& p, simt::Stream stream) {
  if (p.k_dim > 576 || p.v_dim > 512) return too_wide("expanded attention", p.k_dim, p.v_dim);
  if (p.halves && p.k_dim <= 192 && p.v_dim <= 128) return launch_expanded_flash(p, stream);
  auto go = [&]<class Tr>(Tr) {
    return simt::launch("expanded_attention", expanded_attention_kernel<Tr>, {p.n_head, p.q.rows}, Tr::kThreads, 0,
                        stream, p);
  };
  if (p.k_dim <= 192 && p.v_dim <= 128) return go(AttentionRowsTraits<1, 6, 4>{});
  return go(AttentionRowsTraits<1, 18, 16>{});
}

}  // namespace dsr1::kernels
