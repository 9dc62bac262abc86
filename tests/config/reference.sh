#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# reference.sh PGWEIR DOCUMENT [--update]: the document must end with what `pgweir reference`
# prints, after the marker line; --update writes it there.
set -eu
pgweir=$1 document=$2
marker='<!-- generated: pgweir reference -->'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed "/^$marker\$/q" "$document" >"$work/expected"
grep -qx -- "$marker" "$work/expected" || { echo "$document has no line $marker" >&2; exit 1; }
"$pgweir" reference >"$work/reference"
{ echo; cat "$work/reference"; } >>"$work/expected"
if [ "${3:-}" = --update ]; then
    cp "$work/expected" "$document"
elif ! diff -u "$document" "$work/expected"; then
    echo "$document is out of date: run $0 $pgweir $document --update" >&2
    exit 1
fi
