#include "support/emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "dsr1/base/check.h"
#include "support/emu_async.h"
#include "support/emu_context.h"
#include "support/emu_shadow.h"

// The program itself: constants of device code live here.
extern "C" const char __executable_start, _end;  // NOLINT: the linker's names

namespace dsr1::simt::emu {

Current current;

namespace {

constexpr size_t kStackBytes = 128 << 10, kStackGuard = 4096, kMaxThreads = 1024;
constexpr size_t kMaxFibers = 8192;        // of all blocks of a resident launch
constexpr size_t kSharedMost = 227 << 10;  // sm_90
constexpr size_t kArenaBytes = size_t{4} << 30, kRedZone = 256;

std::byte* reserve(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  DSR1_CHECK(p != MAP_FAILED, "the emulator cannot reserve addresses");
  return static_cast<std::byte*>(p);
}

// --- memory -------------------------------------------------------------------------------------------------------

struct Region {
  std::byte* base = nullptr;
  uint64_t *written = nullptr, *read = nullptr;
  size_t bytes = 0;
  bool holds(const void* p) const {
    return static_cast<size_t>(static_cast<const std::byte*>(p) - base) < bytes;  // unsigned: below base is large
  }
};

Region make_region(size_t bytes) {
  return {reserve(bytes), reinterpret_cast<uint64_t*>(reserve(bytes * 8)),
          reinterpret_cast<uint64_t*>(reserve(bytes * 8)), bytes};
}

// Namespace scope, not a function's static: every load and store passes here.
Region arena_region = make_region(kArenaBytes), block_region = make_region(256 << 10);
Region& arena() { return arena_region; }
Region& shared_region() { return block_region; }

std::map<size_t, size_t> allocations;  // offset to bytes
std::set<size_t> pinned_allocations;   // of those
size_t device_limit = size_t{1} << 30, device_used = 0, device_high = 0;

// --- one block ----------------------------------------------------------------------------------------------------

enum class State : uint8_t { kReady, kAtWarp, kAtBlock, kAtGrid, kAsleep, kEnded };

struct Meet {
  Collective what;
  uint32_t mask = 0, arrived = 0, left = 0;
  uint64_t serial = 0;
  bool complete = false;
  alignas(16) std::byte slots[32][kSlotBytes];
};

struct AsyncCopy {
  std::byte* to;
  const std::byte* from;
  int bytes;
};

struct Fiber {
  Context context;
  State state = State::kEnded;
  Meet* meet = nullptr;
  std::vector<AsyncCopy> open;
  std::vector<std::vector<AsyncCopy>> groups;
};

// A lane waits at one and may still read another: twice the lanes are always enough. Static, since device code reads
// what it exchanged here.
constexpr size_t kMeets = 64;
Meet meets[kMaxThreads / 32][kMeets];

struct Warp {
  size_t used = 0;  // of its meets
  uint32_t epoch = 0;
};

// What is a block's own. Of a resident launch all exist at once, and those that do not run lie aside with what their
// shared memory held.
struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  uint32_t linear = 0, epoch = 0;
  int at[3] = {};
  int at_barrier = 0, at_grid = 0, ended = 0;
  std::vector<std::byte> shared;
  std::vector<uint64_t> written, read;
};

struct Machine : Block {
  std::byte* stacks = nullptr;
  Context scheduler;
  const std::function<void()>* body = nullptr;
  std::string kernel, error;
  size_t shared_bytes = 0;
  uint32_t launch = 0;
  bool active = false;  // device code is running: accesses are checked
  bool resident = false;
  uint32_t* grid_word = nullptr;  // of the sync_grid that blocks wait at
  std::vector<Block> aside;
  uint64_t seed = 1, random = 1, launches = 0;

