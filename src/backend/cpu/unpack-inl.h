// Source<T>: kLanes rows of a quantized type made into integer levels and float factors, rows across the lanes.
// Included inside the anonymous namespace of an ISA file, after its simd header.
//
//   kU7         levels are 0..127 as stored (else level8, see the simd header)
//   kShift      kU7 types of Form::kPlain: the stored level is the true one + (128 >> kShift)
//   Head        of one block: what its groups share; scale<i>(), min<i>() make the factors of its groups where they are
//               used, so that few registers hold them. Of types in blocks of 256: scale_pair<i>() and min_pair<i>(),
//               the integer scales and minima of two groups or of the halves of one, as words of 16 bits, and
//               block_scale() and block_min(), the block's factors with the powers of two that docs/numerics.md gives
//               them
//   kSteps      steps in which a block is unpacked, each of groups that share bytes: one for types in blocks of 32
//   group(s, i) of types in blocks of 256: the number of the i-th group of step s
//   head(p, stride, h)
//   load<s>(p, stride, ahead, raw): kRaw vectors with the bytes of step s; raw holds those of step s - 1, some of which
//   may stay
//   levels_of<s>(raw, h, out): out.put(i, j, v), lane r of v = elements 4j..4j+3 of the step's i-th group of row r;
//   every i and j once, in the order that needs the fewest registers. Apart from load, so that one step's bytes come
//   into registers during the arithmetic of the one before.

template <class T>
struct Source;

// Weights come from memory ahead of their use: while kLanes rows are worked on, which lie next to each other, those
// after them are fetched into L2, a little with each load, from the beginning of each quarter on. Four streams keep the
// hardware's prefetchers running ahead of these, so that misses do not wait for the few slots of the L1 cache; bursts
// would fill those and stop everything (docs/cpu-performance.md).
struct Stream {
  uintptr_t at, quarter;
  Stream(const void* p, int64_t bytes)
      : at(reinterpret_cast<uintptr_t>(p)), quarter(static_cast<uintptr_t>(bytes / 4)) {}
  template <int kBytes>
  DSR1_MEMBER void fetch() {
    DSR1_UNROLL
    for (int i = 0; i < kBytes / 4; i += 64) DSR1_UNROLL
    for (uintptr_t q = 0; q < 4; ++q)
      __builtin_prefetch(reinterpret_cast<const void*>(at + static_cast<uintptr_t>(i) + q * quarter), 0, 2);
    at += kBytes / 4;
  }
};

// The next block of the rows themselves into L1. Only for the type that gains by it: beside the far stream these cost
// others more than they bring (docs/cpu-performance.md).
template <class T>
DSR1_INLINE void fetch_next_block(const uint8_t* p, int64_t stride) {
  if constexpr (T::kGgufId == quant::Q6_K::kGgufId) {
    constexpr int kBytes = sizeof(typename T::Block);
    for (int r = 0; r < kLanes; ++r)
      for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(p + r * stride + kBytes + i, 0, 3);
  }
}

// load_chunk, one of the kChunks in which the levels of a block are loaded; load_wide takes two of them.
template <class T, int kChunks>
DSR1_INLINE void load_part_of(const uint8_t* p, int64_t stride, Stream& ahead, I* out) {
  load_chunk(p, stride, out);
  ahead.fetch<kLanes* static_cast<int>(sizeof(typename T::Block)) / kChunks>();
}
template <class T, int kChunks>
DSR1_INLINE void load_two_parts_of(const uint8_t* p, int64_t stride, Stream& ahead, I* out) {
  load_wide(p, stride, out);
  ahead.fetch<2 * kLanes* static_cast<int>(sizeof(typename T::Block)) / kChunks>();
}

