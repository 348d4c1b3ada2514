// The scalar twin: docs/numerics.md as plain loops. Every other level must give these bits; it shares no text with them
// beyond the quant headers, so that a mistake has to be made twice to go unseen.
#include <cmath>
#include <cstring>

#include "backend/cpu/kernels.h"
#include "dsr1/quant/all.h"

namespace dsr1::backend::cpu {
namespace {

using quant::Form;

constexpr int64_t kGroup = quant::kGroup;

struct ActGroup {
  int8_t q[32];
  float scale;
  int32_t sum;
};

struct ActBlock {
  int8_t q[8][32];
  int shift[8];  // a group's scale is 2^-shift of the block's
  float scale;
};

float fma(float a, float b, float c) { return std::fma(a, b, c); }

// Sum of 16 lanes: halves added until one is left.
float sum_lanes(float* lane) {
  for (int w = 8; w > 0; w /= 2)
    for (int i = 0; i < w; ++i) lane[i] += lane[i + w];
  return lane[0];
}

// e^x, about 1 ulp: x = n ln2 + r, |r| <= ln2 / 2, Taylor polynomial of degree 7, times 2^n.
float exp_f32(float x) {
  if (x != x) return x;
  if (x > 88.72283f) return __builtin_inff();
  if (x < -87.33654f) return 0.0f;
  const float z = fma(x, 1.44269504f, 12582912.0f);  // 1.5 * 2^23: the sum's low bits are round(x / ln2)
  const float n = z - 12582912.0f;
  float r = fma(n, -0.693359375f, x);
  r = fma(n, 2.12194440e-4f, r);
  float p = 1.0f / 5040;
  p = fma(p, r, 1.0f / 720);
  p = fma(p, r, 1.0f / 120);
  p = fma(p, r, 1.0f / 24);
  p = fma(p, r, 1.0f / 6);
  p = fma(p, r, 0.5f);
  p = fma(p, r, 1.0f);
  p = fma(p, r, 1.0f);
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, p) + (__builtin_bit_cast(uint32_t, z) << 23));
}

float sigmoid1(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

// ---- activations ----

ActFormat activation_format(uint32_t type) {
  switch (type) {
    case quant::F32::kGgufId:
    case quant::F16::kGgufId:
    case quant::BF16::kGgufId:
    case quant::F8_E4M3::kGgufId: return ActFormat::kFloat;
    case quant::Q2_K::kGgufId:
    case quant::Q3_K::kGgufId:
    case quant::Q4_K::kGgufId:
    case quant::Q5_K::kGgufId:
    case quant::Q6_K::kGgufId:
    case quant::IQ4_XS::kGgufId: return ActFormat::kInt8Blocks;
    default: return ActFormat::kInt8;
  }
}

size_t activation_bytes(ActFormat format, int64_t k, int64_t n) {
  const auto width = static_cast<size_t>(k);
  const size_t row = format == ActFormat::kFloat  ? 4 * width
                     : format == ActFormat::kInt8 ? sizeof(ActGroup) * (width / 32)
                                                  : sizeof(ActBlock) * (width / 256);
  return (row * static_cast<size_t>(n) + 63) / 64 * 64;
}

int64_t activation_units(ActFormat format, int64_t k, int64_t n) {
  return format == ActFormat::kFloat ? n : n * (k / (format == ActFormat::kInt8 ? 32 : 256));
}

// The largest magnitude as bits, so that a NaN counts as larger than infinity.
uint32_t peak(const float* x, int n) {
  uint32_t top = 0;
  for (int i = 0; i < n; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x[i]) & 0x7fffffffu;
    top = bits > top ? bits : top;
  }
  return top;
}

int8_t rounded(float v) { return static_cast<int8_t>((v + 12582912.0f) - 12582912.0f); }

void quantize_block(const float* x, ActBlock& a) {
  const uint32_t top = peak(x, 256);
  const float amax = __builtin_bit_cast(float, top);
  const bool finite = top < 0x7f800000u, usable = finite && amax >= 0x1p-100f;
  a.scale = usable ? amax / 127.0f : finite ? 0.0f : amax;
  for (int g = 0; g < 8; ++g) {
    a.shift[g] = 0;
    const float own = usable ? __builtin_bit_cast(float, peak(x + 32 * g, 32)) : amax;
    while (a.shift[g] < 8 && static_cast<double>(own) * std::ldexp(1.0, a.shift[g] + 1) <= static_cast<double>(amax))
      ++a.shift[g];
    const float inverse = usable ? std::ldexp(127.0f / amax, a.shift[g]) : 0.0f;
    for (int i = 0; i < 32; ++i) a.q[g][i] = usable ? rounded(x[32 * g + i] * inverse) : int8_t{0};
  }
}

