#include "backend/cuda/matmul.h"

#include <algorithm>

#include "dsr1/base/log.h"
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
      std::max({kernels::activation_bytes(rows, cols), kernels::half_rows_bytes(l.max_rows, l.max_in),
                l.max_rows >= Matmul::kWgmmaRows ? kernels::half_tiles_bytes(l.max_rows, l.max_in) : 0}));
  if (const int64_t pairs = l.max_rows * l.n_expert_used; pairs > 0)
    b.hidden = static_cast<size_t>(
        std::max(kernels::activation_bytes(pairs, l.n_ff_exp), kernels::half_rows_bytes(pairs, l.n_ff_exp)));
  return b;
}

}  // namespace

size_t Matmul::bytes_for(const ops::Limits& l) {
  return bytes_of(l).workspace + bytes_of(l).hidden + Blas::workspace_bytes();
}

Result<Matmul> Matmul::make(const ops::Limits& l, Stream stream) {
  Matmul m;
  auto blas = Blas::make(stream);
  if (!blas && blas.error().code != ErrorCode::kNoDevice) return Error(std::move(blas).error());
  if (blas) m.blas_ = std::move(*blas);
  else log_info("large F16 and BF16 products go through this program's own kernels: " + blas.error().message);
  m.wgmma_ = kernels::wgmma_present();
  const Bytes b = bytes_of(l);
  DSR1_TRY(m.workspace_, Memory::allocate(Memory::Where::kDevice, b.workspace, "activations as int8"));
  if (b.hidden > 0) {
    DSR1_TRY(m.hidden_, Memory::allocate(Memory::Where::kDevice, b.hidden, "activations as int8"));
  }
  return m;
}

namespace {

Activations activations_in(const Memory& memory, Matrix x) {
  Activations a;
  a.stride = kernels::activation_stride(x.cols);
  a.rows = x.rows;
  a.cols = x.cols;
  DSR1_CHECK(static_cast<size_t>(kernels::activation_bytes(x.rows, x.cols)) <= memory.size(),
             "more activations than the backend was planned for");
  a.groups = memory.as<kernels::ActGroup>();
  a.q = reinterpret_cast<int8_t*>(a.groups + a.rows * a.stride / 32);
  return a;
}

bool same(Matrix a, Matrix b) {
  return a.data == b.data && a.stride == b.stride && a.rows == b.rows && a.cols == b.cols;
}

bool overlap(Matrix a, Matrix b) {
  auto end = [](Matrix m) { return m.data + (m.rows - 1) * m.stride + m.cols; };
  return a.data != nullptr && b.data != nullptr && a.data < end(b) && b.data < end(a);
}

// With few rows, or a type that tensor cores do not take.
bool on_tensor_cores(const MatmulParams& p) {
  return p.x.rows > Matmul::kFewRows && kernels::gemm_declines(p) == nullptr;
}
bool as_int8(const MatmulParams& p) {
  return !on_tensor_cores(p) && kernels::is_quantized(p.w.type) && p.x_head_stride % 32 == 0 && p.x.cols % 32 == 0;
}

// Calls launch for runs of jobs that share a launch.
template <class Takes, class Launch>
Status in_groups(std::span<const MatmulParams> jobs, Takes takes, Launch launch) {
  for (size_t i = 0; i < jobs.size();) {
    if (!takes(jobs[i])) {
      ++i;
      continue;
    }
    size_t n = 1;
    while (i + n < jobs.size() && n < kernels::kMatvecJobs && jobs[i].n_head == 1 && jobs[i + n].n_head == 1 &&
           takes(jobs[i + n]) && jobs[i + n].w.cols == jobs[i].w.cols &&
           std::all_of(&jobs[i], &jobs[i + n], [&](const MatmulParams& p) {
             return kernels::matvec_joins(p.w.type, jobs[i + n].w.type, p.x.rows);
           }))
      ++n;
    DSR1_TRY_STATUS(launch(jobs.subspan(i, n)));
    i += n;
  }
  return {};
}

}  // namespace

bool Matmul::by_library(const MatmulParams& p, bool bf16) const {
  return blas_ != nullptr && on_tensor_cores(p) && p.x.rows >= kBlasRows &&
         p.w.type == static_cast<uint32_t>(bf16 ? DType::kBF16 : DType::kF16);
}

Activations Matmul::prepare(Matrix x) {
  if (!met_quantized_ || x.cols % 32 != 0 || x.rows > kFewRows) return {};
  held_ = x;
  return activations_in(workspace_, x);
}

