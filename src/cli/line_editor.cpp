#include "line_editor.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "dsr1/text/unicode.h"
#include "dsr1/text/width.h"
#include "output.h"
#include "signals.h"
#include "terminal.h"
#include "terminal_guard.h"

namespace dsr1::cli {
namespace {

constexpr std::string_view kPasteEnd = "\x1b[201~";
constexpr int kControlC = 3, kControlR = 18, kControlZ = 26;

class RawMode {
 public:
  RawMode() {
    termios found{};
    if (::tcgetattr(STDIN_FILENO, &found) != 0) return;
    changed_ = enter_terminal_mode(found, editor_mode(found));
    if (changed_) Output::get().show("\x1b[?2004h");  // bracketed paste
  }
  ~RawMode() {
    if (!changed_) return;
    Output::get().show("\x1b[?2004l");
    leave_terminal_mode();
  }
  bool ok() const { return changed_; }

 private:
  bool changed_ = false;
};

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t'; }

int terminal_rows() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row >= 2 ? size.ws_row : 24;
}

}  // namespace

QuietTerminal::QuietTerminal() {
  termios found{};
  if (!is_terminal(STDIN_FILENO) || ::tcgetattr(STDIN_FILENO, &found) != 0) return;
  // Keys typed meanwhile wait for the editor as they are; plain lines wait as lines.
  raw_ = has_escapes(STDOUT_FILENO);
  changed_ = enter_terminal_mode(found, quiet_mode(found, raw_));
}

QuietTerminal::~QuietTerminal() {
  if (changed_) leave_terminal_mode();
}

std::string QuietTerminal::take_keys() {
  std::string keys;
  pollfd p{STDIN_FILENO, POLLIN, 0};
  while (changed_ && raw_ && ::poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0) {
    char buffer[256];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n <= 0) break;
    keys.append(buffer, static_cast<size_t>(n));
  }
  return keys;
}

LineEditor::Line LineEditor::read(const std::string& prompt, std::string initial) {
  return has_escapes(STDOUT_FILENO) ? read_raw(prompt, std::move(initial)) : read_plain(prompt);
}

int LineEditor::next_byte(bool inside_key) {
  while (pending_.empty()) {
    if (last_signal() != 0) return kGotSignal;
    if (!inside_key && take_screen_change()) return kGotResize;
    // A signal that comes just before the wait does not end it, so that is looked at every second.
    pollfd p{STDIN_FILENO, POLLIN, 0};
    if (::poll(&p, 1, 1000) <= 0) continue;
    char buffer[4096];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n > 0) pending_.append(buffer, static_cast<size_t>(n));
    else if (n == 0 || errno != EINTR) return kNoInput;
  }
  const int byte = static_cast<unsigned char>(pending_.front());
  pending_.erase(0, 1);
  return byte;
}

LineEditor::Line LineEditor::read_plain(const std::string& prompt) {
  Output::get().show(prompt);
  std::string line;
  while (true) {
    const int byte = next_byte(true);
    if (byte == kGotSignal) return {last_signal() == SIGINT ? End::kInterrupt : End::kSignal, ""};
    if (byte == kNoInput) return {line.empty() ? End::kEof : End::kEntry, line};
    if (byte == '\n') return {End::kEntry, line};
    line += static_cast<char>(byte);
  }
}

LineEditor::Key LineEditor::escape_key() {
  // A lone Escape has nothing behind it.
  pollfd p{STDIN_FILENO, POLLIN, 0};
  if (pending_.empty() && ::poll(&p, 1, 50) <= 0) return Key::kOther;
  const int first = next_byte(true);
  if (first == '\r' || first == '\n') return Key::kNewline;
  if (first == 'b') return Key::kWordLeft;
  if (first == 'f') return Key::kWordRight;
  if (first == 'd') return Key::kKillWordRight;
  if (first == 127 || first == 8) return Key::kKillWord;
  if (first != '[' && first != 'O') return Key::kOther;
  std::string sequence;
  int c = next_byte(true);
  while (c >= 0x20 && c < 0x40) {  // parameters, then one final byte
    sequence += static_cast<char>(c);
    c = next_byte(true);
  }
  const bool control = sequence.ends_with(";5") || sequence.ends_with(";3");
  switch (c) {
    case 'A': return Key::kUp;
    case 'B': return Key::kDown;
    case 'C': return control ? Key::kWordRight : Key::kRight;
    case 'D': return control ? Key::kWordLeft : Key::kLeft;
    case 'H': return Key::kHome;
    case 'F': return Key::kLineEnd;
    case '~':
      if (sequence == "1" || sequence == "7") return Key::kHome;
      if (sequence == "4" || sequence == "8") return Key::kLineEnd;
      if (sequence == "3") return Key::kDelete;
      if (sequence == "200") return Key::kPasteBegin;
      return Key::kOther;
    default: return Key::kOther;
  }
}

