// Weights in blocks of 256 (the K types, IQ4_XS) times int8 activations in blocks of 256: integers over a block, one
// float step a block (docs/numerics.md). Multiplications other than the dot products of bytes are what bounds these
// kernels (docs/cpu-performance.md section 8): a block of 16 rows and one column takes 64 of those and 2 to 12 others.
//
// Activations, kInt8Blocks: columns in groups of at most kBlockCols, of nearly equal width; a group of width c holds,
// for each 32 elements, a record of kBlockRecord rows of c dwords. s is the group's shift: its scale is 2^-s of the
// block's.

constexpr int kBlockCols = kLanes == 16 ? 8 : kCols;
enum BlockRow {
  kRight = 8,        // 2 + s (rows 0 to 7: int8 x 4)
  kLeft = 9,         // 14 - s
  kHalfStep = 10,    // 2^(1 + s)
  kGroupSums = 11,   // group 2i: sums of groups 2i and 2i + 1 times 2^(3 - s), rounded, 16 bits each
  kBlockScale = 11,  // group 1: the block's scale
  kOffset32 = 12,    // -32 * sum + 2^(1 + s) of each half
  kFold = 14,        // 8 - s
  kOffset128 = 15,   // -128 * sum
  kHalfSums = 16,    // as kGroupSums, of both halves
  kRight4 = 17,      // 4 + s
  kLeft4 = 18,       // 12 - s
  kStart4 = 19,      // -128 * sum (0 where levels are stored without an offset) + 2^(3 + s)
  kBlockRecord = 20
};
constexpr int kFinest = 8;  // the largest s: levels finer than 1/256 of the block's serve nobody

template <class T>
constexpr bool kInBlocks = T::kElements == 256;

// How the scales of a block's groups enter.
enum class BlockForm {
  kFolded,  // in the levels: Q2_K, Q3_K
  kPairs,   // one a group, those of two groups in a dword
  kHalves,  // two a group, in a dword: Q6_K
};
template <class T>
constexpr BlockForm kBlockForm =
    T::kForm == quant::Form::kHalves                                           ? BlockForm::kHalves
    : T::kGgufId == quant::Q2_K::kGgufId || T::kGgufId == quant::Q3_K::kGgufId ? BlockForm::kFolded
                                                                               : BlockForm::kPairs;
// Scales and minima of a block, in dwords.
template <class T>
constexpr int kScalePairs = kBlockForm<T> == BlockForm::kHalves  ? 8
                            : kBlockForm<T> == BlockForm::kPairs ? 4
                                                                 : 0;
template <class T>
constexpr int kMinPairs = T::kForm == quant::Form::kMin         ? 4
                          : T::kForm == quant::Form::kHalvesMin ? 8
                                                                : 0;
// Dots of IQ4_XS lose two bits more than others': its levels are those of a byte.
template <class T>
constexpr bool kByteLevels = T::kGgufId == quant::IQ4_XS::kGgufId;

// ---- activations ----

static void quantize_block(const float* x, int32_t* record, int64_t width) {
  int32_t top[8], peak = 0;
  for (int g = 0; g < 8; ++g) {
    top[g] = peak_of(x + 32 * g);
    peak = top[g] > peak ? top[g] : peak;
  }
  const float amax = __builtin_bit_cast(float, peak);
  const bool finite = peak < 0x7f800000, usable = finite && amax >= 0x1p-100f;
  const float scale = usable ? amax / 127.0f : finite ? 0.0f : amax;
  const auto put_word = [](int32_t lo, int32_t hi) {
    return static_cast<int32_t>((static_cast<uint32_t>(lo) & 0xffffu) | static_cast<uint32_t>(hi) << 16);
  };
  const auto power = [](int32_t e) { return __builtin_bit_cast(float, (127 + e) << 23); };
  // Nearest even, as to_int rounds.
  const auto scaled = [&](int32_t sum, int32_t s) {
    return static_cast<int32_t>((static_cast<float>(sum) * power(3 - s) + 0x1.8p23f) - 0x1.8p23f);
  };
  int32_t before = 0;
  for (int g = 0; g < 8; ++g) {
    int32_t* r = record + kBlockRecord * width * g;
    int32_t s = 0, sum[2] = {0, 0};
    if (usable) {
      s = (peak - top[g]) >> 23;
      if (s > kFinest) s = kFinest;
      put_levels_of(x + 32 * g, 127.0f / amax * power(s), r, width, sum);
    } else {
      for (int i = 0; i < 8; ++i) r[i * width] = 0;
    }
    r[kRight * width] = 2 + s;
    r[kLeft * width] = 14 - s;
    r[kFold * width] = 8 - s;
    r[kHalfStep * width] = 2 << s;
    r[kOffset128 * width] = -128 * (sum[0] + sum[1]);
    for (int h = 0; h < 2; ++h) r[(kOffset32 + h) * width] = -32 * sum[h] + (2 << s);
    r[kHalfSums * width] = put_word(scaled(sum[0], s), scaled(sum[1], s));
    r[kRight4 * width] = 4 + s;
    r[kLeft4 * width] = 12 - s;
    r[kStart4 * width] = (kLevel8Offset ? -128 * (sum[0] + sum[1]) : 0) + (8 << s);
    const int32_t both = scaled(sum[0] + sum[1], s);
    if (g % 2 == 0) before = both;
    else record[(kBlockRecord * (g - 1) + kGroupSums) * width] = put_word(before, both);
  }
  record[(kBlockRecord + kBlockScale) * width] = __builtin_bit_cast(int32_t, scale);
}

