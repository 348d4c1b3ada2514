#include "history.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace dsr1::cli {
namespace {

class HistoryFile : public ::testing::Test {
 protected:
  HistoryFile() { std::filesystem::remove_all(dir_); }
  ~HistoryFile() override { std::filesystem::remove_all(dir_); }
  const std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("dsr1-history-" + std::to_string(getpid()));
  const std::filesystem::path path_ = dir_ / "state" / "history";
};

TEST_F(HistoryFile, GivesBackWhatWasTypedNewlinesAndBackslashesIncluded) {
  const std::vector<std::string> typed = {"one", "two\nlines\n", "C:\\new", "\\\\n", "你好"};
  {
    InputHistory h(path_);
    for (const auto& t : typed) h.add(t);
  }
  EXPECT_EQ(InputHistory(path_).load(), typed);
  struct stat st {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(path_.parent_path().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
}

TEST_F(HistoryFile, LeavesOutWhatBeginsWithASpaceAndHugePastes) {
  InputHistory h(path_);
  h.add(" secret");
  h.add("");
  h.add(std::string(100000, 'x'));
  h.add("kept");
  EXPECT_EQ(h.load(), std::vector<std::string>{"kept"});
}

TEST_F(HistoryFile, ALongFileIsCutToItsNewestEntries) {
  InputHistory h(path_);
  for (size_t i = 0; i < 2 * InputHistory::kMost; ++i) h.add(std::to_string(i));
  EXPECT_EQ(h.load().size(), 2 * InputHistory::kMost);
  h.add("last");
  auto kept = h.load();
  ASSERT_EQ(kept.size(), InputHistory::kMost);
  EXPECT_EQ(kept.front(), std::to_string(InputHistory::kMost + 1));
  EXPECT_EQ(kept.back(), "last");
  EXPECT_EQ(h.load(), kept);
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".new"));
}

TEST_F(HistoryFile, ATornLastLineIsLeftOutAndNoFileIsNoTrouble) {
  EXPECT_TRUE(InputHistory(path_).load().empty());
  EXPECT_TRUE(InputHistory("").load().empty());
  InputHistory h(path_);
  h.add("whole");
  std::ofstream(path_, std::ios::app) << "torn";
  EXPECT_EQ(h.load(), std::vector<std::string>{"whole"});
  h.add("next");
  EXPECT_EQ(h.load(), (std::vector<std::string>{"whole", "torn", "next"}));
}

TEST_F(HistoryFile, ALinkIsNotFollowed) {
  std::filesystem::create_directories(path_.parent_path());
  std::filesystem::create_symlink(dir_ / "elsewhere", path_);
  InputHistory h(path_);
  h.add("x");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "elsewhere"));
}

}  // namespace
}  // namespace dsr1::cli
