# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What perf/run and perf/check share: the benchmark programs, and where numbers come from.

# bench_stages: names of all stages, in the order of a point's path.
bench_stages() {
    local order="decode series page ring encode compress wheel loop histogram retry limiter config catalog"
    local name file
    for name in $order; do
        [ ! -e "$ROOT/perf/bench_$name.c" ] || echo "$name"
    done
    for file in "$ROOT"/perf/bench_*.c; do
        name=${file##*/bench_}
        case " $order " in
            *" ${name%.c} "*) ;;
            *) echo "${name%.c}" ;;
        esac
    done
}

# bench_wanted [NAME…]: a line "stage filter" for each stage named; a NAME is a stage, or a stage and
# a regular expression for its benchmarks (decode, decode/packed). All of them without a NAME.
bench_wanted() {
    local name stage known
    [ $# -gt 0 ] || mapfile -t known < <(bench_stages)
    for name in "${@:-${known[@]}}"; do
        stage=${name%%/*}
        if [ ! -e "$ROOT/perf/bench_$stage.c" ]; then
            echo "${0##*/}: no stage \"$stage\"; there are: $(bench_stages | xargs)" >&2
            return 2
        fi
        if [ "$stage" = "$name" ]; then
            echo "$stage ."
        else
            echo "$stage ${name#*/}"
        fi
    done | awk '
        !($1 in filter) { order[++n] = $1; filter[$1] = $2; next }
        { filter[$1] = filter[$1] "|" $2 }
        END { for (i = 1; i <= n; i++) print order[i], filter[order[i]] }'
}

# machine_json: where numbers were measured.
machine_json() {
    jq -n --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
        --argjson cores "$CORES" --arg kernel "$(uname -sr)" \
        --argjson memory "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)" \
        '{cpu: $cpu, cores: $cores, kernel: $kernel, memory_mib: $memory}'
}

# commit_text: what was measured; "+" where the tree has changes beside perf/results/.
commit_text() {
    local commit
    commit=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null) || return 0
    [ -z "$(git -C "$ROOT" status --porcelain -- . ':!perf/results' 2>/dev/null)" ] || commit=$commit+
    echo "$commit"
}

# toolchain_json BUILD-DIRECTORY: what decides how many instructions a kernel has.
toolchain_json() {
    local compiler flags simd library list='{}'
    compiler=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$1/CMakeCache.txt")
    flags=$(sed -n 's/^CMAKE_BUILD_TYPE:[A-Z]*=//p' "$1/CMakeCache.txt")
    # of what valgrind shows to a program
    simd=$(grep -m 1 '^flags' /proc/cpuinfo | grep -owE 'avx|avx2' | tail -n 1 || true)
    for library in libpq libisal libdeflate libzstd jansson libfyaml jemalloc liburing; do
        list=$(jq -c --arg name "$library" \
            --arg version "$(pkg-config --modversion "$library" 2>/dev/null || echo none)" \
            '.[$name] = $version' <<<"$list")
    done
    jq -n --arg compiler "$("$compiler" --version | head -n 1)" --arg build "$flags" \
        --arg libc "$(getconf GNU_LIBC_VERSION)" --arg processor "$(uname -m) ${simd:-}" \
        --arg valgrind "$(valgrind --version 2>/dev/null || echo none)" --argjson libraries "$list" \
        '{compiler: $compiler, build: $build, libc: $libc, processor: $processor,
          valgrind: $valgrind} + $libraries'
}
