// Hugging Face directories: configuration, weights, experts, FP8. The tokenizer: hf_tokenizer_test.cpp.
#include <gtest/gtest.h>

#include <cmath>

#include "dsr1/io/model_file.h"
#include "support/hf_directory.h"

namespace dsr1::io {
namespace {

using test::HfDirectory;

std::string refusal(HfDirectory& d, size_t shard = 0) {
  auto m = ModelFile::open(d.write(shard));
  return m ? "(opened)" : m.error().text();
}

// The metadata as "key=value" of all keys, for comparing with what is expected.
std::string value(const ModelFile& m, std::string_view key) {
  const Metadata::Entry* e = m.metadata().find(key);
  return e == nullptr ? "(absent)" : m.metadata().type_text(*e) + " " + m.metadata().value_text(*e);
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(HfDirectory, OpensFromTheDirectoryOrOneOfItsFiles) {
  HfDirectory d;
  d.write();
  for (const char* name : {"", "config.json", "model.safetensors"}) {
    auto m = ModelFile::open(d.dir / name);
    ASSERT_TRUE(m) << m.error().text();
    EXPECT_EQ(m->format(), FileFormat::kSafetensors);
    EXPECT_TRUE(m->rope_unpermuted());
    EXPECT_EQ(value(*m, "general.architecture"), "string qwen2");
    EXPECT_EQ(m->view("output_norm.weight").shape_text(), "[4]");
    EXPECT_EQ(m->view("token_embd.weight").dtype, DType::kF32);
  }
}

TEST(HfDirectory, TranslatesEveryCommonKey) {
  HfDirectory d;
  d.generation =
      HfDirectory::parse(R"({"eos_token_id":[3,5],"temperature":0.6,"top_p":0.95,"do_sample":true,"top_k":20})");
  auto m = ModelFile::open(d.write());
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(value(*m, "qwen2.embedding_length"), "u32 4");
  EXPECT_EQ(value(*m, "qwen2.block_count"), "u32 1");
  EXPECT_EQ(value(*m, "qwen2.feed_forward_length"), "u32 8");
  EXPECT_EQ(value(*m, "qwen2.attention.head_count"), "u32 2");
  EXPECT_EQ(value(*m, "qwen2.attention.head_count_kv"), "u32 1");
  EXPECT_EQ(value(*m, "qwen2.context_length"), "u32 128");
  EXPECT_EQ(value(*m, "qwen2.vocab_size"), "u32 8");
  EXPECT_EQ(m->metadata().require_f32("qwen2.attention.layer_norm_rms_epsilon").value(), 1e-5f);
  EXPECT_EQ(value(*m, "qwen2.rope.freq_base"), "f32 20000");
  EXPECT_EQ(value(*m, "qwen2.rope.scaling.type"), "(absent)");
  EXPECT_EQ(value(*m, "dsr1.eos_token_ids"), "array of u32 [3, 5]");
  EXPECT_EQ(m->metadata().require_f32("dsr1.sampling.temperature").value(), 0.6f);
  EXPECT_EQ(m->metadata().require_f32("dsr1.sampling.top_p").value(), 0.95f);
  EXPECT_EQ(value(*m, "dsr1.sampling.top_k"), "u32 20");
  EXPECT_EQ(value(*m, "dsr1.sampling.do_sample"), "bool true");
  EXPECT_EQ(value(*m, "tokenizer.ggml.model"), "(absent)");
}

TEST(HfDirectory, TranslatesDeepseekKeys) {
  HfDirectory d("deepseek_v3");
  auto m = ModelFile::open(d.write());
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(value(*m, "general.architecture"), "string deepseek2");
  const std::pair<const char*, const char*> expected[] = {
      {"attention.q_lora_rank", "u32 6"},      {"attention.kv_lora_rank", "u32 5"},
      {"attention.key_length", "u32 6"},       {"attention.value_length", "u32 3"},
      {"rope.dimension_count", "u32 2"},       {"expert_count", "u32 4"},
      {"expert_used_count", "u32 2"},          {"expert_shared_count", "u32 1"},
      {"expert_feed_forward_length", "u32 6"}, {"expert_group_count", "u32 2"},
      {"expert_group_used_count", "u32 1"},    {"expert_weights_scale", "f32 2.5"},
      {"expert_weights_norm", "bool true"},    {"expert_gating_func", "u32 2"},
      {"leading_dense_block_count", "u32 0"}};
  for (const auto& [key, text] : expected) EXPECT_EQ(value(*m, std::string("deepseek2.") + key), text) << key;

  HfDirectory lite("deepseek_v2");  // softmax and greedy where the file is silent, as the class; groups without effect
  lite.config.set("q_lora_rank", Json());
  auto v2 = ModelFile::open(lite.write());
  ASSERT_TRUE(v2) << v2.error().text();
  EXPECT_EQ(value(*v2, "deepseek2.attention.q_lora_rank"), "(absent)");
  EXPECT_EQ(value(*v2, "deepseek2.expert_gating_func"), "u32 1");
  EXPECT_EQ(value(*v2, "deepseek2.expert_group_count"), "u32 1");
  EXPECT_EQ(value(*v2, "deepseek2.expert_group_used_count"), "u32 1");

  lite.config.set("topk_method", "group_limited_greedy");
  auto v2_full = ModelFile::open(lite.write());
  ASSERT_TRUE(v2_full) << v2_full.error().text();
  EXPECT_EQ(value(*v2_full, "deepseek2.expert_group_count"), "u32 2");
}

TEST(HfDirectory, TranslatesRopeScalingOfAllThreeKindsAndBothPlaces) {
  HfDirectory d("llama");
  d.config.set("rope_scaling", HfDirectory::parse(R"({"rope_type":"llama3","factor":8,"low_freq_factor":1,
    "high_freq_factor":4,"original_max_position_embeddings":64})"));
  auto m = ModelFile::open(d.write());
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(value(*m, "llama.rope.scaling.type"), "string llama3");
  EXPECT_EQ(value(*m, "llama.rope.scaling.factor"), "f32 8");
  EXPECT_EQ(value(*m, "llama.rope.scaling.low_freq_factor"), "f32 1");
  EXPECT_EQ(value(*m, "llama.rope.scaling.high_freq_factor"), "f32 4");
  EXPECT_EQ(value(*m, "llama.rope.scaling.original_context_length"), "u32 64");

  d.config.set("rope_scaling", HfDirectory::parse(R"({"type":"linear","factor":2})"));
  auto linear = ModelFile::open(d.write());
  ASSERT_TRUE(linear) << linear.error().text();
  EXPECT_EQ(value(*linear, "llama.rope.scaling.type"), "string linear");

  HfDirectory y("deepseek_v3");  // transformers 5 spelling
  y.config.set("rope_theta", Json());
  y.config.set("rope_parameters",
               HfDirectory::parse(R"({"rope_type":"yarn","rope_theta":10000.0,"factor":40,"beta_fast":32,
    "beta_slow":1,"mscale":1.0,"mscale_all_dim":1.0,"original_max_position_embeddings":64})"));
  auto yarn = ModelFile::open(y.write());
  ASSERT_TRUE(yarn) << yarn.error().text();
  EXPECT_EQ(value(*yarn, "deepseek2.rope.freq_base"), "f32 10000");
  EXPECT_EQ(value(*yarn, "deepseek2.rope.scaling.type"), "string yarn");
  EXPECT_EQ(value(*yarn, "deepseek2.rope.scaling.yarn_beta_fast"), "f32 32");
  EXPECT_EQ(value(*yarn, "deepseek2.rope.scaling.yarn_beta_slow"), "f32 1");
  EXPECT_EQ(yarn->metadata().require_f32("deepseek2.rope.scaling.yarn_log_multiplier").value(), 0.1f);
  EXPECT_EQ(value(*yarn, "deepseek2.rope.scaling.attn_factor"), "(absent)");
}

// The product attn_factor x base must be the number transformers multiplies cos and sin with.
TEST(HfDirectory, YarnMagnitudeIsThatOfTransformers) {
  auto magnitude = [](const char* model_type, const char* rope) {
    HfDirectory d(model_type);
    d.config.set("head_dim", 2);
    d.config.set("rope_scaling", HfDirectory::parse(rope));
    auto m = ModelFile::open(d.write());
    EXPECT_TRUE(m) << m.error().text();
    const Metadata& md = m->metadata();
    std::string prefix = std::string(md.require_string("general.architecture").value()) + ".rope.scaling.";
    double base = prefix.starts_with("deepseek2") ? 1.0 : 0.1 * std::log(4.0) + 1.0;
    return base * static_cast<double>(md.get_f32(prefix + "attn_factor").value().value_or(1));
  };
  const double g = 0.1 * std::log(4.0) + 1.0;
  const std::string yarn = R"({"rope_type":"yarn","factor":4,"original_max_position_embeddings":32)";
  EXPECT_NEAR(magnitude("qwen3", (yarn + "}").c_str()), g, 1e-6);
  EXPECT_NEAR(magnitude("qwen3", (yarn + R"(,"attention_factor":0.75})").c_str()), 0.75, 1e-6);
  EXPECT_NEAR(magnitude("qwen3", (yarn + R"(,"attn_factor":0.8782488562869419})").c_str()), 1.0, 1e-6);
  EXPECT_NEAR(magnitude("deepseek_v3", (yarn + "}").c_str()), g, 1e-6);
  EXPECT_NEAR(magnitude("deepseek_v3", (yarn + R"(,"mscale":1,"mscale_all_dim":1})").c_str()), 1.0, 1e-6);
  EXPECT_NEAR(magnitude("deepseek_v3", (yarn + R"(,"mscale":1,"mscale_all_dim":0.5})").c_str()),
              g / (0.05 * std::log(4.0) + 1.0), 1e-6);
}

TEST(HfDirectory, RefusesConfigurationsItCannotFollow) {
  struct Case {
    const char *key, *value, *expected;
  };
  const Case cases[] = {
      {"model_type", "null", "'model_type' is missing"},
      {"model_type", "\"gemma\"", "'gemma' is not supported; supported: qwen2, llama, qwen3, deepseek_v2, deepseek_v3"},
      {"model_type", "7", "'model_type' is 7, expected a string"},
      {"hidden_size", "null", "'hidden_size' is missing, it is required"},
      {"hidden_size", "-4", "'hidden_size' is -4, expected an integer from 0 to 2^32-1"},
      {"hidden_size", "4.5", "'hidden_size' is 4.5, expected an integer"},
      {"hidden_size", "4294967296", "'hidden_size' is 4294967296, expected an integer"},
      {"hidden_size", "\"4\"", "'hidden_size' is \"4\", expected an integer"},
      {"hidden_size", "[4]", "'hidden_size' is an array, expected an integer"},
      {"num_hidden_layers", "null", "'num_hidden_layers' is missing"},
      {"intermediate_size", "true", "'intermediate_size' is true, expected an integer"},
      {"num_attention_heads", "null", "'num_attention_heads' is missing"},
      {"max_position_embeddings", "null", "'max_position_embeddings' is missing"},
      {"vocab_size", "null", "'vocab_size' is missing"},
      {"rms_norm_eps", "null", "'rms_norm_eps' is missing"},
      {"rms_norm_eps", "\"1e-5\"", "'rms_norm_eps' is \"1e-5\", expected a number"},
      {"rms_norm_eps", "1e300", "'rms_norm_eps' is 1e+300, expected a number"},
      {"hidden_act", "\"gelu\"", "hidden_act is 'gelu', expected 'silu'"},
      {"use_sliding_window", "true", "use_sliding_window is true"},
      {"layer_types", "[\"full_attention\",\"sliding_attention\"]", "layer_types holds \"sliding_attention\""},
      {"partial_rotary_factor", "0.5", "partial_rotary_factor is not 1"},
      {"rope_scaling", "3", "'rope_scaling' is 3, expected an object"},
      {"rope_scaling", "{\"type\":\"dynamic\",\"factor\":2}", "type 'dynamic' is not supported"},
      {"rope_scaling", "{\"type\":\"linear\"}", "needs 'factor'"},
      {"rope_scaling", "{\"type\":\"linear\",\"factor\":0.5}", "expected >= 1"},
      {"rope_scaling", "{\"type\":\"linear\",\"rope_type\":\"yarn\",\"factor\":2}",
       "rope_type 'yarn' and type 'linear'"},
      {"rope_scaling", "{\"type\":\"llama3\",\"factor\":8}", "llama3 rope scaling needs 'low_freq_factor'"},
      {"rope_scaling", "{\"rope_theta\":5}", "rope_theta occurs twice"},
      {"eos_token_id", "[1,-1]", "'eos_token_id' is [1,-1], expected token ids"},
      {"tie_word_embeddings", "1", "'tie_word_embeddings' is 1, expected true or false"},
      {"quantization_config", "{\"quant_method\":\"gptq\"}", "quant_method 'gptq' is not supported"},
      {"quantization_config", "{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", "fmt is 'e5m2', expected 'e4m3'"},
      {"quantization_config", "{\"quant_method\":\"fp8\",\"weight_block_size\":[64,64]}",
       "weight_block_size is [64,64]"},
  };
  for (const Case& c : cases) {
    HfDirectory d;
    d.config.set(c.key, HfDirectory::parse(c.value));
    std::string text = refusal(d);
    EXPECT_HAS(text, c.expected);
    EXPECT_HAS(text, (d.dir / "config.json").string() + ": ");
  }
  const Case moe[] = {
      {"scoring_func", "\"softplus\"", "scoring_func is 'softplus'"},
      {"topk_method", "\"best\"", "topk_method is 'best'"},
      {"topk_method", "\"greedy\"", "topk_method 'greedy' with scoring_func 'sigmoid'"},
      {"kv_lora_rank", "null", "'kv_lora_rank' is missing"},
      {"qk_nope_head_dim", "null", "'qk_nope_head_dim' is missing"},
      {"qk_nope_head_dim", "4294967295", "overflows"},
      {"v_head_dim", "null", "'v_head_dim' is missing"},
      {"moe_layer_freq", "2", "moe_layer_freq is 2"},
      {"rope_interleave", "false", "rope_interleave is false"},
      {"norm_topk_prob", "1", "'norm_topk_prob' is 1, expected true or false"},
  };
  for (const Case& c : moe) {
    HfDirectory d("deepseek_v3");
    d.config.set(c.key, HfDirectory::parse(c.value));
    EXPECT_HAS(refusal(d), c.expected);
  }
  HfDirectory qwen3("qwen3");
  EXPECT_HAS(refusal(qwen3), "'head_dim' is missing, qwen3 requires it");
}

TEST(HfDirectory, ShardsFollowTheIndex) {
  HfDirectory d;
  auto m = ModelFile::open(d.write(1));
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(m->files().size(), 3u);
  EXPECT_EQ(m->find("output.weight")->file, 2u);

  struct Case {
    const char *map, *expected;
  };
  const Case cases[] = {
      {R"({"weight_map":{"a":"../x.safetensors"}})", "'../x.safetensors', expected the name of a .safetensors file"},
      {R"({"weight_map":{"a":"b.bin"}})", "'b.bin', expected the name of a .safetensors file"},
      {R"({"weight_map":{"a":"b\u0000.safetensors"}})", "expected the name of a .safetensors file"},
      {R"({"weight_map":{"a":3}})", "tensor 'a' has no file name"},
      {R"({"weight_map":{"a":["b"]}})", "weight_map holds an array"},
      {R"({"weight_map":{"a":"b.safetensors","a":"b.safetensors"}})", "tensor 'a' occurs twice"},
      {R"({"weight_map":{}})", "weight_map is missing or empty"},
      {R"({})", "weight_map is missing or empty"},
      {R"({"weight_map":{"a":"none.safetensors"}})",
       "none.safetensors: is missing, model.safetensors.index.json lists it"},
      {R"({"weight_map":{"model.norm.weight":"model-00001-of-00003.safetensors"}})", "1 tensors are listed, 0 of them"},
      {R"({"weight_map":{"model.embed_tokens.weight":"model-00002-of-00003.safetensors",
           "model.norm.weight":"model-00001-of-00003.safetensors"}})",
       "is in this file, the index says in model-00001"},
      {"{", "invalid JSON"},
  };
  for (const Case& c : cases) {
    test::write_file(d.dir / "model.safetensors.index.json", c.map);
    auto refused = ModelFile::open(d.dir.path());
    ASSERT_FALSE(refused) << c.map;
    EXPECT_HAS(refused.error().text(), c.expected);
  }
}

