# add_cuda_kernels(target): adds our CUDA kernels, as texts that module.cpp compiles. The target links
# libtorch_cuda, libc10_cuda, libcudart and libnvrtc.
function(add_cuda_kernels TARGET)
  set(FOLDER ${CMAKE_CURRENT_FUNCTION_LIST_DIR})
  set(EMBEDDED ${CMAKE_CURRENT_BINARY_DIR}/cuda_sources.cpp)
  file(GLOB TEXTS CONFIGURE_DEPENDS ${FOLDER}/layout.h ${FOLDER}/kernels/*)
  add_custom_command(
    OUTPUT ${EMBEDDED}
    COMMAND ${CMAKE_COMMAND} -DFOLDER=${FOLDER} -DOUTPUT=${EMBEDDED} -P ${FOLDER}/embed.cmake
    DEPENDS ${TEXTS} ${FOLDER}/embed.cmake
    COMMENT "Embedding the CUDA kernels")
  target_sources(${TARGET} PRIVATE ${EMBEDDED})
  target_include_directories(${TARGET} PRIVATE ${FOLDER})
endfunction()
