# Compile settings shared by every target, and the one function that declares a layer's library.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(DSR1_CCACHE ccache)
if(DSR1_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DSR1_CCACHE})
endif()

add_library(dsr1_flags INTERFACE)
target_include_directories(dsr1_flags INTERFACE ${PROJECT_SOURCE_DIR}/include)
# -ffp-contract=off: a*b+c is fused only where the code says fma, so every ISA level and compiler gives the same bits.
target_compile_options(dsr1_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wnon-virtual-dtor;-Werror;-ffp-contract=off;$<$<CONFIG:Release>:-O2>;-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>")
if(DSR1_SANITIZE)
  target_compile_options(dsr1_flags INTERFACE -fsanitize=${DSR1_SANITIZE} -fno-omit-frame-pointer -O1)
  if(DSR1_SANITIZE MATCHES "undefined")
    target_compile_options(dsr1_flags INTERFACE -fno-sanitize-recover=all)
  endif()
  target_link_options(dsr1_flags INTERFACE -fsanitize=${DSR1_SANITIZE})
endif()

# dsr1_layer(NAME SOURCES... LINK deps...): one static library of the ladder in docs/architecture.md.
function(dsr1_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC dsr1_flags ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
endfunction()
