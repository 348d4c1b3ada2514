#include "dsr1/base/cpu_placement.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "dsr1/base/log.h"
#include "dsr1/base/thread_pool.h"

namespace dsr1 {
namespace {

namespace fs = std::filesystem;

constexpr int kMostCpus = CPU_SETSIZE;
constexpr int kMostNodes = 64;  // bits of the one word that is given to the system

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::vector<int> list_in(const fs::path& path) {
  auto list = parse_cpu_list(first_line(path));
  return list ? *list : std::vector<int>();
}

double number_in(const fs::path& path) {
  std::ifstream in(path);
  double value = 0;
  return in >> value && value > 0 ? value : 0;
}

std::string joined(const std::vector<int>& ids) {
  std::string text;
  for (int id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

bool set_affinity(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int id : cpus) CPU_SET(static_cast<size_t>(id), &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

// What place_process starts from each time, and what it decided.
struct Placed {
  std::vector<int> found = allowed_cpus();
  std::vector<int> homes;
};
Placed& placed() {
  static Placed p;
  return p;
}

void interleave_pages(const CpuTopology& topology, const std::vector<int>& cpus) {
  unsigned long nodes = 0;
  for (const CpuTopology::Cpu& c : topology.cpus)
    if (c.node < kMostNodes && std::find(cpus.begin(), cpus.end(), c.id) != cpus.end()) nodes |= 1ul << c.node;
  if (syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &nodes, static_cast<unsigned long>(kMostNodes + 1)) != 0)
    log_warn(std::string("--numa distribute: pages are left where the system puts them (") + std::strerror(errno) +
             ")");
}

}  // namespace

CpuTopology read_cpu_topology(const fs::path& devices) {
  CpuTopology t;
  const fs::path cpu = devices / "system/cpu";
  std::vector<int> online = list_in(cpu / "online");
  if (online.empty())
    for (int id = 0; id < static_cast<int>(std::thread::hardware_concurrency()); ++id) online.push_back(id);
  std::map<int, int> node_of;
  for (int node : list_in(devices / "system/node/online"))
    for (int id : list_in(devices / ("system/node/node" + std::to_string(node)) / "cpulist")) node_of[id] = node;
  double most = 0;
  for (int id : online) {
    const fs::path here = cpu / ("cpu" + std::to_string(id));
    const std::vector<int> siblings = list_in(here / "topology/thread_siblings_list");
    double capacity = number_in(here / "cpu_capacity");
    if (capacity == 0) capacity = number_in(here / "cpufreq/cpuinfo_max_freq");
    most = std::max(most, capacity);
    t.cpus.push_back({id, siblings.empty() ? id : siblings.front(), node_of.contains(id) ? node_of[id] : 0, capacity});
  }
  for (CpuTopology::Cpu& c : t.cpus) c.capacity = most > 0 && c.capacity > 0 ? c.capacity / most : 1;
  return t;
}

std::vector<int> allowed_cpus() {
  std::vector<int> ids;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int id = 0; id < kMostCpus; ++id)
      if (CPU_ISSET(static_cast<size_t>(id), &set)) ids.push_back(id);
  return ids;
}

std::vector<int> computing_cpus(const CpuTopology& topology, const std::vector<int>& allowed) {
  std::vector<CpuTopology::Cpu> usable;
  for (const CpuTopology::Cpu& c : topology.cpus)
    if (allowed.empty() || std::find(allowed.begin(), allowed.end(), c.id) != allowed.end()) usable.push_back(c);
  double most = 0;
  for (const CpuTopology::Cpu& c : usable) most = std::max(most, c.capacity);
  std::erase_if(usable, [&](const CpuTopology::Cpu& c) { return c.capacity < most / 2; });
  std::stable_sort(usable.begin(), usable.end(), [](const auto& a, const auto& b) { return a.node < b.node; });
  std::set<int> cores;
  std::vector<int> one_each, all;
  for (const CpuTopology::Cpu& c : usable) {
    all.push_back(c.id);
    if (cores.insert(c.core).second) one_each.push_back(c.id);
  }
  return cores.size() == 1 ? all : one_each;
}

int default_threads() {
  const auto n = static_cast<int>(computing_cpus(read_cpu_topology(), allowed_cpus()).size());
  return std::max(1, n > 0 ? std::min(n, available_cpus()) : available_cpus());
}

Result<std::vector<int>> parse_cpu_list(std::string_view text) {
  auto refused = [&] {
    return Error(ErrorCode::kUsage, "expected CPUs like 0-3 or 0-3,8, found '" + std::string(text) + "'");
  };
  std::set<int> ids;
  const char *at = text.data(), *end = at + text.size();
  while (true) {
    int first = 0;
    auto read = std::from_chars(at, end, first);
    int last = first;
    if (read.ec == std::errc() && read.ptr < end && *read.ptr == '-') read = std::from_chars(read.ptr + 1, end, last);
    if (read.ec != std::errc() || first < 0 || last < first || last >= kMostCpus) return refused();
    for (int id = first; id <= last; ++id) ids.insert(id);
    if (read.ptr == end) break;
    if (*read.ptr != ',') return refused();
    at = read.ptr + 1;
  }
  return std::vector<int>(ids.begin(), ids.end());
}

Result<std::vector<int>> parse_cpu_mask(std::string_view text) {
  std::string_view digits = text.starts_with("0x") || text.starts_with("0X") ? text.substr(2) : text;
  std::vector<int> ids;
  bool good = !digits.empty() && digits.size() <= kMostCpus / 4;
  for (size_t i = 0; good && i < digits.size(); ++i) {
    int value = 0;
    const char* digit = &digits[digits.size() - 1 - i];
    good = std::from_chars(digit, digit + 1, value, 16).ec == std::errc();
    for (int bit = 0; bit < 4; ++bit)
      if (value >> bit & 1) ids.push_back(static_cast<int>(i) * 4 + bit);
  }
  if (!good || ids.empty())
    return Error(ErrorCode::kUsage,
                 "expected a mask of CPUs in hexadecimal like 0xf, found '" + std::string(text) + "'");
  return ids;
}

Status place_process(const CpuPlacement& placement) {
  Placed& p = placed();
  const CpuTopology topology = read_cpu_topology();
  std::vector<int> cpus = placement.cpus.empty() ? p.found : placement.cpus;
  for (int id : placement.cpus) {
    if (std::find(p.found.begin(), p.found.end(), id) == p.found.end())
      return Error(ErrorCode::kUsage, "CPU " + std::to_string(id) + " was asked for, but this process may run on " +
                                          joined(p.found) + " only");
  }
  if (placement.numa == Numa::kIsolate) {
    unsigned current = 0, node = 0;
    if (syscall(SYS_getcpu, &current, &node, nullptr) == 0) {
      std::vector<int> here;
      for (const CpuTopology::Cpu& c : topology.cpus)
        if (c.node == static_cast<int>(node) && std::find(cpus.begin(), cpus.end(), c.id) != cpus.end())
          here.push_back(c.id);
      if (!here.empty()) cpus = here;
    }
  }
  const bool asked = !placement.cpus.empty() || placement.numa == Numa::kIsolate;
  if (asked && !set_affinity(cpus))
    return Error(ErrorCode::kUsage,
                 "the system refused to run this process on CPUs " + joined(cpus) + " (" + std::strerror(errno) + ")");
  const bool stay = placement.strict || placement.numa == Numa::kDistribute;
  p.homes = stay ? computing_cpus(topology, cpus) : std::vector<int>();
  if (placement.numa == Numa::kDistribute) interleave_pages(topology, cpus);
  return {};
}

std::optional<int> home_of(int thread, int n_threads) {
  const std::vector<int>& homes = placed().homes;
  if (homes.empty()) return std::nullopt;
  const size_t n = homes.size();
  // Fewer threads than CPUs: spread over the nodes; more: around again.
  if (static_cast<size_t>(n_threads) >= n) return homes[static_cast<size_t>(thread) % n];
  return homes[static_cast<size_t>(thread) * n / static_cast<size_t>(n_threads)];
}

void go_home(int thread, int n_threads) {
  if (const auto cpu = home_of(thread, n_threads)) set_affinity({*cpu});
}

}  // namespace dsr1
