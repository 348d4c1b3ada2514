// Which form of matmul serves a call, and the workspace they share: rows of x as int8 or F16, made once a call and used
// by all its matrices. Host code: the choice is the same, and testable, without a device.
#pragma once

#include <span>

#include "backend/cuda/runtime.h"
#include "dsr1/ops/ops.h"
#include "kernels/matmul/activations.h"
#include "kernels/matmul/gemm.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/matvec.h"

namespace dsr1::backend::cuda {

class Matmul {
 public:
  static size_t bytes_for(const ops::Limits& limits);
  static Result<Matmul> make(const ops::Limits& limits);

  // All jobs share x (params.x); rows decide: up to kMatvecMost read each weight once with int8 or float activations,
  // more go through tensor cores. F32 weights (routers) always meet float activations.
  Status run(std::span<const kernels::MatmulParams> jobs, Stream stream);

  // x as int8 in the workspace, for kernels that take it from there.
  Result<kernels::Activations> quantize(kernels::Matrix x, Stream stream);
  // A second workspace, of limits.max_rows * n_expert_used rows of n_ff_exp.
  Result<kernels::Activations> quantize_hidden(kernels::Matrix x, Stream stream);
  // The same as F16.
  Result<kernels::HalfRows> to_half(kernels::Matrix x, Stream stream);
  Result<kernels::HalfRows> to_half_hidden(kernels::Matrix x, Stream stream);

 private:
  static Result<kernels::Activations> quantize_in(const Memory& memory, kernels::Matrix x, Stream stream);
  static Result<kernels::HalfRows> to_half_in(const Memory& memory, kernels::Matrix x, Stream stream);

  Memory workspace_, hidden_;
};

}  // namespace dsr1::backend::cuda
