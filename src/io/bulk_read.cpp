#include "dsr1/io/bulk_read.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "dsr1/io/page_cache.h"

namespace dsr1::io {
namespace {

// Requests in flight and their size: past what single disks need for their full rate, and little enough memory.
constexpr size_t kReaders = 8;
constexpr uint64_t kBlock = uint64_t{1} << 20;
constexpr uint64_t kBoundary = 4096;  // of reads past the page cache: no disk wants more

// A mapping only to ask what the page cache holds.
class Peek {
 public:
  Peek(int fd, const std::filesystem::path& path) : path_(path) {
    const off_t size = lseek(fd, 0, SEEK_END);
    void* p = size > 0 ? mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p != MAP_FAILED) bytes_ = {static_cast<const std::byte*>(p), static_cast<size_t>(size)};
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

 private:
  const std::filesystem::path& path_;
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
      if (block.to == nullptr) discard.resize(std::max<size_t>(discard.size(), block.length));
      std::byte* to = block.to != nullptr ? block.to : discard.data();
      for (uint64_t at = read_direct(block); at < block.length;) {
        const ssize_t n = pread(fd, to + at, block.length - at, static_cast<off_t>(block.offset + at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
          const uint64_t where = block.offset + at;
          if (n < 0)
            fail(ErrorCode::kRuntime, "reading at byte " + std::to_string(where) + " failed: " + std::strerror(errno));
          else
            fail(ErrorCode::kModel, "the file was cut short while being read: it ends at " + std::to_string(where) +
                                        ", bytes up to " + std::to_string(blocks.back().offset + blocks.back().length) +
                                        " were expected");
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

Status bulk_read(const std::filesystem::path& path, std::span<const ReadRange> ranges, const BytesReadFn& progress) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    Error e(ErrorCode::kModel, std::string("cannot be opened: ") + std::strerror(errno));
    e.context.push_back(path.string());
    return e;
  }
  const Peek cached(fd, path);
  const int direct_fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  Reader r{fd, direct_fd, path, cached, {}, {}, {}, {}, {}, 0, {}};
  for (const ReadRange& range : ranges)
    for (uint64_t at = 0; at < range.length; at += kBlock)
      r.blocks.push_back(
          {range.offset + at, std::min(kBlock, range.length - at), range.to != nullptr ? range.to + at : nullptr});
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
