// Float weights times float activations. An output element is the sum, in order, of its segments of 1024 elements; in a
// segment, lane l of sixteen is a chain of fused multiply-adds over k = l, l + 16, ..., and the lanes are added by
// halves (docs/numerics.md). Few columns: the lanes are those of the registers. Many: rows lie across the registers,
// and one lane's chain after the other is walked, in the order in which the halves are added.
//
// Activations, kFloat: at most kFewFloat columns lie row by row; more lie in groups like the int8 ones, a group of
// width c as rows of c floats in the walking order.

constexpr int64_t kSegment = 1024;
constexpr int64_t kFewFloat = kLanes == 16 ? 8 : 4;

// Sixteen lanes in as many registers as that takes.
constexpr int kParts = 16 / kLanes;
struct Lanes16 {
  F part[kParts];
};
DSR1_INLINE float sum_lanes(const Lanes16& v) { return sum_sixteen(v.part); }
// total[i] += sum_lanes(v[i])
template <int kCount>
DSR1_INLINE void add_lanes(const Lanes16* v, float* total) {
  DSR1_UNROLL
  for (int i = 0; i + 4 <= kCount; i += 4) {
    float sum[4];
    sum_sixteen_of_four(v[i].part, v[i + 1].part, v[i + 2].part, v[i + 3].part, sum);
    DSR1_UNROLL
    for (int j = 0; j < 4; ++j) total[i + j] += sum[j];
  }
  DSR1_UNROLL
  for (int i = kCount / 4 * 4; i < kCount; ++i) total[i] += sum_lanes(v[i]);
}

// kLanes elements beginning at element k of a row.
template <class T>
DSR1_INLINE F load_weights(const uint8_t* row, int64_t k);
template <>
F load_weights<quant::F32>(const uint8_t* row, int64_t k) {
  return load_f(reinterpret_cast<const float*>(row + 4 * k));
}
template <>
F load_weights<quant::F16>(const uint8_t* row, int64_t k) {
  return load_f16(row + 2 * k);
}
template <>
F load_weights<quant::BF16>(const uint8_t* row, int64_t k) {
  return load_bf16(row + 2 * k);
}
template <>
F load_weights<quant::F8_E4M3>(const uint8_t* row, int64_t k) {
  return mul(load_f8(row + k), set_f(256.0f));
}

template <class T>
DSR1_INLINE float one_weight(const uint8_t* row, int64_t k) {
  float v;
  T::decode(reinterpret_cast<const typename T::Block*>(row) + k, &v);
  return v;
}

// Multipliers of row r of an F8 matrix, one for each 128 columns; null for other types.
DSR1_INLINE const uint8_t* scale_row(const Matrix& w, int64_t r) {
  return w.scale_inv ? static_cast<const uint8_t*>(w.scale_inv) + 4 * (r / 128) * ((w.cols + 127) / 128) : nullptr;
}
template <class T>
constexpr bool kScaled = T::kGgufId == quant::F8_E4M3::kGgufId;
DSR1_INLINE float scale_at(const uint8_t* scales, int64_t k) {
  float s = 1.0f;
  if (scales == nullptr) return s;
  __builtin_memcpy(&s, scales + 4 * (k / 128), 4);
  return s;
}

// ---- few columns ----

// What comes next in memory, fetched into L2 a little with each load. The rows in work are streams of their own.
struct FloatStream {
  const uint8_t* at;
  template <int kBytes>
  DSR1_MEMBER void fetch() {
    DSR1_UNROLL
    for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(at + i, 0, 2);
    at += kBytes;
  }
};