TEST(HfDirectory, WithoutWeightsOnlyTheMetadataIsServed) {
  HfDirectory d;
  d.with_tokenizer();
  d.write();
  std::filesystem::remove(d.dir / "model.safetensors");
  auto refused = ModelFile::open(d.dir.path());
  ASSERT_FALSE(refused);
  EXPECT_HAS(refused.error().text(), "has neither model.safetensors nor");
  auto m = ModelFile::open(d.dir.path(), {.allow_truncated = true});
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(m->gaps().size(), 1u);
  EXPECT_EQ(m->metadata().require_string_array("tokenizer.ggml.tokens").value().size(), 8u);

  test::write_file(d.dir / "pytorch_model.bin", "x");
  EXPECT_HAS(ModelFile::open(d.dir.path()).error().text(), "its weights are PyTorch files, which are never loaded");
  std::filesystem::remove(d.dir / "pytorch_model.bin");
  std::filesystem::remove(d.dir / "config.json");
  test::write_file(d.dir / "m.gguf", "x");
  EXPECT_HAS(ModelFile::open(d.dir.path()).error().text(), "has no config.json");
  EXPECT_HAS(ModelFile::open(d.dir.path()).error().text(), "it holds GGUF files: name one of them");
}

TEST(HfDirectory, AMissingShardIsAGapOrARefusal) {
  HfDirectory d;
  d.write(1);
  std::filesystem::remove(d.dir / "model-00002-of-00003.safetensors");
  EXPECT_HAS(ModelFile::open(d.dir.path()).error().text(), "model-00002-of-00003.safetensors: is missing");
  auto m = ModelFile::open(d.dir.path(), {.allow_truncated = true});
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(m->gaps().size(), 1u);
  EXPECT_FALSE(m->view("output_norm.weight"));
  EXPECT_TRUE(m->view("output.weight"));
}

