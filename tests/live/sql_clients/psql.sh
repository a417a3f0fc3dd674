#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# psql.sh MODE CONNINFO STATEMENT...: sends the statements with psql.
#   commands     each by a -c of its own
#   string       all in one -c, hence in one message
#   file         from a file, left in $TMPDIR
#   transaction  from a file, with -1
#   stdin        from standard input
set -eu

mode=$1
conninfo=$2
shift 2

script() {
	file=$(mktemp)
	printf '%s;\n' "$@" >"$file"
}

set_commands() {
	for statement; do
		shift
		set -- "$@" -c "$statement"
	done
	exec psql -X -v ON_ERROR_STOP=1 -d "$conninfo" "$@"
}

case $mode in
commands)
	set_commands "$@"
	;;
string)
	exec psql -X -v ON_ERROR_STOP=1 -d "$conninfo" -c "$(printf '%s; ' "$@")"
	;;
file)
	script "$@"
	exec psql -X -v ON_ERROR_STOP=1 -d "$conninfo" -f "$file"
	;;
transaction)
	script "$@"
	exec psql -X -v ON_ERROR_STOP=1 -1 -d "$conninfo" -f "$file"
	;;
stdin)
	script "$@"
	exec psql -X -v ON_ERROR_STOP=1 -d "$conninfo" <"$file"
	;;
*)
	echo "psql.sh: no such mode: $mode" >&2
	exit 2
	;;
esac
