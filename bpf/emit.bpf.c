/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ring buffer, what is counted, and the scratch space in which records are built. */
#include "reprieve.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile bool have_pt_regs = true;
const volatile __u32 instance = 0;
volatile struct settings settings;
volatile __u32 members[MEMBER_SLOTS];

#define WAKEUP_BYTES 65536 /* one wake-up each time the fill crosses a multiple of this */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 32 * 1024 * 1024);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNT_SIZE);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct scratches_map scratches SEC(".maps"); /* max_entries times the possible CPUs, set before load */

/* Operations under way, by thread: what was decided waits here for the result. */
struct inflights_map inflights SEC(".maps");
struct briefs_map briefs SEC(".maps");

__noinline int count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
	return 0;
}

/*
 * Takes a slot with nothing but an add: only who reads back 1 has it, since its own add is in that number, and any who
 * came meanwhile reads more and takes its add away again. Two may both fail, never both succeed. (Compare-and-exchange
 * came with 5.12, and 5.10 refuses a program that merely contains one.)
 */
static __always_inline bool scratch_try(struct scratch *scratch)
{
	__sync_fetch_and_add(&scratch->busy, 1);
	if (scratch->busy == 1)
		return true;
	__sync_fetch_and_add(&scratch->busy, -1);
	return false;
}

/* A slot of scratch space, or -1 with the lack counted. */
__noinline int scratch_take(void)
{
	__u32 first = bpf_get_smp_processor_id() * SCRATCH_PER_CPU;

	for (__u32 i = 0; i < SCRATCH_PER_CPU; i++) {
		struct scratch *scratch = scratch_of(first + i);

		if (scratch && scratch_try(scratch)) {
			scratch->pending.text_used = 0;
			return first + i;
		}
	}
	count(COUNT_SCRATCH_BUSY);
	return -1;
}

__noinline int scratch_release(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);

	if (scratch)
		__sync_fetch_and_add(&scratch->busy, -1);
	return 0;
}

/*
 * Appends out[0 .. out_length) to the record's strings. Returns offset << 16 | length as they will stand in the
 * record, counted from its start; 0 where there is no room.
 */
__noinline int text_add(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u32 used, length;

	if (!scratch)
		return 0;
	used = scratch->pending.text_used;
	length = scratch->out_length & (2 * PATH_BYTES - 1);
	if (used > SCRATCH_TEXT - 1)
		return 0;
	bpf_probe_read_kernel(&scratch->text[used & (SCRATCH_TEXT - 1)], length, scratch->out);
	scratch->pending.text_used = used + length;
	return (sizeof(scratch->rec) + used) << 16 | length;
}

/*
 * Without `force` the reader is woken only where the fill crosses a multiple of WAKEUP_BYTES: a wake-up costs 10 to 40
 * times what the whole program does. The reader looks by itself every 50 ms.
 */
static __always_inline int ring_put(struct record *record, __u32 size, __u32 force)
{
	__u64 before = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	__u64 flags = BPF_RB_NO_WAKEUP;
	int error;

	if (force || before / WAKEUP_BYTES != (before + size + 8) / WAKEUP_BYTES)
		flags = BPF_RB_FORCE_WAKEUP;
	record->size = size;
	record->time = bpf_ktime_get_boot_ns();
	record->cpu = bpf_get_smp_processor_id();
	error = bpf_ringbuf_output(&ring, record, size, flags);
	count((error ? COUNT_LOST : COUNT_EMITTED) + (record->kind & 15));
	return error;
}

/* Writes the record in a slot's scratch space to the ring. Returns 0 or the ring's error, the loss counted by kind. */
__noinline int emit(__u32 slot, __u32 force)
{
	struct scratch *scratch = scratch_of(slot);
	__u32 size;

	if (!scratch)
		return -1;
	size = (sizeof(scratch->rec) + scratch->pending.text_used) & (RECORD_ROOM - 1);
	scratch->rec.head.fixed = scratch->pending.fixed;
	return ring_put(&scratch->rec.head, size, force);
}

/* No result came, and none ever did for such an operation: its records wait no more, until one is seen after all. */
static __always_inline void result_missed(__u8 op)
{
	__u32 bit = 1u << (op & (OP_COUNT - 1));

	if (!(settings.results_seen & bit))
		settings.known_results &= ~bit;
}

static __always_inline void inflight_end(struct pending *pending, struct record_op *rec, __u32 room, __s64 result,
					 __u32 known)
{
	__u32 size = RECORD_FIXED_BYTES + pending->text_used;

	if (known) {
		rec->result = result;
		rec->flags |= OP_RESULT_KNOWN;
	} else if (rec->source == SOURCE_LSM) {
		result_missed(rec->op);
	}
	if (size > RECORD_FIXED_BYTES + room)
		size = RECORD_FIXED_BYTES + room;
	rec->head.fixed = pending->fixed;
	ring_put(&rec->head, size, rec->flags & OP_ACTED);
}

/*
 * Writes the record that waits under a key, with its result where that is known. Returns -1 where none waits.
 */
__noinline int inflight_emit(__u64 key, __s64 result, __u32 known)
{
	struct inflight *inflight;
	struct brief *brief = bpf_map_lookup_elem(&briefs, &key);

	if (brief) {
		inflight_end(&brief->pending, &brief->rec, BRIEF_TEXT, result, known);
		bpf_map_delete_elem(&briefs, &key);
		return 0;
	}
	inflight = bpf_map_lookup_elem(&inflights, &key);
	if (!inflight)
		return -1;
	inflight_end(&inflight->pending, &inflight->rec, INFLIGHT_TEXT, result, known);
	bpf_map_delete_elem(&inflights, &key);
	return 0;
}

/*
 * The record in a slot into the map that it fits into. Nonzero: one is there already, or no room. A brief one that never
 * got its result goes before any other; a long one may wait behind a brief one, until the next long one or the thread's end.
 */
static __always_inline long inflight_store(struct scratch *scratch, __u64 key)
{
	if (scratch->rec.op.source == SOURCE_LSM) {
		if (scratch->pending.text_used <= BRIEF_TEXT)
			return bpf_map_update_elem(&briefs, &key, &scratch->pending, BPF_NOEXIST);
		if (bpf_map_lookup_elem(&briefs, &key))
			return -1;
	}
	return bpf_map_update_elem(&inflights, &key, &scratch->pending, BPF_NOEXIST);
}

/* Lets the record in a slot wait for its result. What waited there already never got one: it goes out without. */
__noinline int inflight_put(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u64 key = bpf_get_current_pid_tgid();

	if (!scratch || scratch->unresolved)
		return -1;
	if (!inflight_store(scratch, key))
		return 0;
	inflight_emit(key, 0, 0);
	if (!inflight_store(scratch, key))
		return 0;
	count(COUNT_INFLIGHT_FULL);
	return emit(slot, 0);
}

/* Tells of the operation in a slot: with its result, where a program is attached that learns it. */
__noinline int op_tell(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);

	/* Of what no session did, nothing is told. */
	if (!scratch || scratch->unresolved)
		return -1;
	if (settings.known_results >> (scratch->rec.op.op & (OP_COUNT - 1)) & 1)
		return inflight_put(slot);
	return emit(slot, scratch->rec.op.flags & OP_ACTED);
}
