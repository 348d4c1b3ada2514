// Which form of matmul serves a call, and the workspace they share: rows of x as int8 or F16, made once a call and used
// by all its matrices. Host code: the choice is the same, and testable, without a device.
#pragma once

#include <span>

#include "backend/cuda/runtime.h"
#include "dsr1/ops/ops.h"
#include "kernels/matmul/activations.h"
#include "kernels/matmul/gemm.h"
#include "kernels/matmul/gemm_wgmma.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/matvec.h"

namespace dsr1::backend::cuda {

class Matmul {
 public:
  static size_t bytes_for(const ops::Limits& limits);
  static Result<Matmul> make(const ops::Limits& limits, Stream stream);

  // Up to this many rows go through matvec, in two passes over the weights from nine on: a matrix of 4,096 outputs
  // gives gemm 32 blocks, too few to keep the memory busy, and matvec 1,024 (docs/kernels/gemm.md).
  static constexpr int kFewRows = 2 * kernels::kMatvecMost;
  // All jobs share x (params.x); rows decide: up to kFewRows read each weight with int8 or float activations,
  // more go through tensor cores, F16 and BF16 from kBlasRows on through the vendor's library. F32 weights (routers)
  // always meet float activations.
  static constexpr int kBlasRows = 64;
  Status run(std::span<const kernels::MatmulParams> jobs, Stream stream);
  // Whether run() would take matvec forms for all of them: then their sums can be joined with what follows.
  bool takes_matvec(std::span<const kernels::MatmulParams> jobs) const;
  // gate.out = silu(Gate x) * Up x where takes_gate_up.
  bool takes_gate_up(std::span<const kernels::MatmulParams> jobs) const;
  Status run_gate_up(std::span<const kernels::MatmulParams> jobs, Stream stream);

  // Rows that may be kept as int8 by whoever computes them: none where no quantized matrix was met yet.
  kernels::Activations prepare(kernels::Matrix x);
  // What quantize() may return again; anything that writes activations ends that.
  void forget() { held_ = {}; }

  // x as int8 in the workspace, for kernels that take it from there; once for one x, until forget().
  Result<kernels::Activations> quantize(kernels::Matrix x, Stream stream);
  // A second workspace, of limits.max_rows * n_expert_used rows of n_ff_exp.
  Result<kernels::Activations> quantize_hidden(kernels::Matrix x, Stream stream);
  kernels::Activations space_for_hidden(kernels::Matrix x) const;  // the same, for a kernel that fills it
  // From so many rows on, tiles of 256 rows by warpgroups' instructions, where the device has them: half empty at
  // worst.
  static constexpr int kWgmmaRows = 129;

  // The same as F16.
  Result<kernels::HalfRows> to_half(kernels::Matrix x, Stream stream);
  Result<kernels::HalfRows> to_half_hidden(kernels::Matrix x, Stream stream);

 private:
  static Result<kernels::HalfRows> to_half_in(const Memory& memory, kernels::Matrix x, Stream stream);

  bool by_library(const kernels::MatmulParams& p, bool bf16) const;
  Result<kernels::HalfTiles> to_half_tiles(kernels::Matrix x, Stream stream);
  Status run_blas(std::span<const kernels::MatmulParams> jobs, bool bf16, Stream stream);

  std::unique_ptr<Blas> blas_;  // null where there is none: gemm takes those products too
  Memory workspace_, hidden_;
  kernels::Matrix held_;  // whose int8 form the workspace holds
  bool met_quantized_ = false;
  bool wgmma_ = false;
};

}  // namespace dsr1::backend::cuda
