# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # work, ports, interval_ms, per_url and the rest are perf/peers'
# The programs that perf/peers measures, each set up for its own best over the same servers. A
# start_… function sets
#
#     pids      of all its processes
#     urls      what to scrape; empty: it delivers by itself
#     per_url   servers that one answer speaks of
#
# and leaves it running and warmed up; peer_points tells how many collections and points there were.

dsn_of() { echo "postgresql://pgweir:${passwords[$1]}@127.0.0.1:${ports[$1]}/app?sslmode=disable"; }

# run_peer NAME LOG COMMAND…: in the background, until stop_peers.
run_peer() {
    local name=$1 log=$work/$2.log
    shift 2
    "$@" >"$log" 2>&1 &
    pids+=($!)
    at_exit end_process $!
    sleep 0.2
    kill -0 "${pids[-1]}" 2>/dev/null || die "$name ended at once: $(tail "$log")"
}

stop_peers() {
    local pid
    for pid in "${pids[@]}"; do
        end_process "$pid"
    done
    wait "${pids[@]}" 2>/dev/null || true
}

# ---- prometheus-postgres-exporter ----

# 0.11 reads table statistics by the queries file that its package ships, without the query of an
# extension that is not there; 0.19 has them built in.
_exporter_options() {
    options=(--log.level=warn)
    [ "$1" = postgres-exporter-0.11 ] || return 0
    awk '/^[a-z]/ { on = $1 != "pg_stat_statements:" } on' \
        "$(find "$CACHE/$1/usr/share/doc" -name queries.yaml)" >"$work/queries.yaml"
    options+=(--extend.query-path="$work/queries.yaml")
}

_exporter_check() {
    local url
    for url in "${urls[@]}"; do
        _wait_http "$url" "${pids[0]}" "$work/$1.log"
        curl -sf "$url" -o "$work/$1.text"
        grep -q '^pg_stat_user_tables_n_live_tup{.*t1"' "$work/$1.text" ||
            die "$1 does not report the tables: $(tail -n 3 "$work/$1.log")"
    done
}

# One process per server.
start_exporter() {
    local name=$1 i port options
    _exporter_options "$name"
    for i in "${!ports[@]}"; do
        port=$(free_port)
        run_peer "$name" "$name" env DATA_SOURCE_NAME="$(dsn_of "$i")" \
            "$CACHE/$name/postgres_exporter" --web.listen-address="127.0.0.1:$port" "${options[@]}"
        urls+=("http://127.0.0.1:$port/metrics")
    done
    _exporter_check "$name"
}

# One process, a server per request: /probe?target=…, the multi-target mode of 0.19.
start_exporter_probe() {
    local name=$1 i port options
    _exporter_options "$name"
    {
        echo "auth_modules:"
        for i in "${!ports[@]}"; do
            cat <<YAML
  server$i:
    type: userpass
    userpass: {username: pgweir, password: "${passwords[$i]}"}
    options: {sslmode: disable}
YAML
        done
    } >"$work/exporter.yml"
    port=$(free_port)
    run_peer "$name" "$name" "$CACHE/$name/postgres_exporter" --config.file="$work/exporter.yml" \
        --web.listen-address="127.0.0.1:$port" "${options[@]}"
    for i in "${!ports[@]}"; do
        urls+=("http://127.0.0.1:$port/probe?target=127.0.0.1:${ports[$i]}/app&auth_module=server$i")
    done
    _exporter_check "$name"
}

# ---- prometheus-sql-exporter ----

