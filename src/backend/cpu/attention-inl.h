// Attention over segments of keys: scores are a matmul of the K rows with the queries, weights are e^(score - max), and
// each element of the weighted sum of V is one chain over the keys in order. Queries are taken in tiles of rows
// (token, head), so that a row of the cache is read once for many of them.

constexpr int64_t kQueryTile = 48;
constexpr int64_t kPartialHead = 16;  // max, sum and padding before the accumulators

DSR1_INLINE float exp1(float x) {
  alignas(64) float a[kLanes];
  store_f(a, exp_f(set_f(x)));
  return a[0];
}

struct AttentionScratch {
  float *q, *score, *partial, *max, *sum;
  void *acts, *matmul;
};

DSR1_INLINE int64_t round64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Sizes in order; returns the total. With base null only the total means anything.
static int64_t plan_attention(int64_t k_dim, int64_t v_dim, char* base, AttentionScratch& s) {
  int64_t at = 0;
  const auto take = [&](int64_t bytes) {
    char* p = base + at;
    at += round64(bytes);
    return p;
  };
  s.q = reinterpret_cast<float*>(take(kQueryTile * k_dim * 4));
  s.acts = take(kQueryTile * k_dim * 4);
  s.score = reinterpret_cast<float*>(take(kQueryTile * kAttentionSegment * 4));
  s.partial = reinterpret_cast<float*>(take(kQueryTile * (kPartialHead + v_dim) * 4));
  s.max = reinterpret_cast<float*>(take(kQueryTile * 4));
  s.sum = reinterpret_cast<float*>(take(kQueryTile * 4));
  s.matmul = take(kFloatScratch > kInt8Scratch ? kFloatScratch : kInt8Scratch);
  return at;
}

static size_t attention_scratch_bytes(int64_t k_dim, int64_t v_dim) {
  AttentionScratch s;
  return static_cast<size_t>(plan_attention(k_dim, v_dim, nullptr, s));
}

static int64_t attention_partial_floats(int64_t v_dim) { return kPartialHead + v_dim; }

// ---- scores ----

// A token's rows are few, so memory is the limit: V comes into L2 while the scores are made, and the next segment's K
// while V is summed. `v`: of the same keys, or null.
template <class T, int kN = 1>
static void few_scores(const Matrix& k, const uint8_t* v, const float* q, int64_t n, float* score) {
  if constexpr (kN <= 8) {
    if (n == kN) return few_float_rows<T, kN>(k, 0, k.rows, q, score, kAttentionSegment, v);
    few_scores<T, kN + 1>(k, v, q, n, score);
  }
}

template <class T>
static void scores(const Matrix& k, const uint8_t* v, int64_t n, const AttentionScratch& s) {
  if constexpr (T::kElements == 1) {
    if (n <= 8) return few_scores<T>(k, v, s.q, n, s.score);
    prepare_float(s.q, k.cols, nullptr, k.cols, n, static_cast<float*>(s.acts), 0,
                  ColumnGroups(n, kFloatCols).count * ((k.cols + kSegment - 1) / kSegment));
    many_float<T>(k, 0, k.rows, static_cast<const float*>(s.acts), n, s.score, kAttentionSegment,
                  static_cast<float*>(s.matmul));
  } else {
    prepare_int8(s.q, k.cols, nullptr, k.cols, n, static_cast<int32_t*>(s.acts), 0,
                 ColumnGroups(n, kCols).count * (k.cols / 32));
    matmul_int8<T>(k, 0, k.rows, static_cast<const int32_t*>(s.acts), n, s.score, kAttentionSegment,
                   static_cast<char*>(s.matmul));
  }
}

// ---- weighted sum of V ----

template <class T>
DSR1_INLINE F load_v(const uint8_t* row, int64_t d) {
  if constexpr (T::kElements == 1) {
    return load_weights<T>(row, d);
  } else {
    const uint8_t* block = row + d / 32 * 34;
    uint16_t half;
    __builtin_memcpy(&half, block, 2);
    return mul(half_lo(set_i(half)), to_float(load_s8(block + 2 + d % 32)));
  }
}

