// Weights in blocks of 32 times int8 activations, and what all quantized types share: the ways through columns. Rows
// lie across the lanes, so every output element is one chain of fused multiply-adds over the groups of 32 (or the
// blocks of 256, matmul_block-inl.h) in ascending order, whatever the tile (docs/numerics.md).
//
// Activations, kInt8: columns in groups of at most kCols, of nearly equal width; a group of width c holds, for each 32
// elements, a record of 11 rows of c dwords: eight of int8 x 4, scale, scale * sum, -128 * sum.

constexpr int kRecord = 11;
constexpr int kScaleAt = 8, kScaledSumAt = 9, kSum128At = 10;

template <class T>
constexpr int kRecordOf = kInBlocks<T> ? kBlockRecord : kRecord;
template <class T>
constexpr int kColsOf = kInBlocks<T> ? kBlockCols : kCols;

// ---- activations ----

DSR1_INLINE void quantize_group(const float* x, int32_t* record, int64_t width) {
  const int32_t top = peak_of(x);
  const float amax = __builtin_bit_cast(float, top);
  const bool finite = top < 0x7f800000, usable = finite && amax >= 0x1p-100f;
  const float scale = usable ? amax / 127.0f : finite ? 0.0f : amax;
  int32_t sum[2] = {0, 0};
  if (usable) {
    put_levels_of(x, 127.0f / amax, record, width, sum);
  } else {
    for (int i = 0; i < 8; ++i) record[i * width] = 0;
  }
  record[kScaleAt * width] = __builtin_bit_cast(int32_t, scale);
  record[kScaledSumAt * width] = __builtin_bit_cast(int32_t, scale * static_cast<float>(sum[0] + sum[1]));
  record[kSum128At * width] = -128 * (sum[0] + sum[1]);
}

// The same for n columns of `groups` groups at once, up to kLanes in all: those of the first group in lanes 0 to n - 1,
// those of the second in the next n, and so on. False, and nothing is done, where a value is not finite.
static bool quantize_columns(const float* const* x, int n, int groups, int32_t* record, int64_t width) {
  const float* p[kLanes];
  for (int k = 0; k < groups; ++k)
    for (int c = 0; c < n; ++c) p[k * n + c] = x[c] + 32 * k;
  const I top = peaks_of(p, groups * n);
  if (reduce_max(top) >= 0x7f800000) return false;
  // Not below 2^-100, for all that is larger than the float before it.
  const F amax = from_bits(top), limit = set_f(0x1.fffffep-101f), steps = set_f(127.0f);
  const F scale = select_gt(amax, limit, div(amax, steps), zero_f());
  alignas(64) float inverse[kLanes];
  store_f(inverse, select_gt(amax, limit, div(steps, amax), zero_f()));
  I q[8], sum[2];
  levels_of(p, groups * n, inverse, q, sum);
  const I all = add_i(sum[0], sum[1]);
  for (int k = 0; k < groups; ++k) {
    int32_t* to = record + k * (kRecord * width - n);
    const auto put = [&](int row, I v) {
      store_lanes(reinterpret_cast<float*>(to + row * width), from_bits(v), k * n, (k + 1) * n);
    };
    DSR1_UNROLL
    for (int i = 0; i < 8; ++i) put(i, q[i]);
    put(kScaleAt, bits(scale));
    put(kScaledSumAt, bits(mul(scale, to_float(all))));
    put(kSum128At, sub_i(zero_i(), shl<7>(all)));
  }
  return true;
}

static void prepare_int8(const float* x, int64_t ldx, const int32_t* index, int64_t k, int64_t n, int32_t* acts,
                         int64_t unit_begin, int64_t unit_end) {
  constexpr int64_t kAlone = 3;  // columns not worth turning round
  const int64_t blocks = k / 32;
  const ColumnGroups groups(n, kCols);
  for (int64_t u = unit_begin; u < unit_end;) {
    const int64_t g = u / blocks, b = u % blocks, width = groups.width(g), first = groups.begin(g);
    int64_t together = width < kLanes ? kLanes / width : 1;  // groups of 32
    if (together > blocks - b) together = blocks - b;
    if (together > unit_end - u) together = unit_end - u;
    u += together;
    int32_t* record = acts + kRecord * (first * blocks + b * width);
    const float* rows[kCols];
    for (int64_t c = 0; c < width; ++c) rows[c] = x + (index ? index[first + c] : first + c) * ldx + 32 * b;
    for (int64_t c = 0; c < width; c += kLanes) {
      const int64_t some = width - c < kLanes ? width - c : kLanes;
      if (some >= kAlone &&
          quantize_columns(rows + c, static_cast<int>(some), static_cast<int>(together), record + c, width))
        continue;
      for (int64_t i = 0; i < together; ++i)
        for (int64_t j = c; j < c + some; ++j)
          quantize_group(rows[j] + 32 * i, record + i * kRecord * width + j, width);
    }
  }
}

