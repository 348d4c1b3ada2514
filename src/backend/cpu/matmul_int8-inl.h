// Quantized weights times int8 activations. Rows lie across the lanes, so every output element is one chain of fused
// multiply-adds over the groups of 32 in ascending order, whatever the tile (docs/numerics.md).
//
// Activations, kInt8: columns in groups of at most kCols, of nearly equal width; a group of width c holds, for each 32
// elements, a record of 15 rows of c dwords: eight of int8 x 4, scale, scale * sum, -128 * sum, -32 * sum of each half,
// scale * sum of each half.

constexpr int kRecord = 15;
constexpr int kScaleAt = 8, kScaledSumAt = 9, kSum128At = 10, kSum32At = 11, kScaledHalvesAt = 13;

struct ColumnGroups {
  int64_t count, base, larger;  // the first `larger` groups have base + 1 columns
  ColumnGroups(int64_t n, int64_t widest) : count((n + widest - 1) / widest), base(n / count), larger(n % count) {}
  int64_t begin(int64_t g) const { return g * base + (g < larger ? g : larger); }
  int64_t width(int64_t g) const { return base + (g < larger ? 1 : 0); }
};

// ---- activations ----

DSR1_INLINE void quantize_group(const float* x, int32_t* record, int64_t width) {
  constexpr int kVectors = 32 / kLanes;
  const I magnitude = set_i(0x7fffffff);
  F v[kVectors];
  I top = zero_i();
  DSR1_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    v[i] = load_f(x + i * kLanes);
    top = max_i(top, and_i(bits(v[i]), magnitude));
  }
  const int32_t top_bits = reduce_max(top);  // a NaN counts as larger than infinity
  const float amax = __builtin_bit_cast(float, top_bits);
  const bool finite = top_bits < 0x7f800000, usable = finite && amax >= 0x1p-100f;
  const float scale = usable ? amax / 127.0f : finite ? 0.0f : amax;
  int32_t sum[2] = {0, 0};
  alignas(64) int32_t q[8] = {};
  if (usable) {
    const F inverse = set_f(127.0f / amax);
    DSR1_UNROLL
    for (int h = 0; h < 2; ++h) {
      I total = zero_i();
      DSR1_UNROLL
      for (int i = h * kVectors / 2; i < (h + 1) * kVectors / 2; ++i) {
        const I level = to_int(mul(v[i], inverse));
        total = add_i(total, level);
        store_s8(reinterpret_cast<int8_t*>(q) + i * kLanes, level);
      }
      sum[h] = reduce_add(total);
    }
  }
  DSR1_UNROLL
  for (int i = 0; i < 8; ++i) record[i * width] = q[i];
  record[kScaleAt * width] = __builtin_bit_cast(int32_t, scale);
  record[kScaledSumAt * width] = __builtin_bit_cast(int32_t, scale * static_cast<float>(sum[0] + sum[1]));
  record[kSum128At * width] = -128 * (sum[0] + sum[1]);
  record[kSum32At * width] = -32 * sum[0];
  record[(kSum32At + 1) * width] = -32 * sum[1];
  for (int h = 0; h < 2; ++h)
    record[(kScaledHalvesAt + h) * width] = __builtin_bit_cast(int32_t, scale * static_cast<float>(sum[h]));
}

