// Rows take at most 64 bytes of memory each beyond a bounded window. The long program has a million of them.
#include <sys/resource.h>

#include "e2e/batch_helpers.h"

#ifndef DSR1_BATCH_ROWS
#define DSR1_BATCH_ROWS 100000
#endif

namespace dsr1::test {
namespace {

// Peak resident memory of a run, in bytes.
int64_t peak(const std::vector<std::string>& args, int expected) {
  const std::string base = fresh("peak");
  write_file(base, "");
  const pid_t pid = spawn(args, {}, base, base + ".out", base + ".err");
  int status = 0;
  rusage usage{};
  ::wait4(pid, &status, 0, &usage);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, expected) << read_file(base + ".err");
  return int64_t{usage.ru_maxrss} * 1024;
}

void write_rows(const std::string& path, int n) {
  std::ofstream f(path, std::ios::binary);
  for (int i = 0; i < n; ++i) f << row("request-number-" + std::to_string(i), "prompt", R"("max_tokens":1)");
}

TEST(BatchSize, RowsTakeFewBytesEach) {
  constexpr int64_t kRows = DSR1_BATCH_ROWS;
  constexpr bool kMany = kRows >= 1000000;
  const std::string few = fresh("few.jsonl"), many = fresh("many.jsonl");
  write_rows(few, 1000);
  write_rows(many, kRows);
  for (const std::string& limit : kMany ? std::vector<std::string>{"200", "20000"} : std::vector<std::string>{"50"}) {
    std::map<std::string, int64_t> bytes;
    for (const std::string& in : {few, many}) {
      const std::string out = fresh("out.jsonl");
      bytes[in] = peak({"batch", "-i", in, "-o", out, "-t", "1", "-c", "64", "--limit", limit, batch_model()}, 0);
    }
    std::printf("--limit %s: %.1f bytes a row\n", limit.c_str(), static_cast<double>(bytes[many] - bytes[few]) / kRows);
    EXPECT_LE(bytes[many] - bytes[few], 64 * kRows) << limit;
  }
  // Every row read, checked and counted.
  if (!kMany) return;
  auto dry = [&](const std::string& in) {
    return peak({"batch", "-i", in, "--dry-run", "-t", "1", "-c", "64", batch_model()}, 0);
  };
  const int64_t all = dry(many) - dry(few);
  std::printf("--dry-run: %.1f bytes a row\n", static_cast<double>(all) / kRows);
  EXPECT_LE(all, 64 * kRows);
  std::filesystem::remove(many);
}

}  // namespace
}  // namespace dsr1::test
