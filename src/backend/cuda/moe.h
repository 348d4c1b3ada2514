// The experts' FFN. Few rows: routing and all three matrices in one launch, or one (row, choice) pair at a time where
// routing was asked for on its own; many rows sorted by expert and in tiles. Nothing comes back to the host: what the
// router chose is read where it was written.
#pragma once

#include <functional>

#include "backend/cuda/host_experts.h"
#include "backend/cuda/matmul.h"
#include "backend/cuda/runtime.h"
#include "kernels/moe/fused.h"
#include "kernels/moe/grouped.h"
#include "kernels/moe/moe.h"

namespace dsr1::backend::cuda {

class Moe {
 public:
  static size_t bytes_for(const ops::Limits& limits);
  static Result<Moe> make(const ops::Limits& limits, const DeviceFacts& facts, Stream stream);

  // Routing and experts as one launch; what it does not take goes to launch_route and run().
  bool takes_fused(const kernels::RouteParams& route, const kernels::MoeFfnParams& params) const;
  Status run_fused(const kernels::RouteParams& route, const kernels::MoeFfnParams& params, Matmul& matmul,
                   Stream stream);
  // up_out: scratch like params.gate_out; slots: scratch of rows * n_used.
  Status run(const kernels::MoeFfnParams& params, int n_expert, kernels::Matrix up_out, int32_t* slots, Matmul& matmul,
             Stream stream);
  // The same with experts that lie in host memory and come by way of `host`; params' matrices are not read.
  Status run_streamed(const kernels::MoeFfnParams& params, const ops::ExpertWeights& experts, kernels::Matrix up_out,
                      int32_t* slots, Matmul& matmul, HostExperts& host, Stream stream);

 private:
  enum class Which { kGate, kUp, kDown };
  // Queues out = W_which x for all pairs.
  using Project = std::function<Status(Which, const kernels::GroupedParams& all_but_w)>;

  Status run_pairs(const kernels::MoeFfnParams& params, Matmul& matmul, Stream stream);
  Status run_grouped(kernels::MoeFfnParams params, int n_expert, kernels::Matrix up, int32_t* slots, Matmul& matmul,
                     Stream stream, const Project& project);

  Memory tiles_, barrier_;
  int n_multiprocessors_ = 1;
};

}  // namespace dsr1::backend::cuda
