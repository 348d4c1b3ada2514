#include "file_sink.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace dsr1::cli {

FileSink::~FileSink() {
  if (file_ != nullptr) std::fclose(file_);
}

namespace {

Error cannot_create(const std::string& path) {
  return {ErrorCode::kUsage, "cannot create " + path + ": " + std::strerror(errno)};
}

}  // namespace

Status check_can_create(const std::string& path) {
  const bool existed = access(path.c_str(), F_OK) == 0;
  std::FILE* file = std::fopen(path.c_str(), "abe");
  if (file == nullptr) return cannot_create(path);
  std::fclose(file);
  if (!existed) std::remove(path.c_str());
  return {};
}

Status FileSink::open(const std::string& path) {
  path_ = path;
  file_ = std::fopen(path.c_str(), "wbe");
  if (file_ == nullptr) return cannot_create(path);
  return {};
}

Status FileSink::write(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_) != bytes) return failed();
  return {};
}

Status FileSink::close() {
  if (file_ == nullptr) return {};
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) return failed();
  return {};
}

Error FileSink::failed() const { return {ErrorCode::kRuntime, "cannot write " + path_ + ": " + std::strerror(errno)}; }

}  // namespace dsr1::cli
