// Files as the system has them: odd kinds, split sets that do not fit together, files that change under us.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "dsr1/io/model_file.h"
#include "support/gguf_writer.h"

namespace dsr1::io {
namespace {

namespace fs = std::filesystem;
using test::GgufWriter;
using test::TempDir;

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

std::string refusal(const fs::path& path, const OpenOptions& options = {}) {
  auto m = ModelFile::open(path, options);
  if (m) return "(opened)";
  EXPECT_EQ(m.error().code, ErrorCode::kModel);
  return m.error().text();
}

GgufWriter three_tensors() {
  GgufWriter w;
  w.kv("general.architecture", "llama");
  for (const char* name : {"a", "b", "c"}) w.tensor(name, DType::kF32, {2, 4}, std::string(32, name[0]));
  return w;
}

TEST(OpenedFiles, OddKindsAreRefusedWithoutHanging) {
  TempDir dir;
  EXPECT_HAS(refusal(dir / "none.gguf"), "none.gguf: no such file");
  fs::path fifo = dir / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_HAS(refusal(fifo), "is a FIFO (pipe), expected a regular file");
  EXPECT_HAS(refusal("/dev/zero"), "is a device, expected a regular file");
  EXPECT_HAS(refusal(dir.path()), "has no config.json, expected a Hugging Face model directory");
  fs::create_symlink(dir / "loop2", dir / "loop1");
  fs::create_symlink(dir / "loop1", dir / "loop2");
  EXPECT_HAS(refusal(dir / "loop1"), "symbolic links that lead in a circle");
  fs::create_symlink(dir / "nowhere", dir / "dangling");
  EXPECT_HAS(refusal(dir / "dangling"), "no such file");
  test::write_file(dir / "empty.gguf", "");
  EXPECT_HAS(refusal(dir / "empty.gguf"), "is empty (0 bytes)");
  test::write_file(dir / "f", "x");
  EXPECT_HAS(refusal(dir / "f" / "below"), "cannot be opened: Not a directory");
  EXPECT_HAS(refusal(dir / std::string(300, 'n')), "cannot be opened: File name too long");

  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = (dir / "s").string();
  if (name.size() < sizeof(address.sun_path)) {
    name.copy(address.sun_path, name.size());
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_HAS(refusal(dir / "s"), "cannot be opened");
  }
  close(fd);
  if (geteuid() != 0) {
    three_tensors().write(dir / "secret.gguf");
    fs::permissions(dir / "secret.gguf", fs::perms::none);
    EXPECT_HAS(refusal(dir / "secret.gguf"), "no permission to read it");
  }
}

TEST(OpenedFiles, ASparseFileOfTerabytesIsRefusedAtOnce) {
  TempDir dir;
  three_tensors().write(dir / "m.gguf");
  std::error_code full;
  fs::resize_file(dir / "m.gguf", uint64_t{1} << 42, full);
  if (full) GTEST_SKIP() << "the file system has no files of 4 TiB";
  EXPECT_HAS(refusal(dir / "m.gguf"), "bytes follow the last tensor");
}

TEST(OpenedFiles, SymbolicLinksAreFollowed) {
  TempDir dir;
  three_tensors().write(dir / "blob");
  fs::create_symlink("blob", dir / "m.gguf");
  EXPECT_EQ(refusal(dir / "m.gguf"), "(opened)");
}

class SplitSet : public testing::Test {
 protected:
  // Writes the set m-0000N-of-00003.gguf.
  void write() { paths = three_tensors().write_split((dir / "m").string(), 1); }
  // Writes part n (1-based) anew with these split keys.
  void rewrite(size_t n, std::optional<uint16_t> no, std::optional<uint16_t> count, std::optional<int32_t> total,
               const char* tensor = nullptr) {
    GgufWriter w;
    w.kv("general.architecture", "llama");
    if (no) w.kv("split.no", *no);
    if (count) w.kv("split.count", *count);
    if (total) w.kv("split.tensors.count", *total);
    std::string name = tensor != nullptr ? tensor : std::string(1, static_cast<char>('a' + n - 1));
    w.tensor(name, DType::kF32, {8}, std::string(32, 'z'));
    w.write(paths[n - 1]);
  }
  TempDir dir;
  std::vector<fs::path> paths;
};

TEST_F(SplitSet, AMissingPartIsNamed) {
  write();
  fs::remove(paths[1]);
  for (size_t i : {0u, 2u}) EXPECT_HAS(refusal(paths[i]), "m-00002-of-00003.gguf: part 2 of 3 is missing");
  auto m = ModelFile::open(paths[0], {.allow_truncated = true});
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(m->gaps().size(), 1u);
  EXPECT_EQ(m->tensors().size(), 2u);
  fs::remove(paths[0]);
  EXPECT_HAS(refusal(paths[2]), "is part 3 of 3; part 1 (" + paths[0].string() + ") is missing");
}

TEST_F(SplitSet, PartsThatDoNotBelongTogetherAreRefused) {
  write();
  rewrite(2, 2, 3, 3);
  EXPECT_HAS(refusal(paths[0]), "split.no is 2 and split.count 3, expected 1 and 3");
  rewrite(2, 1, 4, 3);
  EXPECT_HAS(refusal(paths[0]), "split.no is 1 and split.count 4, expected 1 and 3");
  rewrite(2, std::nullopt, std::nullopt, std::nullopt);
  EXPECT_HAS(refusal(paths[0]), "split.no is missing and split.count missing");
  rewrite(2, 1, 3, 3, "a");
  EXPECT_HAS(refusal(paths[0]), "tensor 'a' occurs twice: in " + paths[0].string() + " and in " + paths[1].string());
  rewrite(2, 1, 3, 3);
  EXPECT_EQ(refusal(paths[0]), "(opened)");
  rewrite(1, 0, 3, 4);
  EXPECT_HAS(refusal(paths[0]), "split.tensors.count is 4, the 3 parts hold 3 tensors");
  rewrite(1, 1, 3, 3);
  EXPECT_HAS(refusal(paths[0]), "split.no is 1, expected 0 in the part named 1 of 3");
  rewrite(1, 0, 3, std::nullopt);
  EXPECT_HAS(refusal(paths[0]), "split.tensors.count is missing");
  rewrite(1, 0, 2, 3);
  EXPECT_HAS(refusal(paths[0]), "expected a name that ends in -00001-of-00002.gguf");
}

TEST_F(SplitSet, TheSplitKeysHaveTheirTypes) {
  write();
  GgufWriter w;
  w.kv("split.count", 3u);  // u32 instead of u16
  w.write(paths[0]);
  EXPECT_HAS(refusal(paths[0]), "metadata key 'split.count' is u32, expected u16");
}

TEST_F(SplitSet, ARenamedPartIsRefusedAndARenamedSingleFileIsNot) {
  write();
  fs::rename(paths[0], dir / "renamed.gguf");
  EXPECT_HAS(refusal(dir / "renamed.gguf"), "expected a name that ends in -00001-of-00003.gguf");
  three_tensors().write(dir / "single-00002-of-00005.gguf");  // no split keys: the name alone says nothing
  EXPECT_EQ(refusal(dir / "single-00002-of-00005.gguf"), "(opened)");
}

TEST_F(SplitSet, ADamagedPartIsNamed) {
  write();
  fs::resize_file(paths[2], fs::file_size(paths[2]) - 20);
  EXPECT_HAS(refusal(paths[0]), paths[2].string() + ": truncated download");
}

TEST(MappedFiles, HintsAreHarmlessAnywhere) {
  TempDir dir;
  test::write_file(dir / "f", std::string(100'000, 'x'));
  auto f = MappedFile::open(dir / "f");
  ASSERT_TRUE(f);
  for (uint64_t offset : {uint64_t{0}, uint64_t{5000}, uint64_t{99'999}, uint64_t{100'000}, ~uint64_t{0}}) {
    for (uint64_t length : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
      f->will_need(offset, length);
      f->populate(offset, length);
      f->dont_need(offset, length);
    }
  }
  EXPECT_EQ(static_cast<char>(f->bytes()[99'999]), 'x');
}

TEST(MappedFiles, AFileThatIsReplacedKeepsItsBytes) {
  TempDir dir;
  test::write_file(dir / "f", "old bytes");
  auto f = MappedFile::open(dir / "f");
  ASSERT_TRUE(f);
  test::write_file(dir / "new", "new bytes!");
  fs::rename(dir / "new", dir / "f");
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(f->bytes().data()), f->size()), "old bytes");
}

// A sanitizer has its own handler for the signal and its own exit.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DSR1_SANITIZED 1
#endif

// Reads the mapping of a file that has been cut to nothing, in a child; returns its wait status and what it wrote.
int read_after_truncation(bool install, bool ours, std::string* message) {
  TempDir dir;
  test::write_file(dir / "weights", std::string(64 << 10, 'x'));
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    if (install) install_mapping_fault_handler();
    auto f = MappedFile::open(dir / "weights");
    const volatile std::byte* bytes = f->bytes().data();
    if (!ours) f = MappedFile();
    if (truncate((dir / "weights").c_str(), 0) != 0) _exit(99);
    if (ours) static_cast<void>(bytes[40 << 10]);
    if (!ours) raise(SIGBUS);
    _exit(0);
  }
  close(ends[1]);
  char text[1024];
  ssize_t n = read(ends[0], text, sizeof(text));
  message->assign(text, n > 0 ? static_cast<size_t>(n) : 0);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST(MappedFiles, AFileCutWhileInUseEndsInOneLineAndExitCode3) {
  std::string message;
  int status = read_after_truncation(true, true, &message);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_EQ(message.find("dsr1: error: /"), 0u) << message;
  EXPECT_HAS(message, "/weights: byte 40960 can no longer be read: the file was cut short while in use");
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1);
}

#ifndef DSR1_SANITIZED
TEST(MappedFiles, ABusErrorElsewhereKeepsItsEffect) {
  std::string message;
  int status = read_after_truncation(true, false, &message);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) << status;
  EXPECT_EQ(message, "");
}
#endif

}  // namespace
}  // namespace dsr1::io
