#include "model_options.h"

#include <algorithm>
#include <limits>

#include "dsr1/backend/cuda.h"
#include "dsr1/base/log.h"
#include "terminal.h"

namespace dsr1::cli {
namespace {

Result<std::optional<DType>> cache_type(const std::optional<std::string>& name, const char* option) {
  if (!name) return std::optional<DType>();
  for (uint32_t id = 0; id < 64; ++id) {
    const DTypeTraits* t = find_dtype(id);
    if (t == nullptr) continue;
    std::string lower = t->name, given = *name;
    for (std::string* s : {&lower, &given})
      for (char& c : *s) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (lower == given) return std::optional<DType>(t->dtype);
  }
  return Error(ErrorCode::kUsage, std::string(option) + ": unknown type '" + *name + "'; known: f32, f16, q8_0");
}

}  // namespace

void ModelOptions::declare(OptionTable& table, const std::string& context_help) {
  table.section("Model and machine");
  table.add("-m,--model", "PATH", &model, "the model, for hands used to it").completes(Complete::kModel);
  table.add("-c,--ctx-size", "N", &n_ctx, context_help);
  table.add("-t,--threads", "N", &n_threads, "threads (default: one a core, of the fast cores)");
  table.add("-tb,--threads-batch", "N", &n_threads_batch, "threads for prompts; this version uses those of -t");
  table.add("-C,--cpu-mask", "MASK", &cpu_mask, "CPUs to run on, in hexadecimal");
  table.add("-Cr,--cpu-range", "LIST", &cpu_range, "CPUs to run on, as 0-7 or 0-3,8");
  table.add("--cpu-strict", "0|1", &cpu_strict, "1: every worker stays on one CPU (default: 0)").one_of({"0", "1"});
  table.add("--numa", "MODE", &numa, "distribute: threads and pages over all nodes; isolate: one node; numactl: as set")
      .one_of({"distribute", "isolate", "numactl"});
  table.add("-b,--batch-size", "N", &n_batch, "most prompt tokens handed over at once (default: 2048)");
  table.add("-ub,--ubatch-size", "N", &n_ubatch, "most tokens in one forward pass (default: 512)");
  table.add("--device", "DEVICE", &device, "auto, cpu, cuda, cuda:N, or ref, the slow scalar reference");
  table.add("--cpu-isa", "LEVEL", &cpu_isa, "instruction set of the CPU (default: the best it has)")
      .one_of({"auto", "scalar", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16", "avx512_fp16", "neon"});
  table.add("-ctk,--cache-type-k", "TYPE", &type_k, "type of cached keys: f16 (default), f32, q8_0");
  table.add("-ctv,--cache-type-v", "TYPE", &type_v, "type of cached values, as -ctk");
  table.flag("--mlock", &mlock, "keep the weights in memory");
  table.flag("--no-mmap", &no_mmap, "read the file instead of mapping it");
  table.add("--expert-groups", "MODE", &expert_groups, "group-limited expert choice, where the model's family has it")
      .one_of({"auto", "off"});
  table.add("-ngl,--gpu-layers,--n-gpu-layers", "N", &gpu_layers, "layers on the GPU: a number, auto or all");
  table.add("-ncmoe,--n-cpu-moe", "N", &n_cpu_moe, "leave the experts of the first N layers on the CPU");
  table.flag("-cmoe,--cpu-moe", &cpu_moe, "leave all experts on the CPU");
  table.add("-ot,--override-tensor", "REGEX=DEVICE", &override_tensor, "place matching tensors on a device");
}

Result<runtime::EngineOptions> ModelOptions::engine_options() const {
  runtime::EngineOptions o;
  if (n_ctx < 0)
    return Error(ErrorCode::kUsage, "--ctx-size must be 0 (automatic) or more, found " + std::to_string(n_ctx));
  if (n_threads < 0 || n_threads > 4096)
    return Error(ErrorCode::kUsage, "--threads must be between 1 and 4096, found " + std::to_string(n_threads));
  if (n_batch < 1 || n_ubatch < 1) return Error(ErrorCode::kUsage, "--batch-size and --ubatch-size must be 1 or more");
  if (gpu_layers != "auto" && gpu_layers != "all" && !parse_int(gpu_layers))
    return Error(ErrorCode::kUsage, "--gpu-layers: expected a number, auto or all, found '" + gpu_layers + "'");
  const bool wants_gpu = gpu_layers == "all" || (gpu_layers != "auto" && *parse_int(gpu_layers) > 0);
  if (wants_gpu && device != "auto" && !device.starts_with("cuda"))
    return Error(ErrorCode::kUsage, "-ngl " + gpu_layers + " contradicts --device " + device);
  // Here too, not only where a model is opened: `fit` opens none.
  if (wants_gpu || device == "cuda" || device == "cuda:0") {
    if (const std::string problem = backend::cuda_info().problem; !problem.empty())
      return Error(ErrorCode::kNoDevice,
                   wants_gpu ? "-ngl " + gpu_layers + " needs a GPU: " + problem
                             : "device " + device + " was asked for: " + problem + "; use --device cpu");
  }
  if (gpu_layers != "auto")
    o.placement.n_gpu_layers = gpu_layers == "all" ? std::numeric_limits<int32_t>::max() : *parse_int(gpu_layers);
  if (n_cpu_moe < -1)
    return Error(ErrorCode::kUsage, "--n-cpu-moe must be 0 or more, found " + std::to_string(n_cpu_moe));
  o.placement.n_cpu_moe = cpu_moe ? std::numeric_limits<int32_t>::max() : n_cpu_moe;
  for (const std::string& rule : override_tensor) {
    const size_t equals = rule.rfind('=');
    if (equals == std::string::npos || equals == 0)
      return Error(ErrorCode::kUsage, "--override-tensor: expected REGEX=DEVICE, found '" + rule + "'");
    std::string place = rule.substr(equals + 1);
    for (char& c : place) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    const bool gpu = place.starts_with("cuda") && backend::cuda_info().problem.empty();
    if (place != "cpu" && !gpu)
      return Error(ErrorCode::kNoDevice,
                   "--override-tensor: no device '" + rule.substr(equals + 1) + "' here; known: CPU");
    o.placement.rules.push_back({rule.substr(0, equals), place == "cpu"});
  }
  if (n_threads_batch > 0 && n_threads_batch != std::max(n_threads, 0))
    log_warn("--threads-batch is not separate in this version; prompts use the threads of --threads");
  o.device = wants_gpu && device == "auto" ? "cuda" : gpu_layers == "0" && device == "auto" ? "cpu" : device;
  o.cpu_isa = cpu_isa;
  if (!cpu_mask.empty() && !cpu_range.empty())
    return Error(ErrorCode::kUsage, "--cpu-mask and --cpu-range both name the CPUs; give one");
  auto cpus = [](const char* option, Result<std::vector<int>> parsed) -> Result<std::vector<int>> {
    if (parsed) return parsed;
    return Error(ErrorCode::kUsage, std::string(option) + ": " + parsed.error().message);
  };
  if (!cpu_mask.empty()) {
    DSR1_TRY(o.cpu_placement.cpus, cpus("--cpu-mask", parse_cpu_mask(cpu_mask)));
  }
  if (!cpu_range.empty()) {
    DSR1_TRY(o.cpu_placement.cpus, cpus("--cpu-range", parse_cpu_list(cpu_range)));
  }
  o.cpu_placement.strict = cpu_strict == "1";
  o.cpu_placement.numa = numa == "distribute" ? Numa::kDistribute
                         : numa == "isolate"  ? Numa::kIsolate
                         : numa == "numactl"  ? Numa::kNumactl
                                              : Numa::kOff;
  o.n_threads = n_threads;
  o.n_ctx = n_ctx;
  o.n_batch = std::min(n_batch, n_ubatch);
  DSR1_TRY(o.type_k, cache_type(type_k, "-ctk"));
  DSR1_TRY(o.type_v, cache_type(type_v, "-ctv"));
  o.use_mmap = !no_mmap;
  o.use_mlock = mlock;
  o.expert_groups = expert_groups != "off";
  return o;
}

Result<std::unique_ptr<runtime::Engine>> open_engine(const std::string& path, const runtime::EngineOptions& options) {
  ProgressBar bar("loading");
  return runtime::Engine::open(path, options, [&](int64_t done, int64_t total) { bar.update(done, total); });
}

Result<std::unique_ptr<runtime::Engine>> open_engine_for_many(const std::string& path, runtime::EngineOptions options,
                                                              int asked, int wanted) {
  constexpr int64_t kWantedContext = 8192;
  options.n_sessions = asked > 0 ? asked : wanted;
  options.n_batch = std::max(options.n_batch, options.n_sessions);
  while (true) {
    auto engine = open_engine(path, options);
    if (asked > 0 || options.n_sessions == 1) return engine;
    if (!engine && engine.error().code != ErrorCode::kDoesNotFit) return engine;
    if (engine &&
        (options.n_ctx > 0 || (*engine)->n_ctx() >= std::min<int64_t>((*engine)->config().n_ctx_train, kWantedContext)))
      return engine;
    options.n_sessions /= 2;
  }
}

Result<const text::Tokenizer*> tokenizer_of(const runtime::Engine& engine) {
  const auto& tokenizer = engine.tokenizer();
  if (!tokenizer) return Error(tokenizer.error());
  return &*tokenizer;
}

Result<std::optional<std::string>> one_model(const std::optional<std::string>& flag,
                                             const std::optional<std::string>& positional) {
  if (flag && positional && *flag != *positional)
    return Error(ErrorCode::kUsage,
                 "two models: '" + *positional + "' and --model '" + *flag + "'; for a prompt use -p");
  return flag ? flag : positional;
}

}  // namespace dsr1::cli
