#include "word_wrap.h"

#include <gtest/gtest.h>

#include <random>
#include <sstream>
#include <vector>

#include "dsr1/text/width.h"

namespace dsr1::cli {
namespace {

// What a terminal without a last-column trick shows: plain text, newlines, cursor left and erase to the right.
std::vector<std::string> screen(const std::string& bytes) {
  std::vector<std::string> rows(1);
  for (size_t i = 0; i < bytes.size();) {
    if (bytes[i] == '\n') {
      rows.emplace_back();
      ++i;
    } else if (bytes[i] == '\x1b') {
      size_t end = i + 2;
      int n = 0;
      while (bytes[end] >= '0' && bytes[end] <= '9') n = n * 10 + (bytes[end++] - '0');
      EXPECT_TRUE(bytes[end] == 'D' || bytes[end] == 'K') << bytes[end];
      std::string& row = rows.back();
      for (int left = n; bytes[end] == 'D' && left > 0;) {
        const size_t at = text::previous_cluster(row, row.size());
        left -= text::cluster_width(std::string_view(row).substr(at));
        row.resize(at);
      }
      i = end + 1;
    } else {
      const size_t to = text::next_cluster(bytes, i);
      rows.back().append(bytes, i, to - i);
      i = to;
    }
  }
  return rows;
}

std::string wrapped(const std::string& text, int columns, size_t step = 1) {
  WordWrap w;
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t to = i;
    for (size_t k = 0; k < step && to < text.size(); ++k) to = text::next_cluster(text, to);
    out += w.push(text.substr(i, to - i), columns);
    i = to;
  }
  return out;
}

TEST(WordWrap, BreaksBetweenWords) {
  EXPECT_EQ(screen(wrapped("the quick brown fox", 11)), (std::vector<std::string>{"the quick ", "brown fox"}));
  EXPECT_EQ(screen(wrapped("ab cd", 20)), (std::vector<std::string>{"ab cd"}));
}

TEST(WordWrap, AWordLongerThanTheRowIsCut) {
  EXPECT_EQ(screen(wrapped("abcdefghijklmno", 11)), (std::vector<std::string>{"abcdefghij", "klmno"}));
  EXPECT_EQ(screen(wrapped("ab abcdefghijklmno", 11)), (std::vector<std::string>{"ab ", "abcdefghij", "klmno"}));
}

TEST(WordWrap, SpacesAtTheEdgeAreSwallowedAndNewlinesStay) {
  EXPECT_EQ(screen(wrapped("abcdefghij   kl", 11)), (std::vector<std::string>{"abcdefghij", "kl"}));
  EXPECT_EQ(screen(wrapped("abcdefghij \nkl\n\nm", 11)), (std::vector<std::string>{"abcdefghij", "kl", "", "m"}));
}

TEST(WordWrap, EastAsianTextBreaksAnywhereButNotBeforeClosingPunctuation) {
  EXPECT_EQ(screen(wrapped("一二三四五六七", 11)), (std::vector<std::string>{"一二三四五", "六七"}));
  EXPECT_EQ(screen(wrapped("一二三四五。六", 11)), (std::vector<std::string>{"一二三四", "五。六"}));
  EXPECT_EQ(screen(wrapped("一二三四（五六", 11)), (std::vector<std::string>{"一二三四", "（五六"}));
}

TEST(WordWrap, FencedCodeIsLeftAlone) {
  const std::string code = "```\nint main() { return 0; }\n```\none two three";
  EXPECT_EQ(screen(wrapped(code, 11)),
            (std::vector<std::string>{"```", "int main() { return 0; }", "```", "one two ", "three"}));
}

TEST(WordWrap, NoRowIsTooWideAndNoWordIsLostHoweverTheTextIsCut) {
  std::mt19937 rng(3);
  const std::vector<std::string> parts = {
      "a",  "bc", "word", "longerword", " ",       " ",  "  ", "你",
      "好", "。", "🙂", "\n",         "e\u0301", "（", "\t", "verylongwordindeedyes"};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 60; ++i) text += parts[rng() % parts.size()];
    const int columns = 8 + static_cast<int>(rng() % 30);
    const auto rows = screen(wrapped(text, columns, 1 + rng() % 7));
    std::string letters, expected;
    for (const auto& row : rows) {
      EXPECT_LT(text::display_width(row), columns) << text;
      for (char c : row)
        if (c != ' ') letters += c;
    }
    for (char c : text)
      if (c != ' ' && c != '\n' && c != '\t') expected += c;
    EXPECT_EQ(letters, expected);
  }
}

}  // namespace
}  // namespace dsr1::cli
