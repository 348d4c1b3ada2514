#include "dsr1/text/width.h"

#include <utf8proc.h>

#include <algorithm>

#include "dsr1/text/unicode.h"

namespace dsr1::text {

int char_width(uint32_t code_point) {
  if (code_point == kNoChar) return 1;
  if (code_point < 0x20 || code_point == 0x7f) return 2;
  if (code_point < 0x7f) return 1;
  return utf8proc_charwidth(static_cast<utf8proc_int32_t>(code_point));
}

size_t next_cluster(std::string_view text, size_t at) {
  if (at >= text.size()) return text.size();
  const char* const end = text.data() + text.size();
  Char c = char_at(text.data() + at, end);
  size_t to = at + c.size;
  utf8proc_int32_t state = 0;
  while (to < text.size() && c.code_point != kNoChar) {
    const Char next = char_at(text.data() + to, end);
    if (next.code_point == kNoChar ||
        utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.code_point),
                                         static_cast<utf8proc_int32_t>(next.code_point), &state))
      break;
    to += next.size;
    c = next;
  }
  return to;
}

size_t previous_cluster(std::string_view text, size_t at) {
  if (at == 0) return 0;
  // No cluster reaches across a newline, so the walk begins after the last one.
  size_t from = at >= 2 ? text.rfind('\n', at - 2) : std::string_view::npos;
  from = from == std::string_view::npos ? 0 : from + 1;
  while (true) {
    const size_t to = next_cluster(text, from);
    if (to >= at) return from;
    from = to;
  }
}

int cluster_width(std::string_view cluster) {
  int width = 0;
  for (const char *p = cluster.data(), *end = p + cluster.size(); p < end;) {
    const Char c = char_at(p, end);
    width += char_width(c.code_point);
    p += c.size;
  }
  return std::min(width, 2);
}

int display_width(std::string_view text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t to = next_cluster(text, at);
    width += cluster_width(text.substr(at, to - at));
    at = to;
  }
  return width;
}

}  // namespace dsr1::text