Result<Activations> Matmul::quantize(Matrix x, Stream stream) {
  const Activations a = activations_in(workspace_, x);
  met_quantized_ = true;
  if (same(held_, x)) return a;
  held_ = {};
  DSR1_TRY_STATUS(kernels::launch_quantize(x, a, stream));
  held_ = x;
  return a;
}
Activations Matmul::space_for_hidden(Matrix x) const { return activations_in(hidden_, x); }
Result<Activations> Matmul::quantize_hidden(Matrix x, Stream stream) {
  const Activations a = space_for_hidden(x);
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

Result<kernels::HalfTiles> Matmul::to_half_tiles(Matrix x, Stream stream) {
  held_ = {};
  kernels::HalfTiles h{workspace_.as<uint16_t>(), nullptr, x.rows, x.cols};
  h.scale = reinterpret_cast<float*>(h.data + kernels::tile_rows(x.rows) * kernels::half_stride(x.cols));
  DSR1_CHECK(static_cast<size_t>(kernels::half_tiles_bytes(x.rows, x.cols)) <= workspace_.size(),
             "more activations than the backend was planned for");
  DSR1_TRY_STATUS(kernels::launch_to_half_tiles(x, h, stream));
  return h;
}

Result<kernels::HalfRows> Matmul::to_half(Matrix x, Stream stream) {
  held_ = {};
  return to_half_in(workspace_, x, stream);
}
Result<kernels::HalfRows> Matmul::to_half_hidden(Matrix x, Stream stream) { return to_half_in(hidden_, x, stream); }

bool Matmul::takes_matvec(std::span<const MatmulParams> jobs) const {
  return std::all_of(jobs.begin(), jobs.end(), [](const MatmulParams& p) {
    return p.n_head == 1 && p.x.rows <= kFewRows && (as_int8(p) || kernels::matvec_float_takes(p));
  });
}

bool Matmul::takes_gate_up(std::span<const MatmulParams> jobs) const {
  const bool forms =
      jobs.size() == 2 && ((as_int8(jobs[0]) && as_int8(jobs[1])) ||
                           (kernels::matvec_float_takes(jobs[0]) && kernels::matvec_float_takes(jobs[1])));
  return forms && jobs[0].x.rows <= 2 && jobs[0].w.type == jobs[1].w.type && jobs[0].w.cols == jobs[1].w.cols &&
         jobs[0].n_out == jobs[1].n_out && jobs[0].n_head == 1 && jobs[1].n_head == 1 && jobs[0].bias == nullptr &&
         jobs[1].bias == nullptr;
}

Status Matmul::run_gate_up(std::span<const MatmulParams> jobs, Stream stream) {
  Activations a;
  if (kernels::is_quantized(jobs[0].w.type)) {
    DSR1_TRY(a, quantize(jobs[0].x, stream));
  }
  return kernels::launch_matvec_gate_up(jobs[0], jobs[1], a, stream);
}

Status Matmul::run_blas(std::span<const MatmulParams> jobs, bool bf16, Stream stream) {
  if (std::none_of(jobs.begin(), jobs.end(), [&](const MatmulParams& p) { return by_library(p, bf16); })) return {};
  const Matrix x = jobs[0].x;
  kernels::HalfRows h;
  if (bf16) {
    held_ = {};
    h = {workspace_.as<uint16_t>(), nullptr, kernels::half_stride(x.cols), x.rows, x.cols};
    DSR1_CHECK(static_cast<size_t>(kernels::half_rows_bytes(x.rows, x.cols)) <= workspace_.size(),
               "more activations than the backend was planned for");
    DSR1_TRY_STATUS(kernels::launch_to_bf16(x, h, stream));
  } else {
    DSR1_TRY(h, to_half(x, stream));
  }
  for (const MatmulParams& p : jobs) {
    if (!by_library(p, bf16)) continue;
    const auto* w = p.w.data + p.first_row * p.w.row_bytes;
    DSR1_TRY_STATUS(
        blas_->run({w, h.data, p.out.data, bf16, x.rows, p.n_out, x.cols, p.w.row_bytes / 2, h.stride, p.out.stride}));
    if (h.scale == nullptr && p.bias == nullptr) continue;
    Matrix out = p.out;
    out.cols = p.n_out;
    DSR1_TRY_STATUS(kernels::launch_scale_rows(out, h.scale, p.bias, stream));
  }
  return {};
}

Status Matmul::run(std::span<const MatmulParams> jobs, Stream stream) {
  const Matrix x = jobs[0].x;
  DSR1_TRY_STATUS(run_blas(jobs, false, stream));
  DSR1_TRY_STATUS(run_blas(jobs, true, stream));
  auto by_tile = [&](const MatmulParams& p) {
    return on_tensor_cores(p) && !by_library(p, false) && !by_library(p, true);
  };
  // One workspace: what is made for the first kind of jobs is used up before the second kind's.
  if (std::any_of(jobs.begin(), jobs.end(), by_tile) && wgmma_ && x.rows >= kWgmmaRows) {
    DSR1_TRY(const kernels::HalfTiles h, to_half_tiles(x, stream));
    for (const MatmulParams& p : jobs)
      if (by_tile(p)) DSR1_TRY_STATUS(kernels::launch_gemm_wgmma(p, h, stream));
  } else if (std::any_of(jobs.begin(), jobs.end(), by_tile)) {
    DSR1_TRY(const kernels::HalfRows h, to_half(x, stream));
    for (const MatmulParams& p : jobs)
      if (by_tile(p)) DSR1_TRY_STATUS(kernels::launch_gemm(p, h, stream));
  }
  if (std::any_of(jobs.begin(), jobs.end(), as_int8)) {
    DSR1_TRY(const Activations a, quantize(x, stream));
    DSR1_TRY_STATUS(in_groups(jobs, as_int8, [&](std::span<const MatmulParams> group) {
      return kernels::launch_matvec_int8(group, a, stream);
    }));
  }
  auto rest = [](const MatmulParams& p) { return !on_tensor_cores(p) && !as_int8(p); };
  auto as_float = [&](const MatmulParams& p) { return rest(p) && kernels::matvec_float_takes(p); };
  DSR1_TRY_STATUS(in_groups(jobs, as_float, [&](std::span<const MatmulParams> group) {
    return kernels::launch_matvec_float(group, stream);
  }));
  for (const MatmulParams& p : jobs) {
    if (rest(p) && !as_float(p)) DSR1_TRY_STATUS(kernels::launch_matmul_decode(p, stream));
    if (overlap(p.out, held_)) held_ = {};
  }
  return {};
}

}  // namespace dsr1::backend::cuda
