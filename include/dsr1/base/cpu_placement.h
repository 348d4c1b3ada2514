// Which CPUs compute, and which memory the weights come to lie in: cores, hyperthreads, kinds of core and NUMA nodes.
//
// Affinity and memory policy belong to the process, so this is process-wide state: place_process is called by one
// thread, before the threads and the memory that it is about; threads made later follow it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dsr1/base/result.h"

namespace dsr1 {

struct CpuTopology {
  struct Cpu {
    int id = 0, core = 0, node = 0;  // `core`: the first of the hyperthreads that share it
    double capacity = 1;             // of its kind of core; 1: the most capable
  };
  std::vector<Cpu> cpus;  // online ones, by id
};

// From /sys/devices or a copy of it; what is not told counts as one node of equal cores.
CpuTopology read_cpu_topology(const std::filesystem::path& devices = "/sys/devices");

// CPUs the process may run on now (its affinity mask), by id.
std::vector<int> allowed_cpus();

// One CPU of every allowed core that has at least half the capacity of the best; by node, then by id. Hyperthreads
// share the units that kernels keep busy, and slow cores hold up an op's end more than they carry. Of a single core
// both hyperthreads: most such machines are small virtual ones.
std::vector<int> computing_cpus(const CpuTopology& topology, const std::vector<int>& allowed);

// Threads to compute with where nobody said: computing_cpus, at most the cgroup's quota, at least 1.
int default_threads();

// "0-3,8" and "0xf" or "f". Errors: kUsage with the text found.
Result<std::vector<int>> parse_cpu_list(std::string_view text);
Result<std::vector<int>> parse_cpu_mask(std::string_view text);

enum class Numa {
  kOff,         // as the system does it
  kDistribute,  // workers stay on CPUs of all nodes evenly; pages go to all nodes in turn
  kIsolate,     // the CPUs of the node that the program was started on
  kNumactl,     // what numactl set, which is always kept
};

struct CpuPlacement {
  std::vector<int> cpus;  // empty: all that are allowed
  bool strict = false;    // every worker of a pool stays on one CPU; the calling thread goes where there is room
  Numa numa = Numa::kOff;
};

// Errors: kUsage where a CPU is not online or not allowed. A system that refuses a memory policy is only warned about:
// the program computes the same, more slowly.
Status place_process(const CpuPlacement& placement);

// The CPU that worker t of n threads stays on, where workers have one.
std::optional<int> home_of(int thread, int n_threads);
// Moves the calling thread there.
void go_home(int thread, int n_threads);

}  // namespace dsr1
