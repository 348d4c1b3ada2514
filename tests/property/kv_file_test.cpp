// A session that went to disk and came back answers bit for bit as one that never left; nothing but its own file does.
#include "dsr1/runtime/kv_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "dsr1/runtime/generate.h"
#include "support/byte_writer.h"
#include "support/engine_helpers.h"

namespace dsr1::runtime {
namespace {

using test::temp_dir;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::unique_ptr<Engine> engine_of(const char* arch, DType kv = DType::kF16, int64_t n_ctx = 0,
                                  const char* name = "kv") {
  test::SyntheticSpec spec;
  spec.arch = arch;
  spec.n_embd = 128;  // heads of 32 and a latent of 64: q8_0 rows
  spec.rope = 32;
  EngineOptions o;
  o.n_threads = 2;
  o.n_batch = 16;
  o.n_ctx = n_ctx;
  o.type_k = kv;
  if (spec.arch != "deepseek2") o.type_v = kv;
  const auto path = temp_dir() / (std::string(name) + "-" + arch + ".gguf");
  if (!std::filesystem::exists(path)) test::write_model(spec, std::string(name) + "-" + arch);
  return test::open_engine(path, o);
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool operator==(const Answer&) const = default;
};

Answer answer(Engine& engine, Session& session, const std::vector<int32_t>& prompt, uint64_t seed) {
  GenerateOptions o;
  o.sampler.seed = seed;
  o.sampler.temperature = 1;
  o.n_predict = 24;
  o.ignore_eos = true;
  Answer a;
  auto g = generate(engine, session, prompt, o, [&](const TokenEvent& e) {
    if (e.id >= 0) a.logprobs.push_back(e.logprob);
    return true;
  });
  EXPECT_TRUE(g) << g.error().text();
  a.tokens = g->tokens;
  return a;
}

std::vector<int32_t> joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class KvFile : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Session, KvFile, testing::Values("llama", "qwen2", "qwen3", "deepseek2"));

TEST_P(KvFile, AConversationGoesOnAsIfItHadNeverBeenLeft) {
  const auto path = temp_dir() / "turns.kv";
  for (DType type : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    auto stays = engine_of(GetParam(), type);
    ASSERT_TRUE(stays);
    auto session = std::move(*stays->new_session());
    const std::string key = kv_key(*stays, "model", "build");
    std::vector<int32_t> said = test::some_tokens(37, 1);
    for (uint64_t turn = 0; turn < 3; ++turn) {
      // One leaves before this turn and comes back in another engine, one stays.
      ASSERT_TRUE(save_kv(*session, key, path));
      auto other = engine_of(GetParam(), type);
      auto back = std::move(*other->new_session());
      EXPECT_EQ(kv_key(*other, "model", "build"), key);
      const Status loaded = load_kv(*back, key, other->config().n_vocab, path);
      ASSERT_TRUE(loaded) << loaded.error().text();
      EXPECT_EQ(back->tokens(), session->tokens());
      const Answer here = answer(*stays, *session, said, turn), there = answer(*other, *back, said, turn);
      ASSERT_EQ(here.tokens.size(), 24u);
      EXPECT_EQ(there, here) << "turn " << turn;
      said = joined(joined(said, here.tokens), test::some_tokens(5 + 30 * (turn % 2), 10 + turn));
    }
  }
}

TEST_P(KvFile, ALargerContextTakesItASmallerOneSaysSo) {
  const auto path = temp_dir() / "context.kv";
  auto small = engine_of(GetParam(), DType::kF16, 64), large = engine_of(GetParam(), DType::kF16, 300),
       tiny = engine_of(GetParam(), DType::kF16, 32);
  auto session = std::move(*small->new_session());
  const auto prompt = test::some_tokens(40);
  answer(*small, *session, prompt, 3);
  const std::string key = kv_key(*small, "model", "build");
  ASSERT_TRUE(save_kv(*session, key, path));
  auto wide = std::move(*large->new_session());
  ASSERT_TRUE(load_kv(*wide, key, large->config().n_vocab, path));
  EXPECT_EQ(answer(*large, *wide, prompt, 3), answer(*small, *session, prompt, 3));
  auto narrow = std::move(*tiny->new_session());
  const Status refused = load_kv(*narrow, key, tiny->config().n_vocab, path);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("the context only 32"), std::string::npos) << refused.error().message;
  EXPECT_EQ(narrow->n_past(), 0);
}