// The same for up to kLanes columns at once, with columns across the lanes where there is one number a column. False,
// and nothing is done, where a value is not finite.
static bool quantize_columns(const float* const* x, int n, int32_t* record, int64_t width) {
  constexpr int kVectors = 32 / kLanes;
  alignas(64) int32_t peaks[kLanes * kLanes] = {};
  const I magnitude = set_i(0x7fffffff);
  for (int c = 0; c < n; ++c) {
    I top = and_i(bits(load_f(x[c])), magnitude);
    DSR1_UNROLL
    for (int i = 1; i < kVectors; ++i) top = max_i(top, and_i(bits(load_f(x[c] + i * kLanes)), magnitude));
    store_i(peaks + c * kLanes, top);
  }
  I top = zero_i();
  DSR1_UNROLL
  for (int i = 0; i < kLanes / 4; ++i) {
    I part[4];
    load_chunk(reinterpret_cast<const uint8_t*>(peaks) + 16 * i, 4 * kLanes, part);
    top = max_i(top, max_i(max_i(part[0], part[1]), max_i(part[2], part[3])));
  }
  if (reduce_max(top) >= 0x7f800000) return false;
  // Not below 2^-100, for all that is larger than the float before it.
  const F amax = from_bits(top), limit = set_f(0x1.fffffep-101f), steps = set_f(127.0f);
  const F scale = select_gt(amax, limit, div(amax, steps), zero_f());
  alignas(64) float inverse[kLanes];
  store_f(inverse, select_gt(amax, limit, div(steps, amax), zero_f()));
  alignas(64) int8_t levels[kLanes * 32] = {};
  for (int c = 0; c < n; ++c) {
    const F factor = set_f(inverse[c]);
    DSR1_UNROLL
    for (int i = 0; i < kVectors; ++i)
      store_s8(levels + 32 * c + i * kLanes, to_int(mul(load_f(x[c] + i * kLanes), factor)));
  }
  const auto put = [&](int row, I v) {
    store_lanes(reinterpret_cast<float*>(record + row * width), from_bits(v), 0, n);
  };
  const I ones = byte_mask(1);
  I sum[2];
  DSR1_UNROLL
  for (int h = 0; h < 2; ++h) {
    I q[4];
    load_chunk(reinterpret_cast<const uint8_t*>(levels) + 16 * h, 32, q);
    sum[h] = zero_i();
    DSR1_UNROLL
    for (int i = 0; i < 4; ++i) {
      sum[h] = dot_u7(sum[h], ones, q[i]);
      put(4 * h + i, q[i]);
    }
    put(kSum32At + h, sub_i(zero_i(), shl<5>(sum[h])));
    put(kScaledHalvesAt + h, bits(mul(scale, to_float(sum[h]))));
  }
  const I all = add_i(sum[0], sum[1]);
  put(kScaleAt, bits(scale));
  put(kScaledSumAt, bits(mul(scale, to_float(all))));
  put(kSum128At, sub_i(zero_i(), shl<7>(all)));
  return true;
}

static void prepare_int8(const float* x, int64_t ldx, const int32_t* index, int64_t k, int64_t n, int32_t* acts,
                         int64_t unit_begin, int64_t unit_end) {
  constexpr int64_t kAlone = 4;  // columns not worth turning round
  const int64_t blocks = k / 32;
  const ColumnGroups groups(n, kCols);
  for (int64_t u = unit_begin; u < unit_end; ++u) {
    const int64_t g = u / blocks, b = u % blocks, width = groups.width(g), first = groups.begin(g);
    int32_t* record = acts + kRecord * (first * blocks + b * width);
    const float* rows[kCols];
    for (int64_t c = 0; c < width; ++c) rows[c] = x + (index ? index[first + c] : first + c) * ldx + 32 * b;
    for (int64_t c = 0; c < width; c += kLanes) {
      const int64_t some = width - c < kLanes ? width - c : kLanes;
      if (some >= kAlone && quantize_columns(rows + c, static_cast<int>(some), record + c, width)) continue;
      for (int64_t i = c; i < c + some; ++i) quantize_group(rows[i], record + i, width);
    }
  }
}

// ---- one group of 32 of kLanes rows, one column ----

DSR1_INLINE I broadcast_i(const int32_t* p) { return set_i(*p); }
DSR1_INLINE F broadcast_f(const int32_t* p) { return set_f(__builtin_bit_cast(float, *p)); }

template <bool kU7>
DSR1_INLINE I dot(I acc, I w, I a) {
  if constexpr (kU7) return dot_u7(acc, w, a);
  else return dot_level8(acc, w, a);
}

// Where the integer sum starts: it takes back what the stored levels are too large.
template <quant::Form kForm, bool kU7, int kShift>
DSR1_INLINE I start(const int32_t* record, int64_t width, int half) {
  if constexpr (kForm == quant::Form::kHalves) return broadcast_i(record + (kSum32At + half) * width);
  else if constexpr (kForm != quant::Form::kPlain) return zero_i();
  else if constexpr (kU7) return sra<kShift>(broadcast_i(record + kSum128At * width));
  else if constexpr (kLevel8Offset) return broadcast_i(record + kSum128At * width);
  else return zero_i();
}

