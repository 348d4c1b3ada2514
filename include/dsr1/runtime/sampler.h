// Sampler: logits in, one token out. The chain of the specification, section 9.1:
//
//   logit bias -> penalties -> DRY -> top-n-sigma -> top-k -> typical -> top-p -> min-p -> XTC -> temperature -> draw
//   mirostat 1, 2: logit bias -> temperature -> mirostat (every other sampler is skipped)
//   temperature <= 0: the largest logit after bias, penalties and DRY (the lower id on ties)
//
// Randomness: draw number i (from 0) of a sampler is SplitMix64's output for state seed + (i + 1) * 0x9E3779B97F4A7C15,
// its upper 53 bits taken as a fraction of 1. XTC, where on, takes one draw a token, the choice itself one; greedy
// takes none. So a text depends on seed, parameters and logits alone, never on threads or time.
//
// One Sampler belongs to one sequence and is not thread-safe. It allocates on the first token only (DRY's
// table grows with the history). It refuses nothing
// but logits of which none is a number; parameters are checked by check_sampler_params.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "dsr1/base/result.h"
#include "dsr1/ops/ops.h"

namespace dsr1::runtime {

struct SamplerParams {
  uint64_t seed = 0;
  float temperature = 0.6f;  // <= 0: greedy
  float dynatemp_range = 0, dynatemp_exponent = 1;
  int32_t top_k = 0;  // <= 0: off
  float top_p = 0.95f, min_p = 0, typical_p = 1;
  float top_n_sigma = -1;  // <= 0: off
  float xtc_probability = 0, xtc_threshold = 0.1f;

  // Over the last repeat_last_n tokens, the prompt's included; -1: all, 0: none.
  int32_t repeat_last_n = 64;
  float repeat_penalty = 1, presence_penalty = 0, frequency_penalty = 0;

  float dry_multiplier = 0, dry_base = 1.75f;
  int32_t dry_allowed_length = 2, dry_penalty_last_n = -1;
  std::vector<int32_t> dry_breakers;  // ids of tokens that a repetition does not reach across

  int mirostat = 0;  // 0, 1 or 2
  float mirostat_tau = 5, mirostat_eta = 0.1f;

  std::vector<std::pair<int32_t, float>> logit_bias;  // added; -infinity bans
  int32_t n_top_logprobs = 0;                         // how many of the likeliest tokens to report
};

// kUsage, naming the option, for values that mean nothing (a NaN, top_p above 1 ...).
Status check_sampler_params(const SamplerParams& params);

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // natural log of the model's own probability: before bias, penalties, filters and temperature
};

class Sampler {
 public:
  // Ids from n_tokens on (padding rows of the embedding) are never chosen.
  Sampler(SamplerParams params, int32_t n_tokens);

  // history: the sequence so far, prompt and own choices, read by the penalties and DRY. NaN counts as -infinity.
  Result<TokenLogprob> sample(std::span<const float> logits, std::span<const int32_t> history);
  // The same choice asked of a backend that samples (ops::Ops::sample) from up to longest_list candidates: nothing
  // where it cannot follow these parameters. Valid until the next call; nothing is drawn before accept() or sample().
  std::optional<ops::SampleRequest> request(std::span<const int32_t> history, int64_t longest_list);
  TokenLogprob accept(const ops::Sampled& sampled);  // covered
  // The n_top_logprobs likeliest tokens of the last sample(), likeliest first.
  std::span<const TokenLogprob> top_logprobs() const { return top_; }
  // The model's log probability of one id in the last sample().
  float logprob_of(std::span<const float> logits, int32_t id) const;

  const SamplerParams& params() const { return params_; }

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  static bool before(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }

  double uniform();
  double draw_number(uint64_t i) const;
  bool adjusted() const { return !work_.empty() && work_.data() == adjusted_.data(); }
  void adjust(std::span<const float> logits, std::span<const int32_t> history);
  void penalize(std::span<const int32_t> history);
  void dry(std::span<const int32_t> history);
  int32_t pick_greedy() const;
  int32_t pick_mirostat();
  int32_t pick_chain();

  // The candidates, likeliest first, of all of work_: those at least `threshold`, or the k likeliest.
  void collect_from(float threshold);
  void collect_top_k(size_t k);
  void top_n_sigma();
  void typical();
  void top_p();
  void min_p();
  void xtc();
  void apply_temperature();
  int32_t draw();
  void sort();
  // Probabilities of the candidates, in their order, into p_.
  void softmax();
  void fill_top(std::span<const float> logits);

  SamplerParams params_;
  int32_t n_tokens_;
  uint64_t draws_ = 0;
  double mu_;

  std::vector<float> adjusted_;  // logits after bias and penalties, where there are any
  std::span<const float> work_;  // what the chain reads: the logits themselves, or adjusted_
  float max_ = 0;                // of work_
  double raw_log_sum_ = 0;       // log of the sum of exp(logit) over the raw logits
  bool all_ = true;              // no filter has run: cand_ stands for all of work_
  bool sorted_ = false;
  std::vector<Candidate> cand_;
  std::vector<double> p_;
  std::vector<int32_t> counts_, z_;
  std::vector<ops::SampleAdjust> adjusts_;  // of request()
  std::vector<TokenLogprob> top_;
};

// The sum over exp(logits[i] - shift): float polynomial exp (relative error below 2e-7), summed in double.
double sum_exp(std::span<const float> logits, float shift);

}  // namespace dsr1::runtime
