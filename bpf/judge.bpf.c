/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The policy in force, and the decision over it: the kernel's side of include/decide.h. */
#include "reprieve.bpf.h"

/* Two, so that the next policy is written whole beside the one in force and then taken by one store. */
struct policies_map policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct user_key);
	__type(value, struct rule_set);
} users SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct rate_key);
	__type(value, struct rate_value);
} rates SEC(".maps");

#define MATCH_CHUNK 32 /* bytes; the verifier walks all of a chunk, and then once through the chunks of a path */

/*
 * The state after the next bytes of out[], from `at`. A function of its own, so that the verifier walks it once. A dead
 * state stays dead, and most paths are soon out of every glob's reach.
 */
__noinline int match_chunk(__u32 slot, __u32 state, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key;

	if (!scratch)
		return DFA_DEAD;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return DFA_DEAD;
	for (long i = 0; i < MATCH_CHUNK; i++) {
		if (at + i >= scratch->out_length || state == DFA_DEAD)
			break;
		state = dfa_step(&policy->dfa, state, scratch->out[(at + i) & (2 * PATH_BYTES - 1)]);
	}
	return state;
}

/* The state in which one part of the automaton is behind out[]. DFA_DEAD where that part is not in use. */
__noinline int match_state(__u32 slot, __u32 part)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key, state;

	if (!scratch)
		return DFA_DEAD;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return DFA_DEAD;
	state = policy->dfa.start[part & (DFA_PARTS - 1)];
	for (long i = 0; i < PATH_BYTES / MATCH_CHUNK; i++) {
		if (i * MATCH_CHUNK >= scratch->out_length || state == DFA_DEAD)
			break;
		state = match_chunk(slot, state, i * MATCH_CHUNK);
	}
	return state;
}

/*
 * Walks the path automata over out[] and adds what they accept to the facts. The parts that share the table are one
 * walk each; most policies need one. A dead state accepts nothing.
 */
__noinline int match_path(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return -1;
	for (long part = 0; part < DFA_PATH_PARTS; part++) {
		if (policy->dfa.start[part] == DFA_DEAD)
			break;
		facts_add_path(&scratch->facts, dfa_accept(&policy->dfa, match_state(slot, part)));
	}
	return 0;
}

/* The bits that another part of the automaton accepts out[] into: agents, for DFA_EXE and DFA_CGROUP. In facts.path. */
__noinline int match_text(__u32 slot, __u32 part)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy || policy->dfa.start[part & (DFA_PARTS - 1)] == DFA_DEAD)
		return -1;
	scratch->facts.path = dfa_accept(&policy->dfa, match_state(slot, part))->match;
	return 0;
}

#define ARGS_CHUNK 64

/*
 * One byte of arguments: the NULs between them count as single spaces, and of the first only what follows its last slash.
 * State and whether the first has ended lie in the slot.
 */
__noinline int match_args_byte(__u32 slot, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key, state;
	__u8 byte;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return -1;
	byte = scratch->text[at & (SCRATCH_TEXT - 1)];
	if (!byte) {
		scratch->args_first = 0;
		byte = ' ';
	}
	state = dfa_step(&policy->dfa, scratch->args_state, byte);
	if (byte == '/' && scratch->args_first)
		state = policy->dfa.start[DFA_ARGS];
	scratch->args_state = state;
	return 0;
}

__noinline int match_args_chunk(__u32 slot, __u32 at, __u32 end)
{
	for (long i = 0; i < ARGS_CHUNK; i++) {
		if (at + i >= end)
			break;
		match_args_byte(slot, at + i);
	}
	return 0;
}

/* Rules with an args: glob that matches text[at .. end), into the facts. `cut`: there were more bytes than these. */
__noinline int match_args(__u32 slot, __u32 at, __u32 end, __u32 cut)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return -1;
	scratch->args_state = policy->dfa.start[DFA_ARGS];
	scratch->args_first = 1;
	for (long i = 0; i < ARGS_BYTES / ARGS_CHUNK; i++) {
		if (at + i * ARGS_CHUNK >= end)
			break;
		match_args_chunk(slot, at + i * ARGS_CHUNK, end);
	}
	scratch->facts.args = dfa_accept(&policy->dfa, scratch->args_state)->match;
	/* A dead state tells that no glob can match, whatever follows. */
	if (cut && scratch->args_state != DFA_DEAD) {
		scratch->facts.unknown |= 1 << FAMILY_ARGS;
		scratch->rec.op.flags |= OP_ARGS_UNKNOWN;
	}
	return 0;
}

