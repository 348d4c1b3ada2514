// The choice of a token on the device: what comes back to the host is the token, not the logits.
//
// The likeliest kKeep of each row are found by sorting chunks of kChunk and keeping the first kKeep of each, again and
// again until one list is left; on the way each chunk's largest logit and sum of exponentials are taken. The chain
// top-k, top-p, min-p, temperature and draw then runs over that list in double, step by step as runtime/sampler.cpp has
// it, with the host's random number. Where the list may not hold all that the chain would look at (a nucleus of more
// than kKeep tokens) the result says so, and the host decides.
//
// Rounding: exponentials of the whole vocabulary are float, summed in double: 2e-7 of log probabilities and of the mass
// that top-p without top-k compares; everything else is the host's arithmetic, apart from the last bit of exp in
// double. Floor: 4 bytes a logit, read once.
#pragma once

#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

inline constexpr int kSampleChunk = 1024, kSampleKeep = 128;

// A logit that bias or penalties change: l + bias, then where `penalized` l / repeat or l * repeat, less `minus`.
struct SampleAdjust {
  int32_t id;
  float bias, minus;
  int32_t penalized;
};

// One row's request, in device memory.
struct SampleRow {
  double uniform;          // of the draw; not read where greedy
  float temperature;       // <= 0: greedy
  float top_p, min_p_log;  // min_p_log: natural logarithm of min-p; -infinity: off
  float repeat;
  int32_t top_k;     // 1 ... kSampleKeep, or 0: all
  int32_t n_tokens;  // logits from here on are padding
  int32_t watched;   // whose raw logit is wanted too; -1: none
  int32_t adjust_first, adjust_n;
};

struct SampleResult {
  int32_t id;
  int32_t covered;             // 0: the host must decide
  double log_sum;              // of exp(raw logit)
  float logit, watched_logit;  // raw
};

struct SampleParams {
  Matrix logits;  // [rows, n_vocab]
  const SampleRow* rows;
  const SampleAdjust* adjust;
  void* scratch;  // sample_scratch_bytes
  SampleResult* results;
};

int64_t sample_scratch_bytes(int64_t rows, int64_t n_vocab);
Status launch_sample(const SampleParams& params, simt::Stream stream);

}  // namespace dsr1::kernels
