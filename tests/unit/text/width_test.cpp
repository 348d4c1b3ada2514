#include "dsr1/text/width.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dsr1::text {
namespace {

std::vector<std::string> clusters(std::string_view text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t to = next_cluster(text, at);
    out.emplace_back(text.substr(at, to - at));
    at = to;
  }
  return out;
}

TEST(Width, LatinIsOneColumnCjkAndEmojiTwo) {
  EXPECT_EQ(display_width("hello"), 5);
  EXPECT_EQ(display_width("你好，世界"), 10);
  EXPECT_EQ(display_width("ひらカナ한글"), 12);
  EXPECT_EQ(display_width("ｱｲｳ"), 3);  // half-width katakana
  EXPECT_EQ(display_width("Ａ"), 2);   // full-width letter
  EXPECT_EQ(display_width("🙂🚀"), 4);
  EXPECT_EQ(display_width(""), 0);
}

TEST(Width, CombiningMarksTakeNone) {
  EXPECT_EQ(display_width("e\u0301"), 1);
  EXPECT_EQ(display_width("a\u200Db"), 2);  // zero-width joiner
  EXPECT_EQ(display_width("\x1b"), 2);      // shown as ^[
  EXPECT_EQ(display_width("\xff\xfe"), 2);  // no UTF-8: a column a byte
}

TEST(Width, ClustersAreWhatPeopleSeeAsOneCharacter) {
  EXPECT_EQ(clusters("e\u0301x"), (std::vector<std::string>{"e\u0301", "x"}));
  EXPECT_EQ(clusters("👩‍👩‍👧!"), (std::vector<std::string>{"👩‍👩‍👧", "!"}));
  EXPECT_EQ(cluster_width("👩‍👩‍👧"), 2);
  EXPECT_EQ(clusters("🇩🇪🇫🇷"), (std::vector<std::string>{"🇩🇪", "🇫🇷"}));
  EXPECT_EQ(display_width("🇩🇪🇫🇷"), 4);
  EXPECT_EQ(clusters("\xff\xff"), (std::vector<std::string>{"\xff", "\xff"}));
}

TEST(Width, PreviousIsTheInverseOfNext) {
  const std::string text = "a你e\u0301\n👩‍👩‍👧\xffz\n\n🇩🇪🇫🇷";
  std::vector<size_t> borders = {0};
  while (borders.back() < text.size()) borders.push_back(next_cluster(text, borders.back()));
  for (size_t i = 1; i < borders.size(); ++i) EXPECT_EQ(previous_cluster(text, borders[i]), borders[i - 1]) << i;
  EXPECT_EQ(previous_cluster(text, 0), 0u);
}

}  // namespace
}  // namespace dsr1::text