/*
 * The state after the byte of given[] at `at`. Each NUL ends a variable: what it is accepted into joins the facts' path
 * set, and the next one begins.
 */
__noinline int match_environ_byte(__u32 slot, __u32 state, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key, swapped;
	__u8 byte;

	if (!scratch)
		return DFA_DEAD;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return DFA_DEAD;
	byte = scratch->given[at & (PATH_BYTES - 1)];
	if (byte) {
		swapped = swap_case(byte);
		/* 5.10 knows no bounds of an exclusive or: what the compiler cannot see through, it masks again. */
		asm volatile("" : "+r"(swapped));
		return dfa_step(&policy->dfa, state, (__u8)swapped);
	}
	if (state != DFA_DEAD)
		rule_set_or(&scratch->facts.path, &dfa_accept(&policy->dfa, state)->match);
	return policy->dfa.start[DFA_ENVIRON];
}

/* The state after the eight bytes from `at`. */
__noinline int match_environ_word(__u32 slot, __u32 state, __u32 at)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return DFA_DEAD;
	for (long i = 0; i < 8; i++)
		if (state != DFA_DEAD || !scratch->given[(at + i) & (PATH_BYTES - 1)])
			state = match_environ_byte(slot, state, at + i);
	return state;
}

/* A word whose bytes are all other than 0 gives 0. */
static __always_inline __u64 zero_bytes(__u64 word)
{
	return (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;
}

#define ENVIRON_WORDS 8 /* walked by one call: the verifier walks as many, and not a chunk of them */

/*
 * Goes on with a walk over variables by the words of given[] from `at`. Nearly all variables are no agent's and lead to
 * the dead state with their first bytes; of those only the end is looked for.
 */
__noinline int match_environ_words(__u32 slot, __u32 at, __u32 length)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return -1;
	for (long i = 0; i < ENVIRON_WORDS; i++) {
		__u32 state = scratch->args_state, from = at + i * 8;

		if (from >= length)
			break;
		if (state == DFA_DEAD && !zero_bytes(*(__u64 *)&scratch->given[from & (PATH_BYTES - 8)]))
			continue;
		scratch->args_state = match_environ_word(slot, state, from);
	}
	return 0;
}

/* The same for all of given[0 .. length), NULs behind it up to a multiple of eight. */
__noinline int match_environ_chunk(__u32 slot, __u32 length)
{
	for (long i = 0; i < ENVIRON_CHUNK / 8 / ENVIRON_WORDS; i++) {
		if (i * ENVIRON_WORDS * 8 >= length)
			break;
		match_environ_words(slot, i * ENVIRON_WORDS * 8, length);
	}
	return 0;
}

/* Makes ready for a walk over variables, the agents found to lie in the facts' path set. */
__noinline int match_environ_begin(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	struct rule_set none = {};
	__u32 key;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return -1;
	scratch->args_state = policy->dfa.start[DFA_ENVIRON];
	scratch->facts.path = none;
	return 0;
}

/* Rules for the user who acts. */
__noinline int facts_user(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct user_key key = {};
	struct rule_set *rules;

	if (!scratch)
		return -1;
	key.policy = scratch->policy;
	key.uid = scratch->rec.op.actor.uid;
	rules = bpf_map_lookup_elem(&users, &key);
	if (rules)
		scratch->facts.user = *rules;
	return 0;
}

/*
 * Counts one operation for a rule's rate; nonzero where there were more than the rate allows within a window that slides.
 */
