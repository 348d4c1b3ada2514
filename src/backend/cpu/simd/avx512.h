// Sixteen 32-bit lanes. Included inside the anonymous namespace of an ISA file; see simd/README in docs/numerics.md.
// DSR1_SIMD_VNNI: whether vpdpbusd may be used.

using I = __m512i;
using F = __m512;

constexpr int kLanes = 16;
constexpr int kCols = 12;  // columns of a GEMM tile: 12 integer + 12 float accumulators of 32 registers
constexpr int kFloatCols = 12;

DSR1_INLINE F zero_f() { return _mm512_setzero_ps(); }
DSR1_INLINE I zero_i() { return _mm512_setzero_si512(); }
DSR1_INLINE F set_f(float v) { return _mm512_set1_ps(v); }
DSR1_INLINE I set_i(int32_t v) { return _mm512_set1_epi32(v); }
DSR1_INLINE I set_b(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
DSR1_INLINE F load_f(const float* p) { return _mm512_loadu_ps(p); }
DSR1_INLINE I load_i(const void* p) { return _mm512_loadu_si512(p); }
DSR1_INLINE void store_f(float* p, F v) { _mm512_storeu_ps(p, v); }
DSR1_INLINE void store_i(void* p, I v) { _mm512_storeu_si512(p, v); }
// Lanes [begin, end) only.
DSR1_INLINE __mmask16 lane_mask(int begin, int end) {
  return static_cast<__mmask16>((0xffffu << begin) & ((1u << end) - 1u));
}
DSR1_INLINE F load_lanes(const float* p, int begin, int end) { return _mm512_maskz_loadu_ps(lane_mask(begin, end), p); }
DSR1_INLINE void store_lanes(float* p, F v, int begin, int end) { _mm512_mask_storeu_ps(p, lane_mask(begin, end), v); }

DSR1_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
DSR1_INLINE F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
DSR1_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
DSR1_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
DSR1_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
DSR1_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
DSR1_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }  // b where either is NaN
DSR1_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
DSR1_INLINE F negate(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
DSR1_INLINE F to_float(I v) { return _mm512_cvtepi32_ps(v); }
DSR1_INLINE I to_int(F v) { return _mm512_cvtps_epi32(v); }  // nearest even
DSR1_INLINE I bits(F v) { return _mm512_castps_si512(v); }
DSR1_INLINE F from_bits(I v) { return _mm512_castsi512_ps(v); }
// a > b ? x : y, false for NaN
DSR1_INLINE F select_gt(F a, F b, F x, F y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x); }
DSR1_INLINE F select_nan(F a, F x, F y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), y, x); }

DSR1_INLINE I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
DSR1_INLINE I sub_i(I a, I b) { return _mm512_sub_epi32(a, b); }
DSR1_INLINE I mul_i(I a, I b) { return _mm512_mullo_epi32(a, b); }
DSR1_INLINE I max_i(I a, I b) { return _mm512_max_epi32(a, b); }
DSR1_INLINE I add_b(I a, I b) { return _mm512_add_epi8(a, b); }
DSR1_INLINE I sub_b(I a, I b) { return _mm512_sub_epi8(a, b); }
DSR1_INLINE I and_i(I a, I b) { return _mm512_and_si512(a, b); }
DSR1_INLINE I or_i(I a, I b) { return _mm512_or_si512(a, b); }
DSR1_INLINE I xor_i(I a, I b) { return _mm512_xor_si512(a, b); }
DSR1_INLINE I andnot_i(I a, I b) { return _mm512_andnot_si512(a, b); }  // ~a & b
template <int n>
DSR1_INLINE I shl(I v) {
  return _mm512_slli_epi32(v, n);
}
template <int n>
DSR1_INLINE I shr(I v) {
  return _mm512_srli_epi32(v, n);
}
template <int n>
DSR1_INLINE I sra(I v) {
  return _mm512_srai_epi32(v, n);
}
// By a count a lane, 0 to 31.
DSR1_INLINE I shift_left(I v, I count) { return _mm512_sllv_epi32(v, count); }
DSR1_INLINE I shift_right(I v, I count) { return _mm512_srav_epi32(v, count); }  // arithmetic
// Words of 16 bits: differences; the low ones of lo with the high ones of hi.
DSR1_INLINE I sub_w(I a, I b) { return _mm512_sub_epi16(a, b); }
DSR1_INLINE I low_and_high(I lo, I hi) { return _mm512_mask_blend_epi16(0xaaaaaaaau, lo, hi); }
// Bytes of `table` (the same 16 in each 128 bits, or not) by the low four bits of each byte of index (< 16; 0 from 128
// on).
DSR1_INLINE I lookup(I table, I index) { return _mm512_shuffle_epi8(table, index); }
DSR1_INLINE I table16(const void* p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p))); }

