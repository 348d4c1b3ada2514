// What of a file the system's page cache holds. Nothing is read to find out.
#pragma once

#include <cstddef>
#include <filesystem>

#include "dsr1/base/result.h"

namespace dsr1::io {

// Share of the pages of data[0, bytes), a mapping of `path`, that are in the page cache. kRuntime, with the reason,
// where the system does not tell: it hides that from users who may not write the file.
Result<double> resident_share(const std::filesystem::path& path, const std::byte* data, size_t bytes);

}  // namespace dsr1::io
