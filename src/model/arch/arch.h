// One architecture: how its configuration is read, which tensors it has, and its forward pass. Each lives in one file
// here and is listed in all.inc.
#pragma once

#include <atomic>
#include <initializer_list>
#include <string>
#include <string_view>

#include "dsr1/model/model.h"

namespace dsr1::model {

// Reads "<arch>.<key>" from a file's metadata; the first failure sticks, so that a config reads as a list.
class ConfigReader {
 public:
  ConfigReader(const io::Metadata& metadata, std::string arch) : metadata_(metadata), arch_(std::move(arch)) {}

  // Bounded integers and floats. A missing key is an error without a default.
  int64_t required(std::string_view key, int64_t min, int64_t max);
  int64_t integer(std::string_view key, int64_t fallback, int64_t min, int64_t max);
  // One number for all layers: a u32, or an array whose n_layer elements agree.
  int64_t required_uniform(std::string_view key, size_t n_layer, int64_t min, int64_t max);
  int64_t uniform(std::string_view key, size_t n_layer, int64_t fallback, int64_t min, int64_t max);
  double real(std::string_view key, double fallback, double min, double max);
  double required_real(std::string_view key, double min, double max);
  bool flag(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  bool has(std::string_view key) const { return metadata_.contains(name(key)); }
  std::string name(std::string_view key) const { return arch_ + "." + std::string(key); }

  void fail(std::string message);
  bool ok() const { return status_.has_value(); }
  Status status() const { return status_; }
  const io::Metadata& metadata() const { return metadata_; }

 private:
  int64_t check_range(std::string_view key, int64_t value, int64_t min, int64_t max);
  double check_range(std::string_view key, double value, double min, double max);

  const io::Metadata& metadata_;
  std::string arch_;
  Status status_;
};

// Binds tensors by name, checking shape and type; the first failure sticks.
class TensorBinder {
 public:
  TensorBinder(const io::ModelFile& file, Model& model, bool require_data)
      : file_(file), model_(model), require_data_(require_data) {}

  using Shape = std::initializer_list<int64_t>;
  void matrix(TensorView& field, const std::string& name, Shape shape, bool required = true);
  void vector(const float*& field, const std::string& name, int64_t n, bool required = true);
  // n_expert views of [rows, cols] each, from stacked, merged or separate tensors.
  void experts(std::vector<TensorView>& field, const std::string& name, int64_t n_expert, int64_t rows, int64_t cols);
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  const io::ModelFile& file() const { return file_; }

  void fail(std::string message);
  Status status() const { return status_; }

 private:
  bool check(const std::string& name, const TensorView& t, Shape shape);

  const io::ModelFile& file_;
  Model& model_;
  bool require_data_;
  Status status_;
};

struct Architecture {
  const char* name;
  void (*configure)(ConfigReader& keys, const io::ModelFile& file, const LoadOptions& options, ModelConfig& config);
  void (*bind)(TensorBinder& tensors, const ModelConfig& config, const LoadOptions& options, Weights& weights);
  // One decoder layer: residual stream s.x in and out.
  void (*layer)(const ModelConfig& config, const LayerWeights& w, const ops::Batch& batch, int layer, const Scratch& s,
                ops::Ops& ops);
};

// Pieces architectures share (common.cpp).
void configure_common(ConfigReader& keys, ModelConfig& config);  // sizes, norms
void configure_gqa(ConfigReader& keys, ModelConfig& config);     // heads of llama-like models
void configure_rope(ConfigReader& keys, const io::ModelFile& file, int n_rot, ModelConfig& config);
void bind_common(TensorBinder& t, const ModelConfig& c, Weights& w);
void bind_gqa_model(TensorBinder& t, const ModelConfig& c, const LoadOptions& options, Weights& w);
void bind_dense_ffn(TensorBinder& t, const ModelConfig& c, const std::string& prefix, LayerWeights& l);
void gqa_layer(const ModelConfig& c, const LayerWeights& w, const ops::Batch& b, int layer, const Scratch& s,
               ops::Ops& ops);
void dense_ffn(const TensorView& gate, const TensorView& up, const TensorView& down, ops::Mat x, const Scratch& s,
               ops::Ops& ops, ops::Mat out, const std::atomic<bool>* cut);

// The flag that may cut a layer short: the pass's cancel, but not in the last layer, after which nobody asks for it.
inline const std::atomic<bool>* cut_flag(const ModelConfig& c, const ops::Batch& b, int layer) {
  return layer + 1 < c.n_layer ? b.cancel : nullptr;
}
inline bool is_cut(const std::atomic<bool>* cut) { return cut != nullptr && cut->load(std::memory_order_relaxed); }

extern const Architecture kLlama, kQwen2, kQwen3, kDeepseek2;

}  // namespace dsr1::model
