#include "dsr1/io/model_file.h"

#include <algorithm>
#include <optional>

#include "dsr1/io/bulk_read.h"
#include "dsr1/io/byte_reader.h"
#include "dsr1/io/page_cache.h"
#include "open_gguf.h"
#include "open_safetensors.h"

namespace dsr1::io {
namespace {

// "blk.3." + "ffn_gate_exps" + ".weight" of a stacked tensor's name; nullopt where it is not such a name.
struct StackedName {
  std::string_view block;  // "blk.3."
  std::string_view part;   // "gate", "up", "down"
};

std::optional<StackedName> parse_stacked_name(std::string_view name) {
  constexpr std::string_view prefix = "ffn_", suffix = "_exps.weight";
  size_t at = name.find(prefix);
  if (at == std::string_view::npos || !name.ends_with(suffix)) return std::nullopt;
  std::string_view part = name.substr(at + prefix.size());
  part.remove_suffix(suffix.size());
  if (part != "gate" && part != "up" && part != "down") return std::nullopt;
  return StackedName{name.substr(0, at), part};
}

Error shape_error(const ModelFile::File& file, const std::string& name, const std::string& found,
                  const std::string& expected) {
  Error e(ErrorCode::kModel, "tensor '" + printable(name) + "' has shape " + found + ", expected " + expected);
  e.context.push_back(file.path.string());
  return e;
}

// Rows [begin, end) of expert i; without data where a truncated file lacks it.
TensorView expert_rows(const TensorView& stacked, int64_t i, int64_t begin, int64_t end) {
  TensorView v = stacked;
  v.n_dims = 2;
  v.dims = {end - begin, stacked.dims[2], 0, 0};
  if (stacked.data != nullptr) v.data = stacked.row(i * stacked.dims[1] + begin);
  return v;
}

}  // namespace

Result<ModelFile> ModelFile::open(const std::filesystem::path& path, const OpenOptions& options) {
  if (std::optional<std::filesystem::path> dir = hf_directory(path)) return SafetensorsOpener::open(*dir, options);
  return GgufOpener::open(path, options);
}

Result<ModelFile> ModelFile::in_memory(std::vector<TensorInfo> tensors) {
  ModelFile file;
  file.path_ = "(in memory)";
  file.files_.push_back({file.path_, 0, 0, 0, static_cast<uint32_t>(tensors.size())});
  file.tensors_ = std::move(tensors);
  DSR1_TRY_STATUS(file.index_tensors());
  return file;
}

uint64_t ModelFile::tensor_bytes() const {
  uint64_t sum = 0;
  for (const TensorInfo& t : tensors_) sum += t.bytes;
  return sum;
}

Status ModelFile::index_tensors() {
  by_name_.reserve(tensors_.size());
  for (uint32_t i = 0; i < tensors_.size(); ++i) {
    auto [it, fresh] = by_name_.emplace(tensors_[i].name, i);
    if (fresh) continue;
    return Error(ErrorCode::kModel, "tensor '" + printable(tensors_[i].name) + "' occurs twice: in " +
                                        files_[tensors_[it->second].file].path.string() + " and in " +
                                        files_[tensors_[i].file].path.string());
  }
  return {};
}

namespace {

uint64_t scale_bytes(const TensorView& v) {
  constexpr int64_t kBlock = 128;  // of FP8's scales, both ways (specification 2.4)
  const auto blocks = [](int64_t n) { return static_cast<uint64_t>((n + kBlock - 1) / kBlock); };
  return v.scale_inv == nullptr ? 0 : blocks(v.rows()) * blocks(v.cols()) * sizeof(float);
}

}  // namespace

void ModelFile::fetch_vectors() {
  constexpr uint64_t kMost = uint64_t{1} << 20;  // vectors of published models have at most 1 MB
  if (is_copied() || mappings_.empty()) return;
  std::vector<std::vector<ReadRange>> missing(files_.size());
  for (const TensorInfo& t : tensors_) {
    if (t.view.n_dims != 1 || t.view.data == nullptr || t.bytes > kMost) continue;
    const auto held = resident_share(files_[t.file].path, t.view.data, t.bytes);
    if (!held || *held < 1) missing[t.file].push_back({t.offset, t.bytes, nullptr});
  }
  for (size_t i = 0; i < files_.size(); ++i)
    if (!missing[i].empty()) static_cast<void>(bulk_read(files_[i].path, missing[i], {}));
  fetched_ = std::move(missing);
}

void ModelFile::drop_fetched() {
  for (size_t i = 0; i < fetched_.size(); ++i) {
    const std::vector<ReadRange> pages = joined(std::move(fetched_[i]), mappings_[i].size());
    for (const ReadRange& r : pages) mappings_[i].dont_need(r.offset, r.length);
    drop_cached(files_[i].path, pages);
  }
  fetched_.clear();
}

Status ModelFile::copy_to_memory(std::span<const TensorInfo* const> tensors, const CopyProgressFn& progress) {
  std::vector<std::vector<ReadRange>> ranges(files_.size());
  const auto file_of = [&](const std::byte* p) {
    size_t i = 0;
    while (p < mappings_[i].bytes().data() || p >= mappings_[i].bytes().data() + mappings_[i].size()) ++i;
    return i;
  };
  const auto want = [&](const std::byte* p, uint64_t bytes) {
    if (p == nullptr || bytes == 0) return;
    const size_t i = file_of(p);
    ranges[i].push_back({static_cast<uint64_t>(p - mappings_[i].bytes().data()), bytes, nullptr});
  };
  for (const TensorInfo* t : tensors) {
    want(t->view.data, t->bytes);
    want(t->view.scale_inv, scale_bytes(t->view));
  }
  uint64_t total = 0, done = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    // Reading past the page cache wants file and memory on the same boundary, so a copy is laid out as the file is.
    ranges[i] = joined(std::move(ranges[i]), mappings_[i].size());
    for (const ReadRange& r : ranges[i]) total += r.length;
  }
  if (progress) progress(0, total);
  std::vector<Buffer> copies(files_.size());
  for (size_t i = 0; i < files_.size(); ++i) {
    if (ranges[i].empty()) continue;
    const uint64_t begin = ranges[i].front().offset, end = ranges[i].back().offset + ranges[i].back().length;
    DSR1_TRY(copies[i], Buffer::allocate(end - begin, "the weights of " + files_[i].path.string()));
    for (ReadRange& r : ranges[i]) r.to = copies[i].data() + (r.offset - begin);
    DSR1_TRY_STATUS(bulk_read(files_[i].path, ranges[i], [&](uint64_t more) {
      if (progress) progress(done += more, total);
    }));
  }
  for (const TensorInfo* t : tensors) {
    TensorView& v = tensors_[static_cast<size_t>(t - tensors_.data())].view;
    for (const std::byte** p : {&v.data, &v.scale_inv}) {
      if (*p == nullptr) continue;
      const size_t i = file_of(*p);
      *p =
          copies[i].data() + (*p - mappings_[i].bytes().data() - static_cast<std::ptrdiff_t>(ranges[i].front().offset));
    }
  }
  copies_ = std::move(copies);
  return {};
}

