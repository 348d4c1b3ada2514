// IQ4_NL: 32 elements in 18 bytes, 4.5 bits per weight. w = d * kIq4Levels[nibble].
#pragma once

#include "dsr1/quant/form.h"

namespace dsr1::quant {

struct IQ4_NL {
  static constexpr uint32_t kGgufId = 20;
  static constexpr int kElements = 32;
  static constexpr Form kForm = Form::kPlain;
  struct [[gnu::packed]] Block {
    uint16_t d;      // f16
    uint8_t qs[16];  // element i: byte i % 16, low nibble for i < 16
  };

  DSR1_QUANT_FN void levels(const Block& b, int /*g*/, int16_t* q) {
    for (int i = 0; i < 16; ++i) {
      q[i] = iq4_level(b.qs[i] & 15);
      q[i + 16] = iq4_level(b.qs[i] >> 4);
    }
  }
  DSR1_QUANT_FN float scale(const Block& b, int /*g*/) { return f16_to_f32(b.d); }

  DSR1_QUANT_FN void decode(const Block* b, float* out) {
    int16_t q[32];
    levels(*b, 0, q);
    const float s = scale(*b, 0);
    for (int i = 0; i < 32; ++i) out[i] = s * static_cast<float>(q[i]);
  }
};
static_assert(sizeof(IQ4_NL::Block) == 18);

}  // namespace dsr1::quant
