// The experts' FFN: few rows one (row, choice) pair at a time, many sorted by expert and in tiles. Nothing comes back
// to the host: what the router chose is read where it was written.
#pragma once

#include "backend/cuda/matmul.h"
#include "backend/cuda/runtime.h"
#include "kernels/moe/moe.h"

namespace dsr1::backend::cuda {

class Moe {
 public:
  static Result<Moe> make(const ops::Limits& limits);

  // up_out: scratch like params.gate_out; slots: scratch of rows * n_used.
  Status run(const kernels::MoeFfnParams& params, int n_expert, kernels::Matrix up_out, int32_t* slots, Matmul& matmul,
             Stream stream);
  size_t bytes() const { return tiles_.size(); }

 private:
  Status run_pairs(const kernels::MoeFfnParams& params, Matmul& matmul, Stream stream);

  Memory tiles_;
};

}  // namespace dsr1::backend::cuda
