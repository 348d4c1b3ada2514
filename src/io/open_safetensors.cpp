#include "open_safetensors.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dsr1/base/json.h"
#include "dsr1/io/byte_reader.h"
#include "dsr1/io/safetensors.h"
#include "hf_config.h"
#include "hf_tables.h"
#include "hf_tokenizer.h"

namespace dsr1::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kSingle = "model.safetensors";
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;  // R1's has 9 MB
constexpr int64_t kScaleBlock = 128;                     // DeepSeek-V3 README_WEIGHTS.md

Error path_error(const fs::path& path, const std::string& message) {
  Error e(ErrorCode::kModel, message);
  e.context.push_back(path.string());
  return e;
}

// {"metadata": {...}, "weight_map": {"model.norm.weight": "model-00001-of-000163.safetensors", ...}}
class IndexEvents : public JsonEvents {
 public:
  std::unordered_map<std::string, uint32_t> weight_map;  // tensor -> index into files
  std::vector<std::string> files;

  bool begin_object() override {
    if (in_map()) return refuse("weight_map holds an object, expected file names");
    return ++depth_ <= 16 || refuse("nested deeper than 16");
  }
  bool key(std::string& name) override {
    (depth_ == 1 ? section_ : tensor_) = std::move(name);
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool begin_array() override {
    return in_map() ? refuse("weight_map holds an array, expected file names") : ++depth_ <= 16;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool scalar(Json&& value) override {
    if (!in_map()) return true;
    if (!value.is_string()) return refuse("tensor '" + printable(tensor_) + "' has no file name");
    const std::string& file = value.as_string();
    // The name comes from a download and becomes a path: it must stay in the directory.
    if (file.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos || !file.ends_with(".safetensors"))
      return refuse("tensor '" + printable(tensor_) + "' is said to be in '" + printable(file) +
                    "', expected the name of a .safetensors file without a path");
    auto [it, fresh] = file_index_.emplace(file, static_cast<uint32_t>(files.size()));
    if (fresh) files.push_back(file);
    if (!weight_map.emplace(tensor_, it->second).second)
      return refuse("tensor '" + printable(tensor_) + "' occurs twice");
    return true;
  }

 private:
  bool in_map() const { return depth_ == 2 && section_ == "weight_map"; }
  bool refuse(std::string why) {
    error = std::move(why);
    return false;
  }
  std::unordered_map<std::string, uint32_t> file_index_;
  int depth_ = 0;
  std::string section_, tensor_;
};

std::optional<DType> model_dtype(std::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  if (name == "F8_E4M3") return DType::kF8_E4M3;
  return std::nullopt;
}

// The weights of a directory: which files, and, with an index, which tensors they must hold.
struct Weights {
  std::vector<fs::path> files;
  std::optional<IndexEvents> index;
  fs::path index_path;
};

Result<Weights> find_weights(const fs::path& dir) {
  Weights w;
  std::error_code ignored;
  if (fs::exists(dir / kIndex, ignored)) {
    w.index_path = dir / kIndex;
    w.index.emplace();
    DSR1_TRY(std::string text, read_text_file(w.index_path, kMaxIndexBytes));
    DSR1_TRY_STATUS(json_scan(text, *w.index).context(w.index_path.string()));
    if (w.index->files.empty()) return path_error(w.index_path, "weight_map is missing or empty");
    for (const std::string& name : w.index->files) w.files.push_back(dir / name);
  } else if (fs::exists(dir / kSingle, ignored)) {
    w.files.push_back(dir / kSingle);
  }
  return w;
}

std::string advice_without_weights(const fs::path& dir) {
  std::string found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(dir, ignored)) {
    std::string name = entry.path().filename().string();
    if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"))
      return "; its weights are PyTorch files, which are never loaded: get the safetensors version";
    if (name.ends_with(".gguf")) return "; it holds GGUF files: name one of them";
  }
  return "";
}

std::string shape_text(const SafetensorsEntry& e) {
  std::string s = "[";
  for (int i = 0; i < e.n_dims; ++i) s += (i ? ", " : "") + std::to_string(e.dims[static_cast<size_t>(i)]);
  return s + "]";
}

// Gathers the tensors of all files under their canonical names and joins FP8 weights with their scales.
class Collector {
 public:
  Collector(const HfConfig& config, const Weights& weights, const OpenOptions& options)
      : config_(config), weights_(weights), options_(options) {}

  std::vector<ModelFile::File> files;
  std::vector<MappedFile> mappings;
  std::vector<TensorInfo> tensors;
  std::vector<std::string> gaps;

  Status collect() {
    for (uint32_t i = 0; i < weights_.files.size(); ++i) DSR1_TRY_STATUS(add_file(i));
    DSR1_TRY_STATUS(check_index());
    return attach_scales();
  }

 private:
  struct Scale {
    std::string owner;  // the HF name of the weight
    SafetensorsEntry entry;
    uint32_t file = 0;
    bool used = false;
  };