const TensorInfo* ModelFile::find(std::string_view name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

TensorView ModelFile::view(std::string_view name) const {
  const TensorInfo* t = find(name);
  return t != nullptr ? t->view : TensorView();
}

Result<std::vector<TensorView>> ModelFile::experts(std::string_view name) const {
  std::vector<TensorView> views;
  if (const TensorInfo* t = find(name)) {
    if (t->view.n_dims != 3) {
      return shape_error(files_[t->file], t->name, t->view.shape_text(), "three dimensions [experts, out, in]");
    }
    for (int64_t i = 0; i < t->view.dims[0]; ++i) views.push_back(expert_rows(t->view, i, 0, t->view.dims[1]));
    return views;
  }
  std::optional<StackedName> stacked = parse_stacked_name(name);
  if (!stacked) return views;
  std::string block(stacked->block);
  if (stacked->part != "down") {
    if (const TensorInfo* t = find(block + "ffn_gate_up_exps.weight")) {
      if (t->view.n_dims != 3 || t->view.dims[1] % 2 != 0) {
        return shape_error(files_[t->file], t->name, t->view.shape_text(), "[experts, 2 * out, in]");
      }
      int64_t rows = t->view.dims[1] / 2, begin = stacked->part == "gate" ? 0 : rows;
      for (int64_t i = 0; i < t->view.dims[0]; ++i) views.push_back(expert_rows(t->view, i, begin, begin + rows));
      return views;
    }
  }
  std::string one = block + "ffn_" + std::string(stacked->part) + ".";
  const TensorInfo* first = find(one + "0.weight");
  for (const TensorInfo* t = first; t != nullptr; t = find(one + std::to_string(views.size()) + ".weight")) {
    if (t->view.n_dims != 2 || t->view.dims != first->view.dims) {
      return shape_error(files_[t->file], t->name, t->view.shape_text(),
                         "the shape of expert 0, " + first->view.shape_text());
    }
    views.push_back(t->view);
  }
  return views;
}

}  // namespace dsr1::io