__noinline int rate_exceeded(__u32 slot, __u32 which)
{
	struct scratch *scratch = scratch_of(slot);
	struct rate_value *value;
	struct policy_image *policy;
	__u64 now = bpf_ktime_get_boot_ns(), window, elapsed;
	__u32 slot_policy, allowed;

	if (!scratch)
		return 0;
	slot_policy = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &slot_policy);
	if (!policy)
		return 0;
	which &= RATES_MAX - 1;
	allowed = policy->rules.rate[which].count;
	window = policy->rules.rate[which].window;
	scratch->rate_key.session = scratch->rec.op.actor.session;
	scratch->rate_key.generation = policy->rules.generation;
	scratch->rate_key.rule = policy->rules.rate[which].rule;
	value = bpf_map_lookup_elem(&rates, &scratch->rate_key);
	/* Of two that come first at the same time one makes the entry, and both count in it. */
	if (!value) {
		scratch->rate_first.began = now;
		scratch->rate_first.count = 0;
		scratch->rate_first.before = 0;
		bpf_map_update_elem(&rates, &scratch->rate_key, &scratch->rate_first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&rates, &scratch->rate_key);
		if (!value)
			return 1 > allowed;
	}
	/* Another CPU may have begun a window since `now`. */
	elapsed = now > value->began ? now - value->began : 0;
	if (elapsed >= window) {
		value->before = elapsed < 2 * window ? value->count : 0;
		value->count = 0;
		value->began = elapsed < 2 * window ? value->began + window : now;
		elapsed = now > value->began ? now - value->began : 0;
	}
	__sync_fetch_and_add(&value->count, 1);
	return value->count + value->before * (window - elapsed) / (window | 1) > allowed;
}

/* One rate. An operation counts once for its rule, whatever the number of its names. Nonzero: there are no more. */
__noinline int facts_rate(__u32 slot, __u32 which)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key, rule, word;
	__u64 bit;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy || which >= policy->rules.rate_count)
		return -1;
	rule = policy->rules.rate[which & (RATES_MAX - 1)].rule;
	word = rule >> 6 & 1;
	bit = 1ull << (rule & 63);
	if (!(scratch->possible.word[word] & bit) || scratch->counted.word[word] & bit)
		return 0;
	scratch->counted.word[word] |= bit;
	if (rate_exceeded(slot, which))
		scratch->facts.rate.word[word] |= bit;
	return 0;
}

/* The rates of rules that hold in everything else. */
static __always_inline void facts_rates(__u32 slot)
{
	for (long i = 0; i < RATES_MAX; i++)
		if (facts_rate(slot, i))
			break;
}

/* The halves of a decision, each with a stack of its own. */
__noinline int judge_narrow(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return -1;
	scratch->mode = policy->rules.mode;
	scratch->rates = policy->rules.rate_count;
	scratch->rec.head.generation = policy->rules.generation;
	if (policy->rules.without[FAMILY_USER].word[0] != policy->rules.all.word[0] ||
	    policy->rules.without[FAMILY_USER].word[1] != policy->rules.all.word[1])
		facts_user(slot);
	decide_narrow(&policy->rules, &scratch->facts, &scratch->certain, &scratch->possible);
	/* The first rule may be the one for pods that stay unknown: it is about nobody yet. */
	if (scratch->unresolved)
		scratch->possible.word[0] &= ~(__u64)(policy->rules.unresolved & 1);
	return policy->rules.rate_count;
}

__noinline int judge_finish(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key;

	if (!scratch)
		return -1;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	if (!policy)
		return -1;
	scratch->decision = decide_finish(&policy->rules, &scratch->facts, &scratch->certain, &scratch->possible);
	return 0;
}

static __always_inline bool is_unresolved(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);

	return scratch && scratch->unresolved;
}

/* Takes the decision for the slot's facts into its decision. Nonzero: there is no policy. */
__noinline int judge(__u32 slot)
{
	int rates = judge_narrow(slot);

	if (rates < 0)
		return -1;
	/* What waits for its pod comes again, and counts then. */
	if (rates && !is_unresolved(slot))
		facts_rates(slot);
	return judge_finish(slot);
}

/*
 * Whether out[] is the workspace's name or begins with it. By words, of the last only the bytes that belong to the name;
 * the loop has no branch but its end.
 */
