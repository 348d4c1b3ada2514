// What the machine tells about itself: identity, clocks, heat, power, load. Each reading is a value or a reason why
// there is none (virtual machines hide most sensors); nothing is guessed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dsr1/base/json.h"

namespace dsr1::runtime {

template <class T>
struct Reading {
  std::optional<T> value;
  std::string reason;  // where there is no value

  static Reading none(std::string why) { return {std::nullopt, std::move(why)}; }
  Reading() = default;
  Reading(T v) : value(std::move(v)) {}
  Reading(std::optional<T> v, std::string why) : value(std::move(v)), reason(std::move(why)) {}
};

// Sets object[key] to the value, or to null with the reason under object.null_reasons[key].
template <class T>
void set_reading(Json& object, const std::string& key, const Reading<T>& r) {
  if (r.value) {
    object.set(key, Json(*r.value));
    return;
  }
  object.set(key, nullptr);
  const Json* reasons = object.find("null_reasons");
  Json all = reasons != nullptr ? *reasons : Json::object();
  all.set(key, r.reason);
  object.set("null_reasons", std::move(all));
}

// Counters that only a difference of two readings makes sense of.
struct MachineCounters {
  Reading<double> cpu_seconds, steal_seconds;  // of all CPUs: all time, and time the host took away
  Reading<double> package_joules;              // RAPL, all packages
  Reading<uint64_t> throttle_events;           // of all cores, since boot
  Reading<uint64_t> disk_read_bytes;           // by this process
};

struct MachineState {
  std::string cpu;  // "AMD EPYC 9B14"; empty where unknown
  int cores_online = 0;
  Reading<std::string> boot_id, governor, virtualization;
  Reading<double> cpu_mhz;  // as cpufreq reports it, mean over cores
  Reading<double> temperature_c;
  Reading<double> load_1min;
};

// root: where /proc and /sys are looked for ("/"; a test gives its own).
MachineState read_machine_state(const std::filesystem::path& root = "/");
MachineCounters read_machine_counters(const std::filesystem::path& root = "/");

// One NVIDIA GPU as its management library sees it.
struct GpuState {
  std::string name, driver;
  Reading<uint64_t> memory_total, memory_free;
  Reading<int> sm_mhz, memory_mhz, temperature_c;
  Reading<double> power_w;
  Reading<uint64_t> throttle_bits;  // nvmlClocksThrottleReasons
};
// Opens the library for the call only. `why_none` says why the list is empty. library: libnvidia-ml.so.1, or a test's.
std::vector<GpuState> read_gpus(std::string* why_none, const std::string& library = "libnvidia-ml.so.1");

}  // namespace dsr1::runtime
