#include "dsr1/runtime/kv_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "dsr1/base/sha256.h"

namespace dsr1::runtime {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'D', 'S', 'R', '1', 'K', 'V', 0, 1};
constexpr size_t kDigest = 64;  // hexadecimal digits

struct Header {
  char magic[sizeof kMagic];
  char key[kDigest];
  char checksum[kDigest];  // of the counts, the tokens and each run's digest
  uint64_t n_tokens;
  uint64_t payload;  // bytes after the tokens
};
static_assert(sizeof(Header) == 8 + 2 * kDigest + 16, "written as it lies in memory");

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  // False, with errno, where closing reports what a disk could not keep.
  bool close() {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0;
  }

 private:
  int fd_;
};

bool write_all(int fd, const void* data, size_t size) {
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd, p, std::min<size_t>(size, size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    p += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

// False at an early end of the file too, with errno 0.
bool read_all(int fd, void* data, size_t size) {
  char* p = static_cast<char*>(data);
  while (size > 0) {
    errno = 0;
    const ssize_t n = ::read(fd, p, std::min<size_t>(size, size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

std::string_view chars(const void* data, size_t size) { return {static_cast<const char*>(data), size}; }

// The digest over everything but key and itself; digests of the runs come in their order.
std::string checksum(const Header& h, std::span<const int32_t> tokens, const std::string& run_digests) {
  return sha256_hex(std::string(chars(&h.n_tokens, sizeof h.n_tokens)) +
                    std::string(chars(&h.payload, sizeof h.payload)) +
                    std::string(chars(tokens.data(), tokens.size_bytes())) + run_digests);
}

Error trouble(ErrorCode code, const fs::path& path, const std::string& what) {
  return {code, "the saved cache " + path.string() + " " + what};
}

}  // namespace

std::string kv_key(const Engine& engine, const std::string& model, const std::string& build) {
  const std::string device = engine.device_name();
  std::string text = "dsr1 kv 1\nmodel " + model + "\nbuild " + build;
  text += "\ndevice " + device.substr(0, device.find(','));  // threads change no bit
  text += std::string("\ntypes ") + dtype_name(engine.type_k()) + " " + dtype_name(engine.type_v());
  text += "\nbatch " + std::to_string(engine.n_batch());
  text += "\ngroups " + std::to_string(engine.config().router.n_group_used);
  return sha256_hex(text);
}

Status save_kv(const Session& session, const std::string& key, const fs::path& path) {
  if (!session.on_host()) return trouble(ErrorCode::kRuntime, path, "is not written: the cache lies in a GPU's memory");
  const auto runs = session.kv_runs(session.n_past());
  const auto& tokens = session.tokens();
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  std::memcpy(h.key, key.data(), std::min(key.size(), kDigest));
  h.n_tokens = tokens.size();
  std::string digests;
  for (const auto& run : runs) {
    h.payload += run.size();
    digests += sha256_hex(chars(run.data(), run.size()));
  }
  std::memcpy(h.checksum, checksum(h, tokens, digests).data(), kDigest);

  const fs::path fresh = path.string() + ".new";
  ::unlink(fresh.c_str());
  Descriptor out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  bool good = out.get() >= 0 && write_all(out.get(), &h, sizeof h) &&
              write_all(out.get(), tokens.data(), tokens.size() * sizeof(int32_t));
  for (const auto& run : runs) good = good && write_all(out.get(), run.data(), run.size());
  good = good && ::fsync(out.get()) == 0 && out.close() && ::rename(fresh.c_str(), path.c_str()) == 0;
  if (!good) {
    const std::string why = std::strerror(errno);
    ::unlink(fresh.c_str());
    return trouble(ErrorCode::kRuntime, path, "cannot be written: " + why);
  }
  const Descriptor dir(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() >= 0) ::fsync(dir.get());
  return {};
}

Status load_kv(Session& session, const std::string& key, int64_t n_vocab, const fs::path& path) {
  session.rewind(0);
  if (!session.on_host()) return trouble(ErrorCode::kRuntime, path, "is not used: the cache lies in a GPU's memory");
  const Descriptor in(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat st {};
  if (in.get() < 0 || ::fstat(in.get(), &st) != 0)
    return trouble(ErrorCode::kRuntime, path, std::string("cannot be read: ") + std::strerror(errno));
  if (!S_ISREG(st.st_mode)) return trouble(ErrorCode::kModel, path, "is no ordinary file");
  const auto size = static_cast<uint64_t>(st.st_size);
  Header h{};
  if (size < sizeof h || !read_all(in.get(), &h, sizeof h) || std::memcmp(h.magic, kMagic, sizeof kMagic) != 0)
    return trouble(ErrorCode::kModel, path, "is damaged, or of another version");
  if (chars(h.key, kDigest) != key)
    return trouble(ErrorCode::kModel, path, "was made with another model, other settings or another version");
  if (h.n_tokens > static_cast<uint64_t>(session.n_ctx()))
    return trouble(
        ErrorCode::kModel, path,
        "has " + std::to_string(h.n_tokens) + " tokens, and the context only " + std::to_string(session.n_ctx()));
  std::vector<int32_t> tokens(h.n_tokens);
  const auto runs = session.kv_runs(static_cast<int64_t>(h.n_tokens));
  uint64_t payload = 0;
  for (const auto& run : runs) payload += run.size();
  if (h.payload != payload || size != sizeof h + tokens.size() * sizeof(int32_t) + payload)
    return trouble(ErrorCode::kModel, path,
                   "is damaged: it has " + std::to_string(size) + " bytes, expected " +
                       std::to_string(sizeof h + tokens.size() * sizeof(int32_t) + payload));
  std::string digests;
  bool read = read_all(in.get(), tokens.data(), tokens.size() * sizeof(int32_t));
  for (const auto& run : runs) {
    read = read && read_all(in.get(), run.data(), run.size());
    if (read) digests += sha256_hex(chars(run.data(), run.size()));
  }
  if (!read)
    return trouble(ErrorCode::kRuntime, path,
                   std::string("cannot be read: ") + (errno == 0 ? "it was cut short" : std::strerror(errno)));
  if (chars(h.checksum, kDigest) != checksum(h, tokens, digests))
    return trouble(ErrorCode::kModel, path, "is damaged: its checksum does not match");
  for (int32_t id : tokens)
    if (id < 0 || id >= n_vocab) return trouble(ErrorCode::kModel, path, "is damaged: a token is out of range");
  session.adopt(std::move(tokens));
  return {};
}

}  // namespace dsr1::runtime
