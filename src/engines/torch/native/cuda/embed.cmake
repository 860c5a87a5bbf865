# Writes the texts of the kernels into a C++ file:
#   cmake -DFOLDER=<of this file> -DOUTPUT=<file> -P embed.cmake
file(GLOB PROGRAMS ${FOLDER}/kernels/*.cu)
file(GLOB HEADERS ${FOLDER}/layout.h ${FOLDER}/kernels/*.h ${FOLDER}/kernels/*.cuh)

set(TEXT "// Written by embed.cmake.\n\n#include \"sources.h\"\n\nnamespace cuda {\n")
foreach(LIST PROGRAMS HEADERS)
  string(APPEND TEXT "\nconst std::vector<Source> ${LIST} = {\n")
  foreach(FILE ${${LIST}})
    file(READ ${FILE} CONTENT)
    get_filename_component(NAME ${FILE} NAME)
    string(APPEND TEXT "{\"${NAME}\", R\"kernel(${CONTENT})kernel\"},\n")
  endforeach()
  string(APPEND TEXT "};\n")
endforeach()
string(APPEND TEXT "\n}  // namespace cuda\n")
file(WRITE ${OUTPUT} "${TEXT}")
