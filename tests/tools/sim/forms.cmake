# SPDX-License-Identifier: Apache-2.0
# Recordings and forms: what the simulator answers, without its sockets.
add_library(sim_forms STATIC ${CMAKE_CURRENT_LIST_DIR}/forms.c)
target_compile_definitions(sim_forms PUBLIC FORMS_RECORDINGS="${PROJECT_SOURCE_DIR}/tools/sim/recordings")
target_link_libraries(sim_forms PUBLIC pgweir_sim PRIVATE PkgConfig::cmocka)
foreach(test form form_shape form_native form_select recording)
    pgweir_test(test_sim_${test} SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${test}.c LIBS sim_forms)
endforeach()
pgweir_test(test_sim_recording_live SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_recording_live.c
            LIBS sim_forms pgweir_cluster PkgConfig::libpq)
set_tests_properties(test_sim_recording_live PROPERTIES LABELS live)