template <class T, int kR, int kN>
static void few_float(const uint8_t* p, int64_t stride, const uint8_t* const* scales, int64_t k, const float* x,
                      int64_t ldx, float* y, int64_t ldy, FloatStream stream) {
  constexpr int kStep = 16 * kR * static_cast<int>(sizeof(typename T::Block));  // bytes of 16 elements of the rows
  float total[kR * kN] = {};
  for (int64_t k0 = 0; k0 < k; k0 += kSegment) {
    const int64_t end = k - k0 < kSegment ? k : k0 + kSegment;
    Lanes16 acc[kR][kN];
    DSR1_UNROLL
    for (int r = 0; r < kR; ++r) DSR1_UNROLL
    for (int c = 0; c < kN; ++c) DSR1_UNROLL
    for (int j = 0; j < kParts; ++j) acc[r][c].part[j] = zero_f();
    int64_t i = k0;
    for (; i + 16 <= end; i += 16) {
      stream.fetch<kStep>();
      DSR1_UNROLL
      for (int j = 0; j < kParts; ++j) {
        F v[kN];
        DSR1_UNROLL
        for (int c = 0; c < kN; ++c) v[c] = load_f(x + c * ldx + i + j * kLanes);
        DSR1_UNROLL
        for (int r = 0; r < kR; ++r) {
          F w;  // an F8 weight's power of two does not change how its product with the scale is rounded
          if constexpr (kScaled<T>)
            w = mul(load_f8(p + r * stride + i + j * kLanes), set_f(256.0f * scale_at(scales[r], i)));
          else w = load_weights<T>(p + r * stride, i + j * kLanes);
          DSR1_UNROLL
          for (int c = 0; c < kN; ++c) acc[r][c].part[j] = fma(w, v[c], acc[r][c].part[j]);
        }
      }
    }
    if (i < end) {  // fewer than 16 left, at the end of the row
      alignas(64) float w[16] = {}, v[16] = {};
      DSR1_UNROLL
      for (int r = 0; r < kR; ++r) {
        for (int64_t j = i; j < end; ++j) {
          w[j - i] = one_weight<T>(p + r * stride, j);
          if constexpr (kScaled<T>) w[j - i] *= scale_at(scales[r], j);
        }
        DSR1_UNROLL
        for (int c = 0; c < kN; ++c) {
          for (int64_t j = i; j < end; ++j) v[j - i] = x[c * ldx + j];
          DSR1_UNROLL
          for (int j = 0; j < kParts; ++j)
            acc[r][c].part[j] = fma(load_f(w + j * kLanes), load_f(v + j * kLanes), acc[r][c].part[j]);
        }
      }
    }
    add_lanes<kR * kN>(acc[0], total);
  }
  DSR1_UNROLL
  for (int r = 0; r < kR; ++r) DSR1_UNROLL
  for (int c = 0; c < kN; ++c) y[c * ldy + r] = total[r * kN + c];
}

// `ahead`: what to fetch meanwhile, as many bytes as the rows have; null: the rows after those in work.
template <class T, int kN>
static void few_float_rows(const Matrix& w, int64_t row_begin, int64_t row_end, const float* x, float* y, int64_t ldy,
                           const uint8_t* ahead = nullptr) {
  // rows at a time: kR * kN * kParts accumulators in the registers there are
  constexpr int kR = kLanes == 16 ? (kN <= 4 ? 4 : 2) : kN * kParts <= 2 ? 4 : kN * kParts <= 4 ? 2 : 1;
  const auto* data = static_cast<const uint8_t*>(w.data);
  int64_t r = row_begin;
  for (; r + kR <= row_end; r += kR) {
    const uint8_t* p = data + r * w.row_bytes;
    const uint8_t* scales[kR];
    for (int i = 0; i < kR; ++i) scales[i] = scale_row(w, r + i);
    // the rows after these lie next in memory
    const uint8_t* after = p + kR * w.row_bytes;
    if (r + 2 * kR > row_end && w.next != nullptr) after = static_cast<const uint8_t*>(w.next);
    if (ahead != nullptr) after = ahead + (r - row_begin) * w.row_bytes;
    few_float<T, kR, kN>(p, w.row_bytes, scales, w.cols, x, w.cols, y + r, ldy, FloatStream{after});
  }
  for (; r < row_end; ++r) {
    const uint8_t* scales = scale_row(w, r);
    few_float<T, 1, kN>(data + r * w.row_bytes, w.row_bytes, &scales, w.cols, x, w.cols, y + r, ldy,
                        FloatStream{data + r * w.row_bytes});
  }
}

// ---- many columns ----

// The order in which lanes are walked: neighbours of a pair one after the other, at every level of the halving.
constexpr int kWalk[16] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};
DSR1_INLINE int64_t chain_length(int64_t n, int lane) { return n > lane ? (n - lane + 15) / 16 : 0; }  // of n elements

static void prepare_float(const float* x, int64_t ldx, const int32_t* index, int64_t k, int64_t n, float* acts,
                          int64_t unit_begin, int64_t unit_end) {
  if (n <= kFewFloat) {
    for (int64_t i = unit_begin; i < unit_end; ++i)
      __builtin_memcpy(acts + i * k, x + (index ? index[i] : i) * ldx, static_cast<size_t>(k) * 4);
    return;
  }
  const ColumnGroups groups(n, kFloatCols);
  const int64_t segments = (k + kSegment - 1) / kSegment;
  for (int64_t u = unit_begin; u < unit_end; ++u) {
    const int64_t g = u / segments, s = u % segments, width = groups.width(g), first = groups.begin(g);
    const int64_t k0 = s * kSegment, len = k - k0 < kSegment ? k - k0 : kSegment;
    for (int64_t c = 0; c < width; ++c) {
      const float* row = x + (index ? index[first + c] : first + c) * ldx + k0;
      float* out = acts + first * k + k0 * width + c;
      for (int lane : kWalk)
        for (int64_t i = lane; i < len; i += 16, out += width) *out = row[i];
    }
  }
}