// The same for n columns at once, where kAtOnce groups of them fit the lanes, with columns across the lanes where there
// is one number a column: those of group g in lanes 0 to n - 1, those of group g + 1 in the next n, and so on. False,
// and nothing is done, where a value is not finite.
template <int kAtOnce>
static bool quantize_block_columns(const float* const* x, int n, int32_t* record, int64_t width) {
  constexpr int kSteps = 8 / kAtOnce;
  const int lanes = kAtOnce * n;
  const float* p[kSteps][kLanes];
  alignas(64) int32_t top[9 * kLanes] = {}, peak[kLanes];
  for (int i = 0; i < kSteps; ++i) {
    for (int k = 0; k < kAtOnce; ++k)
      for (int c = 0; c < n; ++c) p[i][k * n + c] = x[c] + 32 * (kAtOnce * i + k);
    store_i(top + i * lanes, peaks_of(p[i], lanes));  // its last lanes are written over by the next
  }
  I most = zero_i();
  for (int g = 0; g < 8; ++g) most = max_i(most, load_i(top + g * n));  // lanes from n on are other columns'
  store_i(peak, most);
  for (int l = n; l < lanes; ++l) peak[l] = peak[l - n];
  most = load_i(peak);
  int32_t largest = 0;
  for (int c = 0; c < n; ++c) largest = peak[c] > largest ? peak[c] : largest;
  if (largest >= 0x7f800000) return false;
  // Not below 2^-100, for all that is larger than the float before it.
  const F amax = from_bits(most), limit = set_f(0x1.fffffep-101f), steps = set_f(127.0f);
  const F scale = select_gt(amax, limit, div(amax, steps), zero_f());
  const F inverse = select_gt(amax, limit, div(steps, amax), zero_f());
  const auto pair = [](I lo, I hi) { return or_i(and_i(lo, set_i(0xffff)), shl<16>(hi)); };
  I before = zero_i();
  for (int i = 0; i < kSteps; ++i) {
    int32_t* r[kAtOnce];  // of the group in lanes k * n and on, less those lanes
    for (int k = 0; k < kAtOnce; ++k) r[k] = record + kBlockRecord * width * (kAtOnce * i + k) - k * n;
    const auto put = [&](int row, I v) {
      DSR1_UNROLL
      for (int k = 0; k < kAtOnce; ++k)
        store_lanes(reinterpret_cast<float*>(r[k] + row * width), from_bits(v), k * n, (k + 1) * n);
    };
    const I s = to_int(min(to_float(shr<23>(sub_i(most, load_i(top + i * lanes)))), set_f(kFinest)));
    alignas(64) float factor[kLanes];
    store_f(factor, mul(inverse, from_bits(shl<23>(add_i(s, set_i(127))))));
    I q[8], sum[2];
    levels_of(p[i], lanes, factor, q, sum);
    DSR1_UNROLL
    for (int j = 0; j < 8; ++j) put(j, q[j]);
    const I both = add_i(sum[0], sum[1]), offset = shl<7>(both), half_step = shift_left(set_i(2), s);
    const F unit = from_bits(shl<23>(sub_i(set_i(130), s)));
    const auto scaled = [&](I v) { return to_int(mul(to_float(v), unit)); };
    put(kRight, add_i(s, set_i(2)));
    put(kLeft, sub_i(set_i(14), s));
    put(kHalfStep, half_step);
    DSR1_UNROLL
    for (int h = 0; h < 2; ++h) put(kOffset32 + h, sub_i(half_step, shl<5>(sum[h])));
    put(kFold, sub_i(set_i(8), s));
    put(kOffset128, sub_i(zero_i(), offset));
    put(kHalfSums, pair(scaled(sum[0]), scaled(sum[1])));
    put(kRight4, add_i(s, set_i(4)));
    put(kLeft4, sub_i(set_i(12), s));
    put(kStart4, kLevel8Offset ? sub_i(shl<2>(half_step), offset) : shl<2>(half_step));
    // Sums of two groups: this step's and the one's before, or both of this.
    const I whole = scaled(both);
    const auto put_pair = [&](int group, I v) {
      store_lanes(reinterpret_cast<float*>(record + (kBlockRecord * group + kGroupSums) * width), from_bits(v), 0, n);
    };
    if constexpr (kAtOnce > 1) {
      alignas(64) int32_t sums[2 * kLanes] = {};
      store_i(sums, whole);
      for (int k = 0; k < kAtOnce; k += 2)
        put_pair(kAtOnce * i + k, pair(load_i(sums + k * n), load_i(sums + (k + 1) * n)));
    } else {
      if (i % 2 != 0) put_pair(i - 1, pair(before, whole));
      before = whole;
    }
  }
  store_lanes(reinterpret_cast<float*>(record + (kBlockRecord + kBlockScale) * width), scale, 0, n);
  return true;
}

