// A campaign of mutated inputs, with any compiler; meant for the asan preset. DSR1_FUZZ_ITERATIONS sets the number of
// inputs a test, DSR1_FUZZ_SEED the beginning; both repeat a failure.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

#include "fuzz/mutator.h"

#ifndef DSR1_FUZZ_DEFAULT
#define DSR1_FUZZ_DEFAULT 20000
#endif

namespace dsr1::test {

inline uint64_t setting(const char* name, uint64_t absent) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : absent;
}

// Keeps the number of the running case where a crash handler or a debugger finds it.
inline volatile uint64_t g_case = 0;

template <class Make, class Target>
void campaign(uint64_t iterations, Make make, Target target) {
  iterations = setting("DSR1_FUZZ_ITERATIONS", iterations);
  uint64_t first = setting("DSR1_FUZZ_SEED", 1), accepted = 0;
  for (uint64_t i = 0; i < iterations; ++i) {
    g_case = first + i;
    Mutator mutator(first + i);
    accepted += target(make(mutator)) ? 1 : 0;
  }
  ::testing::Test::RecordProperty("accepted", static_cast<int>(accepted));
  std::printf("%llu inputs, %llu accepted\n", static_cast<unsigned long long>(iterations),
              static_cast<unsigned long long>(accepted));
  // Mutation that only breaks the first bytes would prove nothing; one that never breaks anything neither.
  EXPECT_GT(accepted, iterations / 100);
  EXPECT_LT(accepted, iterations);
}

}  // namespace dsr1::test
