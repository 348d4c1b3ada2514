// Four 32-bit lanes (AArch64). Included inside the anonymous namespace of an ISA file. Uses sdot where the compiler's
// target has it, else widening multiplies.

using I = int32x4_t;
using F = float32x4_t;

constexpr int kLanes = 4;
constexpr int kCols = 10;  // of 32 registers: kCols integer and kCols float accumulators
constexpr int kFloatCols = 12;

DSR1_INLINE int8x16_t s8(I v) { return vreinterpretq_s8_s32(v); }
DSR1_INLINE uint8x16_t u8(I v) { return vreinterpretq_u8_s32(v); }
DSR1_INLINE I from_s8(int8x16_t v) { return vreinterpretq_s32_s8(v); }
DSR1_INLINE I from_u8(uint8x16_t v) { return vreinterpretq_s32_u8(v); }

DSR1_INLINE F zero_f() { return vdupq_n_f32(0); }
DSR1_INLINE I zero_i() { return vdupq_n_s32(0); }
DSR1_INLINE F set_f(float v) { return vdupq_n_f32(v); }
DSR1_INLINE I set_i(int32_t v) { return vdupq_n_s32(v); }
DSR1_INLINE I set_b(int v) { return from_s8(vdupq_n_s8(static_cast<int8_t>(v))); }
DSR1_INLINE F load_f(const float* p) { return vld1q_f32(p); }
DSR1_INLINE I load_i(const void* p) { return from_u8(vld1q_u8(static_cast<const uint8_t*>(p))); }
DSR1_INLINE void store_f(float* p, F v) { vst1q_f32(p, v); }
DSR1_INLINE void store_i(void* p, I v) { vst1q_u8(static_cast<uint8_t*>(p), u8(v)); }
DSR1_INLINE F load_lanes(const float* p, int begin, int end) {
  float a[4] = {};
  for (int i = begin; i < end; ++i) a[i] = p[i];
  return load_f(a);
}
DSR1_INLINE void store_lanes(float* p, F v, int begin, int end) {
  float a[4];
  store_f(a, v);
  for (int i = begin; i < end; ++i) p[i] = a[i];
}

DSR1_INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
DSR1_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
DSR1_INLINE F add(F a, F b) { return vaddq_f32(a, b); }
DSR1_INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
DSR1_INLINE F div(F a, F b) { return vdivq_f32(a, b); }
DSR1_INLINE F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }  // b where either is NaN
DSR1_INLINE F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
DSR1_INLINE F negate(F a) { return vnegq_f32(a); }
DSR1_INLINE F to_float(I v) { return vcvtq_f32_s32(v); }
DSR1_INLINE I to_int(F v) { return vcvtnq_s32_f32(v); }
DSR1_INLINE I bits(F v) { return vreinterpretq_s32_f32(v); }
DSR1_INLINE F from_bits(I v) { return vreinterpretq_f32_s32(v); }
DSR1_INLINE F select_gt(F a, F b, F x, F y) { return vbslq_f32(vcgtq_f32(a, b), x, y); }
DSR1_INLINE F select_nan(F a, F x, F y) { return vbslq_f32(vceqq_f32(a, a), y, x); }

