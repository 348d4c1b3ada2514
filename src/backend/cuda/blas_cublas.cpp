// cuBLAS behind runtime.h, loaded when a backend is made and not linked: a program built with CUDA starts, and computes
// on the CPU, where half a gigabyte of libraries is not installed.
#include <cublas_v2.h>
#include <dlfcn.h>

#include "backend/cuda/runtime.h"

namespace dsr1::backend::cuda {
namespace {

struct Cublas {
  decltype(&cublasCreate) create = nullptr;
  decltype(&cublasDestroy) destroy = nullptr;
  decltype(&cublasSetStream) set_stream = nullptr;
  decltype(&cublasSetWorkspace) set_workspace = nullptr;
  decltype(&cublasGemmEx_64) gemm_ex = nullptr;
  decltype(&cublasGetStatusString) status_string = nullptr;
  std::string problem;  // why there is none
};

#define DSR1_TEXT_OF(x) #x
#define DSR1_TEXT(x) DSR1_TEXT_OF(x)
// A macro of cublas_v2.h names the symbol's version: cublasCreate is cublasCreate_v2.
#define DSR1_LOAD(library, member, name) member = reinterpret_cast<decltype(member)>(dlsym(library, DSR1_TEXT(name)))

// Never unloaded: the driver keeps what it registered.
Cublas load_cublas() {
  Cublas c;
  const std::string file = "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = nullptr;
  for (const std::string& folder :
       {std::string(), std::string(DSR1_CUDA_LIBRARIES "/"), std::string("/usr/local/cuda/lib64/")}) {
    library = dlopen((folder + file).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
    const char* why = dlerror();
    if (c.problem.empty()) c.problem = why != nullptr ? why : file + " cannot be loaded";
  }
  if (library == nullptr) return c;
  c.problem.clear();
  DSR1_LOAD(library, c.create, cublasCreate);
  DSR1_LOAD(library, c.destroy, cublasDestroy);
  DSR1_LOAD(library, c.set_stream, cublasSetStream);
  DSR1_LOAD(library, c.set_workspace, cublasSetWorkspace);
  DSR1_LOAD(library, c.gemm_ex, cublasGemmEx_64);
  DSR1_LOAD(library, c.status_string, cublasGetStatusString);
  if (c.create == nullptr || c.destroy == nullptr || c.set_stream == nullptr || c.set_workspace == nullptr ||
      c.gemm_ex == nullptr || c.status_string == nullptr)
    c.problem = file + " lacks a function that this program calls";
  return c;
}
const Cublas& cublas() {
  static const Cublas c = load_cublas();
  return c;
}

Error failed(cublasStatus_t s) {
  return Error(ErrorCode::kRuntime, std::string("cuBLAS: ") + cublas().status_string(s));
}

class CudaBlas final : public Blas {
 public:
  CudaBlas(cublasHandle_t handle, Memory workspace) : handle_(handle), workspace_(std::move(workspace)) {}
  ~CudaBlas() override { cublas().destroy(handle_); }
  // Column-major to cuBLAS: out^T [n_out, rows] = w^T^T x^T.
  Status run(const BlasGemm& g) override {
    const float one = 1, zero = 0;
    const cudaDataType_t type = g.bf16 ? CUDA_R_16BF : CUDA_R_16F;
    const cublasStatus_t s = cublas().gemm_ex(handle_, CUBLAS_OP_T, CUBLAS_OP_N, g.n_out, g.rows, g.n_in, &one, g.w,
                                              type, g.w_stride, g.x, type, g.x_stride, &zero, g.out, CUDA_R_32F,
                                              g.out_stride, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    if (s == CUBLAS_STATUS_SUCCESS) return {};
    return failed(s);
  }

 private:
  cublasHandle_t handle_;
  Memory workspace_;  // its own is allocated on first use
};

}  // namespace

std::string Blas::problem() { return cublas().problem; }
size_t Blas::workspace_bytes() { return size_t{32} << 20; }  // what cuBLAS wants on Hopper

Result<std::unique_ptr<Blas>> Blas::make(Stream stream) {
  if (!cublas().problem.empty()) return Error(ErrorCode::kNoDevice, "no cuBLAS here: " + cublas().problem);
  DSR1_TRY(Memory workspace, Memory::allocate(Memory::Where::kDevice, workspace_bytes(), "cuBLAS"));
  cublasHandle_t handle = nullptr;
  cublasStatus_t s = cublas().create(&handle);
  if (s == CUBLAS_STATUS_SUCCESS) s = cublas().set_stream(handle, stream);
  if (s == CUBLAS_STATUS_SUCCESS) s = cublas().set_workspace(handle, workspace.data(), workspace.size());
  if (s != CUBLAS_STATUS_SUCCESS) {
    if (handle != nullptr) cublas().destroy(handle);
    return failed(s);
  }
  return std::unique_ptr<Blas>(std::make_unique<CudaBlas>(handle, std::move(workspace)));
}

}  // namespace dsr1::backend::cuda
