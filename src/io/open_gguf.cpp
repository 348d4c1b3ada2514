#include "open_gguf.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>

#include "dsr1/io/bulk_read.h"
#include "dsr1/io/byte_reader.h"
#include "dsr1/io/gguf.h"
#include "dsr1/io/page_cache.h"

namespace dsr1::io {
namespace {

// "<prefix>-00001-of-00009.gguf", parts counted from 1 (llama.cpp llama_split_path).
struct SplitName {
  std::string prefix;
  uint32_t part = 0, count = 0;

  std::filesystem::path path(uint32_t n) const {
    char suffix[40];
    std::snprintf(suffix, sizeof(suffix), "-%05u-of-%05u.gguf", n, count);
    return prefix + suffix;
  }
};

std::optional<SplitName> parse_split_name(const std::string& path) {
  constexpr std::string_view shape = "-00000-of-00000.gguf";
  if (path.size() <= shape.size()) return std::nullopt;
  std::string_view suffix = std::string_view(path).substr(path.size() - shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    bool digit = suffix[i] >= '0' && suffix[i] <= '9';
    if (shape[i] == '0' ? !digit : suffix[i] != shape[i]) return std::nullopt;
  }
  SplitName name;
  name.prefix = path.substr(0, path.size() - shape.size());
  std::from_chars(suffix.data() + 1, suffix.data() + 6, name.part);
  std::from_chars(suffix.data() + 10, suffix.data() + 15, name.count);
  return name;
}

Error model_error(const std::filesystem::path& path, const std::string& message) {
  Error e(ErrorCode::kModel, message);
  e.context.push_back(path.string());
  return e;
}

struct Part {
  MappedFile file;
  GgufContents contents;
};

Result<Part> open_part(const std::filesystem::path& path, const OpenOptions& options) {
  DSR1_TRY(MappedFile file, MappedFile::open(path));
  // A header with its vocabulary has 5 to 10 MB: read in large blocks rather than page by page.
  const uint64_t head = std::min(file.size(), uint64_t{16} << 20);
  if (const auto held = resident_share(path, file.bytes().data(), head); !held || *held < 1) {
    const ReadRange range[] = {{0, head, nullptr}};
    static_cast<void>(bulk_read(path, range, {}));  // a disk that fails is met again by the parser
  }
  DSR1_TRY(GgufContents contents, parse_gguf(file.bytes(), options.allow_truncated).context(path.string()));
  return Part{std::move(file), std::move(contents)};
}

}  // namespace

Result<ModelFile> GgufOpener::open(const std::filesystem::path& given, const OpenOptions& options) {
  ModelFile model;
  model.format_ = FileFormat::kGguf;
  std::optional<SplitName> split = parse_split_name(given.string());
  std::filesystem::path first_path = given;
  if (split && split->part != 1) {
    // A file that only looks like a part (split.count absent) is opened as it is.
    DSR1_TRY(Part probe, open_part(given, {.allow_truncated = true}));
    if (probe.contents.metadata.contains("split.count")) first_path = split->path(1);
  }
  std::error_code ignored;
  if (first_path != given && !std::filesystem::exists(first_path, ignored)) {
    return model_error(given, "is part " + std::to_string(split->part) + " of " + std::to_string(split->count) +
                                  "; part 1 (" + first_path.string() +
                                  ") is missing, download all parts into one directory");
  }

  DSR1_TRY(Part first, open_part(first_path, options));
  Metadata metadata = std::move(first.contents.metadata);
  metadata.set_source(first_path.string());
  DSR1_TRY(std::optional<uint16_t> count_key, metadata.get_u16("split.count"));
  uint32_t count = std::max<uint32_t>(count_key.value_or(1), 1);
  DSR1_TRY(std::optional<uint16_t> no, metadata.get_u16("split.no"));
  DSR1_TRY(std::optional<int32_t> total, metadata.get_i32("split.tensors.count"));
  if (count > 1) {
    if (!split || split->count != count) {
      return model_error(first_path, "holds part 1 of " + std::to_string(count) +
                                         " (split.count), expected a name that ends in -00001-of-" +
                                         SplitName{"", 1, count}.path(1).string().substr(10) +
                                         ": give the parts their published names");
    }
    if (!no || *no != 0) {
      return model_error(first_path, "split.no is " + (no ? std::to_string(*no) : std::string("missing")) +
                                         ", expected 0 in the part named 1 of " + std::to_string(count));
    }
    if (!total) return model_error(first_path, "split.count is there but split.tensors.count is missing");
  }

  auto add = [&](const std::filesystem::path& path, Part part) {
    ModelFile::File info{.path = path, .size = part.file.size(), .header_bytes = part.contents.data_start};
    info.n_tensors = static_cast<uint32_t>(part.contents.tensors.size());
    for (TensorInfo& t : part.contents.tensors) {
      t.file = static_cast<uint32_t>(model.files_.size());
      info.tensor_bytes += t.bytes;
      model.tensors_.push_back(std::move(t));
    }
    if (part.file.size() < part.contents.needed_size) {
      uint64_t missing = part.contents.needed_size - part.file.size();
      model.gaps_.push_back(path.string() + ": truncated, has " + std::to_string(part.file.size()) + " bytes, needs " +
                            std::to_string(part.contents.needed_size) + ", " + std::to_string(missing) + " missing");
    }
    model.files_.push_back(std::move(info));
    model.mappings_.push_back(std::move(part.file));
  };
  add(first_path, std::move(first));

  for (uint32_t n = 2; n <= count; ++n) {
    std::filesystem::path path = split->path(n);
    if (!std::filesystem::exists(path, ignored)) {
      std::string text = "part " + std::to_string(n) + " of " + std::to_string(count) + " is missing";
      if (!options.allow_truncated) return model_error(path, text + ": download all parts into one directory");
      model.gaps_.push_back(path.string() + ": " + text);
      continue;
    }
    DSR1_TRY(Part part, open_part(path, options));
    part.contents.metadata.set_source(path.string());
    DSR1_TRY(std::optional<uint16_t> part_no, part.contents.metadata.get_u16("split.no"));
    DSR1_TRY(std::optional<uint16_t> part_count, part.contents.metadata.get_u16("split.count"));
    if (part_no != n - 1 || part_count != count) {
      return model_error(
          path, "split.no is " + (part_no ? std::to_string(*part_no) : std::string("missing")) + " and split.count " +
                    (part_count ? std::to_string(*part_count) : std::string("missing")) + ", expected " +
                    std::to_string(n - 1) + " and " + std::to_string(count) + ": the parts belong to different models");
    }
    add(path, std::move(part));
  }
  bool all_parts = model.files_.size() == count;
  if (count > 1 && all_parts && static_cast<int64_t>(model.tensors_.size()) != *total) {
    return model_error(first_path, "split.tensors.count is " + std::to_string(*total) + ", the " +
                                       std::to_string(count) + " parts hold " + std::to_string(model.tensors_.size()) +
                                       " tensors: the parts belong to different models");
  }
  model.path_ = first_path;
  model.metadata_ = std::move(metadata);
  DSR1_TRY_STATUS(model.index_tensors());
  return model;
}

}  // namespace dsr1::io
