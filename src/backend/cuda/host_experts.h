// Experts that stay in host memory (ops::HostExperts), in one of two ways.
//
// Few rows: x, the router's choice and its weights go to a mailbox in pinned memory; the device goes on with what does
// not need the result (the shared expert), and when somebody wants to read the result the host waits for the mailbox,
// computes, and sends the sum back. One wait and two copies a layer.
//
// Many rows: the weights come to the device, a chunk of experts at a time through two buffers, copies beside kernels.
// Worth it from where the processor would take longer than the copies (rows_worth_streaming).
#pragma once

#include <array>
#include <functional>

#include "backend/cuda/runtime.h"
#include "backend/cuda/weights.h"
#include "dsr1/ops/ops.h"
#include "kernels/moe/moe.h"

namespace dsr1::backend::cuda {

// Rows from which sending all experts of a layer to the device takes less time than computing the chosen ones here.
int64_t rows_worth_streaming(const ops::Limits& limits, const ops::HostExperts& host);

class HostExperts {
 public:
  HostExperts() = default;
  static size_t device_bytes(const ops::Limits& limits, const ops::HostExperts& host);
  static Result<HostExperts> make(const ops::Limits& limits, const ops::HostExperts& host);
  HostExperts(HostExperts&&) = default;
  HostExperts& operator=(HostExperts&&) = default;
  ~HostExperts();

  bool present() const { return host_.matrix_bytes > 0; }
  // Whether a pass of so many rows of these experts is streamed.
  bool streams(const ops::ExpertWeights& experts, int64_t rows) const;

  // out = the experts' weighted sum, at settle().
  Status send(const ops::ExpertWeights& experts, ops::Mat x, const int32_t* ids, ops::Mat weights, ops::Mat out,
              Stream stream);
  bool pending() const { return pending_; }
  bool touches(ops::Mat m) const;  // what settle() will write
  Status settle(Stream stream);

  // Calls use(matrices, first, n) for consecutive runs of experts, their weights in device memory for what `use` queues
  // on `stream`.
  using Use = std::function<Status(const kernels::ExpertMatrix& w, int first, int n)>;
  Status stream(std::span<const TensorView> experts, Stream stream, const Use& use);

 private:
  struct Buffer {
    Memory pinned, raw, planes;
    std::unique_ptr<Event> copied, used;
  };
  // Copies go out on a stream of their own.
  struct StreamOwner {
    Stream stream = nullptr;
    StreamOwner() = default;
    StreamOwner(StreamOwner&& o) noexcept { std::swap(stream, o.stream); }
    StreamOwner& operator=(StreamOwner&& o) noexcept {
      std::swap(stream, o.stream);
      return *this;
    }
    ~StreamOwner() {
      if (stream != nullptr) destroy_stream(stream);
    }
  };

  Status bring(std::span<const TensorView> experts, const ExpertStrides& strides, Buffer& b);

  ops::HostExperts host_;
  int64_t stream_rows_ = 0;
  Memory mailbox_x_, mailbox_ids_, mailbox_weights_, mailbox_out_;
  std::unique_ptr<Event> arrived_;
  std::unique_ptr<ops::Memory> scratch_memory_;
  ops::MoeScratch scratch_;
  // Of the pending call.
  bool pending_ = false;
  ops::ExpertWeights experts_;
  ops::Mat x_, weights_, out_;

  StreamOwner copies_;
  std::array<Buffer, 2> buffers_;
};

}  // namespace dsr1::backend::cuda