template <quant::Form kForm>
DSR1_INLINE F add_minima(const F* min, const int32_t* record, int64_t width, F acc) {
  if constexpr (kForm == quant::Form::kMin) return fma(min[0], broadcast_f(record + kScaledSumAt * width), acc);
  if constexpr (kForm == quant::Form::kHalvesMin) {
    acc = fma(min[0], broadcast_f(record + kScaledHalvesAt * width), acc);
    acc = fma(min[1], broadcast_f(record + (kScaledHalvesAt + 1) * width), acc);
  }
  return acc;
}

constexpr int scales_of(quant::Form f) { return f == quant::Form::kHalves ? 2 : 1; }
constexpr int minima_of(quant::Form f) { return f == quant::Form::kMin ? 1 : f == quant::Form::kHalvesMin ? 2 : 0; }

// ---- few columns: weights straight from the file's blocks ----

// The integer sums of a batch of groups, taking its levels one by one.
template <class T, int kN>
struct Dots {
  static constexpr int kBatch = Source<T>::kBatch, kS = scales_of(T::kForm);
  const int32_t* record;
  I sum[kBatch][kS][kN];
  DSR1_MEMBER void begin(const int32_t* r) {
    record = r;
    DSR1_UNROLL
    for (int i = 0; i < kBatch; ++i) DSR1_UNROLL
    for (int s = 0; s < kS; ++s) DSR1_UNROLL
    for (int c = 0; c < kN; ++c)
      sum[i][s][c] = start<T::kForm, Source<T>::kU7, Source<T>::kShift>(record + kRecord * kN * i + c, kN, s);
  }
  DSR1_MEMBER void put(int i, int j, I w) {
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) {
      I& s = sum[i][kS == 2 ? j / 4 : 0][c];
      s = dot<Source<T>::kU7>(s, w, broadcast_i(record + (kRecord * i + j) * kN + c));
    }
  }
};

// Group i of a batch, finished: its sums enter the chains.
template <class T, int kN, int batch, int i = 0>
DSR1_INLINE void add_groups(const typename Source<T>::Head& h, const Dots<T, kN>& dots, F* acc) {
  constexpr int kBatch = Source<T>::kBatch, kS = scales_of(T::kForm), kM = minima_of(T::kForm);
  constexpr int g = kBatch * batch + i;
  const int32_t* record = dots.record + kRecord * kN * i;
  const F scale = h.template scale<kS * g>();
  if constexpr (kS == 2) {
    const F scale1 = h.template scale<2 * g + 1>();
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c)
      acc[c] = fma(fma(to_float(dots.sum[i][1][c]), scale1, mul(to_float(dots.sum[i][0][c]), scale)),
                   broadcast_f(record + kScaleAt * kN + c), acc[c]);
  } else {
    F min[2];
    if constexpr (kM >= 1) min[0] = h.template min<kM * g>();
    if constexpr (kM == 2) min[1] = h.template min<kM * g + 1>();
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) {
      const F t = mul(scale, broadcast_f(record + kScaleAt * kN + c));
      acc[c] = add_minima<T::kForm>(min, record + c, kN, fma(to_float(dots.sum[i][0][c]), t, acc[c]));
    }
  }
  if constexpr (i + 1 < kBatch) add_groups<T, kN, batch, i + 1>(h, dots, acc);
}

// One block of kLanes rows and kN columns.
template <class T, int kN, int batch = 0>
DSR1_INLINE void block_dot(const uint8_t* p, int64_t stride, const typename Source<T>::Head& h, const int32_t* record,
                           Stream& stream, F* acc) {
  constexpr int kBatch = Source<T>::kBatch;
  Dots<T, kN> dots;
  dots.begin(record + kRecord * kN * kBatch * batch);
  Source<T>::template levels<batch>(p, stride, h, stream, dots);
  add_groups<T, kN, batch>(h, dots, acc);
  if constexpr (kBatch * (batch + 1) < T::kElements / 32)
    block_dot<T, kN, batch + 1>(p, stride, h, record, stream, acc);
}