TEST(HfDirectory, TiedEmbeddingsHaveNoOutputTensor) {
  HfDirectory d;
  d.config.set("tie_word_embeddings", true);
  auto tied = ModelFile::open(d.write());
  ASSERT_TRUE(tied) << tied.error().text();
  EXPECT_EQ(tied->find("output.weight"), nullptr);

  HfDirectory untied;
  untied.config.set("tie_word_embeddings", false);
  untied.weights = test::SafetensorsWriter();
  untied.weights.add_f32("model.norm.weight", {4}, {1, 2, 3, 4});
  EXPECT_HAS(refusal(untied), "lm_head.weight is missing although config.json says tie_word_embeddings is false");
}

TEST(HfDirectory, ExpertsAreFoundSingleAndStacked) {
  HfDirectory d("deepseek_v3");
  for (int e = 0; e < 4; ++e) {
    std::string name = "model.layers.0.mlp.experts." + std::to_string(e) + ".gate_proj.weight";
    d.weights.add_f32(name, {2, 3}, std::vector<float>(6, static_cast<float>(e)));
  }
  std::vector<float> rows(2 * 4 * 3);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i);
  d.weights.add_f32("model.layers.1.mlp.experts.gate_up_proj", {2, 4, 3}, rows);
  auto m = ModelFile::open(d.write());
  ASSERT_TRUE(m) << m.error().text();
  auto single = m->experts("blk.0.ffn_gate_exps.weight").value();
  ASSERT_EQ(single.size(), 4u);
  EXPECT_EQ(load_unaligned<float>(single[3].data), 3.0f);
  auto up = m->experts("blk.1.ffn_up_exps.weight").value();
  ASSERT_EQ(up.size(), 2u);
  EXPECT_EQ(load_unaligned<float>(up[1].data), 18.0f);  // expert 1, row 2 of 4
}

