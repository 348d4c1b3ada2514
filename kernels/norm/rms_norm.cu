#include "kernels/norm/rms_norm.cuh"

namespace dsr1::kernels {

Status launch_rms_norm(const RmsNormParams& p, simt::Stream stream) {
  const simt::Grid grid{p.x.cols / p.n, p.x.rows};
  // Heads of 128 values and the like: one warp. Rows of thousands: as many threads as keep several loads in flight.
  if (p.n <= 256) {
    using Tr = RmsNormTraits<32>;
    return simt::launch("rms_norm", rms_norm_kernel<Tr>, grid, Tr::kThreads, sizeof(Tr::SharedStorage), stream, p);
  }
  using Tr = RmsNormTraits<256>;
  return simt::launch("rms_norm", rms_norm_kernel<Tr>, grid, Tr::kThreads, sizeof(Tr::SharedStorage), stream, p);
}

}  // namespace dsr1::kernels
