#include "dsr1/runtime/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace dsr1::runtime {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

uint64_t split_mix(uint64_t state) {
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}

// Passes over a vocabulary of 150,000 take long enough that they count in every token: sixteen lanes at a time, which
// the compiler makes vectors of, for the widest registers there are. All widths give the same bits: this file is
// compiled without contraction into fused operations.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)  // whose resolvers would run before the sanitizers do
#define DSR1_WIDE __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define DSR1_WIDE
#endif
constexpr size_t kLanes = 16;

// exp of x <= 88, with 0 for x below -87 or NaN. Cephes' scheme: 2^n * polynomial of the remainder.
inline __attribute__((always_inline)) float fast_exp(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x > -87.0f ? x : -87.0f;
  const float rounded = clamped * 1.44269504f + kMagic;
  const float n = rounded - kMagic;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(rounded) - std::bit_cast<int32_t>(kMagic);
  y = std::bit_cast<float>(std::bit_cast<int32_t>(y) + (exponent << 23));
  return x > -87.0f ? y : 0.0f;
}

DSR1_WIDE float max_of(std::span<const float> v) {
  float max[kLanes];
  std::fill_n(max, kLanes, kMinusInf);
  const auto take = [&max](float x, size_t l) { max[l] = x > max[l] ? x : max[l]; };  // false for NaN
  size_t i = 0;
  for (; i + kLanes <= v.size(); i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) take(v[i + l], l);
  for (size_t l = 0; i + l < v.size(); ++l) take(v[i + l], l);
  return *std::max_element(max, max + kLanes);
}

// The first i >= begin with v[i] > threshold; v.size() if there is none.
DSR1_WIDE size_t find_above(std::span<const float> v, size_t begin, float threshold) {
  constexpr size_t kBlock = 128;
  size_t i = begin;
  for (; i + kBlock <= v.size(); i += kBlock) {
    int any = 0;
    for (size_t l = 0; l < kBlock; ++l) any |= v[i + l] > threshold ? 1 : 0;
    if (any != 0) break;
  }
  while (i < v.size() && !(v[i] > threshold)) ++i;
  return i;
}

Error bad(const char* option, const char* expected, double found) {
  std::string number = std::to_string(found);
  return {ErrorCode::kUsage, std::string(option) + " must be " + expected + ", found " + number};
}

}  // namespace

DSR1_WIDE double sum_exp(std::span<const float> logits, float shift) {
  double total[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) total[l] += fast_exp(logits[i + l] - shift);
  for (size_t l = 0; i + l < logits.size(); ++l) total[l] += fast_exp(logits[i + l] - shift);
  double sum = 0;
  for (double t : total) sum += t;
  return sum;
}

