// MappedFile: a whole file's bytes, read-only, memory-mapped.
//
// Owns its mapping; the bytes stay where they are when the object is moved. Safe to read from any
// thread. Refuses (kModel): what is missing, unreadable, empty, or no regular file (directory, FIFO, device,
// socket).
//
// A mapped file that somebody truncates, or whose disk fails, raises SIGBUS on the next read of the lost
// pages. install_mapping_fault_handler() (the cli calls it once) turns that into one line on stderr and exit
// code 3; a SIGBUS outside our mappings keeps its default effect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "dsr1/base/result.h"

namespace dsr1::io {

class MappedFile {
 public:
  MappedFile() = default;
  static Result<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& o) noexcept { *this = std::move(o); }
  MappedFile& operator=(MappedFile&& o) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }
  uint64_t size() const { return bytes_.size(); }

  // Hints about [offset, offset + length), cut to the file.
  // will_need starts reading ahead and returns; populate returns when the pages are in memory (or could not
  // be had).
  void will_need(uint64_t offset, uint64_t length) const;
  void populate(uint64_t offset, uint64_t length) const;
  void dont_need(uint64_t offset, uint64_t length) const;  // the system may drop these pages first

 private:
  void advise(uint64_t offset, uint64_t length, int advice) const;

  std::span<const std::byte> bytes_;
  int fault_slot_ = -1;
};

// Process-wide, idempotent. Async-signal-safe handler: writes one line, then _exit(3).
void install_mapping_fault_handler();

// What a file that is no model seems to be, for refusals: "an HTML page, probably a failed download"; empty
// where the first bytes say nothing.
std::string describe_foreign_content(std::span<const std::byte> bytes);

// The whole of a small text file (config.json ...). kModel where it is missing, larger than max_bytes or no
// regular file.
Result<std::string> read_text_file(const std::filesystem::path& path, uint64_t max_bytes);

}  // namespace dsr1::io
