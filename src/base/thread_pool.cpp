#include "dsr1/base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>

#include "dsr1/base/check.h"
#include "dsr1/base/cpu_placement.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dsr1 {
namespace {

inline void cpu_relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// About 50 microseconds of pauses: longer than the gap between two ops of a token, far shorter than a person notices.
constexpr int kSpinPauses = 2000;

// CPUs allowed by the cgroup v2 or v1 quota, or 0 where there is none.
int cgroup_cpus() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0)
    return static_cast<int>(std::ceil(std::stod(quota) / period));
  std::ifstream q1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p1("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double q = -1;
  if (q1 >> q && p1 >> period && q > 0 && period > 0) return static_cast<int>(std::ceil(q / period));
  return 0;
}

}  // namespace

int available_cpus() {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
  if (n <= 0) n = static_cast<int>(std::thread::hardware_concurrency());
  if (int quota = cgroup_cpus(); quota > 0) n = std::min(n, quota);
  return std::max(n, 1);
}

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads), tasks_(static_cast<size_t>(std::max(n_threads, 1))) {
  DSR1_CHECK(n_threads >= 1, "a pool needs a thread");
  // With more threads than cores a spinning thread only keeps the one it waits for from running.
  spin_limit_ = n_threads <= available_cpus() ? kSpinPauses : 0;
  threads_.reserve(static_cast<size_t>(n_threads - 1));
  for (int i = 1; i < n_threads; ++i) threads_.emplace_back([this, i] { worker(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (auto& t : threads_) t.join();
}

void ThreadPool::wait_a_little(int thread, int step) {
  if (const Idle idle = idle_.load(std::memory_order_acquire); idle != nullptr) idle(idle_context_, thread, step);
  cpu_relax();
}

void ThreadPool::publish(bool everyone) {
  const uint64_t now = generation_.load(std::memory_order_relaxed);
  generation_.store((now | 1) + (everyone ? 2 : 1), std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard lock(mutex_);  // a worker is either before its check of generation_ or already waiting
    wake_.notify_all();
  }
}

void ThreadPool::run_erased(Call call, void* context) {
  if (n_threads_ == 1) return call(context, 0);
  call_ = call;
  context_ = context;
  pending_.store(n_threads_ - 1, std::memory_order_relaxed);
  publish(/*everyone=*/true);
  call(context, 0);
  for (int spins = 0; pending_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < spin_limit_ * 16) {
      cpu_relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::tasks_erased(int64_t n, Task task, void* context) {
  if (n_threads_ == 1 || n <= 1) {
    for (int64_t i = 0; i < n; ++i) task(context, i, 0);
    return;
  }
  task_ = task;
  context_ = context;
  DSR1_CHECK(n < (int64_t{1} << 31), "too many tasks");
  for (int t = 0; t < n_threads_; ++t) {
    const auto begin = static_cast<uint64_t>(first_task(n, t, n_threads_));
    const auto end = static_cast<uint64_t>(first_task(n, t + 1, n_threads_));
    tasks_[static_cast<size_t>(t)].range.store(begin << 32 | end, std::memory_order_relaxed);
  }
  active_.store(1, std::memory_order_release);  // opens the job: what stands above is seen by whoever joins
  publish(/*everyone=*/false);
  work_on_tasks(0);
  // Close: from 1 (this thread alone) to 0. Workers still inside are in their last task.
  int alone = 1;
  for (int spins = 0; !active_.compare_exchange_weak(alone, 0, std::memory_order_acq_rel); ++spins) {
    alone = 1;
    if (spins < spin_limit_ * 16) {
      wait_a_little(0, spins);
    } else {
      std::this_thread::yield();
    }
  }
}

// The first or last task of those left to thread `from`; false when none is.
bool ThreadPool::take(int from, bool last, int64_t& task) {
  std::atomic<uint64_t>& range = tasks_[static_cast<size_t>(from)].range;
  uint64_t r = range.load(std::memory_order_relaxed);
  for (;;) {
    const uint64_t begin = r >> 32, end = r & 0xffffffffu;
    if (begin >= end) return false;
    const uint64_t left = last ? begin << 32 | (end - 1) : (begin + 1) << 32 | end;
    task = static_cast<int64_t>(last ? end - 1 : begin);
    if (range.compare_exchange_weak(r, left, std::memory_order_relaxed)) return true;
  }
}

void ThreadPool::work_on_tasks(int thread) {
  int64_t i = 0;
  while (take(thread, /*last=*/false, i)) task_(context_, i, thread);
  for (int other = 1; other < n_threads_; ++other)
    while (take((thread + other) % n_threads_, /*last=*/true, i)) task_(context_, i, thread);
}

void ThreadPool::worker(int index) {
  go_home(index, n_threads_);
  uint64_t seen = 0;
  for (;;) {
    int spins = 0;
    while (generation_.load(std::memory_order_acquire) == seen && !stop_.load(std::memory_order_relaxed)) {
      if (spins < spin_limit_) {
        wait_a_little(index, spins++);
        continue;
      }
      std::unique_lock lock(mutex_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_seq_cst) != seen || stop_.load(); });
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
    if (stop_.load()) return;
    seen = generation_.load(std::memory_order_acquire);
    if (seen & 1) {  // run: the caller waits for this thread, so the job stands still
      call_(context_, index);
      pending_.fetch_sub(1, std::memory_order_acq_rel);
      continue;
    }
    // parallel_for: join where it is still open. It may be a newer one than `seen`; then it is looked at once more.
    int active = active_.load(std::memory_order_acquire);
    while (active > 0 && !active_.compare_exchange_weak(active, active + 1, std::memory_order_acq_rel)) {
    }
    if (active == 0) continue;
    work_on_tasks(index);
    active_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace dsr1
