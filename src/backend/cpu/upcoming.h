// Upcoming: which memory each thread will read next, so that its beginning can be fetched early.
//
// A forward pass makes the same calls in the same order for every token. Each call that reads weights says where each
// thread begins; that is remembered for the call before it, and from the second token on a thread that is at its end,
// or waits while others finish or while one thread does what lies between two matrices, fetches the first bytes of its
// part of the next one. A wrong guess costs a few useless reads.
//
// begin() and will_be() are called by the thread that drives the ops, the rest by any. Nothing here decides a result.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dsr1/base/thread_pool.h"

namespace dsr1::backend::cpu {

class Upcoming {
 public:
  explicit Upcoming(int n_threads)
      : n_threads_(n_threads),
        starts_(static_cast<size_t>(n_threads)),
        after_(kSlots * static_cast<size_t>(n_threads)) {}

  // A call that shares n parts begins; address(part) is where a part lies. `key` names the call.
  template <class F>
  void begin(const void* key, int64_t n, F address) {
    if (last_ != nullptr) {
      keys_[slot(last_)] = last_;
      for (int t = 0; t < n_threads_; ++t) after(last_)[t] = address(first_task(n, t, n_threads_));
    }
    last_ = key;
    const bool known = keys_[slot(key)] == key;
    for (size_t t = 0; t < starts_.size(); ++t)
      starts_[t].store(known ? after(key)[t] : nullptr, std::memory_order_relaxed);
  }

  // A call begins that no token foretells (the experts of this one); the call after it is known.
  template <class F>
  void will_be(int64_t n, F address) {
    last_ = nullptr;
    for (int t = 0; t < n_threads_; ++t)
      starts_[static_cast<size_t>(t)].store(address(first_task(n, t, n_threads_)), std::memory_order_relaxed);
  }

  // Where thread t reads after this part of n, as far as that is known.
  template <class F>
  const std::byte* after(int64_t part, int64_t n, int t, F address) const {
    if (part >= first_task(n, t, n_threads_) && part + 1 < first_task(n, t + 1, n_threads_)) return address(part + 1);
    return starts_[static_cast<size_t>(t)].load(std::memory_order_relaxed);
  }

  // A little more of the next part of a thread that has nothing else to do: a quarter of an L2 cache in all.
  void fetch(int thread, int step) const {
    constexpr int kBytes = 2048, kSteps = 128;
    const std::byte* p = starts_[static_cast<size_t>(thread)].load(std::memory_order_relaxed);
    if (p == nullptr || step >= kSteps) return;
    for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(p + step * kBytes + i, 0, 2);
  }

 private:
  // More than the calls of a pass (80 layers of 6); where two share a slot, the guess of one is lost.
  static constexpr size_t kSlots = 1024;
  static size_t slot(const void* key) {
    return (reinterpret_cast<uintptr_t>(key) * 0x9E3779B97F4A7C15ull) >> 54;  // the top 10 bits: Knuth's product hash
  }
  const std::byte** after(const void* key) { return after_.data() + slot(key) * static_cast<size_t>(n_threads_); }

  const int n_threads_;
  const void* last_ = nullptr;
  std::vector<std::atomic<const std::byte*>> starts_;  // of the next call, by thread
  std::array<const void*, kSlots> keys_{};             // the call whose successor a slot holds
  std::vector<const std::byte*> after_;                // [slot][thread]
};

}  // namespace dsr1::backend::cpu
