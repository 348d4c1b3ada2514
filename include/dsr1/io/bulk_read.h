// bulk_read: ranges of a file at the speed of the disk: several requests in flight, whoever asks, each of one huge page
// where it can be. What the page cache lacks goes past it into memory on the same 4 KiB boundary as the file's
// (O_DIRECT): no copy, and nothing else is pushed out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "dsr1/base/result.h"

namespace dsr1::io {

struct ReadRange {
  uint64_t offset = 0, length = 0;
  std::byte* to = nullptr;  // null: into the system's page cache alone, for a mapping of the file
};

// Bytes that have been read since the last call; from the calling thread, some twenty times a second.
using BytesReadFn = std::function<void(uint64_t more)>;

// The same bytes in order of offset, on page boundaries (`size`: where the file ends), neighbours as one. For ranges
// without memory.
std::vector<ReadRange> joined(std::vector<ReadRange> ranges, uint64_t size);

// Asks the system to forget these pages of the file; it keeps what others use.
void drop_cached(const std::filesystem::path& path, std::span<const ReadRange> ranges);

// Reads all ranges, in their order as far as several threads keep one. Refuses (kModel) a file that ends before a range
// does, (kRuntime) what the disk cannot read.
Status bulk_read(const std::filesystem::path& path, std::span<const ReadRange> ranges, const BytesReadFn& progress);

}  // namespace dsr1::io
