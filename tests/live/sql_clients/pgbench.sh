#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# pgbench.sh MODE CONNINFO STATEMENT...: one client runs the statements once, in the protocol that MODE names: simple,
# extended or prepared (pgbench -M). The script is left in $TMPDIR.
set -eu

mode=$1
conninfo=$2
shift 2
file=$(mktemp)
printf '%s;\n' "$@" >"$file"
exec pgbench -n -M "$mode" -c 1 -t 1 -f "$file" "$conninfo"
