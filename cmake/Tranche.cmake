# The three things that every folder of Tranche declares: a library, its tests, a program.
# A library's DEPENDS are the folders it may include; scripts/check-layers holds them to src/LAYERS.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(GTest REQUIRED)
include(GoogleTest)

find_program(TRANCHE_CCACHE ccache)
if(TRANCHE_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${TRANCHE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TRANCHE_CCACHE})
endif()

add_library(tranche_options INTERFACE)
target_include_directories(tranche_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(tranche_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror -fvisibility=hidden)
# g++ 12 sees overlapping copies in std::string concatenation that are not there (GCC bug 105651).
target_compile_options(tranche_options INTERFACE $<$<CONFIG:Release>:-Wno-restrict>)
if(TRANCHE_SANITIZE)
  # Sanitized objects link only with sanitized ones, so the flag is global rather than a target's.
  add_compile_options(-fsanitize=${TRANCHE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${TRANCHE_SANITIZE})
endif()

# tranche_library(NAME SOURCES files... [DEPENDS libraries...])
function(tranche_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC tranche_options ${arg_DEPENDS})
endfunction()

# tranche_test(NAME SOURCES files... [DEPENDS libraries...] [LABELS labels...])
# One GoogleTest program; every TEST in it is a ctest of its own, labelled `unit` besides what is given. In a
# sanitized build the program is one ctest.
function(tranche_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE tranche_options ${arg_DEPENDS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE TRANCHE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test)
  # Discovery passes properties through one list, which would split a list of labels; `ctest -L` matches a
  # regular expression, so "unit+threads" answers to either name.
  list(PREPEND arg_LABELS unit)
  list(JOIN arg_LABELS "+" labels)
  if(TRANCHE_SANITIZE)
    # A sanitized process takes long to start, so there is one for each program and not one for each test.
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS ${labels} TIMEOUT 600)
  else()
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 DISCOVERY_MODE PRE_TEST
                         PROPERTIES LABELS ${labels} TIMEOUT 120)
  endif()
endfunction()

# tranche_program(NAME SOURCES files... [DEPENDS libraries...])
function(tranche_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE tranche_options ${arg_DEPENDS})
endfunction()

# tranche_embed(TARGET SYMBOL_PREFIX files...): puts files into TARGET as bytes, by .incbin (a 500 KB file
# costs the compiler nothing). For each file NAME.EXT: `extern "C" const char SYMBOL_PREFIX_NAME_EXT[]` and
# `..._end[]`.
function(tranche_embed target prefix)
  set(asm ${CMAKE_CURRENT_BINARY_DIR}/${target}_embed.S)
  set(text ".section .rodata\n")
  set(inputs "")
  foreach(file ${ARGN})
    get_filename_component(path ${file} ABSOLUTE)
    get_filename_component(name ${file} NAME)
    string(MAKE_C_IDENTIFIER ${name} symbol)
    set(symbol ${prefix}_${symbol})
    string(APPEND text ".balign 16\n.global ${symbol}\n${symbol}:\n.incbin \"${path}\"\n"
                       ".global ${symbol}_end\n${symbol}_end:\n.byte 0\n")
    list(APPEND inputs ${path})
  endforeach()
  string(APPEND text ".section .note.GNU-stack,\"\",@progbits\n")
  file(GENERATE OUTPUT ${asm} CONTENT "${text}")
  set_source_files_properties(${asm} PROPERTIES OBJECT_DEPENDS "${inputs}" GENERATED TRUE)
  target_sources(${target} PRIVATE ${asm})
endfunction()
