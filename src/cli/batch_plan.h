// `dsr1 batch --dry-run`: what a batch will take, without running it.
#pragma once

#include "batch_run.h"

namespace dsr1::cli {

// Reads, renders and counts every row, and prints rows, tokens and the predicted time. kInterrupted where *cancel
// became true, kBatchFailed where rows would fail.
Status plan_batch(const runtime::Engine& engine, BatchInput& input, RowMaker& maker, int n_parallel, int64_t limit,
                  bool json, const std::atomic<bool>* cancel);

}  // namespace dsr1::cli
