#include "dsr1/io/bulk_read.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "dsr1/io/page_cache.h"

namespace dsr1::io {
namespace {

// Requests in flight and their size: past what single disks need for their full rate. A request is one huge page (of
// x86-64, and of others with 4 KiB pages), on its boundary: one piece of memory for the disk, where 1 MiB in small
// pages are 256 and came at half the rate (0.9 of 1.9 GB/s, a virtual disk); and no two readers zero the same huge
// page.
constexpr size_t kReaders = 8;
constexpr uint64_t kBlock = uint64_t{2} << 20;
constexpr uint64_t kSmallBlock = uint64_t{1} << 20;  // of reads through small pages
constexpr uint64_t kBoundary = 4096;                 // of reads past the page cache: no disk wants more

// Whether a fault in a mapping with MADV_HUGEPAGE reads a huge page (Linux 5.18) and not what lies around it.
bool reads_huge_pages() {
#ifdef MADV_POPULATE_READ
  utsname u{};
  if (uname(&u) != 0) return false;
  char* end = nullptr;
  const long major = std::strtol(u.release, &end, 10), minor = *end == '.' ? std::strtol(end + 1, nullptr, 10) : 0;
  return major > 5 || (major == 5 && minor >= 18);
#else
  return false;
#endif
}

// A mapping to ask what the page cache holds, and to bring pages into it.
class Peek {
 public:
  Peek(int fd, const std::filesystem::path& path) : path_(path) {
    const off_t size = lseek(fd, 0, SEEK_END);
    void* p = size > 0 ? mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED) return;
    bytes_ = {static_cast<const std::byte*>(p), static_cast<size_t>(size)};
    // MADV_RANDOM: this page and none after it, which another reader is reading, or the system would in small pages.
    fills_ = reads_huge_pages() && madvise(p, bytes_.size(), MADV_HUGEPAGE) == 0 &&
             madvise(p, bytes_.size(), MADV_RANDOM) == 0;
  }
  Peek(const Peek&) = delete;
  Peek& operator=(const Peek&) = delete;
  ~Peek() {
    if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  // Whether to read it from the disk anyway: hardly any of it is in the cache.
  bool lacks(const ReadRange& r) const {
    if (r.offset + r.length > bytes_.size()) return false;
    const auto held = resident_share(path_, bytes_.data() + r.offset, r.length);
    return held && *held < 0.25;
  }
  bool fills() const { return fills_; }
  // Brings them into the page cache without a copy. False where that did not work; nothing is known then.
  bool fill(const ReadRange& r) const {
#ifdef MADV_POPULATE_READ
    if (!fills_ || r.length < kSmallBlock || r.offset + r.length > bytes_.size()) return false;
    const uint64_t slack = r.offset % kBoundary;
    return madvise(const_cast<std::byte*>(bytes_.data()) + (r.offset - slack), r.length + slack, MADV_POPULATE_READ) ==
           0;
#else
    return false;
#endif
  }

 private:
  const std::filesystem::path& path_;
  bool fills_ = false;
  std::span<const std::byte> bytes_;
};

struct Reader {
  int fd, direct_fd;  // -1: the file system has no such reads
  const std::filesystem::path& path;
  const Peek& cached;
  std::vector<ReadRange> blocks;
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> done{0};
  std::mutex mutex;
  std::condition_variable finished;
  size_t running = 0;
  std::optional<Error> error;

  void fail(ErrorCode code, const std::string& message) {
    const std::lock_guard lock(mutex);
    if (error) return;
    error.emplace(code, message);
    error->context.push_back(path.string());
  }

  // What of the block can be had without a detour through the page cache; its bytes.
  uint64_t read_direct(const ReadRange& block) {
    const bool aligned = block.offset % kBoundary == 0 && reinterpret_cast<uintptr_t>(block.to) % kBoundary == 0;
    if (direct_fd < 0 || block.to == nullptr || !aligned || !cached.lacks(block)) return 0;
    const uint64_t want = block.length / kBoundary * kBoundary;
    uint64_t at = 0;
    while (at < want) {
      const ssize_t n = pread(direct_fd, block.to + at, want - at, static_cast<off_t>(block.offset + at));
      // A failure is met again, and then reported, by the ordinary read that takes over.
      if (n <= 0 || static_cast<uint64_t>(n) % kBoundary != 0) break;
      at += static_cast<uint64_t>(n);
      done += static_cast<uint64_t>(n);
    }
    return at;
  }