LineEditor::Key LineEditor::next_key(std::string& out) {
  const int byte = next_byte();
  switch (byte) {
    case kNoInput: return Key::kEof;
    case kGotSignal: return Key::kSignal;
    case kGotResize: return Key::kResized;
    case kControlC: return Key::kInterrupt;
    case kControlR: return Key::kSearch;
    case kControlZ: return Key::kSuspend;
    case 1: return Key::kHome;
    case 2: return Key::kLeft;
    case 4: return Key::kDeleteOrEnd;
    case 5: return Key::kLineEnd;
    case 6: return Key::kRight;
    case 8:
    case 127: return Key::kBackspace;
    case '\t': return Key::kTab;
    case '\r':
    case '\n': return Key::kEnter;  // '\n': typed while the terminal was still in its own mode
    case 11: return Key::kKillRight;
    case 12: return Key::kRedraw;
    case 14: return Key::kHistoryDown;
    case 16: return Key::kHistoryUp;
    case 21: return Key::kKillLeft;
    case 23: return Key::kKillWord;
    case 25: return Key::kYank;
    case 27: return escape_key();
    default: break;
  }
  if (byte < 32) return Key::kOther;
  out.assign(1, static_cast<char>(byte));
  const int more = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC0 ? 1 : 0;
  for (int i = 0; i < more; ++i) {
    const int tail = next_byte(true);
    if (tail < 0) break;
    out += static_cast<char>(tail);
  }
  return Key::kText;
}

void LineEditor::paste() {
  std::string pasted;
  while (!pasted.ends_with(kPasteEnd)) {
    const int byte = next_byte(true);
    if (byte < 0) break;
    pasted += static_cast<char>(byte);
  }
  if (pasted.ends_with(kPasteEnd)) pasted.resize(pasted.size() - kPasteEnd.size());
  std::string clean;
  for (size_t i = 0; i < pasted.size(); ++i) {
    const char c = pasted[i];
    if (c == '\r') {
      clean += '\n';
      if (i + 1 < pasted.size() && pasted[i + 1] == '\n') ++i;
    } else if (c == '\n' || c == '\t' || static_cast<unsigned char>(c) >= 32) {
      clean += c;
    }
  }
  insert(clean);
}

void LineEditor::insert(std::string_view s) {
  text_.insert(cursor_, s);
  cursor_ += s.size();
}

void LineEditor::kill(size_t from, size_t to) {
  if (to > from) killed_ = text_.substr(from, to - from);
  text_.erase(from, to - from);
  cursor_ = from;
}

size_t LineEditor::line_begin() const {
  const size_t newline = cursor_ == 0 ? std::string::npos : text_.rfind('\n', cursor_ - 1);
  return newline == std::string::npos ? 0 : newline + 1;
}

size_t LineEditor::line_end() const { return std::min(text_.find('\n', cursor_), text_.size()); }

size_t LineEditor::word_left() const {
  size_t at = cursor_;
  while (at > 0 && is_space(text_[at - 1])) --at;
  while (at > 0 && !is_space(text_[at - 1])) --at;
  return at;
}

size_t LineEditor::word_right() const {
  size_t at = cursor_;
  while (at < text_.size() && is_space(text_[at])) ++at;
  while (at < text_.size() && !is_space(text_[at])) ++at;
  return at;
}

bool LineEditor::move_line(int step) {
  const size_t begin = line_begin(), end = line_end();
  if (step < 0 ? begin == 0 : end == text_.size()) return false;
  const int column = text::display_width(std::string_view(text_).substr(begin, cursor_ - begin));
  cursor_ = step < 0 ? begin - 1 : end + 1;
  if (step < 0) cursor_ = line_begin();
  const size_t last = line_end();
  for (int at = 0; cursor_ < last && at < column;) {
    const size_t to = text::next_cluster(text_, cursor_);
    at += text::cluster_width(std::string_view(text_).substr(cursor_, to - cursor_));
    if (at <= column) cursor_ = to;
  }
  return true;
}

void LineEditor::recall(int step) {
  const auto at = static_cast<int64_t>(history_at_) + step;
  if (at < 0 || at > static_cast<int64_t>(history_.size())) return;
  if (history_at_ == history_.size()) saved_ = text_;
  history_at_ = static_cast<size_t>(at);
  text_ = history_at_ == history_.size() ? saved_ : history_[history_at_];
  cursor_ = text_.size();
}

