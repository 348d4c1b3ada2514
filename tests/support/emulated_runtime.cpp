// The device runtime over the emulator. Streams are queues that run when somebody waits, so that host code which reads
// a result too early, or changes what an asynchronous copy still reads, is wrong here every time and not now and then.
#include <deque>
#include <utility>

#include "backend/cuda/runtime.h"
#include "dsr1/base/half.h"
#include "dsr1/tensor/tensor.h"
#include "support/emulator.h"

// What a Stream points to: the same opaque type as the toolkit's.
struct CUstream_st {
  std::deque<std::function<dsr1::Status()>> queue;
  std::vector<std::function<dsr1::Status()>>* capture = nullptr;
  dsr1::Status status;
  uint64_t done = 0, queued = 0;
};

namespace dsr1::simt::emu {

namespace {

bool has_blas = true;
int n_recording = 0;  // streams between begin_capture and end_capture
HostCalls calls;

void append(Stream s, std::function<Status()> work) {
  s->queue.push_back(std::move(work));
  ++s->queued;
}

Status enqueue(Stream s, std::function<Status()> work) {
  if (s->capture != nullptr) {
    s->capture->push_back(std::move(work));
  } else {
    append(s, std::move(work));
    ++calls.queued;
  }
  return {};
}

// Runs what is queued up to number `until`; after a failure the rest is dropped, as a device in error does nothing.
void drain(Stream s, uint64_t until) {
  while (s->done < until && !s->queue.empty()) {
    auto work = std::move(s->queue.front());
    s->queue.pop_front();
    ++s->done;
    if (!s->status) continue;
    Status r = work();
    if (!r) s->status = std::move(r);
  }
}

}  // namespace

void set_blas(bool present) { has_blas = present; }
HostCalls host_calls() { return calls; }

Status launch(const char* name, Grid grid, int n_threads, size_t shared_bytes, bool resident, Stream stream,
              std::function<void()> body) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};
  return enqueue(stream, [=, name = std::string(name), body = std::move(body)] {
    return run_grid(name, grid, n_threads, shared_bytes, resident, body);
  });
}

}  // namespace dsr1::simt::emu

namespace dsr1::backend::cuda {

namespace emu = simt::emu;

namespace {

Status bad_copy(const char* what, size_t bytes) {
  return Error(ErrorCode::kRuntime, std::string("copy of ") + std::to_string(bytes) + " bytes: " + what);
}

class EmulatedGraph final : public Graph {
 public:
  explicit EmulatedGraph(std::vector<std::function<Status()>> work) : work_(std::move(work)) {}
  Status launch(Stream stream) override {
    if (stream->capture != nullptr) return Error(ErrorCode::kRuntime, "graph launch: the stream records");
    for (const auto& w : work_) emu::append(stream, w);
    ++emu::calls.graphs;
    return {};
  }

 private:
  std::vector<std::function<Status()>> work_;
};

class EmulatedEvent final : public Event {
 public:
  Status record(Stream stream) override {
    stream_ = stream;
    at_ = stream->queued;
    return {};
  }
  Status synchronize() override {
    if (stream_ == nullptr) return {};
    emu::drain(stream_, at_);
    return stream_->status;
  }
  Status make_wait(Stream stream) override {
    if (stream_ == nullptr) return {};
    return emu::enqueue(stream, [s = stream_, at = at_] {
      emu::drain(s, at);
      return Status();
    });
  }
  Result<double> seconds_since(Event&) override { return 0.0; }  // the emulator knows no time

 private:
  Stream stream_ = nullptr;
  uint64_t at_ = 0;
};

class EmulatedBlas final : public Blas {
 public:
  explicit EmulatedBlas(Stream stream) : stream_(stream) {}
  Status run(const BlasGemm& g) override {
    return emu::enqueue(stream_, [g]() -> Status {
      const auto extent = [](int64_t rows, int64_t stride, int64_t cols) {
        return static_cast<size_t>((rows - 1) * stride + cols);
      };
      if (!emu::is_device(g.w, 2 * extent(g.n_out, g.w_stride, g.n_in)) ||
          !emu::is_device(g.x, 2 * extent(g.rows, g.x_stride, g.n_in)) ||
          !emu::is_device(g.out, 4 * extent(g.rows, g.out_stride, g.n_out)))
        return Error(ErrorCode::kRuntime, "cuBLAS: a matrix is not inside one device allocation");
      const auto at = [&](const void* m, int64_t i) {
        const uint16_t bits = static_cast<const uint16_t*>(m)[i];
        return g.bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
      };
      for (int64_t r = 0; r < g.rows; ++r)
        for (int64_t o = 0; o < g.n_out; ++o) {
          float sum = 0;
          for (int64_t k = 0; k < g.n_in; ++k) sum += at(g.x, r * g.x_stride + k) * at(g.w, o * g.w_stride + k);
          g.out[r * g.out_stride + o] = sum;
          emu::mark_written(&g.out[r * g.out_stride + o], sizeof(float));
        }
      return {};
    });
  }

