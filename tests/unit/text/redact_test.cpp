#include "dsr1/text/redact.h"

#include <gtest/gtest.h>

#include <random>

namespace dsr1::text {
namespace {

std::string redact(const Redactor& rules, const std::vector<std::string>& parts) {
  RedactStream stream(&rules);
  std::string out;
  for (const std::string& p : parts) stream.push(p, out);
  stream.finish(out);
  return out;
}

std::string redact(const std::string& rules, const std::string& text) {
  auto r = Redactor::parse(rules);
  EXPECT_TRUE(r) << r.error().text();
  return r ? redact(*r, {text}) : "";
}

TEST(Redact, WordsAreTakenOutWhereverTheyStandAndInEitherCase) {
  EXPECT_EQ(redact("secret\n", "My SECRET plan; secretly."), "My [redacted] plan; [redacted]ly.");
  EXPECT_EQ(redact("密码", "请输入密码！"), "请输入[redacted]！");
  EXPECT_EQ(redact("a.b*c\r\n", "a.b*c axbbc"), "[redacted] axbbc");
  EXPECT_EQ(redact("É", "é"), "[redacted]");
}

TEST(Redact, OfWordsThatBeginTogetherTheLongestWins) {
  EXPECT_EQ(redact("pass\npassword\nword\n", "password pass word passwor"),
            "[redacted] [redacted] [redacted] [redacted]wor");
}

TEST(Redact, PatternsArePcre2s) {
  const std::string rules = "# card numbers, and shouting\n/\\b\\d{4}([ -]?\\d{4}){3}\\b/\n\n/[A-Z]{5,20}!/\n/ab?c/i\n";
  EXPECT_EQ(redact(rules, "4111 1111-11111111 41111111111111112 HELLO! hello! ABC ac"),
            "[redacted] 41111111111111112 [redacted] hello! [redacted] [redacted]");
  EXPECT_EQ(redact("/(?<=key: )\\w{1,40}/", "key: abc1 kez: abc"), "key: [redacted] kez: abc");
  EXPECT_EQ(redact("/^x/", "xx\nx"), "[redacted]x\nx");
  EXPECT_EQ(redact("/(?m)^x$/", "x\nxx\nx"), "[redacted]\nxx\n[redacted]");
}

TEST(Redact, NoBeginningOfAMatchIsEverLetThrough) {
  auto rules = Redactor::parse("password\n/\\d{3}-\\d{4}/\n");
  ASSERT_TRUE(rules);
  RedactStream stream(&*rules);
  std::string out;
  for (const char c : std::string("my passwor")) stream.push(std::string(1, c), out);
  EXPECT_EQ(out, "my ");
  stream.push("d is 555-12", out);
  EXPECT_EQ(out, "my [redacted] is ");
  stream.push("3", out);
  EXPECT_EQ(out, "my [redacted] is ");
  stream.push("4x pass", out);
  EXPECT_EQ(out, "my [redacted] is [redacted]x ");
  stream.finish(out);
  EXPECT_EQ(out, "my [redacted] is [redacted]x pass");
  out.clear();
  stream.push("password", out);  // ready for the next text
  stream.finish(out);
  EXPECT_EQ(out, "[redacted]");
}

TEST(Redact, TheResultDoesNotDependOnHowTheTextIsCut) {
  auto rules = Redactor::parse(
      "ab\nabab\nbé\n/a{2,3}b?/\n/\\bc\\b/\n/(?<=a)d(?!b)/\n/(?<!\\w)é{1,4}x/\n/b(?=cc)/\n/d$/\n/(?m)^a(b|cd)e?/i\n");
  ASSERT_TRUE(rules) << rules.error().text();
  std::mt19937_64 rng(1);
  const std::vector<std::string> letters = {"a", "a", "b", "b", "c", "d", "é", "x", " ", "\n", "e", "好"};
  int changed = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> characters;
    std::string whole;
    for (uint64_t n = rng() % 40; n > 0; --n) {
      characters.push_back(letters[rng() % letters.size()]);
      whole += characters.back();
    }
    const std::string expected = redact(*rules, {whole});
    EXPECT_EQ(redact(*rules, characters), expected) << whole;
    std::vector<std::string> parts(1);
    for (const auto& c : characters) {
      if (rng() % 3 == 0) parts.emplace_back();
      parts.back() += c;
    }
    EXPECT_EQ(redact(*rules, parts), expected) << whole;
    changed += expected != whole ? 1 : 0;
  }
  EXPECT_GT(changed, 1000);
}

TEST(Redact, WhatIsHeldBackIsBounded) {
  auto rules = Redactor::parse("/a{1,255}b/\n");
  ASSERT_TRUE(rules);
  RedactStream stream(&*rules);
  std::string out;
  for (int i = 0; i < 2000; ++i) {
    stream.push("a", out);
    EXPECT_LE(i + 1 - static_cast<int>(out.size()), Redactor::kMostCharacters);
  }
}

TEST(Redact, APatternThatBacktracksWithoutEndHidesRatherThanLeaks) {
  auto rules = Redactor::parse("/(a?){30}(a?){30}(a?){30}a{30}c/\n");
  ASSERT_TRUE(rules) << rules.error().text();
  const std::string out = redact(*rules, {std::string(100, 'a'), "b"});
  EXPECT_TRUE(out == std::string(100, 'a') + "b" || out.find(Redactor::kMask) != std::string::npos) << out;
}

TEST(Redact, RulesWithoutALimitAreRefusedByLine) {
  for (const char* pattern :
       {"a*",   "a+",   "a{2,}", "(ab?){1,200}",   "a{257}", "(a{10}){26}",  "\\1(a)",  "(a)\\k<1>",   "(?R)?a",
        "\\X",  "a\\K", "\\Ax",  "(*ACCEPT)a",     "(?C1)a", "(?(1)a|b)",    "(?x)a",   "\\Qa+\\E",    "a?",
        "(|a)", "\\b",  "^",     "(?#c)a",         "\\C",    "(?&n)(?<n>a)", "(?=a*)b", "a(?=b{300})", "[a",
        "(a",   "a)",   "\\",    "(?P>n)(?P<n>a)", "\\g1(a)"}) {
    const auto r = Redactor::parse("fine\n/" + std::string(pattern) + "/\n");
    EXPECT_FALSE(r) << pattern;
    if (r) continue;
    EXPECT_EQ(r.error().code, ErrorCode::kUsage);
    EXPECT_TRUE(r.error().message.starts_with("line 2: ")) << r.error().message;
  }
  EXPECT_FALSE(Redactor::parse(""));
  EXPECT_FALSE(Redactor::parse("# nothing\n"));
  EXPECT_FALSE(Redactor::parse("/open\n"));
  EXPECT_FALSE(Redactor::parse(std::string(257, 'x')));
}

TEST(Redact, TheMostCharactersOfAPatternAreCounted) {
  for (const auto& [pattern, most] : std::vector<std::pair<std::string, int>>{{"abc", 3},
                                                                              {"a|bcd|ef", 3},
                                                                              {"(ab?){3}", 6},
                                                                              {"[^]a-z\\]]{2,5}x", 6},
                                                                              {"[[:alpha:]_]", 1},
                                                                              {"\\d{1,3}(,\\d{3}){0,4}", 19},
                                                                              {"a{,3}", 5},
                                                                              {"a{x}", 4},
                                                                              {"\\x{4F60}\\x41\\p{L}\\pN\\R", 6},
                                                                              {"(?:ab|c(?i:d{2}))??", 3},
                                                                              {"(?<name>ab)(?'n2'c)(?P<n3>d)", 4},
                                                                              {"(?<=abc)d(?=ef)", 3},
                                                                              {"好{2}é", 3},
                                                                              {"\\$\\.\\*", 3},
                                                                              {"^a$\\b", 1},
                                                                              {"(?i)a", 1}}) {
    const auto n = most_characters(pattern);
    ASSERT_TRUE(n) << pattern << ": " << n.error().text();
    EXPECT_EQ(*n, most) << pattern;
  }
}

}  // namespace
}  // namespace dsr1::text
