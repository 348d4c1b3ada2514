#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "dsr1/base/time_left.h"

namespace dsr1 {
namespace {

TEST(TimeLeft, ASteadyCounterIsFollowedExactly) {
  TimeLeft left;
  for (int i = 0; i <= 20; ++i) left.add(100 + 0.05 * i, 3.0 * i);
  EXPECT_NEAR(*left.until(600), (600 - 60) / 60.0, 1e-9);
  EXPECT_NEAR(left.elapsed(), 1, 1e-9);
  EXPECT_EQ(left.until(60), 0);
}

TEST(TimeLeft, NothingIsSaidInTheFirstHalfSecondNorOfACounterThatStands) {
  TimeLeft left;
  EXPECT_FALSE(left.until(10));
  left.add(0, 0);
  EXPECT_FALSE(left.until(10));
  left.add(0.49, 5);
  EXPECT_FALSE(left.until(10));
  left.add(0.51, 5);
  EXPECT_TRUE(left.until(10));
  for (int i = 0; i < 10; ++i) left.add(2 + i, 5);
  EXPECT_FALSE(left.until(10));
}

// A burst of 7 % at once, then one rate, counted in lumps: what a disk behind a limit does. The average from the
// beginning is off by more than a third at a tenth.
TEST(TimeLeft, ABurstAtTheStartIsForgottenOnceATenthIsDone) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> lump(0, 0.008);
  TimeLeft left;
  left.add(0, 0);
  double worst = 0, average = 0, counted = 0;
  constexpr double kEnd = 0.1 + 0.93 / 0.09;
  for (double t = 0.05; t < kEnd; t += 0.05) {
    counted = std::max(counted, t < 0.1 ? 0.07 : 0.07 + 0.09 * (t - 0.1) - lump(random));
    left.add(t, counted);
    if (counted < 0.1) continue;
    worst = std::max(worst, std::fabs(t + *left.until(1) - kEnd) / kEnd);
    average = std::max(average, std::fabs(t / counted - kEnd) / kEnd);
  }
  EXPECT_LT(worst, 0.15);
  EXPECT_GT(average, 0.3);
}

TEST(TimeLeft, ARateThatFallsIsTheRateSoonAfter) {
  TimeLeft left;
  for (int i = 0; i <= 40; ++i) left.add(0.05 * i, i < 10 ? 4.0 * i : 36 + (i - 10));
  EXPECT_NEAR(*left.until(166), 5, 0.1);  // 100 more at 20 a second
}

TEST(TimeLeft, ACounterThatFallsBeginsAnew) {
  TimeLeft left;
  for (int i = 0; i <= 20; ++i) left.add(0.1 * i, 50.0 * i);
  left.add(2.1, 0);
  EXPECT_FALSE(left.until(100));
  for (int i = 1; i <= 20; ++i) left.add(2.1 + 0.1 * i, i);
  EXPECT_NEAR(*left.until(40), 2, 1e-9);
}

TEST(TimeLeft, AHundredThousandCallsAreAnsweredLikeAHundred) {
  TimeLeft left;
  for (int i = 0; i <= 100000; ++i) left.add(0.001 * i, i);
  EXPECT_NEAR(*left.until(200000), 100, 1e-6);
}

}  // namespace
}  // namespace dsr1