static __always_inline bool below_workspace_name(struct scratch *scratch)
{
	const __u64 *out = (const __u64 *)scratch->out, *name = (const __u64 *)scratch->ws_name;
	__u32 length = scratch->ws_name_length, words = length / 8 & (WORKSPACE_BYTES / 8 - 1);
	__u64 different;

	if (!length || scratch->out_length < length)
		return false;
	different = (out[words] ^ name[words]) & ((1ull << (length & 7) * 8) - 1);
	for (long i = 0; i < WORKSPACE_BYTES / 8; i++) {
		if (i >= words)
			break;
		different |= out[i] ^ name[i];
	}
	if (different)
		return false;
	return scratch->out_length == length || length == 1 || scratch->out[length & (2 * PATH_BYTES - 1)] == '/';
}

/*
 * On which side of the workspace the path in out[] lies. A walk from a dentry met the workspace by inode; a name
 * joined to a base is inside where it never left the part of the base that was, or where it spells the workspace.
 */
__noinline int workspace_side(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return WORKSPACE_UNKNOWN;
	if (!scratch->ws_ino)
		return WORKSPACE_UNKNOWN;
	if (scratch->ws_length && scratch->low >= scratch->ws_length)
		return WORKSPACE_INSIDE;
	return below_workspace_name(scratch) ? WORKSPACE_INSIDE : WORKSPACE_OUTSIDE;
}

/*
 * Begins a record of the given kind for the current task. Returns a scratch slot, or -1 where the task is in no session
 * (one look-up) or no slot is free. One in a pod that is not known yet gets a slot that says so.
 */
__noinline int op_open(__u32 kind)
{
	struct task_entry *entry = task_entry_current_any();
	struct session_info *session;
	struct scratch *scratch;
	int slot;

	if (!entry)
		return -1;
	slot = scratch_take();
	if (slot < 0)
		return -1;
	scratch = scratch_of(slot);
	if (!scratch)
		return -1;
	__builtin_memset(&scratch->rec, 0, sizeof(scratch->rec));
	__builtin_memset(&scratch->facts, 0, sizeof(scratch->facts));
	__builtin_memset(&scratch->counted, 0, sizeof(scratch->counted));
	__builtin_memset(&scratch->pending, 0, sizeof(scratch->pending));
	scratch->policy = settings.active_policy & 1;
	scratch->rec.head.kind = kind;
	scratch->facts.agent = entry->agent;
	scratch->unresolved = entry->awaiting;
	scratch->ws_ino = 0;
	scratch->ws_name_length = 0;
	session = bpf_map_lookup_elem(&sessions, &entry->session);
	if (session) {
		scratch->ws_ino = session->ws_ino;
		scratch->ws_dev = session->ws_dev;
		scratch->ws_name_length = session->ws_name_length;
		bpf_probe_read_kernel(scratch->ws_name, session->ws_name_length & (WORKSPACE_BYTES - 1),
				      session->ws_name);
		scratch->facts.agent = session->agent;
	}
	actor_set(scratch, entry->start);
	scratch->rec.op.actor.session = entry->session;
	return slot;
}

/* The same, of a pod that is known by now as what it is: one look-up for all others. */
__noinline int op_begin(__u32 kind)
{
	int slot = op_open(kind);

	if (!is_unresolved(slot))
		return slot;
	scratch_release(slot);
	return task_resolve() == STANDING_NOBODY ? -1 : op_open(kind);
}

/* Adds the path in out[] to the record and to the facts; the second of a rename starts the facts afresh. */
__noinline int op_path_done(__u32 slot, __u32 which)
{
	struct scratch *scratch = scratch_of(slot);
	struct rule_set none = {};
	__u32 text, side;

	if (!scratch)
		return -1;
	text = text_add(slot);
	side = workspace_side(slot);
	scratch->facts.path = none;
	scratch->facts.path_not = none;
	scratch->facts.path_below = none;
	scratch->facts.workspace = side;
	scratch->facts.unknown = side == WORKSPACE_UNKNOWN ? 1 << FAMILY_WORKSPACE : 0;
	match_path(slot);
	if (which) {
		scratch->rec.op.new_path.offset = text >> 16;
		scratch->rec.op.new_path.length = text;
		scratch->rec.op.new_workspace = side;
	} else {
		scratch->rec.op.path.offset = text >> 16;
		scratch->rec.op.path.length = text;
		scratch->rec.op.workspace = side;
	}
	return 0;
}