// ---- one group of 32 of kLanes rows, one column ----

// Where the integer sum starts: it takes back what the stored levels are too large.
template <quant::Form kForm, bool kU7, int kShift>
DSR1_INLINE I start(const int32_t* record, int64_t width) {
  if constexpr (kForm != quant::Form::kPlain) return zero_i();
  else if constexpr (kU7) return sra<kShift>(broadcast_i(record + kSum128At * width));
  else if constexpr (kLevel8Offset) return broadcast_i(record + kSum128At * width);
  else return zero_i();
}

// Dot times scales, and the minimum, enter a chain.
template <quant::Form kForm>
DSR1_INLINE F add_group(I sum, F scale, [[maybe_unused]] F min, const int32_t* record, int64_t width, F acc) {
  acc = fma(to_float(sum), mul(scale, broadcast_f(record + kScaleAt * width)), acc);
  if constexpr (kForm == quant::Form::kMin) acc = fma(min, broadcast_f(record + kScaledSumAt * width), acc);
  return acc;
}

constexpr int minima_of(quant::Form f) { return f == quant::Form::kMin ? 1 : 0; }

// ---- few columns: weights straight from the file's blocks ----

// The integer sums of a group, taking its levels one by one.
template <class T, int kN>
struct Dots {
  const int32_t* record;
  I sum[kN];
  DSR1_MEMBER void begin(const int32_t* r) {
    record = r;
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) sum[c] = start<T::kForm, Source<T>::kU7, Source<T>::kShift>(record + c, kN);
  }
  DSR1_MEMBER void put(int /*group*/, int j, I w) {
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) sum[c] = dot<Source<T>::kU7>(sum[c], w, broadcast_i(record + j * kN + c));
  }
};

template <class T, int kN>
static void few_tile(const RowTile& t, int64_t stride, int64_t blocks, const int32_t* record, Stream stream, float* y,
                     int64_t ldy, bool continues) {
  const uint8_t* p = t.data;
  F acc[kN];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) acc[c] = t.start(y + c * ldy, continues);
  I raw[Source<T>::kRaw];
  if constexpr (kStepsOverlap) Source<T>::template load<0>(p, stride, stream, raw);
  for (int64_t b = 0; b < blocks; ++b) {
    typename Source<T>::Head h;
    Source<T>::head(p, stride, h);
    I then[Source<T>::kRaw];
    if constexpr (kStepsOverlap)
      Source<T>::template load<0>(b + 1 < blocks ? p + sizeof(typename T::Block) : p, stride, stream, then);
    else Source<T>::template load<0>(p, stride, stream, raw);
    Dots<T, kN> dots;
    dots.begin(record);
    Source<T>::template levels_of<0>(raw, h, dots);
    const F scale = h.template scale<0>(), min = minima_of(T::kForm) > 0 ? h.template min<0>() : zero_f();
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) acc[c] = add_group<T::kForm>(dots.sum[c], scale, min, record + c, kN, acc[c]);
    if constexpr (kStepsOverlap) copy_raw<T>(then, raw);
    p += sizeof(typename T::Block);
    record += kRecord * kN;
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) store_lanes(y + c * ldy + t.base, acc[c], t.first, t.last);
}

// Few enough sums a step for eight columns.
template <class T>
constexpr bool kFewSums = !kInBlocks<T> || kBlockForm<T> == BlockForm::kPairs;
// The widest column group that goes through registers faster than through a panel.
template <class T>
constexpr int64_t kFewWidth = kLanes < 16   ? 2
                              : kFewSums<T> ? 8
                                            : 4;

// Groups that do so one after the other: unpacking blocks of 256 again costs more than their panel.
template <class T>
constexpr int64_t kFewGroups = kInBlocks<T> ? 1 : 2;

template <class T>
using FewTile = void (*)(const RowTile&, int64_t, int64_t, const int32_t*, Stream, float*, int64_t, bool);

template <class T, int kN = 1>
static FewTile<T> find_few_tile(int64_t width) {
  if constexpr (kN <= kFewWidth<T>) {
    if constexpr (kInBlocks<T>) {
      if (width == kN) return few_block_tile<T, kN>;
    } else {
      if (width == kN) return few_tile<T, kN>;
    }
    return find_few_tile<T, kN + 1>(width);
  }
  return nullptr;
}

