#include "dsr1/io/bulk_read.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

namespace dsr1::test {
namespace {

std::filesystem::path file_of(size_t n) {
  const auto path = std::filesystem::path(testing::TempDir()) / ("bulk_read-" + std::to_string(n));
  std::string bytes(n, '\0');
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(BulkRead, FillsEveryRangeAndCountsEveryByte) {
  constexpr size_t kSize = (size_t{9} << 20) + 12345;  // more blocks than readers, the last one short
  const auto path = file_of(kSize);
  std::vector<std::byte> all(kSize), part(1000);
  const io::ReadRange ranges[] = {{0, kSize, all.data()}, {kSize - 1000, 1000, part.data()}, {5, 777777, nullptr}};
  uint64_t counted = 0;
  ASSERT_TRUE(io::bulk_read(path, ranges, [&](uint64_t more) { counted += more; }));
  EXPECT_EQ(counted, kSize + 1000 + 777777);
  for (size_t i = 0; i < kSize; ++i) ASSERT_EQ(all[i], static_cast<std::byte>(i * 2654435761u >> 13)) << i;
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.end() - 1000));
}

TEST(BulkRead, AFileThatEndsTooSoonIsRefusedWithTheByte) {
  const auto path = file_of(5000);
  std::vector<std::byte> all(6000);
  const io::ReadRange ranges[] = {{0, 6000, all.data()}};
  const Status s = io::bulk_read(path, ranges, {});
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, ErrorCode::kModel);
  EXPECT_NE(s.error().text().find("ends at 5000, bytes up to 6000 were expected"), std::string::npos)
      << s.error().text();
}

TEST(BulkRead, NothingToReadIsDoneAtOnceAndAMissingFileIsRefused) {
  EXPECT_TRUE(io::bulk_read(file_of(10), {}, {}));
  const io::ReadRange ranges[] = {{0, 1, nullptr}};
  EXPECT_EQ(io::bulk_read("/nonexistent/file", ranges, {}).error().code, ErrorCode::kModel);
}

}  // namespace
}  // namespace dsr1::test