// acc of kN rows, kD registers wide, over n keys; `ahead` is fetched meanwhile, a row's bytes of these registers a key.
template <class T, int kN, int kD>
static void add_values(const uint8_t* v, int64_t row_bytes, int64_t d, int64_t n, const float* weight, float* out,
                       int64_t out_stride, const uint8_t* ahead) {
  constexpr int kBytes = kD * kLanes * static_cast<int>(sizeof(typename T::Block)) / T::kElements;
  F acc[kN][kD];
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) DSR1_UNROLL
  for (int i = 0; i < kD; ++i) acc[c][i] = load_f(out + c * out_stride + d + i * kLanes);
  for (int64_t j = 0; j < n; ++j, v += row_bytes, ahead += kBytes) {
    __builtin_prefetch(ahead, 0, 2);
    if constexpr (kBytes > 64) __builtin_prefetch(ahead + 64, 0, 2);
    F value[kD];
    DSR1_UNROLL
    for (int i = 0; i < kD; ++i) value[i] = load_v<T>(v, d + i * kLanes);
    DSR1_UNROLL
    for (int c = 0; c < kN; ++c) {
      const F w = set_f(weight[c * kAttentionSegment + j]);
      DSR1_UNROLL
      for (int i = 0; i < kD; ++i) acc[c][i] = fma(w, value[i], acc[c][i]);
    }
  }
  DSR1_UNROLL
  for (int c = 0; c < kN; ++c) DSR1_UNROLL
  for (int i = 0; i < kD; ++i) store_f(out + c * out_stride + d + i * kLanes, acc[c][i]);
}

constexpr int kValueRows = kLanes == 8 ? 4 : 6;  // with two registers each: 8 or 12 accumulators

template <class T, int kN>
static void add_values_rows(const Attention& a, int64_t key, int64_t n, const float* weight, float* out) {
  const uint8_t* v = static_cast<const uint8_t*>(a.v) + key * a.v_row_bytes;
  const uint8_t* next = static_cast<const uint8_t*>(a.k) + (key + kAttentionSegment) * a.k_row_bytes;
  const int64_t stride = kPartialHead + a.v_dim;
  const auto ahead = [&](int64_t d) { return next + n * (a.k_row_bytes * d / a.v_dim); };
  int64_t d = 0;
  for (; d + 2 * kLanes <= a.v_dim; d += 2 * kLanes)
    add_values<T, kN, 2>(v, a.v_row_bytes, d, n, weight, out, stride, ahead(d));
  for (; d + kLanes <= a.v_dim; d += kLanes)
    add_values<T, kN, 1>(v, a.v_row_bytes, d, n, weight, out, stride, ahead(d));
  if constexpr (T::kElements == 1)
    for (; d < a.v_dim; ++d) DSR1_UNROLL
  for (int c = 0; c < kN; ++c)
    for (int64_t j = 0; j < n; ++j)
      out[c * stride + d] = __builtin_fmaf(weight[c * kAttentionSegment + j], one_weight<T>(v + j * a.v_row_bytes, d),
                                           out[c * stride + d]);
}

// The first kN of at most kValueRows rows together.
template <class T, int kN = kValueRows>
static void add_values_of(int64_t rows, const Attention& a, int64_t key, int64_t n, const float* weight, float* out) {
  if (rows == kN) return add_values_rows<T, kN>(a, key, n, weight, out);
  if constexpr (kN > 1) add_values_of<T, kN - 1>(rows, a, key, n, weight, out);
}

// ---- one tile of rows [row, row + n) over one segment, into s.partial ----

DSR1_INLINE int64_t visible_keys(const Attention& a, int64_t row, int64_t begin) {  // of the segment
  const int64_t n = a.pos0 + row / a.n_heads + 1 - begin;
  return n < 0 ? 0 : n < kAttentionSegment ? n : kAttentionSegment;
}

template <class T>
static void segment_tile_of(const Attention& a, int64_t row, int64_t n, int64_t begin, const AttentionScratch& s,
                            float* partial) {
  const int64_t stride = kPartialHead + a.v_dim;
  const int64_t most = visible_keys(a, row + n - 1, begin);  // later tokens see more
  for (int64_t r = 0; r < n; ++r) {
    __builtin_memset(partial + r * stride, 0, static_cast<size_t>(stride) * 4);
    partial[r * stride] = -__builtin_inff();
  }
  if (most == 0) return;
  const Matrix k{
      static_cast<const uint8_t*>(a.k) + begin * a.k_row_bytes, a.type, most, a.k_dim, a.k_row_bytes, nullptr};
  scores<T>(k, a.k_row_bytes == a.v_row_bytes ? static_cast<const uint8_t*>(a.v) + begin * a.v_row_bytes : nullptr, n,
            s);
  for (int64_t r = 0; r < n; ++r) {
    const int64_t keys = visible_keys(a, row + r, begin);
    if (keys == 0) continue;
    float* score = s.score + r * kAttentionSegment;
    for (int64_t j = 0; j < keys; j += kLanes)
      store_part(score + j, mul(load_part(score + j, keys - j), set_f(a.scale)), keys - j);
    partial[r * stride] = max_of(score, keys);
    partial[r * stride + 1] = exp_sum(score, keys, partial[r * stride], score);
  }
  const int64_t groups = (n + kValueRows - 1) / kValueRows,
                per_group = (n + groups - 1) / groups;  // of 8: 4 and 4, not 6 and 2
  for (int64_t r = 0; r < n; r += per_group) {
    const int64_t rows = n - r < per_group ? n - r : per_group;
    const int64_t common = visible_keys(a, row + r, begin);
    add_values_of<T>(rows, a, begin, common, s.score + r * kAttentionSegment, partial + r * stride + kPartialHead);
    for (int64_t i = 1; i < rows; ++i)  // keys that only later tokens of these rows see
      if (const int64_t more = visible_keys(a, row + r + i, begin) - common; more > 0)
        add_values_rows<T, 1>(a, begin + common, more, s.score + (r + i) * kAttentionSegment + common,
                              partial + (r + i) * stride + kPartialHead);
  }
}

