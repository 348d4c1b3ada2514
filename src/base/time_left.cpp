#include "dsr1/base/time_left.h"

#include <algorithm>

namespace dsr1 {

void TimeLeft::add(double seconds, double done) {
  constexpr size_t kMost = 512;
  if (!samples_.empty() && done < samples_.back().done) samples_.clear();
  samples_.push_back({seconds, done});
  if (samples_.size() < kMost) return;
  // Every second one goes, but never the first or the last.
  size_t kept = 1;
  for (size_t i = 2; i + 1 < samples_.size(); i += 2) samples_[kept++] = samples_[i];
  samples_[kept++] = samples_.back();
  samples_.resize(kept);
}

std::optional<double> TimeLeft::until(double total) const {
  if (elapsed() < kSettled) return std::nullopt;
  const Sample &first = samples_.front(), &last = samples_.back();
  if (last.done >= total) return 0.0;
  const auto later = std::upper_bound(samples_.begin(), samples_.end(), first.seconds + elapsed() / 3,
                                      [](double s, const Sample& x) { return s < x.seconds; });
  const auto begin = std::min(later, samples_.end() - 1) - 1;
  double n = 0, seconds = 0, done = 0, square = 0, product = 0;
  for (auto s = begin; s != samples_.end(); ++s) {
    ++n;
    seconds += s->seconds;
    done += s->done;
  }
  for (auto s = begin; s != samples_.end(); ++s) {
    const double t = s->seconds - seconds / n;
    square += t * t;
    product += t * (s->done - done / n);
  }
  if (!(product > 0)) return std::nullopt;
  return (total - last.done) * square / product;
}

}  // namespace dsr1