void quantize_group(const float* x, ActGroup& a) {
  const uint32_t top = peak(x, 32);
  const float amax = __builtin_bit_cast(float, top);
  const bool usable = amax >= 0x1p-100f && top < 0x7f800000u;
  a.scale = usable ? amax / 127.0f : top < 0x7f800000u ? 0.0f : amax;
  const float inverse = usable ? 127.0f / amax : 0.0f;
  for (int i = 0; i < 32; ++i) a.q[i] = usable ? rounded(x[i] * inverse) : int8_t{0};
  a.sum = 0;
  for (int8_t q : a.q) a.sum += q;
}

void prepare_activations(ActFormat format, const float* x, int64_t ldx, const int32_t* index, int64_t k, int64_t /*n*/,
                         void* acts, int64_t unit_begin, int64_t unit_end) {
  const int64_t units = activation_units(format, k, 1);
  for (int64_t u = unit_begin; u < unit_end; ++u) {
    const int64_t i = u / units, b = u % units;
    const float* row = x + (index ? index[i] : i) * ldx;
    if (format == ActFormat::kFloat) std::memcpy(static_cast<float*>(acts) + i * k, row, static_cast<size_t>(k) * 4);
    else if (format == ActFormat::kInt8) quantize_group(row + kGroup * b, static_cast<ActGroup*>(acts)[u]);
    else quantize_block(row + 256 * b, static_cast<ActBlock*>(acts)[u]);
  }
}

// ---- dot products ----

template <class T>
float dot_int8(const void* weight_row, const ActGroup* a, int64_t k, float acc) {
  const auto* w = static_cast<const typename T::Block*>(weight_row);
  for (int64_t b = 0; b < k / kGroup; ++b, ++a) {
    const typename T::Block& block = w[b * kGroup / T::kElements];
    const int g = static_cast<int>(b % (T::kElements / kGroup));
    int16_t level[32];
    T::levels(block, g, level);
    int32_t dot = 0;
    for (int i = 0; i < 32; ++i) dot += level[i] * a->q[i];
    acc = fma(static_cast<float>(dot), T::scale(block, g) * a->scale, acc);
    if constexpr (T::kForm == Form::kMin) acc = fma(T::min(block, g), a->scale * static_cast<float>(a->sum), acc);
  }
  return acc;
}

// The integers of the types in blocks of 256. kHalves: of 16 elements, else of 32. Scales that are in the levels
// already count as 1. kBits: what a dot loses before it meets its scale.
template <class T>
struct Factors;
template <class T>
struct FactorsK {
  static constexpr bool kHalves = false, kInLevels = false;
  static constexpr int kBits = 2;
  static int scale(const typename T::Block& b, int g, int) { return quant::k_scale(b.sc, g); }
  static int min(const typename T::Block& b, int g, int) { return quant::k_min(b.sc, g); }
};
template <>
struct Factors<quant::Q4_K> : FactorsK<quant::Q4_K> {};
template <>
struct Factors<quant::Q5_K> : FactorsK<quant::Q5_K> {};
template <>
struct Factors<quant::Q6_K> {
  static constexpr bool kHalves = true, kInLevels = false;
  static constexpr int kBits = 2;
  static int scale(const quant::Q6_K::Block& b, int g, int half) { return b.sc[2 * g + half]; }
};
template <>
struct Factors<quant::IQ4_XS> {
  static constexpr bool kHalves = false, kInLevels = false;
  static constexpr int kBits = 4;
  static int scale(const quant::IQ4_XS::Block& b, int g, int) { return quant::IQ4_XS::int_scale(b, g); }
};
template <>
struct Factors<quant::Q2_K> {
  static constexpr bool kHalves = true, kInLevels = true;
  static constexpr int kBits = 0;
  static int min(const quant::Q2_K::Block& b, int g, int half) { return b.sc[2 * g + half] >> 4; }
};
template <>
struct Factors<quant::Q3_K> {
  static constexpr bool kHalves = false, kInLevels = true;
  static constexpr int kBits = 0;
};