Status check_sampler_params(const SamplerParams& p) {
  auto unit = [](float v) { return v >= 0 && v <= 1; };  // false for NaN
  if (!std::isfinite(p.temperature)) return bad("--temp", "a finite number", p.temperature);
  if (!unit(p.top_p)) return bad("--top-p", "between 0 and 1", p.top_p);
  if (!unit(p.min_p)) return bad("--min-p", "between 0 and 1", p.min_p);
  if (!unit(p.typical_p)) return bad("--typical", "between 0 and 1", p.typical_p);
  if (!unit(p.xtc_probability)) return bad("--xtc-probability", "between 0 and 1", p.xtc_probability);
  if (!unit(p.xtc_threshold)) return bad("--xtc-threshold", "between 0 and 1", p.xtc_threshold);
  if (std::isnan(p.top_n_sigma)) return bad("--top-nsigma", "a number", p.top_n_sigma);
  if (!(p.dynatemp_range >= 0) || !std::isfinite(p.dynatemp_range))
    return bad("--dynatemp-range", "0 or more", p.dynatemp_range);
  if (!std::isfinite(p.dynatemp_exponent)) return bad("--dynatemp-exp", "a finite number", p.dynatemp_exponent);
  if (p.repeat_last_n < -1) return bad("--repeat-last-n", "-1 (all), 0 (off) or more", p.repeat_last_n);
  if (!(p.repeat_penalty > 0) || !std::isfinite(p.repeat_penalty))
    return bad("--repeat-penalty", "above 0", p.repeat_penalty);
  if (!std::isfinite(p.presence_penalty)) return bad("--presence-penalty", "a finite number", p.presence_penalty);
  if (!std::isfinite(p.frequency_penalty)) return bad("--frequency-penalty", "a finite number", p.frequency_penalty);
  if (!(p.dry_multiplier >= 0) || !std::isfinite(p.dry_multiplier))
    return bad("--dry-multiplier", "0 or more", p.dry_multiplier);
  if (!(p.dry_base >= 1) || !std::isfinite(p.dry_base)) return bad("--dry-base", "1 or more", p.dry_base);
  if (p.mirostat < 0 || p.mirostat > 2) return bad("--mirostat", "0, 1 or 2", p.mirostat);
  if (!(p.mirostat_tau >= 0) || !std::isfinite(p.mirostat_tau))
    return bad("--mirostat-ent", "0 or more", p.mirostat_tau);
  if (!(p.mirostat_eta >= 0) || !std::isfinite(p.mirostat_eta))
    return bad("--mirostat-lr", "0 or more", p.mirostat_eta);
  for (const auto& [id, bias] : p.logit_bias) {
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity())
      return bad("--logit-bias", "a finite number or -inf", bias);
    if (id < 0) return bad("--logit-bias", "given for a token id of 0 or more", id);
  }
  return {};
}

Sampler::Sampler(SamplerParams params, int32_t n_tokens)
    : params_(std::move(params)), n_tokens_(n_tokens), mu_(2.0 * params_.mirostat_tau) {}

// i from 1.
double Sampler::draw_number(uint64_t i) const {
  return static_cast<double>(split_mix(params_.seed + i * 0x9E3779B97F4A7C15u) >> 11) * 0x1p-53;
}

double Sampler::uniform() { return draw_number(++draws_); }

