/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cases of test_decide.c through the very functions that the guard decides by: this object is linked with those
 * of bpf/. Run by BPF_PROG_TEST_RUN, which takes raw tracepoints since 5.10.
 */
#include "reprieve.bpf.h"

#include "decide_case.h"

#define SLOT 0 /* of scratch space: nothing else runs in this object */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CASES_PER_RUN);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct decide_case);
} decide_cases SEC(".maps");

static __always_inline void put_name(struct scratch *scratch, struct case_name *name)
{
	__u32 length = name->length & (2 * PATH_BYTES - 1);

	if (length > PATH_BYTES)
		length = PATH_BYTES;
	bpf_probe_read_kernel(scratch->out, length, name->text);
	scratch->out_length = length;
	scratch->ws_length = name->ws_length;
	scratch->low = name->low;
}

__noinline int run_facts(__u32 index)
{
	struct decide_case *one = bpf_map_lookup_elem(&decide_cases, &index);
	struct scratch *scratch = scratch_of(SLOT);

	if (!one || !scratch)
		return -1;
	scratch->policy = one->policy & 1;
	scratch->facts = one->facts;
	put_name(scratch, &one->name[0]);
	one->error = match_path(SLOT);
	if (!one->error)
		one->error = judge(SLOT);
	one->judged = scratch->facts;
	one->decision = scratch->decision;
	return 0;
}

/* As op_begin() leaves a slot for a session that is as the case says. */
static __always_inline void begin_record(struct scratch *scratch, struct decide_case *one)
{
	__builtin_memset(&scratch->rec, 0, sizeof(scratch->rec));
	__builtin_memset(&scratch->facts, 0, sizeof(scratch->facts));
	__builtin_memset(&scratch->pending, 0, sizeof(scratch->pending));
	scratch->policy = one->policy & 1;
	scratch->facts.agent = one->facts.agent;
	scratch->ws_ino = one->ws_ino;
	scratch->ws_name_length = one->ws_name_length & (WORKSPACE_BYTES - 1);
	bpf_probe_read_kernel(scratch->ws_name, sizeof(scratch->ws_name), one->ws_name);
	scratch->rec.op.op = one->facts.op;
	scratch->rec.op.flags = one->flags;
}

static __always_inline void end_record(struct scratch *scratch, struct decide_case *one)
{
	one->decision = scratch->decision;
	scratch->rec.op.rate = scratch->facts.rate;
	one->record = scratch->rec.op;
	one->record.head.fixed = sizeof(struct record_op);
	one->record.head.size = sizeof(scratch->rec) + scratch->pending.text_used;
	bpf_probe_read_kernel(one->record_text, sizeof(one->record_text), scratch->text);
}

__noinline int run_record(__u32 index)
{
	struct decide_case *one = bpf_map_lookup_elem(&decide_cases, &index);
	struct scratch *scratch = scratch_of(SLOT);

	if (!one || !scratch)
		return -1;
	begin_record(scratch, one);
	put_name(scratch, &one->name[0]);
	one->error = op_judge_name(SLOT, 0, one->name[0].unknown ? -1 : (__s32)scratch->out_length);
	if (!one->error && one->facts.op == OP_RENAME &&
	    one->flags & (OP_REPLACED | OP_REPLACED_UNKNOWN | OP_EXCHANGE)) {
		put_name(scratch, &one->name[1]);
		one->error = op_judge_name(SLOT, 1, one->name[1].unknown ? -1 : (__s32)scratch->out_length);
	}
	end_record(scratch, one);
	return 0;
}

__noinline int run_case(__u32 index)
{
	struct decide_case *one = bpf_map_lookup_elem(&decide_cases, &index);

	if (!one)
		return -1;
	return one->kind == CASE_RECORD ? run_record(index) : run_facts(index);
}

/*
 * Runs the first args[0] cases of the map. What became of each stands in its `error`; nothing is summed up here, so that
 * the verifier of 5.10 finds each round of the loop alike.
 */
SEC("raw_tp")
int run_cases(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 count = ctx->args[0];

	for (__u32 i = 0; i < CASES_PER_RUN; i++) {
		if (i >= count)
			break;
		run_case(i);
	}
	return 0;
}
