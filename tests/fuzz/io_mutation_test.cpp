// Mutated model files against the readers.
#include "fuzz/campaign.h"
#include "fuzz/io_seeds.h"
#include "fuzz/io_targets.h"

namespace dsr1::test {
namespace {

TEST(MutatedFiles, GgufNeverCrashes) {
  auto seeds = gguf_seeds();
  for (const std::string& s : seeds) EXPECT_TRUE(fuzz_gguf(s));
  campaign(
      DSR1_FUZZ_DEFAULT, [&](Mutator& m) { return m.mutate(seeds); }, fuzz_gguf);
}

TEST(MutatedFiles, SafetensorsNeverCrash) {
  auto seeds = safetensors_seeds();
  for (const std::string& s : seeds) EXPECT_TRUE(fuzz_safetensors(s));
  campaign(
      DSR1_FUZZ_DEFAULT, [&](Mutator& m) { return m.mutate(seeds); }, fuzz_safetensors);
}

TEST(MutatedFiles, HuggingFaceDirectoriesNeverCrash) {
  DirectoryFuzzer fuzzer;
  std::vector<std::vector<std::string>> seeds;
  for (size_t i = 0; i < DirectoryFuzzer::kCount; ++i) seeds.push_back({fuzzer.good(i)});
  auto make = [&](Mutator& m) {
    size_t file = m.below(DirectoryFuzzer::kCount);
    return std::string(1, static_cast<char>(file)) + m.mutate(seeds[file]);
  };
  campaign(DSR1_FUZZ_DEFAULT / 40, make, [&](const std::string& s) { return fuzzer.run(s); });
}

}  // namespace
}  // namespace dsr1::test
