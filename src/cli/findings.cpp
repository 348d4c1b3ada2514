#include "findings.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "dsr1/backend/cpu.h"
#include "dsr1/backend/cuda.h"
#include "dsr1/backend/probe.h"
#include "dsr1/base/thread_pool.h"
#include "dsr1/runtime/engine.h"
#include "dsr1/runtime/limits.h"
#include "dsr1/runtime/machine.h"
#include "paths.h"
#include "terminal.h"

namespace dsr1::cli {
namespace {

std::string fixed(double v, int digits) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}
std::string gib(uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

// The first of the variables that decide the character set.
std::string locale_name() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (const char* v = std::getenv(name); v != nullptr && *v != '\0') return v;
  return {};
}

void probe_cpu(std::vector<Finding>* out) {
  auto probe = backend::CpuProbe::create(available_cpus());
  if (!probe) {
    out->push_back({"bandwidth", false, probe.error().message, "free some memory"});
    return;
  }
  const double read = (*probe)->read_bytes_per_s(0.3);
  const backend::ArithmeticRate int8 = (*probe)->int8(0.15), fp32 = (*probe)->fp32(0.1);
  const double hz = (*probe)->clock_hz(0.03);
  out->push_back({"bandwidth", true,
                  "memory reads " + fixed(read / 1e9, 1) + " GB/s with " + std::to_string((*probe)->n_threads()) +
                      " threads: a 4.4 GB model (7B, Q4_K_M) generates at most " + fixed(read / 4.371e9, 1) +
                      " tokens a second",
                  ""});
  std::string arithmetic =
      int8.per_second > 0 ? fixed(int8.per_second / 1e9, 0) + " GOPS int8 (" + int8.how + ")" : int8.how;
  if (fp32.per_second > 0) arithmetic += ", " + fixed(fp32.per_second / 1e9, 0) + " GFLOPS fp32";
  if (hz > 0) arithmetic += ", clock " + fixed(hz / 1e9, 2) + " GHz";
  out->push_back({"arithmetic", int8.per_second > 0, arithmetic,
                  int8.per_second > 0 ? "" : "a processor with AVX2 or ARM dot products is many times faster"});
}

// Where models lie if there are any, for that is the disk that counts; else the program's.
std::filesystem::path largest_file() {
  std::error_code ec;
  std::filesystem::path largest = std::filesystem::read_symlink("/proc/self/exe", ec);
  uint64_t bytes = ec ? 0 : std::filesystem::file_size(largest, ec);
  for (const auto& dirs : {bundled_model_dirs(), user_model_dirs()})
    for (const auto& dir : dirs)
      for (auto it = std::filesystem::recursive_directory_iterator(dir, ec);
           !ec && it != std::filesystem::recursive_directory_iterator(); it.increment(ec)) {
        std::error_code unreadable;
        if (!it->is_regular_file(unreadable) || it->file_size(unreadable) <= bytes || unreadable) continue;
        largest = it->path();
        bytes = it->file_size(unreadable);
      }
  return largest;
}

void probe_disk(std::vector<Finding>* out) {
  constexpr int kInFlight = 8;
  std::error_code ec;
  const auto file = largest_file();
  const uint64_t bytes = std::filesystem::file_size(file, ec);
  const double rate = ec ? 0 : runtime::disk_read_rate(file, 0, bytes, kInFlight);
  if (rate <= 0) {
    out->push_back({"disk", false, "its rate could not be measured (no O_DIRECT at " + file.string() + ")",
                    "dsr1 fit measures the disk that a model lies on"});
    return;
  }
  const bool slow = rate < 0.3e9;
  out->push_back({"disk", !slow, "reads " + fixed(rate / 1e9, 2) + " GB/s past the cache (" + file.string() + ")",
                  slow ? "models load slowly from here: an SSD reads 0.5 to 7 GB/s" : ""});
}

}  // namespace

