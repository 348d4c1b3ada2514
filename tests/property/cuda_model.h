// Engines on the device under test: the emulator, or (DSR1_TEST_ON_DEVICE) the first GPU.
#pragma once

#include <gtest/gtest.h>

#include "dsr1/backend/cuda.h"
#include "support/engine_helpers.h"
#if !defined(DSR1_TEST_ON_DEVICE)
#include "backend/cuda/ops.h"
#include "support/emulator.h"
#endif

namespace dsr1::test {

inline runtime::EngineOptions on_device(int batch, DType cache, [[maybe_unused]] uint64_t seed = 1) {
  runtime::EngineOptions o;
  o.n_threads = 1;
  o.n_batch = batch;
  o.n_ctx = 512;
  o.type_k = o.type_v = cache;
#if defined(DSR1_TEST_ON_DEVICE)
  o.device = "cuda";
#else
  simt::emu::set_seed(seed);
  o.make_ops = [](const ops::Limits& limits) { return backend::cuda::make_ops(0, limits); };
#endif
  return o;
}

// The same on the reference backend.
inline runtime::EngineOptions reference(int batch, DType cache) {
  runtime::EngineOptions o = on_device(batch, cache);
  o.make_ops = nullptr;
  o.device = "ref";
  return o;
}

inline Result<std::unique_ptr<ops::Ops>> device_ops(const ops::Limits& limits) {
#if defined(DSR1_TEST_ON_DEVICE)
  return backend::make_cuda(0, limits);
#else
  return backend::cuda::make_ops(0, limits);
#endif
}

// Why nothing can run here; empty where it can.
inline std::string no_device() {
#if defined(DSR1_TEST_ON_DEVICE)
  return backend::cuda_info().problem;
#else
  return {};
#endif
}

}  // namespace dsr1::test
