// The device runtime on the CUDA runtime library.
#include <cuda_runtime_api.h>

#include <algorithm>

#include "backend/cuda/cudart.h"
#include "backend/cuda/runtime.h"
#include "dsr1/tensor/tensor.h"

namespace dsr1::backend::cuda {
namespace {

// What the driver takes after this: kernels as they are first launched, ours and cuBLAS', and the stacks of those that
// decode block by block (224 bytes for each of 2,048 threads of every multiprocessor). An allowance, not a measurement.
constexpr size_t kDriverBytes = size_t{256} << 20;

Status check(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return {};
  return Error(ErrorCode::kRuntime, std::string(what) + ": " + cudaGetErrorString(e));
}

class CudaGraph final : public Graph {
 public:
  explicit CudaGraph(cudaGraphExec_t exec) : exec_(exec) {}
  ~CudaGraph() override { cudaGraphExecDestroy(exec_); }
  Status launch(Stream stream) override { return check(cudaGraphLaunch(exec_, stream), "graph launch"); }

 private:
  cudaGraphExec_t exec_;
};

class CudaEvent final : public Event {
 public:
  explicit CudaEvent(cudaEvent_t event) : event_(event) {}
  ~CudaEvent() override { cudaEventDestroy(event_); }
  Status record(Stream stream) override { return check(cudaEventRecord(event_, stream), "event record"); }
  Status synchronize() override { return check(cudaEventSynchronize(event_), "the device"); }
  Status make_wait(Stream stream) override { return check(cudaStreamWaitEvent(stream, event_, 0), "event wait"); }
  Result<double> seconds_since(Event& earlier) override {
    float ms = 0;
    DSR1_TRY_STATUS(check(cudaEventElapsedTime(&ms, static_cast<CudaEvent&>(earlier).event_, event_), "event time"));
    return ms * 1e-3;
  }

 private:
  cudaEvent_t event_;
};

}  // namespace

Result<DeviceFacts> open_device(int index) {
  int n = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&n); e != cudaSuccess)
    return Error(ErrorCode::kNoDevice, "no CUDA device: " + why_no_device(e));
  if (index < 0 || index >= n)
    return Error(ErrorCode::kNoDevice, "no CUDA device " + std::to_string(index) + "; there are " + std::to_string(n));
  DSR1_TRY_STATUS(check(cudaSetDevice(index), "device"));
  cudaDeviceProp p{};
  DSR1_TRY_STATUS(check(cudaGetDeviceProperties(&p, index), "device properties"));
  if (std::string why = why_too_old(p); !why.empty()) return Error(ErrorCode::kNoDevice, std::move(why));
  DeviceFacts f;
  f.name = p.name;
  f.major = p.major;
  f.minor = p.minor;
  f.n_multiprocessors = p.multiProcessorCount;
  f.shared_bytes_per_block = p.sharedMemPerBlockOptin;
  f.l2_bytes = static_cast<size_t>(p.l2CacheSize);
  DSR1_TRY_STATUS(check(cudaMemGetInfo(&f.free_bytes, &f.memory_bytes), "device memory"));
  f.free_bytes -= std::min(f.free_bytes, kDriverBytes);
  return f;
}

Result<Memory> Memory::allocate(Where where, size_t bytes, const std::string& what) {
  void* p = nullptr;
  const cudaError_t e = where == Where::kDevice ? cudaMalloc(&p, bytes > 0 ? bytes : 1)
                                                : cudaHostAlloc(&p, bytes > 0 ? bytes : 1, cudaHostAllocDefault);
  if (e != cudaSuccess) {
    (void)cudaGetLastError();  // an allocation's failure is not sticky
    size_t free_bytes = 0, total = 0;
    (void)cudaMemGetInfo(&free_bytes, &total);
    return Error(ErrorCode::kDoesNotFit, std::string(where == Where::kDevice ? "device" : "pinned host") +
                                             " memory for " + what + ": " + human_bytes(static_cast<double>(bytes)) +
                                             " asked for, " + human_bytes(static_cast<double>(free_bytes)) +
                                             " of the device free (" + cudaGetErrorString(e) + ")");
  }
  Memory m;
  m.data_ = static_cast<std::byte*>(p);
  m.size_ = bytes;
  m.where_ = where;
  return m;
}

Memory::~Memory() {
  if (data_ != nullptr) (void)(where_ == Where::kDevice ? cudaFree(data_) : cudaFreeHost(data_));
}

Memory& Memory::operator=(Memory&& o) noexcept {
  std::swap(data_, o.data_);
  std::swap(size_, o.size_);
  std::swap(where_, o.where_);
  return *this;
}

Result<Stream> make_stream() {
  cudaStream_t s = nullptr;
  DSR1_TRY_STATUS(check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream"));
  return s;
}
void destroy_stream(Stream stream) { cudaStreamDestroy(stream); }
Status synchronize(Stream stream) { return check(cudaStreamSynchronize(stream), "the device"); }

Status copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copy to the device");
}
Status copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copy from the device");
}
Status copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copy on the device");
}
Status fill_bytes(void* to, int value, size_t bytes, Stream stream) {
  return check(cudaMemsetAsync(to, value, bytes, stream), "fill");
}

Status begin_capture(Stream stream) {
  return check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin of a graph");
}

Result<std::unique_ptr<Graph>> end_capture(Stream stream) {
  cudaGraph_t graph = nullptr;
  DSR1_TRY_STATUS(check(cudaStreamEndCapture(stream, &graph), "end of a graph"));
  cudaGraphExec_t exec = nullptr;
  const cudaError_t e = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  DSR1_TRY_STATUS(check(e, "graph"));
  return std::unique_ptr<Graph>(std::make_unique<CudaGraph>(exec));
}

Result<std::unique_ptr<Event>> Event::make() {
  cudaEvent_t e = nullptr;
  DSR1_TRY_STATUS(check(cudaEventCreate(&e), "event"));
  return std::unique_ptr<Event>(std::make_unique<CudaEvent>(e));
}

}  // namespace dsr1::backend::cuda
