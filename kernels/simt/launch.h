// What host code and kernels share about launching: plain C++, no toolkit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dsr1/base/result.h"

struct CUstream_st;  // the toolkit's cudaStream_t is a pointer to this

namespace dsr1::simt {

using Stream = CUstream_st*;

struct Grid {
  int64_t x = 1, y = 1, z = 1;  // y and z at most 65535, as the hardware has it
};

// Shared memory a block may always use without opting in, and the most any supported device gives (sm_80: 163 KiB,
// sm_86 and sm_89: 99 KiB, sm_90: 227 KiB).
inline constexpr size_t kSharedDefault = 48 << 10;
inline constexpr size_t kSharedPortable = 99 << 10;

}  // namespace dsr1::simt
