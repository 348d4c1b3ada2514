// Eight 32-bit lanes. Included inside the anonymous namespace of an ISA file.
// DSR1_SIMD_VNNI: whether vpdpbusd (VEX) may be used.

using I = __m256i;
using F = __m256;

constexpr int kLanes = 8;
constexpr int kCols = DSR1_SIMD_VNNI ? 6 : 4;  // of 16 registers: kCols integer and kCols float accumulators
constexpr int kFloatCols = 10;

DSR1_INLINE F zero_f() { return _mm256_setzero_ps(); }
DSR1_INLINE I zero_i() { return _mm256_setzero_si256(); }
DSR1_INLINE F set_f(float v) { return _mm256_set1_ps(v); }
DSR1_INLINE I set_i(int32_t v) { return _mm256_set1_epi32(v); }
DSR1_INLINE I set_b(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
DSR1_INLINE F load_f(const float* p) { return _mm256_loadu_ps(p); }
DSR1_INLINE I load_i(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
DSR1_INLINE void store_f(float* p, F v) { _mm256_storeu_ps(p, v); }
DSR1_INLINE void store_i(void* p, I v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
DSR1_INLINE I lane_mask(int begin, int end) {
  const I lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_and_si256(_mm256_cmpgt_epi32(lane, _mm256_set1_epi32(begin - 1)),
                          _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
}
DSR1_INLINE F load_lanes(const float* p, int begin, int end) { return _mm256_maskload_ps(p, lane_mask(begin, end)); }
DSR1_INLINE void store_lanes(float* p, F v, int begin, int end) { _mm256_maskstore_ps(p, lane_mask(begin, end), v); }

DSR1_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
DSR1_INLINE F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
DSR1_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
DSR1_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
DSR1_INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
DSR1_INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
DSR1_INLINE F max(F a, F b) { return _mm256_max_ps(a, b); }
DSR1_INLINE F min(F a, F b) { return _mm256_min_ps(a, b); }
DSR1_INLINE F negate(F a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
DSR1_INLINE F to_float(I v) { return _mm256_cvtepi32_ps(v); }
DSR1_INLINE I to_int(F v) { return _mm256_cvtps_epi32(v); }
DSR1_INLINE I bits(F v) { return _mm256_castps_si256(v); }
DSR1_INLINE F from_bits(I v) { return _mm256_castsi256_ps(v); }
DSR1_INLINE F select_gt(F a, F b, F x, F y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
DSR1_INLINE F select_nan(F a, F x, F y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }

DSR1_INLINE I add_i(I a, I b) { return _mm256_add_epi32(a, b); }
DSR1_INLINE I sub_i(I a, I b) { return _mm256_sub_epi32(a, b); }
DSR1_INLINE I mul_i(I a, I b) { return _mm256_mullo_epi32(a, b); }
DSR1_INLINE I max_i(I a, I b) { return _mm256_max_epi32(a, b); }
DSR1_INLINE I add_b(I a, I b) { return _mm256_add_epi8(a, b); }
DSR1_INLINE I sub_b(I a, I b) { return _mm256_sub_epi8(a, b); }
DSR1_INLINE I and_i(I a, I b) { return _mm256_and_si256(a, b); }
DSR1_INLINE I or_i(I a, I b) { return _mm256_or_si256(a, b); }
DSR1_INLINE I xor_i(I a, I b) { return _mm256_xor_si256(a, b); }
DSR1_INLINE I andnot_i(I a, I b) { return _mm256_andnot_si256(a, b); }
template <int n>
DSR1_INLINE I shl(I v) {
  return _mm256_slli_epi32(v, n);
}
template <int n>
DSR1_INLINE I shr(I v) {
  return _mm256_srli_epi32(v, n);
}
template <int n>
DSR1_INLINE I sra(I v) {
  return _mm256_srai_epi32(v, n);
}
DSR1_INLINE I shift_left(I v, I count) { return _mm256_sllv_epi32(v, count); }
DSR1_INLINE I shift_right(I v, I count) { return _mm256_srav_epi32(v, count); }
DSR1_INLINE I sub_w(I a, I b) { return _mm256_sub_epi16(a, b); }
DSR1_INLINE I low_and_high(I lo, I hi) { return _mm256_blend_epi16(lo, hi, 0xaa); }
DSR1_INLINE I lookup(I table, I index) { return _mm256_shuffle_epi8(table, index); }
DSR1_INLINE I table16(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

DSR1_INLINE I sub_where(I v, I bits_, I mask, I amount) {
  const I unset = _mm256_cmpeq_epi8(_mm256_and_si256(bits_, mask), _mm256_setzero_si256());
  return _mm256_sub_epi8(v, _mm256_andnot_si256(unset, amount));
}

DSR1_INLINE F half_hi(I v) {
  const I h = _mm256_srli_epi32(v, 16);
  const I packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(h, h), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}
DSR1_INLINE F half_lo(I v) { return half_hi(_mm256_slli_epi32(v, 16)); }
DSR1_INLINE F load_f16(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
DSR1_INLINE void store_f16(void* p, F v) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
DSR1_INLINE F load_bf16(const void* p) {
  return from_bits(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))), 16));
}
DSR1_INLINE F load_f8(const void* p) {
  const __m128i v = _mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  const __m128i h = _mm_and_si128(_mm_srai_epi16(_mm_slli_epi16(v, 8), 1), _mm_set1_epi16(static_cast<short>(0xbfff)));
  const __m128i nan = _mm_cmpeq_epi16(_mm_and_si128(v, _mm_set1_epi16(0x7f)), _mm_set1_epi16(0x7f));
  return _mm256_cvtph_ps(_mm_or_si128(h, _mm_and_si128(nan, _mm_set1_epi16(0x7e00))));
}
DSR1_INLINE I load_u8(const void* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
DSR1_INLINE I load_s8(const void* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
DSR1_INLINE void store_s8(void* p, I v) {  // |lane| <= 127
  const I w = _mm256_packs_epi16(_mm256_packs_epi32(v, v), zero_i());
  const __m128i lo = _mm256_castsi256_si128(w), hi = _mm256_extracti128_si256(w, 1);
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_unpacklo_epi32(lo, hi));
}

DSR1_INLINE float sum_sixteen(const F* p) {
  const F e = _mm256_add_ps(p[0], p[1]);
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
DSR1_INLINE void sum_sixteen_of_four(const F* a, const F* b, const F* c, const F* d, float* out) {
  out[0] = sum_sixteen(a);
  out[1] = sum_sixteen(b);
  out[2] = sum_sixteen(c);
  out[3] = sum_sixteen(d);
}
DSR1_INLINE int32_t reduce_max(I v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return _mm_cvtsi128_si32(m);
}
DSR1_INLINE int32_t reduce_add(I v) {
  __m128i m = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return _mm_cvtsi128_si32(m);
}

DSR1_INLINE I two_rows(const uint8_t* p, int64_t stride) {
  const I v = _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_inserti128_si256(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 4 * stride)), 1);
}
DSR1_INLINE void load_chunk(const uint8_t* p, int64_t stride, I* out) {
  const I r0 = two_rows(p, stride), r1 = two_rows(p + stride, stride);
  const I r2 = two_rows(p + 2 * stride, stride), r3 = two_rows(p + 3 * stride, stride);
  const I a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpackhi_epi32(r0, r1);
  const I c = _mm256_unpacklo_epi32(r2, r3), d = _mm256_unpackhi_epi32(r2, r3);
  out[0] = _mm256_unpacklo_epi64(a, c);
  out[1] = _mm256_unpackhi_epi64(a, c);
  out[2] = _mm256_unpacklo_epi64(b, d);
  out[3] = _mm256_unpackhi_epi64(b, d);
}
DSR1_INLINE void load_wide(const uint8_t* p, int64_t stride, I* out) {
  load_chunk(p, stride, out);
  load_chunk(p + 16, stride, out + 4);
}

#if DSR1_SIMD_VNNI
constexpr bool kLevel8Offset = true;
DSR1_INLINE I as_level8(I v) { return _mm256_xor_si256(v, _mm256_set1_epi8(static_cast<char>(0x80))); }
DSR1_INLINE I dot_u7(I acc, I w, I a) { return _mm256_dpbusd_avx_epi32(acc, w, a); }
DSR1_INLINE I dot_level8(I acc, I w, I a) { return _mm256_dpbusd_avx_epi32(acc, w, a); }
DSR1_INLINE I dot_words(I acc, I a, I b) { return _mm256_dpwssd_avx_epi32(acc, a, b); }
#else
constexpr bool kLevel8Offset = false;
DSR1_INLINE I as_level8(I v) { return v; }
DSR1_INLINE I dot_u7(I acc, I w, I a) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), _mm256_set1_epi16(1)));
}
DSR1_INLINE I dot_level8(I acc, I w, I a) { return dot_u7(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(a, w)); }
DSR1_INLINE I dot_words(I acc, I a, I b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
#endif
