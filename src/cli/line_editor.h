// LineEditor: reads what a person types on a terminal, with editing, history, completion and pastes of several lines.
//
// Keys are readline's (Ctrl-A E B F D H K U W Y L P N R, Alt-B F D, arrows, Home, End); Alt-Enter puts a newline into
// the entry, and so do the newlines of a paste. Ctrl-C empties the entry, Ctrl-Z puts the program to sleep. Characters
// are grapheme clusters, as wide as text/width.h says. Where the terminal knows no escape sequences (TERM=dumb) it
// reads plain lines. The terminal is in the mode it was found in whenever read() is not running.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsr1::cli {

class LineEditor {
 public:
  // All that the text before the cursor may be completed to.
  using Completer = std::function<std::vector<std::string>(std::string_view before)>;
  explicit LineEditor(Completer completer) : completer_(std::move(completer)) {}

  enum class End {
    kEntry,      // a line was entered
    kEof,        // Ctrl-D on an empty line, or the end of input
    kInterrupt,  // Ctrl-C on an empty line
    kSignal,     // SIGTERM or SIGHUP came (signals.h)
  };
  struct Line {
    End end = End::kEntry;
    std::string text;
  };
  // One entry without its final newline. `initial`: text to begin with.
  Line read(const std::string& prompt, std::string initial = {});

  // What the arrow keys go through, oldest first.
  std::vector<std::string>& history() { return history_; }
  // Keys that were typed while nobody read them.
  void type_ahead(std::string_view bytes) { pending_ += bytes; }

 private:
  enum class Key {
    kText,
    kEnter,
    kEof,
    kInterrupt,
    kSuspend,
    kResized,
    kSignal,
    kNewline,
    kLeft,
    kRight,
    kWordLeft,
    kWordRight,
    kHome,
    kLineEnd,
    kUp,
    kDown,
    kHistoryUp,
    kHistoryDown,
    kSearch,
    kBackspace,
    kDelete,
    kDeleteOrEnd,
    kKillRight,
    kKillLeft,
    kKillWord,
    kKillWordRight,
    kYank,
    kRedraw,
    kTab,
    kPasteBegin,
    kOther
  };
  // next_byte() gives a byte, or one of these.
  static constexpr int kNoInput = -1, kGotSignal = -2, kGotResize = -3;

  Line read_plain(const std::string& prompt);
  Line read_raw(const std::string& prompt, std::string initial);
  int next_byte(bool inside_key = false);
  Key next_key(std::string& text);
  Key escape_key();
  void paste();
  void insert(std::string_view text);
  void kill(size_t from, size_t to);
  size_t line_begin() const;
  size_t line_end() const;
  size_t word_left() const;
  size_t word_right() const;
  bool move_line(int step);  // false where there is no line above or below
  void recall(int step);
  // Ctrl-R: finds an older entry that holds what is typed. The key that ended it, for read_raw to act on.
  Key search(std::string& text);
  void complete();
  void draw();
  void forget_drawing();

  Completer completer_;
  std::vector<std::string> history_;
  std::string pending_;  // read and not used yet
  // The entry being edited.
  std::string prompt_, text_, saved_, killed_;
  size_t cursor_ = 0, history_at_ = 0;
  // As last drawn: the columns of each row, and the cursor's row. Rows above the screen are not drawn.
  std::vector<int> drawn_;
  int cursor_row_ = 0;
};

// While it lives, what is typed is not shown (and kept for later): an answer is being printed.
class QuietTerminal {
 public:
  QuietTerminal();
  ~QuietTerminal();
  QuietTerminal(const QuietTerminal&) = delete;
  QuietTerminal& operator=(const QuietTerminal&) = delete;

  // What was typed since the last call; empty where keys come as lines only.
  std::string take_keys();

 private:
  bool changed_ = false, raw_ = false;
};

}  // namespace dsr1::cli
