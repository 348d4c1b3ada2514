// Conversions between float and the 16- and 8-bit floats of weight files and caches: exact or round-to-nearest-even.
// Scalar, portable, no tables: the truth that SIMD paths are compared with. static, so that a copy compiled with one
// file's instruction-set flags never serves another file.
#pragma once

#include <cstdint>
#include <cstring>

// Marks what device code may call too.
#if defined(__CUDACC__)
#define DSR1_HD __host__ __device__
#else
#define DSR1_HD
#endif

namespace dsr1 {

DSR1_HD static inline float f16_to_f32(uint16_t h) {
  uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t exponent = (h >> 10) & 0x1f, mantissa = h & 0x3ffu;
  if (exponent == 0x1f) return __builtin_bit_cast(float, sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return __builtin_bit_cast(float, sign | ((exponent + 112) << 23) | (mantissa << 13));
  float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // zero and subnormals, exact
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, magnitude) | sign);
}

DSR1_HD static inline uint16_t f32_to_f16(float f) {
  uint32_t bits = __builtin_bit_cast(uint32_t, f);
  uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  uint32_t a = bits & 0x7fffffffu;
  if (a > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);   // NaN
  if (a >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // overflows to Inf
  if (a < 0x38800000u) {  // result is subnormal or zero: adding 0.5 aligns the mantissa and rounds to even
    float r = __builtin_bit_cast(float, a) + 0.5f;
    return static_cast<uint16_t>(sign | (__builtin_bit_cast(uint32_t, r) - 0x3f000000u));
  }
  uint32_t rounded = a + 0xfffu + ((a >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

DSR1_HD static inline float bf16_to_f32(uint16_t h) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(h) << 16);
}

DSR1_HD static inline uint16_t f32_to_bf16(float f) {
  uint32_t bits = __builtin_bit_cast(uint32_t, f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // quiet NaN
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// E4M3FN: bias 7, no infinity, 0x7f and 0xff are NaN, largest 448 (DeepSeek-V3 README_WEIGHTS.md).
DSR1_HD static inline float f8e4m3_to_f32(uint8_t b) {
  uint32_t sign = static_cast<uint32_t>(b & 0x80u) << 24;
  uint32_t exponent = (b >> 3) & 15u, mantissa = b & 7u;
  if ((b & 0x7fu) == 0x7fu) return __builtin_bit_cast(float, sign | 0x7fc00000u);
  if (exponent == 0) {
    float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
    return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, magnitude) | sign);
  }
  return __builtin_bit_cast(float, sign | ((exponent + 120) << 23) | (mantissa << 20));
}

// Loads from any address: file data need not be aligned.
template <class T>
DSR1_HD static inline T load_unaligned(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof(T));
  return v;
}

}  // namespace dsr1
