# The library for others: one archive of all folders but arc and the tools, as rondo::rondo; headers, package config, program.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(objects)
foreach(folder graph kvcache ops importer executor cachedir text api)
  get_target_property(type rondo_${folder} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    list(APPEND objects $<TARGET_OBJECTS:rondo_${folder}>)
  endif()
endforeach()
get_property(isa_objects GLOBAL PROPERTY RONDO_ISA_OBJECTS)

add_library(rondo_library STATIC ${objects} ${isa_objects})
add_library(rondo::rondo ALIAS rondo_library)
set_target_properties(rondo_library PROPERTIES OUTPUT_NAME rondo EXPORT_NAME rondo LINKER_LANGUAGE CXX)
target_compile_features(rondo_library PUBLIC cxx_std_20)
target_include_directories(rondo_library PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# Abseil is in the headers; the rest only needs to be linked.
target_link_libraries(rondo_library PUBLIC absl::status absl::statusor absl::strings absl::inlined_vector absl::span)
target_link_libraries(rondo_library PRIVATE absl::flat_hash_map absl::btree absl::synchronization absl::function_ref
  absl::str_format absl::time ${RONDO_ONNX} protobuf::libprotobuf DNNL::dnnl re2::re2 ICU::uc ICU::i18n ${RONDO_XXHASH} ${RONDO_IMAGE_LIBRARIES} OpenMP::OpenMP_CXX Threads::Threads)
if(RONDO_SANITIZE)
  target_link_options(rondo_library PUBLIC -fsanitize=${RONDO_SANITIZE})
endif()

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rondo)
install(TARGETS rondo_library EXPORT rondo ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS rondo RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/rondo DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT rondo NAMESPACE rondo:: FILE rondo-targets.cmake DESTINATION ${config_dir})
configure_package_config_file(cmake/rondo-config.cmake.in ${PROJECT_BINARY_DIR}/rondo-config.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/rondo-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/rondo-config.cmake ${PROJECT_BINARY_DIR}/rondo-config-version.cmake
  cmake/FindOneDNN.cmake cmake/FindRE2.cmake DESTINATION ${config_dir})