struct RowTile {  // kLanes rows beginning at base, of which lanes [first, last) are wanted
  int64_t base;
  int first, last;
  const uint8_t* data;
  Stream stream;
  // Where the chains of one column begin.
  F start(const float* y, bool continues) const {
    if (!continues) return zero_f();
    alignas(64) float lanes[kLanes] = {};  // others write the lanes that are not wanted
    for (int i = first; i < last; ++i) lanes[i] = y[base + i];
    return load_f(lanes);
  }
  RowTile(const Matrix& w, int64_t r, int64_t row_end)
      : base(r + kLanes <= w.rows ? r : w.rows - kLanes),
        first(static_cast<int>(r - base)),
        last(static_cast<int>(row_end - base < kLanes ? row_end - base : kLanes)),
        data(static_cast<const uint8_t*>(w.data) + base * w.row_bytes),
        stream(ahead_of(w, r, row_end), kLanes * w.row_bytes) {}
  // What is read kAheadBytes later, a whole number of tiles: latency is longer than a tile of short rows takes.
  const uint8_t* ahead_of(const Matrix& w, int64_t r, int64_t row_end) const {
    constexpr int64_t kAheadBytes = 12 << 10;
    const int64_t tiles = (kAheadBytes + kLanes * w.row_bytes - 1) / (kLanes * w.row_bytes), then = r + tiles * kLanes;
    if (then < row_end) return data + tiles * kLanes * w.row_bytes;
    const int64_t past = (then - row_end) / kLanes * kLanes;
    return w.next != nullptr ? static_cast<const uint8_t*>(w.next) + past * w.row_bytes : data;
  }
};

template <class T, int kN>
static void few_tile(const RowTile& t, int64_t stride, int64_t blocks, const int32_t* record, Stream stream, float* y,
                     int64_t ldy, bool continues) {
  const uint8_t* p = t.data;
  F acc[kN];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) acc[c] = t.start(y + c * ldy, continues);
  for (int64_t b = 0; b < blocks; ++b) {
    typename Source<T>::Head h;
    fetch_next_block<T>(p, stride);
    Source<T>::head(p, stride, h);
    block_dot<T, kN>(p, stride, h, record, stream, acc);
    p += sizeof(typename T::Block);
    record += kRecord * kN * (T::kElements / 32);
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) store_lanes(y + c * ldy + t.base, acc[c], t.first, t.last);
}

// The widest column group that goes through registers faster than through a panel.
template <class T>
constexpr int64_t kFewWidth = kLanes < 16              ? 2
                              : Source<T>::kBatch <= 2 ? 8
                                                       : 4;

template <class T>
using FewTile = void (*)(const RowTile&, int64_t, int64_t, const int32_t*, Stream, float*, int64_t, bool);

template <class T, int kN = 1>
static FewTile<T> find_few_tile(int64_t width) {
  if constexpr (kN <= kFewWidth<T>) {
    if (width == kN) return few_tile<T, kN>;
    return find_few_tile<T, kN + 1>(width);
  }
  return nullptr;
}

template <class T>
static void few_columns(const Matrix& w, int64_t row_begin, int64_t row_end, const int32_t* acts, int64_t n, float* y,
                        int64_t ldy) {
  const int64_t blocks = w.cols / T::kElements;
  const ColumnGroups columns(n, kCols);
  for (int64_t r = row_begin; r < row_end; r += kLanes) {
    const RowTile t(w, r, row_end);
    for (int64_t g = 0; g < columns.count; ++g) {
      const int64_t c0 = columns.begin(g);
      // A second group finds the rows in the caches.
      find_few_tile<T>(columns.width(g))(t, w.row_bytes, blocks, acts + kRecord * c0 * (w.cols / 32),
                                         g == 0 ? t.stream : Stream(t.data, kLanes * w.row_bytes), y + c0 * ldy, ldy,
                                         w.continues);
    }
  }
}

// ---- many columns: panels of kLanes rows unpacked into scratch, then tiles of kLanes rows x a column group ----

constexpr int64_t kPanels = 4;         // panels packed together: a column group is read once for all of them
constexpr int64_t kChunkGroups = 64;   // groups of 32 along K in a panel
constexpr int64_t kPanelVectors = 11;  // of a group, at most: 8 of levels, 2 scales or 1, 2 minima or fewer

