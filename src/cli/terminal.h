// What the three standard streams are, and the little that a terminal needs: widths, dimmed text, one progress bar.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dsr1/base/time_left.h"

namespace dsr1::cli {

bool is_terminal(int fd);
// Escape sequences are welcome: a terminal, not TERM=dumb. Colours and dimming also need NO_COLOR unset.
bool has_escapes(int fd);
bool has_colour(int fd);
// Columns: COLUMNS, else the terminal's, else 80.
int terminal_columns(int fd);

// "12.3 s", "4:05", "1:02:03"
std::string human_seconds(double seconds);

// A bar on stderr, redrawn at most ten times a second; nothing at all where stderr is no terminal. It shows only once
// an operation has taken half a second, and leaves no trace behind. The time left is by the rate of late (TimeLeft).
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  // The first call with done = 0 restarts the clock of the time left: what came before was other work. A call in which
  // `done` falls begins the next operation under the same label.
  void update(int64_t done, int64_t total, std::string_view note = {});
  void clear();

 private:
  std::string label_;
  TimeLeft time_left_;
  double drawn_at_ = 0;
  bool enabled_, drawn_ = false, begun_ = false;
};

}  // namespace dsr1::cli
