// The emulator's matrices of a warp: ldmatrix and mma, which gather what 32 lanes hold.
#include <cstring>
#include <utility>

#include "support/emu_async.h"
#include "support/emulator.h"

namespace dsr1::simt::emu {

void ldmatrix(uint32_t* r, int n, const void* row, bool transposed) {
  const int lane = current.thread % 32;
  if (lane < 8 * n) {
    check_aligned(row, 16, "ldmatrix");
    if (!in_shared(row, 16)) fail_here("ldmatrix reads an address that is not shared memory");
  }
  const Gathered g = exchange(Collective::kLdmatrix, 0xffffffffu, &row, sizeof(row));
  if (lane < 8 * n) check_access(row, 16, false);
  // Matrix i has rows at lanes 8i ... 8i + 7, of eight 16-bit elements; lane l gets elements 2(l % 4) and the next of
  // row l / 4.
  for (int i = 0; i < n; ++i) {
    uint16_t e[2];
    for (int j = 0; j < 2; ++j) {
      int at_row = lane / 4, at_col = lane % 4 * 2 + j;
      if (transposed) std::swap(at_row, at_col);
      std::memcpy(&e[j], g.from<const std::byte*>(8 * i + at_row) + 2 * at_col, 2);
    }
    r[i] = e[0] | static_cast<uint32_t>(e[1]) << 16;
  }
}

namespace {

struct MmaRegisters {
  uint32_t a[4], b[2], c[4];
};
static_assert(sizeof(MmaRegisters) <= kSlotBytes);

// What a warp's last mma gave, computed by whichever lane comes first.
template <class T>
struct MmaResult {
  uint64_t serial = 0;
  T d[16][8];
};

// Element (row, k) of A lies in lane row % 8 * 4 + k % (4 * per) / per, register row / 8 + 2 * (k / (4 * per)), `per`
// elements a register, lowest first; B (row: output column) the same with one half of the registers: PTX ISA's fragment
// layouts.
template <class T, class Value>
void mma(T (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int per, Value value) {
  static MmaResult<T> results[1024 / 32];
  MmaRegisters mine;
  std::memcpy(mine.a, a, sizeof(a));
  std::memcpy(mine.b, b, sizeof(b));
  std::memcpy(mine.c, d, sizeof(d));
  const Gathered g = exchange(Collective::kMma, 0xffffffffu, &mine, sizeof(mine));
  const int lane = current.thread % 32;
  MmaResult<T>& r = results[current.thread / 32];
  if (r.serial != g.serial) {
    r.serial = g.serial;
    T left[16][32], right[8][32];
    for (int l = 0; l < 32; ++l) {
      const auto regs = g.from<MmaRegisters>(l);
      for (int e = 0; e < per; ++e) {
        for (int i = 0; i < 4; ++i)
          left[l / 4 + 8 * (i & 1)][l % 4 * per + e + 4 * per * (i >> 1)] = value(regs.a[i] >> (32 / per * e));
        for (int i = 0; i < 2; ++i) right[l / 4][l % 4 * per + e + 4 * per * i] = value(regs.b[i] >> (32 / per * e));
      }
      for (int i = 0; i < 4; ++i) std::memcpy(&r.d[l / 4 + 8 * (i >> 1)][l % 4 * 2 + (i & 1)], &regs.c[i], sizeof(T));
    }
    for (int row = 0; row < 16; ++row)
      for (int col = 0; col < 8; ++col)
        for (int k = 0; k < 8 * per; ++k) r.d[row][col] += left[row][k] * right[col][k];
  }
  for (int i = 0; i < 4; ++i) d[i] = r.d[lane / 4 + 8 * (i >> 1)][lane % 4 * 2 + (i & 1)];
}

}  // namespace

void mma_16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float (*to_float)(uint16_t)) {
  mma(d, a, b, 2, [&](uint32_t bits) { return to_float(static_cast<uint16_t>(bits)); });
}
void mma_8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  mma(d, a, b, 4, [](uint32_t bits) { return static_cast<int32_t>(static_cast<int8_t>(bits)); });
}

}  // namespace dsr1::simt::emu
