// A warp's dot products of rows of experts with one row of activations: what every form for few rows is made of, so
// that all of them give the same bits.
#pragma once

#include "kernels/matmul/matvec.cuh"
#include "kernels/moe/moe.h"
#include "kernels/quant/decode.cuh"

namespace dsr1::kernels {

DSR1_DEVICE Weight expert(const ExpertMatrix& m, int e) {
  Weight w = m.first;
  w.data += e * m.stride_bytes;
  if (w.scale_inv != nullptr) w.scale_inv += e * m.scale_stride;
  return w;
}

// A row of activations: int8 where the weights' type is quantized, float where not.
struct DotInput {
  const int8_t* q = nullptr;
  const ActGroup* groups = nullptr;
  const float* x = nullptr;
};
DSR1_DEVICE DotInput row_of(const Activations& a, int64_t r) {
  return {a.q + r * a.stride, a.groups + r * a.stride / 32, nullptr};
}
DSR1_DEVICE DotInput row_of(const Matrix& m, int64_t r) { return {nullptr, nullptr, m.data + r * m.stride}; }
template <class T>
DSR1_DEVICE DotInput input_of(const Activations& a, const Matrix& m, int64_t r) {
  if constexpr (T::kElements > 1) return row_of(a, r);
  else return row_of(m, r);
}

// sum[i] = row[i] of w[i] times x; the weights have one shape. All lanes get it. kN rows in step: more bytes on their
// way at once.
template <class T, int kN>
DSR1_DEVICE void dots_int8(const Weight (&w)[kN], const int (&row)[kN], const DotInput& x, float (&sum)[kN]) {
  using P = Pieces<T>;
  const int blocks = w[0].cols / T::kElements, part = simt::lane() % P::kParts;
  // A step of types with four pieces a block is 2,048 elements already.
#pragma unroll(P::kParts == 4 ? 1 : 2)
  for (int b = simt::lane() / P::kParts; b < blocks; b += simt::kWarp / P::kParts) {
    typename P::Piece piece[kN];
#pragma unroll
    for (int i = 0; i < kN; ++i) piece[i] = P::load(w[i], row[i], b, part);
#pragma unroll
    for (int i = 0; i < kN; ++i)
      sum[i] += dot<T>(piece[i], part, x.q + b * T::kElements, x.groups + b * (T::kElements / 32));
  }
}

template <class T, int kN>
DSR1_DEVICE void dots_float(const Weight (&w)[kN], const int (&row)[kN], const DotInput& x, float (&sum)[kN]) {
  using F = FloatPiece<T>;
  constexpr int n = F::kElements;
  const int cols = w[0].cols;
#pragma unroll 2
  for (int k = simt::lane() * n; k < cols; k += simt::kWarp * n) {
    Bytes16 piece[kN];
    float scale[kN];
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      piece[i] = simt::load16(w[i].data + row[i] * w[i].row_bytes + k * (16 / n));
      scale[i] = 1.0f;
      if constexpr (T::kGgufId == quant::F8_E4M3::kGgufId) {
        if (w[i].scale_inv != nullptr) scale[i] = w[i].scale_inv[row[i] / 128 * ((cols + 127) / 128) + k / 128];
      }
    }
    float dot[kN] = {};
#pragma unroll
    for (int j = 0; j < n / 4; ++j) {
      const Float4 a = *reinterpret_cast<const Float4*>(x.x + k + 4 * j);
#pragma unroll
      for (int i = 0; i < kN; ++i)
        for (int e = 0; e < 4; ++e) dot[i] = simt::fma(F::at(piece[i], 4 * j + e), a.v[e], dot[i]);
    }
#pragma unroll
    for (int i = 0; i < kN; ++i) sum[i] = simt::fma(dot[i], scale[i], sum[i]);
  }
}

// Rows that cannot be read 16 bytes at a time.
template <class T, int kN>
DSR1_DEVICE void dots_decoded(const Weight (&w)[kN], const int (&row)[kN], const DotInput& x, float (&sum)[kN]) {
#pragma unroll
  for (int i = 0; i < kN; ++i)
    for (int g = simt::lane(); g * kGroup < w[i].cols; g += simt::kWarp) {
      float v[kGroup];
      decode_group<T>(w[i], row[i], g, v);
      for (int e = 0; e < kGroup; ++e)
        if (g * kGroup + e < w[i].cols) sum[i] = simt::fma(v[e], x.x[g * kGroup + e], sum[i]);
    }
}

template <class T, int kN>
DSR1_DEVICE void dots(const Weight (&w)[kN], const int (&row)[kN], const DotInput& x, float (&sum)[kN]) {
  for (int i = 0; i < kN; ++i) sum[i] = 0;
  if constexpr (T::kElements > 1) {
    dots_int8<T>(w, row, x, sum);
  } else if (w[0].row_bytes % 16 == 0 && reinterpret_cast<uintptr_t>(x.x) % 16 == 0) {
    dots_float<T>(w, row, x, sum);
  } else {
    dots_decoded<T>(w, row, x, sum);
  }
#pragma unroll
  for (int i = 0; i < kN; ++i) sum[i] = simt::reduce_sum(sum[i]);
}

// silu(gate) * up.
DSR1_DEVICE float gated(float gate, float up) { return gate / (1.0f + simt::exp(-gate)) * up; }

}  // namespace dsr1::kernels
