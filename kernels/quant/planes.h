// How quantized weights lie in device memory. Files keep blocks of 18, 34, 110 or 210 bytes, of which a lane cannot
// load 16 at once. On the way to the device each block is cut into planes: all rows' first parts, then all second
// parts, ..., so that what a warp loads together is contiguous and 16-byte aligned. No byte is added or changed; types
// whose blocks are whole 16 bytes (Q4_K, Q5_K) and floats stay as they are.
#pragma once

#include "dsr1/quant/all.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// The parts of a block, in the order they have in the file. kBytes add up to the block.
template <class T>
struct Planes {
  static constexpr int kCount = 1;
  static constexpr int kBytes[kCount] = {sizeof(typename T::Block)};
};
template <>
struct Planes<quant::Q4_0> {  // d, nibbles
  static constexpr int kCount = 2, kBytes[kCount] = {2, 16};
};
template <>
struct Planes<quant::Q4_1> {  // d and m, nibbles
  static constexpr int kCount = 2, kBytes[kCount] = {4, 16};
};
template <>
struct Planes<quant::Q5_0> {  // d, fifth bits, nibbles
  static constexpr int kCount = 3, kBytes[kCount] = {2, 4, 16};
};
template <>
struct Planes<quant::Q5_1> {
  static constexpr int kCount = 3, kBytes[kCount] = {4, 4, 16};
};
template <>
struct Planes<quant::Q8_0> {  // d, levels
  static constexpr int kCount = 2, kBytes[kCount] = {2, 32};
};
template <>
struct Planes<quant::Q2_K> {  // scales and minima, levels, d and dmin
  static constexpr int kCount = 3, kBytes[kCount] = {16, 64, 4};
};
template <>
struct Planes<quant::Q3_K> {  // third bits, levels, scales, d
  static constexpr int kCount = 4, kBytes[kCount] = {32, 64, 12, 2};
};
template <>
struct Planes<quant::Q6_K> {  // low nibbles, high bits, scales, d
  static constexpr int kCount = 4, kBytes[kCount] = {128, 64, 16, 2};
};
template <>
struct Planes<quant::IQ4_NL> {  // d, nibbles
  static constexpr int kCount = 2, kBytes[kCount] = {2, 16};
};
template <>
struct Planes<quant::IQ4_XS> {  // d and scales, nibbles
  static constexpr int kCount = 2, kBytes[kCount] = {8, 128};
};

// Device code sees these as numbers only: an array of a class is the host's.
template <class T, int k>
inline constexpr int kPlaneBytes = k < Planes<T>::kCount ? Planes<T>::kBytes[k < Planes<T>::kCount ? k : 0] : 0;

// Where plane k of n_blocks blocks begins; with k = kCount, the bytes of all. Each starts at a multiple of 16.
template <class T, int k>
DSR1_HD constexpr int64_t plane_offset(int64_t n_blocks) {
  if constexpr (k == 0) {
    return 0;
  } else {
    constexpr int bytes = kPlaneBytes<T, k - 1>;
    return plane_offset<T, k - 1>(n_blocks) + (n_blocks * bytes + 15) / 16 * 16;
  }
}

// Plane k of block b of row r.
template <class T, int k>
DSR1_HD const uint8_t* plane(const Weight& w, int64_t r, int b) {
  constexpr int bytes = kPlaneBytes<T, k>;
  const int64_t blocks = w.cols / T::kElements;
  return w.data + plane_offset<T, k>(w.rows * blocks) + (r * blocks + b) * bytes;
}

}  // namespace dsr1::kernels
