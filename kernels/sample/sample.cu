#include <cmath>

#include "kernels/sample/sample.h"
#include "kernels/simt/simt.h"

namespace dsr1::kernels {
namespace {

constexpr int kThreads = 256;

struct Pair {
  float logit;
  int32_t id;
};

// Sums of exp(l - largest) of a chunk.
struct ChunkSums {
  float raw_max, max;
  double raw_sum, sum;
};

struct ChunkParams {
  SampleParams s;
  const Pair* from;  // null: the logits themselves
  int64_t from_stride;
  int32_t n;  // a row of `from`, or logits
  Pair* to;
  int64_t to_stride;
  ChunkSums* sums;
  int32_t n_chunks;
};

struct ChunkStorage {
  Pair pairs[kSampleChunk];
  float parts[kThreads / simt::kWarp], other_parts[kThreads / simt::kWarp];
  double sums[kThreads / simt::kWarp], other_sums[kThreads / simt::kWarp];
};

// The order of choice: larger first, of equals the lower id.
DSR1_DEVICE bool before(const Pair& a, const Pair& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// NaN counts as -infinity.
DSR1_DEVICE float clean(float l) { return l == l ? l : -INFINITY; }

// Bitonic: the chunk in order, kSampleChunk / 2 exchanges a step.
DSR1_DEVICE void sort_chunk(Pair (&p)[kSampleChunk]) {
  for (int size = 2; size <= kSampleChunk; size *= 2)
    for (int distance = size / 2; distance > 0; distance /= 2) {
      for (int i = simt::thread(); i < kSampleChunk / 2; i += kThreads) {
        const int lo = 2 * i - (i & (distance - 1)), hi = lo + distance;
        const Pair a = p[lo], b = p[hi];
        if (before(b, a) == ((lo & size) == 0)) {
          p[lo] = b;
          p[hi] = a;
        }
      }
      simt::sync_block();
    }
}

// block_x: chunk, block_y: row. With the logits themselves: bias and penalties, and the sums.
__global__ void __launch_bounds__(kThreads) sample_chunk_kernel(const ChunkParams p) {
  auto& s = simt::shared<ChunkStorage>();
  const int chunk = simt::block_x(), row = simt::block_y(), first = chunk * kSampleChunk;
  if (p.from != nullptr) {
    for (int i = simt::thread(); i < kSampleChunk; i += kThreads)
      s.pairs[i] = first + i < p.n ? p.from[row * p.from_stride + first + i] : Pair{-INFINITY, 0x7fffffff};
    simt::sync_block();
  } else {
    const SampleRow r = p.s.rows[row];
    const float* logits = p.s.logits.data + row * p.s.logits.stride;
    float raw_max = -INFINITY;
    for (int i = simt::thread(); i < kSampleChunk; i += kThreads) {
      const int id = first + i;
      const float l = id < r.n_tokens ? clean(logits[id]) : -INFINITY;
      raw_max = l > raw_max ? l : raw_max;
      s.pairs[i] = {l, id < r.n_tokens ? id : 0x7fffffff};
    }
    raw_max = simt::block_max<kThreads>(raw_max, s.parts);
    double raw_sum = 0;
    for (int i = simt::thread(); i < kSampleChunk; i += kThreads)
      if (raw_max > -INFINITY) raw_sum += static_cast<double>(simt::exp(s.pairs[i].logit - raw_max));
    raw_sum = simt::block_sum<kThreads>(raw_sum, s.sums);
    simt::sync_block();
    for (int a = simt::thread(); a < r.adjust_n; a += kThreads) {
      const SampleAdjust& adjust = p.s.adjust[r.adjust_first + a];
      const int i = adjust.id - first;
      if (i < 0 || i >= kSampleChunk || adjust.id >= r.n_tokens) continue;
      float l = s.pairs[i].logit + adjust.bias;
      if (adjust.penalized) {
        l = l > 0 ? l / r.repeat : simt::mul(l, r.repeat);
        l -= adjust.minus;
      }
      s.pairs[i].logit = clean(l);
    }
    simt::sync_block();
    float max = -INFINITY;
    for (int i = simt::thread(); i < kSampleChunk; i += kThreads) max = s.pairs[i].logit > max ? s.pairs[i].logit : max;
    max = simt::block_max<kThreads>(max, s.other_parts);
    double sum = 0;
    for (int i = simt::thread(); i < kSampleChunk; i += kThreads)
      if (max > -INFINITY) sum += static_cast<double>(simt::exp(s.pairs[i].logit - max));
    sum = simt::block_sum<kThreads>(sum, s.other_sums);
    if (simt::thread() == 0) p.sums[row * p.n_chunks + chunk] = {raw_max, max, raw_sum, sum};
    simt::sync_block();
  }
  sort_chunk(s.pairs);
  for (int i = simt::thread(); i < kSampleKeep; i += kThreads)
    p.to[row * p.to_stride + chunk * kSampleKeep + i] = s.pairs[i];
}

struct ChooseParams {
  SampleParams s;
  const Pair* from;
  int64_t from_stride;
  const ChunkSums* sums;
  int32_t n_chunks;
};

struct ChooseStorage {
  Pair pairs[kSampleKeep];
  double p[kSampleKeep];
  int32_t n;
};

// The probabilities of the first n candidates, added up in order as the host does.
DSR1_DEVICE void softmax(ChooseStorage& s) {
  const int i = simt::thread();
  if (i < s.n) s.p[i] = simt::exp(static_cast<double>(s.pairs[i].logit) - static_cast<double>(s.pairs[0].logit));
  simt::sync_block();
  double total = 0;
  for (int k = 0; k < s.n; ++k) total += s.p[k];
  simt::sync_block();
  if (i < s.n) s.p[i] /= total;
  simt::sync_block();
}

// A block a row, a thread a candidate.
__global__ void __launch_bounds__(kSampleKeep) sample_choose_kernel(const ChooseParams p) {
  auto& s = simt::shared<ChooseStorage>();
  const int row = simt::block_x(), i = simt::thread();
  const SampleRow r = p.s.rows[row];
  const ChunkSums* sums = p.sums + row * p.n_chunks;
  s.pairs[i] = p.from[row * p.from_stride + i];
  // Every thread adds the few chunks up itself: all hold the same bits.
  float raw_max = -INFINITY;
  for (int c = 0; c < p.n_chunks; ++c) raw_max = sums[c].raw_max > raw_max ? sums[c].raw_max : raw_max;
  simt::sync_block();
  const float largest = s.pairs[0].logit;
  double raw_sum = 0, sum = 0;
  for (int c = 0; c < p.n_chunks; ++c) {
    if (sums[c].raw_max > -INFINITY)
      raw_sum += sums[c].raw_sum * simt::exp(static_cast<double>(sums[c].raw_max) - static_cast<double>(raw_max));
    if (sums[c].max > -INFINITY)
      sum += sums[c].sum * simt::exp(static_cast<double>(sums[c].max) - static_cast<double>(largest));
  }
  const bool usable = raw_max > -INFINITY && raw_max < INFINITY && largest > -INFINITY && largest < INFINITY;
  bool covered = true;
  if (i == 0) s.n = r.n_tokens < kSampleKeep ? r.n_tokens : kSampleKeep;
  simt::sync_block();
  const bool held = r.n_tokens <= kSampleKeep;  // the list is the whole vocabulary
  int id = s.pairs[0].id;
  if (usable && r.temperature > 0) {
    if (r.top_k > 0 && i == 0 && r.top_k < s.n) s.n = r.top_k;
    simt::sync_block();
    bool cut = r.top_k > 0;  // the list holds what is left, whatever its length
    if (r.top_p < 1) {
      if (cut) {
        softmax(s);
      } else {
        if (i < s.n) s.p[i] = simt::exp(static_cast<double>(s.pairs[i].logit) - static_cast<double>(largest)) / sum;
        simt::sync_block();
      }
      double mass = 0;
      int n = 0;
      while (n < s.n && mass < static_cast<double>(r.top_p)) mass += s.p[n++];
      covered = cut || held || mass >= static_cast<double>(r.top_p);
      cut = true;
      simt::sync_block();
      if (i == 0) s.n = n > 0 ? n : 1;
      simt::sync_block();
    }
    covered = covered && cut;  // without top-k and top-p the host draws in the order of ids
    if (r.min_p_log > -INFINITY) {
      const float threshold = largest + r.min_p_log;
      int n = s.n;
      while (n > 1 && s.pairs[n - 1].logit < threshold) --n;
      simt::sync_block();
      if (i == 0) s.n = n;
      simt::sync_block();
    }
    const float t = r.temperature > 1e-5f ? r.temperature : 1e-5f;
    if (i < s.n) s.pairs[i].logit = s.pairs[i].logit / t;
    simt::sync_block();
    softmax(s);
    double left = r.uniform;
    int k = 0;
    for (; k < s.n; ++k) {
      left -= s.p[k];
      if (left < 0) break;
    }
    if (k == s.n)  // the sum was rounded below the draw: the last with any
      while (k > 0 && !(s.p[--k] > 0)) {
      }
    id = s.pairs[k].id;
  }
  if (i != 0) return;
  const float* logits = p.s.logits.data + row * p.s.logits.stride;
  SampleResult& out = p.s.results[row];
  out.id = id;
  out.covered = usable && covered ? 1 : 0;
  out.log_sum = static_cast<double>(raw_max) + simt::log(raw_sum);
  out.logit = usable ? logits[id] : 0.0f;
  out.watched_logit = r.watched >= 0 && r.watched < p.s.logits.cols ? logits[r.watched] : 0.0f;
}

int64_t chunks_of(int64_t n) { return (n + kSampleChunk - 1) / kSampleChunk; }

}  // namespace

// Two lists in turn, the first the longest, and the chunks' sums.
int64_t sample_scratch_bytes(int64_t rows, int64_t n_vocab) {
  const int64_t first = chunks_of(n_vocab) * kSampleKeep;
  return rows * (2 * first * static_cast<int64_t>(sizeof(Pair)) +
                 chunks_of(n_vocab) * static_cast<int64_t>(sizeof(ChunkSums)));
}

Status launch_sample(const SampleParams& p, simt::Stream stream) {
  const int64_t rows = p.logits.rows, chunks = chunks_of(p.logits.cols), stride = chunks * kSampleKeep;
  auto* sums = static_cast<ChunkSums*>(p.scratch);
  auto* lists = reinterpret_cast<Pair*>(sums + rows * chunks);
  Pair *to = lists, *from = lists + rows * stride;
  const auto n_chunks = static_cast<int32_t>(chunks);
  DSR1_TRY_STATUS(simt::launch("sample_chunk", sample_chunk_kernel, {chunks, rows}, kThreads, sizeof(ChunkStorage),
                               stream, ChunkParams{p, nullptr, 0, p.logits.cols, to, stride, sums, n_chunks}));
  for (int64_t lists_left = chunks; lists_left > 1;) {
    std::swap(to, from);
    const int64_t n = lists_left * kSampleKeep;
    lists_left = chunks_of(n);
    DSR1_TRY_STATUS(simt::launch("sample_chunk", sample_chunk_kernel, {lists_left, rows}, kThreads,
                                 sizeof(ChunkStorage), stream,
                                 ChunkParams{p, from, stride, static_cast<int32_t>(n), to, stride, sums, n_chunks}));
  }
  return simt::launch("sample_choose", sample_choose_kernel, {rows}, kSampleKeep, sizeof(ChooseStorage), stream,
                      ChooseParams{p, to, stride, sums, n_chunks});
}

}  // namespace dsr1::kernels