static void prepare_blocks(const float* x, int64_t ldx, const int32_t* index, int64_t k, int64_t n, int32_t* acts,
                           int64_t unit_begin, int64_t unit_end) {
  constexpr int kAlone = 3;  // columns not worth turning round
  const int64_t blocks = k / 256;
  const ColumnGroups groups(n, kBlockCols);
  for (int64_t u = unit_begin; u < unit_end; ++u) {
    const int64_t g = u / blocks, b = u % blocks, width = groups.width(g), first = groups.begin(g);
    int32_t* record = acts + 8 * kBlockRecord * (first * blocks + b * width);
    const float* rows[kBlockCols];
    for (int64_t c = 0; c < width; ++c) rows[c] = x + (index ? index[first + c] : first + c) * ldx + 256 * b;
    for (int64_t c = 0; c < width; c += kLanes) {
      const int some = static_cast<int>(width - c < kLanes ? width - c : kLanes);
      const auto quantize = 4 * some <= kLanes   ? quantize_block_columns<4>
                            : 2 * some <= kLanes ? quantize_block_columns<2>
                                                 : quantize_block_columns<1>;
      if (some >= kAlone && quantize(rows + c, some, record + c, width)) continue;
      for (int64_t i = c; i < c + some; ++i) quantize_block(rows[i], record + i, width);
    }
  }
}

// ---- sums of a group and of a block ----

// Where the dot of a group, or of its half, starts: the half of what it is rounded to, less what the stored levels are
// too large.
template <class T>
DSR1_INLINE I block_start(const int32_t* record, int64_t width, int half) {
  constexpr bool kOffset = !Source<T>::kU7 && kLevel8Offset;
  if constexpr (kBlockForm<T> == BlockForm::kHalves) return broadcast_i(record + (kOffset32 + half) * width);
  else if constexpr (kByteLevels<T>) return broadcast_i(record + kStart4 * width);
  else if constexpr (kBlockForm<T> == BlockForm::kPairs) return broadcast_i(record + kHalfStep * width);
  else if constexpr (kOffset) return broadcast_i(record + kOffset128 * width);
  else return zero_i();
}

// Two dots, rounded to their scale, as 16 bits each. The second may be of the next group.
template <class T>
DSR1_INLINE I pair_of(I dot0, I dot1, const int32_t* record0, const int32_t* record1, int64_t width) {
  return low_and_high(shift_right(dot0, broadcast_i(record0 + (kByteLevels<T> ? kRight4 : kRight) * width)),
                      shift_left(dot1, broadcast_i(record1 + (kByteLevels<T> ? kLeft4 : kLeft) * width)));
}

