// Fast readers of quantized weights, a piece of a block at a time. A piece is what one lane loads at once: 16 bytes of
// levels and the scales it needs; neighbouring lanes take neighbouring pieces. Pieces<T> for each quantized type:
//
//   kParts                            pieces of a block
//   Piece, load(w, row, block, part)  from planes (planes.h)
//   runs(piece, part, f)              calls f(element, levels, scale, add) for each run of 16 elements the piece holds:
//                                     element: the first one's index in the block; levels: 16 signed bytes in 4 words;
//                                     an element is scale * level + add
//
// dot() and decode() are written over runs, so that a matvec with int8 activations and a matmul with F16 operands read
// a type with the same text. Integer parts are exact: a dot product differs from the decoded one only by the
// activations' rounding and the order of float sums.
#pragma once

#include "kernels/matmul/activations.h"
#include "kernels/quant/planes.h"
#include "kernels/simt/simt.h"

namespace dsr1::kernels {

using simt::Bytes16;

template <class T>
struct Pieces;

DSR1_DEVICE float half_at(const uint8_t* p) { return simt::to_float(*reinterpret_cast<const simt::Half*>(p)); }
DSR1_DEVICE float low_half(uint32_t w) { return simt::to_float(simt::Half{static_cast<uint16_t>(w)}); }
DSR1_DEVICE float high_half(uint32_t w) { return simt::to_float(simt::Half{static_cast<uint16_t>(w >> 16)}); }
DSR1_DEVICE uint32_t word_at(const uint8_t* p) { return *reinterpret_cast<const uint32_t*>(p); }

struct Levels {
  uint32_t w[4];
};
// The low (0) or high (1) nibbles of 16 bytes.
DSR1_DEVICE Levels nibbles(const Bytes16& v, int high) {
  Levels r;
#pragma unroll
  for (int i = 0; i < 4; ++i) r.w[i] = v.w[i] >> (4 * high) & 0x0f0f0f0fu;
  return r;
}
// Adds bit i of `bits` (16 of them) to level i, at bit `to`.
DSR1_DEVICE void add_bits(Levels& v, uint32_t bits, int to) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t b = bits >> (4 * i);
    v.w[i] |= ((b & 1) | (b & 2) << 7 | (b & 4) << 14 | (b & 8) << 21) << to;
  }
}
// kIq4Levels of the nibbles.
DSR1_DEVICE Levels iq4_levels(const Levels& nibbles) {
  // The table in four words; the low three bits of a nibble pick a byte of a half, its highest bit the half.
  constexpr uint32_t t0 = 0xbfad9881u, t1 = 0xf6eaddcfu, t2 = 0x26190d01u, t3 = 0x71594535u;
  Levels r;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t n = nibbles.w[i];
    const uint32_t selector = (n & 7) | (n >> 4 & 0x70) | (n >> 8 & 0x700) | (n >> 12 & 0x7000);
    const uint32_t a = simt::byte_perm(t0, t1, selector), b = simt::byte_perm(t2, t3, selector);
    const uint32_t upper = (n >> 3 & 0x01010101u) * 255;
    r.w[i] = (a & ~upper) | (b & upper);
  }
  return r;
}

