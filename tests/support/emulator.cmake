#The emulator and the whole CUDA backend over it, without the toolkit : kernels/*.cu built by g++ as C++.
include(${PROJECT_SOURCE_DIR}/kernels/sources.cmake)

# dsr1_emulated_sources(FILES...): device code of this directory's targets. Its loads and stores are seen by the emulator
# (the callbacks of -fsanitize=thread, without that sanitizer); a sanitized build sees them in its own way.
set(DSR1_EMULATED_OPTIONS -O2 -fno-tree-vectorize -fno-lto -Wno-unused-function -Wno-unknown-pragmas)
if(NOT DSR1_SANITIZE)
  list(APPEND DSR1_EMULATED_OPTIONS -fsanitize=thread --param=tsan-instrument-func-entry-exit=0 -Wno-tsan)
endif()
function(dsr1_emulated_sources)
  foreach(file IN LISTS ARGN)
    set_source_files_properties(${file} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++;${DSR1_EMULATED_OPTIONS}")
  endforeach()
endfunction()