// Levels that Form::kPlain stores as 0..127 become level8, so that one tile serves all plain types.
template <class T>
DSR1_INLINE I panel_level(I v) {
  if constexpr (T::kForm != quant::Form::kPlain || !Source<T>::kU7) return v;
  else if constexpr (kLevel8Offset) return add_b(v, byte_mask(128 - (128 >> Source<T>::kShift)));
  else return sub_b(v, byte_mask(128 >> Source<T>::kShift));
}

template <class T>
struct PanelOut {
  static constexpr int kVector = 4 * kLanes, kGroupBytes = (8 + scales_of(T::kForm) + minima_of(T::kForm)) * kVector;
  char* to;
  DSR1_MEMBER void put(int i, int j, I w) { store_i(to + i * kGroupBytes + j * kVector, panel_level<T>(w)); }
};

template <class T, int g = 0>
DSR1_INLINE void pack_factors(const typename Source<T>::Head& h, char* out) {
  constexpr int kS = scales_of(T::kForm), kM = minima_of(T::kForm), kVector = 4 * kLanes;
  auto* o = reinterpret_cast<float*>(out + 8 * kVector);
  store_f(o, h.template scale<kS * g>());
  if constexpr (kS == 2) store_f(o + kLanes, h.template scale<2 * g + 1>());
  if constexpr (kM >= 1) store_f(o + kS * kLanes, h.template min<kM * g>());
  if constexpr (kM == 2) store_f(o + (kS + 1) * kLanes, h.template min<kM * g + 1>());
  if constexpr (g + 1 < T::kElements / 32) pack_factors<T, g + 1>(h, out + PanelOut<T>::kGroupBytes);
}

template <class T, int batch = 0>
DSR1_INLINE void pack_block(const uint8_t* p, int64_t stride, const typename Source<T>::Head& h, char* out,
                            Stream& stream) {
  PanelOut<T> panel{out};
  Source<T>::template levels<batch>(p, stride, h, stream, panel);
  if constexpr (Source<T>::kBatch * (batch + 1) < T::kElements / 32)
    pack_block<T, batch + 1>(p, stride, h, out + Source<T>::kBatch * PanelOut<T>::kGroupBytes, stream);
}

template <class T>
static void pack_panel(const uint8_t* p, int64_t stride, int64_t blocks, char* out, Stream& stream) {
  constexpr int64_t kGroupBytes = (8 + scales_of(T::kForm) + minima_of(T::kForm)) * 4 * kLanes;
  for (int64_t b = 0; b < blocks; ++b) {
    typename Source<T>::Head h;
    fetch_next_block<T>(p, stride);
    Source<T>::head(p, stride, h);
    pack_factors<T>(h, out);
    pack_block<T>(p, stride, h, out, stream);
    p += sizeof(typename T::Block);
    out += kGroupBytes * (T::kElements / 32);
  }
}

// Columns of a tile that go through a group together. Two sums a column and the chains are more registers than there
// are: such a tile takes its columns in two halves, a group at a time.
template <quant::Form kForm, int kN>
constexpr int kTogether = kForm == quant::Form::kHalves&& kN > 8 ? (kN + 1) / 2 : kN;

// One group of 32, columns [0, kN) of a record of `width`.
template <quant::Form kForm, int kN>
DSR1_INLINE void tile_group(const char* panel, const int32_t* record, int64_t width, F* acc) {
  constexpr int kVector = 4 * kLanes, kS = scales_of(kForm), kM = minima_of(kForm);
  constexpr bool kU7 = kForm != quant::Form::kPlain;
  I s[kN];
  F partial[kN];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) s[c] = start<kForm, kU7, 0>(record + c, width, 0);
  DSR1_UNROLL
  for (int i = 0; i < 4; ++i) {
    const I w = load_i(panel + i * kVector);
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) s[c] = dot<kU7>(s[c], w, broadcast_i(record + i * width + c));
  }
  const F scale = load_f(reinterpret_cast<const float*>(panel + 8 * kVector));
  if constexpr (kForm == quant::Form::kHalves) {
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) {
      partial[c] = mul(to_float(s[c]), scale);
      s[c] = start<kForm, kU7, 0>(record + c, width, 1);
    }
  }
  DSR1_UNROLL
  for (int i = 4; i < 8; ++i) {
    const I w = load_i(panel + i * kVector);
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) s[c] = dot<kU7>(s[c], w, broadcast_i(record + i * width + c));
  }
  if constexpr (kForm == quant::Form::kHalves) {
    const F scale1 = load_f(reinterpret_cast<const float*>(panel + 9 * kVector));
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c)
      acc[c] = fma(fma(to_float(s[c]), scale1, partial[c]), broadcast_f(record + kScaleAt * width + c), acc[c]);
  } else {
    F min[2];
    DSR1_UNROLL
    for (int m = 0; m < kM; ++m) min[m] = load_f(reinterpret_cast<const float*>(panel + (8 + kS + m) * kVector));
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) {
      acc[c] = fma(to_float(s[c]), mul(scale, broadcast_f(record + kScaleAt * width + c)), acc[c]);
      acc[c] = add_minima<kForm>(min, record + c, width, acc[c]);
    }
  }
}