// What a block adds to its chain, before the activations' scale.
template <class T>
DSR1_INLINE F block_value(I sum, [[maybe_unused]] I minima, F d, [[maybe_unused]] F m) {
  if constexpr (kMinPairs<T> != 0) return fma(to_float(sum), d, mul(to_float(minima), m));
  else return mul(to_float(sum), d);
}

// The row of a record that meets minima pair p.
template <class T>
DSR1_INLINE const int32_t* min_sums(const int32_t* record, int64_t width, int p) {
  return kMinPairs<T> == 8 ? record + (kBlockRecord * p + kHalfSums) * width
                           : record + (kBlockRecord * 2 * p + kGroupSums) * width;
}

template <class T>
DSR1_INLINE F min_factor([[maybe_unused]] const typename Source<T>::Head& h) {
  if constexpr (kMinPairs<T> != 0) return h.block_min();
  else return zero_f();
}

// ---- few columns: weights straight from the file's blocks ----

// Groups of a step.
template <class T>
constexpr int kStepGroups = 8 / Source<T>::kSteps;

// Step s: the sums of its groups begin with their first level.
template <class T, int kN, int s>
struct BlockDots {
  static constexpr bool kHalves = kBlockForm<T> == BlockForm::kHalves;
  const int32_t* records;  // of the block
  I sum[kStepGroups<T>][kN], first_half[kHalves ? kStepGroups<T> : 1][kN];
  DSR1_MEMBER const int32_t* record(int i) const { return records + kBlockRecord * kN * Source<T>::group(s, i); }
  DSR1_MEMBER void put(int i, int j, I w) {
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) {
      if (kHalves && j == 4) first_half[i][c] = sum[i][c];
      if (j == 0 || (kHalves && j == 4)) sum[i][c] = block_start<T>(record(i) + c, kN, j / 4);
      sum[i][c] = dot<Source<T>::kU7>(sum[i][c], w, broadcast_i(record(i) + j * kN + c));
    }
  }
};

// Group i of a step, or the pair that begins with it, enters the block's sum; then those after it.
template <class T, int kN, int s, int i = 0>
DSR1_INLINE void add_to_block(const typename Source<T>::Head& h, const BlockDots<T, kN, s>& dots, I* sum) {
  constexpr BlockForm kForm = kBlockForm<T>;
  constexpr int kTaken = kForm == BlockForm::kPairs ? 2 : 1;
  const int32_t* record = dots.record(i);
  if constexpr (kForm == BlockForm::kFolded) {
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c)
      sum[c] = add_i(sum[c], shift_left(dots.sum[i][c], broadcast_i(record + kFold * kN + c)));
  } else {
    const I scales = h.template scale_pair<Source<T>::group(s, i) / kTaken>();
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) {
      I pair;
      if constexpr (kForm == BlockForm::kHalves)
        pair = pair_of<T>(dots.first_half[i][c], dots.sum[i][c], record + c, record + c, kN);
      else pair = pair_of<T>(dots.sum[i][c], dots.sum[i + 1][c], record + c, dots.record(i + 1) + c, kN);
      sum[c] = dot_words(sum[c], pair, scales);
    }
  }
  if constexpr (i + kTaken < kStepGroups<T>) add_to_block<T, kN, s, i + kTaken>(h, dots, sum);
}

template <class T, int kN, int p = 0>
DSR1_INLINE void add_minima_of_block(const typename Source<T>::Head& h, const int32_t* record, I* minima) {
  if constexpr (p < kMinPairs<T>) {
    const I m = h.template min_pair<p>();
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) minima[c] = dot_words(minima[c], m, broadcast_i(min_sums<T>(record + c, kN, p)));
    add_minima_of_block<T, kN, p + 1>(h, record, minima);
  }
}