// Bytes: v - amount where the byte of bits shares a bit with that of mask, else v.
DSR1_INLINE I sub_where(I v, I bits_, I mask, I amount) {
  return _mm512_mask_sub_epi8(v, _mm512_test_epi8_mask(bits_, mask), v, amount);
}

// f16 in the low or high half of each lane.
DSR1_INLINE F half_lo(I v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }
DSR1_INLINE F half_hi(I v) { return half_lo(_mm512_srli_epi32(v, 16)); }
DSR1_INLINE F load_f16(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
DSR1_INLINE void store_f16(void* p, F v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
DSR1_INLINE F load_bf16(const void* p) {
  return from_bits(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
}
// E4M3 bytes, as 1/256 of their value: shifted into f16, whose exponent bias is 8 larger.
DSR1_INLINE F load_f8(const void* p) {
  const __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  __m256i h =
      _mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16(v, 8), 1), _mm256_set1_epi16(static_cast<short>(0xbfff)));
  h = _mm256_mask_mov_epi16(
      h, _mm256_cmpeq_epi16_mask(_mm256_and_si256(v, _mm256_set1_epi16(0x7f)), _mm256_set1_epi16(0x7f)),
      _mm256_set1_epi16(0x7e00));
  return _mm512_cvtph_ps(h);
}
DSR1_INLINE I load_u8(const void* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
DSR1_INLINE I load_s8(const void* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
// The low byte of each lane.
DSR1_INLINE void store_s8(void* p, I v) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v)); }

// Sixteen lanes added by halves: i and i + 8, then i and i + 4, ...
DSR1_INLINE float sum_sixteen(const F* p) {
  const __m256 e = _mm256_add_ps(_mm512_castps512_ps256(p[0]), _mm512_extractf32x8_ps(p[0], 1));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
// Four such sums at once: 19 instructions for 32, the same additions.
DSR1_INLINE void sum_sixteen_of_four(const F* a, const F* b, const F* c, const F* d, float* out) {
  const auto halves = [](const F* p) {
    return _mm256_add_ps(_mm512_castps512_ps256(*p), _mm512_extractf32x8_ps(*p, 1));
  };
  const auto quarters = [](__m256 x, __m256 y) {
    return _mm256_add_ps(_mm256_insertf128_ps(x, _mm256_castps256_ps128(y), 1), _mm256_permute2f128_ps(x, y, 0x31));
  };
  const __m256d ab = _mm256_castps_pd(quarters(halves(a), halves(b))),
                cd = _mm256_castps_pd(quarters(halves(c), halves(d)));
  const __m256 pairs =
      _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)), _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)));
  const __m256 sums = _mm256_add_ps(pairs, _mm256_movehdup_ps(pairs));  // a _ c _ b _ d _
  const __m128 ac = _mm256_castps256_ps128(sums), bd = _mm256_extractf128_ps(sums, 1);
  _mm_storeu_ps(out, _mm_unpacklo_ps(_mm_shuffle_ps(ac, ac, 0x08), _mm_shuffle_ps(bd, bd, 0x08)));
}
DSR1_INLINE int32_t reduce_max(I v) { return _mm512_reduce_max_epi32(v); }
DSR1_INLINE int32_t reduce_add(I v) { return _mm512_reduce_add_epi32(v); }

