// FileSink: an output file besides stdout, buffered, whose every failure is an Error that names it.
#pragma once

#include <cstdio>
#include <string>

#include "dsr1/base/result.h"

namespace dsr1::cli {

class FileSink {
 public:
  FileSink() = default;
  ~FileSink();
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  Status open(const std::string& path);  // truncates; kUsage where it cannot be created
  Status write(const void* data, size_t bytes);
  Status close();  // nothing where none is open

 private:
  Error failed() const;
  std::string path_;
  std::FILE* file_ = nullptr;
};

// Whether a file can be written there, found out before the work that it is for: kUsage where it cannot be created.
// What it holds stays; where it did not exist it does not afterwards.
Status check_can_create(const std::string& path);

}  // namespace dsr1::cli
