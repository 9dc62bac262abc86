# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash

# build_preset NAME [TARGET…]: configures and builds a preset of CMakePresets.json in build/NAME.
build_preset() {
    local preset=$1 target
    shift
    local arguments=()
    for target in "$@"; do
        arguments+=(--target "$target")
    done
    say "building build/$preset with $CORES jobs"
    (cd "$ROOT" && quietly "cmake --preset $preset" cmake --preset "$preset")
    (cd "$ROOT" && quietly "cmake --build build/$preset" \
        cmake --build "build/$preset" -j "$CORES" "${arguments[@]}")
}
