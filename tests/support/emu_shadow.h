// Shadow memory of the emulator: for every byte of device and shared memory, whether it is allocated and written, and
// who touched it last, so that a load or store with no barrier in between is seen whatever order the fibers ran in.
#pragma once

#include <cstdint>
#include <string>

namespace dsr1::simt::emu {

// Who touches: the parts of a record that are compared.
struct Toucher {
  uint32_t launch, block, block_epoch, warp_epoch, thread;

  uint64_t bits() const {
    return uint64_t{launch & 0xffff} << 44 | uint64_t{block & 0xffff} << 28 | uint64_t{block_epoch & 0x3ff} << 18 |
           uint64_t{warp_epoch & 0xff} << 10 | (thread & 0x3ff);
  }
};

// A record is a Toucher and flags. Write records: all four below. Read records: whether others read beside the last.
inline constexpr uint64_t kWritten = uint64_t{1} << 63, kAllocated = uint64_t{1} << 62, kInFlight = uint64_t{1} << 61,
                          kAtomic = uint64_t{1} << 60;
inline constexpr uint64_t kManyLanes = uint64_t{1} << 63, kManyWarps = uint64_t{1} << 62,
                          kManyBlocks = uint64_t{1} << 61;

inline uint32_t launch_of(uint64_t r) { return r >> 44 & 0xffff; }
inline uint32_t block_of(uint64_t r) { return r >> 28 & 0xffff; }
inline uint32_t block_epoch_of(uint64_t r) { return r >> 18 & 0x3ff; }
inline uint32_t warp_epoch_of(uint64_t r) { return r >> 10 & 0xff; }
inline uint32_t thread_of(uint64_t r) { return r & 0x3ff; }

// Whether nothing orders the recorded touch before `now`.
inline bool unordered(uint64_t record, uint64_t now) {
  if (launch_of(record) != launch_of(now)) return false;
  if (block_of(record) != block_of(now)) return true;
  if (thread_of(record) == thread_of(now) || block_epoch_of(record) != block_epoch_of(now)) return false;
  return thread_of(record) / 32 != thread_of(now) / 32 || warp_epoch_of(record) == warp_epoch_of(now);
}

// Null, or what is wrong with this access to one byte; updates the records otherwise.
inline const char* touch(uint64_t& written, uint64_t& read, uint64_t now, bool is_write, bool is_atomic) {
  if (!(written & kAllocated)) return "is not allocated";
  if (written & kInFlight) return "is the target of an async copy that has not landed";
  if (!is_write && !(written & kWritten)) return "was never written";
  if (written & kWritten && unordered(written, now) && !(is_atomic && written & kAtomic))
    return is_write ? "was also written by another thread with no barrier between"
                    : "was written by another thread with no barrier between";
  if (is_write) {
    if (launch_of(read) == launch_of(now)) {
      if (read & kManyBlocks) return "was read by another block of this launch";
      const bool same_epoch = block_of(read) == block_of(now) && block_epoch_of(read) == block_epoch_of(now);
      const bool same_sync = same_epoch && warp_epoch_of(read) == warp_epoch_of(now);
      if (unordered(read, now) || (same_epoch && read & kManyWarps) || (same_sync && read & kManyLanes))
        return "was read by another thread with no barrier between";
    }
    written = now | kAllocated | kWritten | (is_atomic ? kAtomic : 0);
    return nullptr;
  }
  uint64_t flags = 0;
  if (launch_of(read) == launch_of(now)) {
    flags = read & kManyBlocks;
    if (block_of(read) != block_of(now)) {
      flags |= kManyBlocks;
    } else if (block_epoch_of(read) == block_epoch_of(now)) {
      const bool same_warp = thread_of(read) / 32 == thread_of(now) / 32;
      flags |= read & kManyWarps;
      if (!same_warp) flags |= kManyWarps;
      if (same_warp && warp_epoch_of(read) == warp_epoch_of(now))  // else a sync_warp lies between
        flags |= (read & kManyLanes) | (thread_of(read) != thread_of(now) ? kManyLanes : 0);
    }
  }
  read = now | flags;
  return nullptr;
}

}  // namespace dsr1::simt::emu
