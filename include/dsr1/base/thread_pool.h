// ThreadPool: a fixed team of threads for data-parallel ops.
//
// parallel_for gives every thread an equal run of neighbouring tasks, which it walks upwards; one that has done its own
// takes tasks from the end of another's. So a thread reads one stretch of memory after the other, and one that the
// system has put aside holds up no more than the task it was in: a worker that comes late finds the work done and is
// not waited for. run() calls f once on every thread.
// Between calls the workers spin for a short time (an op follows an op within microseconds) and then sleep: no
// spinning when idle. Calls come from one thread at a time and never from inside a task.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace dsr1 {

class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);  // >= 1
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return n_threads_; }

  // What a thread does over and over while it waits for others or, for a short time, for the next call; `step` counts
  // from 0 since its last task. It must return within a microsecond and touch only what any thread may read at any
  // time.
  using Idle = void (*)(void* context, int thread, int step);
  void set_idle(Idle idle, void* context) {  // before the first call of run or parallel_for
    idle_context_ = context;
    idle_.store(idle, std::memory_order_release);
  }

  // f(int thread). Allocates nothing.
  template <class F>
  void run(F&& f) {
    using Fn = std::remove_reference_t<F>;
    run_erased([](void* ctx, int thread) { (*static_cast<Fn*>(ctx))(thread); },
               const_cast<void*>(static_cast<const void*>(&f)));
  }

  // f(int64_t task, int thread) for every task in 0..n-1, in any order on any threads; returns when all are done.
  // n < 2^31.
  // `thread` is unique among the threads running now: an index for scratch memory. Allocates nothing.
  template <class F>
  void parallel_for(int64_t n, F&& f) {
    using Fn = std::remove_reference_t<F>;
    tasks_erased(
        n, [](void* ctx, int64_t task, int thread) { (*static_cast<Fn*>(ctx))(task, thread); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  using Call = void (*)(void* context, int thread);
  using Task = void (*)(void* context, int64_t task, int thread);
  void run_erased(Call call, void* context);
  void tasks_erased(int64_t n, Task task, void* context);
  void publish(bool everyone);
  void work_on_tasks(int thread);
  bool take(int from, bool last, int64_t& task);
  void wait_a_little(int thread, int step);
  void worker(int index);

  const int n_threads_;
  int spin_limit_;
  std::vector<std::thread> threads_;
  Call call_ = nullptr;
  Task task_ = nullptr;
  void* context_ = nullptr;
  void* idle_context_ = nullptr;
  std::atomic<Idle> idle_{nullptr};
  // Counts jobs by two; odd while the newest job is one that every worker must take part in (run).
  alignas(64) std::atomic<uint64_t> generation_{0};
  alignas(64) std::atomic<int> pending_{0};  // run: workers not done
  struct alignas(64) Tasks {
    std::atomic<uint64_t> range{0};  // parallel_for: tasks of one thread nobody has taken, begin << 32 | end
  };
  std::vector<Tasks> tasks_;
  alignas(64) std::atomic<int> active_{0};  // parallel_for: threads inside; 0: closed, nobody may join
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

// The first task of thread t when n_threads share n: what parallel_for begins with.
inline int64_t first_task(int64_t n, int thread, int n_threads) { return n * thread / n_threads; }

// Cores this process may use (affinity mask and cgroup quota), at least 1.
int available_cpus();

// The part [begin, end) of n items that thread t of n_threads works on, in multiples of `grain`.
struct Range {
  int64_t begin, end;
};
inline Range split_range(int64_t n, int64_t grain, int thread, int n_threads) {
  int64_t blocks = (n + grain - 1) / grain;
  int64_t b = blocks * thread / n_threads * grain, e = blocks * (thread + 1) / n_threads * grain;
  return {b < n ? b : n, e < n ? e : n};
}

}  // namespace dsr1
