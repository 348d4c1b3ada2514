// What is fetched ahead never decides a result; these hold that it is the right memory.
#include "backend/cpu/upcoming.h"

#include <gtest/gtest.h>

namespace dsr1::backend::cpu {
namespace {

const std::byte* at(int64_t address) { return reinterpret_cast<const std::byte*>(address); }

// A call named `key` of ten parts, 100 bytes each, that lie from `base` on.
struct Call {
  int64_t key, base;
  static constexpr int64_t kParts = 10;
  auto address() const {
    return [base = base](int64_t part) { return at(base + 100 * part); };
  }
  void begin(Upcoming& u) const { u.begin(at(key), kParts, address()); }
  const std::byte* after(const Upcoming& u, int64_t part, int thread) const {
    return u.after(part, kParts, thread, address());
  }
};

TEST(Upcoming, WithinACallTheNextPartComesNext) {
  Upcoming u(2);
  const Call a{1, 1000};
  a.begin(u);
  EXPECT_EQ(a.after(u, 0, 0), at(1100));
  EXPECT_EQ(a.after(u, 5, 1), at(1600));
  EXPECT_EQ(a.after(u, 4, 0), nullptr);  // its last, and nothing is known yet
  EXPECT_EQ(a.after(u, 7, 0), nullptr);  // taken from the other thread's end
}

TEST(Upcoming, FromTheSecondTokenOnTheFollowerIsKnownToEveryThread) {
  Upcoming u(2);
  const Call a{1, 1000}, b{2, 5000}, c{3, 9000};
  for (int token = 0; token < 2; ++token) {
    a.begin(u);
    EXPECT_EQ(a.after(u, 4, 0), token == 0 ? nullptr : at(5000));
    EXPECT_EQ(a.after(u, 9, 1), token == 0 ? nullptr : at(5500));
    b.begin(u);
    EXPECT_EQ(b.after(u, 4, 0), token == 0 ? nullptr : at(9000));
    c.begin(u);
    EXPECT_EQ(c.after(u, 9, 1), token == 0 ? nullptr : at(1500));
  }
}

TEST(Upcoming, ACallThatIsAnnouncedIsNotLearned) {
  Upcoming u(1);
  const Call router{1, 1000}, experts{2, 2000}, down{3, 3000};
  for (int token = 0; token < 2; ++token) {
    router.begin(u);
    EXPECT_EQ(router.after(u, 9, 0), nullptr);  // the experts differ from token to token
    u.will_be(Call::kParts, down.address());
    EXPECT_EQ(experts.after(u, 9, 0), at(3000));
    down.begin(u);
    EXPECT_EQ(down.after(u, 9, 0), token == 0 ? nullptr : at(1000));
  }
}

TEST(Upcoming, FetchingAnyAddressIsHarmless) {
  Upcoming u(1);
  u.will_be(1, [](int64_t) { return at(64); });
  for (int step = 0; step < 1000; ++step) u.fetch(0, step);
}

}  // namespace
}  // namespace dsr1::backend::cpu
