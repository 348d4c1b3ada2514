// GGUF files that are whole: round trips, split sets, truncated headers. Damaged ones:
// malformed_gguf_test.cpp.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "dsr1/io/model_file.h"
#include "support/gguf_writer.h"

namespace dsr1::io {
namespace {

using test::GgufWriter;
using test::TempDir;

std::string pattern(size_t n, int seed = 1) {
  std::string s(n, '\0');
  for (size_t i = 0; i < n; ++i) s[i] = static_cast<char>((i * 31 + static_cast<size_t>(seed) * 7) % 251);
  return s;
}

GgufWriter small_model() {
  GgufWriter w;
  w.kv("general.architecture", "llama").kv("llama.block_count", 1u).kv("llama.rope.freq_base", 5e5f);
  w.kv("tokenizer.ggml.add_bos_token", true);
  w.kv("tokenizer.ggml.tokens", std::vector<std::string>{"a", "", "Ġb"});
  w.kv("tokenizer.ggml.token_type", std::vector<int32_t>{1, -2, 3});
  w.kv("tokenizer.ggml.scores", std::vector<float>{0.5f, -1.f, 2.f});
  w.tensor_f32("output_norm.weight", {3}, {1, 2, 3});
  w.tensor("blk.0.attn_q.weight", DType::kQ4_0, {2, 64}, pattern(2 * 36, 2));
  w.tensor("blk.0.ffn_gate_exps.weight", DType::kBF16, {3, 2, 4}, pattern(48, 3));
  return w;
}

std::string data_of(const TensorView& v) { return {reinterpret_cast<const char*>(v.data), v.bytes()}; }

TEST(Gguf, ReadsBackWhatWasWrittenInBothVersions) {
  for (uint32_t version : {2u, 3u}) {
    for (uint32_t alignment : {8u, 32u, 4096u, 65536u}) {
      TempDir dir;
      small_model().version(version).alignment(alignment).write(dir / "m.gguf");
      auto m = ModelFile::open(dir / "m.gguf");
      ASSERT_TRUE(m) << m.error().text();
      EXPECT_EQ(m->format(), FileFormat::kGguf);
      const Metadata& md = m->metadata();
      EXPECT_EQ(md.require_string("general.architecture").value(), "llama");
      EXPECT_EQ(md.require_u32("llama.block_count").value(), 1u);
      EXPECT_EQ(md.require_f32("llama.rope.freq_base").value(), 5e5f);
      EXPECT_TRUE(md.require_bool("tokenizer.ggml.add_bos_token").value());
      auto tokens = md.require_string_array("tokenizer.ggml.tokens").value();
      ASSERT_EQ(tokens.size(), 3u);
      EXPECT_EQ(tokens[2], "Ġb");
      EXPECT_EQ(md.get_i32_array("tokenizer.ggml.token_type").value()->to_vector(), (std::vector<int32_t>{1, -2, 3}));
      EXPECT_EQ(md.get_f32_array("tokenizer.ggml.scores").value()->to_vector(), (std::vector<float>{0.5f, -1.f, 2.f}));

      ASSERT_EQ(m->tensors().size(), 3u);
      TensorView q = m->view("blk.0.attn_q.weight");
      EXPECT_EQ(q.shape_text(), "[2, 64]");
      EXPECT_EQ(q.dtype, DType::kQ4_0);
      EXPECT_EQ(data_of(q), pattern(72, 2));
      EXPECT_EQ(m->find("blk.0.attn_q.weight")->offset % alignment, 0u);
      EXPECT_FALSE(m->view("absent"));
      EXPECT_FALSE(m->rope_unpermuted());
    }
  }
}

TEST(Gguf, MovingAModelFileKeepsItsViews) {
  TempDir dir;
  small_model().write(dir / "m.gguf");
  auto opened = ModelFile::open(dir / "m.gguf");
  ASSERT_TRUE(opened);
  TensorView before = opened->view("output_norm.weight");
  ModelFile moved = std::move(opened).value();
  ModelFile again = std::move(moved);
  EXPECT_EQ(again.view("output_norm.weight").data, before.data);
  EXPECT_EQ(again.metadata().require_string("general.architecture").value(), "llama");
}

TEST(Gguf, CopiedTensorsHaveTheSameBytesElsewhere) {
  TempDir dir;
  small_model().write(dir / "m.gguf");
  auto m = ModelFile::open(dir / "m.gguf");
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_FALSE(m->is_copied());
  const std::byte *q = m->view("blk.0.attn_q.weight").data, *norm = m->view("output_norm.weight").data;
  const io::TensorInfo* wanted[] = {m->find("blk.0.attn_q.weight")};
  uint64_t last = 0, all = 0;
  ASSERT_TRUE(m->copy_to_memory(wanted, [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    last = done;
    all = total;
  }));
  EXPECT_TRUE(m->is_copied());
  EXPECT_GT(all, 0u);
  EXPECT_EQ(last, all);
  EXPECT_NE(m->view("blk.0.attn_q.weight").data, q);
  EXPECT_EQ(m->view("output_norm.weight").data, norm);
  EXPECT_EQ(data_of(m->view("blk.0.attn_q.weight")), pattern(72, 2));
}

TEST(Gguf, ExpertsComeFromStackedMergedAndSingleTensors) {
  TempDir dir;
  GgufWriter w;
  w.tensor("blk.0.ffn_gate_exps.weight", DType::kBF16, {3, 2, 4}, pattern(48));
  w.tensor("blk.1.ffn_gate_up_exps.weight", DType::kF16, {2, 6, 4}, pattern(96, 2));
  w.tensor("blk.2.ffn_up.0.weight", DType::kF16, {2, 4}, pattern(16, 3));
  w.tensor("blk.2.ffn_up.1.weight", DType::kF16, {2, 4}, pattern(16, 4));
  w.tensor("blk.3.ffn_down_exps.weight", DType::kF16, {2, 4}, pattern(16, 4));
  w.tensor("blk.4.ffn_up.0.weight", DType::kF16, {2, 4}, pattern(16, 3));
  w.tensor("blk.4.ffn_up.1.weight", DType::kF16, {4, 2}, pattern(16, 4));
  w.write(dir / "m.gguf");
  auto m = ModelFile::open(dir / "m.gguf");
  ASSERT_TRUE(m) << m.error().text();

  auto stacked = m->experts("blk.0.ffn_gate_exps.weight").value();
  ASSERT_EQ(stacked.size(), 3u);
  EXPECT_EQ(stacked[2].shape_text(), "[2, 4]");
  EXPECT_EQ(data_of(stacked[2]), pattern(48).substr(32));

  auto gate = m->experts("blk.1.ffn_gate_exps.weight").value(), up = m->experts("blk.1.ffn_up_exps.weight").value();
  ASSERT_EQ(gate.size(), 2u);
  EXPECT_EQ(gate[1].shape_text(), "[3, 4]");
  EXPECT_EQ(data_of(gate[1]), pattern(96, 2).substr(48, 24));  // gate rows first
  EXPECT_EQ(data_of(up[1]), pattern(96, 2).substr(72, 24));

  auto single = m->experts("blk.2.ffn_up_exps.weight").value();
  ASSERT_EQ(single.size(), 2u);
  EXPECT_EQ(data_of(single[1]), pattern(16, 4));

  EXPECT_TRUE(m->experts("blk.9.ffn_up_exps.weight").value().empty());
  EXPECT_NE(m->experts("blk.3.ffn_down_exps.weight").error().text().find("[2, 4], expected three dimensions"),
            std::string::npos);
  EXPECT_NE(
      m->experts("blk.4.ffn_up_exps.weight").error().text().find("[4, 2], expected the shape of expert 0, [2, 4]"),
      std::string::npos);
}

TEST(Gguf, ASplitSetOpensFromAnyPart) {
  for (bool empty_first : {false, true}) {
    TempDir dir;
    auto paths = small_model().write_split((dir / "m").string(), 1, empty_first);
    ASSERT_EQ(paths.size(), empty_first ? 4u : 3u);
    for (const auto& path : paths) {
      auto m = ModelFile::open(path);
      ASSERT_TRUE(m) << m.error().text();
      EXPECT_EQ(m->path(), paths[0]);
      EXPECT_EQ(m->files().size(), paths.size());
      EXPECT_EQ(m->files()[0].n_tensors, empty_first ? 0u : 1u);
      EXPECT_EQ(m->tensors().size(), 3u);
      EXPECT_EQ(data_of(m->view("blk.0.attn_q.weight")), pattern(72, 2));
      EXPECT_EQ(m->metadata().require_string("general.architecture").value(), "llama");
    }
  }
}

TEST(Gguf, ATruncatedFileSaysHowMuchIsMissingAndStillServesItsHeader) {
  TempDir dir;
  std::string whole = small_model().bytes(), cut = whole.substr(0, whole.size() - 40);
  test::write_file(dir / "cut.gguf", cut);
  auto refused = ModelFile::open(dir / "cut.gguf");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kModel);
  std::string needed = std::to_string(whole.size() - 16);  // the last 48 bytes fill 1.5 alignments
  EXPECT_NE(refused.error().text().find("truncated download: the file has " + std::to_string(cut.size()) +
                                        " bytes, needs " + needed + ", 24 missing"),
            std::string::npos)
      << refused.error().text();

  auto m = ModelFile::open(dir / "cut.gguf", {.allow_truncated = true});
  ASSERT_TRUE(m) << m.error().text();
  ASSERT_EQ(m->gaps().size(), 1u);
  EXPECT_NE(m->gaps()[0].find("24 missing"), std::string::npos);
  EXPECT_FALSE(m->view("blk.0.ffn_gate_exps.weight"));
  EXPECT_EQ(data_of(m->view("blk.0.attn_q.weight")), pattern(72, 2));
  auto experts = m->experts("blk.0.ffn_gate_exps.weight").value();
  EXPECT_EQ(experts.size(), 3u);
  for (const TensorView& e : experts) EXPECT_FALSE(e);
}

}  // namespace
}  // namespace dsr1::io