DSR1_INLINE I add_i(I a, I b) { return vaddq_s32(a, b); }
DSR1_INLINE I sub_i(I a, I b) { return vsubq_s32(a, b); }
DSR1_INLINE I mul_i(I a, I b) { return vmulq_s32(a, b); }
DSR1_INLINE I max_i(I a, I b) { return vmaxq_s32(a, b); }
DSR1_INLINE I add_b(I a, I b) { return from_s8(vaddq_s8(s8(a), s8(b))); }
DSR1_INLINE I sub_b(I a, I b) { return from_s8(vsubq_s8(s8(a), s8(b))); }
DSR1_INLINE I and_i(I a, I b) { return vandq_s32(a, b); }
DSR1_INLINE I or_i(I a, I b) { return vorrq_s32(a, b); }
DSR1_INLINE I xor_i(I a, I b) { return veorq_s32(a, b); }
template <int n>
DSR1_INLINE I shl(I v) {
  return vshlq_n_s32(v, n);
}
template <int n>
DSR1_INLINE I sra(I v) {
  if constexpr (n == 0) return v;
  else return vshrq_n_s32(v, n);
}
template <int n>
DSR1_INLINE I shr(I v) {
  if constexpr (n == 0) return v;
  else return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(v), n));
}
DSR1_INLINE I shift_left(I v, I count) { return vshlq_s32(v, count); }
DSR1_INLINE I shift_right(I v, I count) { return vshlq_s32(v, vnegq_s32(count)); }
DSR1_INLINE I sub_w(I a, I b) {
  return vreinterpretq_s32_s16(vsubq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
}
DSR1_INLINE I low_and_high(I lo, I hi) { return vbslq_s32(vdupq_n_u32(0xffff0000u), hi, lo); }
DSR1_INLINE I lookup(I table, I index) { return from_u8(vqtbl1q_u8(u8(table), u8(index))); }
DSR1_INLINE I table16(const void* p) { return load_i(p); }
DSR1_INLINE I sub_where(I v, I bits_, I mask, I amount) {
  return sub_b(v, from_u8(vandq_u8(vtstq_u8(u8(bits_), u8(mask)), u8(amount))));
}

DSR1_INLINE F half_lo(I v) { return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_s32(v)))); }
DSR1_INLINE F half_hi(I v) { return half_lo(shr<16>(v)); }
DSR1_INLINE F load_f16(const void* p) {
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(static_cast<const uint8_t*>(p))));
}
DSR1_INLINE void store_f16(void* p, F v) { vst1_u8(static_cast<uint8_t*>(p), vreinterpret_u8_f16(vcvt_f16_f32(v))); }
DSR1_INLINE F load_bf16(const void* p) {
  return from_bits(
      vreinterpretq_s32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(static_cast<const uint8_t*>(p))), 16)));
}
DSR1_INLINE int16x4_t four_bytes(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(v))));
}
DSR1_INLINE I load_s8(const void* p) { return vmovl_s16(four_bytes(p)); }
DSR1_INLINE F load_f8(const void* p) {
  const int16x4_t v = vand_s16(four_bytes(p), vdup_n_s16(0xff));
  int16x4_t h = vand_s16(vshr_n_s16(vshl_n_s16(v, 8), 1), vdup_n_s16(static_cast<int16_t>(0xbfff)));
  const uint16x4_t nan = vceq_s16(vand_s16(v, vdup_n_s16(0x7f)), vdup_n_s16(0x7f));
  h = vorr_s16(h, vand_s16(vreinterpret_s16_u16(nan), vdup_n_s16(0x7e00)));
  return vcvt_f32_f16(vreinterpret_f16_s16(h));
}
DSR1_INLINE void store_s8(void* p, I v) {
  const int8x8_t b = vmovn_s16(vcombine_s16(vmovn_s32(v), vdup_n_s16(0)));
  const int32_t w = vget_lane_s32(vreinterpret_s32_s8(b), 0);
  __builtin_memcpy(p, &w, 4);
}

DSR1_INLINE float sum_sixteen(const F* p) {
  const F v = add(add(p[0], p[2]), add(p[1], p[3]));
  const float32x2_t s = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(s, 0) + vget_lane_f32(s, 1);
}
DSR1_INLINE void sum_sixteen_of_four(const F* a, const F* b, const F* c, const F* d, float* out) {
  out[0] = sum_sixteen(a);
  out[1] = sum_sixteen(b);
  out[2] = sum_sixteen(c);
  out[3] = sum_sixteen(d);
}
DSR1_INLINE int32_t reduce_max(I v) { return vmaxvq_s32(v); }
DSR1_INLINE int32_t reduce_add(I v) { return vaddvq_s32(v); }

DSR1_INLINE void load_chunk(const uint8_t* p, int64_t stride, I* out) {
  const I r0 = load_i(p), r1 = load_i(p + stride), r2 = load_i(p + 2 * stride), r3 = load_i(p + 3 * stride);
  const I a = vzip1q_s32(r0, r1), b = vzip2q_s32(r0, r1), c = vzip1q_s32(r2, r3), d = vzip2q_s32(r2, r3);
  const auto low = [](I x, I y) {
    return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
  };
  const auto high = [](I x, I y) {
    return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)));
  };
  out[0] = low(a, c);
  out[1] = high(a, c);
  out[2] = low(b, d);
  out[3] = high(b, d);
}
DSR1_INLINE void load_wide(const uint8_t* p, int64_t stride, I* out) {
  load_chunk(p, stride, out);
  load_chunk(p + 16, stride, out + 4);
}

constexpr bool kLevel8Offset = false;
DSR1_INLINE I as_level8(I v) { return v; }
#if defined(__ARM_FEATURE_DOTPROD)
DSR1_INLINE I dot_level8(I acc, I w, I a) { return vdotq_s32(acc, s8(w), s8(a)); }
#else
DSR1_INLINE I dot_level8(I acc, I w, I a) {
  const int16x8_t lo = vmull_s8(vget_low_s8(s8(w)), vget_low_s8(s8(a)));
  const int16x8_t hi = vmull_s8(vget_high_s8(s8(w)), vget_high_s8(s8(a)));
  return vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(lo), vpaddlq_s16(hi)));
}
#endif
DSR1_INLINE I dot_u7(I acc, I w, I a) { return dot_level8(acc, w, a); }
DSR1_INLINE I dot_words(I acc, I a, I b) {
  const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  return vaddq_s32(acc, vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
}
