// WordWrap: breaks a stream of text at words, for a terminal of some width.
//
// Nothing is held back: a word that turns out not to fit is taken from the screen again and written on the next row
// (by cursor movements, so the terminal must know escape sequences). East Asian text breaks between any two characters,
// but not before closing and after opening punctuation. Lines between ``` fences are left as they are.
#pragma once

#include <string>
#include <string_view>

namespace dsr1::cli {

class WordWrap {
 public:
  // What to write for this text; `columns` of the terminal as it is now.
  std::string push(std::string_view text, int columns);
  int column() const { return column_; }
  // The cursor was put to the begin of a row by somebody else.
  void restart();

 private:
  void put(std::string_view cluster, int width, int limit, std::string& out);
  void end_line();

  std::string word_;  // the word being written, as far as it may move to the next row
  int word_width_ = 0, column_ = 0;
  bool glue_ = false;  // an opening punctuation came last: no break after it
  bool skip_spaces_ = false;
  std::string line_start_;  // up to three characters
  bool fence_ = false;
};

}  // namespace dsr1::cli
