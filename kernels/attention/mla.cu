#include "kernels/attention/mla.cuh"

namespace dsr1::kernels {

const char* mla_declines(const AttentionParams& p) {
  if (p.cache.v_row_bytes != 0 || p.cache.n_head_kv != 1) return "keys and values are not one latent";
  if (p.cache.k_type != KvF16::kType && p.cache.k_type != KvQ8::kType) return "the cache is neither F16 nor Q8_0";
  if (p.cache.k_dim > 576 || p.cache.v_dim > 512) return "the latent is wider than 576";
  if (p.cache.k_dim % 8 != 0) return "the latent is not a multiple of 8 wide";
  return nullptr;
}

Status launch_mla(const AttentionParams& p, const FlashPlan& plan, simt::Stream stream) {
  if (const char* why = mla_declines(p)) return Error(ErrorCode::kRuntime, std::string("MLA attention: ") + why);
  const FlashParams params{p, plan, p.n_head};
  const simt::Grid grid{(p.n_head + kMlaHeads - 1) / kMlaHeads, p.batch.rows, plan.n_splits};
  auto go = [&]<class Kv, class Tr>(Kv, Tr) {
    return simt::launch("mla", mla_kernel<Kv, Tr>, grid, Tr::kThreads, sizeof(typename Tr::SharedStorage), stream,
                        params);
  };
  auto of_type = [&]<class Tr>(Tr tr) { return p.cache.k_type == KvF16::kType ? go(KvF16{}, tr) : go(KvQ8{}, tr); };
  DSR1_TRY_STATUS(p.cache.k_dim <= 64 && p.cache.v_dim <= 64 ? of_type(MlaTraits<64, 64>{})
                                                             : of_type(MlaTraits<576, 512>{}));
  return plan.n_splits == 1 ? Status() : launch_flash_join(p, plan, stream);
}

}  // namespace dsr1::kernels
