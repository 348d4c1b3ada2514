// Cores, hyperthreads, kinds of core and nodes, read from copies of /sys as such machines show it; and what the system
// really did where it was asked. No machine with several nodes is needed.
#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <mutex>
#include <set>

#include "dsr1/base/cpu_placement.h"
#include "dsr1/base/thread_pool.h"

namespace dsr1 {
namespace {

namespace fs = std::filesystem;

class FakeDevices {
 public:
  explicit FakeDevices(const std::string& name)
      : root_(fs::temp_directory_path() / ("dsr1-topology-" + std::to_string(getpid()) + name)) {}
  ~FakeDevices() { fs::remove_all(root_); }
  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << "\n";
  }
  void cpu(int id, const std::string& siblings, const std::string& capacity = "") const {
    const std::string here = "system/cpu/cpu" + std::to_string(id);
    write(here + "/topology/thread_siblings_list", siblings);
    if (!capacity.empty()) write(here + "/cpu_capacity", capacity);
  }
  CpuTopology read() const { return read_cpu_topology(root_); }

 private:
  fs::path root_;
};

using Ids = std::vector<int>;

TEST(CpuPlacement, OneHyperthreadOfEachCoreByNode) {
  const FakeDevices d("smt");
  d.write("system/cpu/online", "0-7");
  d.write("system/node/online", "0-1");
  d.write("system/node/node0/cpulist", "0,2,4,6");
  d.write("system/node/node1/cpulist", "1,3,5,7");
  for (int id = 0; id < 8; ++id) d.cpu(id, std::to_string(id % 4) + "," + std::to_string(id % 4 + 4));
  EXPECT_EQ(computing_cpus(d.read(), {0, 1, 2, 3, 4, 5, 6, 7}), (Ids{0, 2, 1, 3}));
  EXPECT_EQ(computing_cpus(d.read(), {2, 5, 6, 7}), (Ids{2, 5, 7})) << "6 shares the core of 2";
}

TEST(CpuPlacement, SlowCoresOfAHybridProcessorStayOut) {
  const FakeDevices d("hybrid");
  d.write("system/cpu/online", "0-5");
  for (int id = 0; id < 6; ++id) d.cpu(id, std::to_string(id), id < 2 ? "1024" : id < 4 ? "640" : "260");
  EXPECT_EQ(computing_cpus(d.read(), {0, 1, 2, 3, 4, 5}), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(computing_cpus(d.read(), {4, 5}), (Ids{4, 5})) << "where they are all there is, they compute";
}

TEST(CpuPlacement, ASingleCoreGivesBothItsHyperthreads) {
  const FakeDevices d("one-core");
  d.write("system/cpu/online", "0-1");
  d.cpu(0, "0-1");
  d.cpu(1, "0-1");
  EXPECT_EQ(computing_cpus(d.read(), {0, 1}), (Ids{0, 1}));
}

TEST(CpuPlacement, AMachineThatTellsNothingIsOneNodeOfEqualCores) {
  const FakeDevices d("bare");
  d.write("system/cpu/online", "0-2");
  const CpuTopology t = d.read();
  ASSERT_EQ(t.cpus.size(), 3u);
  for (const auto& c : t.cpus) {
    EXPECT_EQ(c.node, 0);
    EXPECT_EQ(c.core, c.id);
    EXPECT_EQ(c.capacity, 1);
  }
  EXPECT_GE(default_threads(), 1);
  EXPECT_LE(default_threads(), available_cpus());
}

TEST(CpuPlacement, ListsAndMasksAreRead) {
  EXPECT_EQ(*parse_cpu_list("0-3,8"), (Ids{0, 1, 2, 3, 8}));
  EXPECT_EQ(*parse_cpu_list("5"), Ids{5});
  EXPECT_EQ(*parse_cpu_mask("0x1f"), (Ids{0, 1, 2, 3, 4}));
  EXPECT_EQ(*parse_cpu_mask("100"), Ids{8});
  for (const char* bad : {"", "a", "3-1", "1,", "-1", "0-", "1-2-3", "9999", "1 2"}) {
    const auto r = parse_cpu_list(bad);
    ASSERT_FALSE(r) << bad;
    EXPECT_EQ(r.error().code, ErrorCode::kUsage);
    EXPECT_NE(r.error().message.find("'" + std::string(bad) + "'"), std::string::npos);
  }
  for (const char* bad : {"", "0x", "0", "g", "0x-1"}) EXPECT_FALSE(parse_cpu_mask(bad)) << bad;
}

// A child process each, because affinity and memory policy stay.
void in_child(void (*body)()) {
  EXPECT_EXIT(
      {
        body();
        std::exit(::testing::Test::HasFailure() ? 1 : 0);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(CpuPlacement, TheProcessRunsWhereItWasAskedTo) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  in_child([] {
    const Ids before = allowed_cpus();
    ASSERT_TRUE(place_process({.cpus = {before.back()}}));
    EXPECT_EQ(allowed_cpus(), Ids{before.back()});
    EXPECT_EQ(default_threads(), 1);
    ASSERT_TRUE(place_process({.cpus = before})) << "a second time starts from what was found";
    EXPECT_EQ(allowed_cpus(), before);
    const Status s = place_process({.cpus = {1000}});
    ASSERT_FALSE(s);
    EXPECT_NE(s.error().message.find("CPU 1000"), std::string::npos);
  });
}

TEST(CpuPlacement, StrictWorkersStayOnOneCpuEach) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  in_child([] {
    const Ids before = allowed_cpus();
    ASSERT_TRUE(place_process({.cpus = {}, .strict = true}));
    ThreadPool pool(3);
    std::mutex mutex;
    std::vector<Ids> seen(3);
    pool.run([&](int thread) {
      const std::lock_guard lock(mutex);
      seen[static_cast<size_t>(thread)] = allowed_cpus();
    });
    EXPECT_EQ(seen[0], before) << "the calling thread is free";
    EXPECT_EQ(seen[1].size(), 1u);
    EXPECT_EQ(seen[2].size(), 1u);
    EXPECT_EQ(seen[1].front(), home_of(1, 3));
  });
}

TEST(CpuPlacement, DistributeGivesPagesToAllNodesInTurn) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  in_child([] {
    ASSERT_TRUE(place_process({.cpus = {}, .numa = Numa::kDistribute}));
    int mode = -1;
    unsigned long nodes[16] = {};
    if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8ul, nullptr, 0ul) != 0) return;  // none in this kernel
    EXPECT_EQ(mode, MPOL_INTERLEAVE);
    EXPECT_NE(nodes[0], 0ul);
    EXPECT_TRUE(home_of(1, 2));
  });
}

}  // namespace
}  // namespace dsr1
