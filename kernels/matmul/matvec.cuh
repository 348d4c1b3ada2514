#pragma once

#include "kernels/matmul/matvec.h"
#include "kernels/quant/pieces.cuh"

namespace dsr1::kernels {

template <int kWarps_, int kRows_, int kCols_>
struct MatvecTraits {
  static constexpr int kWarps = kWarps_, kThreads = 32 * kWarps;
  static constexpr int kRows = kRows_;  // output columns (weight rows) a warp
  static constexpr int kCols = kCols_;  // rows of x
};

struct MatvecParams {
  MatmulParams m[kMatvecJobs];
  int32_t end[kMatvecJobs];  // block_x behind each job's last
  bool gate_up;              // m[0] and m[1] row by row, joined by SwiGLU
  Activations x;
};

// This block's matrix, and its number among that one's blocks.
DSR1_DEVICE int job_of(const MatvecParams& p, int& block) {
  block = simt::block_x();
  if (block < p.end[0]) return 0;
  const int job = block < p.end[1] ? 1 : 2;
  block -= p.end[job - 1];
  return job;
}

// Adds up and stores what the lanes of a warp hold of kRows x kCols results.
template <class Tr>
DSR1_DEVICE void store_columns(const MatmulParams& p, float (&sum)[Tr::kRows][Tr::kCols], int o, int r0, int h) {
  for (int i = 0; i < Tr::kRows; ++i)
    for (int c = 0; c < Tr::kCols; ++c) {
      float total = simt::reduce_sum(sum[i][c]);
      if (simt::lane() != 0 || o + i >= p.n_out || r0 + c >= p.x.rows) continue;
      if (p.bias != nullptr) total += p.bias[o + i];
      p.out.data[(r0 + c) * p.out.stride + h * p.out_head_stride + o + i] = total;
      if (p.add.data != nullptr)
        p.sum.data[(r0 + c) * p.sum.stride + o + i] = p.add.data[(r0 + c) * p.add.stride + o + i] + total;
    }
}

// The same where sum[0] is gate's and sum[1] up's.
template <class Tr>
DSR1_DEVICE void store_gate_up(const MatmulParams& p, float (&sum)[Tr::kRows][Tr::kCols], int o, int r0) {
#pragma unroll
  for (int c = 0; c < Tr::kCols; ++c) {
    const float g = simt::reduce_sum(sum[0][c]), u = simt::reduce_sum(sum[1][c]);
    if (simt::lane() == 0 && r0 + c < p.x.rows)
      p.out.data[(r0 + c) * p.out.stride + o] = g / (1.0f + simt::exp(-g)) * u;
  }
}

// block_x: kWarps * kRows output columns, block_y: kCols rows of x, block_z: head. Lanes take the pieces of consecutive
// blocks; the sums of a lane run over ascending blocks, then the butterfly: an element's bits depend on its row alone.
template <class T, class Tr>
DSR1_DEVICE void matvec_int8_body(const MatvecParams& p) {
  using D = Pieces<T>;
  int block;
  const int job = job_of(p, block), h = simt::block_z(), r0 = simt::block_y() * Tr::kCols;
  const MatmulParams& m = p.m[job];
  const bool pairs = Tr::kRows == 2 && p.gate_up;  // a row of either matrix instead of two of one
  const int o = (block * Tr::kWarps + simt::warp()) * (pairs ? 1 : Tr::kRows);
  if (o >= m.n_out) return;  // the whole warp
  const int blocks = m.w.cols / T::kElements, part = simt::lane() % D::kParts;
  const int64_t row0 = m.first_row + h * m.head_rows + o;
  float sum[Tr::kRows][Tr::kCols] = {};
#pragma unroll 2
  for (int b = simt::lane() / D::kParts; b < blocks; b += simt::kWarp / D::kParts) {
    typename D::Piece piece[Tr::kRows];
#pragma unroll
    for (int i = 0; i < Tr::kRows; ++i) {
      // Beyond the end: the first again, not stored.
      if (i == 1 && pairs) piece[i] = D::load(p.m[1].w, o, b, part);
      else piece[i] = D::load(m.w, row0 + (o + i < m.n_out ? i : 0), b, part);
    }
#pragma unroll
    for (int c = 0; c < Tr::kCols; ++c) {
      if (r0 + c >= m.x.rows) break;
      const int64_t at = (r0 + c) * p.x.stride + h * m.x_head_stride + int64_t{b} * T::kElements;
#pragma unroll
      for (int i = 0; i < Tr::kRows; ++i) sum[i][c] += dot<T>(piece[i], part, p.x.q + at, p.x.groups + at / 32);
    }
  }
  if constexpr (Tr::kRows == 2) {
    if (pairs) return store_gate_up<Tr>(m, sum, o, r0);
  }
  store_columns<Tr>(m, sum, o, r0, h);
}

template <class T, class Tr>
__global__ void __launch_bounds__(Tr::kThreads) matvec_int8_kernel(const MatvecParams p) {
  matvec_int8_body<T, Tr>(p);
}

// Matrices of two types: q and k in one, v in the other, as mixtures have them.
template <class A, class B, class Tr>
__global__ void __launch_bounds__(Tr::kThreads) matvec_int8_pair_kernel(const MatvecParams p) {
  int block;
  if (p.m[job_of(p, block)].w.type == A::kGgufId) matvec_int8_body<A, Tr>(p);
  else matvec_int8_body<B, Tr>(p);
}

// Float weights: 16 bytes are this many elements, given one at a time.
template <class T>
struct FloatPiece;
template <>
struct FloatPiece<quant::F32> {
  static constexpr int kElements = 4;
  DSR1_DEVICE static float at(const Bytes16& v, int i) { return __builtin_bit_cast(float, v.w[i]); }
};
template <>
struct FloatPiece<quant::F16> {
  static constexpr int kElements = 8;
  DSR1_DEVICE static float at(const Bytes16& v, int i) {
    return simt::to_float(simt::Half{static_cast<uint16_t>(v.w[i / 2] >> (16 * (i % 2)))});
  }
};
template <>
struct FloatPiece<quant::BF16> {
  static constexpr int kElements = 8;
  DSR1_DEVICE static float at(const Bytes16& v, int i) {
    return simt::to_float(simt::BFloat16{static_cast<uint16_t>(v.w[i / 2] >> (16 * (i % 2)))});
  }
};
template <>
struct FloatPiece<quant::F8_E4M3> {
  static constexpr int kElements = 16;
  DSR1_DEVICE static float at(const Bytes16& v, int i) {
    return simt::to_float(simt::Fp8{static_cast<uint8_t>(v.w[i / 4] >> (8 * (i % 4)))});
  }
};

struct alignas(16) Float4 {
  float v[4];
};

template <class T, class Tr>
DSR1_DEVICE void matvec_float_body(const MatvecParams& all) {
  using F = FloatPiece<T>;
  constexpr int n = F::kElements;
  int block;
  const int job = job_of(all, block), h = simt::block_z(), r0 = simt::block_y() * Tr::kCols;
  const MatmulParams& p = all.m[job];
  const bool pairs = Tr::kRows == 2 && all.gate_up;
  const int o = (block * Tr::kWarps + simt::warp()) * (pairs ? 1 : Tr::kRows);
  if (o >= p.n_out) return;  // the whole warp
  const int64_t row0 = p.first_row + h * p.head_rows + o;
  const float* x = p.x.data + r0 * p.x.stride + h * p.x_head_stride;
  float sum[Tr::kRows][Tr::kCols] = {};
#pragma unroll 2
  for (int k = simt::lane() * n; k < p.w.cols; k += simt::kWarp * n) {
    Bytes16 piece[Tr::kRows];
    float scale[Tr::kRows];
#pragma unroll
    for (int i = 0; i < Tr::kRows; ++i) {
      const Weight& w = i == 1 && pairs ? all.m[1].w : p.w;
      const int64_t row = row0 + (!pairs && o + i < p.n_out ? i : 0);
      piece[i] = simt::load16(w.data + row * w.row_bytes + k * (16 / n));
      scale[i] = 1.0f;
      if constexpr (T::kGgufId == quant::F8_E4M3::kGgufId) {
        if (w.scale_inv != nullptr) scale[i] = w.scale_inv[row / 128 * ((w.cols + 127) / 128) + k / 128];
      }
    }
#pragma unroll
    for (int c = 0; c < Tr::kCols; ++c) {
      if (r0 + c >= p.x.rows) break;
      float dot[Tr::kRows] = {};
#pragma unroll
      for (int j = 0; j < n / 4; ++j) {
        const Float4 a = *reinterpret_cast<const Float4*>(x + c * p.x.stride + k + 4 * j);
#pragma unroll
        for (int i = 0; i < Tr::kRows; ++i)
          for (int e = 0; e < 4; ++e) dot[i] = simt::fma(F::at(piece[i], 4 * j + e), a.v[e], dot[i]);
      }
#pragma unroll
      for (int i = 0; i < Tr::kRows; ++i) sum[i][c] = simt::fma(dot[i], scale[i], sum[i][c]);
    }
  }
  if constexpr (Tr::kRows == 2) {
    if (pairs) return store_gate_up<Tr>(p, sum, o, r0);
  }
  store_columns<Tr>(p, sum, o, r0, h);
}

template <class T, class Tr>
__global__ void __launch_bounds__(Tr::kThreads) matvec_float_kernel(const MatvecParams p) {
  matvec_float_body<T, Tr>(p);
}

}  // namespace dsr1::kernels
