// How many columns text takes on a terminal, and where what people see as one character ends.
//
// Data and cluster borders are utf8proc's (src/text/width.cpp alone sees it); ambiguous widths count as narrow, as
// terminals outside East Asia have them. Pure and thread-safe. Bytes that are no UTF-8 count as one column each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dsr1::text {

// 0 for combining marks, 2 for wide characters and emoji, 2 for controls (shown as ^X), 1 for the rest.
int char_width(uint32_t code_point);

// The end of the grapheme cluster that begins at `at` (text.size() at the end), and the begin of the one before `at`.
size_t next_cluster(std::string_view text, size_t at);
size_t previous_cluster(std::string_view text, size_t at);

// A cluster never takes more than two columns, an emoji joined of several too.
int cluster_width(std::string_view cluster);
int display_width(std::string_view text);

}  // namespace dsr1::text