// E4M3 bytes in the low byte of each lane, as load_f8 but whole.
DSR1_INLINE F f8_lanes(I v) {
  const I low = and_i(v, set_i(0x7f)), sign = shl<8>(and_i(v, set_i(0x80)));
  const F f = mul(half_lo(or_i(shl<7>(low), sign)), set_f(256.0f));
  return select_gt(to_float(low), set_f(126.5f), from_bits(set_i(0x7fc00000)), f);
}

template <class T>
struct FloatChunk;  // load(p, stride, out): 16 bytes of kLanes rows as kElements vectors of floats
template <>
struct FloatChunk<quant::F32> {
  static constexpr int kElements = 4;
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, F* out) {
    I c[4];
    load_chunk(p, stride, c);
    DSR1_UNROLL
    for (int i = 0; i < 4; ++i) out[i] = from_bits(c[i]);
  }
};
template <>
struct FloatChunk<quant::F16> {
  static constexpr int kElements = 8;
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, F* out) {
    I c[4];
    load_chunk(p, stride, c);
    DSR1_UNROLL
    for (int i = 0; i < 4; ++i) {
      out[2 * i] = half_lo(c[i]);
      out[2 * i + 1] = half_hi(c[i]);
    }
  }
};
template <>
struct FloatChunk<quant::BF16> {
  static constexpr int kElements = 8;
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, F* out) {
    I c[4];
    load_chunk(p, stride, c);
    DSR1_UNROLL
    for (int i = 0; i < 4; ++i) {
      out[2 * i] = from_bits(shl<16>(c[i]));
      out[2 * i + 1] = from_bits(and_i(c[i], set_i(static_cast<int32_t>(0xffff0000u))));
    }
  }
};
template <>
struct FloatChunk<quant::F8_E4M3> {
  static constexpr int kElements = 16;
  DSR1_INLINE void load(const uint8_t* p, int64_t stride, F* out) {
    I c[4];
    load_chunk(p, stride, c);
    DSR1_UNROLL
    for (int i = 0; i < 4; ++i) {
      out[4 * i] = f8_lanes(byte_of<0>(c[i]));
      out[4 * i + 1] = f8_lanes(byte_of<1>(c[i]));
      out[4 * i + 2] = f8_lanes(byte_of<2>(c[i]));
      out[4 * i + 3] = f8_lanes(byte_of<3>(c[i]));
    }
  }
};

// Elements [k0, k0 + len) of rows base.. into walking order; rows beyond the matrix repeat its last.
template <class T>
static void pack_float(const Matrix& w, int64_t base, int64_t k0, int64_t len, float* out) {
  constexpr int kE = FloatChunk<T>::kElements;
  const auto* data = static_cast<const uint8_t*>(w.data);
  constexpr int64_t kBytes = sizeof(typename T::Block);
  int64_t start[16];  // panel position of each lane's chain
  int64_t at = 0;
  for (int lane : kWalk) {
    start[lane] = at;
    at += chain_length(len, lane);
  }
  int64_t k = 0;
  if (base + kLanes <= w.rows)
    for (; k + kE <= len; k += kE) {
      F v[kE];
      FloatChunk<T>::load(data + base * w.row_bytes + (k0 + k) * kBytes, w.row_bytes, v);
      if constexpr (kScaled<T>) {
        alignas(64) float s[kLanes];
        DSR1_UNROLL
        for (int i = 0; i < kLanes; ++i) s[i] = scale_at(scale_row(w, base + i), k0 + k);
        DSR1_UNROLL
        for (int i = 0; i < kE; ++i) v[i] = mul(v[i], load_f(s));
      }
      DSR1_UNROLL
      for (int i = 0; i < kE; ++i) store_f(out + kLanes * (start[(k + i) % 16] + (k + i) / 16), v[i]);
    }
  for (; k < len; ++k) DSR1_UNROLL
  for (int i = 0; i < kLanes; ++i) {
    const int64_t r = base + i < w.rows ? base + i : w.rows - 1;
    float v = one_weight<T>(data + r * w.row_bytes, k0 + k);
    if constexpr (kScaled<T>) v *= scale_at(scale_row(w, r), k0 + k);
    out[kLanes * (start[k % 16] + k / 16) + i] = v;
  }
}

