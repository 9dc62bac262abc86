# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian packages: install_packages asks apt only for what is missing and says so.

BUILD_PACKAGES="build-essential cmake ninja-build pkg-config liburing-dev libpq-dev libck-dev
    libjemalloc-dev libcurl4-openssl-dev libfyaml-dev libjansson-dev libmicrohttpd-dev libisal-dev
    libdeflate-dev libzstd-dev libsnappy-dev libxxhash-dev libc-ares-dev libcmocka-dev libbenchmark-dev
    libssl-dev"
SERVER_PACKAGES="postgresql-15"
RUN_PACKAGES="curl"
TEST_PACKAGES="ca-certificates protobuf-compiler jq python3 openssl zstd clang-14 libclang-rt-14-dev
    valgrind"

missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | cut -c2)" = i ] ||
            echo "$name"
    done
}

_apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"; }

# The postgresql package starts a server of its own when first installed. We only want the
# programs, so the installation is told to make no cluster, and told by a file that goes away again.
_without_main_cluster() {
    local conf=/etc/postgresql-common/createcluster.d/00-no-main-cluster.conf status=0
    quietly "apt-get install postgresql-common" _apt install --no-install-recommends postgresql-common
    as_root mkdir -p "${conf%/*}"
    echo "create_main_cluster = false" | as_root tee "$conf" >/dev/null
    "$@" || status=$?
    as_root rm -f "$conf"
    return "$status"
}

# install_packages NAME…: installs those that are not there yet.
install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    quietly "apt-get update" _apt update
    local install=(quietly "apt-get install" _apt install --no-install-recommends "${missing[@]}")
    case " ${missing[*]} " in
        *" postgresql-"[0-9]*) _without_main_cluster "${install[@]}" ;;
        *) "${install[@]}" ;;
    esac
}

install_to_run() {
    # shellcheck disable=SC2086 # the lists are words
    install_packages $BUILD_PACKAGES $SERVER_PACKAGES $RUN_PACKAGES
}

install_to_test() {
    install_to_run
    # shellcheck disable=SC2086
    install_packages $TEST_PACKAGES
    command -v npm >/dev/null || install_packages npm
    # What looks at the report of pgweir-load.
    command -v chromium >/dev/null || install_packages chromium-headless-shell
}