  Status add_file(uint32_t listed) {
    const fs::path& path = weights_.files[listed];
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
      std::string text = "is missing, " + weights_.index_path.filename().string() + " lists it";
      if (!options_.allow_truncated) return path_error(path, text + ": download all files into one directory");
      gaps.push_back(path.string() + ": " + text);
      return {};
    }
    DSR1_TRY(MappedFile mapping, MappedFile::open(path));
    DSR1_TRY(SafetensorsContents contents,
             parse_safetensors(mapping.bytes(), options_.allow_truncated).context(path.string()));
    if (mapping.size() < contents.needed_size) {
      gaps.push_back(path.string() + ": truncated, has " + std::to_string(mapping.size()) + " bytes, needs " +
                     std::to_string(contents.needed_size) + ", " +
                     std::to_string(contents.needed_size - mapping.size()) + " missing");
    }
    ModelFile::File info{.path = path, .size = mapping.size(), .header_bytes = contents.data_start};
    for (const SafetensorsEntry& e : contents.entries) {
      DSR1_TRY_STATUS(add_entry(e, listed, mapping.bytes(), &info).context(path.string()));
    }
    files.push_back(std::move(info));
    mappings.push_back(std::move(mapping));
    return {};
  }

  Status add_entry(const SafetensorsEntry& e, uint32_t listed, std::span<const std::byte> bytes,
                   ModelFile::File* info) {
    if (weights_.index) {
      auto it = weights_.index->weight_map.find(e.name);
      if (it == weights_.index->weight_map.end()) return {};  // the index decides what belongs to the model
      if (it->second != listed) {
        return Error(ErrorCode::kModel, "tensor '" + printable(e.name) + "' is in this file, the index says in " +
                                            weights_.index->files[it->second]);
      }
      ++n_indexed_;
    }
    HfTensorName name = translate_hf_tensor(e.name);
    auto file = static_cast<uint32_t>(files.size());
    switch (name.kind) {
      case HfTensorKind::kIgnored: return {};
      case HfTensorKind::kScale:
        scale_of_.emplace(name.name, scales_.size());
        scales_.push_back({std::move(name.name), e, file, false});
        return {};
      case HfTensorKind::kUnknown:
        return Error(ErrorCode::kModel, "tensor '" + printable(e.name) + "' has no place in model_type '" +
                                            config_.model_type +
                                            "': the model has parts (or a quantisation) that are not supported");
      case HfTensorKind::kTensor: break;
    }
    TensorInfo t;
    t.name = std::move(name.name);
    t.file = file;
    t.offset = e.begin;
    t.bytes = e.end - e.begin;
    std::optional<DType> dtype = model_dtype(e.dtype);
    if (!dtype) {
      return Error(ErrorCode::kModel,
                   "tensor '" + printable(e.name) + "' has dtype " + e.dtype + ", expected F32, F16, BF16 or F8_E4M3");
    }
    t.view.dtype = *dtype;
    bool empty = std::find(e.dims.begin(), e.dims.begin() + e.n_dims, 0) != e.dims.begin() + e.n_dims;
    if (e.n_dims < 1 || e.n_dims > 4 || empty || (*dtype == DType::kF8_E4M3 && e.n_dims != 2)) {
      return Error(ErrorCode::kModel, "tensor '" + printable(e.name) + "' has shape " + shape_text(e) + ", expected " +
                                          (*dtype == DType::kF8_E4M3 ? "two dimensions (FP8)" : "1 to 4 dimensions") +
                                          " >= 1");
    }
    t.view.n_dims = e.n_dims;
    std::copy_n(e.dims.begin(), e.n_dims, t.view.dims.begin());
    if (e.end <= bytes.size()) t.view.data = bytes.data() + e.begin;
    if (*dtype == DType::kF8_E4M3) fp8_.push_back({static_cast<uint32_t>(tensors.size()), e.name});
    ++info->n_tensors;
    info->tensor_bytes += t.bytes;
    tensors.push_back(std::move(t));
    return {};
  }

  Status check_index() {
    if (!weights_.index || !gaps.empty() || n_indexed_ == weights_.index->weight_map.size()) return {};
    return path_error(weights_.index_path, std::to_string(weights_.index->weight_map.size()) + " tensors are listed, " +
                                               std::to_string(n_indexed_) + " of them are in the files");
  }