TEST(HfDirectory, NextTokenLayersCountAsBlocks) {
  HfDirectory d("deepseek_v3");
  for (const char* name : {"enorm.weight", "hnorm.weight", "shared_head.norm.weight"})
    d.weights.add_f32(std::string("model.layers.1.") + name, {4}, {1, 1, 1, 1});
  d.weights.add_f32("model.layers.1.eh_proj.weight", {4, 8}, std::vector<float>(32));
  d.weights.add_f32("model.layers.1.embed_tokens.weight", {8, 4}, std::vector<float>(32));
  d.weights.add_f32("model.layers.1.shared_head.head.weight", {8, 4}, std::vector<float>(32));
  auto m = ModelFile::open(d.write());
  ASSERT_TRUE(m) << m.error().text();
  EXPECT_EQ(value(*m, "deepseek2.block_count"), "u32 2");
  EXPECT_EQ(value(*m, "deepseek2.nextn_predict_layers"), "u32 1");
  for (const char* name : {"eh_proj", "enorm", "hnorm", "embed_tokens", "shared_head_head", "shared_head_norm"})
    EXPECT_NE(m->find(std::string("blk.1.nextn.") + name + ".weight"), nullptr) << name;
}

class Fp8 : public testing::Test {
 protected:
  Fp8() : d("deepseek_v3") {
    d.config.set("quantization_config",
                 HfDirectory::parse(R"({"quant_method":"fp8","fmt":"e4m3","weight_block_size":[128,128]})"));
  }
  void weight(const std::vector<int64_t>& dims, const char* dtype = "F8_E4M3") {
    d.weights.add(kName, dtype, dims, std::string(static_cast<size_t>(dims[0] * dims[1]), '\x38'));
  }
  void scales(const std::vector<int64_t>& dims) {
    d.weights.add_f32(std::string(kName) + "_scale_inv", dims,
                      std::vector<float>(static_cast<size_t>(dims[0] * dims[1]), 2.f));
  }
  static constexpr const char* kName = "model.layers.0.self_attn.o_proj.weight";
  HfDirectory d;
};

