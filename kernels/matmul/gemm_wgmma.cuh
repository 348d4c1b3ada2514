#pragma once

#include "kernels/matmul/gemm.cuh"
#include "kernels/matmul/gemm_wgmma.h"

namespace dsr1::kernels {

struct WgmmaParams {
  MatmulParams m;
  HalfTiles x;
};

// A block computes 128 outputs for 256 rows of x in steps of 128 along K, two of which fit in shared memory. Two
// warpgroups multiply, 64 outputs each: weights are the left factor, since 64 x 256 reads less shared memory an
// operation than 128 x 128. The third fills: each of its threads decodes its share of the weights, one starts the
// copies of x.
struct WgmmaTile {
  static constexpr int kM = 128, kN = kWgmmaTileRows, kK = 128, kStages = 2;
  static constexpr int kConsumers = 256, kProducers = 128, kThreads = kConsumers + kProducers;
  struct alignas(1024) Stage {
    Bytes16 w[kK / 64][kM * 8], x[kK / 64][kN * 8];  // panels of 64 columns
  };
  struct SharedStorage {
    Stage stage[kStages];
    simt::Mbarrier full[kStages], empty[kStages];
  };
};

// One thread's share of 128 rows by 128 columns: what it loads, and how that becomes F16.
template <class T>
struct WgmmaShare {
  static constexpr bool kFloat = T::kElements == 1;
  using P = std::conditional_t<kFloat, FloatPiece<T>, Pieces<T>>;
  // Of a row: 16-byte pieces of floats; parts of half a block of 256, or of four blocks of 32.
  static constexpr int kParts = [] {
    if constexpr (kFloat) return WgmmaTile::kK / P::kElements;
    else return T::kElements == 256 ? P::kParts / 2 : P::kParts;
  }();
  static constexpr int kBlocks = kFloat || T::kElements == 256 ? 1 : WgmmaTile::kK / (kFloat ? 1 : T::kElements);
  static constexpr int kOfRow = kParts * kBlocks, kCount = kOfRow * WgmmaTile::kM / WgmmaTile::kProducers;
  static auto piece_type() {
    if constexpr (kFloat) return Bytes16{};
    else return typename P::Piece{};
  }
  using Piece = decltype(piece_type());
  Piece piece[kCount];

  // i: of the thread's pieces; neighbouring threads take neighbouring pieces.
  DSR1_DEVICE static int row_of(int t, int i) { return (t + i * WgmmaTile::kProducers) / kOfRow; }
  DSR1_DEVICE static int within(int t, int i) { return (t + i * WgmmaTile::kProducers) % kOfRow; }

  DSR1_DEVICE void load(const Weight& w, int64_t row0, int n_rows, int k0, int t) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int r = row_of(t, i), at = within(t, i);
      piece[i] = {};
      if constexpr (kFloat) {
        const int c = at * P::kElements;
        if (r < n_rows && k0 + c < w.cols)
          piece[i] = simt::load16(w.data + (row0 + r) * w.row_bytes + (k0 + c) * (16 / P::kElements));
      } else {
        const int block = k0 / T::kElements + at / kParts;
        if (r < n_rows && block * T::kElements < w.cols) piece[i] = P::load(w, row0 + r, block, part_of(at, k0));
      }
    }
  }

  DSR1_DEVICE void store(Bytes16 (&to)[WgmmaTile::kK / 64][WgmmaTile::kM * 8], const Weight& w, int64_t row0,
                         int n_rows, int k0, int t) const {
    // FP8: a scale for 128 rows, so one or two for these.
    float scales[2] = {1.0f, 1.0f};
    const int edge = 128 - static_cast<int>(row0 % 128);
    if constexpr (T::kGgufId == quant::F8_E4M3::kGgufId) {
      const int64_t of_row = (w.cols + 127) / 128;
      if (w.scale_inv != nullptr) {
        scales[0] = w.scale_inv[row0 / 128 * of_row + k0 / 128];
        if (edge < 128 && edge < n_rows) scales[1] = w.scale_inv[(row0 / 128 + 1) * of_row + k0 / 128];
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int r = row_of(t, i), at = within(t, i);
      if constexpr (kFloat) {
        const int c = at * P::kElements;
        const float scale = r < edge ? scales[0] : scales[1];
#pragma unroll
        for (int e = 0; e < P::kElements; e += 8) {
          Bytes16 h;
#pragma unroll
          for (int j = 0; j < 8; j += 2)
            h.w[j / 2] = two_halves(P::at(piece[i], e + j) * scale, P::at(piece[i], e + j + 1) * scale);
          put(to, r, c + e, h);
        }
      } else {
        const int block = k0 / T::kElements + at / kParts, base = block * T::kElements - k0;
        const bool there = r < n_rows && block * T::kElements < w.cols;
        P::runs(piece[i], part_of(at, k0), [&](int element, const Levels& v, float scale, float add) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            Bytes16 h;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              const uint32_t word = v.w[half * 2 + j / 2];
              const float lo = simt::fma(scale, level_of(word, 2 * (j % 2)), add);
              const float hi = simt::fma(scale, level_of(word, 2 * (j % 2) + 1), add);
              h.w[j] = there ? two_halves(lo, hi) : 0;
            }
            put(to, r, base + element + 8 * half, h);
          }
        });
      }
    }
  }

 private:
  DSR1_DEVICE static int part_of(int at, int k0) {
    return at % kParts + (T::kElements == 256 && k0 % 256 != 0 ? kParts : 0);
  }
  DSR1_DEVICE static void put(Bytes16 (&to)[WgmmaTile::kK / 64][WgmmaTile::kM * 8], int r, int c, const Bytes16& h) {
    to[c / 64][simt::swizzled(r, c % 64 / 8)] = h;
  }
};