  uint64_t next_random() {  // splitmix64
    uint64_t z = random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  Fiber& me() { return fibers[static_cast<size_t>(current.thread)]; }
};

Machine the_machine;
Machine& machine() { return the_machine; }

const char* name_of(Collective c) {
  switch (c) {
    case Collective::kSyncWarp: return "sync_warp";
    case Collective::kShfl: return "shfl";
    case Collective::kShflXor: return "shfl_xor";
    case Collective::kBallot: return "ballot";
    case Collective::kLdmatrix: return "ldmatrix";
    case Collective::kMma: return "mma";
  }
  return "?";
}

std::string place() {
  return "kernel " + machine().kernel + ", block (" + std::to_string(current.block[0]) + ", " +
         std::to_string(current.block[1]) + ", " + std::to_string(current.block[2]) + "), thread " +
         std::to_string(current.thread) + ": ";
}

void switch_to_scheduler() {
  Machine& m = machine();
  m.active = false;
  const int thread = current.thread;
  Context::change(m.fibers[static_cast<size_t>(thread)].context, m.scheduler);
  m.active = true;
}

// Ends the block: this fiber is never resumed.
[[noreturn]] void fail(const std::string& what) {
  machine().error = place() + what;
  switch_to_scheduler();
  __builtin_unreachable();
}

uint64_t now() {
  Machine& m = machine();
  return Toucher{m.launch, m.linear, m.epoch, m.warps[static_cast<size_t>(current.thread / 32)].epoch,
                 static_cast<uint32_t>(current.thread)}
      .bits();
}

std::string describe(const void* p, size_t size, bool is_write) {
  const auto* b = static_cast<const std::byte*>(p);
  std::string s = std::string(is_write ? "store" : "load") + " of " + std::to_string(size) + " bytes";
  if (shared_region().holds(p)) return s + " at shared memory + " + std::to_string(b - shared_region().base);
  if (arena().holds(p)) {
    const auto offset = static_cast<size_t>(b - arena().base);
    auto it = allocations.upper_bound(offset);
    if (it == allocations.begin()) return s + " before every device allocation";
    --it;
    return s + " at byte " + std::to_string(offset - it->first) + " of a device allocation of " +
           std::to_string(it->second);
  }
  return s;
}

void access(const void* p, size_t size, bool is_write, bool is_atomic = false) {
  Machine& m = machine();
  if (!m.active) return;
  const auto* b = static_cast<const std::byte*>(p);
  Region* r = &arena();
  if (!r->holds(p)) {
    r = &shared_region();
    if (!r->holds(p)) {
      const bool stack = static_cast<size_t>(b - m.stacks) < kMaxFibers * (kStackBytes + kStackGuard);
      const auto* c = reinterpret_cast<const char*>(p);
      if (stack || (c >= &__executable_start && c < &_end)) return;
      fail(describe(p, size, is_write) + " in host memory");
    }
  }
  const auto first = static_cast<size_t>(b - r->base);
  const uint64_t t = now();
  uint64_t *written = r->written + first, *read = r->read + first;
  // Bytes of a word mostly have one past: then one look serves all.
  uint64_t w = written[0], last = read[0], differs = 0;
  for (size_t i = 1; i < size; ++i) differs |= (written[i] ^ w) | (read[i] ^ last);
  if (is_write && r == &shared_region()) async_stored(first, size);
  if (differs == 0) {
    if (const char* wrong = touch(w, last, t, is_write, is_atomic))
      fail(describe(p, size, is_write) + ": byte 0 " + wrong);
    for (size_t i = 0; i < size; ++i) (is_write ? written : read)[i] = is_write ? w : last;
    return;
  }
  for (size_t i = 0; i < size; ++i) {
    if (const char* wrong = touch(written[i], read[i], t, is_write, is_atomic))
      fail(describe(p, size, is_write) + ": byte " + std::to_string(i) + " " + wrong);
  }
}

// What a load or store instruction of n bytes does: the hardware wants it aligned.
void checked(const void* p, size_t n, bool is_write) {
  if (!machine().active) return;
  if (reinterpret_cast<uintptr_t>(p) % n != 0) fail(describe(p, n, is_write) + " is not aligned");
  access(p, n, is_write);
}

void land(const std::vector<AsyncCopy>& copies) {
  const uint64_t t = now();
  for (const AsyncCopy& c : copies) {
    Region& r = shared_region();
    const auto first = static_cast<size_t>(c.to - r.base);
    std::memcpy(c.to, c.from, static_cast<size_t>(c.bytes));
    std::memset(c.to + c.bytes, 0, static_cast<size_t>(16 - c.bytes));
    for (size_t i = first; i < first + 16; ++i) r.written[i] = t | kAllocated | kWritten;
    async_stored(first, 16);  // a fence before it landed does not count
  }
}

void fiber_main() {
  Machine& m = machine();
  Context::entered(m.scheduler);
  (*m.body)();
  Fiber& f = m.me();
  for (const auto& g : f.groups)
    if (!g.empty()) fail("ended with an async copy that nobody waited for");
  if (!f.open.empty()) fail("ended with an async copy that nobody waited for");
  async_end_thread();
  f.state = State::kEnded;
  ++m.ended;
  switch_to_scheduler();
  __builtin_unreachable();
}

std::string list(const std::vector<int>& v) {
  std::string s;
  for (size_t i = 0; i < v.size(); ++i) {
    if (i == 8) return s + ", ... (" + std::to_string(v.size()) + " in all)";
    s += (i ? ", " : "") + std::to_string(v[i]);
  }
  return s;
}

// Nothing can run: who waits for whom.
std::string deadlock() {
  Machine& m = machine();
  std::vector<int> waiting, at_grid, others;
  for (size_t t = 0; t < m.fibers.size(); ++t) {
    Fiber& f = m.fibers[t];
    if (f.state == State::kAsleep) {
      current.thread = static_cast<int>(t);
      return place() + async_waiting(current.thread);
    }
    if (f.state == State::kAtWarp) {
      std::vector<int> missing, ended;
      for (int l = 0; l < 32; ++l) {
        if ((f.meet->mask & ~f.meet->arrived) >> l & 1) {
          missing.push_back(l);
          const size_t other = t / 32 * 32 + static_cast<size_t>(l);
          if (m.fibers[other].state == State::kEnded) ended.push_back(l);
        }
      }
      current.thread = static_cast<int>(t);
      return place() + name_of(f.meet->what) + " of warp " + std::to_string(t / 32) + " waits for lanes " +
             list(missing) + (ended.empty() ? "" : ", of which have ended: " + list(ended));
    }
    (f.state == State::kAtBlock  ? waiting
     : f.state == State::kAtGrid ? at_grid
                                 : others)
        .push_back(static_cast<int>(t));
  }
  if (waiting.empty()) {
    current.thread = at_grid.empty() ? 0 : at_grid[0];
    return place() + "sync_grid waits for threads that have ended: " + list(others);
  }
  current.thread = waiting[0];
  if (!at_grid.empty()) return place() + "sync_block waits for threads that wait at sync_grid: " + list(at_grid);
  return place() + "sync_block waits for threads that have ended: " + list(others);
}

// A new block on its own stretch of the stacks.
void start_block(Grid grid, int64_t linear, size_t stack) {
  Machine& m = machine();
  const size_t n = m.fibers.size();
  m.at[0] = static_cast<int>(linear % grid.x);
  m.at[1] = static_cast<int>(linear / grid.x % grid.y);
  m.at[2] = static_cast<int>(linear / grid.x / grid.y);
  m.linear = static_cast<uint32_t>(linear);
  m.epoch = 0;
  m.at_barrier = m.at_grid = m.ended = 0;
  async_begin_block();
  Region& s = shared_region();
  std::memset(s.base, 0xff, m.shared_bytes);
  std::fill_n(s.written, m.shared_bytes, kAllocated);
  std::fill_n(s.read, m.shared_bytes, uint64_t{0});
  for (Warp& w : m.warps) {
    w.epoch = 0;
    w.used = 0;
  }
  for (size_t i = 0; i < n; ++i) {
    Fiber& f = m.fibers[i];
    f.state = State::kReady;
    f.meet = nullptr;
    f.open.clear();
    f.groups.clear();
    f.context.prepare(m.stacks + (stack + i) * (kStackBytes + kStackGuard) + kStackGuard, kStackBytes, fiber_main);
  }
}

// Until all its threads have ended or wait at sync_grid, or something is wrong.
void run_block() {
  Machine& m = machine();
  const size_t n = m.fibers.size();
  std::copy_n(m.at, 3, current.block);
  while (m.ended < static_cast<int>(n)) {
    // Threads in the order i * step + start modulo the next power of two: every one once, since the step is odd.
    const uint64_t r = m.next_random();
    const size_t round = std::bit_ceil(n), step = (r >> 32) | 1, start = r & 0xffffffffu;
    bool ran = false;
    for (size_t i = 0; i < round; ++i) {
      const size_t t = (i * step + start) & (round - 1);
      if (t >= n) continue;
      Fiber& f = m.fibers[t];
      if (f.state != State::kReady) continue;
      ran = true;
      current.thread = static_cast<int>(t);
      Context::change(m.scheduler, f.context);
      m.active = false;
      if (!m.error.empty()) return;
    }
    if (!ran) {
      if (m.at_grid < static_cast<int>(n)) m.error = deadlock();
      return;
    }
  }
  if (const std::string wrong = async_end_block(); !wrong.empty()) m.error = place() + wrong;
}

// The machine's block goes to lie in `b`, with what its shared memory holds; and comes back.
void put_aside(Block& b) {
  Machine& m = machine();
  Region& s = shared_region();
  const size_t n = m.shared_bytes;
  m.shared.assign(s.base, s.base + n);
  m.written.assign(s.written, s.written + n);
  m.read.assign(s.read, s.read + n);
  std::swap(static_cast<Block&>(m), b);
}
void bring_back(Block& b) {
  Machine& m = machine();
  Region& s = shared_region();
  std::swap(static_cast<Block&>(m), b);
  std::copy(m.shared.begin(), m.shared.end(), s.base);
  std::copy(m.written.begin(), m.written.end(), s.written);
  std::copy(m.read.begin(), m.read.end(), s.read);
  ++m.epoch;
  m.at_grid = 0;
  for (Warp& w : m.warps) w.used = 0;  // every lane has left every meeting
  for (Fiber& f : m.fibers) {
    f.state = State::kReady;
    f.meet = nullptr;
  }
}

void next_launch() {
  Machine& m = machine();
  if (++m.launch < 0xffff) return;
  for (size_t i = 0; i < device_high; ++i) {  // records of 65,534 launches ago would look like today's
    arena().written[i] &= kWritten | kAllocated;
    arena().read[i] = 0;
  }
  m.launch = 1;
}

// The numbers 0 ... n - 1 as i * step + start modulo n: every one once, since step has no common factor with n.
struct Shuffled {
  uint64_t n, step, at;
  explicit Shuffled(uint64_t count) : n(count) {
    step = machine().next_random() % n | 1;
    auto gcd = [](uint64_t a, uint64_t b) {
      while (b) std::swap(a %= b, b);
      return a;
    };
    while (gcd(step, n) != 1) step += 2;
    at = machine().next_random() % n;
  }
  uint64_t next() { return std::exchange(at, (at + step) % n); }
};

// All blocks of a launch, each until its next sync_grid; then the grid's barrier orders everything before it against
// everything after it, as the end of a launch would.
void run_resident(Grid grid, size_t n_threads) {
  Machine& m = machine();
  const auto n = static_cast<size_t>(grid.x);
  m.aside.resize(n);
  bool begun = false;
  for (;;) {
    m.grid_word = nullptr;
    std::vector<int> ended, waiting;
    Shuffled order(n);
    for (size_t i = 0; i < n; ++i) {
      const size_t b = order.next();
      if (begun) {
        bring_back(m.aside[b]);
      } else {
        m.fibers.resize(n_threads);
        m.warps.resize(n_threads / 32);
        start_block(grid, static_cast<int64_t>(b), b * n_threads);
      }
      run_block();
      if (!m.error.empty()) return;
      (m.ended == static_cast<int>(n_threads) ? ended : waiting).push_back(static_cast<int>(b));
      put_aside(m.aside[b]);
    }
    begun = true;
    if (waiting.empty()) return;
    std::sort(ended.begin(), ended.end());
    if (!ended.empty()) {
      m.error = "kernel " + m.kernel + ", block " + std::to_string(waiting[0]) +
                ": sync_grid waits for blocks that have ended: " + list(ended);
      return;
    }
    *m.grid_word ^= 0x80000000u;
    next_launch();
  }
}

}  // namespace

void Gathered::check_named(int lane) const {
  if (lane < 0 || lane > 31 || !(mask >> lane & 1))
    fail("a collective with mask " + std::to_string(mask) + " reads lane " + std::to_string(lane) +
         ", which the mask does not name");
}

Gathered exchange(Collective what, uint32_t mask, const void* value, size_t bytes) {
  Machine& m = machine();
  Fiber& f = m.me();
  Warp& w = m.warps[static_cast<size_t>(current.thread / 32)];
  const int lane = current.thread % 32;
  if (!(mask >> lane & 1))
    fail(std::string(name_of(what)) + " is called by lane " + std::to_string(lane) + ", which its mask does not name");
  Meet *meet = nullptr, *const pool = meets[current.thread / 32];
  for (Meet* p = pool; p < pool + w.used; ++p) {
    if (p->complete || !p->mask) continue;
    if (p->mask == mask && p->what == what) {
      meet = p;
    } else if (p->arrived & mask && p->mask >> lane & 1) {  // each waits for the other
      fail(std::string(name_of(what)) + " meets lanes that wait at another collective (" + name_of(p->what) + ")");
    }
  }
  if (meet == nullptr) {
    for (Meet* p = pool; p < pool + w.used; ++p)
      if (!p->mask) meet = p;
    if (meet == nullptr) meet = pool + w.used++;
    DSR1_CHECK(w.used <= kMeets, "more collectives at once than lanes");
    meet->what = what;
    meet->mask = mask;
    meet->arrived = meet->left = 0;
    meet->complete = false;
  }
  if (bytes > 0) std::memcpy(meet->slots[lane], value, bytes);
  meet->arrived |= 1u << lane;
  if (f.meet != nullptr) {  // the fiber has read what it got from its last one
    f.meet->left |= 1u << lane;
    if (f.meet->left == f.meet->mask) f.meet->mask = 0;
  }
  f.meet = meet;
  if (meet->arrived == mask) {
    static uint64_t meetings = 0;
    meet->serial = ++meetings;
    meet->complete = true;
    if (what == Collective::kSyncWarp) ++w.epoch;
    for (int l = 0; l < 32; ++l)
      if (mask >> l & 1) m.fibers[static_cast<size_t>(current.thread / 32 * 32 + l)].state = State::kReady;
  } else {
    f.state = State::kAtWarp;
    switch_to_scheduler();
  }
  return {meet->slots, mask, meet->serial};
}

void sync_block() {
  Machine& m = machine();
  if (++m.at_barrier == static_cast<int>(m.fibers.size())) {
    m.at_barrier = 0;
    ++m.epoch;
    for (Fiber& f : m.fibers) f.state = State::kReady;
    return;
  }
  m.me().state = State::kAtBlock;
  switch_to_scheduler();
}

void sync_grid(uint32_t* word) {
  Machine& m = machine();
  if (!m.resident) fail("sync_grid in a kernel that launch_resident did not launch");
  check_aligned(word, sizeof(uint32_t), "sync_grid");
  if (!arena().holds(word)) fail("sync_grid on a word that is not device memory");
  access(word, sizeof(uint32_t), true, true);
  if (m.grid_word == nullptr && (*word & 0x7fffffffu) != 0)
    fail("sync_grid on a word that no barrier left as it is: " + std::to_string(*word));
  if (m.grid_word != nullptr && m.grid_word != word) fail("sync_grid on another word than the rest of the grid");
  m.grid_word = word;
  m.me().state = State::kAtGrid;
  ++m.at_grid;
  switch_to_scheduler();
}

void prefetch(const void* p) {
  if (!arena().holds(p)) fail("prefetch of an address that is not device memory");
}

void fail_here(const std::string& what) { fail(what); }
void check_access(const void* p, size_t bytes, bool is_write) { access(p, bytes, is_write); }
std::byte* shared_base() { return shared_region().base; }
bool in_shared(const void* p, size_t bytes) {
  const auto at = static_cast<size_t>(static_cast<const std::byte*>(p) - shared_region().base);
  return at < machine().shared_bytes && at + bytes <= machine().shared_bytes;
}
bool in_device(const void* p) { return arena().holds(p); }
void put_in_flight(void* p, size_t bytes) {
  Region& r = shared_region();
  std::memset(p, 0xff, bytes);
  uint64_t* written = r.written + (static_cast<std::byte*>(p) - r.base);
  for (size_t i = 0; i < bytes; ++i) written[i] |= kInFlight;
}
void land(void* p, const void* from, size_t bytes) {
  Region& r = shared_region();
  std::memcpy(p, from, bytes);
  std::fill_n(r.written + (static_cast<std::byte*>(p) - r.base), bytes, now() | kAllocated | kWritten);
}
void next_epoch() { ++machine().epoch; }
void sleep_thread() {
  machine().me().state = State::kAsleep;
  switch_to_scheduler();
}
void wake_sleepers() {
  for (Fiber& f : machine().fibers)
    if (f.state == State::kAsleep) f.state = State::kReady;
}

void enter_kernel() { machine().active = true; }

void* shared_memory(size_t bytes) {
  if (bytes > machine().shared_bytes)
    fail("uses " + std::to_string(bytes) + " bytes of shared memory, was launched with " +
         std::to_string(machine().shared_bytes));
  return shared_region().base;
}

void check_aligned(const void* p, size_t alignment, const char* what) {
  if (reinterpret_cast<uintptr_t>(p) % alignment != 0)
    fail(std::string(what) + " needs an address that is a multiple of " + std::to_string(alignment) + ", found " +
         describe(p, alignment, false));
}

void async_copy16(void* to, const void* from, int bytes) {
  check_aligned(to, 16, "async_copy16");
  check_aligned(from, 16, "async_copy16");
  Region& r = shared_region();
  if (!r.holds(to)) fail("async_copy16 writes to an address that is not shared memory");
  if (!arena().holds(from) && bytes > 0) fail("async_copy16 reads from an address that is not device memory");
  if (bytes < 0 || bytes > 16) fail("async_copy16 of " + std::to_string(bytes) + " bytes");
  access(from, static_cast<size_t>(bytes), false);
  access(to, 16, true);
  const auto first = static_cast<size_t>(static_cast<std::byte*>(to) - r.base);
  for (size_t i = first; i < first + 16; ++i) r.written[i] |= kInFlight;
  machine().me().open.push_back({static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes});
}

void async_commit() {
  Fiber& f = machine().me();
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}

void async_wait(int pending) {
  Fiber& f = machine().me();
  while (f.groups.size() > static_cast<size_t>(pending)) {
    land(f.groups.front());
    f.groups.erase(f.groups.begin());
  }
}

int atomic_add(int* p, int v) {
  check_aligned(p, sizeof(int), "atomic_add");
  access(p, sizeof(int), true, true);
  const int old = *p;
  *p += v;
  return old;
}

Status run_grid(const std::string& name, Grid grid, int n_threads, size_t shared_bytes, bool resident,
                const std::function<void()>& body) {
  Machine& m = machine();
  auto refuse = [&](const std::string& what) { return Error(ErrorCode::kRuntime, "kernel " + name + ": " + what); };
  if (n_threads < 32 || n_threads > static_cast<int>(kMaxThreads) || n_threads % 32 != 0)
    return refuse("blocks of " + std::to_string(n_threads) + " threads; expected a multiple of 32 up to 1024");
  if (grid.x < 1 || grid.x > 0x7fffffff || grid.y < 1 || grid.y > 65535 || grid.z < 1 || grid.z > 65535)
    return refuse("grid (" + std::to_string(grid.x) + ", " + std::to_string(grid.y) + ", " + std::to_string(grid.z) +
                  ") is outside what the hardware takes");
  if (shared_bytes > kSharedMost)
    return refuse(std::to_string(shared_bytes) + " bytes of shared memory; the most is " + std::to_string(kSharedMost));
  // A multiprocessor of sm_90: 2,048 threads, 228 KiB of shared memory of which each block takes 1 more than it uses.
  const auto fit = std::min<int64_t>(2048 / n_threads, static_cast<int64_t>((228 << 10) / (shared_bytes + 1024)));
  if (resident && (grid.y != 1 || grid.z != 1 || grid.x > kMultiprocessors * fit))
    return refuse(std::to_string(grid.x * grid.y * grid.z) + " blocks cannot be resident at once; " +
                  std::to_string(kMultiprocessors * fit) + " can");
  if (m.stacks == nullptr) m.stacks = reserve(kMaxFibers * (kStackBytes + kStackGuard));
  static size_t guarded = 0;
  const size_t fibers = static_cast<size_t>(n_threads) * (resident ? static_cast<size_t>(grid.x) : 1);
  DSR1_CHECK(fibers <= kMaxFibers, "more resident threads than the emulator has stacks for");
  for (; guarded < fibers; ++guarded)
    mprotect(m.stacks + guarded * (kStackBytes + kStackGuard), kStackGuard, PROT_NONE);
  m.body = &body;
  m.kernel = name;
  m.error.clear();
  m.shared_bytes = shared_bytes;
  m.resident = resident;
  m.random = m.seed * 0x2545f4914f6cdd1du + ++m.launches;
  next_launch();
  current.threads = n_threads;
  current.grid_x = static_cast<int>(grid.x);
  if (resident) {
    run_resident(grid, static_cast<size_t>(n_threads));
  } else {
    m.fibers.resize(static_cast<size_t>(n_threads));
    m.warps.resize(static_cast<size_t>(n_threads / 32));
    const auto blocks = static_cast<uint64_t>(grid.x * grid.y * grid.z);
    Shuffled order(blocks);
    for (uint64_t i = 0; i < blocks && m.error.empty(); ++i) {
      start_block(grid, static_cast<int64_t>(order.next()), 0);
      run_block();
    }
  }
  return m.error.empty() ? Status() : Status(Error(ErrorCode::kRuntime, m.error));
}

void* device_allocate(size_t bytes, bool pinned) {
  const size_t size = (std::max<size_t>(bytes, 1) + 255) / 256 * 256;
  if (!pinned && device_used + size > device_limit) return nullptr;
  size_t at = kRedZone;  // first gap that is large enough
  for (const auto& [offset, n] : allocations) {
    if (offset >= at + size + kRedZone) break;
    at = (offset + n + 255) / 256 * 256 + kRedZone;
  }
  if (at + size + kRedZone > kArenaBytes) return nullptr;
  allocations[at] = bytes;
  if (pinned) pinned_allocations.insert(at);
  else device_used += size;
  device_high = std::max(device_high, at + size + kRedZone);
  Region& r = arena();
  std::memset(r.base + at, 0xff, bytes);
  std::fill_n(r.written + at, bytes, kAllocated);
  std::fill_n(r.read + at, bytes, uint64_t{0});
  return r.base + at;
}

void device_free(void* p) {
  if (p == nullptr) return;
  Region& r = arena();
  const auto it = allocations.find(static_cast<size_t>(static_cast<std::byte*>(p) - r.base));
  DSR1_CHECK(it != allocations.end(), "device memory freed that was not allocated");
  std::fill_n(r.written + it->first, it->second, uint64_t{0});
  if (pinned_allocations.erase(it->first) == 0) device_used -= (std::max<size_t>(it->second, 1) + 255) / 256 * 256;
  allocations.erase(it);
}

size_t device_bytes_free() { return device_limit - device_used; }

bool is_device(const void* p, size_t bytes) {
  if (!arena().holds(p)) return false;
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(p) - arena().base);
  auto it = allocations.upper_bound(offset);
  if (it == allocations.begin()) return false;
  --it;
  return offset + bytes <= it->first + it->second;
}