LineEditor::Key LineEditor::search(std::string& typed) {
  const std::string prompt = prompt_, before = text_;
  std::string wanted;
  size_t at = history_.size();
  auto find = [&](size_t from) {
    for (size_t i = from; i-- > 0;)
      if (history_[i].find(wanted) != std::string::npos) {
        at = i;
        text_ = history_[i];
        cursor_ = text_.find(wanted);
        return;
      }
  };
  while (true) {
    prompt_ = "(search '" + wanted + "') ";
    draw();
    const Key key = next_key(typed);
    if (key == Key::kText) {
      wanted += typed;
      find(std::min(at + 1, history_.size()));
    } else if (key == Key::kSearch) {
      find(at);
    } else if (key == Key::kBackspace) {
      wanted.resize(text::previous_cluster(wanted, wanted.size()));
      find(history_.size());
    } else if (key == Key::kResized) {
      forget_drawing();
    } else {
      prompt_ = prompt;
      if (key == Key::kInterrupt) {
        text_ = before;
        cursor_ = text_.size();
        return Key::kOther;
      }
      if (at < history_.size()) history_at_ = at;
      return key;
    }
  }
}

// Completes as far as all candidates agree; shows them where that is no step further.
void LineEditor::complete() {
  if (!completer_) return;
  const std::string before = text_.substr(0, cursor_);
  const std::vector<std::string> found = completer_(before);
  if (found.empty()) return;
  std::string common = found.front();
  for (const auto& f : found) {
    size_t n = 0;
    while (n < common.size() && n < f.size() && common[n] == f[n]) ++n;
    common.resize(n);
  }
  while (!common.empty() && common.size() < found.front().size() &&
         (static_cast<unsigned char>(found.front()[common.size()]) & 0xC0) == 0x80)
    common.pop_back();  // whole characters only
  if (common.size() > before.size()) {
    text_.replace(0, cursor_, common);
    cursor_ = common.size();
  } else if (found.size() > 1) {
    // What all have in common, up to the last space or slash, need not be said with each.
    const size_t shared = before.find_last_of(" /");
    const size_t skip = shared == std::string::npos || shared == 0 ? 0 : shared + 1;
    constexpr size_t kMost = 100;
    std::string list = "\r\n";
    for (size_t i = 0; i < std::min(found.size(), kMost); ++i) list += found[i].substr(skip) + "  ";
    if (found.size() > kMost) list += "and " + std::to_string(found.size() - kMost) + " more";
    Output::get().show(list + "\r\n");
    drawn_.clear();
    cursor_row_ = 0;
  }
}

void LineEditor::forget_drawing() {
  // A narrower window has folded each row that was drawn into several.
  const int columns = terminal_columns(STDOUT_FILENO);
  int row = 0;
  for (int i = 0; i < cursor_row_ && i < static_cast<int>(drawn_.size()); ++i)
    row += std::max(1, (drawn_[static_cast<size_t>(i)] + columns - 1) / columns);
  cursor_row_ = row;
}

// Draws prompt and text anew from the prompt's row and puts the cursor where it belongs. Of an entry larger than the
// screen the part around the cursor is shown.
void LineEditor::draw() {
  const int columns = terminal_columns(STDOUT_FILENO);
  std::string out = cursor_row_ > 0 ? "\x1b[" + std::to_string(cursor_row_) + "A" : "";
  out += "\r\x1b[J";
  std::vector<std::string> rows = {prompt_};
  drawn_ = {text::display_width(prompt_)};
  size_t at_row = 0;
  int at_column = drawn_[0];
  auto next_row = [&] {
    rows.emplace_back();
    drawn_.push_back(0);
  };
  for (size_t i = 0; i < text_.size();) {
    const size_t to = text::next_cluster(text_, i);
    const std::string_view cluster = std::string_view(text_).substr(i, to - i);
    const bool newline = cluster[0] == '\n' || cluster == "\r\n";
    const int width = newline ? 0 : text::cluster_width(cluster);
    if (!newline && drawn_.back() + width > columns) next_row();
    if (i == cursor_) {
      at_row = rows.size() - 1;
      at_column = drawn_.back();
    }
    if (newline) {
      next_row();
    } else {
      const auto c = static_cast<unsigned char>(cluster[0]);
      if (c == '\t') rows.back() += "  ";
      else if (c < 32 || c == 127) rows.back() += std::string("^") + static_cast<char>(c ^ 64);
      else rows.back() += cluster;
      drawn_.back() += width;
    }
    i = to;
  }
  if (cursor_ >= text_.size()) {
    if (drawn_.back() >= columns) next_row();  // the cursor waits on the next row
    at_row = rows.size() - 1;
    at_column = drawn_.back();
  } else if (at_column >= columns) {
    at_column = columns - 1;
  }
  const auto screen = static_cast<size_t>(terminal_rows());
  if (rows.size() > screen) {
    size_t from = at_row < screen - 1 ? 0 : at_row - (screen - 1);
    from = std::min(from, rows.size() - screen);
    rows = {rows.begin() + static_cast<std::ptrdiff_t>(from),
            rows.begin() + static_cast<std::ptrdiff_t>(from + screen)};
    drawn_ = {drawn_.begin() + static_cast<std::ptrdiff_t>(from),
              drawn_.begin() + static_cast<std::ptrdiff_t>(from + screen)};
    at_row -= from;
  }
  for (size_t i = 0; i < rows.size(); ++i) out += (i > 0 ? "\r\n" : "") + rows[i];
  if (rows.size() - 1 > at_row) out += "\x1b[" + std::to_string(rows.size() - 1 - at_row) + "A";
  out += "\r";
  if (at_column > 0) out += "\x1b[" + std::to_string(at_column) + "C";
  cursor_row_ = static_cast<int>(at_row);
  Output::get().show(out);
}

