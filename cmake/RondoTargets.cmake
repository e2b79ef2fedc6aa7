# rondo_folder(NAME DEPS public... [PRIVATE private...]): one object library per top-level folder, from all of its .cc
# files, so that CMake refuses what the layering forbids and a new file needs no edit here.
add_library(rondo_options INTERFACE)
target_compile_options(rondo_options INTERFACE -Wall -Wextra -Werror -Wno-unused-parameter
  # g++ 12 sees uninitialised reads in moves of absl::InlinedVector, and overlaps in short std::string assignments (PR
  # 105651), that are none.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-restrict>)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(rondo_options INTERFACE _GLIBCXX_ASSERTIONS)
endif()
if(RONDO_SANITIZE)
  target_compile_options(rondo_options INTERFACE -fsanitize=${RONDO_SANITIZE} -fno-omit-frame-pointer -g1)
  target_link_options(rondo_options INTERFACE -fsanitize=${RONDO_SANITIZE})
endif()

# Kernels that are compiled once per instruction set: sources named *_isa.cc, see ops/kernels/isa.h. A new set is one
# entry in this list with its flags, one enumerator and one line in each table's plain source.
set(RONDO_ISAS baseline)
set(RONDO_ISA_FLAGS_baseline "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND RONDO_ISAS avx2 avx512)
  set(RONDO_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt -mpopcnt)
  set(RONDO_ISA_FLAGS_avx512 ${RONDO_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
      -mprefer-vector-width=512)
endif()
function(rondo_isa_objects target)
  foreach(isa IN LISTS RONDO_ISAS)
    add_library(${target}_${isa} OBJECT ${ARGN})
    target_include_directories(${target}_${isa} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
    target_compile_definitions(${target}_${isa} PRIVATE RONDO_ISA=${isa})
    # Contraction to FMA is wanted here, also where a language mode would turn it off; errno and traps are not.
    target_compile_options(${target}_${isa} PRIVATE ${RONDO_ISA_FLAGS_${isa}} -O3 -ffp-contract=fast -fno-math-errno
                           -fno-trapping-math)
    target_link_libraries(${target}_${isa} PRIVATE rondo_options)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
    set_property(GLOBAL APPEND PROPERTY RONDO_ISA_OBJECTS $<TARGET_OBJECTS:${target}_${isa}>)
  endforeach()
endfunction()

function(rondo_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  if(NOT sources)
    add_library(rondo_${name} INTERFACE)
    target_include_directories(rondo_${name} INTERFACE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
    target_link_libraries(rondo_${name} INTERFACE ${ARG_DEPS})
    return()
  endif()
  set(isa_sources ${sources})
  list(FILTER isa_sources INCLUDE REGEX "_isa\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_isa\\.cc$")
  add_library(rondo_${name} STATIC ${sources})
  if(isa_sources)
    rondo_isa_objects(rondo_${name} ${isa_sources})
  endif()
  target_include_directories(rondo_${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
  target_link_libraries(rondo_${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE} rondo_options)
endfunction()

# rondo_packing_version(TARGET FOLDER): gives TARGET the header cachedir/packing_version.h, whose version changes with
# the sources below FOLDER.
function(rondo_packing_version target folder)
  set(directory ${CMAKE_CURRENT_BINARY_DIR}/generated)
  set(header ${directory}/cachedir/packing_version.h)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cc
       ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.h)
  add_custom_command(OUTPUT ${header}
    COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${CMAKE_CURRENT_SOURCE_DIR}/${folder} -DVERSION=${PROJECT_VERSION}
            -DOUTPUT=${header} -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/PackingVersion.cmake
    DEPENDS ${sources} ${CMAKE_CURRENT_SOURCE_DIR}/cmake/PackingVersion.cmake
    COMMENT "Digesting ${folder}/" VERBATIM)
  target_sources(${target} PRIVATE ${header})
  target_include_directories(${target} PRIVATE ${directory})
endfunction()
