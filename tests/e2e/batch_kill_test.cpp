// kill -9 at random moments, resume, and nothing is lost, doubled or different. The long program does it 250 times.
#include <random>

#include "e2e/batch_helpers.h"

#ifndef DSR1_KILL_POINTS
#define DSR1_KILL_POINTS 10
#endif

namespace dsr1::test {
namespace {

// Starts the batch and kills it after so many microseconds; true where it was still running then.
bool run_and_kill(const std::vector<std::string>& args, int64_t microseconds) {
  const std::string base = fresh("killed");
  write_file(base + ".in", "");
  const pid_t pid = spawn(args, {}, base + ".in", base + ".out", base + ".err");
  ::usleep(static_cast<useconds_t>(microseconds));
  ::kill(pid, SIGKILL);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status);
}

void kill_and_compare(bool ordered) {
  const std::string rows = many_rows(60);
  std::vector<std::string> more = {"-np", "4"};
  if (ordered) more.push_back("--ordered");
  const Batch whole(rows);
  whole.run(more);  // the first run hashes the model
  std::filesystem::remove(whole.out);
  std::filesystem::remove(whole.errors());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(whole.run(more).code, 5);
  const auto full =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  const auto expected = sorted_lines(whole.out), expected_errors = sorted_lines(whole.errors());
  ASSERT_EQ(expected.size(), 60u);
  ASSERT_EQ(expected_errors.size(), 3u);

  std::mt19937_64 rng(ordered ? 5 : 4);
  int killed = 0, with_rows = 0, torn = 0;
  for (int point = 0; killed < DSR1_KILL_POINTS && point < 4 * DSR1_KILL_POINTS; ++point) {
    const Batch b(rows);
    std::vector<std::string> args = {"batch", "-i", b.in, "-o", b.out, "--resume"};
    args.insert(args.end(), b.options.begin(), b.options.end());
    args.insert(args.end(), more.begin(), more.end());
    args.push_back(batch_model());
    // One to three crashes in a row, then to the end.
    for (uint64_t crashes = 1 + rng() % 3; crashes > 0; --crashes) {
      if (!run_and_kill(args, static_cast<int64_t>(rng() % static_cast<uint64_t>(full + full / 8 + 1)))) continue;
      ++killed;
      const std::string left = read_file(b.out);
      with_rows += left.empty() ? 0 : 1;
      torn += !left.empty() && left.back() != '\n' ? 1 : 0;
    }
    const Ran last = b.run([&] {
      auto m = more;
      m.push_back("--resume");
      return m;
    }());
    ASSERT_EQ(last.code, 5) << last.err;
    ASSERT_EQ(sorted_lines(b.out), expected) << "point " << point;
    ASSERT_EQ(sorted_lines(b.errors()), expected_errors) << "point " << point;
    if (ordered) {
      ASSERT_EQ(read_file(b.out), read_file(whole.out)) << "point " << point;
    }
    std::filesystem::remove(b.out);
    std::filesystem::remove(b.errors());
  }
  EXPECT_GE(killed, DSR1_KILL_POINTS);
  EXPECT_GT(with_rows, 0);
  std::printf("%d kills, %d of them with rows on the disk, %d torn\n", killed, with_rows, torn);
}

TEST(BatchKill, ResumingAfterKillsGivesTheSameRows) { kill_and_compare(false); }
TEST(BatchKill, ResumingAfterKillsGivesTheSameFileInOrder) { kill_and_compare(true); }

}  // namespace
}  // namespace dsr1::test
