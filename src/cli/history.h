// InputHistory: what was typed at the chat's prompt, kept for the next runs in one file of mode 0600.
//
// An entry a line, "\n" and "\\" standing for newlines and backslashes. Entries that begin with a space are not kept,
// nor those of more than 64 KiB. Several programs may use the file at once. Trouble with it is a warning, once.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dsr1::cli {

class InputHistory {
 public:
  // An empty path keeps nothing.
  explicit InputHistory(std::filesystem::path path) : path_(std::move(path)) {}

  static constexpr size_t kMost = 1000;  // entries; a file of more than twice as many is cut to its newest
  std::vector<std::string> load();       // oldest first
  void add(std::string_view entry);

 private:
  int open_locked(int flags);  // -1, after a warning
  void warn(const std::string& what);
  std::filesystem::path path_;
  bool warned_ = false;
};

}  // namespace dsr1::cli
