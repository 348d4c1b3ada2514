// The CUDA backend over the emulator, for tests written for host memory.
#pragma once

#include <cstring>

#include "backend/cuda/ops.h"
#include "support/emulator.h"
#include "support/host_adapter.h"

namespace dsr1::test {

inline HostAdapter::Copies emulated_copies() {
  return {[](void* to, const void* from, size_t bytes) {
            std::memcpy(to, from, bytes);
            simt::emu::mark_written(to, bytes);
          },
          [](void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }};
}

}  // namespace dsr1::test
