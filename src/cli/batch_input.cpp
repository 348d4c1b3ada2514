#include "batch_input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "dsr1/base/sha256.h"
#include "terminal.h"

namespace dsr1::cli {
namespace {

constexpr size_t kChunk = size_t{1} << 18;

// A copy, under no name, of what comes out of a pipe.
Result<int> spool(int source, const std::string& name) {
  const char* tmp = std::getenv("TMPDIR");
  std::string path = std::string(tmp != nullptr && *tmp != '\0' ? tmp : "/tmp") + "/dsr1-batch-XXXXXX";
  const int fd = ::mkstemp(path.data());
  if (fd < 0)
    return Error(ErrorCode::kRuntime, "cannot create a temporary copy of " + name + " in " +
                                          path.substr(0, path.rfind('/')) + ": " + std::strerror(errno) +
                                          "; TMPDIR names another directory");
  ::unlink(path.c_str());
  std::string buffer(kChunk, '\0');
  while (true) {
    const ssize_t n = ::read(source, buffer.data(), buffer.size());
    if (n == 0) return fd;
    if (n < 0 && errno == EINTR) continue;
    bool ok = n > 0;
    for (ssize_t done = 0; ok && done < n;) {
      const ssize_t w = ::write(fd, buffer.data() + done, static_cast<size_t>(n - done));
      if (w > 0) done += w;
      else ok = w < 0 && errno == EINTR;
    }
    if (ok) continue;
    const std::string why = std::strerror(errno);
    ::close(fd);
    return Error(ErrorCode::kRuntime, "cannot copy " + name + " to a temporary file: " + why);
  }
}

bool is_blank(std::string_view s) { return s.find_first_not_of(" \t\r\v\f") == std::string_view::npos; }

std::string too_long() {
  return "longer than " + std::to_string(BatchInput::kLongestRecord >> 20) + " MiB, the most that is read";
}

}  // namespace

Result<std::unique_ptr<BatchInput>> BatchInput::open(const std::string& path, BatchFormat format,
                                                     const std::string& column) {
  const std::string name = path == "-" ? "standard input" : path;
  if (path == "-" && is_terminal(STDIN_FILENO))
    return Error(ErrorCode::kUsage, "--input -: standard input is a terminal; pipe the rows in, or name a file");
  auto cannot_read = [&](const std::string& why) {
    return Error(ErrorCode::kUsage, "cannot read " + name + ": " + why);
  };
  const int fd = path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return cannot_read(std::strerror(errno));
  auto input = std::unique_ptr<BatchInput>(new BatchInput(name, fd, format));
  struct stat st {};
  if (::fstat(fd, &st) != 0) return cannot_read(std::strerror(errno));
  if (S_ISDIR(st.st_mode)) return cannot_read("it is a directory");
  if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || (path == "-" && S_ISCHR(st.st_mode))) {
    DSR1_TRY(const int copy, spool(fd, name));
    ::close(std::exchange(input->fd_, copy));
  } else if (!S_ISREG(st.st_mode)) {
    return cannot_read("it is no file and no pipe");
  }
  input->seek(0, 1);
  if (input->peek() == 0xEF) {  // a byte order mark
    DSR1_TRY_STATUS(input->fill());
    if (input->buffer_.compare(0, 3, "\xEF\xBB\xBF") == 0) input->at_ = 3;
  }
  if (format == BatchFormat::kCsv) DSR1_TRY_STATUS(input->read_header(column));
  input->first_record_ = input->offset();
  input->first_line_ = input->line_;
  if (!input->failed_) return Error(input->failed_.error());
  return input;
}

BatchInput::~BatchInput() { ::close(fd_); }

Result<InputFacts> BatchInput::survey(const std::atomic<bool>* cancel) {
  InputFacts facts;
  Sha256 hash;
  std::string buffer(kChunk, '\0');
  int64_t length = 0;  // of the line so far
  auto end_line = [&] {
    ++facts.lines;
    if (length >= 16) ++facts.long_lines;
    length = 0;
  };
  while (true) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed))
      return Error(ErrorCode::kInterrupted, "interrupted");
    const ssize_t n = ::pread(fd_, buffer.data(), buffer.size(), facts.bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error(ErrorCode::kRuntime, "cannot read " + name_ + ": " + std::strerror(errno));
    if (n == 0) break;
    const std::string_view part(buffer.data(), static_cast<size_t>(n));
    hash.update(part);
    facts.bytes += n;
    for (size_t at = 0; at < part.size();) {
      const size_t newline = part.find('\n', at);
      const size_t end = newline == std::string_view::npos ? part.size() : newline;
      length += static_cast<int64_t>(end - at);
      if (newline != std::string_view::npos) end_line();
      at = end + 1;
    }
  }
  if (length > 0) end_line();
  facts.sha256 = hash.hex();
  return facts;
}

Result<bool> BatchInput::next(BatchRecord& record) {
  record.text.clear();
  record.error.reset();
  const bool more = format_ == BatchFormat::kCsv ? next_csv(record) : next_line(record);
  if (!failed_) return Error(failed_.error());
  return more;
}

