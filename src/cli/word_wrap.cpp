#include "word_wrap.h"

#include "dsr1/text/width.h"

namespace dsr1::cli {
namespace {

constexpr int kTab = 8;

// Rules of Japanese and Chinese typesetting that readers miss when they are broken.
bool no_break_before(std::string_view c) {
  static constexpr std::string_view kSet[] = {"，", "。", "、", "！", "？", "：", "；", "）", "」", "』", "】", "》",
                                              "〉", "”",  "’",  "…",  "～", "ー", "っ", "ッ", "々", "％", "·"};
  for (std::string_view s : kSet)
    if (c == s) return true;
  return false;
}
bool no_break_after(std::string_view c) {
  static constexpr std::string_view kSet[] = {"（", "「", "『", "【", "《", "〈", "“", "‘"};
  for (std::string_view s : kSet)
    if (c == s) return true;
  return false;
}

}  // namespace

void WordWrap::end_line() {
  word_.clear();
  word_width_ = column_ = 0;
  glue_ = skip_spaces_ = false;
}

void WordWrap::restart() {
  end_line();
  line_start_.clear();
}

void WordWrap::put(std::string_view cluster, int width, int limit, std::string& out) {
  const bool wide = width == 2 && static_cast<unsigned char>(cluster[0]) >= 0x80;
  const bool closing = no_break_before(cluster);
  // A wide character begins a word of its own.
  if (wide && !closing && !glue_) {
    word_.clear();
    word_width_ = 0;
  }
  if (column_ + width > limit && column_ > 0) {
    if (!word_.empty() && word_width_ + width <= limit && word_width_ < column_) {
      out += "\x1b[" + std::to_string(word_width_) + "D\x1b[K\n" + word_;
      column_ = word_width_;
    } else {
      out += '\n';
      word_.clear();
      word_width_ = column_ = 0;
    }
  }
  out += cluster;
  word_ += cluster;
  word_width_ += width;
  column_ += width;
  glue_ = no_break_after(cluster);
  skip_spaces_ = false;
}

std::string WordWrap::push(std::string_view text, int columns) {
  std::string out;
  const int limit = columns - 1;  // the last column stays free: terminals differ in what happens after it
  for (size_t at = 0; at < text.size();) {
    const size_t to = text::next_cluster(text, at);
    const std::string_view cluster = text.substr(at, to - at);
    at = to;
    if (cluster == "\n" || cluster == "\r\n") {
      if (line_start_.starts_with("```")) fence_ = !fence_;
      line_start_.clear();
      out += '\n';
      end_line();
      continue;
    }
    if (line_start_.size() < 3 && (cluster != " " || !line_start_.empty())) line_start_ += cluster;
    if (fence_ || line_start_.starts_with("```")) {
      out += cluster;
      column_ += text::cluster_width(cluster);
      continue;
    }
    if (cluster == " " || cluster == "\t") {
      const int width = cluster == " " ? 1 : kTab - column_ % kTab;
      if (column_ + width > limit) skip_spaces_ = true;
      if (!skip_spaces_) {
        out.append(static_cast<size_t>(width), ' ');
        column_ += width;
      } else {
        column_ = limit;  // the next word goes to the next row
      }
      word_.clear();
      word_width_ = 0;
      glue_ = false;
      continue;
    }
    put(cluster, text::cluster_width(cluster), limit, out);
  }
  return out;
}

}  // namespace dsr1::cli
