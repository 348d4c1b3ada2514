// The emulator that runs kernels/ in tests: what simt_emu.h and emulated_runtime.cpp are made of, and what tests set.
//
// Each thread of a block is a fiber; blocks and threads run in an order shuffled by a seed. Checked, each with an error
// that names kernel, block, thread and what was wrong, after which the stream refuses everything until it is read:
//   - a collective that some named lane never reaches, or lanes at different collectives at the same time;
//   - sync_block that some thread never reaches (it ended or waits elsewhere), sync_grid that some thread or block
//   never
//     reaches, and more blocks asked to be resident than the device holds at once;
//   - every load and store of device code (the kernels are compiled with -fsanitize=thread, whose callbacks land here,
//     not in a sanitizer): outside of live device allocations and the block's shared memory, in host memory,
//     misaligned, of bytes nobody wrote, of an async copy that has not landed, and of bytes another thread touches with
//     no barrier between, within a block or across blocks of one launch.
// Device and shared memory start as 0xff bytes: NaN in every float type.
//
// Blocks run one after another; those of a resident launch each until its next sync_grid, in an order shuffled anew.
//
// Not modelled: order among subsets of a warp or block is taken as order for all of it; timing; caches.
// One thread of the process at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#include "kernels/simt/launch.h"

namespace dsr1::simt::emu {

inline constexpr int kMultiprocessors = 4;

// The running fiber.
struct Current {
  int thread = 0, threads = 0;
  int block[3] = {};
  int grid_x = 0;
};
extern Current current;

enum class Collective : uint8_t { kSyncWarp, kShfl, kShflXor, kBallot, kLdmatrix, kMma };

inline constexpr size_t kSlotBytes = 48;  // mma: 4 + 2 + 4 registers

// What the lanes of a collective brought. Read it before the fiber's next collective.
struct Gathered {
  const std::byte (*slots)[kSlotBytes];
  uint32_t mask;
  uint64_t serial;  // of the meeting: the same for all its lanes, never twice
  template <class T>
  T from(int lane) const {
    check_named(lane);
    T v;
    std::memcpy(&v, slots[lane], sizeof(T));
    return v;
  }
  void check_named(int lane) const;
};

// Waits until every lane of mask has called this with the same collective.
Gathered exchange(Collective what, uint32_t mask, const void* value, size_t bytes);
void sync_block();
void sync_grid(uint32_t* word);
void prefetch(const void* p);
void* shared_memory(size_t bytes);
void check_aligned(const void* p, size_t alignment, const char* what);
void async_copy16(void* to, const void* from, int bytes);
void async_commit();
void async_wait(int pending);
int atomic_add(int* p, int v);
void ldmatrix(uint32_t* r, int n, const void* row, bool transposed);
// f32 products and sums over ascending k, c first.
void mma_16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float (*to_float)(uint16_t));
void mma_8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// From here on the fiber's loads and stores are checked.
void enter_kernel();
Status launch(const char* name, Grid grid, int n_threads, size_t shared_bytes, bool resident, Stream stream,
              std::function<void()> body);

// --- for the runtime (emulated_runtime.cpp) and for tests ---------------------------------------------------------

// Runs a launch now; the error of its first violation.
Status run_grid(const std::string& name, Grid grid, int n_threads, size_t shared_bytes, bool resident,
                const std::function<void()>& body);
// Device memory: an arena whose every byte is known to be allocated and written, or not. null where full.
// pinned: the host's, which takes nothing of the device.
void* device_allocate(size_t bytes, bool pinned = false);
void device_free(void* p);
size_t device_bytes_free();
bool is_device(const void* p, size_t bytes);  // inside one live allocation
void mark_written(void* p, size_t bytes);     // by the host
void forget_written(void* p, size_t bytes);   // as if nobody had written there; the bytes become poison

// The order of blocks and threads; the same seed, the same order. Tests run several.
void set_seed(uint64_t seed);
// Device memory that allocations may take; default 1 GiB.
void set_device_bytes(size_t bytes);
void set_blas(bool present);  // of backends made from now on; it is
// Whether loads and stores are seen: false where kernels are built with a sanitizer of their own.
bool sees_accesses();
// Launches so far, for tests that count them.
uint64_t launches();
// What the host asked for so far: copies and kernels queued one by one, recorded work queued as one, waits for a whole
// stream, allocations.
struct HostCalls {
  uint64_t queued = 0, graphs = 0, waits = 0, allocations = 0;
};
HostCalls host_calls();

}  // namespace dsr1::simt::emu