template <class T>
static void few_columns(const Matrix& w, int64_t row_begin, int64_t row_end, const int32_t* acts, int64_t n, float* y,
                        int64_t ldy) {
  const int64_t blocks = w.cols / T::kElements;
  const ColumnGroups columns(n, kColsOf<T>);
  for (int64_t r = row_begin; r < row_end; r += kLanes) {
    const RowTile t(w, r, row_end);
    for (int64_t g = 0; g < columns.count; ++g) {
      const int64_t c0 = columns.begin(g);
      // A second group finds the rows in the caches.
      find_few_tile<T>(columns.width(g))(t, w.row_bytes, blocks, acts + kRecordOf<T> * c0 * (w.cols / 32),
                                         g == 0 ? t.stream : Stream(t.data, kLanes * w.row_bytes), y + c0 * ldy, ldy,
                                         w.continues);
    }
  }
}

// ---- many columns: panels of kLanes rows unpacked into scratch, then tiles of kLanes rows x a column group ----

constexpr int64_t kPanels = 4;         // panels packed together: a column group is read once for all of them
constexpr int64_t kChunkGroups = 64;   // groups of 32 along K in a panel
constexpr int64_t kPanelVectors = 10;  // of a group, at most: 8 of levels, a scale, a minimum

template <class T>
constexpr int64_t kPanelGroupBytes = kInBlocks<T> ? kBlockVectors<T> * 4 * kLanes / 8
                                                  : (9 + minima_of(T::kForm)) * 4 * kLanes;

// Levels that Form::kPlain stores as 0..127 become level8, so that one tile serves all plain types.
template <class T>
DSR1_INLINE I panel_level(I v) {
  if constexpr (T::kForm != quant::Form::kPlain || !Source<T>::kU7) return v;
  else if constexpr (kLevel8Offset) return add_b(v, byte_mask(128 - (128 >> Source<T>::kShift)));
  else return sub_b(v, byte_mask(128 >> Source<T>::kShift));
}

template <class T>
struct PanelOut {
  char* to;
  DSR1_MEMBER void put(int /*group*/, int j, I w) { store_i(to + j * 4 * kLanes, panel_level<T>(w)); }
};

template <class T>
static void pack_panel(const uint8_t* p, int64_t stride, int64_t blocks, char* out, Stream& stream) {
  if constexpr (kInBlocks<T>) {
    pack_blocks<T>(p, stride, blocks, out, stream);
  } else {
    for (int64_t b = 0; b < blocks; ++b) {
      typename Source<T>::Head h;
      Source<T>::head(p, stride, h);
      auto* factors = reinterpret_cast<float*>(out) + 8 * kLanes;
      store_f(factors, h.template scale<0>());
      if constexpr (minima_of(T::kForm) > 0) store_f(factors + kLanes, h.template min<0>());
      I raw[Source<T>::kRaw];
      Source<T>::template load<0>(p, stride, stream, raw);
      PanelOut<T> panel{out};
      Source<T>::template levels_of<0>(raw, h, panel);
      p += sizeof(typename T::Block);
      out += kPanelGroupBytes<T>;
    }
  }
}

// y[c * ldy + lane] continues over `groups` more groups of 32.
template <quant::Form kForm, int kN>
static void tile(const char* panel, const int32_t* record, int64_t groups, float* y, int64_t ldy, bool first) {
  constexpr int kVector = 4 * kLanes, kM = minima_of(kForm);
  constexpr bool kU7 = kForm != quant::Form::kPlain;
  F acc[kN];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) acc[c] = first ? zero_f() : load_f(y + c * ldy);
  for (int64_t g = 0; g < groups; ++g) {
    I s[kN];
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) s[c] = start<kForm, kU7, 0>(record + c, kN);
    DSR1_UNROLL
    for (int i = 0; i < 8; ++i) {
      const I w = load_i(panel + i * kVector);
      DSR1_UNROLL
      for (int c = 0; c < kN; ++c) s[c] = dot<kU7>(s[c], w, broadcast_i(record + i * kN + c));
    }
    const auto* factors = reinterpret_cast<const float*>(panel + 8 * kVector);
    const F scale = load_f(factors), min = kM > 0 ? load_f(factors + kLanes) : zero_f();
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) acc[c] = add_group<kForm>(s[c], scale, min, record + c, kN, acc[c]);
    panel += (9 + kM) * kVector;
    record += kRecord * kN;
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) store_f(y + c * ldy, acc[c]);
}

using Tile = void (*)(const char*, const int32_t*, int64_t, float*, int64_t, bool);