std::vector<Finding> examine_machine(bool measure) {
  std::vector<Finding> out;
  const runtime::MachineState state = runtime::read_machine_state();
  const std::string isas = backend::available_cpu_isas();
  const bool simd = isas.find("avx") != std::string::npos || isas.find("neon") != std::string::npos;
  out.push_back(
      {"levels", simd, isas, simd ? "" : "only the scalar code runs here: a build for this processor is needed"});

  const int usable = available_cpus(), online = static_cast<int>(std::thread::hardware_concurrency());
  out.push_back({"cores", usable >= online, std::to_string(usable) + " of " + std::to_string(online) + " usable",
                 usable < online ? "an affinity mask or a cgroup quota holds the rest back (taskset, cpu.max)" : ""});
  if (state.virtualization.value) out.push_back({"machine", true, *state.virtualization.value, ""});
  if (state.governor.value) {
    const bool save = state.governor.value->find("powersave") != std::string::npos;
    out.push_back({"governor", !save, *state.governor.value,
                   save ? "cpupower frequency-set -g performance (or schedutil) lets the clock rise" : ""});
  }
  if (state.load_1min.value) {
    const bool busy = *state.load_1min.value > usable * 0.5;
    out.push_back({"load", !busy, fixed(*state.load_1min.value, 2) + " over the last minute",
                   busy ? "other programs are running: measurements will scatter and speeds suffer" : ""});
  }
  const uint64_t available = runtime::available_memory();
  const bool small = available < (uint64_t{2} << 30);
  out.push_back({"memory", !small,
                 available == 0 ? "unknown" : gib(available) + " for a model now (cgroup limits counted)",
                 small ? "close programs, or raise the container's limit (memory.max)" : ""});
  if (const auto limit = runtime::cgroup_memory_limit())
    out.push_back({"cgroup", true, "this process and its kin may use " + gib(*limit) + " in all", ""});
  else out.push_back({"cgroup", true, "no memory limit", ""});
  if (measure) probe_cpu(&out);
  if (measure) probe_disk(&out);

  std::string why;
  const backend::CudaInfo cuda = backend::cuda_info(backend::CudaDetail::kAll);
  const auto gpus = runtime::read_gpus(&why);
  if (gpus.empty()) {
    out.push_back({"GPU", true, "none: " + why, "with an NVIDIA card: install its driver, then nvidia-smi shows it"});
  }
  for (const runtime::GpuState& g : gpus)
    out.push_back(
        {"GPU", cuda.problem.empty(),
         g.name + ", driver " + g.driver + (g.memory_free.value ? ", " + gib(*g.memory_free.value) + " free" : ""),
         cuda.problem.empty() ? "" : cuda.problem});
  if (cuda.problem.empty() && !cuda.cublas_problem.empty())
    out.push_back({"cuBLAS", false, cuda.cublas_problem,
                   "prompts of F16 and BF16 models are slower without it; it comes with the CUDA Toolkit"});

  out.push_back({"toolkit", cuda.built || gpus.empty(),
                 cuda.built ? "CUDA " + cuda.runtime + " is in this build" : "this build has no CUDA in it",
                 cuda.built || gpus.empty() ? "" : "build the preset cuda (CUDA Toolkit 13) to use the GPU"});

  const std::string locale = locale_name();
  std::string upper = locale;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  const bool utf8 = upper.find("UTF-8") != std::string::npos || upper.find("UTF8") != std::string::npos;
  out.push_back({"locale", utf8, locale.empty() ? "not set" : locale,
                 utf8 ? "" : "answers are UTF-8 whatever it is; LANG=C.UTF-8 makes terminals and pagers agree"});
  const char* term = std::getenv("TERM");
  out.push_back({"terminal", true,
                 !is_terminal(1)
                     ? "standard output is none"
                     : std::string(term != nullptr ? term : "TERM not set") + ", " +
                           std::to_string(terminal_columns(1)) + " columns" + (has_colour(1) ? ", colours" : ""),
                 ""});
  for (const auto& [what, dir] :
       {std::pair<const char*, std::filesystem::path>{"cache", cache_dir()}, {"state", state_dir()}})
    if (dir.empty())
      out.push_back({what, false, "no directory is known", "set HOME, or DSR1_HOME to a directory of yours"});
  return out;
}

std::string findings_text(const std::vector<Finding>& findings) {
  std::string out = "findings\n";
  for (const Finding& f : findings) {
    const std::string topic = f.topic + std::string(f.topic.size() < 11 ? 11 - f.topic.size() : 1, ' ');
    out += std::string("  ") + (f.fine ? "   " : "!  ") + topic + f.found + "\n";
    if (!f.mend.empty()) out += std::string(16, ' ') + "-> " + f.mend + "\n";
  }
  return out;
}

Json findings_json(const std::vector<Finding>& findings) {
  Json all = Json::array();
  for (const Finding& f : findings) {
    Json j = Json::object();
    j.set("topic", f.topic)
        .set("fine", f.fine)
        .set("found", f.found)
        .set("mend", f.mend.empty() ? Json() : Json(f.mend));
    all.push(std::move(j));
  }
  return all;
}

}  // namespace dsr1::cli