static void segment_tile(const Attention& a, int64_t row, int64_t n, int64_t segment, const AttentionScratch& s,
                         float* partial) {
  const int64_t begin = segment * kAttentionSegment;
  if (a.type == quant::F32::kGgufId) segment_tile_of<quant::F32>(a, row, n, begin, s, partial);
  else if (a.type == quant::F16::kGgufId) segment_tile_of<quant::F16>(a, row, n, begin, s, partial);
  else segment_tile_of<quant::Q8_0>(a, row, n, begin, s, partial);
}

static void gather_queries(const Attention& a, int64_t row, int64_t n, float* q) {
  for (int64_t r = 0; r < n; ++r)
    __builtin_memcpy(q + r * a.k_dim,
                     a.q + (row + r) / a.n_heads * a.q_token_stride + (row + r) % a.n_heads * a.q_head_stride,
                     static_cast<size_t>(a.k_dim) * 4);
}

static void attention_segment(const Attention& a, int64_t segment, float* partial, void* scratch) {
  AttentionScratch s;
  plan_attention(a.k_dim, a.v_dim, static_cast<char*>(scratch), s);
  const int64_t rows = a.n_tokens * a.n_heads;
  for (int64_t r = 0; r < rows; r += kQueryTile) {
    const int64_t n = rows - r < kQueryTile ? rows - r : kQueryTile;
    gather_queries(a, r, n, s.q);
    segment_tile(a, r, n, segment, s, partial + r * (kPartialHead + a.v_dim));
  }
}

// ---- joining segments ----

DSR1_INLINE void merge(const float* partial, int64_t v_dim, float& max, float& sum, float* out) {
  if (partial[0] == -__builtin_inff()) return;
  const float m = partial[0] > max ? partial[0] : max;
  const float old = exp1(max - m), now = exp1(partial[0] - m);
  max = m;
  sum = __builtin_fmaf(sum, old, partial[1] * now);
  for (int64_t i = 0; i < v_dim; i += kLanes) {
    const F scaled = mul(load_part(partial + kPartialHead + i, v_dim - i), set_f(now));
    store_part(out + i, fma(load_part(out + i, v_dim - i), set_f(old), scaled), v_dim - i);
  }
}

DSR1_INLINE void finish(float sum, int64_t v_dim, float* out) {
  const float r = 1.0f / sum;
  for (int64_t i = 0; i < v_dim; i += kLanes)
    store_part(out + i, mul(load_part(out + i, v_dim - i), set_f(r)), v_dim - i);
}

static void attention_combine(const float* partials, int64_t stride, int64_t n, int64_t v_dim, float* out) {
  float max = -__builtin_inff(), sum = 0;
  __builtin_memset(out, 0, static_cast<size_t>(v_dim) * 4);
  for (int64_t i = 0; i < n; ++i) merge(partials + i * stride, v_dim, max, sum, out);
  finish(sum, v_dim, out);
}

static void attention(const Attention& a, float* out, int64_t out_token_stride, int64_t out_head_stride,
                      void* scratch) {
  AttentionScratch s;
  plan_attention(a.k_dim, a.v_dim, static_cast<char*>(scratch), s);
  const int64_t rows = a.n_tokens * a.n_heads, stride = kPartialHead + a.v_dim;
  for (int64_t r = 0; r < rows; r += kQueryTile) {
    const int64_t n = rows - r < kQueryTile ? rows - r : kQueryTile;
    const auto row_out = [&](int64_t i) {
      return out + (r + i) / a.n_heads * out_token_stride + (r + i) % a.n_heads * out_head_stride;
    };
    gather_queries(a, r, n, s.q);
    for (int64_t i = 0; i < n; ++i) {
      s.max[i] = -__builtin_inff();
      s.sum[i] = 0;
      __builtin_memset(row_out(i), 0, static_cast<size_t>(a.v_dim) * 4);
    }
    const int64_t last = a.pos0 + (r + n - 1) / a.n_heads;
    for (int64_t segment = 0; segment <= last / kAttentionSegment; ++segment) {
      segment_tile(a, r, n, segment, s, s.partial);
      for (int64_t i = 0; i < n; ++i) merge(s.partial + i * stride, a.v_dim, s.max[i], s.sum[i], row_out(i));
    }
    for (int64_t i = 0; i < n; ++i) finish(s.sum[i], a.v_dim, row_out(i));
  }
}
