// What the matrix kernels of quantized types share: columns in groups, tiles of rows, dot products of a group.

struct ColumnGroups {
  int64_t count, base, larger;  // the first `larger` groups have base + 1 columns
  ColumnGroups(int64_t n, int64_t widest) : count((n + widest - 1) / widest), base(n / count), larger(n % count) {}
  int64_t begin(int64_t g) const { return g * base + (g < larger ? g : larger); }
  int64_t width(int64_t g) const { return base + (g < larger ? 1 : 0); }
};

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

DSR1_INLINE I broadcast_i(const int32_t* p) { return set_i(*p); }
DSR1_INLINE F broadcast_f(const int32_t* p) { return set_f(__builtin_bit_cast(float, *p)); }

template <bool kU7>
DSR1_INLINE I dot(I acc, I w, I a) {
  if constexpr (kU7) return dot_u7(acc, w, a);
  else return dot_level8(acc, w, a);
}

// The largest magnitudes of 32 elements from each of n <= kLanes places, as bits: lane l is place l; others are 0.
DSR1_INLINE I peaks_of(const float* const* x, int n) {
  constexpr int kVectors = 32 / kLanes;
  alignas(64) int32_t peaks[kLanes * kLanes] = {};
  const I magnitude = set_i(0x7fffffff);
  for (int l = 0; l < n; ++l) {
    I top = and_i(bits(load_f(x[l])), magnitude);
    DSR1_UNROLL
    for (int i = 1; i < kVectors; ++i) top = max_i(top, and_i(bits(load_f(x[l] + i * kLanes)), magnitude));
    store_i(peaks + l * kLanes, top);
  }
  I top = zero_i();
  DSR1_UNROLL
  for (int i = 0; i < kLanes / 4; ++i) {
    I part[4];
    load_chunk(reinterpret_cast<const uint8_t*>(peaks) + 16 * i, 4 * kLanes, part);
    top = max_i(top, max_i(max_i(part[0], part[1]), max_i(part[2], part[3])));
  }
  return top;
}

// The same elements, rounded after multiplication with the place's factor: q[j] lane l is elements 4j to 4j + 3 of
// place l, sum[h] the sum of its half h.
DSR1_INLINE void levels_of(const float* const* x, int n, const float* factor, I* q, I* sum) {
  constexpr int kVectors = 32 / kLanes;
  alignas(64) int8_t levels[kLanes * 32] = {};
  for (int l = 0; l < n; ++l) {
    const F f = set_f(factor[l]);
    DSR1_UNROLL
    for (int i = 0; i < kVectors; ++i)
      store_s8(levels + 32 * l + i * kLanes, to_int(mul(load_f(x[l] + i * kLanes), f)));
  }
  const I ones = byte_mask(1);
  DSR1_UNROLL
  for (int h = 0; h < 2; ++h) {
    load_chunk(reinterpret_cast<const uint8_t*>(levels) + 16 * h, 32, q + 4 * h);
    sum[h] = zero_i();
    DSR1_UNROLL
    for (int i = 0; i < 4; ++i) sum[h] = dot_u7(sum[h], ones, q[4 * h + i]);
  }
}

// The same of one place, to rows 0 to 7 of a record; x * inverse is at most 127 in magnitude.
DSR1_INLINE void put_levels_of(const float* x, float inverse, int32_t* record, int64_t width, int32_t* sum) {
  constexpr int kVectors = 32 / kLanes;
  alignas(64) int32_t q[8];
  const F factor = set_f(inverse);
  DSR1_UNROLL
  for (int h = 0; h < 2; ++h) {
    I total = zero_i();
    DSR1_UNROLL
    for (int i = h * kVectors / 2; i < (h + 1) * kVectors / 2; ++i) {
      const I level = to_int(mul(load_f(x + i * kLanes), factor));
      total = add_i(total, level);
      store_s8(reinterpret_cast<int8_t*>(q) + i * kLanes, level);
    }
    sum[h] = reduce_add(total);
  }
  DSR1_UNROLL
  for (int i = 0; i < 8; ++i) record[i * width] = q[i];
}

// The largest magnitude of 32 elements, as bits: a NaN counts as larger than infinity.
DSR1_INLINE int32_t peak_of(const float* x) {
  const I magnitude = set_i(0x7fffffff);
  I top = zero_i();
  DSR1_UNROLL
  for (int i = 0; i < 32 / kLanes; ++i) top = max_i(top, and_i(bits(load_f(x + i * kLanes)), magnitude));
  return reduce_max(top);
}

// Where there are registers for it, the bytes of a step of a block are turned round during the dots of the step before:
// the two use different ports.
constexpr bool kStepsOverlap = kLanes == 16;

template <class T>
DSR1_INLINE void copy_raw(const I* from, I* to) {
  DSR1_UNROLL
  for (int i = 0; i < Source<T>::kRaw; ++i) to[i] = from[i];
}
