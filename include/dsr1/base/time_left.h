// TimeLeft: how long an operation will still take, by how its counter has moved lately.
//
// The rate is the slope of a line through the last two thirds of the time so far. Beginnings are another matter: disks
// and their limits give a burst (4 to 7 % of a 1.1 GB file in the first 50 ms of a disk held to 300 MB/s), and the
// requests in flight, which are not counted yet, weigh least in a slope.
//
// Owns what it remembers (a few hundred numbers, whatever the number of calls). One thread at a time.
#pragma once

#include <optional>
#include <vector>

namespace dsr1 {

class TimeLeft {
 public:
  // Before that nothing is said: it would be the burst that is seen.
  static constexpr double kSettled = 0.5;

  // `seconds` on any clock, never less than before. A counter that falls is another operation's: all begins anew.
  void add(double seconds, double done);
  // Seconds from the last call of add until the counter reaches `total`; none while it is too early to say, or where
  // the counter has stood still.
  std::optional<double> until(double total) const;
  double elapsed() const { return samples_.empty() ? 0 : samples_.back().seconds - samples_.front().seconds; }

 private:
  struct Sample {
    double seconds, done;
  };
  std::vector<Sample> samples_;
};

}  // namespace dsr1
