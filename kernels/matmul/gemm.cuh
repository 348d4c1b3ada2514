#pragma once

#include "kernels/matmul/gemm.h"
#include "kernels/matmul/matvec.cuh"

namespace dsr1::kernels {

struct GemmParams {
  MatmulParams m;
  HalfRows x;
};

// A block of kWarpsM * kWarpsN warps computes kM rows of x by kN columns of out; a warp kM / kWarpsM by kN / kWarpsN.
template <int kM_, int kN_, int kWarpsM_, int kWarpsN_>
struct GemmTraits {
  static constexpr int kM = kM_, kN = kN_, kWarpsM = kWarpsM_, kWarpsN = kWarpsN_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kTilesM = kM / kWarpsM / 16, kTilesN = kN / kWarpsN / 8;
  static constexpr int kK = 128;       // of a step: what every block type cuts evenly
  static constexpr int kRow = kK + 8;  // halves: 16 bytes more than the step, so that ldmatrix meets all banks
  struct SharedStorage {
    alignas(16) simt::Half x[2][kM][kRow], w[kN][kRow];  // x: of this step and the next
  };
};

// One tile for every type: enough rows that decoding weights costs less than multiplying them, few enough that experts
// and short prompts fill it. The small one is for experts that few rows chose.
using GemmTile = GemmTraits<64, 128, 2, 4>;
using SmallGemmTile = GemmTraits<16, 128, 1, 8>;

// 2^e with largest / 2^e in [1, 2): the exponent's bits alone. An infinity keeps its row: infinite times 1.
DSR1_DEVICE float half_scale(float largest) {
  const uint32_t exponent = __builtin_bit_cast(uint32_t, largest) & 0x7f800000u;
  const bool usable = exponent > 0x0c000000u && exponent < 0x7f800000u;  // above 2^-103: the inverse is normal
  return usable ? __builtin_bit_cast(float, exponent) : 1.0f;
}

DSR1_DEVICE uint32_t two_halves(float lo, float hi) {
  return simt::half_of(lo).bits | static_cast<uint32_t>(simt::half_of(hi).bits) << 16;
}

// A thread's part of the weights of one step, on its way from memory to shared memory: columns k0 ... + 127 of weight
// rows row0 ... + kN - 1, as F16 once stored; what lies beyond the matrix becomes zero. Loaded while the step before is
// multiplied.
template <class T, class Tr>
struct StepPieces {
  using F = FloatPiece<T>;
  static constexpr int kPieces = Tr::kK / F::kElements;  // of a row
  static constexpr int kEach = Tr::kN * kPieces / Tr::kThreads;
  static_assert(Tr::kN * kPieces % Tr::kThreads == 0);
  Bytes16 v[kEach];
  float scale[kEach];
  using Held = Bytes16[kEach];

  DSR1_DEVICE void load(const Weight& w, int64_t row0, int n_rows, int k0) {
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const int i = simt::thread() + n * Tr::kThreads, r = i / kPieces, c = i % kPieces * F::kElements;
      v[n] = {};
      scale[n] = 1.0f;
      if (r >= n_rows || k0 + c >= w.cols) continue;
      v[n] = simt::load16(w.data + (row0 + r) * w.row_bytes + (k0 + c) * (16 / F::kElements));
      if constexpr (T::kGgufId == quant::F8_E4M3::kGgufId) {
        if (w.scale_inv != nullptr) scale[n] = w.scale_inv[(row0 + r) / 128 * ((w.cols + 127) / 128) + k0 / 128];
      }
    }
  }
  DSR1_DEVICE void store(simt::Half (&to)[Tr::kN][Tr::kRow], const Weight&, int, int) const {
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const int i = simt::thread() + n * Tr::kThreads;
      auto* words = reinterpret_cast<uint32_t*>(&to[i / kPieces][i % kPieces * F::kElements]);
#pragma unroll
      for (int j = 0; j < F::kElements / 2; ++j)
        words[j] = two_halves(F::at(v[n], 2 * j) * scale[n], F::at(v[n], 2 * j + 1) * scale[n]);
    }
  }
};
template <class T, class Tr>
requires(T::kElements > 1) struct StepPieces<T, Tr> {
  using P = Pieces<T>;
  // A step is half a block of 256 (consecutive pieces of it) or four of 32.
  static constexpr bool kHalf = T::kElements == 256;
  static constexpr int kBlocks = kHalf ? 1 : Tr::kK / T::kElements, kParts = kHalf ? P::kParts / 2 : P::kParts;
  static constexpr int kPieces = kBlocks * kParts;  // of a row
  static constexpr int kEach = Tr::kN * kPieces / Tr::kThreads;
  static_assert(Tr::kN * kPieces % Tr::kThreads == 0);
  using Held = typename P::Piece[kEach];
  Held piece;

  struct Place {
    int r, block, part;
    DSR1_DEVICE Place(int n, int k0) {
      const int i = simt::thread() + n * Tr::kThreads;
      r = i / kPieces;
      block = k0 / T::kElements + i % kPieces / kParts;
      part = i % kParts + (kHalf && k0 % 256 != 0 ? kParts : 0);
    }
    DSR1_DEVICE bool in(const Weight& w, int n_rows) const { return r < n_rows && block * T::kElements < w.cols; }
  };

  DSR1_DEVICE void load(const Weight& w, int64_t row0, int n_rows, int k0) {
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const Place at(n, k0);
      piece[n] = {};
      if (at.in(w, n_rows)) piece[n] = P::load(w, row0 + at.r, at.block, at.part);
    }
  }
  DSR1_DEVICE void store(simt::Half (&to)[Tr::kN][Tr::kRow], const Weight& w, int n_rows, int k0) const {
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const Place at(n, k0);
      const bool there = at.in(w, n_rows);
      const int base = at.block * T::kElements - k0;  // of the block's first element in the step
      P::runs(piece[n], at.part, [&](int element, const Levels& v, float scale, float add) {
        auto* words = reinterpret_cast<uint32_t*>(&to[at.r][base + element]);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const float lo = simt::fma(scale, level_of(v.w[j / 2], 2 * (j % 2)), add);
          const float hi = simt::fma(scale, level_of(v.w[j / 2], 2 * (j % 2) + 1), add);
          words[j] = there ? two_halves(lo, hi) : 0;
        }
      });
    }
  }
};

