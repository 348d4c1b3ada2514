# cmake -D ROOT=<source tree> -P check_gpu_check.cmake : tools/gpu_check on a machine without a GPU must say so and exit 6,
# before it builds or writes anything.
cmake_minimum_required(VERSION 3.25)
find_program(NVIDIA_SMI nvidia-smi)
if(NVIDIA_SMI)
  message("skipped: there is a GPU driver here")
  return()
endif()
execute_process(COMMAND ${ROOT}/tools/gpu_check RESULT_VARIABLE rc OUTPUT_VARIABLE out ERROR_VARIABLE said)
if(NOT rc EQUAL 6 OR NOT said MATCHES "no GPU here")
  message(FATAL_ERROR "exit code ${rc}, expected 6; it said: ${said}")
endif()
