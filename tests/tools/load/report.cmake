# SPDX-License-Identifier: Apache-2.0
# The report's and the comparison's tests: what is written, and what a browser makes of it.
if(NOT TARGET pgweir_report_page)
    add_subdirectory(${PROJECT_SOURCE_DIR}/tools/load/page ${CMAKE_CURRENT_BINARY_DIR}/page)
endif()
add_library(report_under_test STATIC ${PROJECT_SOURCE_DIR}/tools/load/report.c
            ${PROJECT_SOURCE_DIR}/tools/load/compare.c)
target_link_libraries(report_under_test PUBLIC pgweir_flags pgweir_base pgweir_report_page
                      PkgConfig::jansson PkgConfig::openssl m)
foreach(name report compare)
    pgweir_test(test_${name} SOURCES test_${name}.c LIBS report_under_test)
    target_compile_definitions(test_${name} PRIVATE
        DATA_DIRECTORY="${CMAKE_CURRENT_SOURCE_DIR}/data")
endforeach()

add_executable(report_page report_page.c)
target_link_libraries(report_page PRIVATE report_under_test)
find_program(PGWEIR_PYTHON3 python3)
if(PGWEIR_PYTHON3)
    add_test(NAME report_page COMMAND ${PGWEIR_PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/test_report_page.py)
    set_tests_properties(report_page PROPERTIES TIMEOUT 240 SKIP_RETURN_CODE 77 LABELS "scenario"
        ENVIRONMENT "REPORT_PAGE=$<TARGET_FILE:report_page>;PYTHONDONTWRITEBYTECODE=1")
endif()
