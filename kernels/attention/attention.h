// The KV cache and causal attention over it.
#pragma once

#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// Stores k [rows, n_head_kv * k_dim] and v [rows, n_head_kv * v_dim] (v.data null for MLA) at the rows' positions.
// q8_0 rows as ops/kv_rows.h has them. Bytes: 4 a value read, the cache type's written.
Status launch_kv_append(const KvCache& cache, const BatchRows& batch, Matrix k, Matrix v, simt::Stream stream);

// Row r at position p sees keys 0 ... p of its sequence. q [rows, n_head * k_dim], out [rows, n_head * v_dim]; query
// head h reads KV head h / (n_head / n_head_kv).
struct AttentionParams {
  KvCache cache;
  BatchRows batch;
  Matrix q, out;
  int32_t n_head;
  float scale;
};

// Every cache type and head size up to 576 (keys) and 512 (values): MLA's latent included.
// Floor: bytes of the keys and values seen, once a row and KV head; 2 * (k_dim + v_dim) operations a key and head.
Status launch_attention(const AttentionParams& params, simt::Stream stream);

// Cache rows first ... first + out.rows - 1 of KV head 0 of one sequence as floats: the latents an expanded MLA block
// starts from.
Status launch_kv_load(const KvCache& cache, const KvBase* base, int32_t first, Matrix out, simt::Stream stream);

// One block of expanded keys of MLA. k [n_head * keys, k_dim], head h's keys at rows h * key_stride; v likewise. Row r
// of q (position position[r]) sees those of the keys_first ... + n_keys it may. state [rows, 2 * n_head]: running
// maximum and sum; out is the weighted sum, divided by the sum where `last`.
struct ExpandedAttentionParams {
  const int32_t* position;
  Matrix q, k, v, state, out;
  int32_t n_head, k_dim, v_dim;
  int32_t keys_first, n_keys, key_stride;
  float scale;
  bool first, last;
  bool halves;  // keys, values and weights may be rounded to F16, as a cache of that type would have them
};
// Tensor cores where `halves` and keys up to 192 and values up to 128 wide, else float arithmetic, a warp a row and
// head.
Status launch_expanded_attention(const ExpandedAttentionParams& params, simt::Stream stream);
// The former alone (expanded.cuh).
Status launch_expanded_flash(const ExpandedAttentionParams& params, simt::Stream stream);

}  // namespace dsr1::kernels
