#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# Runs the live cases on several kernels, each in a virtual machine of tools/vm, and shows each kernel's results.
#
#   tests/live/vm.sh [--jobs N] [KERNEL...]       default: 5.10 5.10+bpf 6.1 6.12 newest 6.12+tracepoints
#
# KERNEL: as tools/vm names them; with +tracepoints at the end the daemon runs on the signal tier although there is a
# stronger one. Exit status 0 when no case failed on any kernel.

set -euo pipefail

ROOT=$(realpath "$(dirname "$(realpath "$0")")/../..")
LIVE=$ROOT/build/tests/live
KERNELS=(5.10 5.10+bpf 6.1 6.12 newest 6.12+tracepoints)
PROGRAMS="/bin/sh /bin/rm /bin/mv /bin/rmdir /bin/sleep /bin/cat /bin/true /usr/bin/env /usr/bin/setsid /usr/bin/nohup
	/usr/bin/bwrap /usr/bin/rm /usr/bin/find /usr/bin/xargs /usr/bin/base64 /bin/dd /bin/sed /usr/bin/shred /bin/tar
	/bin/cp /bin/mkdir /usr/bin/install /usr/bin/make"
JOBS=2

# The tier that must guard files: without "bpf" in lsm= the hooks are never called.
tier_of()
{
	case $1 in
	*+tracepoints) echo signal ;;
	5.10 | *+nobpf) echo uprobe ;;
	*) echo lsm ;;
	esac
}

# run_one KERNEL: leaves its results in WORK/KERNEL.out and .done
run_one()
{
	local kernel=$1 program status=0 arguments=() more=()

	for program in $PROGRAMS; do
		[ ! -e "$program" ] || arguments+=(--add "$program")
	done
	[ "$kernel" = "${kernel%+tracepoints}" ] || more=(--tracepoints)
	SECONDS=0
	"$ROOT/tools/vm" run --kernel "${kernel%+tracepoints}" --timeout 1500 --memory 1536 --add "$ROOT/build/reprieve" \
		--add "$LIVE" "${arguments[@]}" -- "$LIVE/live" --vm --reprieve "$ROOT/build/reprieve" \
		--tier "$(tier_of "$kernel")" "${more[@]}" >"$WORK/$kernel.out" 2>&1 || status=$?
	echo "$status $SECONDS" >"$WORK/$kernel.done"
}

report()
{
	local kernel status seconds counts failed=0

	for kernel in "${KERNELS[@]}"; do
		read -r status seconds <"$WORK/$kernel.done"
		echo "--- $kernel"
		cat "$WORK/$kernel.out"
		counts=$(grep -E '^[0-9]+ passed, ' "$WORK/$kernel.out") || counts="no result"
		SUMMARY+="live $kernel: $counts ($seconds s)"
		[ "$status" = 0 ] || { SUMMARY+=" FAILED, exit status $status"; failed=1; }
		SUMMARY+=$'\n'
	done
	printf '\n%s' "$SUMMARY"
	awk '/no result/ { failed++ }
		{ for (i = 2; i <= NF; i++) {
			if ($i ~ /^passed/) passed += $(i - 1)
			if ($i ~ /^failed/) failed += $(i - 1)
			if ($i ~ /^skipped/) skipped += $(i - 1)
		} }
		END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' <<<"$SUMMARY"
	return $failed
}

main()
{
	local kernel

	[ "${1-}" != --jobs ] || { JOBS=$2; shift 2; }
	[ $# -eq 0 ] || KERNELS=("$@")
	SUMMARY=''
	WORK=$(mktemp -d)
	trap 'rm -rf "$WORK"' EXIT
	trap 'kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM
	for kernel in "${KERNELS[@]}"; do
		while [ "$(jobs -r -p | wc -l)" -ge "$JOBS" ]; do
			wait -n || true
		done
		run_one "$kernel" &
	done
	wait
	report
}

main "$@"
