#include "dsr1/runtime/session_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace dsr1::runtime {
namespace {

class Store : public ::testing::Test {
 protected:
  Store() { std::filesystem::remove_all(dir_); }
  ~Store() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<SessionStore> open() {
    auto s = SessionStore::open(path_);
    EXPECT_TRUE(s) << s.error().text();
    return s ? std::move(*s) : nullptr;
  }
  static int64_t talk(SessionStore& s, const std::string& name, const std::vector<std::string>& said) {
    StoredSession session;
    session.name = name;
    session.model = "m.gguf";
    const int64_t id = *s.create(session);
    for (size_t i = 0; i < said.size(); ++i)
      EXPECT_TRUE(s.append(id, {.role = i % 2 ? "assistant" : "user", .content = said[i], .finish_reason = "stop"}));
    return id;
  }
  const std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("dsr1-sessions-" + std::to_string(getpid()));
  const std::filesystem::path path_ = dir_ / "data" / "sessions.db";
};

TEST_F(Store, KeepsWhatWasSaidAcrossRuns) {
  const std::string odd = std::string("nul\0 quote ' percent % 你好", 30);
  {
    auto s = open();
    StoredSession session;
    session.name = "work";
    session.model = "m.gguf";
    session.system = "Be brief.";
    session.settings = "{\"temp\":[\"0\"]}";
    const int64_t id = *s->create(session);
    ASSERT_TRUE(s->append(id, {.role = "user", .content = odd}));
    ASSERT_TRUE(s->append(id, {.role = "assistant",
                               .content = "yes",
                               .thought = "hm",
                               .finish_reason = "stop",
                               .tokens = 7,
                               .seed = UINT64_MAX}));
  }
  auto s = open();
  const auto found = *s->find("work");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->n_messages, 2);
  EXPECT_EQ(found->system, "Be brief.");
  EXPECT_EQ(found->settings, "{\"temp\":[\"0\"]}");
  EXPECT_EQ((*s->find(std::to_string(found->id)))->name, "work");
  EXPECT_EQ((*s->find("#" + std::to_string(found->id)))->name, "work");
  EXPECT_FALSE(*s->find("absent"));
  const auto messages = *s->messages(found->id);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].content, odd);
  EXPECT_EQ(messages[1].thought, "hm");
  EXPECT_EQ(messages[1].seed, UINT64_MAX);
  EXPECT_GT(messages[1].time, 0);
  struct stat st {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(path_.parent_path().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
}

TEST_F(Store, CutsRenamesAndRemoves) {
  auto s = open();
  const int64_t a = talk(*s, "a", {"q1", "a1", "q2", "a2"}), b = talk(*s, "", {"other"});
  ASSERT_TRUE(s->truncate(a, 2));
  EXPECT_EQ(s->messages(a)->size(), 2u);
  EXPECT_EQ(s->messages(a)->back().content, "a1");
  ASSERT_TRUE(s->append(a, {.role = "user", .content = "q3"}));
  EXPECT_EQ(s->messages(a)->back().content, "q3");
  EXPECT_EQ(s->messages(b)->size(), 1u);
  EXPECT_FALSE(s->rename(b, "a"));
  EXPECT_FALSE(s->rename(b, "12"));
  ASSERT_TRUE(s->rename(b, "b"));
  EXPECT_EQ((*s->find("b"))->id, b);
  ASSERT_TRUE(s->remove(a));
  EXPECT_FALSE(*s->find("a"));
  EXPECT_TRUE(s->messages(a)->empty());
  EXPECT_TRUE(s->search("q3", 10)->empty());
  // A number is never given twice.
  EXPECT_GT(talk(*s, "c", {}), b);
}

TEST_F(Store, SearchFindsPartsOfWordsInAnyScriptAndTakesNothingForSyntax) {
  auto s = open();
  talk(*s, "cooking", {"How long do potatoes boil?", "About 20 minutes."});
  talk(*s, "chinese", {"今天天气怎么样", "晴，百分之 100% 的_蓝天"});
  auto names = [&](const std::string& text) {
    std::string all;
    const auto hits = *s->search(text, 10);
    for (const auto& h : hits) all += h.session.name + ":" + h.role + " ";
    return all;
  };
  EXPECT_EQ(names("POTATO"), "cooking:user ");
  EXPECT_EQ(names("20 minutes."), "cooking:assistant ");
  EXPECT_EQ(names("天气怎"), "chinese:user ");
  EXPECT_EQ(names("天气"), "chinese:user ");  // too short for the index
  EXPECT_EQ(names("蓝"), "chinese:assistant ");
  EXPECT_EQ(names("%"), "chinese:assistant ");
  EXPECT_EQ(names("_"), "chinese:assistant ");
  for (const char* odd : {"\"", "AND", "NEAR(x)", "po* OR", "a\" OR \"b", "-potatoes", "content:x", "'"})
    EXPECT_EQ(names(odd), "") << odd;
  EXPECT_NE((*s->search("boil", 10))[0].excerpt.find("potatoes boil?"), std::string::npos);
}

TEST_F(Store, ListsNewestFirstWithTheFirstQuestionAsTitle) {
  auto s = open();
  talk(*s, "", {"first question\nsecond line", "answer"});
  talk(*s, "two", {"q"});
  const auto all = *s->list(10);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].name, "two");
  EXPECT_EQ(all[1].title, "first question second line");
  EXPECT_EQ(all[1].label(), std::to_string(all[1].id));
  EXPECT_EQ(s->list(1)->size(), 1u);
}

