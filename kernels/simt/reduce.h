// Sums and maxima in a fixed order: butterfly within a warp, warps in ascending order within a block.
#pragma once

namespace dsr1::simt {

// Over the 32 lanes; every lane gets the result. Adding is commutative, so all lanes hold the same bits.
template <class T>
DSR1_DEVICE T reduce_sum(T v) {
  for (int bits = 16; bits > 0; bits /= 2) v += shfl_xor(v, bits);
  return v;
}

template <class T>
DSR1_DEVICE T reduce_max(T v) {
  for (int bits = 16; bits > 0; bits /= 2) {
    const T other = shfl_xor(v, bits);
    v = other > v ? other : v;
  }
  return v;
}

// Over lanes that share lane / kWidth.
template <int kWidth, class T>
DSR1_DEVICE T reduce_sum_within(T v) {
  for (int bits = kWidth / 2; bits > 0; bits /= 2) v += shfl_xor(v, bits);
  return v;
}

// Over the block; all threads call, all get the result. `parts` is shared memory, free again after the next barrier.
template <int kThreads, class T>
DSR1_DEVICE T block_sum(T v, T (&parts)[kThreads / kWarp]) {
  v = reduce_sum(v);
  if (lane() == 0) parts[warp()] = v;
  sync_block();
  T sum = parts[0];
  for (int i = 1; i < kThreads / kWarp; ++i) sum += parts[i];
  return sum;
}

template <int kThreads, class T>
DSR1_DEVICE T block_max(T v, T (&parts)[kThreads / kWarp]) {
  v = reduce_max(v);
  if (lane() == 0) parts[warp()] = v;
  sync_block();
  T top = parts[0];
  for (int i = 1; i < kThreads / kWarp; ++i) top = parts[i] > top ? parts[i] : top;
  return top;
}

}  // namespace dsr1::simt
