// bench_load MODEL [--no-mmap] [--repetitions N] [--disk-rate MB] [--warm-memory] [--no-probe]: a cold load held
// against what the disk gives. The file's pages are dropped from the cache, O_DIRECT reads it with as many requests in
// flight as the loader has, it is dropped again and loaded; and so on in turn. Says the ratio, and how far the end that
// a progress bar shows was off, from a tenth of the load on. --disk-rate holds both to a steady rate, in MB/s (a
// control group of its own; needs root). --warm-memory takes and returns as much memory as the file has just before
// each load: the host of a virtual machine may have to find memory that it was never asked for, or was given back,
// which is slower than disks. Not a test. MODEL must be a file that nobody else has mapped.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "dsr1/base/time_left.h"
#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/stats.h"

namespace {

using namespace dsr1;
using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

bool drop(const char* path) {
  const int fd = open(path, O_RDONLY);
  const bool good = fd >= 0 && fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
  close(fd);
  return good;
}

// Bytes a second of the whole file, eight requests in flight: of a huge page each, as the loader has them, or of 1 MiB
// in small pages.
double direct_rate(const char* path, uint64_t size, bool huge) {
  const uint64_t kBlock = huge ? uint64_t{2} << 20 : uint64_t{1} << 20;
  const int fd = open(path, O_RDONLY | O_DIRECT);
  if (fd < 0) return 0;
  std::atomic<uint64_t> next{0}, done{0};
  const auto begin = Clock::now();
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i)
    readers.emplace_back([&] {
      void* buffer = std::aligned_alloc(kBlock, kBlock);
      madvise(buffer, kBlock, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
      for (uint64_t at = next.fetch_add(kBlock); at < size; at = next.fetch_add(kBlock)) {
        const ssize_t n = pread(fd, buffer, kBlock, static_cast<off_t>(at));
        if (n > 0) done += static_cast<uint64_t>(n);
      }
      std::free(buffer);
    });
  for (std::thread& t : readers) t.join();
  const double rate = static_cast<double>(done) / seconds_since(begin);
  close(fd);
  return rate;
}

void touch(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return;
  madvise(p, bytes, MADV_HUGEPAGE);
  for (size_t i = 0; i < bytes; i += 4096) static_cast<volatile char*>(p)[i] = 1;
  munmap(p, bytes);
}

// While it lives, this process reads the disk of `path` no faster than that: blkio (v1) or io (v2) control group.
class SteadyDisk {
 public:
  bool hold(const char* path, uint64_t bytes_per_second) {
    namespace fs = std::filesystem;
    struct stat st {};
    if (stat(path, &st) != 0) return false;
    std::error_code ec;
    fs::path disk = fs::canonical(
        "/sys/dev/block/" + std::to_string(major(st.st_dev)) + ":" + std::to_string(minor(st.st_dev)), ec);
    if (fs::exists(disk / "partition", ec)) disk = disk.parent_path();
    std::string device;
    std::ifstream(disk / "dev") >> device;
    const bool v1 = fs::exists("/sys/fs/cgroup/blkio", ec);
    root_ = v1 ? "/sys/fs/cgroup/blkio" : "/sys/fs/cgroup";
    group_ = root_ / ("bench_load-" + std::to_string(getpid()));
    const std::string rate = std::to_string(bytes_per_second);
    return fs::create_directory(group_, ec) &&
           (v1 ? write(group_ / "blkio.throttle.read_bps_device", device + " " + rate)
               : write(group_ / "io.max", device + " rbps=" + rate)) &&
           write(group_ / "cgroup.procs", std::to_string(getpid()));
  }
  ~SteadyDisk() {
    if (group_.empty()) return;
    write(root_ / "cgroup.procs", std::to_string(getpid()));
    rmdir(group_.c_str());
  }