  void work() {
    std::vector<std::byte> discard;
    for (size_t i = next++; i < blocks.size(); i = next++) {
      const ReadRange& block = blocks[i];
      if (block.to == nullptr && cached.fill(block)) {
        done += block.length;
        continue;
      }
      if (block.to == nullptr) discard.resize(std::max<size_t>(discard.size(), block.length));
      std::byte* to = block.to != nullptr ? block.to : discard.data();
      for (uint64_t at = read_direct(block); at < block.length;) {
        const ssize_t n = pread(fd, to + at, block.length - at, static_cast<off_t>(block.offset + at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
          if (n < 0)
            fail(ErrorCode::kRuntime,
                 "reading at byte " + std::to_string(block.offset + at) + " failed: " + std::strerror(errno));
          else
            fail(ErrorCode::kModel, "the file was cut short while being read: it ends at " +
                                        std::to_string(lseek(fd, 0, SEEK_END)) + ", bytes up to " +
                                        std::to_string(blocks.back().offset + blocks.back().length) + " were expected");
          next = blocks.size();
          break;
        }
        at += static_cast<uint64_t>(n);
        done += static_cast<uint64_t>(n);
      }
    }
    const std::lock_guard lock(mutex);
    --running;
    finished.notify_one();
  }
};

}  // namespace

std::vector<ReadRange> joined(std::vector<ReadRange> ranges, uint64_t size) {
  std::sort(ranges.begin(), ranges.end(), [](const ReadRange& a, const ReadRange& b) { return a.offset < b.offset; });
  std::vector<ReadRange> all;
  for (const ReadRange& r : ranges) {
    const uint64_t begin = r.offset / kBoundary * kBoundary,
                   end = std::min((r.offset + r.length + kBoundary - 1) / kBoundary * kBoundary, size);
    if (!all.empty() && begin <= all.back().offset + all.back().length)
      all.back().length = std::max(all.back().length, end - all.back().offset);
    else all.push_back({begin, end - begin, nullptr});
  }
  return all;
}

void drop_cached(const std::filesystem::path& path, std::span<const ReadRange> ranges) {
  if (ranges.empty()) return;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  for (const ReadRange& r : ranges)
    posix_fadvise(fd, static_cast<off_t>(r.offset), static_cast<off_t>(r.length), POSIX_FADV_DONTNEED);
  close(fd);
}

Status bulk_read(const std::filesystem::path& path, std::span<const ReadRange> ranges, const BytesReadFn& progress) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    Error e(ErrorCode::kModel, std::string("cannot be opened: ") + std::strerror(errno));
    e.context.push_back(path.string());
    return e;
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // what is asked for and no more: the requests are large enough
  const Peek cached(fd, path);
  const int direct_fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  Reader r{fd, direct_fd, path, cached, {}, {}, {}, {}, {}, 0, {}};
  for (const ReadRange& range : ranges) {
    const uint64_t block = range.to != nullptr || cached.fills() ? kBlock : kSmallBlock;
    for (uint64_t at = 0, n = 0; at < range.length; at += n) {
      const uint64_t from = range.to != nullptr ? reinterpret_cast<uintptr_t>(range.to) + at : range.offset + at;
      n = std::min(block - from % block, range.length - at);
      r.blocks.push_back({range.offset + at, n, range.to != nullptr ? range.to + at : nullptr});
    }
  }
  r.running = std::min(kReaders, r.blocks.size());
  std::vector<std::thread> threads;
  for (size_t i = 0, n = r.running; i < n; ++i) threads.emplace_back([&] { r.work(); });
  uint64_t reported = 0;
  std::unique_lock lock(r.mutex);
  for (bool last = false; !last;) {
    last = r.finished.wait_for(lock, std::chrono::milliseconds(50), [&] { return r.running == 0; });
    const uint64_t done = r.done;
    if (progress && done > reported) progress(done - reported);
    reported = done;
  }
  lock.unlock();
  for (std::thread& t : threads) t.join();
  close(fd);
  if (direct_fd >= 0) close(direct_fd);
  if (r.error) return std::move(*r.error);
  return {};
}

}  // namespace dsr1::io
