#include "dsr1/io/page_cache.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace dsr1::io {
namespace {

// As the kernel decides (can_do_mincore in mm/mincore.c): to others it says that every page is there.
bool may_ask(const std::filesystem::path& path) {
  struct stat st {};
  return stat(path.c_str(), &st) == 0 && (st.st_uid == geteuid() || access(path.c_str(), W_OK) == 0);
}

}  // namespace

Result<double> resident_share(const std::filesystem::path& path, const std::byte* data, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes + page - 1) / page * page;
  if (begin == end) return Error(ErrorCode::kRuntime, "nothing is mapped");
  if (!may_ask(path)) return Error(ErrorCode::kRuntime, "the system tells it only to those who may write the file");
  constexpr uintptr_t kChunkPages = 1 << 16;
  std::vector<unsigned char> resident(std::min<size_t>(kChunkPages, (end - begin) / page));
  uint64_t there = 0;
  for (uintptr_t p = begin; p < end; p += kChunkPages * page) {
    const size_t n = std::min(end - p, kChunkPages * page);
    if (mincore(reinterpret_cast<void*>(p), n, resident.data()) != 0)
      return Error(ErrorCode::kRuntime, std::string("mincore: ") + std::strerror(errno));
    for (size_t i = 0; i < n / page; ++i) there += resident[i] & 1;
  }
  return static_cast<double>(there) / static_cast<double>((end - begin) / page);
}

}  // namespace dsr1::io