// y[c * ldy + lane] continues over `groups` more groups of 32.
template <quant::Form kForm, int kN>
static void tile(const char* panel, const int32_t* record, int64_t groups, float* y, int64_t ldy, bool first) {
  constexpr int kFirst = kTogether<kForm, kN>, kRest = kN - kFirst;
  F acc[kN];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) acc[c] = first ? zero_f() : load_f(y + c * ldy);
  for (int64_t g = 0; g < groups; ++g) {
    tile_group<kForm, kFirst>(panel, record, kN, acc);
    if constexpr (kRest > 0) tile_group<kForm, kRest>(panel, record + kFirst, kN, acc + kFirst);
    panel += (8 + scales_of(kForm) + minima_of(kForm)) * 4 * kLanes;
    record += kRecord * kN;
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) store_f(y + c * ldy, acc[c]);
}

using Tile = void (*)(const char*, const int32_t*, int64_t, float*, int64_t, bool);

template <quant::Form kForm, int kN = 1>
static Tile find_tile(int64_t width) {
  if constexpr (kN <= kCols) {
    if (width == kN) return tile<kForm, kN>;
    return find_tile<kForm, kN + 1>(width);
  }
  return nullptr;
}

// Some columns: a few groups of 32 at a time through a panel that stays in the L1 cache. Memory is read a little
// between much arithmetic, where many_columns would wait for it while it packs.
constexpr int64_t kNearGroups = 8;
constexpr int64_t kSomeColumns = 32;

template <class T>
static void some_columns(const Matrix& w, int64_t row_begin, int64_t row_end, const int32_t* acts, int64_t n, float* y,
                         int64_t ldy, char* scratch) {
  constexpr int64_t kBlockGroups = T::kElements / 32, kBlocks = kNearGroups / kBlockGroups;
  const int64_t all_blocks = w.cols / T::kElements, all_groups = w.cols / 32;
  const ColumnGroups columns(n, kCols);
  alignas(64) float acc[kLanes * kSomeColumns] = {};
  for (int64_t r = row_begin; r < row_end; r += kLanes) {
    RowTile t(w, r, row_end);
    for (int64_t c = 0; c < n; ++c) store_f(acc + c * kLanes, t.start(y + c * ldy, w.continues));
    for (int64_t b = 0; b < all_blocks; b += kBlocks) {
      const int64_t blocks = all_blocks - b < kBlocks ? all_blocks - b : kBlocks;
      pack_panel<T>(t.data + b * static_cast<int64_t>(sizeof(typename T::Block)), w.row_bytes, blocks, scratch,
                    t.stream);
      for (int64_t g = 0; g < columns.count; ++g) {
        const int64_t width = columns.width(g), c0 = columns.begin(g);
        find_tile<T::kForm>(width)(scratch, acts + kRecord * (c0 * all_groups + width * b * kBlockGroups),
                                   blocks * kBlockGroups, acc + c0 * kLanes, kLanes, false);
      }
    }
    for (int64_t c = 0; c < n; ++c) store_lanes(y + c * ldy + t.base, load_f(acc + c * kLanes), t.first, t.last);
  }
}