// Blocks a multiprocessor is to hold: registers for three, or two where a step's pieces take more.
template <class T>
inline constexpr int kGemmBlocks = T::kElements == 256 && sizeof(typename StepPieces<T, GemmTile>::Held) <= 80 ? 3 : 2;

// Which rows a tile takes: `count` of them, row r read from x at from(r) and stored in out at to(r).
struct PlainRows {
  int first, count;
  DSR1_DEVICE int from(int r) const { return first + r; }
  DSR1_DEVICE int to(int r) const { return first + r; }
};

// kN columns of out, from weight row first_row + o0, for the tile's rows.
template <class T, class Tr, class Rows>
DSR1_DEVICE void gemm_tile(const Weight& w, int64_t first_row, int n_out, const float* bias, const HalfRows& x,
                           const Matrix& out, int o0, const Rows& rows) {
  auto& s = simt::shared<typename Tr::SharedStorage>();
  const int lane = simt::lane();
  const int wm = simt::warp() / Tr::kWarpsN * (Tr::kTilesM * 16), wn = simt::warp() % Tr::kWarpsN * (Tr::kTilesN * 8);
  float d[Tr::kTilesM][Tr::kTilesN][4] = {};
  StepPieces<T, Tr> pieces;
  auto load = [&](int k0) {
    constexpr int chunks = Tr::kK / 8;
    for (int i = simt::thread(); i < Tr::kM * chunks; i += Tr::kThreads) {
      const int r = i / chunks, c = i % chunks * 8;
      const bool there = r < rows.count;
      simt::async_copy16(&s.x[k0 / Tr::kK & 1][r][c], x.data + (there ? rows.from(r) * x.stride + k0 + c : 0),
                         there ? 16 : 0);
    }
    simt::async_commit();
    pieces.load(w, first_row + o0, n_out - o0, k0);
  };
  load(0);
  for (int k0 = 0; k0 < w.cols; k0 += Tr::kK) {
    pieces.store(s.w, w, n_out - o0, k0);
    simt::async_wait<0>();
    simt::sync_block();  // both tiles are there, and nobody reads the other half of x
    if (k0 + Tr::kK < w.cols) load(k0 + Tr::kK);
    const auto& x_tile = s.x[k0 / Tr::kK & 1];
#pragma unroll
    for (int k = 0; k < Tr::kK; k += 16) {
      uint32_t a[Tr::kTilesM][4], b[Tr::kTilesN / 2][4];  // a load of four 8 x 8 matrices: sixteen outputs
      static_assert(Tr::kTilesN % 2 == 0);
#pragma unroll
      for (int m = 0; m < Tr::kTilesM; ++m)
        simt::ldmatrix_x4(a[m], &x_tile[wm + m * 16 + lane % 16][k + lane / 16 * 8]);
#pragma unroll
      for (int n = 0; n < Tr::kTilesN / 2; ++n)
        simt::ldmatrix_x4(b[n], &s.w[wn + n * 16 + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]);
#pragma unroll
      for (int m = 0; m < Tr::kTilesM; ++m)
#pragma unroll
        for (int n = 0; n < Tr::kTilesN; ++n)
          simt::mma_m16n8k16<simt::Half>(d[m][n], a[m], {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]});
    }
    simt::sync_block();  // before the next step overwrites the weights
  }
#pragma unroll
  for (int m = 0; m < Tr::kTilesM; ++m)
#pragma unroll
    for (int n = 0; n < Tr::kTilesN; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const simt::RowCol at = simt::FragC::at(lane, i);
        const int r = wm + m * 16 + at.row, o = o0 + wn + n * 8 + at.col;
        if (r < rows.count && o < n_out)
          out.data[rows.to(r) * out.stride + o] =
              d[m][n][i] * x.scale[rows.from(r)] + (bias != nullptr ? bias[o] : 0.0f);
      }
}

// block_x: kN columns of out, block_y: kM rows of x.
template <class T, class Tr>
__global__ void __launch_bounds__(Tr::kThreads, kGemmBlocks<T>) gemm_kernel(const GemmParams p) {
  const int first = simt::block_y() * Tr::kM, left = p.x.rows - first;
  gemm_tile<T, Tr>(p.m.w, p.m.first_row, p.m.n_out, p.m.bias, p.x, p.m.out, simt::block_x() * Tr::kN,
                   PlainRows{first, left < Tr::kM ? left : Tr::kM});
}

}  // namespace dsr1::kernels
