// Reading cache rows of each type, a value at a time.
#pragma once

#include "dsr1/quant/f16.h"
#include "dsr1/quant/f32.h"
#include "dsr1/quant/q8_0.h"
#include "kernels/simt/simt.h"
#include "kernels/view.h"

namespace dsr1::kernels {

struct KvF32 {
  static constexpr uint32_t kType = quant::F32::kGgufId;
  DSR1_DEVICE static float at(const uint8_t* row, int i) { return reinterpret_cast<const float*>(row)[i]; }
};
struct KvF16 {
  static constexpr uint32_t kType = quant::F16::kGgufId;
  DSR1_DEVICE static float at(const uint8_t* row, int i) {
    return simt::to_float(reinterpret_cast<const simt::Half*>(row)[i]);
  }
};
struct KvQ8 {
  static constexpr uint32_t kType = quant::Q8_0::kGgufId;
  DSR1_DEVICE static float at(const uint8_t* row, int i) {
    const uint8_t* block = row + i / 32 * 34;  // 34 bytes keep the scale at an even address
    return simt::to_float(*reinterpret_cast<const simt::Half*>(block)) *
           static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
  }
};

// Calls f.template operator()<Kv>() for the cache type; false where there is none.
template <class F>
bool with_kv_type(uint32_t type, F f) {
  switch (type) {
    case KvF32::kType: f.template operator()<KvF32>(); return true;
    case KvF16::kType: f.template operator()<KvF16>(); return true;
    case KvQ8::kType: f.template operator()<KvQ8>(); return true;
    default: return false;
  }
}

}  // namespace dsr1::kernels
