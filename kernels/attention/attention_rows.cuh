// Attention one row and head at a time: the form that takes every shape, and the one faster forms are compared with on
// a device. Warps share the keys of a row, lanes the values of a key; each warp keeps a running maximum, sum and
// weighted sum, joined at the end.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/attention/kv.cuh"

namespace dsr1::kernels {

template <int kWarps_, int kK_, int kV_>
struct AttentionRowsTraits {
  static constexpr int kWarps = kWarps_, kThreads = 32 * kWarps;
  static constexpr int kK = kK_, kV = kV_;  // values of a key and of a value row that a lane holds
  struct SharedStorage {
    float largest[kWarps], sum[kWarps];
    float out[kWarps][32 * kV];
  };
};

template <int kWidth>
struct Accumulator {
  float largest = -INFINITY, sum = 0, out[kWidth] = {};

  // A key of this score, whose value row is read by value(i) for the lane's i-th element.
  template <class Value>
  DSR1_DEVICE void add(float score, Value value) {
    const float top = score > largest ? score : largest;
    const float keep = simt::exp(largest - top), weight = simt::exp(score - top);
    sum = simt::fma(sum, keep, weight);
    for (int i = 0; i < kWidth; ++i) out[i] = simt::fma(weight, value(i), out[i] * keep);
    largest = top;
  }
};

// block_x: head, block_y: row.
template <class Kv, class Tr>
DSR1_DEVICE void attention_rows_body(const AttentionParams& p) {
  auto& s = simt::shared<typename Tr::SharedStorage>();
  const int h = simt::block_x(), r = simt::block_y(), lane = simt::lane(), warp = simt::warp();
  const int hk = h / (p.n_head / p.cache.n_head_kv), k_dim = p.cache.k_dim, v_dim = p.cache.v_dim;
  const int n_keys = p.batch.position[r] + 1;
  const KvBase base = p.batch.bases[p.batch.sequence[r]];
  const uint8_t* keys = base.k + hk * p.cache.n_ctx * p.cache.k_row_bytes;
  const uint8_t* values = base.v != nullptr ? base.v + hk * p.cache.n_ctx * p.cache.v_row_bytes : keys;
  const int64_t value_bytes = base.v != nullptr ? p.cache.v_row_bytes : p.cache.k_row_bytes;

  float q[Tr::kK];
  const float* query = p.q.data + r * p.q.stride + int64_t{h} * k_dim;
  for (int i = 0; i < Tr::kK; ++i) q[i] = i * 32 + lane < k_dim ? query[i * 32 + lane] : 0.0f;

  Accumulator<Tr::kV> acc;
  for (int j = warp; j < n_keys; j += Tr::kWarps) {
    const uint8_t* key = keys + j * p.cache.k_row_bytes;
    float dot = 0;
    for (int i = 0; i < Tr::kK; ++i)
      if (i * 32 + lane < k_dim) dot = simt::fma(q[i], Kv::at(key, i * 32 + lane), dot);
    dot = simt::reduce_sum(dot) * p.scale;
    const uint8_t* value = values + j * value_bytes;
    acc.add(dot, [&](int i) { return i * 32 + lane < v_dim ? Kv::at(value, i * 32 + lane) : 0.0f; });
  }
  if (lane == 0) {
    s.largest[warp] = acc.largest;
    s.sum[warp] = acc.sum;
  }
  for (int i = 0; i < Tr::kV; ++i) s.out[warp][i * 32 + lane] = acc.out[i];
  simt::sync_block();

  float largest = s.largest[0], sum = 0;
  for (int w = 1; w < Tr::kWarps; ++w) largest = s.largest[w] > largest ? s.largest[w] : largest;
  for (int w = 0; w < Tr::kWarps; ++w) sum = simt::fma(s.sum[w], simt::exp(s.largest[w] - largest), sum);
  float* out = p.out.data + r * p.out.stride + int64_t{h} * v_dim;
  for (int i = simt::thread(); i < v_dim; i += Tr::kThreads) {
    float o = 0;
    for (int w = 0; w < Tr::kWarps; ++w) o = simt::fma(s.out[w][i], simt::exp(s.largest[w] - largest), o);
    out[i] = o / sum;
  }
}

template <class Kv, class Tr>
__global__ void __launch_bounds__(Tr::kThreads) attention_rows_kernel(const AttentionParams p) {
  attention_rows_body<Kv, Tr>(p);
}

// One block of expanded MLA keys. block_x: head, block_y: row; one warp, which carries on from the state of the block
// before.
template <class Tr>
DSR1_DEVICE void expanded_attention_body(const ExpandedAttentionParams& p) {
  const int h = simt::block_x(), r = simt::block_y(), lane = simt::lane();
  const float* query = p.q.data + r * p.q.stride + int64_t{h} * p.k_dim;
  float* out = p.out.data + r * p.out.stride + int64_t{h} * p.v_dim;
  float* state = p.state.data + r * p.state.stride + 2 * h;
  float q[Tr::kK];
  for (int i = 0; i < Tr::kK; ++i) q[i] = i * 32 + lane < p.k_dim ? query[i * 32 + lane] : 0.0f;
  Accumulator<Tr::kV> acc;
  if (!p.first) {
    acc.largest = state[0];
    acc.sum = state[1];
    for (int i = 0; i < Tr::kV; ++i) acc.out[i] = i * 32 + lane < p.v_dim ? out[i * 32 + lane] : 0.0f;
  }
  const int seen = p.position[r] + 1 - p.keys_first, n = seen < p.n_keys ? seen : p.n_keys;
  for (int j = 0; j < n; ++j) {
    const float* key = p.k.data + (int64_t{h} * p.key_stride + j) * p.k.stride;
    const float* value = p.v.data + (int64_t{h} * p.key_stride + j) * p.v.stride;
    float dot = 0;
    for (int i = 0; i < Tr::kK; ++i)
      if (i * 32 + lane < p.k_dim) dot = simt::fma(q[i], key[i * 32 + lane], dot);
    dot = simt::reduce_sum(dot) * p.scale;
    acc.add(dot, [&](int i) { return i * 32 + lane < p.v_dim ? value[i * 32 + lane] : 0.0f; });
  }
  simt::sync_warp();  // every lane has read the state
  if (lane == 0) {
    state[0] = acc.largest;
    state[1] = acc.sum;
  }
  for (int i = 0; i < Tr::kV; ++i)
    if (i * 32 + lane < p.v_dim) out[i * 32 + lane] = p.last ? acc.out[i] / acc.sum : acc.out[i];
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads) expanded_attention_kernel(const ExpandedAttentionParams p) {
  expanded_attention_body<Tr>(p);
}

}  // namespace dsr1::kernels
