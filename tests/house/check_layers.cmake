# cmake -D ROOT=<source tree> -P check_layers.cmake
# Reads every #include of include/, src/ and kernels/ and fails where one points up or sideways on the ladder of
# docs/architecture.md, or where a library shows outside the one place that may see it.
cmake_minimum_required(VERSION 3.25)

set(rank_base 1)
set(rank_tensor 2)
set(rank_io 3)
set(rank_text 3)
set(rank_ops 4)
set(rank_backend 5)
set(rank_model 5)
set(rank_runtime 6)
set(rank_cli 7)

# layer_of(OUT path): the layer a path below ROOT, or a name as written after #include, belongs to; empty for none.
function(layer_of out path)
  set(layer "")
  if(path MATCHES "^((include/)?dsr1|src)/([a-z]+)/")
    set(layer ${CMAKE_MATCH_3})
  elseif(path STREQUAL "src/main.cpp")
    set(layer cli)
  elseif(path MATCHES "^kernels/")
    set(layer backend)
  endif()
  if(layer STREQUAL "quant") # lives on tensor's step, in tensor's library
    set(layer tensor)
  endif()
  set(${out} "${layer}" PARENT_SCOPE)
endfunction()

# Which file may see which library: a pattern of the included name, then a pattern of the files that may include it.
set(libraries
  "^spdlog/|^fmt/" "^src/base/log\\.cpp$"
  "^nlohmann/" "^src/base/json\\.cpp$"
  "^CLI/" "^src/(cli/|main\\.cpp$)"
  "^pcre2" "^src/text/redact\\.cpp$"
  "^utf8proc" "^src/text/width\\.cpp$"
  "^sqlite3" "^src/runtime/session_store\\.cpp$"
  "^gtest/|^gmock/" "^$"
  "^cuda|^cublas|^nccl|^nvml|^nvtx" "^(src/backend/cuda|kernels)/")

set(wrong "")
file(GLOB_RECURSE files RELATIVE ${ROOT} "${ROOT}/include/*.h" "${ROOT}/include/*.inc" "${ROOT}/src/*.cpp" "${ROOT}/src/*.h"
  "${ROOT}/src/*.inc" "${ROOT}/src/*.cu" "${ROOT}/kernels/*.h" "${ROOT}/kernels/*.cuh" "${ROOT}/kernels/*.cu")
foreach(file IN LISTS files)
  layer_of(from "${file}")
  if(NOT from OR NOT DEFINED rank_${from})
    string(APPEND wrong "${file}: is in no layer of the ladder\n")
    continue()
  endif()
  file(STRINGS "${ROOT}/${file}" lines REGEX "^[ \t]*#[ \t]*include[ \t]*[<\"]")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^[ \t]*#[ \t]*include[ \t]*[<\"]([^>\"]+)[>\"].*" "\\1" name "${line}")
    layer_of(to "${name}")
    if(NOT to)
      cmake_path(GET file PARENT_PATH folder)
      foreach(base IN ITEMS "${folder}" src .)
        cmake_path(SET path NORMALIZE "${base}/${name}")
        if(EXISTS "${ROOT}/${path}")
          layer_of(to "${path}")
          break()
        endif()
      endforeach()
    endif()
    if(to AND NOT DEFINED rank_${to})
      string(APPEND wrong "${file}: includes ${name}, which is in no layer of the ladder\n")
    elseif(to AND NOT to STREQUAL from AND rank_${to} GREATER_EQUAL rank_${from})
      string(APPEND wrong "${file}: ${from} (${rank_${from}}) includes ${name} of ${to} (${rank_${to}}); only smaller numbers may be included\n")
    endif()
    set(i 0)
    list(LENGTH libraries n)
    while(i LESS n)
      list(GET libraries ${i} library)
      math(EXPR i "${i} + 1")
      list(GET libraries ${i} allowed)
      math(EXPR i "${i} + 1")
      if(name MATCHES "${library}" AND NOT file MATCHES "${allowed}")
        string(APPEND wrong "${file}: includes ${name}; only files matching ${allowed} may see this library\n")
      endif()
    endwhile()
    if(file MATCHES "^include/" AND NOT to AND name MATCHES "[/.]" AND NOT name MATCHES "^(sys/|[a-z]*intrin\\.h$)")
      string(APPEND wrong "${file}: includes ${name}; public headers show no third-party or private header\n")
    endif()
  endforeach()
endforeach()

list(LENGTH files count)
if(count EQUAL 0)
  message(FATAL_ERROR "no source files under ${ROOT}")
elseif(wrong)
  message(FATAL_ERROR "${wrong}")
endif()
message(STATUS "${count} files keep to the ladder")