/* The facts of a path that could not be learned: rules that ask for it might hold. */
static __always_inline void facts_unknown_path(struct scratch *scratch)
{
	scratch->facts.unknown = 1 << FAMILY_PATH | 1 << FAMILY_WORKSPACE;
	scratch->facts.workspace = WORKSPACE_UNKNOWN;
	count(COUNT_PATH_UNKNOWN);
}

/* Facts that the record's flags hold: told once, so that userspace can take the same decision from the record. */
static __always_inline void facts_complete(struct scratch *scratch)
{
	struct record_op *rec = &scratch->rec.op;

	scratch->facts.op = rec->op;
	rec->agent = scratch->facts.agent;
	scratch->facts.ancestor = rec->op == OP_RMDIR || rec->op == OP_RENAME;
	if (scratch->unresolved)
		scratch->facts.unknown |= UNRESOLVED_FACTS;
}

/*
 * Judges one name of the operation by what lies in out[] (length < 0: not learned), as the first or the second
 * decision; the stricter stays in scratch->decision.
 */
__noinline int op_judge_name(__u32 slot, __u32 which, __s32 length)
{
	struct scratch *scratch = scratch_of(slot);
	struct decision first;

	if (!scratch)
		return -1;
	first = scratch->decision;
	if (length < 0) {
		facts_unknown_path(scratch);
		scratch->rec.op.flags |= which ? OP_NEW_PATH_UNKNOWN : OP_PATH_UNKNOWN;
	} else {
		op_path_done(slot, which);
	}
	facts_complete(scratch);
	if (judge(slot))
		return -1;
	if (which) {
		if (scratch->decision.verdict > first.verdict)
			scratch->rec.op.flags |= OP_BY_NEW_PATH;
		scratch->decision = decision_stricter(first, scratch->decision);
	}
	return 0;
}

/* The new name of a rename that cannot replace anything: told, not judged. */
__noinline int op_name_only(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	__u32 text;

	if (!scratch)
		return -1;
	text = text_add(slot);
	scratch->rec.op.new_path.offset = text >> 16;
	scratch->rec.op.new_path.length = text;
	scratch->rec.op.new_workspace = workspace_side(slot);
	return 0;
}

/*
 * Both names of an operation whose names are user memory: read, joined to their directories, judged. Returns 1 where
 * a name could not be read now (the page is not resident: a tracepoint may not fault) and may be later.
 */
__noinline int op_by_name(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct call *call;
	long length;

	if (!scratch)
		return -1;
	call = &scratch->pending.call;
	length = bpf_probe_read_user_str(scratch->given, PATH_BYTES, (void *)call->name);
	if (length < 0)
		return 1;
	scratch->given_length = length ? length - 1 : 0;
	scratch->rec.op.flags |= OP_PATH_AS_GIVEN;
	op_judge_name(slot, 0, length >= PATH_BYTES || path_base(slot, call->dirfd) < 0 ? -1 : path_join(slot));
	if (scratch->rec.op.op != OP_RENAME)
		return 0;
	length = bpf_probe_read_user_str(scratch->given, PATH_BYTES, (void *)call->new_name);
	if (length < 0)
		return 1;
	scratch->given_length = length ? length - 1 : 0;
	/* Nothing can be lost under the new name where the call refuses to replace. */
	if (scratch->rec.op.flags & OP_EXCHANGE || !(call->argument & RENAME_NOREPLACE))
		op_judge_name(slot, 1,
			      length >= PATH_BYTES || path_base(slot, call->new_dirfd) < 0 ? -1 : path_join(slot));
	else if (length < PATH_BYTES && path_base(slot, call->new_dirfd) >= 0 && path_join(slot) >= 0)
		op_name_only(slot);
	return 0;
}

/* What the operation in the slot is done to, by its inode: on a stack of its own, since those who go on to judge have none
 * to spare. */
__noinline int op_target(__u32 slot, __u64 inode)
{
	struct scratch *scratch = scratch_of(slot);

	if (!scratch)
		return -1;
	target_of_inode(&scratch->rec.op.target, (struct inode *)inode);
	return 0;
}

/*
 * The operation on the descriptor that is the call's dirfd, judged by the path of a regular file that some name still
 * leads to. Nonzero: it is none, or with `to_length` its length does not shrink, and nothing is lost.
 */
