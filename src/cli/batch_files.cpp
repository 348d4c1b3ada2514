#include "batch_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "dsr1/base/sha256.h"

namespace dsr1::cli {
namespace {

bool is_full(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

Error cannot_write(const std::string& path, int error) {
  return {is_full(error) ? ErrorCode::kResumable : ErrorCode::kRuntime,
          "cannot write " + path + ": " + std::strerror(error)};
}

// 0, or the errno that stopped it.
int write_fully(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n > 0) text.remove_prefix(static_cast<size_t>(n));
    else if (n == 0 || errno != EINTR) return n == 0 ? ENOSPC : errno;
  }
  return 0;
}

// A new name is only safe once its directory is on the disk too.
void sync_directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string dir = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const int fd = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

RowFile::~RowFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status RowFile::open(const std::string& path, Begin begin) {
  path_ = path;
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NONBLOCK;
  int fd = ::open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0600);
  made_ = fd >= 0;
  if (fd < 0 && errno == EEXIST) {
    if (begin == Begin::kNew)
      return Error(ErrorCode::kUsage, path + " exists; --resume goes on with it, another name starts anew");
    fd = ::open(path.c_str(), kFlags);
  }
  if (fd < 0) return Error(ErrorCode::kRuntime, "cannot write " + path + ": " + std::strerror(errno));
  fd_ = fd;
  struct stat st {};
  if (::fstat(fd, &st) != 0) return Error(ErrorCode::kRuntime, "cannot read " + path + ": " + std::strerror(errno));
  if (!S_ISREG(st.st_mode))
    return Error(ErrorCode::kRuntime, "cannot write " + path + ": a batch needs a regular file, which it can resume");
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
    return Error(ErrorCode::kRuntime, "cannot write " + path + ": another program has it locked" +
                                          (errno == EWOULDBLOCK ? " (a batch that is still running?)" : ""));
  ::fstat(fd, &st);  // what it is now that it is ours
  size_ = st.st_size;
  if (made_) sync_directory(path);
  return {};
}

void RowFile::discard() {
  if (made_ && size_ == 0) ::unlink(path_.c_str());
}