TEST_F(Fp8, CarriesItsScalesWhereverTheyLie) {
  weight({129, 300});
  scales({2, 3});
  for (size_t shard : {0u, 1u}) {  // in one file, or weight and scales in different ones
    HfDirectory& dir = d;
    auto m = ModelFile::open(dir.write(shard));
    ASSERT_TRUE(m) << m.error().text();
    TensorView v = m->view("blk.0.attn_output.weight");
    EXPECT_EQ(v.dtype, DType::kF8_E4M3);
    EXPECT_EQ(v.shape_text(), "[129, 300]");
    ASSERT_NE(v.scale_inv, nullptr);
    EXPECT_EQ(load_unaligned<float>(v.scale_inv + 5 * 4), 2.0f);
    std::filesystem::remove(d.dir / "model.safetensors");
  }
}
TEST_F(Fp8, MissingScalesAreRefusedByName) {
  weight({4, 4});
  EXPECT_HAS(refusal(d),
             "'model.layers.0.self_attn.o_proj.weight' is F8_E4M3 and its scales "
             "'model.layers.0.self_attn.o_proj.weight_scale_inv' are missing, expected F32 [1, 1] for a weight of "
             "shape [4, 4]");
}
TEST_F(Fp8, ScalesOfTheWrongShapeAreRefusedWithBothShapes) {
  weight({129, 300});
  scales({2, 2});
  EXPECT_HAS(refusal(d), "are F32 [2, 2], expected F32 [2, 3] for a weight of shape [129, 300]");
}
TEST_F(Fp8, ScalesOfTheWrongTypeAreRefused) {
  weight({4, 4});
  d.weights.add(std::string(kName) + "_scale_inv", "BF16", {1, 1}, "xx");
  EXPECT_HAS(refusal(d), "are BF16 [1, 1], expected F32 [1, 1]");
}
TEST_F(Fp8, ScalesWithoutTheirWeightAreRefused) {
  scales({1, 1});
  EXPECT_HAS(refusal(d), "_scale_inv' belong to no F8_E4M3 tensor");
}
TEST_F(Fp8, WithoutQuantizationConfigItIsRefused) {
  d.config.set("quantization_config", Json());
  weight({4, 4});
  scales({1, 1});
  EXPECT_HAS(refusal(d), "is F8_E4M3, but config.json has no quantization_config");
}
TEST_F(Fp8, MustBeAMatrix) {
  d.weights.add("model.layers.0.mlp.experts.down_proj", "F8_E4M3", {2, 2, 2}, "12345678");
  EXPECT_HAS(refusal(d), "has shape [2, 2, 2], expected two dimensions (FP8)");
}