template <class T>
float dot_blocks(const void* weight_row, const ActBlock* a, int64_t k, float acc) {
  using Int = Factors<T>;
  const auto* w = static_cast<const typename T::Block*>(weight_row);
  constexpr int n_parts = Int::kHalves ? 2 : 1;
  constexpr bool has_min = T::kForm == Form::kMin || T::kForm == Form::kHalvesMin;
  for (int64_t b = 0; b < k / 256; ++b) {
    int32_t dots = 0, minima = 0;
    for (int g = 0; g < 8; ++g) {
      int16_t level[32];
      T::levels(w[b], g, level);
      const int s = a[b].shift[g];
      for (int part = 0; part < n_parts; ++part) {
        int32_t dot = 0, sum = 0;
        for (int i = 32 / n_parts * part; i < 32 / n_parts * (part + 1); ++i) {
          dot += level[i] * a[b].q[g][i];
          sum += a[b].q[g][i];
        }
        if constexpr (Int::kInLevels) {
          dots += dot * (256 >> s);
        } else {
          const int bits = Int::kBits + s;
          dots += Int::scale(w[b], g, part) * ((dot + (1 << (bits - 1))) >> bits);
        }
        if constexpr (has_min)
          minima += Int::min(w[b], g, part) *
                    static_cast<int32_t>(std::nearbyint(std::ldexp(static_cast<float>(sum), 3 - s)));
      }
    }
    const float unit = Int::kInLevels ? 1.0f / 256 : static_cast<float>(1 << Int::kBits);
    float value = static_cast<float>(dots) * (f16_to_f32(w[b].d) * unit);
    if constexpr (has_min)
      value = fma(static_cast<float>(dots), f16_to_f32(w[b].d) * unit,
                  static_cast<float>(minima) * (-f16_to_f32(w[b].dmin) * 0.125f));
    acc = fma(value, a[b].scale, acc);
  }
  return acc;
}

template <class T>
float dot_quantized(const void* weight_row, const void* acts, int64_t column, int64_t k, float acc) {
  if constexpr (T::kElements == 256)
    return dot_blocks<T>(weight_row, static_cast<const ActBlock*>(acts) + column * (k / 256), k, acc);
  else return dot_int8<T>(weight_row, static_cast<const ActGroup*>(acts) + column * (k / kGroup), k, acc);
}

// Element k of a float row; F8 takes its block's multiplier.
template <class T>
float dot_float(const void* weight_row, const void* scales, const float* x, int64_t k) {
  const auto* w = static_cast<const typename T::Block*>(weight_row);
  float total = 0;
  for (int64_t segment = 0; segment < k; segment += 1024) {
    float lane[16] = {};
    for (int64_t i = segment; i < k && i < segment + 1024; ++i) {
      float v;
      T::decode(w + i, &v);
      if (scales) v *= load_unaligned<float>(static_cast<const char*>(scales) + 4 * (i / 128));
      lane[i % 16] = fma(v, x[i], lane[i % 16]);
    }
    total += sum_lanes(lane);
  }
  return total;
}

const void* scale_row(const Matrix& w, int64_t row) {
  return w.scale_inv ? static_cast<const char*>(w.scale_inv) + 4 * (row / 128) * ((w.cols + 127) / 128) : nullptr;
}

size_t matmul_scratch_bytes() { return 64; }

void matmul(const Matrix& w, int64_t row_begin, int64_t row_end, const void* acts, int64_t n, float* y, int64_t ldy,
            void* /*scratch*/) {
  for (int64_t r = row_begin; r < row_end; ++r) {
    const char* row = static_cast<const char*>(w.data) + r * w.row_bytes;
    for (int64_t c = 0; c < n; ++c) {
      const float* xf = static_cast<const float*>(acts) + c * w.cols;
      float& out = y[c * ldy + r];
      switch (w.type) {
#define DSR1_FLOAT_TYPE(T)                                       \
  case quant::T::kGgufId:                                        \
    out = dot_float<quant::T>(row, scale_row(w, r), xf, w.cols); \
    break;
#define DSR1_QUANT_TYPE(T)                                                         \
  case quant::T::kGgufId:                                                          \
    out = dot_quantized<quant::T>(row, acts, c, w.cols, w.continues ? out : 0.0f); \
    break;
#include "dsr1/quant/all.inc"
        default: break;
      }
    }
  }
}

template <class T>
void decode_row(const void* data, int64_t n, float* y) {
  const auto* b = static_cast<const typename T::Block*>(data);
  for (int64_t i = 0; i < n / T::kElements; ++i) T::decode(b + i, y + i * T::kElements);
}

void load_row(uint32_t type, const void* row, int64_t n, float* y) {
  switch (type) {
#define DSR1_FLOAT_TYPE(T)           \
  case quant::T::kGgufId:            \
    decode_row<quant::T>(row, n, y); \
    break;
#define DSR1_QUANT_TYPE(T) DSR1_FLOAT_TYPE(T)
#include "dsr1/quant/all.inc"
    default: break;
  }
}

