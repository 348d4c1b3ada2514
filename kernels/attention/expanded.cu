#include "kernels/attention/expanded.cuh"

namespace dsr1::kernels {

Status launch_expanded_flash(const ExpandedAttentionParams& p, simt::Stream stream) {
  auto go = [&]<class Tr>(Tr) {
    return simt::launch("expanded_flash", expanded_flash_kernel<Tr>, {p.n_head, (p.q.rows + Tr::kRows - 1) / Tr::kRows},
                        Tr::kThreads, sizeof(typename Tr::SharedStorage), stream, p);
  };
  return p.k_dim <= 64 && p.v_dim <= 64 ? go(ExpandedTraits<64, 64>{}) : go(ExpandedTraits<192, 128>{});
}

}  // namespace dsr1::kernels