  Status attach_scales() {
    for (const auto& [index, hf_name] : fp8_) {
      TensorInfo& t = tensors[index];
      const fs::path& path = files[t.file].path;
      if (!config_.fp8) {
        return path_error(path,
                          "tensor '" + printable(hf_name) + "' is F8_E4M3, but config.json has no quantization_config");
      }
      auto blocks = [](int64_t n) { return (n - 1) / kScaleBlock + 1; };
      int64_t rows = blocks(t.view.dims[0]), cols = blocks(t.view.dims[1]);
      const std::string expected = "expected F32 [" + std::to_string(rows) + ", " + std::to_string(cols) +
                                   "] for a weight of shape " + t.view.shape_text();
      auto it = scale_of_.find(hf_name);
      if (it == scale_of_.end()) {
        if (!gaps.empty()) continue;  // may be in what is missing
        return path_error(path, "tensor '" + printable(hf_name) + "' is F8_E4M3 and its scales '" + printable(hf_name) +
                                    "_scale_inv' are missing, " + expected);
      }
      Scale& s = scales_[it->second];
      s.used = true;
      if (std::string_view(s.entry.dtype) != "F32" || s.entry.n_dims != 2 || s.entry.dims[0] != rows ||
          s.entry.dims[1] != cols) {
        return path_error(files[s.file].path, "scales '" + printable(s.entry.name) + "' are " + s.entry.dtype + " " +
                                                  shape_text(s.entry) + ", " + expected);
      }
      const MappedFile& mapping = mappings[s.file];
      if (s.entry.end <= mapping.size()) t.view.scale_inv = mapping.bytes().data() + s.entry.begin;
    }
    for (const Scale& s : scales_) {
      if (s.used || !gaps.empty()) continue;
      return path_error(files[s.file].path, "scales '" + printable(s.entry.name) + "' belong to no F8_E4M3 tensor");
    }
    return {};
  }

  const HfConfig& config_;
  const Weights& weights_;
  const OpenOptions& options_;
  size_t n_indexed_ = 0;
  std::vector<std::pair<uint32_t, std::string>> fp8_;  // index into tensors, HF name
  std::vector<Scale> scales_;
  std::unordered_map<std::string, size_t> scale_of_;
};

}  // namespace

std::optional<fs::path> hf_directory(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return path;
  std::string name = path.filename().string();
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  if (name != "config.json" && name != kIndex && !name.ends_with(".safetensors")) return std::nullopt;
  fs::path dir = path.parent_path();
  return dir.empty() ? fs::path(".") : dir;
}

Result<ModelFile> SafetensorsOpener::open(const fs::path& dir, const OpenOptions& options) {
  ModelFile model;
  model.format_ = FileFormat::kSafetensors;
  model.path_ = dir;
  model.metadata_.set_source(dir.string());
  std::error_code ignored;
  if (!fs::exists(dir / "config.json", ignored)) {
    return path_error(dir, "has no config.json, expected a Hugging Face model directory" + advice_without_weights(dir));
  }
  DSR1_TRY(HfJson config_file, read_hf_json(dir / "config.json"));
  DSR1_TRY(HfConfig config, translate_hf_config(config_file, &model.metadata_));
  fs::path absolute = fs::absolute(dir, ignored).lexically_normal();
  model.metadata_.set_string("general.name",
                             (absolute.has_filename() ? absolute : absolute.parent_path()).filename().string());
  std::optional<HfJson> generation;
  if (fs::exists(dir / "generation_config.json", ignored)) {
    DSR1_TRY(generation, read_hf_json(dir / "generation_config.json"));
  }
  DSR1_TRY_STATUS(translate_hf_generation(config_file, generation ? &*generation : nullptr, &model.metadata_));
  DSR1_TRY(auto n_rows, model.metadata_.get_u32(config.architecture + ".vocab_size"));
  DSR1_TRY_STATUS(translate_hf_tokenizer(dir, n_rows.value_or(0), &model.metadata_));

  DSR1_TRY(Weights weights, find_weights(dir));
  if (weights.files.empty()) {
    std::string text = "has neither model.safetensors nor " + std::string(kIndex);
    if (!options.allow_truncated) return path_error(dir, text + advice_without_weights(dir));
    model.gaps_.push_back(dir.string() + ": " + text);
  }
  Collector collector(config, weights, options);
  DSR1_TRY_STATUS(collector.collect());
  model.files_ = std::move(collector.files);
  model.mappings_ = std::move(collector.mappings);
  model.tensors_ = std::move(collector.tensors);
  model.gaps_.insert(model.gaps_.end(), collector.gaps.begin(), collector.gaps.end());
  if (config.tied.value_or(false)) {  // as transformers: the embedding serves even where a copy is stored
    std::erase_if(model.tensors_, [](const TensorInfo& t) { return t.name == "output.weight"; });
  }
  DSR1_TRY_STATUS(model.index_tensors());
  if (config.tied == false && model.gaps_.empty() && model.find("output.weight") == nullptr) {
    return path_error(dir, "lm_head.weight is missing although config.json says tie_word_embeddings is false");
  }
  uint32_t n_nextn = 0;
  auto nextn_tensor = [&] {
    return "blk." + std::to_string(uint64_t{config.n_layer} + n_nextn) + ".nextn.eh_proj.weight";
  };
  while (model.find(nextn_tensor()) != nullptr) ++n_nextn;
  if (n_nextn > 0) {  // GGUF counts these layers in
    model.metadata_.set_u32(config.architecture + ".block_count", config.n_layer + n_nextn);
    model.metadata_.set_u32(config.architecture + ".nextn_predict_layers", n_nextn);
  }
  return model;
}

}  // namespace dsr1::io
