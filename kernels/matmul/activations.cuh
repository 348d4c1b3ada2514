#pragma once

#include "kernels/matmul/activations.h"
#include "kernels/simt/simt.h"

namespace dsr1::kernels {

// Four neighbours of one group of 32, held by eight neighbouring lanes: levels packed into a word, lowest first. Lane
// 8 j of the eight also gets the group. All lanes of the warp call.
DSR1_DEVICE uint32_t quantize4(const float (&x)[4], ActGroup& group) {
  float largest = 0;
  bool good = true;
  for (int i = 0; i < 4; ++i) {
    const float a = x[i] < 0 ? -x[i] : x[i];
    good = good && a < INFINITY;
    largest = a > largest ? a : largest;
  }
  for (int bits = 4; bits > 0; bits /= 2) {
    const float other = simt::shfl_xor(largest, bits);
    largest = other > largest ? other : largest;
  }
  const uint32_t eight = 0xffu << (simt::lane() / 8 * 8);
  const bool all_good = (simt::ballot(good) & eight) == eight;
  const bool zero = !all_good || largest < 0x1p-100f;
  const float inverse = zero ? 0.0f : 127.0f / largest;
  uint32_t packed = 0;
  int sum = 0;
  for (int i = 0; i < 4; ++i) {
    const int q = zero ? 0 : simt::round_to_even(x[i] * inverse);
    sum += q;
    packed |= static_cast<uint32_t>(q & 255) << (8 * i);
  }
  for (int bits = 2; bits > 0; bits /= 2) sum += simt::shfl_xor(sum, bits);  // four lanes: 16 elements
  const int other_half = simt::shfl_xor(sum, 4);
  group.d = !all_good ? NAN : zero ? 0.0f : largest / 127.0f;
  group.sum[0] = static_cast<int16_t>(simt::lane() & 4 ? other_half : sum);
  group.sum[1] = static_cast<int16_t>(simt::lane() & 4 ? sum : other_half);
  return packed;
}

}  // namespace dsr1::kernels