Status RowFile::repair(const std::function<Status(const Json& line)>& on_line) {
  constexpr size_t kChunk = size_t{1} << 18;
  std::string buffer, line;
  int64_t at = 0, good_end = 0, number = 0, bad_line = 0;
  std::string bad_why;
  while (true) {
    buffer.resize(kChunk);
    const ssize_t n = ::pread(fd_, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error(ErrorCode::kRuntime, "cannot read " + path_ + ": " + std::strerror(errno));
    if (n == 0) break;
    std::string_view part(buffer.data(), static_cast<size_t>(n));
    while (!part.empty()) {
      const size_t newline = part.find('\n');
      line.append(part.substr(0, newline));
      if (newline == std::string_view::npos) {
        at += static_cast<int64_t>(part.size());
        break;
      }
      at += static_cast<int64_t>(newline) + 1;
      part.remove_prefix(newline + 1);
      ++number;
      const auto json = Json::parse(line);
      line.clear();
      if (!json || !json->is_object()) {
        if (bad_line == 0) bad_line = number;
        continue;
      }
      if (bad_line != 0)
        return Error(ErrorCode::kRuntime, path_ + ", line " + std::to_string(bad_line) +
                                              ": damaged, with good lines after it; no crash does that. Restore or "
                                              "remove the file");
      DSR1_TRY_STATUS(on_line(*json).context(path_ + ", line " + std::to_string(number)));
      good_end = at;
    }
  }
  if (good_end == size_) return {};
  if (::ftruncate(fd_, good_end) != 0 || ::fsync(fd_) != 0)
    return Error(ErrorCode::kRuntime, "cannot cut the torn end off " + path_ + ": " + std::strerror(errno));
  size_ = good_end;
  return {};
}

Status RowFile::append(std::string_view lines, bool durable) {
  if (lines.empty()) return {};
  if (::lseek(fd_, size_, SEEK_SET) < 0) return cannot_write(path_, errno);
  int error = write_fully(fd_, lines);
  if (error == 0 && durable && ::fdatasync(fd_) != 0) error = errno;
  if (error != 0) {
    [[maybe_unused]] const int ignored = ::ftruncate(fd_, size_);
    return cannot_write(path_, error);
  }
  size_ += static_cast<int64_t>(lines.size());
  return {};
}

Status write_whole_file(const std::string& path, std::string_view text) {
  const std::string beside = path + ".tmp";
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return cannot_write(beside, errno);
  int error = write_fully(fd, text);
  if (error == 0 && ::fsync(fd) != 0) error = errno;
  if (::close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(beside.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(beside.c_str());
    return cannot_write(path, error);
  }
  sync_directory(path);
  return {};
}

void Manifest::make_id() {
  Json j = Json::object();
  j.set("input", input_sha256).set("model", model_sha256).set("settings", settings);
  id = sha256_hex(j.dump()).substr(0, 32);
}

Json Manifest::json() const {
  Json j = Json::object();
  j.set("dsr1_batch", 1).set("id", id).set("created", created).set("version", version);
  j.set("input", Json::object().set("sha256", input_sha256).set("bytes", input_bytes));
  j.set("model", Json::object().set("name", model).set("sha256", model_sha256));
  j.set("settings", settings);
  return j;
}

Result<Manifest> Manifest::parse(std::string_view text) {
  DSR1_TRY(const Json j, Json::parse(text));
  const Error damaged(ErrorCode::kModel, "this is no manifest of a batch");
  auto text_of = [](const Json* object, std::string_view key) -> const std::string* {
    const Json* v = object != nullptr ? object->find(key) : nullptr;
    return v != nullptr && v->is_string() ? &v->as_string() : nullptr;
  };
  auto number_of = [](const Json* object, std::string_view key) -> std::optional<int64_t> {
    const Json* v = object != nullptr ? object->find(key) : nullptr;
    return v != nullptr && v->fits_int64() ? std::optional(v->as_int64()) : std::nullopt;
  };
  const Json *input = j.find("input"), *model = j.find("model"), *settings = j.find("settings");
  const std::string *id = text_of(&j, "id"), *version = text_of(&j, "version"), *input_sha = text_of(input, "sha256"),
                    *name = text_of(model, "name"), *model_sha = text_of(model, "sha256");
  const auto created = number_of(&j, "created"), bytes = number_of(input, "bytes"), kind = number_of(&j, "dsr1_batch");
  if (!id || !version || !input_sha || !name || !model_sha || !created || !bytes || !settings || !settings->is_object())
    return damaged;
  if (kind != 1) return Error(ErrorCode::kModel, "a manifest of another version of dsr1");
  Manifest m;
  m.id = *id;
  m.version = *version;
  m.input_sha256 = *input_sha;
  m.input_bytes = *bytes;
  m.model = *name;
  m.model_sha256 = *model_sha;
  m.settings = *settings;
  m.created = *created;
  return m;
}

Status check_same(const Manifest& then, const Manifest& now) {
  std::string what;
  auto differs = [&](const std::string& text) { what += (what.empty() ? "" : ", ") + text; };
  if (then.input_sha256 != now.input_sha256) differs("the input is another one");
  if (then.model_sha256 != now.model_sha256) differs("the model is another one (it was " + then.model + ")");
  auto shown = [](const Json* v) { return v == nullptr ? std::string("not given") : v->dump().substr(0, 60); };
  for (const auto& [key, value] : now.settings.as_object()) {
    const Json* old = then.settings.find(key);
    if (old == nullptr || old->dump() != value.dump()) differs(key + " is " + shown(&value) + ", it was " + shown(old));
  }
  for (const auto& [key, value] : then.settings.as_object())
    if (now.settings.find(key) == nullptr) differs(key + " is not given, it was " + shown(&value));
  if (what.empty()) return {};
  return Error(ErrorCode::kUsage, "--resume: this is not the batch that was begun: " + what);
}

}  // namespace dsr1::cli
