# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A throw-away PostgreSQL: own directory, own port on 127.0.0.1, unprivileged user, gone at exit.
#
#     postgres_start max_connections=600      sets PG_DIR PG_PORT PG_BIN PG_PASSWORD
#     postgres_psql DATABASE [psql's options]  as superuser, through the socket
#
# The role `pgweir` is a member of pg_monitor and logs in by TCP with PG_PASSWORD.

PG_BIN=${PG_BIN:-/usr/lib/postgresql/15/bin}

postgres_start() {
    local setting
    [ -x "$PG_BIN/initdb" ] || die "no PostgreSQL programs in $PG_BIN; set PG_BIN"
    PG_DIR=$(mktemp -d "${TMPDIR:-/tmp}/pgweir-postgres.XXXXXX")
    PG_PASSWORD=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
    chown "$(server_user)" "$PG_DIR"
    chmod 700 "$PG_DIR"
    at_exit postgres_stop
    quietly initdb as_server "$PG_BIN/initdb" -D "$PG_DIR/data" -U postgres --no-sync \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --no-locale
    PG_PORT=$(free_port)
    {
        printf '%s\n' "listen_addresses = '127.0.0.1'" "port = $PG_PORT" \
            "unix_socket_directories = '$PG_DIR'" "fsync = off" "track_functions = all" \
            "shared_buffers = 64MB"
        for setting in "$@"; do
            printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"
        done
    } | as_server tee -a "$PG_DIR/data/postgresql.conf" >/dev/null
    quietly "the throw-away PostgreSQL" as_server "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -w \
        -l "$PG_DIR/log" start
    postgres_psql postgres -c "CREATE ROLE pgweir LOGIN PASSWORD '$PG_PASSWORD' IN ROLE pg_monitor"
}

postgres_psql() {
    local database=$1
    shift
    (cd "$PG_DIR" && as_server "$PG_BIN/psql" -h "$PG_DIR" -p "$PG_PORT" -U postgres -d "$database" \
        -X -q -A -t -v ON_ERROR_STOP=1 "$@")
}

postgres_stop() {
    [ -n "${PG_DIR:-}" ] && [ -d "$PG_DIR" ] || return 0
    [ ! -f "$PG_DIR/data/postmaster.pid" ] ||
        as_server "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$PG_DIR"
}
