// Signals at random moments of a run: it ends with the signal's code, and what it wrote is a beginning of the whole.
#include <gtest/gtest.h>

#include <random>

#include "e2e/program.h"
#include "support/scripted_model.h"

namespace dsr1::test {
namespace {

TEST(Interrupt, AtFiveHundredMomentsTheCodeIsTheSignalsAndTheTextABeginning) {
  const auto path = scratch() / "interrupt.gguf";
  scripted_model({.pieces = {"tick ", "你好 ", "tock "}, .loops = true, .n_ctx = 4096}).write(path);
  const std::vector<std::string> args = {
      "run", path.string(),        "--think", "off", "-n", "400", "--no-loop-check", "--temp", "0",
      "-p",  std::string(600, 'x')};
  const auto begin = std::chrono::steady_clock::now();
  const Ran whole = run(args);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  ASSERT_EQ(whole.code, 0) << whole.err;
  std::mt19937 rng(11);
  int stopped = 0, with_text = 0;
  for (int i = 0; i < 500; ++i) {
    const int signal = i % 2 ? SIGTERM : SIGINT;
    const std::string base = (scratch() / "moment").string();
    write_file(base + ".in", "");
    const pid_t pid = spawn(args, {}, base + ".in", base + ".out", base + ".err");
    ::usleep(static_cast<useconds_t>(1e6 * seconds * 1.1 * static_cast<double>(rng()) / 4294967296.0));
    ::kill(pid, signal);
    int status = 0;
    ::waitpid(pid, &status, 0);
    std::string text = read_file(base + ".out");
    if (text.ends_with('\n')) text.pop_back();
    EXPECT_EQ(whole.out.substr(0, text.size()), text) << i;
    if (WIFSIGNALED(status)) {  // nobody had asked for the signal yet, or nobody any more: the answer was out
      EXPECT_EQ(WTERMSIG(status), signal);
      EXPECT_TRUE(text.empty() || text.size() + 1 >= whole.out.size()) << i << ": " << text;
      continue;
    }
    const int code = WEXITSTATUS(status);
    EXPECT_TRUE(code == 128 + signal || (code == 0 && text.size() + 1 >= whole.out.size())) << i << ": " << code;
    stopped += code != 0;
    with_text += code != 0 && !text.empty();
  }
  EXPECT_GT(stopped, 200);
  EXPECT_GT(with_text, 50);
}

}  // namespace
}  // namespace dsr1::test
