// What kernels are given: plain structs of device pointers, passed by value. Nothing here owns memory.
#pragma once

#include <cstdint>

namespace dsr1::kernels {

// Float32 activations [rows, cols]; row r starts at data + r * stride. Rows are 16-byte aligned where stride % 4 == 0.
struct Matrix {
  float* data = nullptr;
  int64_t stride = 0;
  int32_t rows = 0, cols = 0;
};

// A weight matrix of one type (a DType's number): floats as they lie in the file, blocks in planes (quant/planes.h).
struct Weight {
  const uint8_t* data = nullptr;
  uint32_t type = 0;
  int32_t rows = 0, cols = 0;
  int64_t row_bytes = 0;             // of the file's rows; of these only where the type has one plane
  const float* scale_inv = nullptr;  // FP8 only: [ceil(rows/128), ceil(cols/128)]
};

// One layer of the caches of all sequences in a batch.
struct KvCache {
  uint32_t k_type = 0, v_type = 0;  // F32, F16 or Q8_0
  int32_t n_head_kv = 0, k_dim = 0, v_dim = 0;
  int64_t n_ctx = 0;
  int64_t k_row_bytes = 0, v_row_bytes = 0;
};

// K and V of one sequence and layer: [n_head_kv][n_ctx] rows each. v null: V is the head of the K row (MLA).
struct KvBase {
  uint8_t *k, *v;
};

// The rows of a batch: which sequence each belongs to and where it stands in it. All in device memory, so that a graph
// replays with other contents.
struct BatchRows {
  const int32_t* position = nullptr;  // [rows]
  const int32_t* sequence = nullptr;  // [rows]: index into bases
  const KvBase* bases = nullptr;      // [n_sequence] of one layer
  int32_t rows = 0;
};

}  // namespace dsr1::kernels
