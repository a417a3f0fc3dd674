/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The scan of include/sqlscan.h as the kernel runs it, on a text that test_sqlscan.c puts into a map. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "sqlscan.h"
#include "sqlscan_case.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct sqlscan_case);
} scan_case SEC(".maps");

SEC("tc")
int scan(void *ctx)
{
	struct sql_scan_state state;
	struct sqlscan_case *one;
	__u32 zero = 0;

	one = bpf_map_lookup_elem(&scan_case, &zero);
	if (!one)
		return -1;
	sql_scan_begin(&state);
	for (__u32 i = 0; i < SQL_BYTES; i++) {
		if (i >= one->length)
			break;
		sql_scan_step(&state, (__u8)one->text[i]);
	}
	one->hit = sql_scan_hit(&state);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