std::optional<ops::SampleRequest> Sampler::request(std::span<const int32_t> history, int64_t longest_list) {
  const SamplerParams& p = params_;
  const bool greedy = p.temperature <= 0;
  const bool list_is_short = p.top_k > 0 ? p.top_k <= longest_list : p.top_p < 1;
  const bool others =
      p.mirostat > 0 || p.top_n_sigma > 0 || p.typical_p < 1 || p.xtc_probability > 0 || p.dynatemp_range > 0;
  const bool dries = p.dry_multiplier > 0 && p.dry_penalty_last_n != 0;
  if (longest_list == 0 || dries || p.n_top_logprobs > 0 || (!greedy && (others || !list_is_short))) return {};

  adjusts_.clear();
  for (const auto& [id, bias] : p.logit_bias) adjusts_.push_back({id, bias, 0, false});
  if (p.repeat_last_n != 0 && (p.repeat_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0)) {
    if (p.repeat_last_n > 0) history = history.last(std::min(history.size(), static_cast<size_t>(p.repeat_last_n)));
    for (int32_t id : history) adjusts_.push_back({id, 0, 1, true});  // minus counts for now
  }
  std::stable_sort(adjusts_.begin(), adjusts_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  size_t n = 0;
  for (const ops::SampleAdjust& a : adjusts_) {
    if (a.id < 0 || a.id >= n_tokens_) continue;
    if (n > 0 && adjusts_[n - 1].id == a.id) {
      adjusts_[n - 1].bias += a.bias;
      adjusts_[n - 1].minus += a.minus;
      adjusts_[n - 1].penalized |= a.penalized;
    } else {
      adjusts_[n++] = a;
    }
  }
  adjusts_.resize(n);
  if (n > ops::Ops::kMostAdjusts) return {};
  for (ops::SampleAdjust& a : adjusts_)
    if (a.penalized) a.minus = a.minus * p.frequency_penalty + p.presence_penalty;

  ops::SampleRequest r;
  r.uniform = draw_number(draws_ + 1);
  r.temperature = p.temperature;
  r.top_p = p.top_p;
  r.min_p_log = p.min_p > 0 ? std::log(p.min_p) : kMinusInf;
  r.repeat = p.repeat_penalty;
  r.top_k = std::max(p.top_k, 0);
  r.n_tokens = n_tokens_;
  r.adjust = adjusts_;
  return r;
}

TokenLogprob Sampler::accept(const ops::Sampled& s) {
  if (params_.temperature > 0) ++draws_;
  raw_log_sum_ = s.log_sum;
  top_.clear();
  return {s.id, static_cast<float>(s.logit - raw_log_sum_)};
}

Result<TokenLogprob> Sampler::sample(std::span<const float> logits, std::span<const int32_t> history) {
  logits = logits.first(std::min(logits.size(), static_cast<size_t>(n_tokens_)));
  const float raw_max = max_of(logits);
  if (!std::isfinite(raw_max))
    return Error(
        ErrorCode::kRuntime,
        "the model computed no finite logit; the file is damaged or its numbers overflow (try -ctk f32 -ctv f32)");
  raw_log_sum_ = raw_max + std::log(sum_exp(logits, raw_max));

  adjust(logits, history);
  max_ = adjusted() ? max_of(work_) : raw_max;
  if (!std::isfinite(max_)) return Error(ErrorCode::kUsage, "--logit-bias bans every token the model could choose");

  all_ = true;
  sorted_ = false;
  cand_.clear();
  cand_.reserve(static_cast<size_t>(n_tokens_));
  p_.reserve(static_cast<size_t>(n_tokens_));
  top_.reserve(static_cast<size_t>(std::max(params_.n_top_logprobs, 0)) + 1);
  int32_t id = 0;
  if (params_.temperature <= 0) id = pick_greedy();
  else if (params_.mirostat > 0) id = pick_mirostat();
  else id = pick_chain();
  fill_top(logits);
  return TokenLogprob{id, logprob_of(logits, id)};
}

float Sampler::logprob_of(std::span<const float> logits, int32_t id) const {
  return static_cast<float>(logits[static_cast<size_t>(id)] - raw_log_sum_);
}

void Sampler::adjust(std::span<const float> logits, std::span<const int32_t> history) {
  const bool mirostat = params_.mirostat > 0 && params_.temperature > 0;
  const bool penalties =
      !mirostat && params_.repeat_last_n != 0 &&
      (params_.repeat_penalty != 1 || params_.presence_penalty != 0 || params_.frequency_penalty != 0);
  const bool use_dry = !mirostat && params_.dry_multiplier > 0 && params_.dry_penalty_last_n != 0;
  work_ = logits;
  if (params_.logit_bias.empty() && !penalties && !use_dry && !mirostat) return;

  adjusted_.assign(logits.begin(), logits.end());
  work_ = adjusted_;
  for (const auto& [id, bias] : params_.logit_bias)
    if (id < static_cast<int32_t>(logits.size())) adjusted_[static_cast<size_t>(id)] += bias;
  if (penalties) penalize(history);
  if (use_dry) dry(history);
  if (mirostat)
    for (float& l : adjusted_) l /= params_.temperature;
}

void Sampler::penalize(std::span<const int32_t> history) {
  if (params_.repeat_last_n > 0)
    history = history.last(std::min(history.size(), static_cast<size_t>(params_.repeat_last_n)));
  counts_.resize(adjusted_.size());
  for (int32_t id : history)
    if (id >= 0 && id < static_cast<int32_t>(counts_.size())) ++counts_[static_cast<size_t>(id)];
  for (int32_t id : history) {
    if (id < 0 || id >= static_cast<int32_t>(counts_.size())) continue;
    int32_t& count = counts_[static_cast<size_t>(id)];
    if (count == 0) continue;  // met before
    float& l = adjusted_[static_cast<size_t>(id)];
    l = l > 0 ? l / params_.repeat_penalty : l * params_.repeat_penalty;
    l -= static_cast<float>(count) * params_.frequency_penalty + params_.presence_penalty;
    count = 0;
  }
}

// z_[i] = length of the longest common suffix of history[0..i] and the whole history, by the Z-algorithm on the
// reversed window; the token after i then repeats what followed a text of that length.
void Sampler::dry(std::span<const int32_t> history) {
  if (params_.dry_penalty_last_n > 0)
    history = history.last(std::min(history.size(), static_cast<size_t>(params_.dry_penalty_last_n)));
  const size_t n = history.size();
  auto reversed = [&](size_t i) { return history[n - 1 - i]; };
  size_t limit = 0;  // tokens since the last breaker
  while (limit < n && std::find(params_.dry_breakers.begin(), params_.dry_breakers.end(), reversed(limit)) ==
                          params_.dry_breakers.end())
    ++limit;
  z_.resize(n);
  if (n > 0) z_[0] = 0;
  counts_.resize(adjusted_.size());
  size_t left = 0, right = 0;  // [left, right): the window that matches a prefix of the reversed history furthest right
  for (size_t i = 1; i < n; ++i) {
    size_t z = i < right ? std::min(right - i, static_cast<size_t>(z_[i - left])) : 0;
    while (i + z < n && reversed(z) == reversed(i + z)) ++z;
    if (i + z > right) {
      left = i;
      right = i + z;
    }
    z_[i] = static_cast<int32_t>(z);
    const int32_t next = reversed(i - 1);
    if (next < 0 || next >= static_cast<int32_t>(counts_.size())) continue;
    int32_t& longest = counts_[static_cast<size_t>(next)];
    longest = std::max(longest, static_cast<int32_t>(std::min(z, limit)));
  }
  const float max_exponent = params_.dry_base > 1.000001f ? 88.72f / std::log(params_.dry_base) : 0.0f;
  for (int32_t id : history) {
    if (id < 0 || id >= static_cast<int32_t>(counts_.size())) continue;
    int32_t& longest = counts_[static_cast<size_t>(id)];
    if (longest >= params_.dry_allowed_length && longest > 0) {
      float exponent = static_cast<float>(longest - params_.dry_allowed_length);
      if (max_exponent > 0) exponent = std::min(exponent, max_exponent);
      adjusted_[static_cast<size_t>(id)] -= params_.dry_multiplier * std::pow(params_.dry_base, exponent);
    }
    longest = 0;
  }
}

int32_t Sampler::pick_greedy() const {
  for (size_t i = 0; i < work_.size(); ++i)
    if (work_[i] == max_) return static_cast<int32_t>(i);
  return 0;  // not reached: max_ is one of them
}

int32_t Sampler::pick_chain() {
  top_n_sigma();
  if (params_.top_k > 0) collect_top_k(static_cast<size_t>(params_.top_k));
  typical();
  top_p();
  min_p();
  xtc();
  apply_temperature();
  return draw();
}

// Mirostat, Basu et al. 2021 (arXiv 2007.14966): version 1 is its algorithm 1, version 2 cuts by surprise.
int32_t Sampler::pick_mirostat() {
  const double log_sum = std::log(sum_exp(work_, max_));  // of exp(l - max)
  if (params_.mirostat == 1) {
    collect_top_k(100);
    double tb = 0, tt = 0;
    for (size_t i = 0; i + 1 < cand_.size(); ++i) {
      const double t = std::log(static_cast<double>(i + 2) / static_cast<double>(i + 1));
      tb += t * (static_cast<double>(cand_[i].logit) - cand_[i + 1].logit);  // log(p_i / p_i+1)
      tt += t * t;
    }
    const double n = static_cast<double>(work_.size());
    const double s = tt > 0 ? tb / tt : 1, epsilon = s - 1;
    const double factor = std::abs(epsilon) < 1e-9 ? 1 / std::log(n) : epsilon / (1 - std::pow(n, -epsilon));
    double k = std::pow(factor * std::exp2(mu_), 1 / s);
    if (!(k < n)) k = n;  // NaN and infinity too
    collect_top_k(static_cast<size_t>(std::max(k, 1.0)));
  } else {
    collect_from(static_cast<float>(max_ + log_sum - mu_ * std::log(2.0)));
    if (cand_.empty()) collect_top_k(1);
  }
  const int32_t id = draw();
  for (size_t i = 0; i < cand_.size(); ++i)
    if (cand_[i].id == id) mu_ -= params_.mirostat_eta * (-std::log2(p_[i]) - params_.mirostat_tau);
  return id;
}

void Sampler::collect_from(float threshold) {
  cand_.clear();
  for (size_t i = 0; i < work_.size(); ++i)
    if (work_[i] >= threshold && work_[i] > kMinusInf) cand_.push_back({work_[i], static_cast<int32_t>(i)});
  all_ = false;
  sorted_ = false;
}

void Sampler::collect_top_k(size_t k) {
  if (!all_ && params_.mirostat == 0) {  // after top-n-sigma: among the candidates
    sort();
    cand_.resize(std::min(cand_.size(), k));
    return;
  }
  // One pass: what beats the k-th best so far is kept, and the list is cut back whenever it has doubled.
  const size_t full = std::max<size_t>(2 * k, 64);
  float threshold = kMinusInf;
  cand_.clear();
  auto cut = [&] {
    if (cand_.size() <= k) return;
    std::nth_element(cand_.begin(), cand_.begin() + static_cast<std::ptrdiff_t>(k - 1), cand_.end(), before);
    cand_.resize(k);
    threshold = cand_[k - 1].logit;
  };
  for (size_t i = 0; (i = find_above(work_, i, threshold)) < work_.size(); ++i) {
    cand_.push_back({work_[i], static_cast<int32_t>(i)});
    if (cand_.size() >= full) cut();
  }
  cut();
  all_ = false;
  sorted_ = false;
  sort();
}

void Sampler::top_n_sigma() {
  if (params_.top_n_sigma <= 0) return;
  double sum = 0, squares = 0, n = 0;
  for (float l : work_) {
    if (!std::isfinite(l)) continue;
    sum += l;
    ++n;
  }
  const double mean = sum / n;
  for (float l : work_)
    if (std::isfinite(l)) squares += (l - mean) * (l - mean);
  collect_from(max_ - params_.top_n_sigma * static_cast<float>(std::sqrt(squares / n)));
}

void Sampler::typical() {
  if (params_.typical_p >= 1) return;
  if (all_) collect_from(kMinusInf);
  sort();
  softmax();
  double entropy = 0;
  for (double p : p_)
    if (p > 0) entropy -= p * std::log(p);
  // p falls with the order, so surprise rises with it: the nearest to the entropy are found from one place outwards.
  auto distance = [&](size_t i) { return std::abs(-std::log(p_[i]) - entropy); };
  size_t below = 0;  // candidates less surprising than the entropy
  while (below < p_.size() && -std::log(p_[below]) < entropy) ++below;
  size_t first = below, last = below;  // kept: [first, last)
  double mass = 0;
  while (first > 0 || last < p_.size()) {
    const bool lower = last >= p_.size() || (first > 0 && distance(first - 1) <= distance(last));
    mass += lower ? p_[--first] : p_[last++];
    if (mass > params_.typical_p) break;
  }
  cand_.erase(cand_.begin() + static_cast<std::ptrdiff_t>(last), cand_.end());
  cand_.erase(cand_.begin(), cand_.begin() + static_cast<std::ptrdiff_t>(first));
}

void Sampler::top_p() {
  if (params_.top_p >= 1) return;
  if (!all_) {
    sort();
    softmax();
    double mass = 0;
    for (size_t i = 0; i < cand_.size(); ++i) {
      mass += p_[i];
      if (mass >= params_.top_p) cand_.resize(i + 1);
    }
    return;
  }
  // Over the whole vocabulary the nucleus is small: sort only what lies within a distance of the maximum, and widen
  // that until the mass is reached.
  // exp(l - max_) summed; known already where nothing was adjusted.
  const double total = adjusted() ? sum_exp(work_, max_) : std::exp(raw_log_sum_ - max_);
  for (float distance : {4.0f, 8.0f, 16.0f, 32.0f, std::numeric_limits<float>::infinity()}) {
    collect_from(max_ - distance);
    sort();
    double mass = 0;
    for (size_t i = 0; i < cand_.size(); ++i) {
      mass += std::exp(static_cast<double>(cand_[i].logit) - max_) / total;
      if (mass >= params_.top_p) {
        cand_.resize(i + 1);
        return;
      }
    }
  }
}

void Sampler::min_p() {
  if (params_.min_p <= 0) return;
  if (all_) {
    collect_from(max_ + std::log(params_.min_p));
    return;
  }
  sort();
  const float threshold = cand_.front().logit + std::log(params_.min_p);
  while (cand_.size() > 1 && cand_.back().logit < threshold) cand_.pop_back();
}

void Sampler::xtc() {
  if (params_.xtc_probability <= 0 || uniform() >= params_.xtc_probability) return;
  if (all_) collect_from(kMinusInf);
  sort();
  softmax();
  size_t above = 0;
  while (above < p_.size() && p_[above] >= params_.xtc_threshold) ++above;
  if (above >= 2) cand_.erase(cand_.begin(), cand_.begin() + static_cast<std::ptrdiff_t>(above - 1));
}

void Sampler::apply_temperature() {
  float t = params_.temperature;
  // Beyond 60 temperatures below the maximum lies less than 1e-20 of the mass of any vocabulary.
  if (all_) collect_from(max_ - 60 * std::max(t + params_.dynatemp_range, t));
  if (params_.dynatemp_range > 0) {
    softmax();
    double entropy = 0;
    for (double p : p_)
      if (p > 0) entropy -= p * std::log(p);
    const double normal = cand_.size() > 1 ? entropy / std::log(static_cast<double>(cand_.size())) : 0;
    const float low = std::max(0.0f, t - params_.dynatemp_range), high = t + params_.dynatemp_range;
    t = low + (high - low) * static_cast<float>(std::pow(normal, params_.dynatemp_exponent));
  }
  t = std::max(t, 1e-5f);
  for (Candidate& c : cand_) c.logit /= t;
}

int32_t Sampler::draw() {
  softmax();
  double left = uniform();
  for (size_t i = 0; i < cand_.size(); ++i) {
    left -= p_[i];
    if (left < 0) return cand_[i].id;
  }
  // The sum of the probabilities was rounded below the draw: the last with any.
  for (size_t i = cand_.size(); i-- > 0;)
    if (p_[i] > 0) return cand_[i].id;
  return cand_.front().id;
}

void Sampler::sort() {
  if (!sorted_) std::sort(cand_.begin(), cand_.end(), before);
  sorted_ = true;
}

void Sampler::softmax() {
  p_.resize(cand_.size());
  float max = kMinusInf;
  for (const Candidate& c : cand_) max = std::max(max, c.logit);
  double total = 0;
  for (size_t i = 0; i < cand_.size(); ++i) total += p_[i] = std::exp(static_cast<double>(cand_[i].logit) - max);
  for (double& p : p_) p /= total;
}

void Sampler::fill_top(std::span<const float> logits) {
  top_.clear();
  const auto wanted = static_cast<size_t>(std::max(params_.n_top_logprobs, 0));
  if (wanted == 0) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || (top_.size() == wanted && logits[i] <= top_.back().logprob)) continue;
    if (top_.size() == wanted) top_.pop_back();
    size_t at = top_.size();
    while (at > 0 && top_[at - 1].logprob < logits[i]) --at;
    top_.insert(top_.begin() + static_cast<std::ptrdiff_t>(at), {static_cast<int32_t>(i), logits[i]});
  }
  for (TokenLogprob& t : top_) t.logprob = static_cast<float>(t.logprob - raw_log_sum_);
}

}  // namespace dsr1::runtime
