// What ops_test.cpp is run on: each test program of this folder defines for_each_backend.
#pragma once

#include <functional>

#include "dsr1/ops/ops.h"

namespace dsr1::test {

// Calls f with every backend (instruction-set level and thread count, emulated schedule, device) of the program, each
// over host memory.
void for_each_backend(const ops::Limits& limits, const std::function<void(ops::Ops&)>& f);

// What the backends of the program round beyond float sums, as relative sizes, and what they are asked.
struct Expectations {
  double many_rows = 1e-5;  // float weights (not F32) with more than a few rows: 1e-5 where activations stay float
  double many_against_few = 1e-6;  // the same product asked for with many rows and with few
  double attention = 1e-5;         // over an F16 cache
  int32_t context = 500;           // positions before a prompt; less of both where every load is watched
  int64_t rows = 40;               // of large batches
  int heads = 4, experts = 16;     // of MLA; of a mixture
  int64_t n_embd = 256;            // of experts
};
Expectations expected();

}  // namespace dsr1::test