// y[c * ldy + lane] += the segment's sum.
template <int kN>
static void float_tile(const float* panel, const float* x, int64_t len, float* y, int64_t ldy, bool first) {
  F stack[4][kN];
  for (int step = 0; step < 16; ++step) {
    F acc[kN];
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) acc[c] = zero_f();
    const int64_t n = chain_length(len, kWalk[step]);
    for (int64_t i = 0; i < n; ++i, panel += kLanes, x += kN) {
      const F w = load_f(panel);
      DSR1_UNROLL
      for (int c = 0; c < kN; ++c) acc[c] = fma(w, set_f(x[c]), acc[c]);
    }
    int level = 0;
    for (; (step >> level) & 1; ++level) DSR1_UNROLL
    for (int c = 0; c < kN; ++c) acc[c] = add(stack[level][c], acc[c]);
    if (level < 4) DSR1_UNROLL
    for (int c = 0; c < kN; ++c) stack[level][c] = acc[c];
    else DSR1_UNROLL
    for (int c = 0; c < kN; ++c) store_f(y + c * ldy, add(first ? zero_f() : load_f(y + c * ldy), acc[c]));
  }
}

using FloatTile = void (*)(const float*, const float*, int64_t, float*, int64_t, bool);

template <int kN = 1>
static FloatTile find_float_tile(int64_t width) {
  if constexpr (kN <= kFloatCols) {
    if (width == kN) return float_tile<kN>;
    return find_float_tile<kN + 1>(width);
  }
  return nullptr;
}

template <class T>
static void many_float(const Matrix& w, int64_t row_begin, int64_t row_end, const float* acts, int64_t n, float* y,
                       int64_t ldy, float* scratch) {
  constexpr int64_t kPanelFloats = kSegment * kLanes;
  const ColumnGroups columns(n, kFloatCols);
  alignas(64) float edge[kLanes * kFloatCols] = {};
  for (int64_t r0 = row_begin; r0 < row_end; r0 += kPanels * kLanes) {
    const int64_t rows = row_end - r0 < kPanels * kLanes ? row_end - r0 : kPanels * kLanes;
    const int64_t panels = (rows + kLanes - 1) / kLanes;
    for (int64_t k0 = 0; k0 < w.cols; k0 += kSegment) {
      const int64_t len = w.cols - k0 < kSegment ? w.cols - k0 : kSegment;
      for (int64_t p = 0; p < panels; ++p) pack_float<T>(w, r0 + p * kLanes, k0, len, scratch + p * kPanelFloats);
      for (int64_t g = 0; g < columns.count; ++g) {
        const int64_t width = columns.width(g), c0 = columns.begin(g);
        const float* x = acts + c0 * w.cols + k0 * width;
        const FloatTile f = find_float_tile(width);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t r = r0 + p * kLanes, count = row_end - r;
          if (count >= kLanes) {
            f(scratch + p * kPanelFloats, x, len, y + c0 * ldy + r, ldy, k0 == 0);
            continue;
          }
          for (int64_t c = 0; k0 != 0 && c < width; ++c)
            for (int64_t i = 0; i < count; ++i) edge[c * kLanes + i] = y[(c0 + c) * ldy + r + i];
          f(scratch + p * kPanelFloats, x, len, edge, kLanes, k0 == 0);
          for (int64_t c = 0; c < width; ++c)
            for (int64_t i = 0; i < count; ++i) y[(c0 + c) * ldy + r + i] = edge[c * kLanes + i];
        }
      }
    }
  }
}

constexpr int64_t kFloatScratch = kPanels * kSegment * kLanes * 4;

template <class T>
static void matmul_float(const Matrix& w, int64_t row_begin, int64_t row_end, const float* acts, int64_t n, float* y,
                         int64_t ldy, float* scratch) {
  if constexpr (kFewFloat == 8) {
    switch (n) {
      case 5: return few_float_rows<T, 5>(w, row_begin, row_end, acts, y, ldy);
      case 6: return few_float_rows<T, 6>(w, row_begin, row_end, acts, y, ldy);
      case 7: return few_float_rows<T, 7>(w, row_begin, row_end, acts, y, ldy);
      case 8: return few_float_rows<T, 8>(w, row_begin, row_end, acts, y, ldy);
      default: break;
    }
  }
  switch (n) {
    case 1: return few_float_rows<T, 1>(w, row_begin, row_end, acts, y, ldy);
    case 2: return few_float_rows<T, 2>(w, row_begin, row_end, acts, y, ldy);
    case 3: return few_float_rows<T, 3>(w, row_begin, row_end, acts, y, ldy);
    case 4: return few_float_rows<T, 4>(w, row_begin, row_end, acts, y, ldy);
    default: return many_float<T>(w, row_begin, row_end, acts, n, y, ldy, scratch);
  }
}
