// ModelFile: a model on disk, opened and checked once: names -> views, keys -> typed values, whatever its
// format.
//
// A path may be a GGUF file (any part of a split set) or a Hugging Face directory (or its config.json or
// model.safetensors.index.json). Tensors carry GGUF's canonical names ("blk.0.attn_q.weight"), metadata
// GGUF's keys; shapes are row-major as in TensorView, with leading dimensions of 1 as the file has them.
//
// Owns the mappings; all views live as long as it does (moving it keeps them valid). const access is
// thread-safe. Refuses (kModel): what is damaged, truncated, of an unsupported type or no model at all,
// naming file and byte offset. Whether the tensors and numbers fit the architecture is the model layer's
// question.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dsr1/base/result.h"
#include "dsr1/io/bulk_read.h"
#include "dsr1/io/mapped_file.h"
#include "dsr1/io/metadata.h"
#include "dsr1/io/tensor_info.h"
#include "dsr1/tensor/tensor.h"

namespace dsr1::io {

enum class FileFormat { kGguf, kSafetensors };

struct OpenOptions {
  // Serve metadata from a model whose tensor data is cut or whose later parts are absent; see
  // ModelFile::gaps().
  bool allow_truncated = false;
};

using CopyProgressFn = std::function<void(uint64_t done, uint64_t total)>;

class ModelFile {
 public:
  struct File {
    std::filesystem::path path;
    uint64_t size = 0;          // bytes on disk
    uint64_t header_bytes = 0;  // before the tensor data
    uint64_t tensor_bytes = 0;  // sum over the tensors listed here
    uint32_t n_tensors = 0;
  };

  static Result<ModelFile> open(const std::filesystem::path& path, const OpenOptions& options = {});
  // Tensors that lie in the caller's memory, as a model without a file and without metadata.
  static Result<ModelFile> in_memory(std::vector<TensorInfo> tensors);
  ModelFile(ModelFile&&) = default;
  ModelFile& operator=(ModelFile&&) = default;

  FileFormat format() const { return format_; }
  // The GGUF's first part, or the directory.
  const std::filesystem::path& path() const { return path_; }
  std::span<const File> files() const { return files_; }
  uint64_t tensor_bytes() const;

  const Metadata& metadata() const { return metadata_; }
  Metadata& metadata() { return metadata_; }  // for --override-kv, before anything reads it

  // In file order. HF experts stand here one by one as "blk.N.ffn_gate.E.weight" (E = 0 ...).
  std::span<const TensorInfo> tensors() const { return tensors_; }
  const TensorInfo* find(std::string_view name) const;  // null where absent
  // The view, or an empty one where absent.
  TensorView view(std::string_view name) const;

  // The experts of a stacked tensor by its canonical name ("blk.3.ffn_gate_exps.weight"), each {out, in},
  // from whichever form the file has: stacked, gate and up merged ("ffn_gate_up_exps", gate rows first), or
  // one tensor an expert. Empty where the file has none of them. kModel where an expert between others is
  // missing or shapes differ.
  Result<std::vector<TensorView>> experts(std::string_view name) const;

  // Whether attn_q and attn_k rows of arch llama are in Hugging Face's order (pair i with i + head/2) rather
  // than in GGUF's permuted one (pair 2i with 2i+1). Says nothing about other architectures: their order is
  // the same in both.
  bool rope_unpermuted() const { return format_ == FileFormat::kSafetensors; }

  // Brings the vectors (norms, biases) into the page cache with many requests in flight. Met one by one, each would
  // wait for the disk, and for megabytes that the system reads around it. A disk that fails is met again by whoever
  // reads the data.
  void fetch_vectors();
  // Drops again what that brought, once the vectors have been copied: a small page keeps the two megabytes around it
  // from coming as one huge page (a quarter of a model of 1.5B).
  void drop_fetched();

  // Reads the data of these tensors into memory of its own (--no-mmap). Views of them taken before are void; headers
  // and other tensors stay mapped. kDoesNotFit where memory lacks, kRuntime where the disk fails, kModel for a file
  // that ends too soon.
  Status copy_to_memory(std::span<const TensorInfo* const> tensors, const CopyProgressFn& progress = {});
  bool is_copied() const { return !copies_.empty(); }

  // What is not there although the headers promise it, one line each; empty unless allow_truncated was used.
  const std::vector<std::string>& gaps() const { return gaps_; }

  // A read-ahead hint for one tensor (MappedFile::will_need).
  void will_need(const TensorInfo& t) const { mappings_[t.file].will_need(t.offset, t.bytes); }
  const MappedFile& mapping(uint32_t file) const { return mappings_[file]; }

 private:
  friend class GgufOpener;
  friend class SafetensorsOpener;
  ModelFile() = default;
  Status index_tensors();

  FileFormat format_ = FileFormat::kGguf;
  std::filesystem::path path_;
  std::vector<File> files_;
  std::vector<MappedFile> mappings_;
  std::vector<Buffer> copies_;  // by file, from the first tensor wanted to the last; what lies between is untouched
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, uint32_t> by_name_;
  std::vector<std::string> gaps_;
  std::vector<std::vector<ReadRange>> fetched_;  // by file
};

}  // namespace dsr1::io