// raw: of step s where steps overlap; then that of the first step of the block at `next`.
template <class T, int kN, int s = 0>
DSR1_INLINE void block_sums(const uint8_t* p, const uint8_t* next, int64_t stride, const typename Source<T>::Head& h,
                            const int32_t* records, Stream& stream, I* raw, I* sum) {
  using Unpack = Source<T>;
  constexpr bool kLast = s + 1 == Unpack::kSteps;
  I then[Unpack::kRaw];
  if constexpr (kStepsOverlap) {
    copy_raw<T>(raw, then);
    Unpack::template load<kLast ? 0 : s + 1>(kLast ? next : p, stride, stream, then);
  } else {
    Unpack::template load<s>(p, stride, stream, raw);
  }
  BlockDots<T, kN, s> dots;
  dots.records = records;
  Unpack::template levels_of<s>(raw, h, dots);
  add_to_block<T, kN, s>(h, dots, sum);
  if constexpr (kStepsOverlap) copy_raw<T>(then, raw);
  if constexpr (!kLast) block_sums<T, kN, s + 1>(p, next, stride, h, records, stream, raw, sum);
}

template <class T, int kN>
static void few_block_tile(const RowTile& t, int64_t stride, int64_t blocks, const int32_t* record, Stream stream,
                           float* y, int64_t ldy, bool continues) {
  const uint8_t* p = t.data;
  F acc[kN];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) acc[c] = t.start(y + c * ldy, continues);
  I raw[Source<T>::kRaw];
  if constexpr (kStepsOverlap) Source<T>::template load<0>(p, stride, stream, raw);
  for (int64_t b = 0; b < blocks; ++b) {
    typename Source<T>::Head h;
    I sum[kN], minima[kN];
    fetch_next_block<T>(p, stride);
    Source<T>::head(p, stride, h);
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) sum[c] = zero_i();
    const uint8_t* next = b + 1 < blocks ? p + sizeof(typename T::Block) : p;
    block_sums<T, kN>(p, next, stride, h, record, stream, raw, sum);
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) minima[c] = zero_i();
    add_minima_of_block<T, kN>(h, record, minima);
    const F d = h.block_scale(), m = min_factor<T>(h);
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c)
      acc[c] = fma(block_value<T>(sum[c], minima[c], d, m), broadcast_f(record + (kBlockRecord + kBlockScale) * kN + c),
                   acc[c]);
    p += sizeof(typename T::Block);
    record += 8 * kBlockRecord * kN;
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) store_lanes(y + c * ldy + t.base, acc[c], t.first, t.last);
}

// ---- many columns: blocks unpacked into a panel ----

// A block of a panel: 64 vectors of levels, pairs of scales, pairs of minima, the two factors.
template <class T>
constexpr int kBlockVectors = 64 + kScalePairs<T> + kMinPairs<T> + (kMinPairs<T> > 0 ? 2 : 1);

template <class T, int s>
struct BlockOut {
  char* to;
  DSR1_MEMBER void put(int i, int j, I w) { store_i(to + (8 * Source<T>::group(s, i) + j) * 4 * kLanes, w); }
};

template <class T, int p = 0>
DSR1_INLINE void pack_pairs(const typename Source<T>::Head& h, char* out) {
  if constexpr (p < kScalePairs<T>) store_i(out + p * 4 * kLanes, h.template scale_pair<p>());
  if constexpr (p < kMinPairs<T>) store_i(out + (kScalePairs<T> + p) * 4 * kLanes, h.template min_pair<p>());
  if constexpr (p + 1 < 8) pack_pairs<T, p + 1>(h, out);
}

template <class T, int s = 0>
DSR1_INLINE void pack_levels(const uint8_t* p, int64_t stride, const typename Source<T>::Head& h, char* out,
                             Stream& stream, I* raw) {
  Source<T>::template load<s>(p, stride, stream, raw);
  BlockOut<T, s> panel{out};
  Source<T>::template levels_of<s>(raw, h, panel);
  if constexpr (s + 1 < Source<T>::kSteps) pack_levels<T, s + 1>(p, stride, h, out, stream, raw);
}

template <class T>
static void pack_blocks(const uint8_t* p, int64_t stride, int64_t blocks, char* out, Stream& stream) {
  for (int64_t b = 0; b < blocks; ++b) {
    typename Source<T>::Head h;
    fetch_next_block<T>(p, stride);
    Source<T>::head(p, stride, h);
    pack_pairs<T>(h, out + 64 * 4 * kLanes);
    auto* factors = reinterpret_cast<float*>(out) + (64 + kScalePairs<T> + kMinPairs<T>)*kLanes;
    store_f(factors, h.block_scale());
    if constexpr (kMinPairs<T> != 0) store_f(factors + kLanes, h.block_min());
    I raw[Source<T>::kRaw];
    pack_levels<T>(p, stride, h, out, stream, raw);
    p += sizeof(typename T::Block);
    out += kBlockVectors<T> * 4 * kLanes;
  }
}

