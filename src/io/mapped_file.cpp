#include "dsr1/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "fault_guard.h"

namespace dsr1::io {
namespace {

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

Error file_error(const std::filesystem::path& path, ErrorCode code, const std::string& message) {
  Error e(code, message);
  e.context.push_back(path.string());
  return e;
}

std::string kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO (pipe)";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  if (S_ISSOCK(mode)) return "a socket";
  return "no regular file";
}

// Opens for reading whatever is a regular file. O_NONBLOCK: opening a FIFO nobody writes to must not hang.
Result<uint64_t> open_regular(const std::filesystem::path& path, Descriptor* d) {
  d->fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (d->fd < 0) {
    int why = errno;
    std::string text = why == ENOENT   ? "no such file"
                       : why == EACCES ? "no permission to read it"
                       : why == ELOOP  ? "symbolic links that lead in a circle"
                                       : std::string("cannot be opened: ") + std::strerror(why);
    return file_error(path, ErrorCode::kModel, text);
  }
  struct stat st {};
  if (fstat(d->fd, &st) != 0) return file_error(path, ErrorCode::kRuntime, std::strerror(errno));
  if (!S_ISREG(st.st_mode)) {
    return file_error(path, ErrorCode::kModel, "is " + kind_of(st.st_mode) + ", expected a regular file");
  }
  return static_cast<uint64_t>(st.st_size);
}

Status read_exactly(int fd, std::byte* out, uint64_t size, const std::filesystem::path& path) {
  uint64_t done = 0;
  while (done < size) {
    size_t want = static_cast<size_t>(std::min<uint64_t>(size - done, uint64_t{16} << 20));
    ssize_t n = pread(fd, out + done, want, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return file_error(path, ErrorCode::kRuntime,
                        "reading at byte " + std::to_string(done) + " failed: " + std::strerror(errno));
    }
    if (n == 0) {
      return file_error(path, ErrorCode::kModel,
                        "the file was cut short while being read: it had " + std::to_string(size) +
                            " bytes and now ends at " + std::to_string(done));
    }
    done += static_cast<uint64_t>(n);
  }
  return {};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  Descriptor d;
  DSR1_TRY(uint64_t size, open_regular(path, &d));
  if (size == 0) return file_error(path, ErrorCode::kModel, "is empty (0 bytes): a failed download, get it again");
  if (size > std::numeric_limits<size_t>::max() / 2) {
    return file_error(path, ErrorCode::kModel, "claims " + std::to_string(size) + " bytes, too large to map");
  }
  MappedFile f;
  void* p = mmap(nullptr, size, PROT_READ, MAP_SHARED, d.fd, 0);
  if (p == MAP_FAILED) {
    ErrorCode code = errno == ENOMEM ? ErrorCode::kDoesNotFit : ErrorCode::kRuntime;
    return file_error(path, code, std::string("cannot be mapped (") + std::strerror(errno) + "); try --no-mmap");
  }
  f.bytes_ = {static_cast<const std::byte*>(p), size};
  f.fault_slot_ = guard_mapping(f.bytes_.data(), size, path.string());
  return f;
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  unguard_mapping(fault_slot_);
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile& MappedFile::operator=(MappedFile&& o) noexcept {
  std::swap(bytes_, o.bytes_);
  std::swap(fault_slot_, o.fault_slot_);
  return *this;
}

void MappedFile::advise(uint64_t offset, uint64_t length, int advice) const {
  if (offset >= bytes_.size()) return;
  length = std::min<uint64_t>(length, bytes_.size() - offset);
  auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t slack = offset % page;  // a mapping starts on a page, madvise wants one too
  // const_cast: madvise takes void* but changes no byte. A hint that fails costs nothing but speed.
  madvise(const_cast<std::byte*>(bytes_.data()) + (offset - slack), length + slack, advice);
}

void MappedFile::will_need(uint64_t offset, uint64_t length) const { advise(offset, length, MADV_WILLNEED); }

void MappedFile::dont_need(uint64_t offset, uint64_t length) const { advise(offset, length, MADV_DONTNEED); }

void MappedFile::populate(uint64_t offset, uint64_t length) const {
#ifdef MADV_POPULATE_READ
  advise(offset, length,
         MADV_POPULATE_READ);  // Linux 5.14; unlike a touch it reports a lost page without SIGBUS
#else
  advise(offset, length, MADV_WILLNEED);
#endif
}

Result<std::string> read_text_file(const std::filesystem::path& path, uint64_t max_bytes) {
  Descriptor d;
  DSR1_TRY(uint64_t size, open_regular(path, &d));
  if (size > max_bytes) {
    return file_error(path, ErrorCode::kModel,
                      "has " + std::to_string(size) + " bytes, at most " + std::to_string(max_bytes) +
                          " are allowed for such a file");
  }
  std::string text(size, '\0');
  DSR1_TRY_STATUS(read_exactly(d.fd, reinterpret_cast<std::byte*>(text.data()), size, path));
  return text;
}

}  // namespace dsr1::io