# A job per server at the interval; every number of a view is a value of one query.
start_sql_exporter() {
    local i port
    {
        echo "jobs:"
        for i in "${!ports[@]}"; do
            cat <<YAML
  - name: server$i
    interval: ${interval_ms}ms
    connections: ['postgres://pgweir:${passwords[$i]}@127.0.0.1:${ports[$i]}/app?sslmode=disable']
    queries:
YAML
            _sql_query user_tables "schemaname relname" pg_stat_user_tables "seq_scan seq_tup_read
                idx_scan idx_tup_fetch n_tup_ins n_tup_upd n_tup_del n_tup_hot_upd n_live_tup
                n_dead_tup n_mod_since_analyze n_ins_since_vacuum vacuum_count autovacuum_count
                analyze_count autoanalyze_count"
            _sql_query io_user_tables "schemaname relname" pg_statio_user_tables "heap_blks_read
                heap_blks_hit idx_blks_read idx_blks_hit toast_blks_read toast_blks_hit
                tidx_blks_read tidx_blks_hit"
            _sql_query databases "datname" pg_stat_database "numbackends xact_commit xact_rollback
                blks_read blks_hit tup_returned tup_fetched tup_inserted tup_updated tup_deleted
                conflicts temp_files temp_bytes deadlocks blk_read_time blk_write_time"
            _sql_query bgwriter "" pg_stat_bgwriter "checkpoints_timed checkpoints_req
                checkpoint_write_time checkpoint_sync_time buffers_checkpoint buffers_clean
                maxwritten_clean buffers_backend buffers_backend_fsync buffers_alloc"
        done
    } >"$work/sql-exporter.yml"
    port=$(free_port)
    run_peer sql-exporter sql-exporter env LOGLEVEL=warn GOGC=40 "$CACHE/sql-exporter/sql_exporter" \
        -config.file "$work/sql-exporter.yml" -web.listen-address "127.0.0.1:$port"
    urls=("http://127.0.0.1:$port/metrics")
    per_url=${#ports[@]}
    _wait_http "${urls[0]}" "${pids[0]}" "$work/sql-exporter.log"
    for i in $(seq 50); do
        sleep 0.2
        curl -sf "${urls[0]}" -o "$work/sql-exporter.text"
        ! grep -q '^sql_bgwriter{' "$work/sql-exporter.text" || return 0
    done
    die "sql-exporter does not report: $(tail -n 3 "$work/sql-exporter.log")"
}

# _sql_query NAME LABELS VIEW VALUES
_sql_query() {
    local labels values columns
    # shellcheck disable=SC2086 # lists of words
    labels=$(printf '%s, ' $2) values=$(printf '%s, ' $4)
    # shellcheck disable=SC2086
    columns=$(printf '%s::text, ' $2)$(printf '%s\n' $4 | sed 's/.*/coalesce(&, 0) AS &,/' | xargs)
    [ -n "$2" ] || labels='' columns=${columns#::text, }
    cat <<YAML
      - name: $1
        help: "$3"
        labels: [${labels%, }]
        values: [${values%, }]
        query: SELECT ${columns%,} FROM $3
YAML
}

# ---- collectd ----

# One connection per server, all stock queries, its own binary protocol over UDP (to a port where
# nobody listens: csv costs three times as much, write_prometheus the same and a scrape).
COLLECTD_QUERIES="backends transactions queries queries_by_table query_plans table_states
    query_plans_by_table table_states_by_table disk_io disk_io_by_table disk_usage"

# _collectd_config INTERVAL-S PLUGIN TEXT
_collectd_config() {
    local directory=$CACHE/collectd i
    cat <<CONF
BaseDir "$work"
PIDFile "$work/collectd.pid"
PluginDir "$directory/usr/lib/collectd"
TypesDB "$directory/usr/share/collectd/types.db"
Interval $1
Hostname "host"
FQDNLookup false
ReadThreads ${#ports[@]}
LoadPlugin postgresql
<Plugin postgresql>
$(cat "$directory/usr/share/collectd/postgresql_default.conf")
CONF
    for i in "${!ports[@]}"; do
        cat <<CONF
  <Database app>
    Host "127.0.0.1"
    Port "${ports[$i]}"
    User "pgweir"
    Password "${passwords[$i]}"
    SSLMode "disable"
    Instance "server$i"
$(tr -s ' \n' '\n' <<<"$COLLECTD_QUERIES" | sed 's/^/    Query /')
  </Database>
CONF
    done
    printf '</Plugin>\nLoadPlugin %s\n%s\n' "$2" "$3"
}

# Values that one reading of one server gives, counted in files of the csv plugin.
_collectd_count() {
    local pids=()
    rm -rf "$work/csv"
    mkdir "$work/csv"
    _collectd_config 0.5 csv "<Plugin csv>
DataDir \"$work/csv\"
</Plugin>" >"$work/collectd.conf"
    run_peer collectd collectd "$CACHE/collectd/collectd" -f -C "$work/collectd.conf"
    sleep 3
    stop_peers
    # -exec … + may start awk more than once
    collectd_values=$(find "$work/csv" -type f -exec awk -F, 'FNR == 1 { n += NF - 1 } END { print n }' \
        {} + | awk -v servers="${#ports[@]}" '{ n += $1 } END { print n / servers }')
    rm -rf "$work/csv"
    [ "${collectd_values%.*}" -gt 100 ] || die "collectd reports nothing: $(tail "$work/collectd.log")"
}

start_collectd() {
    _collectd_count
    _collectd_config "$(calculate "$interval_ms / 1000")" network "<Plugin network>
Server \"127.0.0.1\" \"$(free_port)\"
</Plugin>" >"$work/collectd.conf"
    run_peer collectd collectd "$CACHE/collectd/collectd" -f -C "$work/collectd.conf"
    sleep 3
}

# ---- pgweir ----

start_pgweir() {
    local i
    [ -n "${SINK_PID:-}" ] || sink_start "$build" --count-only
    {
        cat <<YAML
receivers:
  postgresql:
    username: pgweir
    database: app
    collection_interval: ${interval_ms}ms
    initial_delay: 100ms
    timeout: 5s
    tls: {insecure: true}
    targets:
YAML
        for i in "${!ports[@]}"; do
            echo "      - {name: server$i, endpoint: '127.0.0.1:${ports[$i]}', password: '${passwords[$i]}'}"
        done
        cat <<YAML
processors:
  batch:
exporters:
  otlp_http:
    endpoint: $SINK_URL
    tls: {insecure: true}
extensions:
  health_check:
    endpoint: @ADMIN@
service:
  extensions: [health_check]
  pipelines:
    metrics:
      receivers: [postgresql]
      processors: [batch]
      exporters: [otlp_http]
YAML
    } >"$work/pgweir.yaml"
    weir_start "$build" "$work/pgweir.yaml"
    pids=("$WEIR_PID")
    sleep 4
}