 private:
  Stream stream_;
};

}  // namespace

std::string Blas::problem() { return emu::has_blas ? "" : "the test took it away"; }
size_t Blas::workspace_bytes() { return 0; }
Result<std::unique_ptr<Blas>> Blas::make(Stream stream) {
  if (!emu::has_blas) return Error(ErrorCode::kNoDevice, problem());
  return std::unique_ptr<Blas>(std::make_unique<EmulatedBlas>(stream));
}

Result<DeviceFacts> open_device(int index) {
  if (index != 0) return Error(ErrorCode::kNoDevice, "no CUDA device " + std::to_string(index) + "; there are 1");
  DeviceFacts f;
  f.name = "emulated";
  f.major = 8;
  f.n_multiprocessors = emu::kMultiprocessors;
  f.shared_bytes_per_block = simt::kSharedPortable;
  f.l2_bytes = 1 << 20;
  f.free_bytes = f.memory_bytes = emu::device_bytes_free();
  return f;
}

Result<Memory> Memory::allocate(Where where, size_t bytes, const std::string& what) {
  // As the CUDA runtime has it in the mode that runtime_cudart.cpp records in.
  if (emu::n_recording > 0)
    return Error(ErrorCode::kRuntime, "memory for " + what + " is allocated while a stream records");
  ++emu::calls.allocations;
  void* p = emu::device_allocate(bytes, where == Where::kPinned);
  if (p == nullptr)
    return Error(ErrorCode::kDoesNotFit,
                 "device memory for " + what + ": " + human_bytes(static_cast<double>(bytes)) + " asked for, " +
                     human_bytes(static_cast<double>(emu::device_bytes_free())) + " of the device free");
  if (where == Where::kPinned) emu::mark_written(p, bytes);
  Memory m;
  m.data_ = static_cast<std::byte*>(p);
  m.size_ = bytes;
  m.where_ = where;
  return m;
}

Memory::~Memory() { emu::device_free(data_); }

Memory& Memory::operator=(Memory&& o) noexcept {
  std::swap(data_, o.data_);
  std::swap(size_, o.size_);
  std::swap(where_, o.where_);
  return *this;
}

Result<Stream> make_stream() { return new CUstream_st; }
void destroy_stream(Stream stream) {
  if (stream->capture != nullptr) --emu::n_recording;
  delete stream->capture;
  delete stream;
}

Status synchronize(Stream stream) {
  if (stream->capture != nullptr) return Error(ErrorCode::kRuntime, "a stream that records is waited for");
  ++emu::calls.waits;
  emu::drain(stream, stream->queued);
  return std::exchange(stream->status, {});
}

Status copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  return emu::enqueue(stream, [=]() -> Status {
    if (!emu::is_device(to, bytes)) return bad_copy("the target is not inside one device allocation", bytes);
    std::memcpy(to, from, bytes);
    emu::mark_written(to, bytes);
    return {};
  });
}

Status copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  return emu::enqueue(stream, [=]() -> Status {
    if (!emu::is_device(from, bytes)) return bad_copy("the source is not inside one device allocation", bytes);
    std::memcpy(to, from, bytes);
    return {};
  });
}

Status copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  return emu::enqueue(stream, [=]() -> Status {
    if (!emu::is_device(to, bytes) || !emu::is_device(from, bytes))
      return bad_copy("source or target is not inside one device allocation", bytes);
    std::memcpy(to, from, bytes);
    emu::mark_written(to, bytes);
    return {};
  });
}

Status fill_bytes(void* to, int value, size_t bytes, Stream stream) {
  return emu::enqueue(stream, [=]() -> Status {
    if (!emu::is_device(to, bytes)) return bad_copy("the target is not inside one device allocation", bytes);
    std::memset(to, value, bytes);
    emu::mark_written(to, bytes);
    return {};
  });
}

Status begin_capture(Stream stream) {
  if (stream->capture != nullptr) return Error(ErrorCode::kRuntime, "begin of a graph: the stream records already");
  stream->capture = new std::vector<std::function<Status()>>;
  ++emu::n_recording;
  return {};
}

Result<std::unique_ptr<Graph>> end_capture(Stream stream) {
  if (stream->capture == nullptr) return Error(ErrorCode::kRuntime, "end of a graph: the stream does not record");
  std::unique_ptr<std::vector<std::function<Status()>>> work(std::exchange(stream->capture, nullptr));
  --emu::n_recording;
  return std::unique_ptr<Graph>(std::make_unique<EmulatedGraph>(std::move(*work)));
}

Result<std::unique_ptr<Event>> Event::make() { return std::unique_ptr<Event>(std::make_unique<EmulatedEvent>()); }

}  // namespace dsr1::backend::cuda
