#include "dsr1/io/bulk_read.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "dsr1/io/page_cache.h"

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

TEST(BulkRead, WhatIsReadForAMappingIsCountedAndThere) {
  constexpr size_t kSize = (size_t{13} << 20) + 777;
  const auto path = file_of(kSize);
  const int fd = open(path.c_str(), O_RDONLY);
  ASSERT_EQ(fsync(fd), 0);
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  auto* p = static_cast<std::byte*>(mmap(nullptr, kSize, PROT_READ, MAP_SHARED, fd, 0));
  ASSERT_NE(p, MAP_FAILED);
  const io::ReadRange ranges[] = {{3, kSize - 3, nullptr}};
  uint64_t counted = 0;
  ASSERT_TRUE(io::bulk_read(path, ranges, [&](uint64_t more) { counted += more; }));
  EXPECT_EQ(counted, kSize - 3);
  const auto held = io::resident_share(path, p, kSize);
  EXPECT_TRUE(!held || *held == 1);
  munmap(p, kSize);
  close(fd);
}

TEST(BulkRead, JoinedRangesAreWholePagesInOrderWithoutOverlap) {
  const auto all =
      io::joined({{20000, 500, nullptr}, {100, 50, nullptr}, {4000, 200, nullptr}, {19000, 1500, nullptr}}, 20300);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].offset, 0u);
  EXPECT_EQ(all[0].length, 8192u);
  EXPECT_EQ(all[1].offset, 16384u);
  EXPECT_EQ(all[1].length, 20300u - 16384u);
  EXPECT_TRUE(io::joined({}, 10).empty());
}

TEST(BulkRead, AFileThatEndsTooSoonIsRefusedWithTheByte) {
  const io::ReadRange beyond[] = {{0, size_t{5} << 20, nullptr}};
  const Status cut = io::bulk_read(file_of(size_t{3} << 20), beyond, {});
  ASSERT_FALSE(cut);
  EXPECT_NE(cut.error().text().find("it ends at 3145728"), std::string::npos) << cut.error().text();
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
