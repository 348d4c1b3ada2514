// bench_load MODEL [--no-mmap] [--repetitions N]: a cold load held against what the disk gives. The file's pages are
// dropped from the cache, O_DIRECT reads it with as many requests in flight as the loader has, it is dropped again and
// loaded; and so on in turn. Says the ratio, and how far the time left that a progress bar shows was off, from a tenth
// of the load on. Not a test. MODEL must be a file that nobody else has mapped.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

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

// Bytes a second of the whole file, eight requests of 1 MiB in flight, as the loader has.
double direct_rate(const char* path, uint64_t size) {
  constexpr uint64_t kBlock = uint64_t{1} << 20;
  const int fd = open(path, O_RDONLY | O_DIRECT);
  if (fd < 0) return 0;
  std::atomic<uint64_t> next{0}, done{0};
  const auto begin = Clock::now();
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i)
    readers.emplace_back([&] {
      void* buffer = std::aligned_alloc(4096, kBlock);
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

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: bench_load MODEL [--no-mmap] [--repetitions N]\n"), 2;
  const char* path = argv[1];
  runtime::EngineOptions o;
  o.n_ctx = 512;
  int repetitions = 3;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--no-mmap") == 0) o.use_mmap = false;
    if (std::strcmp(argv[i], "--repetitions") == 0 && i + 1 < argc) repetitions = std::atoi(argv[++i]);
  }
  const int fd = open(path, O_RDONLY);
  const off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
  close(fd);
  if (size <= 0) return std::fprintf(stderr, "bench_load: cannot read %s\n", path), 1;
  std::vector<double> shares;
  double worst = 0;
  drop(path);
  double before = direct_rate(path, static_cast<uint64_t>(size));
  for (int r = 0; r < repetitions; ++r) {
    if (!drop(path)) return std::fprintf(stderr, "bench_load: cannot drop the pages of %s\n", path), 1;
    std::vector<std::pair<double, double>> seen;  // seconds, part done
    const auto begin = Clock::now();
    auto engine = runtime::Engine::open(path, o, [&](int64_t done, int64_t total) {
      seen.push_back({seconds_since(begin), static_cast<double>(done) / static_cast<double>(total)});
    });
    const double took = seconds_since(begin);
    if (!engine) return std::fprintf(stderr, "bench_load: %s\n", engine.error().text().c_str()), 1;
    engine->reset();
    drop(path);
    const double after = direct_rate(path, static_cast<uint64_t>(size));
    const double rate = static_cast<double>(size) / took, share = rate / ((before + after) / 2);
    // The bar's clock starts with the first call, when reading begins; the end is when the engine is ready.
    const double start = seen.empty() ? 0 : seen.front().first, all = took - start;
    double off = 0;
    for (const auto& [at, part] : seen)
      if (part >= 0.1 && part < 1) off = std::max(off, std::fabs((at - start) / part - all) / all);
    std::printf(
        "load %.2f s (%.2f before reading), %.0f MB/s; O_DIRECT %.0f and %.0f MB/s; share %.0f %%; the end as the bar "
        "shows it off by "
        "%.0f %% at most (%zu updates)\n",
        took, start, rate / 1e6, before / 1e6, after / 1e6, share * 100, off * 100, seen.size());
    shares.push_back(share);
    worst = std::max(worst, off);
    before = after;
  }
  std::printf("median share %.0f %%, worst end %.0f %%\n", runtime::median(shares) * 100, worst * 100);
  return 0;
}
