# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# pgweir and its sink as children of a measuring script, and what the kernel and /metrics say of them.
#
#     sink_start BUILD                 sets SINK_PID SINK_URL SINK_DUMPS
#     weir_start BUILD CONFIG-FILE     sets WEIR_PID; @ADMIN@ in the file becomes WEIR_ADMIN

SINK_DUMPS=
sink_start() {
    local build=$1 port
    shift
    port=$(free_port)
    SINK_URL=http://127.0.0.1:$port
    SINK_DUMPS=$(mktemp -d)
    "$build/tools/sink/pgweir-sink" --listen "127.0.0.1:$port" "$@" >"$SINK_DUMPS.log" 2>&1 &
    SINK_PID=$!
    at_exit rm -rf "$SINK_DUMPS" "$SINK_DUMPS.log"
    at_exit end_process "$SINK_PID"
    _wait_http "$SINK_URL/report" "$SINK_PID" "$SINK_DUMPS.log"
}

weir_start() {
    local build=$1 config=$2
    WEIR_ADMIN=http://127.0.0.1:$(free_port)
    sed -i "s|@ADMIN@|${WEIR_ADMIN#http://}|" "$config"
    WEIR_LOG=$config.log
    "$build/engine/pgweir" run --config "$config" >"$WEIR_LOG" 2>&1 &
    WEIR_PID=$!
    at_exit end_process "$WEIR_PID"
    _wait_http "$WEIR_ADMIN/livez" "$WEIR_PID" "$WEIR_LOG"
}

weir_stop() {
    kill -TERM "$WEIR_PID"
    wait "$WEIR_PID" || die "pgweir ended with exit code $?: $(tail -n 20 "$WEIR_LOG")"
}

# weir_metrics FILE: /metrics as of now.
weir_metrics() { curl -sf "$WEIR_ADMIN/metrics" -o "$1"; }

_wait_http() {
    local url=$1 pid=$2 log=$3
    for _ in $(seq 100); do
        ! curl -sf -o /dev/null "$url" || return 0
        kill -0 "$pid" 2>/dev/null || die "ended at once: $(cat "$log")"
        sleep 0.1
    done
    die "$url does not answer: $(tail -n 20 "$log")"
}

# threads_ns PID: lines "comm ns", CPU time by thread name.
threads_ns() {
    local task
    for task in /proc/"$1"/task/*; do
        printf '%s %s\n' "$(tr ' ' _ <"$task/comm")" "$(cut -d' ' -f1 "$task/schedstat")"
    done
}

# rss_bytes PID
rss_bytes() { awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$1/status"; }

# metric_delta BEFORE AFTER NAME [LABELS]
metric_delta() {
    awk -v a="$(metric_real "$1" "$3" "${4:-}")" -v b="$(metric_real "$2" "$3" "${4:-}")" \
        'BEGIN { printf "%.9f\n", b - a }'
}

# metric_real FILE NAME [LABELS]: as metric_sum, with fraction.
metric_real() {
    awk -v name="$2" -v labels="${3:-}" '
        index($0, name) == 1 && (substr($0, length(name) + 1, 1) ~ /[{ ]/) && index($0, labels) {
            sum += $NF
        }
        END { printf "%.9f\n", sum }' "$1"
}

# metric_quantile BEFORE AFTER NAME Q: the upper bound (seconds) of the bucket that holds the
# quantile of what was recorded in between, over all label sets.
metric_quantile() {
    awk -v name="$3_bucket{" -v q="$4" '
        index($0, name) == 1 && match($0, /le="[^"]*"/) {
            le = substr($0, RSTART + 4, RLENGTH - 5)
            count[le] += FILENAME == ARGV[1] ? -$NF : $NF
        }
        END {
            for (le in count) {
                bound = le == "+Inf" ? 1e300 : le + 0
                if (bound == 1e300) total = count[le]
                bounds[++n] = bound; of[bound] = count[le]
            }
            best = 1e300
            for (i = 1; i <= n; i++)
                if (of[bounds[i]] >= q * total && bounds[i] < best) best = bounds[i]
            printf "%.6f\n", best
        }' "$1" "$2"
}

# calculate EXPRESSION [FORMAT]
calculate() { awk "BEGIN { printf \"${2:-%.3f}\\n\", $1 }"; }
