# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every command here shares. A command begins with:
#
#     set -euo pipefail
#     . "$(dirname "$0")/lib/common.sh"
#
# ROOT is the top of the source tree; CACHE holds what was fetched once (safe to delete).

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pgweir
CORES=$(nproc)
export ROOT CACHE CORES

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# as_root COMMAND…: runs it as root, by sudo where needed.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root for: $*; run as root or install sudo"
    fi
}

# The user that throw-away servers run as: postgres (made by the package) when we are root.
server_user() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

# as_server COMMAND…: runs it as server_user. A server must never run as root. AS_SERVER is the same
# as a prefix that execs, so that `"${AS_SERVER[@]}" COMMAND… &` leaves the command's own pid in $!.
AS_SERVER=(env)
[ "$(id -u)" != 0 ] || AS_SERVER=(setpriv --reuid=postgres --regid=postgres --init-groups --)
as_server() { (cd / && exec "${AS_SERVER[@]}" "$@"); }

# at_exit COMMAND…: runs it when the command ends, however it ends; the last registered first.
_at_exit=()
at_exit() {
    _at_exit+=("$(printf '%q ' "$@")")
    trap _run_at_exit EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}
_run_at_exit() {
    local status=$? i
    trap '' INT TERM HUP
    trap - EXIT
    for ((i = ${#_at_exit[@]} - 1; i >= 0; i--)); do
        eval "${_at_exit[i]}" || true
    done
    exit "$status"
}

# end_process PID: asks it to end, waits 10 s, then makes it.
end_process() {
    local pid=$1 i
    kill -TERM "$pid" 2>/dev/null || return 0
    for ((i = 0; i < 100; i++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

# free_port: a TCP port of 127.0.0.1 that nobody uses right now.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no free TCP port between 20000 and 32000"
}

# seconds_of DURATION: "30s", "2m", "1h" or plain seconds as seconds.
seconds_of() {
    local number=${1%[smh]}
    [[ $number =~ ^[0-9]+$ ]] || die "\"$1\" is not a duration; write 30s, 2m or 1h"
    case $1 in
        *m) echo $((number * 60)) ;;
        *h) echo $((number * 3600)) ;;
        *) echo "$number" ;;
    esac
}

# cpu_ns PID: CPU time of all threads of a process, ns.
cpu_ns() {
    awk '{ sum += $1 } END { printf "%.0f\n", sum }' "/proc/$1/task/"*/schedstat
}

# metric_sum TEXT-FILE NAME [LABEL-PATTERN]: sum of a metric's samples in Prometheus text.
metric_sum() {
    awk -v name="$2" -v labels="${3:-}" '
        index($0, name) == 1 && (substr($0, length(name) + 1, 1) ~ /[{ ]/) && index($0, labels) {
            sum += $NF
        }
        END { printf "%.0f\n", sum }' "$1"
}

# quietly WHAT COMMAND…: shows the command's output only when it fails.
quietly() {
    local what=$1 log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        local status=$?
        cat "$log" >&2
        rm -f "$log"
        printf '%s: %s failed (exit %d), its output is above\n' "${0##*/}" "$what" "$status" >&2
        return "$status"
    fi
}

# Where tools/pg-versions puts PostgreSQL servers: they never run as root, so root's own cache is no
# place for them.
if [ -z "${PGWEIR_PG_DIR:-}" ]; then
    PGWEIR_PG_DIR=$CACHE/pg
    [ "$(id -u)" != 0 ] || PGWEIR_PG_DIR=/var/cache/pgweir/pg
fi
export PGWEIR_PG_DIR
