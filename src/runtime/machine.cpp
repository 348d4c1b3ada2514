#include "dsr1/runtime/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <thread>

namespace dsr1::runtime {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream f(path);
  std::string line;
  std::getline(f, line);
  return line;
}

std::optional<double> number_in(const fs::path& path) {
  std::ifstream f(path);
  double n = 0;
  return f >> n ? std::optional(n) : std::nullopt;
}

// Directories "<prefix><number>" in a folder, in order of name.
std::vector<fs::path> numbered(const fs::path& folder, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code ec;
  for (auto it = fs::directory_iterator(folder, ec); !ec && it != fs::directory_iterator(); it.increment(ec)) {
    const std::string name = it->path().filename().string();
    if (name.size() > prefix.size() && name.starts_with(prefix) &&
        name.find_first_not_of("0123456789", prefix.size()) == std::string::npos)
      found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string after_colon(const fs::path& path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return {};
}

// The hottest of the sensors that name the processor; millidegrees in the files.
Reading<double> cpu_temperature(const fs::path& root) {
  double hottest = -std::numeric_limits<double>::infinity();
  for (const fs::path& h : numbered(root / "sys/class/hwmon", "hwmon")) {
    const std::string name = first_line(h / "name");
    if (name != "coretemp" && name != "k10temp" && name != "zenpower" && name != "cpu_thermal") continue;
    for (int i = 1; i < 128; ++i)
      if (auto t = number_in(h / ("temp" + std::to_string(i) + "_input"))) hottest = std::max(hottest, *t / 1000);
  }
  for (const fs::path& z : numbered(root / "sys/class/thermal", "thermal_zone")) {
    const std::string type = first_line(z / "type");
    if (type != "x86_pkg_temp" && type.find("cpu") == std::string::npos) continue;
    if (auto t = number_in(z / "temp")) hottest = std::max(hottest, *t / 1000);
  }
  if (hottest > -273) return hottest;
  return Reading<double>::none("no processor temperature in /sys/class/hwmon or /sys/class/thermal");
}

}  // namespace

MachineState read_machine_state(const fs::path& root) {
  MachineState m;
  const fs::path cpus = root / "sys/devices/system/cpu";
  m.cpu = after_colon(root / "proc/cpuinfo", "model name");
  m.cores_online = static_cast<int>(std::thread::hardware_concurrency());
  const std::string boot = first_line(root / "proc/sys/kernel/random/boot_id");
  m.boot_id = boot.empty() ? Reading<std::string>::none("no /proc/sys/kernel/random/boot_id") : boot;

  double mhz = 0;
  int n = 0;
  std::string governors;
  for (const fs::path& c : numbered(cpus, "cpu")) {
    if (auto khz = number_in(c / "cpufreq/scaling_cur_freq")) {
      mhz += *khz / 1000;
      ++n;
    }
    const std::string g = first_line(c / "cpufreq/scaling_governor");
    if (!g.empty() && governors.find(g) == std::string::npos) governors += (governors.empty() ? "" : ",") + g;
  }
  const char* no_cpufreq = "no cpufreq in /sys (virtual machine or container)";
  m.cpu_mhz = n > 0 ? Reading<double>(mhz / n) : Reading<double>::none(no_cpufreq);
  m.governor = governors.empty() ? Reading<std::string>::none(no_cpufreq) : governors;
  m.temperature_c = cpu_temperature(root);

  const std::string product = first_line(root / "sys/class/dmi/id/product_name");
  const bool hypervisor =
      (" " + after_colon(root / "proc/cpuinfo", "flags") + " ").find(" hypervisor ") != std::string::npos;
  if (hypervisor) {
    m.virtualization = product.empty() ? std::string("virtual machine") : "virtual machine (" + product + ")";
  } else {
    m.virtualization = Reading<std::string>::none("the processor reports no hypervisor");
  }
  const auto load = number_in(root / "proc/loadavg");
  m.load_1min = load ? Reading<double>(*load) : Reading<double>::none("no /proc/loadavg");
  return m;
}

MachineCounters read_machine_counters(const fs::path& root) {
  MachineCounters c;
  std::ifstream stat(root / "proc/stat");
  std::string word;
  // user nice system idle iowait irq softirq steal (proc(5)); guest time is part of user time.
  double t[8] = {};
  if (stat >> word && word == "cpu") {
    double all = 0;
    for (double& x : t) {
      if (!(stat >> x)) break;
      all += x;
    }
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    c.cpu_seconds = all / ticks;
    c.steal_seconds = t[7] / ticks;
  } else {
    c.cpu_seconds = c.steal_seconds = Reading<double>::none("no /proc/stat");
  }

  double joules = 0;
  int packages = 0;
  std::error_code ec;
  const fs::path caps = root / "sys/class/powercap";
  for (auto it = fs::directory_iterator(caps, ec); !ec && it != fs::directory_iterator(); it.increment(ec)) {
    const std::string name = it->path().filename().string();
    // Only whole packages: "intel-rapl:0", not its parts "intel-rapl:0:0".
    if (!name.starts_with("intel-rapl:") || std::count(name.begin(), name.end(), ':') != 1) continue;
    if (auto uj = number_in(it->path() / "energy_uj")) {
      joules += *uj / 1e6;
      ++packages;
    }
  }
  c.package_joules =
      packages > 0 ? Reading<double>(joules) : Reading<double>::none("no readable RAPL counter in /sys/class/powercap");

  uint64_t events = 0;
  int cores = 0;
  for (const fs::path& cpu : numbered(root / "sys/devices/system/cpu", "cpu"))
    if (auto e = number_in(cpu / "thermal_throttle/core_throttle_count")) {
      events += static_cast<uint64_t>(*e);
      ++cores;
    }
  c.throttle_events =
      cores > 0 ? Reading<uint64_t>(events) : Reading<uint64_t>::none("no thermal_throttle counters in /sys");

  const std::string read = after_colon(root / "proc/self/io", "read_bytes");
  c.disk_read_bytes = read.empty() ? Reading<uint64_t>::none("no /proc/self/io")
                                   : Reading<uint64_t>(std::strtoull(read.c_str(), nullptr, 10));
  return c;
}

}  // namespace dsr1::runtime