__noinline int op_by_file(__u32 slot, __u32 to_length)
{
	struct scratch *scratch = scratch_of(slot);
	struct path path = {};
	struct target *target;
	struct file *file;

	if (!scratch)
		return -1;
	target = &scratch->rec.op.target;
	file = file_of_fd((struct task_struct *)bpf_get_current_task(), scratch->pending.call.dirfd);
	BPF_CORE_READ_INTO(&path, file, f_path);
	op_target(slot, (__u64)BPF_CORE_READ(path.dentry, d_inode));
	if (!file || (target->mode & S_IFMT) != S_IFREG || !target->nlink ||
	    (to_length && scratch->pending.call.argument >= target->size))
		return 1;
	scratch->rec.op.flags |= OP_SIZE_KNOWN;
	op_judge_name(slot, 0, path_walk(slot, (__u64)path.dentry, (__u64)path.mnt) < 0 ? -1 : path_forward(slot));
	return 0;
}

/* The key of the rule that decided: what answers to holds are kept by. */
__noinline int rule_key(__u32 slot)
{
	struct scratch *scratch = scratch_of(slot);
	struct policy_image *policy;
	__u32 key, rule;

	if (!scratch)
		return HOLD_BY_DEFAULT;
	key = scratch->policy;
	policy = bpf_map_lookup_elem(&policies, &key);
	rule = scratch->rec.op.rule;
	if (!policy || rule >= RULES_MAX)
		return HOLD_BY_DEFAULT;
	return policy->rules.name_key[rule & (RULES_MAX - 1)];
}

static __always_inline int op_kill(struct record_op *rec)
{
	if (bpf_send_signal(SIGKILL)) {
		count(COUNT_SIGNAL_FAILED);
		rec->flags |= OP_ACT_FAILED;
	} else {
		rec->flags |= OP_ACTED;
	}
	return ACT_DENY;
}

/* What can be done on the tier at hand. Returns enum act. */
static __always_inline int op_act(__u32 slot, struct scratch *scratch, __u32 tier)
{
	struct record_op *rec = &scratch->rec.op;

	if (rec->verdict < VERDICT_HOLD && scratch->rates && tier > TIER_SIGNAL && rec->op != OP_EXEC)
		held_restore(slot);
	if (rec->verdict < VERDICT_HOLD || rec->flags & OP_NOT_LOST)
		return ACT_PASS;
	if (is_selftest(&rec->actor))
		return ACT_PASS;
	if (scratch->mode == MODE_OBSERVE) {
		rec->flags |= OP_OBSERVED;
		return ACT_PASS;
	}
	/* An exec can no longer fail where it is judged: the new program ends before its first instruction. */
	if (rec->verdict == VERDICT_KILL || (rec->verdict == VERDICT_DENY && rec->op == OP_EXEC && tier != TIER_LSM))
		return op_kill(rec);
	if (tier <= TIER_SIGNAL) {
		rec->flags |= OP_WEAKENED;
		return ACT_PASS;
	}
	if (!rec->rule_key)
		rec->rule_key = rule_key(slot);
	rec->exec_id = exec_id_current();
	if (tier == TIER_UPROBE)
		return op_stop(slot);
	if (rec->verdict == VERDICT_HOLD)
		return op_hold(slot);
	rec->flags |= OP_ACTED;
	return ACT_DENY;
}

/* Writes the decision into the record and carries it out. Returns enum act. */
__noinline int op_judge(__u32 slot, __u32 tier)
{
	struct scratch *scratch = scratch_of(slot);
	struct record_op *rec;

	if (!scratch)
		return ACT_PASS;
	rec = &scratch->rec.op;
	rec->verdict = scratch->decision.verdict;
	rec->rule = scratch->decision.rule;
	rec->rate = scratch->facts.rate;
	rec->args_rules = scratch->facts.args;
	rec->tier = tier;
	if (scratch->decision.uncertain)
		rec->flags |= OP_UNCERTAIN;
	scratch->pending.fixed = sizeof(*rec);
	if (scratch->unresolved)
		return op_await(slot);
	count(COUNT_OPS + (rec->op & (OP_COUNT - 1)));
	return op_act(slot, scratch, tier);
}
