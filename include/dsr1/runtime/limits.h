// What bounds a load besides the machine's free memory: control groups, and the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace dsr1::runtime {

// The least that a cgroup above this process allows it; none where none does.
std::optional<uint64_t> cgroup_memory_limit();
// As disk_read_rate of engine.h, which has one request in flight as paging has, with so many of 1 MiB, as loading has.
double disk_read_rate(const std::filesystem::path& path, uint64_t offset, uint64_t bytes, int in_flight);

}  // namespace dsr1::runtime
