// bench, fit and verify as scripts call them.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "dsr1/base/json.h"
#include "support/synthetic_model.h"

namespace dsr1::test {
namespace {

struct Ran {
  int code = -1;
  std::string out;  // stdout alone
};

class Measure : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("dsr1-measure-" + std::to_string(getpid()));
    std::filesystem::create_directories(dir_);
    model_ = dir_ / "m.gguf";
    SyntheticModel({}).write(model_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  Ran run(const std::string& arguments) const {
    const std::string command =
        "DSR1_HOME='" + (dir_ / "home").string() + "' '" DSR1_PROGRAM "' " + arguments + " 2>/dev/null";
    Ran r;
    FILE* p = popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, p)) > 0;) r.out.append(buffer, n);
    r.code = WEXITSTATUS(pclose(p));
    return r;
  }
  std::string model() const { return "'" + model_.string() + "'"; }
  std::filesystem::path dir_, model_;
};

TEST_F(Measure, BenchPrintsOneJsonArrayAndCompareReadsIt) {
  const Ran r = run("bench " + model() + " -p 8 -n 4 -pg 4,4 -r 2 -t 1 --probe-ms 1 -o json");
  ASSERT_EQ(r.code, 0);
  auto rows = Json::parse(r.out);
  ASSERT_TRUE(rows && rows->is_array()) << r.out;
  ASSERT_EQ(rows->as_array().size(), 3u);
  EXPECT_EQ(rows->as_array()[1].find("n_gen")->as_int64(), 4);
  EXPECT_EQ(rows->as_array()[2].find("samples_ts")->as_array().size(), 2u);
  std::ofstream(dir_ / "a.json") << r.out;
  const std::string a = "'" + (dir_ / "a.json").string() + "'";
  const Ran same = run("bench compare " + a + " " + a);
  EXPECT_EQ(same.code, 0);
  EXPECT_NE(same.out.find("no difference"), std::string::npos);
  EXPECT_EQ(run("bench compare " + a).code, 2);
  EXPECT_EQ(run("bench " + model() + " -p 0 -n 0").code, 2);
}

TEST_F(Measure, APictureThatCannotBeWrittenIsRefusedBeforeAnythingIsMeasured) {
  const std::string some = "bench " + model() + " -p 8 -n 0 -r 1 -t 1 --probe-ms 1 --plot '" + dir_.string();
  const Ran refused = run(some + "/absent/p.svg'");
  EXPECT_EQ(refused.code, 2);
  EXPECT_EQ(refused.out, "");
  std::ofstream(dir_ / "p.svg") << "mine";
  EXPECT_EQ(run("bench " + model() + " -p 0 -n 0 --plot '" + dir_.string() + "/p.svg'").code, 2);
  EXPECT_EQ(std::filesystem::file_size(dir_ / "p.svg"), 4u);
  EXPECT_EQ(run(some + "/p.svg'").code, 0);
  EXPECT_GT(std::filesystem::file_size(dir_ / "p.svg"), 100u);
  EXPECT_EQ(run("bench '" + dir_.string() + "/absent.gguf'").code, 3);
}

TEST_F(Measure, FitAnswersFromAHeaderAndFromANameAndSaysNoWith4) {
  std::filesystem::resize_file(model_, std::filesystem::file_size(model_) - 5000);
  const Ran r = run("fit " + model() + " --no-probe --json");
  ASSERT_EQ(r.code, 0);
  auto j = Json::parse(r.out);
  ASSERT_TRUE(j) << r.out;
  EXPECT_TRUE(j->find("fits")->as_bool());
  EXPECT_EQ(run("fit deepseek-r1:671b --what-if ram=8GiB").code, 4);
  EXPECT_EQ(run("fit deepseek-r1:7b --what-if gpu=24GiB,1008GB/s ram=64GiB,80GB/s").code, 0);
  EXPECT_EQ(run("fit deepseek-r1:7b --what-if gpu=fast").code, 2);
  EXPECT_EQ(run("fit DeepSeek-R1-67B").code, 3);
  EXPECT_EQ(run("fit").code, 2);
}

TEST_F(Measure, VerifyPassesTheModelThatComesWithTheProgram) {
  const Ran r = run("verify '" DSR1_SOURCE_DIR "/models/r1-nano/r1-nano.gguf'");
  EXPECT_EQ(r.code, 0) << r.out;
}

TEST_F(Measure, DoctorNamesEveryTopicAndMendsWhatIsNotFine) {
  const Ran r = run("doctor --quick --json");
  ASSERT_EQ(r.code, 0);
  auto j = Json::parse(r.out);
  ASSERT_TRUE(j) << r.out;
  std::set<std::string> topics;
  for (const Json& f : j->find("findings")->as_array()) {
    topics.insert(f.find("topic")->as_string());
    EXPECT_TRUE(f.find("fine")->as_bool() || f.find("mend")->is_string()) << r.out;
  }
  for (const char* topic : {"levels", "cores", "memory", "cgroup", "GPU", "toolkit", "locale", "terminal"})
    EXPECT_TRUE(topics.contains(topic)) << topic;
}

TEST_F(Measure, VerifyEndsWith0OnAWholeModelAnd8OnABrokenOne) {
  const Ran good = run("verify " + model() + " --json");
  EXPECT_EQ(good.code, 0);
  auto j = Json::parse(good.out);
  ASSERT_TRUE(j) << good.out;
  EXPECT_TRUE(j->find("sane")->as_bool());
  std::filesystem::resize_file(model_, std::filesystem::file_size(model_) - 5000);
  EXPECT_EQ(run("verify " + model()).code, 8);
}

}  // namespace
}  // namespace dsr1::test
