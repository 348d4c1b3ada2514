// The files a batch writes: rows that survive a crash, and the manifest that says what they are rows of.
//
// A RowFile is only ever appended to, whole lines at a time, and each append is on the disk (fsync) before it returns;
// so a crash can tear the last append and nothing else. What was torn is cut off when the file is opened again. The
// file is made for its owner alone (0600) and locked as long as it is open.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "dsr1/base/json.h"
#include "dsr1/base/result.h"

namespace dsr1::cli {

class RowFile {
 public:
  RowFile() = default;
  ~RowFile();
  RowFile(const RowFile&) = delete;
  RowFile& operator=(const RowFile&) = delete;

  enum class Begin { kNew, kGoOn };
  // kNew: a file that exists is kUsage. kRuntime where it cannot be created, is no regular file, or is locked by
  // another program.
  Status open(const std::string& path, Begin begin);
  // Removes a file that open() made and nothing was written to.
  void discard();
  bool is_open() const { return fd_ >= 0; }
  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }

  // Gives every whole line to `on_line`, in order, and cuts off what a crash left behind the last good one. A line that
  // is no JSON object with good ones after it is damage that no crash makes: kRuntime, with its number.
  Status repair(const std::function<Status(const Json& line)>& on_line);

  // Appends whole lines. kResumable where the disk is full, kRuntime on other failures; the file then ends where it did
  // before. durable: on the disk before it returns.
  Status append(std::string_view lines, bool durable = true);

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
  bool made_ = false;
};

// Whole small file, beside and renamed, on the disk before it returns. Errors as RowFile::append.
Status write_whole_file(const std::string& path, std::string_view text);

// What a batch's rows depend on. `settings`: everything that can change an answer.
struct Manifest {
  std::string id;  // from all that follows: the same batch has the same id wherever it runs
  std::string input_sha256;
  int64_t input_bytes = 0;
  std::string model, model_sha256;
  Json settings = Json::object();
  std::string version;  // of the program that began it
  int64_t created = 0;  // of the rows: 0, so that the same batch gives the same bytes at any time

  void make_id();
  Json json() const;
  static Result<Manifest> parse(std::string_view text);
};

// Success where a batch that was begun as `then` may go on as `now`; kUsage naming what differs.
Status check_same(const Manifest& then, const Manifest& now);

}  // namespace dsr1::cli