template <class T, int kN = 1>
static Tile find_tile(int64_t width) {
  if constexpr (kN <= kColsOf<T>) {
    if constexpr (kInBlocks<T>) {
      if (width == kN) return block_tile<T, kN>;
    } else {
      if (width == kN) return tile<T::kForm, kN>;
    }
    return find_tile<T, kN + 1>(width);
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
  const ColumnGroups columns(n, kColsOf<T>);
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
        find_tile<T>(width)(scratch, acts + kRecordOf<T> * (c0 * all_groups + width * b * kBlockGroups),
                            blocks * kBlockGroups, acc + c0 * kLanes, kLanes, false);
      }
    }
    for (int64_t c = 0; c < n; ++c) store_lanes(y + c * ldy + t.base, load_f(acc + c * kLanes), t.first, t.last);
  }
}

template <class T>
static void many_columns(const Matrix& w, int64_t row_begin, int64_t row_end, const int32_t* acts, int64_t n, float* y,
                         int64_t ldy, char* scratch) {
  constexpr int64_t kPanelBytes = kPanelGroupBytes<T> * kChunkGroups;
  constexpr int64_t kBlockGroups = T::kElements / 32;
  const int64_t all_groups = w.cols / 32;
  const auto* data = static_cast<const uint8_t*>(w.data);
  char* copy = scratch + kPanels * kPanelVectors * 4 * kLanes * kChunkGroups;  // of the rows of a matrix of few
  const ColumnGroups columns(n, kColsOf<T>);
  alignas(64) float edge[kLanes * kColsOf<T>] = {};
  for (int64_t r0 = row_begin; r0 < row_end; r0 += kPanels * kLanes) {
    const int64_t rows = row_end - r0 < kPanels * kLanes ? row_end - r0 : kPanels * kLanes;
    const int64_t panels = (rows + kLanes - 1) / kLanes;
    for (int64_t k0 = 0; k0 < all_groups; k0 += kChunkGroups) {
      const int64_t groups = all_groups - k0 < kChunkGroups ? all_groups - k0 : kChunkGroups;
      const bool begins = k0 == 0 && !w.continues;
      const int64_t blocks = groups / kBlockGroups, bytes = blocks * static_cast<int64_t>(sizeof(typename T::Block)),
                    offset = k0 / kBlockGroups * static_cast<int64_t>(sizeof(typename T::Block));
      // What is packed after this, fetched into L2 while this is multiplied: a little with each tile.
      const uint8_t* after = k0 + groups < all_groups          ? data + r0 * w.row_bytes + offset + bytes
                             : r0 + kPanels * kLanes < row_end ? data + (r0 + kPanels * kLanes) * w.row_bytes
                                                               : static_cast<const uint8_t*>(w.next);
      const int64_t row_lines = (bytes + 63) / 64, tiles = columns.count * panels;
      int64_t line = after == nullptr ? kPanels * kLanes * row_lines : 0, tiles_done = 0;
      const auto fetch_some = [&] {
        const int64_t until = ++tiles_done * kPanels * kLanes * row_lines / tiles;
        for (; line < until; ++line)
          __builtin_prefetch(after + line / row_lines * w.row_bytes + line % row_lines * 64, 0, 2);
      };
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t r = r0 + p * kLanes;
        if (w.rows >= kLanes) {
          RowTile t(w, r, row_end);
          // Of a part of the columns the next rows do not lie next in memory.
          if (bytes != w.row_bytes) t.stream = Stream(t.data + offset, bytes);
          pack_panel<T>(t.data + offset, w.row_bytes, blocks, scratch + p * kPanelBytes, t.stream);
          continue;
        }
        for (int64_t i = 0; i < kLanes; ++i)
          __builtin_memcpy(copy + i * bytes, data + (i < w.rows ? i : 0) * w.row_bytes + offset,
                           static_cast<size_t>(bytes));
        Stream none(copy, kLanes * bytes);
        pack_panel<T>(reinterpret_cast<const uint8_t*>(copy), bytes, blocks, scratch + p * kPanelBytes, none);
      }
      for (int64_t g = 0; g < columns.count; ++g) {
        const int64_t width = columns.width(g), c0 = columns.begin(g);
        const int32_t* record = acts + kRecordOf<T> * (c0 * all_groups + k0 * width);
        const Tile f = find_tile<T>(width);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t r = r0 + p * kLanes;
          fetch_some();
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
  const ColumnGroups columns(n, kColsOf<T>);
  if (columns.count <= kFewGroups<T> && columns.width(0) <= kFewWidth<T> && w.rows >= kLanes)
    return few_columns<T>(w, row_begin, row_end, acts, n, y, ldy);
  if (n <= kSomeColumns && w.rows >= kLanes) return some_columns<T>(w, row_begin, row_end, acts, n, y, ldy, scratch);
  many_columns<T>(w, row_begin, row_end, acts, n, y, ldy, scratch);
}
