#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "dsr1/base/thread_pool.h"

namespace dsr1 {
namespace {

TEST(ThreadPool, RunsEveryThreadOnceForManyRounds) {
  for (int n : {1, 2, 3, 8}) {
    ThreadPool pool(n);
    std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
    for (int round = 0; round < 200; ++round) pool.run([&](int t) { hits[static_cast<size_t>(t)]++; });
    for (auto& h : hits) EXPECT_EQ(h.load(), 200);
  }
}

TEST(ThreadPool, WakesAfterItsWorkersFellAsleep) {
  ThreadPool pool(2);
  std::atomic<int> sum{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.run([&](int t) { sum += t + 1; });
  }
  EXPECT_EQ(sum.load(), 15);
}

TEST(ThreadPool, EveryTaskRunsOnceOnAThreadOfItsOwn) {
  for (int n : {1, 2, 3, 8}) {
    ThreadPool pool(n);
    for (int64_t tasks : {0, 1, 2, 7, 300}) {
      for (int round = 0; round < 100; ++round) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(tasks));
        std::vector<std::atomic<int>> inside(static_cast<size_t>(n));
        std::atomic<bool> shared{false};
        pool.parallel_for(tasks, [&](int64_t task, int thread) {
          if (inside[static_cast<size_t>(thread)].fetch_add(1) != 0) shared = true;
          hits[static_cast<size_t>(task)]++;
          inside[static_cast<size_t>(thread)].fetch_sub(1);
        });
        for (auto& h : hits) ASSERT_EQ(h.load(), 1);
        ASSERT_FALSE(shared.load());
      }
    }
  }
}

TEST(ThreadPool, AThreadThatIsHeldUpLeavesItsTasksToTheOthers) {
  ThreadPool pool(2);
  for (int64_t held : {0, 49, 50, 99}) {  // the first and last task of either thread
    std::atomic<int> done{0};
    pool.parallel_for(100, [&](int64_t task, int) {
      if (task == held)
        while (done.load() < 99) std::this_thread::yield();
      done++;
    });
    EXPECT_EQ(done.load(), 100);
  }
}

TEST(ThreadPool, ThreadsWalkTheirOwnRunUpwards) {
  ThreadPool pool(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<int64_t> last(3, -1);
    std::atomic<bool> wrong{false};
    pool.parallel_for(90, [&](int64_t task, int thread) {
      const int64_t begin = first_task(90, thread, 3), end = first_task(90, thread + 1, 3);
      if (task < begin || task >= end) return;  // taken from another
      int64_t& before = last[static_cast<size_t>(thread)];
      if (task != (before < 0 ? begin : before + 1)) wrong = true;
      before = task;
    });
    ASSERT_FALSE(wrong.load());
  }
}

TEST(ThreadPool, IdleIsCalledByThreadsThatWaitAndStopsWhenAllIsQuiet) {
  ThreadPool pool(2);
  if (available_cpus() < 2) GTEST_SKIP() << "a pool with more threads than cores does not spin";
  struct Calls {
    std::atomic<int64_t> n{0};
    std::atomic<bool> wrong{false};
  } calls;
  pool.set_idle(
      [](void* c, int thread, int step) {
        auto* counted = static_cast<Calls*>(c);
        counted->n++;
        if (thread < 0 || thread > 1 || step < 0) counted->wrong = true;
      },
      &calls);
  for (int round = 0; round < 50; ++round)
    pool.parallel_for(2, [](int64_t task, int) {
      if (task == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    });
  EXPECT_GT(calls.n.load(), 0);
  EXPECT_FALSE(calls.wrong.load());
  int tries = 0;  // a worker that spins on would count for ever
  for (int64_t before = -1; before != calls.n.load() && tries < 200; ++tries) {
    before = calls.n.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LT(tries, 200) << "a worker still spins";
}

TEST(ThreadPool, TasksAndRunsMayAlternate) {
  ThreadPool pool(4);
  int64_t expected = 0;
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 500; ++round) {
    pool.parallel_for(round % 9, [&](int64_t task, int) { sum += task; });
    expected += (round % 9) * (round % 9 - 1) / 2;
    pool.run([&](int) { sum += 1; });
    expected += 4;
    ASSERT_EQ(sum.load(), expected);
  }
}

TEST(SplitRange, CoversEverythingOnceInGrains) {
  for (int64_t n : {0, 1, 15, 16, 17, 576, 1000}) {
    for (int threads : {1, 2, 3, 7}) {
      int64_t next = 0;
      for (int t = 0; t < threads; ++t) {
        Range r = split_range(n, 16, t, threads);
        EXPECT_EQ(r.begin, next);
        EXPECT_TRUE(r.end == n || r.end % 16 == 0);
        next = r.end;
      }
      EXPECT_EQ(next, n);
    }
  }
}

}  // namespace
}  // namespace dsr1