// The place of a row's dword among the 16 bytes a look-up sees.
DSR1_INLINE I row_place() { return table16("\0\0\0\0\4\4\4\4\10\10\10\10\14\14\14\14"); }
DSR1_INLINE I byte_mask(int v) { return set_b(v); }
template <int i>
DSR1_INLINE I byte_of(I v) {  // byte i of each lane, unsigned
  if constexpr (i == 3) return shr<24>(v);
  else if constexpr (i == 0) return and_i(v, set_i(255));
  else return and_i(shr<8 * i>(v), set_i(255));
}
// Bytes 2 * half and 2 * half + 1 of each lane as words.
template <int half>
DSR1_INLINE I words_of(I v) {
  constexpr int32_t kPlaces = half == 0 ? static_cast<int32_t>(0x80018000u) : static_cast<int32_t>(0x80038002u);
  return lookup(v, or_i(row_place(), set_i(kPlaces)));  // places from 128 on give 0
}
DSR1_INLINE I low_nibbles(I v) { return and_i(v, byte_mask(15)); }
DSR1_INLINE I high_nibbles(I v) { return and_i(shr<4>(v), byte_mask(15)); }
// The nibbles of a group in which byte i holds elements i and i + 16; fifth bits are bits 0..31 of qh.
template <bool kFifth, class Out>
DSR1_INLINE void put_halves(const I* raw, [[maybe_unused]] I qh, Out& out) {
  const I even = set_i(0x08040201), odd = set_i(static_cast<int32_t>(0x80402010u)), sixteen = byte_mask(-16);
  DSR1_UNROLL
  for (int i = 0; i < 4; ++i) {
    I lo = low_nibbles(raw[i]), hi = high_nibbles(raw[i]);
    if constexpr (kFifth) {
      // The byte of qh that holds the bits of dword j, four times; even dwords take its lower half.
      const I a = lookup(qh, add_b(row_place(), byte_mask(i / 2))),
              b = lookup(qh, add_b(row_place(), byte_mask(2 + i / 2)));
      lo = sub_where(lo, a, i % 2 == 0 ? even : odd, sixteen);
      hi = sub_where(hi, b, i % 2 == 0 ? even : odd, sixteen);
    }
    out.put(0, i, lo);
    out.put(0, 4 + i, hi);
  }
}

struct Head1 {
  F d, m;
  template <int>
  DSR1_MEMBER F scale() const {
    return d;
  }
  template <int>
  DSR1_MEMBER F min() const {
    return m;
  }
};

template <>
struct Source<quant::Q4_0> {
  static constexpr int kSteps = 1, kRaw = 4, kShift = 4;
  static constexpr bool kU7 = true;
  using Head = Head1;
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I c[4];
    load_chunk(p, stride, c);
    h.d = half_lo(c[0]);
  }
  template <int>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_part_of<quant::Q4_0, 1>(p + 2, stride, ahead, raw);
  }
  template <int, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head&, Out& out) {
    put_halves<false>(raw, zero_i(), out);
  }
};

template <>
struct Source<quant::Q4_1> {
  static constexpr int kSteps = 1, kRaw = 4, kShift = 0;
  static constexpr bool kU7 = true;
  using Head = Head1;
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I c[4];
    load_chunk(p, stride, c);
    h.d = half_lo(c[0]);
    h.m = half_hi(c[0]);
  }
  template <int>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_part_of<quant::Q4_1, 1>(p + 4, stride, ahead, raw);
  }
  template <int, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head&, Out& out) {
    put_halves<false>(raw, zero_i(), out);
  }
};

struct Head1Bits : Head1 {
  I qh;
};

template <>
struct Source<quant::Q5_0> {
  static constexpr int kSteps = 1, kRaw = 4, kShift = 3;
  static constexpr bool kU7 = true;
  using Head = Head1Bits;
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I c[4];
    load_chunk(p, stride, c);
    h.d = half_lo(c[0]);
    h.qh = or_i(shr<16>(c[0]), shl<16>(c[1]));
  }
  template <int>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_part_of<quant::Q5_0, 1>(p + 6, stride, ahead, raw);
  }
  template <int, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head& h, Out& out) {
    put_halves<true>(raw, h.qh, out);
  }
};

template <>
struct Source<quant::Q5_1> {
  static constexpr int kSteps = 1, kRaw = 4, kShift = 0;
  static constexpr bool kU7 = true;
  using Head = Head1Bits;
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I c[4];
    load_chunk(p, stride, c);
    h.d = half_lo(c[0]);
    h.m = half_hi(c[0]);
    h.qh = c[1];
  }
  template <int>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_part_of<quant::Q5_1, 1>(p + 8, stride, ahead, raw);
  }
  template <int, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head& h, Out& out) {
    put_halves<true>(raw, h.qh, out);
  }
};

