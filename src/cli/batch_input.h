// The rows of a batch's input file, one after the other, in bounded memory however long a line is.
//
// Formats: OpenAI batch lines, one prompt a line, or one column of a CSV file (RFC 4180: fields in quotes may hold
// commas, quotes and line breaks). A pipe is first copied to a file that has no name, so that it can be read twice. A
// record that cannot be read comes with a complaint and does not end the file.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "batch_row.h"
#include "dsr1/base/result.h"

namespace dsr1::cli {

enum class BatchFormat { kOpenAi, kText, kCsv };

struct BatchRecord {
  int64_t line = 0;  // where it begins, from 1
  std::string text;  // the line, or the field
  std::optional<RowError> error;
};

struct InputFacts {
  std::string sha256;
  int64_t bytes = 0;
  int64_t lines = 0;
  int64_t long_lines = 0;  // of 16 bytes or more: as many rows of JSON there are at most
};

class BatchInput {
 public:
  // The longest line or field that is read; longer ones are refused.
  static constexpr size_t kLongestRecord = size_t{16} << 20;

  // kUsage where the file cannot be read, is a directory, or (CSV) lacks the column. Reads nothing but a CSV's header.
  static Result<std::unique_ptr<BatchInput>> open(const std::string& path, BatchFormat format,
                                                  const std::string& column);
  ~BatchInput();

  // Reads the whole file once. kInterrupted where *cancel became true.
  Result<InputFacts> survey(const std::atomic<bool>* cancel);
  // The next record; false at the end. Blank lines are no records.
  Result<bool> next(BatchRecord& record);
  void rewind() { seek(first_record_, first_line_); }

 private:
  BatchInput(std::string name, int fd, BatchFormat format) : name_(std::move(name)), fd_(fd), format_(format) {}
  int64_t offset() const { return buffer_at_ + static_cast<int64_t>(at_); }  // of what is read next
  Status fill();
  int peek();  // the next byte, -1 at the end (or on an error, kept in failed_)
  void seek(int64_t offset, int64_t line);
  void skip_line();
  Status read_header(const std::string& column);
  bool next_line(BatchRecord& record);
  bool next_csv(BatchRecord& record);
  // One CSV record; fields beyond the wanted one are read and dropped. A complaint, or nothing.
  std::string read_csv(int64_t wanted, std::string& field, int64_t& n_fields, std::vector<std::string>* all);

  std::string name_;
  int fd_;
  BatchFormat format_;
  int64_t column_ = 0, n_columns_ = 0;
  int64_t line_ = 1;
  int64_t first_record_ = 0, first_line_ = 1;
  std::string buffer_;
  int64_t buffer_at_ = 0;  // offset of buffer_[0] in the file
  size_t at_ = 0;
  size_t record_bytes_ = 0;  // of the CSV record read last, without quotes and separators
  Status failed_;
};

}  // namespace dsr1::cli
