#include "support/emu_async.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <vector>

#include "support/emulator.h"

namespace dsr1::simt::emu {

namespace {

constexpr int kGroup = 128, kRowsA = 64, kDepth = 16, kMostValues = 128;

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Barrier {
  int arrivals = 0, missing = 0;
  int64_t expected = 0, queued = 0;
  uint64_t phases = 0;  // completed
  std::vector<Copy> copies;
};

// A matrix as it lay in shared memory when a product was issued, rows of kDepth.
using Bits = std::vector<uint16_t>;

struct Product {
  uint64_t a, b;
  int n;  // of d's values a thread holds: half the rows of b
  bool n_major;
  Bits a_bits, b_bits;
  std::vector<float> a_values, b_values;
};

struct Thread {
  size_t issued = 0, committed = 0, done = 0;
  std::vector<size_t> groups;  // ends of committed groups not waited for, in products
  bool fenced = false;
  float* d = nullptr;
  int n = 0;                             // values of d
  std::array<float, kMostValues> sum{};  // what d holds once what is in flight is done, as far as it was waited for
  const void* waits_for = nullptr;
  int parity = 0;
  std::vector<std::pair<size_t, size_t>> stores;  // not fenced from the async proxy
};

struct Async {
  bool used = false;
  std::map<const void*, Barrier> barriers;
  std::vector<Thread> threads;
  std::vector<std::vector<Product>> products;  // of each warpgroup
  std::vector<uint16_t> unfenced;              // 1 + the thread that stored, for each byte of shared memory
};
Async state;

Thread& me() { return state.threads[static_cast<size_t>(current.thread)]; }

void begin_use() {
  if (state.used) return;
  state.used = true;
  state.threads.assign(static_cast<size_t>(current.threads), {});
  state.products.assign(static_cast<size_t>((current.threads + kGroup - 1) / kGroup), {});
  state.unfenced.assign(256 << 10, 0);
}

Barrier& barrier_at(void* p) {
  const auto it = state.barriers.find(p);
  if (it == state.barriers.end()) fail_here("an mbarrier that nobody initialised");
  check_access(p, 8, false);  // initialised before a barrier of the block
  return it->second;
}

void complete(Barrier& b) {
  if (b.missing > 0 || b.expected != b.queued) return;
  for (const Copy& c : b.copies) {
    land(c.to, c.from, c.bytes);
    const auto at = static_cast<size_t>(static_cast<std::byte*>(c.to) - shared_base());
    std::fill_n(state.unfenced.begin() + static_cast<long>(at), c.bytes, uint16_t{0});
  }
  b.copies.clear();
  b.expected = b.queued = 0;
  b.missing = b.arrivals;
  ++b.phases;
  next_epoch();
  wake_sleepers();
}

// Element (r, k) of the matrix of a descriptor, 128-byte swizzle: bits 4-6 of the address change with bits 7-9.
// K-major: eight rows of 128 bytes, and the next eight a stride on. N-major (PTX ISA, "Shared Memory Matrix Layout"):
// 64 of r side by side in 128 bytes, the next 64 a leading offset on; k below each other, and the next eight a stride
// on.
size_t element(uint64_t descriptor, bool n_major, int r, int k) {
  const size_t start = (descriptor & 0x3fff) << 4;
  if (n_major) {
    const size_t at = start + static_cast<size_t>(r / 64) * ((descriptor >> 16 & 0x3fff) << 4) +
                      static_cast<size_t>(k / 8) * ((descriptor >> 32 & 0x3fff) << 4) +
                      static_cast<size_t>(k % 8) * 128 + static_cast<size_t>(r % 64) * 2;
    return at ^ (at >> 7 & 7) << 4;
  }
  const size_t linear = start + static_cast<size_t>(r / 8) * ((descriptor >> 32 & 0x3fff) << 4) +
                        static_cast<size_t>(r % 8) * 128 + static_cast<size_t>(k) * 2;
  return linear ^ (linear >> 7 & 7) << 4;
}

void check_descriptor(uint64_t d, bool n_major) {
  const size_t start = (d & 0x3fff) << 4, leading = (d >> 16 & 0x3fff) << 4;
  if (n_major && (start % 1024 != 0 || leading == 0 || leading % 1024 != 0))
    fail_here("wgmma wants panels of an N-major matrix to begin at multiples of 1,024");
  if (d >> 62 != 1 || (d >> 32 & 0x3fff) != 64 || (d >> 49 & 7) != 0 || start % 1024 + 32 > 128)
    fail_here("wgmma wants matrices of rows of 128 bytes, in groups of eight from a multiple of 1,024 on, swizzled");
}

Bits read(uint64_t descriptor, bool n_major, int rows) {
  Bits v(static_cast<size_t>(rows * kDepth));
  for (int r = 0; r < rows; ++r)
    for (int k = 0; k < kDepth; ++k)
      std::memcpy(&v[static_cast<size_t>(r * kDepth + k)], shared_base() + element(descriptor, n_major, r, k), 2);
  return v;
}

void check_matrix(uint64_t descriptor, bool n_major, int rows) {
  for (int r = 0; r < rows; r += n_major ? 8 : 1)
    for (int k = 0; k < kDepth; k += n_major ? 1 : 8) {
      const size_t at = element(descriptor, n_major, r, k);
      const std::byte* p = shared_base() + at;
      if (!in_shared(p, 16)) fail_here("wgmma reads beyond shared memory");
      check_access(p, 16, false);
      for (size_t i = 0; i < 16; ++i)
        if (const int by = state.unfenced[at + i]; by != 0)
          fail_here("wgmma reads shared memory + " + std::to_string(at + i) + ", which thread " +
                    std::to_string(by - 1) + " stored with no fence_async_proxy since");
    }
}

std::vector<float> values(const Bits& bits, float (*to_float)(uint16_t)) {
  std::vector<float> v(bits.size());
  std::transform(bits.begin(), bits.end(), v.begin(), to_float);
  return v;
}

constexpr uint32_t kPoison = 0xffffffffu;
bool is_poison(const float* d, int n) {
  for (int i = 0; i < n; ++i)
    if (__builtin_bit_cast(uint32_t, d[i]) != kPoison) return false;
  return true;
}

// The thread's values of one product: FragWgmma.
void add(const Product& p, std::array<float, kMostValues>& sum) {
  const int t = current.thread % kGroup, lane = t % 32;
  for (int i = 0; i < p.n; ++i) {
    const int row = t / 32 * 16 + lane / 4 + 8 * (i >> 1 & 1), col = i / 4 * 8 + lane % 4 * 2 + (i & 1);
    const float* a = &p.a_values[static_cast<size_t>(row * kDepth)];
    const float* b = &p.b_values[static_cast<size_t>(col * kDepth)];
    float s = sum[static_cast<size_t>(i)];
    for (int k = 0; k < kDepth; ++k) s += a[k] * b[k];
    sum[static_cast<size_t>(i)] = s;
  }
}

}  // namespace

void mbarrier_init(void* barrier, int arrivals) {
  begin_use();
  check_aligned(barrier, 8, "mbarrier_init");
  if (!in_shared(barrier, 8)) fail_here("an mbarrier that is not in shared memory");
  check_access(barrier, 8, true);
  std::memset(barrier, 0, 8);
  Barrier& b = state.barriers[barrier] = {};
  b.arrivals = b.missing = arrivals;
}

void mbarrier_arrive(void* barrier, int64_t bytes) {
  Barrier& b = barrier_at(barrier);
  if (b.missing == 0)
    fail_here("mbarrier_arrive: more arrivals than the " + std::to_string(b.arrivals) + " of a phase");
  b.expected += bytes;
  --b.missing;
  complete(b);
}

void mbarrier_wait(void* barrier, int parity) {
  const Barrier& b = barrier_at(barrier);
  Thread& t = me();
  while (static_cast<int>(b.phases & 1) == parity) {
    t.waits_for = barrier;
    t.parity = parity;
    sleep_thread();
  }
  t.waits_for = nullptr;
}

void fence_async_proxy() {
  begin_use();
  Thread& t = me();
  const auto mine = static_cast<uint16_t>(current.thread + 1);
  for (const auto& [at, n] : t.stores)
    for (size_t i = at; i < at + n; ++i)
      if (state.unfenced[i] == mine) state.unfenced[i] = 0;
  t.stores.clear();
}

void bulk_copy(void* to, const void* from, int64_t bytes, void* barrier) {
  Barrier& b = barrier_at(barrier);
  check_aligned(to, 16, "bulk_copy");
  check_aligned(from, 16, "bulk_copy");
  const auto n = static_cast<size_t>(bytes);
  if (bytes <= 0 || bytes % 16 != 0) fail_here("bulk_copy of " + std::to_string(bytes) + " bytes");
  if (!in_shared(to, n)) fail_here("bulk_copy writes to an address that is not shared memory");
  if (!in_device(from)) fail_here("bulk_copy reads from an address that is not device memory");
  check_access(from, n, false);
  check_access(to, n, true);
  put_in_flight(to, n);
  b.copies.push_back({to, from, n});
  b.queued += bytes;
  complete(b);
}

uint64_t wgmma_matrix(const void* p) {
  if (!in_shared(p, 16)) fail_here("wgmma_matrix of an address that is not shared memory");
  check_aligned(p, 16, "wgmma_matrix");
  const auto at = static_cast<uint64_t>(static_cast<const std::byte*>(p) - shared_base());
  return at >> 4 | uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62;
}

uint64_t wgmma_matrix_n_major(const void* p, int panel_bytes) {
  constexpr uint64_t kLeading = uint64_t{0x3fff} << 16;
  return (wgmma_matrix(p) & ~kLeading) | static_cast<uint64_t>(panel_bytes >> 4) << 16;
}

void wgmma_fence() {
  begin_use();
  me().fenced = true;
}

void wgmma(float* d, int n, uint64_t a, uint64_t b, bool n_major, float (*to_float)(uint16_t)) {
  begin_use();
  Thread& t = me();
  if (!t.fenced) fail_here("wgmma with no wgmma_fence since its registers were free");
  if (t.done < t.issued) {
    if (t.d != d) fail_here("wgmma into other registers while products are in flight");
    if (!is_poison(d, n)) fail_here("the registers of a product in flight were written");
  } else {
    t.d = d;
    t.n = n;
    std::copy_n(d, n, t.sum.begin());
  }
  check_descriptor(a, false);
  check_descriptor(b, n_major);
  auto& products = state.products[static_cast<size_t>(current.thread / kGroup)];
  if (t.issued == products.size()) {
    Product p{a, b, n, n_major, read(a, false, kRowsA), read(b, n_major, 2 * n), {}, {}};
    p.a_values = values(p.a_bits, to_float);
    p.b_values = values(p.b_bits, to_float);
    products.push_back(std::move(p));
  }
  const Product& p = products[t.issued];
  if (p.a != a || p.b != b || p.n != n || p.n_major != n_major)
    fail_here("wgmma: threads of a warpgroup name different matrices");
  if (current.thread % 32 == 0) {  // a warp's threads came together
    check_matrix(a, false, kRowsA);
    check_matrix(b, n_major, 2 * n);
  }
  ++t.issued;
  std::memset(d, 0xff, static_cast<size_t>(n) * sizeof(float));
}

void wgmma_commit() {
  begin_use();
  Thread& t = me();
  t.committed = t.issued;
  t.groups.push_back(t.issued);
}

void wgmma_wait(int pending) {
  begin_use();
  Thread& t = me();
  const auto& products = state.products[static_cast<size_t>(current.thread / kGroup)];
  if (t.done < t.issued && !is_poison(t.d, t.n)) fail_here("the registers of a product in flight were written");
  while (t.groups.size() > static_cast<size_t>(pending)) {
    for (; t.done < t.groups.front(); ++t.done) {
      const Product& p = products[t.done];
      if (current.thread % 32 == 0 &&
          (read(p.a, false, kRowsA) != p.a_bits || read(p.b, p.n_major, 2 * p.n) != p.b_bits))
        fail_here("a matrix was overwritten while wgmma may still read it");
      add(p, t.sum);
    }
    t.groups.erase(t.groups.begin());
  }
  if (t.done == t.issued && t.d != nullptr) {
    std::copy_n(t.sum.begin(), t.n, t.d);
    t.d = nullptr;
    t.fenced = false;
  }
}

void async_begin_block() {
  if (!state.used) return;
  state.used = false;
  state.barriers.clear();
}

void async_end_thread() {
  if (state.used && me().done < me().issued) fail_here("ended with a wgmma that nobody waited for");
}

std::string async_end_block() {
  if (!state.used) return {};
  for (size_t t = 0; t < state.threads.size(); ++t)
    if (state.threads[t].issued != state.threads[t / kGroup * kGroup].issued)
      return "wgmma by thread " + std::to_string(t / kGroup * kGroup) + " and not by thread " + std::to_string(t) +
             " of its warpgroup";
  for (const auto& [p, b] : state.barriers)
    if (!b.copies.empty()) return "ended with a bulk copy that never landed";
  return {};
}

std::string async_waiting(int thread) {
  const Thread& t = state.threads[static_cast<size_t>(thread)];
  const Barrier& b = state.barriers[t.waits_for];
  return "mbarrier_wait for parity " + std::to_string(t.parity) + " at shared memory + " +
         std::to_string(static_cast<const std::byte*>(t.waits_for) - shared_base()) + ", after " +
         std::to_string(b.phases) + " phases: " + std::to_string(b.missing) + " of " + std::to_string(b.arrivals) +
         " arrivals are missing, " + std::to_string(b.expected) + " bytes expected, " + std::to_string(b.queued) +
         " copied";
}

void async_stored(size_t at, size_t n) {
  if (!state.used) return;
  for (size_t i = at; i < at + n; ++i) state.unfenced[i] = static_cast<uint16_t>(current.thread + 1);
  auto& stores = me().stores;
  if (!stores.empty() && stores.back().first + stores.back().second == at) stores.back().second += n;
  else stores.emplace_back(at, n);
}

}  // namespace dsr1::simt::emu