template <>
struct Source<quant::Q8_0> {
  static constexpr int kSteps = 1, kRaw = 8, kShift = 0;
  static constexpr bool kU7 = false;
  using Head = Head1;
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I c[4];
    load_chunk(p, stride, c);
    h.d = half_lo(c[0]);
  }
  template <int>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_two_parts_of<quant::Q8_0, 2>(p + 2, stride, ahead, raw);
  }
  template <int, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head&, Out& out) {
    DSR1_UNROLL
    for (int i = 0; i < 8; ++i) out.put(0, i, as_level8(raw[i]));
  }
};

template <>
struct Source<quant::IQ4_NL> {
  static constexpr int kSteps = 1, kRaw = 4, kShift = 0;
  static constexpr bool kU7 = false;
  using Head = Head1;
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) { Source<quant::Q4_0>::head(p, stride, h); }
  template <int>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_part_of<quant::IQ4_NL, 1>(p + 2, stride, ahead, raw);
  }
  template <int, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head&, Out& out) {
    const I table = as_level8(table16(quant::kIq4Levels));
    DSR1_UNROLL
    for (int i = 0; i < 4; ++i) {
      out.put(0, i, lookup(table, low_nibbles(raw[i])));
      out.put(0, 4 + i, lookup(table, high_nibbles(raw[i])));
    }
  }
};

template <>
struct Source<quant::IQ4_XS> {
  static constexpr int kSteps = 4, kRaw = 8;
  static constexpr bool kU7 = false;
  static constexpr int group(int s, int i) { return 2 * s + i; }
  struct Head {
    F d;
    I sh, sl;  // the high two bits of the scales from bit 16 on; the low four
    template <int p>
    DSR1_MEMBER I scale_pair() const {
      const I lo = shr<8 * p>(sl), hi = shr<16 + 4 * p>(sh);
      const I first = or_i(and_i(lo, set_i(15)), shl<4>(and_i(hi, set_i(3))));
      const I second = or_i(and_i(shl<12>(lo), set_i(0xf0000)), shl<18>(and_i(hi, set_i(12))));
      return sub_w(or_i(first, second), set_i(0x00200020));
    }
    DSR1_MEMBER F block_scale() const { return mul(d, set_f(16)); }
  };
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I c[4];
    load_chunk(p, stride, c);
    h.d = half_lo(c[0]);
    h.sh = c[0];
    h.sl = c[1];
  }
  template <int s>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_two_parts_of<quant::IQ4_XS, 8>(p + 8 + 32 * s, stride, ahead, raw);
  }
  template <int s, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head&, Out& out) {
    const I table = as_level8(table16(quant::kIq4Levels));
    DSR1_UNROLL
    for (int g = 0; g < 2; ++g) DSR1_UNROLL
    for (int i = 0; i < 4; ++i) {
      out.put(g, i, lookup(table, low_nibbles(raw[4 * g + i])));
      out.put(g, 4 + i, lookup(table, high_nibbles(raw[4 * g + i])));
    }
  }
};

// Eight 6-bit scales and minima of Q4_K and Q5_K from the first 16 bytes of the block, four in a dword.
struct HeadK {
  F d, dmin;
  I s[2], m[2];
  template <int p>
  DSR1_MEMBER I scale_pair() const {
    return words_of<p % 2>(s[p / 2]);
  }
  template <int p>
  DSR1_MEMBER I min_pair() const {
    return words_of<p % 2>(m[p / 2]);
  }
  DSR1_MEMBER F block_scale() const { return mul(d, set_f(4)); }
  DSR1_MEMBER F block_min() const { return mul(dmin, set_f(0.125f)); }
};
DSR1_INLINE void k_head(const uint8_t* p, int64_t stride, HeadK& h) {
  I c[4];
  load_chunk(p, stride, c);
  h.d = half_lo(c[0]);
  h.dmin = negate(half_hi(c[0]));
  const I six = byte_mask(63), two = byte_mask(0x30);
  h.s[0] = and_i(c[1], six);
  h.m[0] = and_i(c[2], six);
  h.s[1] = or_i(low_nibbles(c[3]), and_i(shr<2>(c[1]), two));
  h.m[1] = or_i(high_nibbles(c[3]), and_i(shr<2>(c[2]), two));
}

