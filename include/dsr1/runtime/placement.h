// Placement: what goes into a device's memory and what stays in the host's, planned before anything is allocated. Asked
// for (-ngl, -ncmoe, -cmoe, -ot) or chosen: everything on the device where it fits; else experts stay, of as few layers
// as will do, since they are most of the bytes and few of them are read for a token; else whole layers.
//
// Pure functions of sizes. Refuses (kDoesNotFit) with the numbers and with the options that would fit; kUsage for rules
// that name what cannot stay on its own.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "dsr1/runtime/plan.h"

namespace dsr1::runtime {

// -ot REGEX=CPU (or a device): tensors whose name the expression finds; the first rule that does decides.
struct TensorRule {
  std::string pattern;
  bool host = true;
};

struct PlacementRequest {
  int64_t n_gpu_layers =
      -1;  // the last so many layers, and the head; more than there are: the embedding too; -1: not said
  int64_t n_cpu_moe = -1;  // experts of the first so many layers stay; -1: not said
  std::vector<TensorRule> rules = {};
};

// The device a plan is for.
struct DeviceRoom {
  std::string name;
  uint64_t available = 0;  // bytes free
  // Of its backend, with experts of such a size left in host memory (ops::Ops::workspace_bytes).
  std::function<uint64_t(const ops::HostExperts&)> workspace;
  double host_ops_per_second = 0;
  int64_t stream_rows = 0;  // ops::HostExperts::stream_rows
};

struct DevicePlan {
  model::Placement placement;
  MemoryPlan memory;          // of the device: weights, KV cache, scratch with workspace and graphs
  uint64_t host_weights = 0;  // stay
  uint64_t host_kv = 0;
  uint64_t expert_bytes = 0;  // the largest matrix of an expert that stays
  bool hybrid() const { return host_weights > 0; }
};

Result<DevicePlan> plan_device(const ModelFacts& facts, const PlanRequest& request, const PlacementRequest& wanted,
                               const DeviceRoom& device);

}  // namespace dsr1::runtime