template <>
struct Pieces<quant::Q8_0> {
  using T = quant::Q8_0;
  static constexpr int kParts = 2;
  struct Piece {
    Bytes16 q;
    float d;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int part) {
    return {simt::load16(plane<T, 1>(w, row, b) + 16 * part), half_at(plane<T, 0>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int part, F f) {
    f(16 * part, Levels{{p.q.w[0], p.q.w[1], p.q.w[2], p.q.w[3]}}, p.d, 0.0f);
  }
};

// Blocks of 32 whose byte i holds elements i (low nibble) and i + 16.
template <>
struct Pieces<quant::Q4_0> {
  using T = quant::Q4_0;
  static constexpr int kParts = 1;
  struct Piece {
    Bytes16 q;
    float d;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int) {
    return {simt::load16(plane<T, 1>(w, row, b)), half_at(plane<T, 0>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int, F f) {
    for (int h = 0; h < 2; ++h) f(16 * h, nibbles(p.q, h), p.d, -8.0f * p.d);
  }
};

template <>
struct Pieces<quant::Q4_1> {
  using T = quant::Q4_1;
  static constexpr int kParts = 1;
  struct Piece {
    Bytes16 q;
    uint32_t dm;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int) {
    return {simt::load16(plane<T, 1>(w, row, b)), word_at(plane<T, 0>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int, F f) {
    for (int h = 0; h < 2; ++h) f(16 * h, nibbles(p.q, h), low_half(p.dm), high_half(p.dm));
  }
};

template <>
struct Pieces<quant::Q5_0> {
  using T = quant::Q5_0;
  static constexpr int kParts = 1;
  struct Piece {
    Bytes16 q;
    uint32_t qh;
    float d;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int) {
    return {simt::load16(plane<T, 2>(w, row, b)), word_at(plane<T, 1>(w, row, b)), half_at(plane<T, 0>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int, F f) {
    for (int h = 0; h < 2; ++h) {
      Levels v = nibbles(p.q, h);
      add_bits(v, p.qh >> (16 * h), 4);
      f(16 * h, v, p.d, -16.0f * p.d);
    }
  }
};

template <>
struct Pieces<quant::Q5_1> {
  using T = quant::Q5_1;
  static constexpr int kParts = 1;
  struct Piece {
    Bytes16 q;
    uint32_t qh, dm;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int) {
    return {simt::load16(plane<T, 2>(w, row, b)), word_at(plane<T, 1>(w, row, b)), word_at(plane<T, 0>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int, F f) {
    for (int h = 0; h < 2; ++h) {
      Levels v = nibbles(p.q, h);
      add_bits(v, p.qh >> (16 * h), 4);
      f(16 * h, v, low_half(p.dm), high_half(p.dm));
    }
  }
};

template <>
struct Pieces<quant::IQ4_NL> {
  using T = quant::IQ4_NL;
  static constexpr int kParts = 1;
  struct Piece {
    Bytes16 q;
    float d;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int) {
    return {simt::load16(plane<T, 1>(w, row, b)), half_at(plane<T, 0>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int, F f) {
    for (int h = 0; h < 2; ++h) f(16 * h, iq4_levels(nibbles(p.q, h)), p.d, 0.0f);
  }
};

template <>
struct Pieces<quant::IQ4_XS> {
  using T = quant::IQ4_XS;
  static constexpr int kParts = 8;
  struct Piece {
    Bytes16 q;
    uint32_t head, low_scales;  // d and the scales' high bits; their low nibbles
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int part) {
    const uint8_t* head = plane<T, 0>(w, row, b);
    return {simt::load16(plane<T, 1>(w, row, b) + 16 * part), word_at(head), word_at(head + 4)};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int part, F f) {
    const int s = static_cast<int>((p.low_scales >> (4 * part) & 15) | (p.head >> (16 + 2 * part) & 3) << 4) - 32;
    const float scale = low_half(p.head) * static_cast<float>(s);
    for (int h = 0; h < 2; ++h) f(32 * part + 16 * h, iq4_levels(nibbles(p.q, h)), scale, 0.0f);
  }
};

// Scale and minimum j of the 12 bytes in words 1-3 of a Q4_K or Q5_K block.
DSR1_DEVICE void k_scale_min(const Bytes16& head, int j, float& scale, float& add) {
  const int shift = 8 * (j & 3);
  const uint32_t a = head.w[1] >> shift, b = head.w[2] >> shift, c = head.w[3] >> shift;
  const uint32_t s = j < 4 ? a & 63 : (c & 15) | (a >> 6 & 3) << 4,
                 m = j < 4 ? b & 63 : (c >> 4 & 15) | (b >> 6 & 3) << 4;
  scale = low_half(head.w[0]) * static_cast<float>(s);
  add = -(high_half(head.w[0]) * static_cast<float>(m));
}

// Piece j: bytes 16 j ... of the nibbles: half j % 2 of groups 2 (j / 2) (low) and the next (high).
template <>
struct Pieces<quant::Q4_K> {
  static constexpr int kParts = 8;
  struct Piece {
    Bytes16 head, q;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int part) {
    const uint8_t* block = plane<quant::Q4_K, 0>(w, row, b);
    return {simt::load16(block), simt::load16(block + 16 + 16 * part)};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int part, F f) {
    for (int n = 0; n < 2; ++n) {
      const int g = part / 2 * 2 + n;
      float scale, add;
      k_scale_min(p.head, g, scale, add);
      f(32 * g + 16 * (part % 2), nibbles(p.q, n), scale, add);
    }
  }
};

template <>
struct Pieces<quant::Q5_K> {
  static constexpr int kParts = 8;
  struct Piece {
    Bytes16 head, qh, q;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int part) {
    const uint8_t* block = plane<quant::Q5_K, 0>(w, row, b);
    return {simt::load16(block), simt::load16(block + 16 + part % 2 * 16), simt::load16(block + 48 + 16 * part)};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int part, F f) {
    for (int n = 0; n < 2; ++n) {
      const int g = part / 2 * 2 + n;
      Levels v = nibbles(p.q, n);
      for (int i = 0; i < 4; ++i) v.w[i] |= (p.qh.w[i] >> g & 0x01010101u) << 4;
      float scale, add;
      k_scale_min(p.head, g, scale, add);
      f(32 * g + 16 * (part % 2), v, scale, add);
    }
  }
};

// Piece j: bytes 16 j ... of the low nibbles: half j % 2 of group 4 (j / 4) + j / 2 % 2 (low) and of the group two
// later (high).
template <>
struct Pieces<quant::Q6_K> {
  using T = quant::Q6_K;
  static constexpr int kParts = 8;
  struct Piece {
    Bytes16 low, high;
    uint32_t scales[2];  // of groups 4 (j / 4) ... and + 2 ..., two bytes each
    float d;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int part) {
    const uint8_t* scales = plane<T, 2>(w, row, b) + 8 * (part / 4);
    return {simt::load16(plane<T, 0>(w, row, b) + 16 * part),
            simt::load16(plane<T, 1>(w, row, b) + 32 * (part / 4) + 16 * (part % 2)),
            {word_at(scales), word_at(scales + 4)},
            half_at(plane<T, 3>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int part, F f) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int within = part / 2 % 2 + 2 * n, g = part / 4 * 4 + within;
      Levels v = nibbles(p.low, n);
#pragma unroll
      for (int i = 0; i < 4; ++i) v.w[i] |= (p.high.w[i] >> (2 * within) & 0x03030303u) << 4;
      const uint32_t s = p.scales[n] >> (16 * (part / 2 % 2) + 8 * (part % 2));
      const float scale = p.d * static_cast<float>(static_cast<int8_t>(s));
      f(32 * g + 16 * (part % 2), v, scale, -32.0f * scale);
    }
  }
};

// Piece j: bytes 16 j ... of the levels: half j % 2 of groups 4 (j / 2) ... + 3, two bits each.
template <>
struct Pieces<quant::Q2_K> {
  using T = quant::Q2_K;
  static constexpr int kParts = 4;
  struct Piece {
    Bytes16 q;
    uint32_t scales[2];  // of the four groups, two bytes each
    uint32_t d;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int part) {
    const uint8_t* scales = plane<T, 0>(w, row, b) + 8 * (part / 2);
    return {simt::load16(plane<T, 1>(w, row, b) + 16 * part),
            {word_at(scales), word_at(scales + 4)},
            word_at(plane<T, 2>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int part, F f) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const uint32_t s = p.scales[n / 2] >> (16 * (n % 2) + 8 * (part % 2));
      Levels v;
#pragma unroll
      for (int i = 0; i < 4; ++i) v.w[i] = p.q.w[i] >> (2 * n) & 0x03030303u;
      f(32 * (part / 2 * 4 + n) + 16 * (part % 2), v, low_half(p.d) * static_cast<float>(s & 15),
        -(high_half(p.d) * static_cast<float>(s >> 4 & 15)));
    }
  }
};

template <>
struct Pieces<quant::Q3_K> {
  using T = quant::Q3_K;
  static constexpr int kParts = 4;
  struct Piece {
    Bytes16 third, q;
    uint32_t scales[3];
    float d;
  };
  DSR1_DEVICE static Piece load(const Weight& w, int64_t row, int b, int part) {
    const uint8_t* s = plane<T, 2>(w, row, b);
    return {simt::load16(plane<T, 0>(w, row, b) + 16 * (part % 2)),
            simt::load16(plane<T, 1>(w, row, b) + 16 * part),
            {word_at(s), word_at(s + 4), word_at(s + 8)},
            half_at(plane<T, 3>(w, row, b))};
  }
  template <class F>
  DSR1_DEVICE static void runs(const Piece& p, int part, F f) {
    // Scale j = 8 (part / 2) + 2 n + part % 2: its low four bits in byte j % 8, its high two in byte 8 + j % 4.
    const int half = part / 2;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int g = half * 4 + n, shift = 16 * (n % 2) + 8 * (part % 2);
      Levels v;
#pragma unroll
      for (int i = 0; i < 4; ++i) v.w[i] = (p.q.w[i] >> (2 * n) & 0x03030303u) | (p.third.w[i] >> g & 0x01010101u) << 2;
      const uint32_t low = p.scales[n / 2] >> (shift + 4 * half) & 15;
      const uint32_t high = p.scales[2] >> (shift + 2 * (2 * half + n / 2)) & 3;
      const float scale = p.d * static_cast<float>(static_cast<int>(low | high << 4) - 32);
      f(32 * g + 16 * (part % 2), v, scale, -4.0f * scale);
    }
  }
};

// The piece's share of the dot product with the activations of its block (levels q, groups of 32).
template <class T>
DSR1_DEVICE float dot(const typename Pieces<T>::Piece& p, int part, const int8_t* q, const ActGroup* groups) {
  float sum = 0;
  Pieces<T>::runs(p, part, [&](int element, const Levels& v, float scale, float add) {
    const Bytes16 a = *reinterpret_cast<const Bytes16*>(q + element);
    int levels = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) levels = simt::dp4a(v.w[i], a.w[i], levels);
    const ActGroup g = groups[element / 32];
    const int total = element & 16 ? g.sum[1] : g.sum[0];
    sum = simt::fma(g.d, simt::fma(scale, static_cast<float>(levels), add * static_cast<float>(total)), sum);
  });
  return sum;
}

// Byte i of a word of signed levels as a float, without a conversion unit: 2^23 + 128 + level has it in its low bits.
DSR1_DEVICE float level_of(uint32_t word, int i) {
  return __builtin_bit_cast(float, 0x4b000000u | ((word >> (8 * i) & 255) ^ 128)) - 8388736.0f;
}

// Calls f.template operator()<T>() for a type that has Pieces<T>; false for floats and unknown types.
template <class F>
bool with_quantized_type(uint32_t type, F f) {
  switch (type) {
#define DSR1_FLOAT_TYPE(name)
#define DSR1_QUANT_TYPE(name)             \
  case quant::name::kGgufId:              \
    f.template operator()<quant::name>(); \
    return true;
#include "dsr1/quant/all.inc"
    default: return false;
  }
}

}  // namespace dsr1::kernels
