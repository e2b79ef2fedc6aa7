# Installs rondo to a folder of its own, builds examples/ against that copy as a user would, and runs them:
#   cmake -DSOURCE_DIR= -DBINARY_DIR= -DCXX= -P install_test.cmake
set(work ${BINARY_DIR}/install_test)
set(model ${SOURCE_DIR}/tests/data/models/arc-mini)
file(REMOVE_RECURSE ${work})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\n${output}\nfailed with ${result}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${work}/installed)
run(${CMAKE_COMMAND} -G Ninja -S ${SOURCE_DIR}/examples -B ${work}/build -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${work}/installed)
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/installed/bin/rondo ops)
run(${work}/build/minimal ${model})
if(NOT output MATCHES "logits: \\[1, 1, 320\\]")
  message(FATAL_ERROR "minimal printed:\n${output}")
endif()
file(READ ${SOURCE_DIR}/examples/puzzle.txt puzzle)
run(${work}/build/generate ${model} ${puzzle})
if(NOT output MATCHES "543\n800\n092\n")
  message(FATAL_ERROR "generate printed:\n${output}")
endif()
