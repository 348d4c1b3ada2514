// IQ4_XS: 256 elements in 136 bytes, 4.25 bits per weight. w = d * (s - 32) * kIq4Levels[nibble], 6-bit s for each 32.
#pragma once

#include "dsr1/quant/form.h"

namespace dsr1::quant {

struct IQ4_XS {
  static constexpr uint32_t kGgufId = 23;
  static constexpr int kElements = 256;
  static constexpr Form kForm = Form::kPlain;
  struct [[gnu::packed]] Block {
    uint16_t d;       // f16
    uint16_t sh;      // bits 2g: high two bits of group g's scale
    uint8_t sl[4];    // byte g / 2, nibble g % 2: low four bits
    uint8_t qs[128];  // element i of group g: byte 16g + i % 16, low nibble for i < 16
  };

  DSR1_QUANT_FN void levels(const Block& b, int g, int16_t* q) {
    for (int i = 0; i < 16; ++i) {
      q[i] = iq4_level(b.qs[16 * g + i] & 15);
      q[i + 16] = iq4_level(b.qs[16 * g + i] >> 4);
    }
  }
  DSR1_QUANT_FN int int_scale(const Block& b, int g) {
    return (((b.sl[g / 2] >> (4 * (g % 2))) & 15) | ((b.sh >> (2 * g)) & 3) << 4) - 32;
  }
  DSR1_QUANT_FN float scale(const Block& b, int g) { return f16_to_f32(b.d) * static_cast<float>(int_scale(b, g)); }

  DSR1_QUANT_FN void decode(const Block* b, float* out) {
    for (int g = 0; g < 8; ++g) {
      int16_t q[32];
      levels(*b, g, q);
      const float s = scale(*b, g);
      for (int i = 0; i < 32; ++i) out[32 * g + i] = s * static_cast<float>(q[i]);
    }
  }
};
static_assert(sizeof(IQ4_XS::Block) == 136);

}  // namespace dsr1::quant