// A group of 32 (or the pair of groups that shares a dword of scales), columns [0, kN) of a record of `width`.
template <class T, int kN>
DSR1_INLINE void add_panel_groups(const char* panel, const char* scales, const int32_t* record, int64_t width, I* sum) {
  constexpr int kVector = 4 * kLanes;
  constexpr bool kHalves = kBlockForm<T> == BlockForm::kHalves;
  constexpr int kDots = kBlockForm<T> == BlockForm::kFolded ? 1 : 2, kLong = kHalves ? 4 : 8;
  I s[2][kN];
  DSR1_UNROLL
  for (int k = 0; k < kDots; ++k) {
    const int32_t* r = record + (kHalves ? 0 : k * kBlockRecord * width);
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) s[k][c] = block_start<T>(r + c, width, k);
    DSR1_UNROLL
    for (int i = 0; i < kLong; ++i) {
      const I w = load_i(panel + (kLong * k + i) * kVector);
      const int32_t* q = r + (kHalves ? 4 * k + i : i) * width;
      DSR1_UNROLL
      for (int c = 0; c < kN; ++c) s[k][c] = dot<Source<T>::kU7>(s[k][c], w, broadcast_i(q + c));
    }
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) {
    if constexpr (kDots == 1) {
      sum[c] = add_i(sum[c], shift_left(s[0][c], broadcast_i(record + kFold * width + c)));
    } else {
      const I pair = pair_of<T>(s[0][c], s[1][c], record + c, record + (kHalves ? 0 : kBlockRecord * width) + c, width);
      sum[c] = dot_words(sum[c], pair, load_i(scales));
    }
  }
}

// y[c * ldy + lane] continues over `groups` more groups of 32: whole blocks.
template <class T, int kN>
static void block_tile(const char* panel, const int32_t* record, int64_t groups, float* y, int64_t ldy, bool first) {
  constexpr int kVector = 4 * kLanes, kStep = kBlockForm<T> == BlockForm::kPairs ? 2 : 1;
  // Two dots a column and the block's sums are more registers than smaller machines have.
  constexpr int kFirst = kLanes == 16 ? kN : (kN + 1) / 2, kRest = kN - kFirst;
  F acc[kN];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) acc[c] = first ? zero_f() : load_f(y + c * ldy);
  for (int64_t b = 0; b < groups / 8; ++b) {
    I sum[kN];
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) sum[c] = zero_i();
    const char* scales = panel + 64 * kVector;
    const int32_t* r = record;
    for (int g = 0; g < 8; g += kStep) {
      add_panel_groups<T, kFirst>(panel, scales, r, kN, sum);
      if constexpr (kRest > 0) add_panel_groups<T, kRest>(panel, scales, r + kFirst, kN, sum + kFirst);
      panel += 8 * kStep * kVector;
      if constexpr (kScalePairs<T> != 0) scales += kVector;
      r += kStep * kBlockRecord * kN;
    }
    I minima[kN];
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) minima[c] = zero_i();
    DSR1_UNROLL
    for (int p = 0; p < kMinPairs<T>; ++p) {
      const I m = load_i(panel + (kScalePairs<T> + p) * kVector);
      DSR1_UNROLL
      for (int c = 0; c < kN; ++c) minima[c] = dot_words(minima[c], m, broadcast_i(min_sums<T>(record + c, kN, p)));
    }
    const auto* factors = reinterpret_cast<const float*>(panel) + (kScalePairs<T> + kMinPairs<T>)*kLanes;
    const F d = load_f(factors), m = kMinPairs<T> > 0 ? load_f(factors + kLanes) : zero_f();
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c)
      acc[c] = fma(block_value<T>(sum[c], minima[c], d, m), broadcast_f(record + (kBlockRecord + kBlockScale) * kN + c),
                   acc[c]);
    panel += (kBlockVectors<T> - 64) * kVector;
    record = r;
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) store_f(y + c * ldy, acc[c]);
}
