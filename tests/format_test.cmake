# Checks that files are as .clang-format says:  cmake -DSOURCE_DIR=<checkout> -P format_test.cmake
#
# Versions of clang-format differ in what they write, so only one counts. Where it is missing the test is skipped.
cmake_minimum_required(VERSION 3.25)

set(version 14)  # Debian 12's
find_program(formatter NAMES clang-format-${version} clang-format)
if(formatter)
  execute_process(COMMAND ${formatter} --version OUTPUT_VARIABLE found)
endif()
if(NOT formatter OR NOT found MATCHES "version ${version}\\.")
  message("SKIPPED: no clang-format ${version} (apt-get install clang-format-${version})")
  return()
endif()

set(files)
foreach(folder api arc bench cachedir examples executor graph importer include kvcache ops tests text tools)
  file(GLOB_RECURSE in_folder RELATIVE ${SOURCE_DIR} ${SOURCE_DIR}/${folder}/*.h ${SOURCE_DIR}/${folder}/*.cc)
  list(APPEND files ${in_folder})
endforeach()
list(LENGTH files count)
if(count LESS 50)
  message(FATAL_ERROR "only ${count} files found below ${SOURCE_DIR}")
endif()
execute_process(COMMAND ${formatter} --dry-run ${files} WORKING_DIRECTORY ${SOURCE_DIR} RESULT_VARIABLE failed
                ERROR_VARIABLE report)
string(REGEX MATCHALL "[^\n:]+:[0-9]+:[0-9]+: warning" places "${report}")
if(failed OR places)
  list(TRANSFORM places REPLACE ":[0-9]+: warning" "")
  list(REMOVE_DUPLICATES places)
  list(JOIN places "\n  " text)
  message(FATAL_ERROR "not as clang-format ${version} writes it (run clang-format -i on the files):\n  ${text}")
endif()
message("${count} files are as clang-format ${version} writes them")