TEST(HfDirectory, RefusesTensorsItCannotPlace) {
  struct Case {
    const char *name, *dtype;
    std::vector<int64_t> dims;
    size_t bytes;
    const char* expected;
  };
  const Case cases[] = {
      {"model.layers.0.self_attn.q_proj.qweight",
       "I32",
       {1},
       4,
       "'model.layers.0.self_attn.q_proj.qweight' has no place in model_type 'qwen2'"},
      {"model.layers.00.input_layernorm.weight", "F32", {1}, 4, "has no place"},
      {"model.layers.0", "F32", {1}, 4, "has no place"},
      {"model.layers.99999999999.input_layernorm.weight", "F32", {1}, 4, "has no place"},
      {"model.layers.0.input_layernorm.weight", "I64", {1}, 8, "has dtype I64, expected F32, F16, BF16 or F8_E4M3"},
      {"model.layers.0.input_layernorm.weight", "F32", {}, 4, "has shape [], expected 1 to 4 dimensions >= 1"},
      {"model.layers.0.input_layernorm.weight", "F32", {0, 4}, 0, "has shape [0, 4], expected 1 to 4 dimensions >= 1"},
      {"model.layers.0.input_layernorm.weight",
       "F32",
       {1, 1, 1, 1, 1},
       4,
       "has shape [1, 1, 1, 1, 1], expected 1 to 4"},
  };
  for (const Case& c : cases) {
    HfDirectory d;
    d.weights.add(c.name, c.dtype, c.dims, std::string(c.bytes, 'x'));
    EXPECT_HAS(refusal(d), c.expected);
  }
  HfDirectory ignored;
  ignored.weights.add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {1}, "xxxx");
  EXPECT_EQ(refusal(ignored), "(opened)");
}

}  // namespace
}  // namespace dsr1::io
