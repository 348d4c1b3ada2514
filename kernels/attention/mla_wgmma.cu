#include "kernels/attention/mla.h"
#include "kernels/attention/mla_wgmma.cuh"

namespace dsr1::kernels {

bool mla_wgmma_present() { return simt::compiled_for_wgmma(mla_wgmma_kernel); }

const char* mla_wgmma_declines(const AttentionParams& p) {
  if (const char* why = mla_declines(p)) return why;
  if (p.cache.k_type != KvF16::kType) return "the cache is not F16";
  if (p.cache.k_dim != MlaWgmma::kDim || p.cache.v_dim != MlaWgmma::kV) return "the latent is not 512 + 64 wide";
  if (p.n_head < kMlaWgmmaHeads) return "fewer than 64 heads";
  return nullptr;
}

Status launch_mla_wgmma(const AttentionParams& p, const FlashPlan& plan, simt::Stream stream) {
  if (const char* why = mla_wgmma_declines(p))
    return Error(ErrorCode::kRuntime, std::string("MLA attention, wgmma: ") + why);
  const simt::Grid grid{(p.n_head + kMlaWgmmaHeads - 1) / kMlaWgmmaHeads, p.batch.rows, plan.n_splits};
  DSR1_TRY_STATUS(simt::launch("mla_wgmma", mla_wgmma_kernel, grid, MlaWgmma::kThreads, sizeof(MlaWgmma::SharedStorage),
                               stream, FlashParams{p, plan, p.n_head}));
  return plan.n_splits == 1 ? Status() : launch_flash_join(p, plan, stream);
}

}  // namespace dsr1::kernels