LineEditor::Line LineEditor::read_raw(const std::string& prompt, std::string initial) {
  std::optional<RawMode> raw(std::in_place);
  if (!raw->ok()) return read_plain(prompt);
  prompt_ = prompt;
  text_ = std::move(initial);
  saved_.clear();
  cursor_ = text_.size();
  cursor_row_ = 0;
  history_at_ = history_.size();
  take_screen_change();
  auto finish = [&](End end) -> Line {
    cursor_ = text_.size();
    draw();
    Output::get().show("\r\n");
    return {end, end == End::kEntry ? text_ : std::string()};
  };
  std::string typed;
  draw();
  while (Output::get().ok()) {
    Key key = next_key(typed);
    if (key == Key::kSearch) key = search(typed);
    switch (key) {
      case Key::kText: insert(typed); break;
      case Key::kNewline: insert("\n"); break;
      case Key::kPasteBegin: paste(); break;
      case Key::kTab: complete(); break;
      case Key::kLeft: cursor_ = text::previous_cluster(text_, cursor_); break;
      case Key::kRight: cursor_ = text::next_cluster(text_, cursor_); break;
      case Key::kWordLeft: cursor_ = word_left(); break;
      case Key::kWordRight: cursor_ = word_right(); break;
      case Key::kHome: cursor_ = line_begin(); break;
      case Key::kLineEnd: cursor_ = line_end(); break;
      case Key::kUp:
        if (!move_line(-1)) recall(-1);
        break;
      case Key::kDown:
        if (!move_line(1)) recall(1);
        break;
      case Key::kHistoryUp: recall(-1); break;
      case Key::kHistoryDown: recall(1); break;
      case Key::kBackspace: {
        const size_t at = text::previous_cluster(text_, cursor_);
        text_.erase(at, cursor_ - at);
        cursor_ = at;
        break;
      }
      case Key::kDeleteOrEnd:
        if (text_.empty()) return finish(End::kEof);
        [[fallthrough]];
      case Key::kDelete: text_.erase(cursor_, text::next_cluster(text_, cursor_) - cursor_); break;
      case Key::kKillRight: kill(cursor_, text_.size()); break;
      case Key::kKillLeft: kill(0, cursor_); break;
      case Key::kKillWord: kill(word_left(), cursor_); break;
      case Key::kKillWordRight: kill(cursor_, word_right()); break;
      case Key::kYank: insert(killed_); break;
      case Key::kRedraw:
        Output::get().write("\x1b[H\x1b[2J");
        cursor_row_ = 0;
        break;
      case Key::kResized: forget_drawing(); break;
      case Key::kSuspend:
        raw.reset();
        Output::get().show("\r\n");
        ::raise(SIGTSTP);
        raw.emplace();
        take_screen_change();
        cursor_row_ = 0;
        break;
      case Key::kInterrupt: {
        const bool empty = text_.empty();
        Line line = finish(End::kInterrupt);
        if (empty) return line;
        text_.clear();
        cursor_ = 0;
        cursor_row_ = 0;
        history_at_ = history_.size();
        break;
      }
      case Key::kSignal: return finish(End::kSignal);
      case Key::kEof: return finish(text_.empty() ? End::kEof : End::kEntry);
      case Key::kEnter: return finish(End::kEntry);
      case Key::kSearch:
      case Key::kOther: break;
    }
    // A burst of keys is drawn once.
    if (pending_.empty()) draw();
  }
  return {End::kEof, ""};
}

}  // namespace dsr1::cli
