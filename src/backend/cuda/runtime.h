// The device runtime the CUDA backend is written against: memory, copies, streams, graphs, events. Two implementations
// of these names: runtime_cudart.cpp (the CUDA runtime) and tests/support/emulated_runtime.cpp (the emulator, where
// queued work runs no sooner than somebody waits for it). Every call names what failed and why.
//
// Calls on one stream run in order. Copies are asynchronous: host memory must stay as it is until the stream is waited
// for. One thread drives a device at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dsr1/base/result.h"
#include "kernels/simt/launch.h"

namespace dsr1::backend::cuda {

using simt::Stream;

struct DeviceFacts {
  std::string name;
  int major = 0, minor = 0;           // compute capability
  int n_multiprocessors = 0;          // streaming multiprocessors
  size_t shared_bytes_per_block = 0;  // the most a block may opt in to
  size_t l2_bytes = 0;
  size_t memory_bytes = 0, free_bytes = 0;  // free: for us, without what the driver takes later
};

// Makes `index` the device of this thread. kNoDevice where it is not there.
Result<DeviceFacts> open_device(int index);

// Device memory, or host memory the device reads and writes directly (pinned). Move-only, freed with its owner.
class Memory {
 public:
  enum class Where { kDevice, kPinned };
  // kDoesNotFit with the bytes asked for and the bytes free.
  static Result<Memory> allocate(Where where, size_t bytes, const std::string& what);
  Memory() = default;
  ~Memory();
  Memory(Memory&& o) noexcept { *this = std::move(o); }
  Memory& operator=(Memory&& o) noexcept;
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  Where where_ = Where::kDevice;
};

Result<Stream> make_stream();
void destroy_stream(Stream stream);
// Everything queued has run; the first error since the last call.
Status synchronize(Stream stream);

Status copy_to_device(void* to, const void* from, size_t bytes, Stream stream);
Status copy_to_host(void* to, const void* from, size_t bytes, Stream stream);
Status copy_on_device(void* to, const void* from, size_t bytes, Stream stream);
Status fill_bytes(void* to, int value, size_t bytes, Stream stream);

// Work recorded once and queued as one: between begin_capture and end_capture calls on the stream are recorded, not
// run.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual Status launch(Stream stream) = 0;
};
Status begin_capture(Stream stream);
Result<std::unique_ptr<Graph>> end_capture(Stream stream);

// A point in a stream.
class Event {
 public:
  static Result<std::unique_ptr<Event>> make();
  virtual ~Event() = default;
  virtual Status record(Stream stream) = 0;
  virtual Status synchronize() = 0;                          // the host waits for the point; nothing where none is
  virtual Status make_wait(Stream stream) = 0;               // later work of `stream` waits for the point
  virtual Result<double> seconds_since(Event& earlier) = 0;  // both have passed
};

// Large products of 16-bit floats by the vendor's library (cuBLAS; the emulator multiplies them one by one):
// out[r][o] = sum over k of x[r][k] * w[o][k], sums in F32. Strides in elements.
struct BlasGemm {
  const void *w, *x;
  float* out;
  bool bf16;  // else F16
  int64_t rows, n_out, n_in, w_stride, x_stride, out_stride;
};
class Blas {
 public:
  static std::string problem();  // why there is none; empty where there is
  static size_t workspace_bytes();
  // Queues on `stream`.
  static Result<std::unique_ptr<Blas>> make(Stream stream);
  virtual ~Blas() = default;
  virtual Status run(const BlasGemm& g) = 0;
};

}  // namespace dsr1::backend::cuda