template <>
struct Source<quant::Q4_K> {
  static constexpr int kSteps = 4, kRaw = 8;
  static constexpr bool kU7 = true;
  static constexpr int group(int s, int i) { return 2 * s + i; }
  using Head = HeadK;
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) { k_head(p, stride, h); }
  template <int s>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_two_parts_of<quant::Q4_K, 8>(p + 16 + 32 * s, stride, ahead, raw);
  }
  template <int s, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head&, Out& out) {
    DSR1_UNROLL
    for (int j = 0; j < 8; ++j) {
      out.put(0, j, low_nibbles(raw[j]));
      out.put(1, j, high_nibbles(raw[j]));
    }
  }
};

template <>
struct Source<quant::Q5_K> {
  static constexpr int kSteps = 4, kRaw = 8;
  static constexpr bool kU7 = true;
  static constexpr int group(int s, int i) { return 2 * s + i; }
  struct Head : HeadK {
    I qh[8];
  };
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    k_head(p, stride, h);
    load_wide(p + 16, stride, h.qh);
  }
  template <int s>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_two_parts_of<quant::Q5_K, 8>(p + 48 + 32 * s, stride, ahead, raw);
  }
  template <int s, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head& h, Out& out) {
    const I sixteen = byte_mask(-16);
    DSR1_UNROLL
    for (int j = 0; j < 8; ++j) {
      out.put(0, j, sub_where(low_nibbles(raw[j]), h.qh[j], byte_mask(1 << (2 * s)), sixteen));
      out.put(1, j, sub_where(high_nibbles(raw[j]), h.qh[j], byte_mask(2 << (2 * s)), sixteen));
    }
  }
};

template <>
struct Source<quant::Q6_K> {
  static constexpr int kSteps = 4, kRaw = 16;
  static constexpr bool kU7 = true;
  static constexpr int group(int s, int i) { return s / 2 * 4 + s % 2 + 2 * i; }
  struct Head {
    F d;
    I sc[4];
    template <int g>
    DSR1_MEMBER I scale_pair() const {
      return sub_w(words_of<g % 2>(xor_i(sc[g / 2], byte_mask(-128))), set_i(0x00800080));
    }
    DSR1_MEMBER F block_scale() const { return mul(d, set_f(4)); }
  };
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I tail[4];
    load_chunk(p + 192, stride, h.sc);
    load_chunk(p + 194, stride, tail);  // its last two bytes are d
    h.d = half_hi(tail[3]);
  }
  // Of a half, ql holds groups 0 and 2, then 1 and 3; qh, which stays in raw from 8 on, two bits of each.
  template <int s>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    if constexpr (s % 2 == 0) load_two_parts_of<quant::Q6_K, 12>(p + 128 + 16 * s, stride, ahead, raw + 8);
    load_two_parts_of<quant::Q6_K, 12>(p + 32 * s, stride, ahead, raw);
  }
  template <int s, class Out>
  DSR1_INLINE void levels_of(const I* raw, const Head&, Out& out) {
    const I two = byte_mask(0x30);
    DSR1_UNROLL
    for (int j = 0; j < 8; ++j) {
      const I qh = raw[8 + j];
      out.put(0, j, or_i(low_nibbles(raw[j]), and_i(s % 2 == 0 ? shl<4>(qh) : shl<2>(qh), two)));
      out.put(1, j, or_i(high_nibbles(raw[j]), and_i(s % 2 == 0 ? qh : shr<2>(qh), two)));
    }
  }
};