TEST(KvFileKey, ChangesWithWhateverChangesABit) {
  auto f16 = engine_of("qwen2"), f32 = engine_of("qwen2", DType::kF32), longer = engine_of("qwen2", DType::kF16, 96);
  const std::string key = kv_key(*f16, "model", "build");
  EXPECT_NE(kv_key(*f32, "model", "build"), key);
  EXPECT_NE(kv_key(*f16, "other model", "build"), key);
  EXPECT_NE(kv_key(*f16, "model", "other build"), key);
  EXPECT_EQ(kv_key(*longer, "model", "build"), key);
  EXPECT_EQ(key.size(), 64u);
}

class KvFileTrouble : public testing::Test {
 protected:
  void SetUp() override {
    engine_ = engine_of("qwen2");
    session_ = std::move(*engine_->new_session());
    answer(*engine_, *session_, test::some_tokens(20), 1);
    key_ = kv_key(*engine_, "model", "build");
    ASSERT_TRUE(save_kv(*session_, key_, path_));
    bytes_ = read_file(path_);
  }
  Status load(const std::string& bytes) {
    test::write_file(path_, bytes);
    auto fresh = std::move(*engine_->new_session());
    const Status s = load_kv(*fresh, key_, engine_->config().n_vocab, path_);
    EXPECT_EQ(fresh->n_past() > 0, s.has_value());
    return s;
  }
  const std::filesystem::path path_ = temp_dir() / "trouble.kv";
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Session> session_;
  std::string key_, bytes_;
};

TEST_F(KvFileTrouble, EveryBitIsUnderTheChecksum) {
  ASSERT_TRUE(load(bytes_));
  std::mt19937_64 rng(4);
  for (int i = 0; i < 400; ++i) {
    std::string bytes = bytes_;
    const size_t at = i < 200 ? rng() % 160 : rng() % bytes.size();  // the header is small and matters most
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (rng() % 8)));
    const Status s = load(bytes);
    ASSERT_FALSE(s) << "byte " << at;
    EXPECT_EQ(s.error().code, ErrorCode::kModel);
    EXPECT_EQ(s.error().text().find('\n'), std::string::npos);
  }
}

TEST_F(KvFileTrouble, EveryLengthButTheRightOneIsRefused) {
  for (size_t n : {size_t{0}, size_t{1}, size_t{151}, size_t{152}, bytes_.size() / 2, bytes_.size() - 1})
    EXPECT_FALSE(load(bytes_.substr(0, n))) << n;
  EXPECT_FALSE(load(bytes_ + "x"));
  // Counts that would overflow are refused before anything is allocated for them.
  for (uint64_t n : {UINT64_MAX, uint64_t{1} << 63, uint64_t{1} << 32, uint64_t{513}}) {
    std::string bytes = bytes_;
    std::memcpy(bytes.data() + 136, &n, 8);
    EXPECT_FALSE(load(bytes)) << n;
  }
}

TEST_F(KvFileTrouble, AForeignFileAndOddPathsAreNamed) {
  const Status foreign = load_kv(*session_, kv_key(*engine_, "other", "build"), engine_->config().n_vocab, path_);
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("another model"), std::string::npos);
  EXPECT_FALSE(load_kv(*session_, key_, engine_->config().n_vocab, temp_dir()));
  EXPECT_FALSE(load_kv(*session_, key_, engine_->config().n_vocab, temp_dir() / "absent"));
}

TEST_F(KvFileTrouble, TheFileIsPrivateAndAFailedSaveLeavesTheOldOne) {
  struct stat st {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_FALSE(save_kv(*session_, key_, temp_dir() / "no such folder" / "x.kv"));
  std::filesystem::create_directories(path_.string() + ".new/occupied");
  EXPECT_FALSE(save_kv(*session_, key_, path_));
  EXPECT_EQ(read_file(path_), bytes_);
  std::filesystem::remove_all(path_.string() + ".new");
  // What a killed program left is replaced.
  test::write_file(path_.string() + ".new", "half");
  EXPECT_TRUE(save_kv(*session_, key_, path_));
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".new"));
  EXPECT_EQ(read_file(path_), bytes_);
}

}  // namespace
}  // namespace dsr1::runtime
