#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "output.h"

namespace dsr1::cli {

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

bool has_escapes(int fd) {
  const char* term = std::getenv("TERM");
  return is_terminal(fd) && term != nullptr && std::string_view(term) != "dumb";
}

bool has_colour(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  return has_escapes(fd) && (no_color == nullptr || *no_color == '\0');
}

int terminal_columns(int fd) {
  if (const char* columns = std::getenv("COLUMNS")) {
    const long n = std::strtol(columns, nullptr, 10);
    if (n >= 20 && n <= 10000) return static_cast<int>(n);
  }
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

std::string human_seconds(double seconds) {
  char text[32];
  if (seconds < 99.95) {
    std::snprintf(text, sizeof text, seconds < 9.995 ? "%.2f s" : "%.1f s", seconds);
  } else {
    const auto s = std::llround(seconds);
    if (s < 3600) std::snprintf(text, sizeof text, "%lld:%02lld min", s / 60, s % 60);
    else std::snprintf(text, sizeof text, "%lld:%02lld h", s / 3600, s / 60 % 60);
  }
  return text;
}

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ProgressBar::ProgressBar(std::string label) : label_(std::move(label)), enabled_(has_escapes(STDERR_FILENO)) {
  time_left_.add(seconds_now(), 0);
}

void ProgressBar::update(int64_t done, int64_t total, std::string_view note) {
  if (!enabled_ || total <= 0) return;
  if (done == 0 && !std::exchange(begun_, true)) time_left_ = {};
  const double now = seconds_now();
  time_left_.add(now, static_cast<double>(done));
  if (time_left_.elapsed() < TimeLeft::kSettled || now - drawn_at_ < 0.1) return;
  drawn_at_ = now;
  const double part = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  std::string tail = " " + std::to_string(static_cast<int>(part * 100)) + "%";
  if (!note.empty()) tail += "  " + std::string(note);
  if (const auto left = time_left_.until(static_cast<double>(total)); left && part > 0.01)
    tail += "  " + human_seconds(*left) + " left";
  const int columns = terminal_columns(STDERR_FILENO);
  const int room = columns - static_cast<int>(label_.size() + tail.size()) - 4;
  std::string line = label_;
  if (room >= 8) {
    const int width = std::min(room, 30), filled = static_cast<int>(part * width);
    line += " [" + std::string(static_cast<size_t>(filled), '#') +
            std::string(static_cast<size_t>(width - filled), '.') + "]";
  }
  line += tail;
  line.resize(std::min(line.size(), static_cast<size_t>(columns - 1)));
  to_stderr("\r" + line + "\x1b[K");
  drawn_ = true;
}

void ProgressBar::clear() {
  if (drawn_) to_stderr("\r\x1b[K");
  drawn_ = false;
}

}  // namespace dsr1::cli
