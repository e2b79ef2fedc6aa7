# rondo_folder(NAME DEPS public... [PRIVATE private...]): one object library per top-level folder, from all of its .cc
# files, so that CMake refuses what the layering forbids and a new file needs no edit here.
add_library(rondo_options INTERFACE)
target_compile_options(rondo_options INTERFACE -Wall -Wextra -Werror -Wno-unused-parameter
  # g++ 12 sees uninitialised reads in moves of absl::InlinedVector that are none.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(rondo_options INTERFACE _GLIBCXX_ASSERTIONS)
endif()
if(RONDO_SANITIZE)
  target_compile_options(rondo_options INTERFACE -fsanitize=${RONDO_SANITIZE} -fno-omit-frame-pointer -g1)
  target_link_options(rondo_options INTERFACE -fsanitize=${RONDO_SANITIZE})
endif()

function(rondo_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  if(NOT sources)
    add_library(rondo_${name} INTERFACE)
    target_include_directories(rondo_${name} INTERFACE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
    target_link_libraries(rondo_${name} INTERFACE ${ARG_DEPS})
    return()
  endif()
  add_library(rondo_${name} STATIC ${sources})
  target_include_directories(rondo_${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
  target_link_libraries(rondo_${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE} rondo_options)
endfunction()