void mark_written(void* p, size_t bytes) {
  const auto first = static_cast<size_t>(static_cast<std::byte*>(p) - arena().base);
  std::fill_n(arena().written + first, bytes, kAllocated | kWritten);
}

void forget_written(void* p, size_t bytes) {
  const auto first = static_cast<size_t>(static_cast<std::byte*>(p) - arena().base);
  std::memset(p, 0xff, bytes);
  std::fill_n(arena().written + first, bytes, kAllocated);
}

void set_seed(uint64_t seed) { machine().seed = seed; }
void set_device_bytes(size_t bytes) { device_limit = bytes; }
uint64_t launches() { return machine().launches; }

namespace {
bool callbacks_seen = false;
}
bool sees_accesses() { return callbacks_seen; }

}  // namespace dsr1::simt::emu

// What -fsanitize=thread calls before each load and store of an instrumented file. No sanitizer runs: this is all.
extern "C" {
// NOLINTBEGIN: the compiler's names
void __tsan_init() { dsr1::simt::emu::callbacks_seen = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define DSR1_ACCESS(n)                                                             \
  void __tsan_read##n(void* p) { dsr1::simt::emu::checked(p, n, false); }          \
  void __tsan_write##n(void* p) { dsr1::simt::emu::checked(p, n, true); }          \
  void __tsan_volatile_read##n(void* p) { dsr1::simt::emu::checked(p, n, false); } \
  void __tsan_volatile_write##n(void* p) { dsr1::simt::emu::checked(p, n, true); }
DSR1_ACCESS(1)
DSR1_ACCESS(2)
DSR1_ACCESS(4)
DSR1_ACCESS(8)
DSR1_ACCESS(16)
#undef DSR1_ACCESS
void __tsan_read_range(void* p, size_t n) { dsr1::simt::emu::access(p, n, false); }
void __tsan_write_range(void* p, size_t n) { dsr1::simt::emu::access(p, n, true); }
void __tsan_vptr_update(void**, void*) {}
// NOLINTEND
}
