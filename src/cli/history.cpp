#include "history.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "dsr1/base/log.h"

namespace dsr1::cli {
namespace {

constexpr size_t kLargestEntry = 64 << 10;
constexpr off_t kLargestFile = 64 << 20;

std::string escaped(std::string_view entry) {
  std::string line;
  for (char c : entry) {
    if (c == '\n') line += "\\n";
    else if (c == '\\') line += "\\\\";
    else line += c;
  }
  return line + "\n";
}

std::string unescaped(std::string_view line) {
  std::string entry;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\' || i + 1 == line.size()) {
      entry += line[i];
    } else {
      ++i;
      entry += line[i] == 'n' ? '\n' : line[i];
    }
  }
  return entry;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

void InputHistory::warn(const std::string& what) {
  if (!warned_) log_warn("the history of inputs is not kept: " + what);
  warned_ = true;
}

int InputHistory::open_locked(int flags) {
  if (path_.empty()) return -1;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const int fd = ::open(path_.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0) {
      if (errno != ENOENT) warn(path_.string() + ": " + std::strerror(errno));
      return -1;
    }
    struct stat st {};
    if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ::flock(fd, LOCK_EX) == 0 && ::fstat(fd, &st) == 0) {
      // Another program may have put a shorter file in its place meanwhile.
      if (st.st_nlink > 0) {
        if ((st.st_mode & 077) != 0) ::fchmod(fd, 0600);
        return fd;
      }
    } else {
      ::close(fd);
      warn(path_.string() + " is no ordinary file that can be locked");
      return -1;
    }
    ::close(fd);
  }
  return -1;
}

std::vector<std::string> InputHistory::load() {
  std::vector<std::string> entries;
  const int fd = open_locked(O_RDWR);
  if (fd < 0) return entries;
  const off_t size = ::lseek(fd, 0, SEEK_END);
  std::string text;
  if (size > 0) {
    const off_t from = size > kLargestFile ? size - kLargestFile : 0;
    text.resize(static_cast<size_t>(size - from));
    const ssize_t n = ::pread(fd, text.data(), text.size(), from);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  }
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;  // half a line: its writer was cut off
    if (end > 0) entries.push_back(unescaped(rest.substr(0, end)));
    rest.remove_prefix(end + 1);
  }
  if (entries.size() > 2 * kMost) {
    entries.erase(entries.begin(), entries.end() - static_cast<std::ptrdiff_t>(kMost));
    std::string kept;
    for (const auto& e : entries) kept += escaped(e);
    const std::filesystem::path fresh = path_.string() + ".new";
    ::unlink(fresh.c_str());
    const int out = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const bool written = out >= 0 && write_all(out, kept) && ::fsync(out) == 0;
    if (out >= 0) ::close(out);
    if (!written || ::rename(fresh.c_str(), path_.c_str()) != 0) ::unlink(fresh.c_str());
  }
  ::close(fd);
  return entries;
}

void InputHistory::add(std::string_view entry) {
  if (path_.empty() || entry.empty() || entry.front() == ' ' || entry.size() > kLargestEntry) return;
  std::error_code ec;
  const auto dir = path_.parent_path();
  if (!std::filesystem::exists(dir, ec)) {
    std::filesystem::create_directories(dir.parent_path(), ec);
    if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
      warn(dir.string() + ": " + std::strerror(errno));
      return;
    }
  }
  const int fd = open_locked(O_RDWR | O_APPEND | O_CREAT);
  if (fd < 0) return;
  // A torn line, which its writer was cut off from, is ended first.
  char last = '\n';
  const off_t size = ::lseek(fd, 0, SEEK_END);
  if (size > 0 && ::pread(fd, &last, 1, size - 1) != 1) last = '\n';
  if (!write_all(fd, (last == '\n' ? "" : "\n") + escaped(entry))) warn(path_.string() + ": " + std::strerror(errno));
  ::close(fd);
}

}  // namespace dsr1::cli