template <class T>
static void many_columns(const Matrix& w, int64_t row_begin, int64_t row_end, const int32_t* acts, int64_t n, float* y,
                         int64_t ldy, char* scratch) {
  constexpr int kS = scales_of(T::kForm), kM = minima_of(T::kForm);
  constexpr int64_t kGroupBytes = (8 + kS + kM) * 4 * kLanes, kPanelBytes = kGroupBytes * kChunkGroups;
  constexpr int64_t kBlockGroups = T::kElements / 32;
  const int64_t all_groups = w.cols / 32;
  const auto* data = static_cast<const uint8_t*>(w.data);
  char* copy = scratch + kPanels * kPanelVectors * 4 * kLanes * kChunkGroups;  // of the rows of a matrix of few
  const ColumnGroups columns(n, kCols);
  alignas(64) float edge[kLanes * kCols] = {};
  for (int64_t r0 = row_begin; r0 < row_end; r0 += kPanels * kLanes) {
    const int64_t rows = row_end - r0 < kPanels * kLanes ? row_end - r0 : kPanels * kLanes;
    const int64_t panels = (rows + kLanes - 1) / kLanes;
    for (int64_t k0 = 0; k0 < all_groups; k0 += kChunkGroups) {
      const int64_t groups = all_groups - k0 < kChunkGroups ? all_groups - k0 : kChunkGroups;
      const bool begins = k0 == 0 && !w.continues;
      const int64_t blocks = groups / kBlockGroups,
                    offset = k0 / kBlockGroups * static_cast<int64_t>(sizeof(typename T::Block));
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t r = r0 + p * kLanes;
        if (w.rows >= kLanes) {
          RowTile t(w, r, row_end);
          pack_panel<T>(t.data + offset, w.row_bytes, blocks, scratch + p * kPanelBytes, t.stream);
          continue;
        }
        const int64_t bytes = blocks * static_cast<int64_t>(sizeof(typename T::Block));
        for (int64_t i = 0; i < kLanes; ++i)
          __builtin_memcpy(copy + i * bytes, data + (i < w.rows ? i : 0) * w.row_bytes + offset,
                           static_cast<size_t>(bytes));
        Stream none(copy, kLanes * bytes);
        pack_panel<T>(reinterpret_cast<const uint8_t*>(copy), bytes, blocks, scratch + p * kPanelBytes, none);
      }
      for (int64_t g = 0; g < columns.count; ++g) {
        const int64_t width = columns.width(g), c0 = columns.begin(g);
        const int32_t* record = acts + kRecord * (c0 * all_groups + k0 * width);
        const Tile f = find_tile<T::kForm>(width);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t r = r0 + p * kLanes;
          if (r + kLanes <= row_end) {
            f(scratch + p * kPanelBytes, record, groups, y + c0 * ldy + r, ldy, begins);
            continue;
          }
          // The last rows of the range: the panel may begin before r (end of the matrix), and lanes are left over.
          const int64_t base = w.rows < kLanes || r + kLanes <= w.rows ? r : w.rows - kLanes;
          const int64_t skip = r - base, count = row_end - r;
          for (int64_t c = 0; !begins && c < width; ++c)
            for (int64_t i = 0; i < count; ++i) edge[c * kLanes + skip + i] = y[(c0 + c) * ldy + r + i];
          f(scratch + p * kPanelBytes, record, groups, edge, kLanes, begins);
          for (int64_t c = 0; c < width; ++c)
            for (int64_t i = 0; i < count; ++i) y[(c0 + c) * ldy + r + i] = edge[c * kLanes + skip + i];
        }
      }
    }
  }
}

constexpr int64_t kInt8Scratch = kPanels * kPanelVectors * 4 * kLanes * kChunkGroups + kLanes * kChunkGroups * 36;

template <class T>
static void matmul_int8(const Matrix& w, int64_t row_begin, int64_t row_end, const int32_t* acts, int64_t n, float* y,
                        int64_t ldy, char* scratch) {
  const ColumnGroups columns(n, kCols);
  if (columns.count <= 2 && columns.width(0) <= kFewWidth<T> && w.rows >= kLanes)
    return few_columns<T>(w, row_begin, row_end, acts, n, y, ldy);
  if (n <= kSomeColumns && w.rows >= kLanes) return some_columns<T>(w, row_begin, row_end, acts, n, y, ldy, scratch);
  many_columns<T>(w, row_begin, row_end, acts, n, y, ldy, scratch);
}
