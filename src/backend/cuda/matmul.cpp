#include "backend/cuda/matmul.h"

#include <algorithm>

#include "dsr1/tensor/dtype.h"

namespace dsr1::backend::cuda {

using kernels::Activations;
using kernels::MatmulParams;
using kernels::Matrix;

namespace {

// Rows given to a matrix, and the chosen experts' hidden rows.
struct Bytes {
  size_t workspace = 0, hidden = 0;
};

Bytes bytes_of(const ops::Limits& l) {
  Bytes b;
  const int64_t heads = l.mla.n_head * std::max<int64_t>(l.mla.kv_lora_rank, l.mla.nope + l.mla.rope);
  const int64_t cols = std::max(l.max_in, heads),
                rows = std::max<int64_t>(l.max_rows, l.mla.n_head ? ops::kMlaBlock : 0);
  b.workspace = static_cast<size_t>(
      std::max(kernels::activation_bytes(rows, cols), kernels::half_rows_bytes(l.max_rows, l.max_in)));
  if (const int64_t pairs = l.max_rows * l.n_expert_used; pairs > 0)
    b.hidden = static_cast<size_t>(
        std::max(kernels::activation_bytes(pairs, l.n_ff_exp), kernels::half_rows_bytes(pairs, l.n_ff_exp)));
  return b;
}

}  // namespace

size_t Matmul::bytes_for(const ops::Limits& l) { return bytes_of(l).workspace + bytes_of(l).hidden; }

Result<Matmul> Matmul::make(const ops::Limits& l) {
  Matmul m;
  const Bytes b = bytes_of(l);
  DSR1_TRY(m.workspace_, Memory::allocate(Memory::Where::kDevice, b.workspace, "activations as int8"));
  if (b.hidden > 0) {
    DSR1_TRY(m.hidden_, Memory::allocate(Memory::Where::kDevice, b.hidden, "activations as int8"));
  }
  return m;
}

Result<Activations> Matmul::quantize_in(const Memory& memory, Matrix x, Stream stream) {
  Activations a;
  a.stride = kernels::activation_stride(x.cols);
  a.rows = x.rows;
  a.cols = x.cols;
  DSR1_CHECK(static_cast<size_t>(kernels::activation_bytes(x.rows, x.cols)) <= memory.size(),
             "more activations than the backend was planned for");
  a.groups = memory.as<kernels::ActGroup>();
  a.q = reinterpret_cast<int8_t*>(a.groups + a.rows * a.stride / 32);
  DSR1_TRY_STATUS(kernels::launch_quantize(x, a, stream));
  return a;
}

Result<kernels::HalfRows> Matmul::to_half_in(const Memory& memory, Matrix x, Stream stream) {
  kernels::HalfRows h;
  h.stride = kernels::half_stride(x.cols);
  h.rows = x.rows;
  h.cols = x.cols;
  h.data = memory.as<uint16_t>();
  h.scale = reinterpret_cast<float*>(h.data + h.rows * h.stride);
  DSR1_CHECK(static_cast<size_t>(kernels::half_rows_bytes(x.rows, x.cols)) <= memory.size(),
             "more activations than the backend was planned for");
  DSR1_TRY_STATUS(kernels::launch_to_half(x, h, stream));
  return h;
}

Result<kernels::HalfRows> Matmul::to_half(Matrix x, Stream stream) { return to_half_in(workspace_, x, stream); }
Result<kernels::HalfRows> Matmul::to_half_hidden(Matrix x, Stream stream) { return to_half_in(hidden_, x, stream); }

Result<Activations> Matmul::quantize(Matrix x, Stream stream) { return quantize_in(workspace_, x, stream); }
Result<Activations> Matmul::quantize_hidden(Matrix x, Stream stream) { return quantize_in(hidden_, x, stream); }

Status Matmul::run(std::span<const MatmulParams> jobs, Stream stream) {
  const Matrix x = jobs[0].x;
  auto on_tensor_cores = [&](const MatmulParams& p) {
    return x.rows > kernels::kMatvecMost && kernels::gemm_declines(p) == nullptr &&
           p.w.type != static_cast<uint32_t>(DType::kF32);
  };
  auto as_int8 = [&](const MatmulParams& p) {
    return !on_tensor_cores(p) && kernels::is_quantized(p.w.type) && p.x_head_stride % 32 == 0 && x.cols % 32 == 0;
  };
  // One workspace: what is made for the first kind of jobs is used up before the second kind's.
  if (std::any_of(jobs.begin(), jobs.end(), on_tensor_cores)) {
    DSR1_TRY(const kernels::HalfRows h, to_half(x, stream));
    for (const MatmulParams& p : jobs)
      if (on_tensor_cores(p)) DSR1_TRY_STATUS(kernels::launch_gemm(p, h, stream));
  }
  if (std::any_of(jobs.begin(), jobs.end(), as_int8)) {
    DSR1_TRY(const Activations a, quantize(x, stream));
    for (const MatmulParams& p : jobs)
      if (as_int8(p)) DSR1_TRY_STATUS(kernels::launch_matvec_int8(p, a, stream));
  }
  for (const MatmulParams& p : jobs) {
    if (on_tensor_cores(p) || as_int8(p)) continue;
    DSR1_TRY_STATUS(kernels::matvec_float_takes(p) ? kernels::launch_matvec_float(p, stream)
                                                   : kernels::launch_matmul_decode(p, stream));
  }
  return {};
}

}  // namespace dsr1::backend::cuda