TEST_F(Store, DamagedForeignAndLaterFilesAreRefusedInOneLine) {
  std::filesystem::create_directories(path_.parent_path());
  std::ofstream(path_) << "this is no database, but long enough to look like one: " << std::string(2000, 'x');
  auto damaged = SessionStore::open(path_);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, ErrorCode::kModel);
  EXPECT_EQ(damaged.error().text().find('\n'), std::string::npos);
  std::filesystem::remove(path_);
  open();
  // The format's number stands at byte 60 of an SQLite file, big-endian.
  std::fstream f(path_, std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(60);
  f.write("\0\0\0\x63", 4);
  f.close();
  auto later = SessionStore::open(path_);
  ASSERT_FALSE(later);
  EXPECT_NE(later.error().message.find("later version"), std::string::npos) << later.error().message;
  EXPECT_FALSE(SessionStore::open(dir_));
}

TEST_F(Store, FoldersMayBeLinksTheFileMayNot) {
  std::filesystem::create_directories(dir_ / "real");
  std::filesystem::create_directory_symlink(dir_ / "real", dir_ / "link");
  EXPECT_TRUE(SessionStore::open(dir_ / "link" / "sessions.db"));
  EXPECT_TRUE(std::filesystem::exists(dir_ / "real" / "sessions.db"));
  std::filesystem::create_symlink(dir_ / "real" / "sessions.db", dir_ / "real" / "other.db");
  EXPECT_FALSE(SessionStore::open(dir_ / "real" / "other.db"));
}

TEST_F(Store, TwoProgramsMayWriteAtOnce) {
  auto s = open();
  const int64_t id = talk(*s, "shared", {});
  const pid_t child = ::fork();
  if (child == 0) {
    auto mine = SessionStore::open(path_);
    bool good = mine.has_value();
    for (int i = 0; good && i < 12; ++i) good = (*mine)->append(id, {.role = "user", .content = "child"}).has_value();
    ::_exit(good ? 0 : 1);
  }
  for (int i = 0; i < 12; ++i) EXPECT_TRUE(s->append(id, {.role = "user", .content = "parent"}));
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(s->messages(id)->size(), 24u);
}

TEST(SessionName, NumbersSlashesAndControlCharactersAreRefused) {
  for (const char* good : {"work", "2024-01 notes", "工作", "a.b"}) EXPECT_TRUE(check_session_name(good)) << good;
  for (const std::string& bad : {std::string(), std::string("12"), std::string("#work"), std::string("a/b"),
                                 std::string("a\nb"), std::string(81, 'x')})
    EXPECT_FALSE(check_session_name(bad)) << bad;
}

}  // namespace
}  // namespace dsr1::runtime
