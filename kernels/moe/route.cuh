#pragma once

#include <cmath>

#include "kernels/moe/moe.h"
#include "kernels/simt/simt.h"

namespace dsr1::kernels {

// Of a row. kExperts: as many as there may be.
template <int kExperts>
struct RouteStorage {
  float score[kExperts], choice[kExperts];  // choice: -inf where taken or dropped
  float group[kExperts];
};

// The largest of the warp's candidates; of equals the lowest index.
struct Best {
  float value = -INFINITY;
  int index = 0x7fffffff;
  DSR1_DEVICE void offer(float v, int i) {
    if (v > value || (v == value && i < index)) {
      value = v;
      index = i;
    }
  }
  DSR1_DEVICE void join() {
    for (int bits = 16; bits > 0; bits /= 2) offer(simt::shfl_xor(value, bits), simt::shfl_xor(index, bits));
  }
};

// Row r's choice by one warp: ids and weights [n_used], in shared memory, are the warp's to read afterwards.
template <int kExperts>
DSR1_DEVICE void route_row(const RouteParams& p, int r, RouteStorage<kExperts>& s, int32_t* ids, float* weights) {
  const int lane = simt::lane(), n = p.n_expert, size = n / p.n_group;
  const float* logits = p.logits.data + r * p.logits.stride;
  float top = -INFINITY;
  for (int e = lane; e < n; e += simt::kWarp) top = logits[e] > top ? logits[e] : top;
  top = simt::reduce_max(top);
  float sum = 0;
  for (int e = lane; e < n; e += simt::kWarp) {
    s.score[e] = p.sigmoid ? 1.0f / (1.0f + simt::exp(-logits[e])) : simt::exp(logits[e] - top);
    sum += s.score[e];
  }
  const float total = simt::reduce_sum(sum);
  for (int e = lane; e < n; e += simt::kWarp) {  // each lane its own elements still
    if (!p.sigmoid) s.score[e] /= total;
    s.choice[e] = s.score[e] + (p.bias != nullptr ? p.bias[e] : 0.0f);
  }
  simt::sync_warp();
  if (p.n_group_used < p.n_group) {
    for (int g = lane; g < p.n_group; g += simt::kWarp) {
      float first = -INFINITY, second = -INFINITY;
      for (int e = g * size; e < (g + 1) * size; ++e) {
        const float c = s.choice[e];
        if (c > first) {
          second = first;
          first = c;
        } else if (c > second) {
          second = c;
        }
      }
      s.group[g] = p.sigmoid && size > 1 ? first + second : first;
    }
    simt::sync_warp();
    // A group stays if fewer than n_group_used others come before it (higher score, or equal and earlier).
    for (int e = lane; e < n; e += simt::kWarp) {
      const int g = e / size;
      int before = 0;
      for (int o = 0; o < p.n_group; ++o)
        before += s.group[o] > s.group[g] || (s.group[o] == s.group[g] && o < g) ? 1 : 0;
      if (before >= p.n_group_used) s.choice[e] = -INFINITY;
    }
    simt::sync_warp();
  }
  float chosen = 0;
  for (int k = 0; k < p.n_used; ++k) {
    Best best;
    for (int e = lane; e < n; e += simt::kWarp) best.offer(s.choice[e], e);
    best.join();
    // Fewer finite choices than n_used (a NaN among the logits): any expert, so that ids stay in range.
    const int e = best.index < n ? best.index : 0;
    chosen += s.score[e];
    if (e % simt::kWarp == lane) s.choice[e] = -INFINITY;  // the lane that reads it
    if (lane == 0) {
      ids[k] = e;
      weights[k] = s.score[e];
    }
  }
  simt::sync_warp();
  const float norm = (p.normalize ? 1.0f / (chosen + 1e-20f) : 1.0f) * p.scale;
  for (int k = lane; k < p.n_used; k += simt::kWarp) weights[k] *= norm;
  simt::sync_warp();
}

}  // namespace dsr1::kernels
