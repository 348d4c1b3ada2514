# The kernels' sources, built by src/backend/cuda with nvcc and by tests/support with g++ over the emulator.
set(DSR1_KERNEL_SOURCES
  attention/attention_rows.cu
  attention/expanded.cu
  attention/flash.cu
  attention/kv.cu
  attention/mla.cu
  attention/mla_wgmma.cu
  matmul/activations.cu
  matmul/gemm.cu
  matmul/gemm_wgmma.cu
  matmul/matmul_decode.cu
  matmul/matvec.cu
  moe/fused.cu
  moe/grouped.cu
  moe/moe.cu
  norm/rms_norm.cu
  quant/repack.cu
  rope/rope.cu
  sample/sample.cu
  rows/rows.cu)
list(TRANSFORM DSR1_KERNEL_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/kernels/)
# The backend's own host code that knows no toolkit.
set(DSR1_CUDA_HOST_SOURCES
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/attention.cpp
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/host_experts.cpp
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/matmul.cpp
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/moe.cpp
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/ops.cpp
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/pass.cpp
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/sampler.cpp
  ${PROJECT_SOURCE_DIR}/src/backend/cuda/weights.cpp)
