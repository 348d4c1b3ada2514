#include "dsr1/runtime/vote.h"

#include <gtest/gtest.h>

#include <vector>

namespace dsr1::runtime {
namespace {

TEST(Vote, TheShortAnswerIsTheLastBoxOrTheLastShortLine) {
  EXPECT_EQ(short_answer("First \\boxed{1}, no: \\boxed{\\frac{1}{2}}."), "\\frac{1}{2}");
  EXPECT_EQ(short_answer("so \\boxed{42} and \\boxed{never closed"), "42");
  EXPECT_EQ(short_answer("Long reasoning.\n\n**Answer:** 42."), "42");
  EXPECT_EQ(short_answer("The final answer is $1,234$.\n"), "1234");
  EXPECT_EQ(short_answer("The answer is: \\(x = 3\\)"), "x=3");
  EXPECT_EQ(short_answer("Paris"), "paris");
  EXPECT_EQ(short_answer("answer: Island"), "island");
  EXPECT_EQ(short_answer("pairs 1,2"), "pairs1,2");
  EXPECT_EQ(short_answer("\\boxed{\\text{Yes}}"), "yes");
  EXPECT_EQ(short_answer(std::string(100, 'x')), "");
  EXPECT_EQ(short_answer(" \n"), "");
}

TEST(Vote, TheMajorityWinsAndTiesGoToTheFirst) {
  auto vote = [](const std::vector<std::string>& answers) { return majority(answers); };
  Vote v = vote({"5", "I say \\boxed{7}", "7.", "5!", "**7**"});
  EXPECT_EQ(v.winner, 1u);
  EXPECT_EQ(v.votes, 3u);
  EXPECT_EQ(v.answer, "7");
  v = vote({"b", "a", "a", "b"});
  EXPECT_EQ(v.winner, 0u);
  EXPECT_EQ(v.votes, 2u);
  v = vote({"", std::string(200, 'x'), "yes"});
  EXPECT_EQ(v.winner, 2u);
  EXPECT_EQ(v.votes, 1u);
  v = vote({"", ""});
  EXPECT_EQ(v.winner, 0u);
  EXPECT_EQ(v.votes, 0u);
}

}  // namespace
}  // namespace dsr1::runtime