// Q2_K and Q3_K multiply their two-bit levels by the 16-element scale through a table look-up: the four products of a
// row's scale fill that row's dword of the table, and the index of a byte is its level plus its row's place.
template <>
struct Source<quant::Q2_K> {
  static constexpr int kSteps = 2, kRaw = 8;
  static constexpr bool kU7 = true;
  static constexpr int group(int s, int i) { return 4 * s + i; }
  struct Head {
    F d, dmin;
    I sc[4];
    template <int g>
    DSR1_MEMBER I min_pair() const {
      return words_of<g % 2>(high_nibbles(sc[g / 2]));
    }
    DSR1_MEMBER F block_scale() const { return mul(d, set_f(0x1p-8f)); }
    DSR1_MEMBER F block_min() const { return mul(dmin, set_f(0.125f)); }
    template <int j>
    DSR1_MEMBER I table() const {
      return mul_i(and_i(shr<8 * (j % 4)>(sc[j / 4]), set_i(15)), set_i(0x03020100));
    }
  };
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I tail[4];
    load_chunk(p, stride, h.sc);
    load_chunk(p + 68, stride, tail);
    h.d = half_lo(tail[3]);
    h.dmin = negate(half_hi(tail[3]));
  }
  template <int s>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_two_parts_of<quant::Q2_K, 4>(p + 16 + 32 * s, stride, ahead, raw);
  }
  template <int s, int g = 0, class Out>
  DSR1_INLINE void levels_of(const I* qs, const Head& h, Out& out) {
    const I three = byte_mask(3), place = row_place();
    const I table[2] = {h.template table<8 * s + 2 * g>(), h.template table<8 * s + 2 * g + 1>()};
    DSR1_UNROLL
    for (int i = 0; i < 8; ++i) out.put(g, i, lookup(table[i / 4], or_i(and_i(shr<2 * g>(qs[i]), three), place)));
    if constexpr (g < 3) levels_of<s, g + 1>(qs, h, out);
  }
};

// Levels are -S * (q - 4 * !h), which unlike S * (q - 4 * !h) fits a signed byte; the scale is -d.
template <>
struct Source<quant::Q3_K> {
  static constexpr int kSteps = 2, kRaw = 8;
  static constexpr bool kU7 = false;
  static constexpr int group(int s, int i) { return 4 * s + i; }
  struct Head {
    F d;
    I u[4];  // bytes S + 32, 0..63
    I hmask[8];
    DSR1_MEMBER F block_scale() const { return mul(d, set_f(0x1p-8f)); }
    template <int j>
    DSR1_MEMBER I table() const {  // 4S 3S 2S S
      return sub_b(mul_i(byte_of<j % 4>(u[j / 4]), set_i(0x01020304)), set_i(0x20406080));
    }
  };
  DSR1_INLINE void head(const uint8_t* p, int64_t stride, Head& h) {
    I c[4];
    load_chunk(p + 94, stride, c);  // two bytes of qs, the twelve of sc, d
    h.d = negate(half_hi(c[3]));
    const I a = or_i(shr<16>(c[0]), shl<16>(c[1])), b = or_i(shr<16>(c[1]), shl<16>(c[2]));
    const I t = or_i(shr<16>(c[2]), shl<16>(c[3]));
    const I two = byte_mask(0x30);
    h.u[0] = or_i(low_nibbles(a), and_i(shl<4>(t), two));
    h.u[1] = or_i(low_nibbles(b), and_i(shl<2>(t), two));
    h.u[2] = or_i(high_nibbles(a), and_i(t, two));
    h.u[3] = or_i(high_nibbles(b), and_i(shr<2>(t), two));
    load_wide(p, stride, h.hmask);
  }
  template <int s>
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, Stream& ahead, I* raw) {
    load_two_parts_of<quant::Q3_K, 4>(p + 32 + 32 * s, stride, ahead, raw);
  }
  template <int s, int g = 0, class Out>
  DSR1_INLINE void levels_of(const I* qs, const Head& h, Out& out) {
    const I three = byte_mask(3), place = row_place();
    DSR1_UNROLL
    for (int k = 0; k < 2; ++k) {
      const I t = k == 0 ? h.template table<8 * s + 2 * g>() : h.template table<8 * s + 2 * g + 1>();
      const I table = as_level8(t), four = lookup(t, place);
      DSR1_UNROLL
      for (int i = 4 * k; i < 4 * k + 4; ++i) {
        const I v = lookup(table, or_i(and_i(shr<2 * g>(qs[i]), three), place));
        out.put(g, i, sub_where(v, h.hmask[i], byte_mask(1 << (4 * s + g)), four));  // 4S less
      }
    }
    if constexpr (g < 3) levels_of<s, g + 1>(qs, h, out);
  }
};
