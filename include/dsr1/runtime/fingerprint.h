// SHA-256 of model files, kept so that hundreds of gigabytes are read for it only once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "dsr1/io/model_file.h"
#include "dsr1/runtime/machine.h"

namespace dsr1::runtime {

// Bytes hashed of all that the model has; whether to go on.
using HashProgressFn = std::function<bool(int64_t done, int64_t total)>;

// The digest of a file's bytes; of a model in several files their digests joined by commas. Kept in `cache` (a JSON
// file in a directory that is made where missing; empty: nowhere) under device, inode, size and time of change. A file
// larger than `most_bytes` that is not kept yet is not read: the reading then has a reason and no value. `on_bytes`,
// where set, is called every few megabytes; where it says false the reading ends with the reason "interrupted".
Reading<std::string> model_sha256(const io::ModelFile& file, const std::filesystem::path& cache,
                                  uint64_t most_bytes = UINT64_MAX, const HashProgressFn& on_bytes = {});

}  // namespace dsr1::runtime
