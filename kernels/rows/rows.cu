#include "kernels/quant/decode.cuh"
#include "kernels/rows/rows.h"

namespace dsr1::kernels {
namespace {

constexpr int kThreads = 128;

struct EmbedParams {
  Weight table;
  const int32_t* tokens;
  Matrix out;
};

// A thread a group of 32 elements.
template <class T>
__global__ void embed_kernel(const EmbedParams p) {
  const int g = simt::block_x() * kThreads + simt::thread(), r = simt::block_y();
  if (g * kGroup >= p.out.cols) return;
  float v[kGroup];
  decode_group<T>(p.table, p.tokens[r], g, v);
  float* to = p.out.data + r * p.out.stride + g * kGroup;
  for (int i = 0; i < kGroup && g * kGroup + i < p.out.cols; ++i) to[i] = v[i];
}

struct RowsParams {
  Matrix a, b, out;
};

DSR1_DEVICE int column() { return simt::block_x() * kThreads + simt::thread(); }

__global__ void add_kernel(const RowsParams p) {
  const int c = column(), r = simt::block_y();
  if (c < p.out.cols) p.out.data[r * p.out.stride + c] = p.a.data[r * p.a.stride + c] + p.b.data[r * p.b.stride + c];
}

__global__ void swiglu_kernel(const RowsParams p) {
  const int c = column(), r = simt::block_y();
  if (c >= p.out.cols) return;
  const float g = p.a.data[r * p.a.stride + c];
  p.out.data[r * p.out.stride + c] = g / (1.0f + simt::exp(-g)) * p.b.data[r * p.b.stride + c];
}

struct CopyRowsParams {
  Matrix x;
  const int32_t* rows;
  Matrix out;
};

__global__ void copy_rows_kernel(const CopyRowsParams p) {
  const int c = column(), r = simt::block_y();
  if (c < p.out.cols) p.out.data[r * p.out.stride + c] = p.x.data[p.rows[r] * p.x.stride + c];
}

struct CopyHeadsParams {
  Matrix x, out;
  int64_t x_stride, out_stride;
  int n;
};

__global__ void copy_heads_kernel(const CopyHeadsParams p) {
  const int c = column(), r = simt::block_y(), h = simt::block_z();
  if (c < p.n) p.out.data[r * p.out.stride + h * p.out_stride + c] = p.x.data[r * p.x.stride + h * p.x_stride + c];
}

// Rows lie along the grid's y, which ends at 65,535: larger batches are refused by the engine.
simt::Grid grid_of(int64_t cols, int64_t rows, int64_t z = 1) { return {(cols + kThreads - 1) / kThreads, rows, z}; }

}  // namespace

Status launch_embed(const Weight& table, const int32_t* tokens, Matrix out, simt::Stream stream) {
  Status s;
  const bool known = with_type(table.type, [&]<class T>() {
    s = simt::launch("embed", embed_kernel<T>, grid_of((out.cols + kGroup - 1) / kGroup, out.rows), kThreads, 0, stream,
                     EmbedParams{table, tokens, out});
  });
  if (!known) return Error(ErrorCode::kRuntime, "embed: no kernel for tensor type " + std::to_string(table.type));
  return s;
}

Status launch_add(Matrix a, Matrix b, Matrix out, simt::Stream stream) {
  return simt::launch("add", add_kernel, grid_of(out.cols, out.rows), kThreads, 0, stream, RowsParams{a, b, out});
}

Status launch_swiglu(Matrix gate, Matrix up, Matrix out, simt::Stream stream) {
  return simt::launch("swiglu", swiglu_kernel, grid_of(out.cols, out.rows), kThreads, 0, stream,
                      RowsParams{gate, up, out});
}

Status launch_copy_rows(Matrix x, const int32_t* rows, Matrix out, simt::Stream stream) {
  return simt::launch("copy_rows", copy_rows_kernel, grid_of(out.cols, out.rows), kThreads, 0, stream,
                      CopyRowsParams{x, rows, out});
}

Status launch_copy_heads(Matrix x, int64_t x_stride, Matrix out, int64_t out_stride, int n_head, int n,
                         simt::Stream stream) {
  return simt::launch("copy_heads", copy_heads_kernel, grid_of(n, out.rows, n_head), kThreads, 0, stream,
                      CopyHeadsParams{x, out, x_stride, out_stride, n});
}

}  // namespace dsr1::kernels
