#include "kernels/matmul/matvec.cuh"

namespace dsr1::kernels {
namespace {

// Few rows of x: two weight rows a warp share each load of activations. Eight: one, or registers run out.
template <class F>
auto with_traits(int rows, F f) {
  if (rows == 1) return f(MatvecTraits<4, 2, 1>{});
  if (rows == 2) return f(MatvecTraits<4, 2, 2>{});
  if (rows <= 4) return f(MatvecTraits<4, 1, 4>{});
  return f(MatvecTraits<4, 1, kMatvecMost>{});
}

template <class Tr>
simt::Grid grid_of(const MatvecParams& p) {
  return {p.end[kMatvecJobs - 1], (p.m[0].x.rows + Tr::kCols - 1) / Tr::kCols, p.m[0].n_head};
}

// columns: outputs of a block.
MatvecParams params_of(std::span<const MatmulParams> jobs, int columns) {
  MatvecParams p = {};
  int32_t end = 0;
  for (size_t i = 0; i < kMatvecJobs; ++i) {
    if (i < jobs.size()) {
      p.m[i] = jobs[i];
      end += (jobs[i].n_out + columns - 1) / columns;
    }
    p.end[i] = end;
  }
  return p;
}

Status check_jobs(std::span<const MatmulParams> jobs) {
  bool alike = !jobs.empty() && jobs.size() <= kMatvecJobs;
  for (const MatmulParams& j : jobs)
    alike = alike && j.w.cols == jobs[0].w.cols && (jobs.size() == 1 || j.n_head == 1) &&
            matvec_joins(j.w.type, jobs[0].w.type, jobs[0].x.rows);
  return alike ? Status() : Error(ErrorCode::kRuntime, "matvec: matrices of one launch have one type and width");
}

// Calls f.operator()<T>() for the type of float weights.
template <class F>
Status with_float_type(uint32_t type, F f) {
  switch (type) {
    case quant::F32::kGgufId: return f.template operator()<quant::F32>();
    case quant::F16::kGgufId: return f.template operator()<quant::F16>();
    case quant::BF16::kGgufId: return f.template operator()<quant::BF16>();
    case quant::F8_E4M3::kGgufId: return f.template operator()<quant::F8_E4M3>();
    default: return Error(ErrorCode::kRuntime, "matvec_float: no float type " + std::to_string(type));
  }
}

bool are(uint32_t a, uint32_t b, uint32_t x, uint32_t y) { return (a == x && b == y) || (a == y && b == x); }

}  // namespace

bool is_quantized(uint32_t type) {
  return with_quantized_type(type, [&]<class T>() {});
}

bool matvec_float_takes(const MatmulParams& p) {
  return !is_quantized(p.w.type) && p.w.row_bytes % 16 == 0 && p.x.stride % 4 == 0 && p.x_head_stride % 4 == 0 &&
         reinterpret_cast<uintptr_t>(p.x.data) % 16 == 0;
}

bool matvec_joins(uint32_t a, uint32_t b, int rows) {
  using namespace quant;  // NOLINT: type names
  return a == b || (rows <= 2 && (are(a, b, Q4_K::kGgufId, Q6_K::kGgufId) || are(a, b, Q5_K::kGgufId, Q6_K::kGgufId)));
}

Status launch_matvec_int8(std::span<const MatmulParams> jobs, const Activations& x, simt::Stream stream) {
  DSR1_TRY_STATUS(check_jobs(jobs));
  if (jobs[0].x_head_stride % 32 != 0)
    return Error(ErrorCode::kRuntime,
                 "matvec_int8 needs heads at multiples of 32, found " + std::to_string(jobs[0].x_head_stride));
  for (const MatmulParams& j : jobs) {
    if (j.w.type == jobs[0].w.type) continue;
    auto go = [&]<class A, class Tr>(Tr) {
      MatvecParams p = params_of(jobs, Tr::kWarps * Tr::kRows);
      p.x = x;
      return simt::launch("matvec_int8_pair", matvec_int8_pair_kernel<A, quant::Q6_K, Tr>, grid_of<Tr>(p), Tr::kThreads,
                          0, stream, p);
    };
    auto with_rows = [&]<class A>() {
      return jobs[0].x.rows == 1 ? go.template operator()<A>(MatvecTraits<4, 2, 1>{})
                                 : go.template operator()<A>(MatvecTraits<4, 2, 2>{});
    };
    const bool q4 = j.w.type == quant::Q4_K::kGgufId || jobs[0].w.type == quant::Q4_K::kGgufId;
    return q4 ? with_rows.operator()<quant::Q4_K>() : with_rows.operator()<quant::Q5_K>();
  }
  Status s;
  const bool known = with_quantized_type(jobs[0].w.type, [&]<class T>() {
    s = with_traits(jobs[0].x.rows, [&]<class Tr>(Tr) {
      MatvecParams p = params_of(jobs, Tr::kWarps * Tr::kRows);
      p.x = x;
      return simt::launch("matvec_int8", matvec_int8_kernel<T, Tr>, grid_of<Tr>(p), Tr::kThreads, 0, stream, p);
    });
  });
  if (!known) return Error(ErrorCode::kRuntime, "matvec_int8: no quantized type " + std::to_string(jobs[0].w.type));
  return s;
}

Status launch_matvec_gate_up(const MatmulParams& gate, const MatmulParams& up, const Activations& x,
                             simt::Stream stream) {
  const MatmulParams jobs[] = {gate, up};
  DSR1_TRY_STATUS(check_jobs(jobs));
  if (gate.w.type != up.w.type || gate.n_out != up.n_out || gate.x.rows > 2)
    return Error(ErrorCode::kRuntime, "gate_up takes matrices of one type and shape and one or two rows of x");
  auto go = [&]<class Tr>(void (*kernel)(MatvecParams), Tr) {
    MatvecParams p = params_of(std::span(jobs, 1), Tr::kWarps);
    p.m[1] = up;
    p.gate_up = true;
    p.x = x;
    return simt::launch("matvec_gate_up", kernel, grid_of<Tr>(p), Tr::kThreads, 0, stream, p);
  };
  using One = MatvecTraits<4, 2, 1>;
  using Two = MatvecTraits<4, 2, 2>;
  const bool one = gate.x.rows == 1;
  Status s;
  if (with_quantized_type(gate.w.type, [&]<class T>() {
        s = one ? go(matvec_int8_kernel<T, One>, One{}) : go(matvec_int8_kernel<T, Two>, Two{});
      }))
    return s;
  if (!matvec_float_takes(gate) || !matvec_float_takes(up))
    return Error(ErrorCode::kRuntime, "gate_up needs weight rows of whole 16 bytes and x rows of whole 4 values");
  return with_float_type(gate.w.type, [&]<class T>() {
    return one ? go(matvec_float_kernel<T, One>, One{}) : go(matvec_float_kernel<T, Two>, Two{});
  });
}

Status launch_matvec_float(std::span<const MatmulParams> jobs, simt::Stream stream) {
  DSR1_TRY_STATUS(check_jobs(jobs));
  for (const MatmulParams& j : jobs)
    if (!matvec_float_takes(j))
      return Error(ErrorCode::kRuntime,
                   "matvec_float needs weight rows of whole 16 bytes and x rows of whole 4 values");
  return with_float_type(jobs[0].w.type, [&]<class T>() {
    return with_traits(jobs[0].x.rows, [&]<class Tr>(Tr) {
      const MatvecParams p = params_of(jobs, Tr::kWarps * Tr::kRows);
      return simt::launch("matvec_float", matvec_float_kernel<T, Tr>, grid_of<Tr>(p), Tr::kThreads, 0, stream, p);
    });
  });
}

}  // namespace dsr1::kernels