// Reads the chunk that begins at offset().
Status BatchInput::fill() {
  buffer_at_ += static_cast<int64_t>(at_);
  at_ = 0;
  buffer_.resize(kChunk);
  while (true) {
    const ssize_t n = ::pread(fd_, buffer_.data(), kChunk, buffer_at_);
    if (n < 0 && errno == EINTR) continue;
    buffer_.resize(n > 0 ? static_cast<size_t>(n) : 0);
    if (n < 0) return Error(ErrorCode::kRuntime, "cannot read " + name_ + ": " + std::strerror(errno));
    return {};
  }
}

int BatchInput::peek() {
  if (at_ == buffer_.size()) {
    if (failed_) failed_ = fill();
    if (at_ == buffer_.size()) return -1;
  }
  return static_cast<unsigned char>(buffer_[at_]);
}

void BatchInput::seek(int64_t offset, int64_t line) {
  buffer_.clear();
  at_ = 0;
  buffer_at_ = offset;
  line_ = line;
}

void BatchInput::skip_line() {
  while (peek() >= 0) {
    const size_t newline = buffer_.find('\n', at_);
    at_ = newline == std::string::npos ? buffer_.size() : newline + 1;
    if (newline != std::string::npos) {
      ++line_;
      return;
    }
  }
}

bool BatchInput::next_line(BatchRecord& record) {
  while (peek() >= 0) {
    record.line = line_;
    record.text.clear();
    bool ended = false, longer = false;
    while (!ended && !longer && peek() >= 0) {
      const size_t newline = buffer_.find('\n', at_);
      ended = newline != std::string::npos;
      const size_t end = ended ? newline : buffer_.size();
      longer = record.text.size() + (end - at_) > kLongestRecord;
      if (longer) break;
      record.text.append(buffer_, at_, end - at_);
      at_ = ended ? end + 1 : end;
    }
    if (longer) {
      skip_line();
      record.text = {};
      record.error = RowError{"line_too_long", "the line is " + too_long()};
      return true;
    }
    ++line_;
    if (record.text.ends_with('\r')) record.text.pop_back();
    if (!is_blank(record.text)) return true;
  }
  return false;
}

std::string BatchInput::read_csv(int64_t wanted, std::string& field, int64_t& n_fields, std::vector<std::string>* all) {
  record_bytes_ = 0;
  std::string now;
  n_fields = 0;
  auto put = [&](int c) {
    if (all != nullptr || n_fields == wanted) now += static_cast<char>(c);
    ++at_;
    return ++record_bytes_ <= kLongestRecord;
  };
  while (true) {
    now.clear();
    bool closed = false;
    if (peek() == '"') {
      ++at_;
      while (!closed) {
        const int c = peek();
        if (c < 0) return "a quote that is opened here is never closed";
        if (c == '\n') ++line_;
        if (c == '"') {
          ++at_;
          if (peek() != '"') {
            closed = true;
            break;
          }
        }
        if (!put(peek())) return "a field is " + too_long() + " (a quote that is never closed?)";
      }
    }
    int c = peek();
    if (closed && c >= 0 && c != ',' && c != '\n' && c != '\r') return "text follows the closing quote of a field";
    while (c >= 0 && c != ',' && c != '\n') {
      if (c == '\r') {
        ++at_;
        if (peek() == '\n' || peek() < 0) break;
        ++record_bytes_;
        if (all != nullptr || n_fields == wanted) now += '\r';
        c = peek();
        continue;
      }
      if (!put(c)) return "a field is " + too_long();
      c = peek();
    }
    if (all != nullptr) all->push_back(now);
    if (n_fields == wanted) field = std::move(now);
    ++n_fields;
    c = peek();
    if (c == ',') {
      ++at_;
      continue;
    }
    if (c == '\n') {
      ++at_;
      ++line_;
    }
    return {};
  }
}

Status BatchInput::read_header(const std::string& column) {
  std::string field;
  std::vector<std::string> names;
  const bool empty = peek() < 0;
  const std::string complaint = read_csv(-1, field, n_columns_, &names);
  if (empty) return Error(ErrorCode::kUsage, name_ + " is empty; expected a CSV file with a line of column names");
  if (!complaint.empty()) return Error(ErrorCode::kUsage, name_ + ", line 1: " + complaint);
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] != column) continue;
    column_ = static_cast<int64_t>(i);
    return {};
  }
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n.substr(0, 40);
  return Error(ErrorCode::kUsage,
               "--csv: " + name_ + " has no column '" + column + "'; it has: " + known.substr(0, 300));
}

bool BatchInput::next_csv(BatchRecord& record) {
  while (peek() >= 0) {
    const int64_t begin = offset();
    record.line = line_;
    int64_t n = 0;
    const std::string complaint = read_csv(column_, record.text, n, nullptr);
    if (!complaint.empty()) {
      // What a stray quote swallowed is read again, as lines.
      seek(begin, record.line);
      skip_line();
      record.text = {};
      record.error = RowError{"invalid_csv", complaint};
      return true;
    }
    if (n == 1 && (record_bytes_ == 0 || (n_columns_ == 1 && is_blank(record.text)))) continue;  // a blank line
    if (n != n_columns_) {
      record.error = RowError{
          "invalid_csv", "the record has " + std::to_string(n) + " fields, the header " + std::to_string(n_columns_)};
      record.text = {};
      return true;
    }
    return true;
  }
  return false;
}

}  // namespace dsr1::cli
