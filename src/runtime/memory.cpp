#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/limits.h"

namespace dsr1::runtime {
namespace {

// The number in a one-number file, or `none` where it is absent or says "max".
uint64_t read_number(const std::string& path, uint64_t none) {
  std::ifstream f(path);
  uint64_t n = 0;
  return f >> n ? n : none;
}

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// Every memory cgroup of this process (v2 or v1) from its own up to the root: its directory and version.
template <class F>
void for_each_cgroup(F&& f) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    const bool v2 = controllers.empty();
    if (!v2 && controllers.find("memory") == std::string::npos) continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (;;) {
      f(root + (path == "/" ? "" : path) + "/", v2);
      if (path.empty() || path == "/") break;
      path = path.substr(0, path.rfind('/'));
      if (path.empty()) path = "/";
    }
  }
}

// Unlimited where it says "max", or a number that means it.
uint64_t limit_in(const std::string& dir, bool v2) {
  const uint64_t limit = read_number(dir + (v2 ? "memory.max" : "memory.limit_in_bytes"), kUnlimited);
  return limit < (uint64_t{1} << 60) ? limit : kUnlimited;
}

uint64_t cgroup_available() {
  uint64_t least = kUnlimited;
  for_each_cgroup([&](const std::string& dir, bool v2) {
    const uint64_t limit = limit_in(dir, v2);
    if (limit == kUnlimited) return;
    const uint64_t used = read_number(dir + (v2 ? "memory.current" : "memory.usage_in_bytes"), 0);
    // Page cache counts as used but is given back on demand.
    uint64_t cache = 0;
    std::ifstream stat(dir + "memory.stat");
    std::string key;
    for (uint64_t n; stat >> key >> n;)
      if (key == "inactive_file" || key == "active_file") cache += n;
    least = std::min(least, limit - std::min(limit, used - std::min(used, cache)));
  });
  return least;
}

}  // namespace

std::optional<uint64_t> cgroup_memory_limit() {
  uint64_t least = kUnlimited;
  for_each_cgroup([&](const std::string& dir, bool v2) { least = std::min(least, limit_in(dir, v2)); });
  return least == kUnlimited ? std::nullopt : std::optional(least);
}

uint64_t available_memory() {
  uint64_t available = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string key, unit; info >> key;) {
    uint64_t kib = 0;
    if (!(info >> kib)) break;
    if (key == "MemAvailable:") available = kib * 1024;
    std::getline(info, unit);
  }
  return std::min(available, cgroup_available());
}

double disk_read_rate(const std::filesystem::path& path, uint64_t offset, uint64_t bytes) {
  return disk_read_rate(path, offset, bytes, 1);
}

double disk_read_rate(const std::filesystem::path& path, uint64_t offset, uint64_t bytes, int in_flight) {
  constexpr uint64_t kMost = uint64_t{64} << 20, kSector = 4096;
  const uint64_t block = in_flight > 1 ? uint64_t{1} << 20 : uint64_t{4} << 20;
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) return 0;
  std::atomic<uint64_t> next{0}, done{0};
  const auto read = [&] {
    void* buffer = std::aligned_alloc(kSector, block);
    for (uint64_t at = 0; buffer != nullptr && (at = next.fetch_add(block)) < std::min(bytes, kMost);) {
      const ssize_t n = pread(fd, buffer, block, static_cast<off_t>(offset / kSector * kSector + at));
      if (n <= 0) break;
      done += static_cast<uint64_t>(n);
    }
    std::free(buffer);
  };
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> others;
  for (int i = 1; i < in_flight; ++i) others.emplace_back(read);
  read();
  for (std::thread& t : others) t.join();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  ::close(fd);
  return seconds > 0 ? static_cast<double>(done) / seconds : 0;
}

}  // namespace dsr1::runtime