void dequantize_row(const Matrix& w, int64_t row, float* y) {
  load_row(w.type, static_cast<const char*>(w.data) + row * w.row_bytes, w.cols, y);
  if (const void* s = scale_row(w, row))
    for (int64_t i = 0; i < w.cols; ++i) y[i] *= load_unaligned<float>(static_cast<const char*>(s) + 4 * (i / 128));
}

// ---- rows ----

void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* y) {
  float lane[16] = {};
  for (int64_t i = 0; i < n; ++i) lane[i % 16] = fma(x[i], x[i], lane[i % 16]);
  const float inverse = 1.0f / std::sqrt(sum_lanes(lane) / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; ++i) y[i] = weight ? x[i] * inverse * weight[i] : x[i] * inverse;
}

void add(const float* a, const float* b, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

void scale_add(const float* x, float s, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = fma(s, x[i], y[i]);
}

void swiglu(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
}

void sigmoid(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = sigmoid1(x[i]);
}

// e^(x - max) to y; returns the sum.
float exp_sum(const float* x, int64_t n, float max, float* y) {
  float lane[16] = {};
  for (int64_t i = 0; i < n; ++i) {
    y[i] = exp_f32(x[i] - max);
    lane[i % 16] += y[i];
  }
  return sum_lanes(lane);
}

float max_of(const float* x, int64_t n) {
  float m = -__builtin_inff();
  for (int64_t i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

void softmax(const float* x, int64_t n, float* y) {
  const float r = 1.0f / exp_sum(x, n, max_of(x, n), y);
  for (int64_t i = 0; i < n; ++i) y[i] *= r;
}

void rotate(float& a, float& b, float c, float s) {
  const float a0 = a, b0 = b;
  a = fma(a0, c, -(b0 * s));
  b = fma(a0, s, b0 * c);
}

void rope_norm(float* x, const float* cos, const float* sin, int64_t n_pairs) {
  for (int64_t i = 0; i < n_pairs; ++i) rotate(x[2 * i], x[2 * i + 1], cos[i], sin[i]);
}

void rope_neox(float* x, const float* cos, const float* sin, int64_t n_pairs) {
  for (int64_t i = 0; i < n_pairs; ++i) rotate(x[i], x[i + n_pairs], cos[i], sin[i]);
}

// ---- KV cache rows ----

// As the file type, but the levels are rounded against the scale as stored, to nearest even.
void store_q8_0(const float* x, quant::Q8_0::Block& b) {
  float amax = 0;
  for (int i = 0; i < 32; ++i) amax = std::fabs(x[i]) > amax ? std::fabs(x[i]) : amax;
  b.d = f32_to_f16(amax / 127.0f);
  const float d = f16_to_f32(b.d), inverse = d > 0 ? 1.0f / d : 0.0f;
  for (int i = 0; i < 32; ++i) {
    float v = x[i] * inverse;
    v = v > -127.0f ? v : -127.0f;
    v = v < 127.0f ? v : 127.0f;
    b.qs[i] = static_cast<int8_t>((v + 12582912.0f) - 12582912.0f);
  }
}

void store_row(uint32_t type, const float* x, int64_t n, void* row) {
  if (type == quant::F32::kGgufId) {
    std::memcpy(row, x, static_cast<size_t>(n) * 4);
  } else if (type == quant::F16::kGgufId) {
    for (int64_t i = 0; i < n; ++i) {
      const uint16_t h = f32_to_f16(x[i]);
      std::memcpy(static_cast<char*>(row) + 2 * i, &h, 2);
    }
  } else {
    for (int64_t i = 0; i < n / 32; ++i) store_q8_0(x + 32 * i, static_cast<quant::Q8_0::Block*>(row)[i]);
  }
}

// ---- attention ----

constexpr int64_t kPartialHead = 16;  // max, sum and padding before the accumulators

size_t attention_scratch_bytes(int64_t k_dim, int64_t v_dim) {
  return static_cast<size_t>(2 * kAttentionSegment + 2 * k_dim + 2 * v_dim + kPartialHead) * 4 + 64;
}

int64_t attention_partial_floats(int64_t v_dim) { return kPartialHead + v_dim; }

// One query over one segment: scores, weights, weighted sum of V in key order.
void segment_row(const Attention& a, const float* q, int64_t n_keys, int64_t segment, float* partial, float* scratch) {
  float* score = scratch;
  float* row = score + kAttentionSegment;
  ActGroup* xq = reinterpret_cast<ActGroup*>(row + (a.v_dim > a.k_dim ? a.v_dim : a.k_dim));
  const int64_t begin = segment * kAttentionSegment;
  const int64_t end = n_keys < begin + kAttentionSegment ? n_keys : begin + kAttentionSegment;
  partial[0] = -__builtin_inff();
  std::memset(partial + 1, 0, static_cast<size_t>(kPartialHead - 1 + a.v_dim) * 4);
  if (end <= begin) return;
  if (a.type == quant::Q8_0::kGgufId)
    for (int64_t b = 0; b < a.k_dim / kGroup; ++b) quantize_group(q + kGroup * b, xq[b]);
  for (int64_t j = begin; j < end; ++j) {
    const char* k = static_cast<const char*>(a.k) + j * a.k_row_bytes;
    float dot;
    if (a.type == quant::F32::kGgufId) dot = dot_float<quant::F32>(k, nullptr, q, a.k_dim);
    else if (a.type == quant::F16::kGgufId) dot = dot_float<quant::F16>(k, nullptr, q, a.k_dim);
    else dot = dot_int8<quant::Q8_0>(k, xq, a.k_dim, 0.0f);
    score[j - begin] = dot * a.scale;
  }
  partial[0] = max_of(score, end - begin);
  partial[1] = exp_sum(score, end - begin, partial[0], score);
  for (int64_t j = begin; j < end; ++j) {
    load_row(a.type, static_cast<const char*>(a.v) + j * a.v_row_bytes, a.v_dim, row);
    for (int64_t i = 0; i < a.v_dim; ++i)
      partial[kPartialHead + i] = fma(score[j - begin], row[i], partial[kPartialHead + i]);
  }
}

void attention_segment(const Attention& a, int64_t segment, float* partial, void* scratch) {
  for (int64_t t = 0; t < a.n_tokens; ++t)
    for (int64_t h = 0; h < a.n_heads; ++h)
      segment_row(a, a.q + t * a.q_token_stride + h * a.q_head_stride, a.pos0 + t + 1, segment,
                  partial + (t * a.n_heads + h) * (kPartialHead + a.v_dim), static_cast<float*>(scratch));
}

// Running result (max, sum, out) takes in one partial.
void merge(const float* partial, int64_t v_dim, float& max, float& sum, float* out) {
  if (partial[0] == -__builtin_inff()) return;
  const float m = partial[0] > max ? partial[0] : max;
  const float old = exp_f32(max - m), now = exp_f32(partial[0] - m);
  max = m;
  sum = fma(sum, old, partial[1] * now);
  for (int64_t i = 0; i < v_dim; ++i) out[i] = fma(out[i], old, partial[kPartialHead + i] * now);
}

void attention_combine(const float* partials, int64_t stride, int64_t n, int64_t v_dim, float* out) {
  float max = -__builtin_inff(), sum = 0;
  std::memset(out, 0, static_cast<size_t>(v_dim) * 4);
  for (int64_t s = 0; s < n; ++s) merge(partials + s * stride, v_dim, max, sum, out);
  const float r = 1.0f / sum;
  for (int64_t i = 0; i < v_dim; ++i) out[i] *= r;
}

void attention(const Attention& a, float* out, int64_t out_token_stride, int64_t out_head_stride, void* scratch) {
  float* partial = static_cast<float*>(scratch);
  for (int64_t t = 0; t < a.n_tokens; ++t)
    for (int64_t h = 0; h < a.n_heads; ++h) {
      float* o = out + t * out_token_stride + h * out_head_stride;
      float max = -__builtin_inff(), sum = 0;
      std::memset(o, 0, static_cast<size_t>(a.v_dim) * 4);
      const int64_t n_keys = a.pos0 + t + 1;
      for (int64_t s = 0; s * kAttentionSegment < n_keys; ++s) {
        segment_row(a, a.q + t * a.q_token_stride + h * a.q_head_stride, n_keys, s, partial,
                    partial + kPartialHead + a.v_dim);
        merge(partial, a.v_dim, max, sum, o);
      }
      const float r = 1.0f / sum;
      for (int64_t i = 0; i < a.v_dim; ++i) o[i] *= r;
    }
}

constexpr CpuKernels kTable = {Isa::kScalar,
                               "scalar",
                               activation_format,
                               activation_bytes,
                               activation_units,
                               prepare_activations,
                               matmul_scratch_bytes,
                               matmul,
                               dequantize_row,
                               rms_norm,
                               add,
                               scale_add,
                               swiglu,
                               softmax,
                               sigmoid,
                               rope_norm,
                               rope_neox,
                               store_row,
                               load_row,
                               attention_scratch_bytes,
                               attention,
                               attention_partial_floats,
                               attention_segment,
                               attention_combine};

}  // namespace

extern "C" const CpuKernels* dsr1_cpu_kernels_scalar() { return &kTable; }

}  // namespace dsr1::backend::cpu