// block_x: kM outputs, block_y: kN rows of x.
template <class T>
DSR1_DEVICE void gemm_wgmma_body(const WgmmaParams& p) {
  using Tr = WgmmaTile;
  auto& s = simt::shared<Tr::SharedStorage>();
  const int o0 = simt::block_x() * Tr::kM, r0 = simt::block_y() * Tr::kN;
  const int steps = (p.m.w.cols + Tr::kK - 1) / Tr::kK;
  if (simt::thread() == 0) {
    for (int i = 0; i < Tr::kStages; ++i) {
      simt::mbarrier_init(&s.full[i], Tr::kProducers / simt::kWarp + 1);
      simt::mbarrier_init(&s.empty[i], Tr::kConsumers / simt::kWarp);
    }
    simt::fence_async_proxy();
  }
  simt::sync_block();
  if (simt::thread() >= Tr::kConsumers) {
    const int t = simt::thread() - Tr::kConsumers, n_rows = p.m.n_out - o0;
    const int64_t row0 = p.m.first_row + o0, panels = half_stride(p.x.cols) / 64;
    WgmmaShare<T> share;
    share.load(p.m.w, row0, n_rows, 0, t);
    for (int i = 0; i < steps; ++i) {
      const int at = i % Tr::kStages;
      simt::mbarrier_wait(&s.empty[at], i / Tr::kStages % 2 ^ 1);  // at first at once
      if (t == 0) {
        simt::mbarrier_arrive_expecting(&s.full[at], sizeof(s.stage[at].x));
        for (int k = 0; k < Tr::kK / 64; ++k)
          for (int r = 0; r < Tr::kN / 64; ++r)
            simt::bulk_copy(&s.stage[at].x[k][r * kWgmmaTile / 8],
                            p.x.data + ((r0 / 64 + r) * panels + i * (Tr::kK / 64) + k) * kWgmmaTile, kWgmmaTile * 2,
                            &s.full[at]);
      }
      share.store(s.stage[at].w, p.m.w, row0, n_rows, i * Tr::kK, t);
      simt::fence_async_proxy();
      simt::sync_warp();
      if (simt::lane() == 0) simt::mbarrier_arrive(&s.full[at]);
      if (i + 1 < steps) share.load(p.m.w, row0, n_rows, (i + 1) * Tr::kK, t);  // on its way while the stage is used
    }
  } else {
    const int group = simt::thread() / 128, t = simt::thread() % 128;
    float d[simt::FragWgmma::kRegisters] = {};
    for (int i = 0; i < steps; ++i) {
      const int at = i % Tr::kStages;
      simt::mbarrier_wait(&s.full[at], i / Tr::kStages % 2);
      simt::sync_warp();  // lanes may have parted; what follows wants them together
      simt::wgmma_fence();
#pragma unroll
      for (int k = 0; k < Tr::kK; k += 16)
        simt::wgmma_m64n256k16(d, simt::wgmma_matrix(&s.stage[at].w[k / 64][group * 64 * 8 + k % 64 / 8]),
                               simt::wgmma_matrix(&s.stage[at].x[k / 64][k % 64 / 8]));
      simt::wgmma_commit();
      simt::wgmma_wait<1>(d);  // the step before: its stage is free
      if (i > 0 && simt::lane() == 0) simt::mbarrier_arrive(&s.empty[(i - 1) % Tr::kStages]);
    }
    simt::sync_warp();
    simt::wgmma_wait<0>(d);
#pragma unroll
    for (int i = 0; i < simt::FragWgmma::kRegisters; ++i) {
      const simt::RowCol c = simt::FragWgmma::at(t, i);
      const int o = o0 + group * 64 + c.row, r = r0 + c.col;
      if (o < p.m.n_out && r < p.x.rows)
        p.m.out.data[r * p.m.out.stride + o] = simt::fma(d[i], p.x.scale[r], p.m.bias != nullptr ? p.m.bias[o] : 0.0f);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(WgmmaTile::kThreads, 1) gemm_wgmma_kernel(const WgmmaParams p) {
  gemm_wgmma_body<T>(p);
}

}  // namespace dsr1::kernels