 private:
  static bool write(const std::filesystem::path& file, const std::string& text) {
    std::ofstream out(file);
    out << text << "\n" << std::flush;
    return out.good();
  }
  std::filesystem::path root_, group_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return std::fprintf(
               stderr,
               "usage: bench_load MODEL [--no-mmap] [--repetitions N] [--disk-rate MB] [--warm-memory] [--no-probe]\n"),
           2;
  const char* path = argv[1];
  runtime::EngineOptions o;
  o.n_ctx = 512;
  int repetitions = 3;
  uint64_t disk_rate = 0;
  bool warm_memory = false, probes = true;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--no-mmap") == 0) o.use_mmap = false;
    if (std::strcmp(argv[i], "--repetitions") == 0 && i + 1 < argc) repetitions = std::atoi(argv[++i]);
    if (std::strcmp(argv[i], "--warm-memory") == 0) warm_memory = true;
    if (std::strcmp(argv[i], "--no-probe") == 0) probes = false;
    if (std::strcmp(argv[i], "--disk-rate") == 0 && i + 1 < argc) disk_rate = std::strtoull(argv[++i], nullptr, 10);
  }
  SteadyDisk steady;
  if (disk_rate > 0 && !steady.hold(path, disk_rate * 1000000))
    return std::fprintf(stderr, "bench_load: cannot make a control group for the disk; run as root\n"), 1;
  const int fd = open(path, O_RDONLY);
  const off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
  close(fd);
  if (size <= 0) return std::fprintf(stderr, "bench_load: cannot read %s\n", path), 1;
  std::vector<double> shares, shares_small, offs;
  const auto probe = [&](bool huge) {
    drop(path);
    return probes ? direct_rate(path, static_cast<uint64_t>(size), huge) : 0.0;
  };
  double before = probe(true), before_small = probe(false);
  for (int r = 0; r < repetitions; ++r) {
    if (!drop(path)) return std::fprintf(stderr, "bench_load: cannot drop the pages of %s\n", path), 1;
    if (warm_memory) touch(static_cast<size_t>(size));
    std::vector<std::pair<double, double>> seen;  // seconds, part done
    const auto begin = Clock::now();
    auto engine = runtime::Engine::open(path, o, [&](int64_t done, int64_t total) {
      seen.push_back({seconds_since(begin), static_cast<double>(done) / static_cast<double>(total)});
    });
    const double took = seconds_since(begin);
    if (!engine) return std::fprintf(stderr, "bench_load: %s\n", engine.error().text().c_str()), 1;
    engine->reset();
    const double after = probe(true), after_small = probe(false), rate = static_cast<double>(size) / took;
    const double share = rate / ((before + after) / 2), share_small = rate / ((before_small + after_small) / 2);
    // The bar's clock starts with the first call, when reading begins; the end is when the engine is ready.
    const double start = seen.empty() ? 0 : seen.front().first, all = took - start;
    double off = 0;
    TimeLeft time_left;
    for (const auto& [at, part] : seen) {
      time_left.add(at, part);
      const auto left = time_left.until(1);
      if (left && part >= 0.1 && part < 1) off = std::max(off, std::fabs(at + *left - took) / all);
    }
    std::printf("load %.2f s (%.2f before reading), %.0f MB/s; the end as the bar shows it off by %.0f %% at most",
                took, start, rate / 1e6, off * 100);
    if (probes)
      std::printf("; O_DIRECT %.0f and %.0f MB/s, share %.0f %% (in small pages %.0f and %.0f, %.0f %%)", before / 1e6,
                  after / 1e6, share * 100, before_small / 1e6, after_small / 1e6, share_small * 100);
    std::printf("\n");
    shares.push_back(share);
    shares_small.push_back(share_small);
    offs.push_back(off);
    before = after;
    before_small = after_small;
  }
  if (probes)
    std::printf("median share %.0f %% (in small pages %.0f %%); ", runtime::median(shares) * 100,
                runtime::median(shares_small) * 100);
  std::printf("end off by %.0f %% (median), %.0f %% (worst)\n", runtime::median(offs) * 100,
              *std::max_element(offs.begin(), offs.end()) * 100);
  return 0;
}
