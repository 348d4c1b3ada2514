// Any weight type, 32 elements at a time, from the scalar decode of its own header (include/dsr1/quant): what makes
// every type work at once, and the slow twin that faster unpackers are held to.
#pragma once

#include "dsr1/quant/all.h"
#include "kernels/quant/planes.h"
#include "kernels/simt/simt.h"
#include "kernels/view.h"

namespace dsr1::kernels {

inline constexpr int kGroup = 32;

// Block b of row r as a file has it, put together from its planes.
template <class T, int k = 0>
DSR1_DEVICE void gather_block(const Weight& w, int64_t r, int b, uint8_t* to) {
  if constexpr (k < Planes<T>::kCount) {
    constexpr int bytes = kPlaneBytes<T, k>;
    const uint8_t* from = plane<T, k>(w, r, b);
    for (int i = 0; i < bytes; ++i) to[i] = from[i];
    gather_block<T, k + 1>(w, r, b, to + bytes);
  }
}

// Elements 32 g ... 32 g + 31 of row r; beyond the end of a float row: zero.
template <class T>
DSR1_DEVICE void decode_group(const Weight& w, int64_t r, int g, float (&out)[kGroup]) {
  using Block = typename T::Block;
  if constexpr (T::kElements == 1) {
    const auto* b = reinterpret_cast<const Block*>(w.data + r * w.row_bytes) + g * kGroup;
    const int left = w.cols - g * kGroup;
    float s = 1.0f;
    if constexpr (T::kGgufId == quant::F8_E4M3::kGgufId) {
      if (w.scale_inv != nullptr) s = w.scale_inv[r / 128 * ((w.cols + 127) / 128) + g * kGroup / 128];
    }
    for (int i = 0; i < kGroup; ++i) {
      out[i] = 0;
      if (i < left) T::decode(b + i, out + i);
      if constexpr (T::kGgufId == quant::F8_E4M3::kGgufId) out[i] *= s;
    }
  } else {
    constexpr int per_block = T::kElements / kGroup;
    Block b;
    gather_block<T>(w, r, g / per_block, reinterpret_cast<uint8_t*>(&b));
    const int j = g % per_block;
    int16_t q[kGroup];
    T::levels(b, j, q);
    if constexpr (T::kForm == quant::Form::kPlain) {
      const float s = T::scale(b, j);
      for (int i = 0; i < kGroup; ++i) out[i] = s * static_cast<float>(q[i]);
    } else if constexpr (T::kForm == quant::Form::kMin) {
      const float s = T::scale(b, j), m = T::min(b, j);
      for (int i = 0; i < kGroup; ++i) out[i] = s * static_cast<float>(q[i]) + m;
    } else if constexpr (T::kForm == quant::Form::kHalves) {
      const float s0 = T::scale(b, j, 0), s1 = T::scale(b, j, 1);
      for (int i = 0; i < kGroup; ++i) out[i] = (i < 16 ? s0 : s1) * static_cast<float>(q[i]);
    } else {
      const float s = T::scale(b, j), m0 = T::min(b, j, 0), m1 = T::min(b, j, 1);
      for (int i = 0; i < kGroup; ++i) out[i] = s * static_cast<float>(q[i]) + (i < 16 ? m0 : m1);
    }
  }
}

// Calls f.template operator()<T>() for the type with this number; false where there is none.
template <class F>
bool with_type(uint32_t type, F f) {
  switch (type) {
#define DSR1_FLOAT_TYPE(name)             \
  case quant::name::kGgufId:              \
    f.template operator()<quant::name>(); \
    return true;
#define DSR1_QUANT_TYPE(name) DSR1_FLOAT_TYPE(name)
#include "dsr1/quant/all.inc"
    default: return false;
  }
}

}  // namespace dsr1::kernels