// 16 bytes of each of kLanes rows, transposed: out[i] lane r = bytes 4i..4i+3 of row r.
DSR1_INLINE __m128i sixteen_bytes(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
DSR1_INLINE I four_rows(const uint8_t* p, int64_t stride) {
  const __m256i lo =
      _mm256_inserti128_si256(_mm256_castsi128_si256(sixteen_bytes(p)), sixteen_bytes(p + 4 * stride), 1);
  const __m256i hi =
      _mm256_inserti128_si256(_mm256_castsi128_si256(sixteen_bytes(p + 8 * stride)), sixteen_bytes(p + 12 * stride), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}
DSR1_INLINE void turn(I r0, I r1, I r2, I r3, I* out) {
  const I a = _mm512_unpacklo_epi32(r0, r1), b = _mm512_unpackhi_epi32(r0, r1);
  const I c = _mm512_unpacklo_epi32(r2, r3), d = _mm512_unpackhi_epi32(r2, r3);
  out[0] = _mm512_unpacklo_epi64(a, c);
  out[1] = _mm512_unpackhi_epi64(a, c);
  out[2] = _mm512_unpacklo_epi64(b, d);
  out[3] = _mm512_unpackhi_epi64(b, d);
}

DSR1_INLINE void load_chunk(const uint8_t* p, int64_t stride, I* out) {
  turn(four_rows(p, stride), four_rows(p + stride, stride), four_rows(p + 2 * stride, stride),
       four_rows(p + 3 * stride, stride), out);
}
// 32 bytes of each row: out[i] lane r = bytes 4i..4i+3 of row r, i < 8. Fewer loads and operations than two chunks.
DSR1_INLINE I two_rows(const uint8_t* p, int64_t apart) {
  const I v = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_inserti64x4(v, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + apart)), 1);
}
DSR1_INLINE void load_wide(const uint8_t* p, int64_t stride, I* out) {
  const int64_t four = 4 * stride;
  I a[4], b[4];  // rows 0 to 7 and 8 to 15; 128 bits of bytes 4i.., 128 of bytes 16 + 4i.., twice
  turn(two_rows(p, four), two_rows(p + stride, four), two_rows(p + 2 * stride, four), two_rows(p + 3 * stride, four),
       a);
  p += 2 * four;
  turn(two_rows(p, four), two_rows(p + stride, four), two_rows(p + 2 * stride, four), two_rows(p + 3 * stride, four),
       b);
  DSR1_UNROLL
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm512_shuffle_i32x4(a[i], b[i], 0x88);
    out[4 + i] = _mm512_shuffle_i32x4(a[i], b[i], 0xdd);
  }
}

// Products of four bytes a lane, or (dot_words) of two words, added to acc. u7: levels 0..127. level8: -128..127 in the
// form as_level8 gives.
#if DSR1_SIMD_VNNI
constexpr bool kLevel8Offset = true;  // stored as level + 128, accumulators start at -128 * sum of activations
DSR1_INLINE I as_level8(I v) { return _mm512_xor_si512(v, _mm512_set1_epi8(static_cast<char>(0x80))); }
DSR1_INLINE I dot_u7(I acc, I w, I a) { return _mm512_dpbusd_epi32(acc, w, a); }
DSR1_INLINE I dot_level8(I acc, I w, I a) { return _mm512_dpbusd_epi32(acc, w, a); }
DSR1_INLINE I dot_words(I acc, I a, I b) { return _mm512_dpwssd_epi32(acc, a, b); }
#else
constexpr bool kLevel8Offset = false;
DSR1_INLINE I as_level8(I v) { return v; }
DSR1_INLINE I dot_u7(I acc, I w, I a) {
  return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(w, a), _mm512_set1_epi16(1)));
}
DSR1_INLINE I dot_level8(I acc, I w, I a) {  // |w| * (a with w's sign): 2 * 128 * 127 fits 16 bits
  const I sa = _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), _mm512_setzero_si512(), a);
  return dot_u7(acc, _mm512_abs_epi8(w), sa);
}
DSR1_INLINE I dot_words(I acc, I a, I b) { return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)); }
#endif
