// Which element of a matrix each register of a warp-level mma holds (PTX ISA, "Matrix Fragments for mma.m16n8k16" and
// ".m16n8k32"). Kernels index through these maps, the emulated mma gathers and scatters through them, and a test holds
// them to be one-to-one.
//
// Lane l is (group = l / 4, pair = l % 4). Registers are 32 bits: two 16-bit elements or four 8-bit ones, lowest first.
// A is row-major [16][K], B is column-major, that is stored as rows of K: [8][K] (an output column's weights), C and D
// are [16][8].
#pragma once

namespace dsr1::simt {

struct RowCol {
  int row, col;
};

// kBytes: of an element (2: K = 16, 1: K = 32). Both types fill registers with 4 bytes of consecutive k, so the maps
// differ only by elements per register.
template <int kBytes>
struct FragA {
  static constexpr int kRegisters = 4, kPerRegister = 4 / kBytes;
  DSR1_DEVICE static RowCol at(int lane, int reg, int e) {
    return {lane / 4 + 8 * (reg & 1), (lane % 4) * kPerRegister + e + 4 * kPerRegister * (reg >> 1)};
  }
};
template <int kBytes>
struct FragB {  // row: output column n, col: k
  static constexpr int kRegisters = 2, kPerRegister = 4 / kBytes;
  DSR1_DEVICE static RowCol at(int lane, int reg, int e) {
    return {lane / 4, (lane % 4) * kPerRegister + e + 4 * kPerRegister * reg};
  }
};
struct FragC {  // 4 values of 32 bits
  static constexpr int kRegisters = 4;
  DSR1_DEVICE static RowCol at(int lane, int reg) { return {lane / 4 + 8 * (reg >> 1), (lane % 4) * 2 + (reg & 1)}; }
};

// D [64][256] of wgmma.m64n256k16, 128 values a thread of the warpgroup, and of m64n64k16 the first 64 columns, 32
// values (PTX ISA, "Register Fragments for wgmma.mma_async.m64nNk16"): each warp 16 rows, and of those in eights of
// columns as FragC.
struct FragWgmma {
  static constexpr int kRegisters = 128;
  DSR1_DEVICE static RowCol at(int thread, int reg) {  // thread: of the warpgroup
    const RowCol c = FragC::at(thread % 32, reg % 4);
    return {thread / 32 * 16 + c.row, reg / 4 * 8 + c.col};
  }
};

// Where part i (0-7) of row r of a K-major matrix with 128-byte swizzle lies, in 16 bytes from its start: rows of 128
// bytes in groups of eight, whose parts change places by the row's number.
DSR1_DEVICE int swizzled(int r, int i) { return r * 8 + (i ^ (r % 8)); }

}  // namespace dsr1::simt
