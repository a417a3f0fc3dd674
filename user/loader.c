/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "loader.h"

#include <stdarg.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "buffer.h"
#include "maps.h"
#include "pins.h"
#include "reprieve.skel.h"

#define TAKE_OVER_USEC 50000 /* longer than any program runs */
#define RING_BYTES (32u << 20)
#define RESULT_LINKS 16 /* programs that learn results, or system calls whose exit tells them */

/* What is loaded: at the start, or later into an object of its own with the same maps. */
enum stage { STAGE_START = 0, STAGE_OVERWRITE = 1, STAGE_LIBPQ = 2, STAGE_REST = 3, STAGE_COUNT = 4 };

struct guard {
	struct reprieve *skel;
	struct guard_tier tiers[OP_COUNT];
	struct bpf_link **links;
	size_t link_count;
	struct bpf_link *results[RESULT_LINKS]; /* of the programs that learn results, while those are armed */
	size_t result_count;
	bool results_armed;
	__u32 fexits; /* mask of 1 << enum op: there is a program for its result */
	bool lsm; /* the lsm tier guards files; otherwise the tiers below do, with the tracepoints as their net */
	struct kernel_facts facts; /* without the kernel's BTF */
	struct reprieve *late[STAGE_COUNT]; /* programs loaded after the start */
	int *parts; /* links of the programs that replace functions, one for each program that has the function */
	size_t part_count;
	struct bpf_link *overwrite; /* of guard_file_permission, while that is armed */
	struct bpf_link **libc_links; /* of the probes in libc, where each has its own */
	size_t libc_link_count;
	int *libc_multi; /* links of all functions of one file each */
	size_t libc_multi_count;
	unsigned int libc_pinned; /* links to libcs so far */
	uint32_t active; /* slot of the policy in force */
	const char *pins; /* directory; NULL: nothing stays when the guard is freed */
	uint32_t instance;
	unsigned int pinned; /* links so far */
	bool adopted; /* another daemon's maps are in use */
	bool in_two_steps; /* the rest waits for guard_arm_rest */
	bool rest_armed;
	uint32_t first; /* see struct guard_options */
	bool whole; /* no program is replaced by parts; see enum form */
	bool watch_execs; /* as the policy in force has it */
	size_t ring_bytes;
};

enum need {
	NEED_ALWAYS, /* on every tier */
	NEED_LSM, /* on the lsm tier */
	NEED_LSM_HOME, /* there, where a task can have storage */
	NEED_SIGNAL, /* on the signal tier, or with --tracepoints */
	/* From here on attached where and when it is asked for. */
	NEED_BY_HAND,
	NEED_LSM_OVERWRITE, /* on the lsm tier, where a rule may stop an overwrite */
	NEED_RESULTS, /* there, where fexit works: while a session lives */
	NEED_PART, /* there, put into other programs; see struct place */
	NEED_COOKIE, /* loaded with the first library, attached to each, where a probe has a cookie */
	NEED_NO_COOKIE, /* the same where it has none */
	NEED_LIBC_MULTI, /* on the uprobe tier, attached to each libc while a session lives; by one link */
	NEED_LIBC, /* the same, by a link for each function */
};

/*
 * What many programs do is a part, a program that replaces a function in each of them (BPF_PROG_TYPE_EXT), and is
 * verified once. Where the kernel takes no such part, and on the tiers below lsm, each program has all of it.
 */
enum form { FORM_ANY, FORM_PARTS, FORM_WHOLE };

#define ALL_OPS ((1u << OP_COUNT) - 1)
#define DELETIONS (1u << OP_UNLINK | 1u << OP_RMDIR)
#define WRITES (1u << OP_OVERWRITE | 1u << OP_RAWWRITE)

/* Every program, and when it is armed. */
struct program_row {
	const char *name;
	enum need need;
	const char *btf_function; /* armed only where the kernel's BTF has it */
	enum form form;
	uint32_t ops; /* on the lsm tier at once where one of these is, 0: with the rest */
};

static const struct program_row program_rows[] = {
	{"process_fork", NEED_ALWAYS, NULL, FORM_PARTS, ALL_OPS},
	{"process_fork_whole", NEED_ALWAYS, NULL, FORM_WHOLE, ALL_OPS},
	{"task_made", NEED_LSM_HOME, "bpf_lsm_task_alloc", FORM_ANY, 0},
	{"process_exec", NEED_ALWAYS, NULL, FORM_PARTS, ALL_OPS},
	{"process_exec_whole", NEED_ALWAYS, NULL, FORM_WHOLE, ALL_OPS},
	{"process_exit", NEED_ALWAYS, NULL, FORM_ANY, ALL_OPS},
	{"cgroup_made", NEED_ALWAYS, NULL, FORM_ANY, GUARD_CGROUPS},
	{"cgroup_gone", NEED_ALWAYS, NULL, FORM_ANY, GUARD_CGROUPS},
	{"cgroup_attached", NEED_ALWAYS, NULL, FORM_PARTS, GUARD_CGROUPS},
	{"cgroup_attached_whole", NEED_ALWAYS, NULL, FORM_WHOLE, GUARD_CGROUPS},
	{"snapshot", NEED_BY_HAND, NULL, FORM_ANY, ALL_OPS},
	{"guard_unlink", NEED_LSM, "bpf_lsm_path_unlink", FORM_PARTS, ALL_OPS},
	{"guard_unlink_whole", NEED_LSM, "bpf_lsm_path_unlink", FORM_WHOLE, ALL_OPS},
	{"guard_rmdir", NEED_LSM, "bpf_lsm_path_rmdir", FORM_PARTS, DELETIONS},
	{"guard_rmdir_whole", NEED_LSM, "bpf_lsm_path_rmdir", FORM_WHOLE, DELETIONS},
	{"guard_rename", NEED_LSM, "bpf_lsm_path_rename", FORM_PARTS, 1u << OP_RENAME},
	{"guard_rename_whole", NEED_LSM, "bpf_lsm_path_rename", FORM_WHOLE, 1u << OP_RENAME},
	{"guard_path_truncate", NEED_LSM, "bpf_lsm_path_truncate", FORM_PARTS, 1u << OP_TRUNCATE},
	{"guard_path_truncate_whole", NEED_LSM, "bpf_lsm_path_truncate", FORM_WHOLE, 1u << OP_TRUNCATE},
	{"guard_file_truncate", NEED_LSM, "bpf_lsm_file_truncate", FORM_PARTS, 1u << OP_TRUNCATE},
	{"guard_file_truncate_whole", NEED_LSM, "bpf_lsm_file_truncate", FORM_WHOLE, 1u << OP_TRUNCATE},
	{"guard_file_open", NEED_LSM, "bpf_lsm_file_open", FORM_PARTS, WRITES},
	{"guard_file_open_whole", NEED_LSM, "bpf_lsm_file_open", FORM_WHOLE, WRITES},
	{"guard_file_permission", NEED_LSM_OVERWRITE, "bpf_lsm_file_permission", FORM_PARTS, 0},
	{"guard_file_permission_whole", NEED_LSM_OVERWRITE, "bpf_lsm_file_permission", FORM_WHOLE, 0},
	{"guard_exec", NEED_LSM, "bpf_lsm_bprm_check_security", FORM_ANY, 1u << OP_EXEC},
	{"guard_step_body", NEED_PART, NULL, FORM_PARTS, ALL_OPS},
	{"exec_judge_body", NEED_PART, NULL, FORM_PARTS, 1u << OP_EXEC},
	{"cgroup_join_body", NEED_PART, NULL, FORM_PARTS, GUARD_CGROUPS},
	{"protect_kill", NEED_LSM, "bpf_lsm_task_kill", FORM_ANY, 0},
	{"protect_trace", NEED_LSM, "bpf_lsm_ptrace_access_check", FORM_ANY, 0},
	{"protect_bpf", NEED_LSM, "bpf_lsm_bpf", FORM_ANY, 0},
	{"protect_umount", NEED_LSM, "bpf_lsm_sb_umount", FORM_ANY, 0},
	{"map_file", NEED_LSM, "bpf_lsm_mmap_file", FORM_ANY, 1u << OP_SQL},
	{"connect_socket", NEED_LSM, "bpf_lsm_socket_connect", FORM_ANY, 1u << OP_SQL},
	{"result_unlink", NEED_RESULTS, "vfs_unlink", FORM_ANY, 0},
	{"result_rmdir", NEED_RESULTS, "vfs_rmdir", FORM_ANY, 0},
	{"result_rename", NEED_RESULTS, "vfs_rename", FORM_ANY, 0},
	{"result_truncate", NEED_RESULTS, "do_truncate", FORM_ANY, 0},
	{"result_fallocate", NEED_RESULTS, "vfs_fallocate", FORM_ANY, 0},
	{"enter_call", NEED_SIGNAL, NULL, FORM_ANY, 0},
	{"enter_mmap", NEED_SIGNAL, NULL, FORM_ANY, 0},
	{"enter_connect", NEED_SIGNAL, NULL, FORM_ANY, 0},
	{"exit_call", NEED_SIGNAL, NULL, FORM_ANY, 0},
	{"libc_any", NEED_LIBC_MULTI, NULL, FORM_ANY, 0},
	{"libc_unlink", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_unlinkat", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_rmdir", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_remove", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_rename", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_renameat", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_renameat2", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_truncate", NEED_LIBC, NULL, FORM_ANY, 0},
	{"libc_ftruncate", NEED_LIBC, NULL, FORM_ANY, 0},
	{"pq_call", NEED_COOKIE, NULL, FORM_ANY, 0},
	{"pq_send_query", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_send_query_params", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_send_prepare", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_send_query_prepared", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_fn", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_exec", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_exec_params", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_prepare", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
	{"pq_exec_prepared", NEED_NO_COOKIE, NULL, FORM_ANY, 0},
};

/* The system calls that the signal tier stands at. One that this kernel does not have is no loss where that is usual. */
struct syscall_row {
	const char *name;
	bool optional;
};

static const struct syscall_row syscall_rows[] = {
	{"unlink", true},     {"unlinkat", false}, {"rmdir", true},	 {"rename", true},     {"renameat", true},
	{"renameat2", false}, {"truncate", false}, {"ftruncate", false}, {"fallocate", false}, {"creat", true},
	{"open", true},	      {"openat", false},   {"openat2", true},
};

_Static_assert(ARRAY_SIZE(syscall_rows) <= RESULT_LINKS, "an exit each");

#define SIGNAL_NOTE "the call under way completes; not 32-bit programs, not io_uring; symlinks in names not resolved"

#define LIBC_NOTE                                                                                                                     \
	"only calls through a libc with symbols; other static programs, programs that make system calls themselves, 32-bit programs " \
	"and io_uring are not stopped; somebody else's SIGCONT ends a hold; symlinks in names not resolved"

/* The tiers of an operation, strongest first. */
struct tier_row {
	enum op op;
	enum tier tier;
	const char *by;
	const char *note;
};

static const struct tier_row tier_rows[] = {
	{OP_UNLINK, TIER_LSM, "path_unlink", ""},
	{OP_UNLINK, TIER_UPROBE, "uprobes on libc's unlink, unlinkat", LIBC_NOTE},
	{OP_UNLINK, TIER_SIGNAL, "tracepoints of unlink, unlinkat", SIGNAL_NOTE},
	{OP_RMDIR, TIER_LSM, "path_rmdir", ""},
	{OP_RMDIR, TIER_UPROBE, "uprobes on libc's rmdir, unlinkat", LIBC_NOTE},
	{OP_RMDIR, TIER_SIGNAL, "tracepoints of rmdir, unlinkat", SIGNAL_NOTE},
	{OP_RENAME, TIER_LSM, "path_rename", ""},
	{OP_RENAME, TIER_UPROBE, "uprobes on libc's rename, renameat, renameat2",
	 LIBC_NOTE "; not known whether a target was replaced"},
	{OP_RENAME, TIER_SIGNAL, "tracepoints of rename, renameat, renameat2",
	 SIGNAL_NOTE "; not known whether a target was replaced"},
	{OP_TRUNCATE, TIER_LSM, "path_truncate, file_truncate", ""},
	{OP_TRUNCATE, TIER_UPROBE, "uprobes on libc's truncate, ftruncate",
	 LIBC_NOTE "; open with O_TRUNC and creat are only reported; size before only for ftruncate"},
	{OP_TRUNCATE, TIER_SIGNAL, "tracepoints of truncate, ftruncate, creat, open, openat, openat2",
	 SIGNAL_NOTE "; size before only for ftruncate"},
	{OP_OVERWRITE, TIER_LSM, "file_open, file_permission, where a rule asks for it",
	 "judged when the file is opened for writing, or at the first write through an older descriptor; shared mappings "
	 "made before are not seen"},
	{OP_OVERWRITE, TIER_SIGNAL, "tracepoint of fallocate", SIGNAL_NOTE "; plain writes are not seen"},
	{OP_RAWWRITE, TIER_LSM, "file_open of a block device, where a rule asks for it", ""},
	{OP_EXEC, TIER_LSM, "bprm_check_security", ""},
	{OP_EXEC, TIER_UPROBE, "sched_process_exec, before the program's first instruction",
	 "execve can no longer fail there: a denial ends the new program"},
	{OP_SQL, TIER_UPROBE, "uprobes on libpq", "clients that do not use libpq are not seen"},
};

/* Of which operations the lsm tier learns the result: a mask of 1 << enum op. */
static __u32 known_results(const struct kernel_facts *facts)
{
	const struct probe *const probes[OP_COUNT] = {
		[OP_UNLINK] = &facts->fexit,
		[OP_RMDIR] = &facts->fexit_rmdir,
		[OP_RENAME] = &facts->fexit_rename,
		[OP_TRUNCATE] = &facts->fexit_truncate,
		[OP_OVERWRITE] = &facts->fexit_fallocate,
	};
	__u32 known = 0;

	for (size_t op = 0; op < OP_COUNT; op++)
		if (probes[op] && probes[op]->result == PROBE_WORKS)
			known |= 1u << op;
	/* With two arguments, before commit 6521f8917082 (5.12), it is inlined into its caller: attached, never called. */
	if (facts->btf && kernel_btf_find(facts->btf, "vfs_rmdir").arguments == 2)
		known &= ~(1u << OP_RMDIR);
	return known;
}

static bool is_by_libc(enum op op, enum tier tier)
{
	return tier == TIER_UPROBE && op != OP_SQL && op != OP_EXEC;
}

/* The tracepoints are the net below: they give results, and see what does not come through libc. */
static bool libc_works(const struct kernel_facts *facts)
{
	return facts->uprobe.result == PROBE_WORKS && facts->tracepoint.result == PROBE_WORKS;
}

void guard_plan(const struct kernel_facts *facts, bool tracepoints, struct guard_tier ret_tiers[OP_COUNT])
{
	for (size_t i = 0; i < OP_COUNT; i++)
		ret_tiers[i] = (struct guard_tier){TIER_NONE, false, "nothing", "not guarded by this version"};
	for (size_t i = 0; i < ARRAY_SIZE(tier_rows); i++) {
		const struct tier_row *row = &tier_rows[i];
		bool works = facts->tp_btf.result == PROBE_WORKS;

		if (row->tier == TIER_LSM)
			works = works && facts->lsm.result == PROBE_WORKS && !tracepoints;
		else if (row->tier == TIER_SIGNAL)
			works = works && facts->tracepoint.result == PROBE_WORKS;
		else if (row->op == OP_SQL)
			works = works && facts->uprobe.result == PROBE_WORKS;
		else if (is_by_libc(row->op, row->tier))
			works = works && libc_works(facts) && !tracepoints;
		if (works && ret_tiers[row->op].tier < row->tier)
			ret_tiers[row->op] = (struct guard_tier){row->tier, false, row->by, row->note};
	}
	for (size_t op = 0; op < OP_COUNT; op++)
		if (ret_tiers[op].tier == TIER_LSM && !(known_results(facts) & 1u << op) && !*ret_tiers[op].note)
			ret_tiers[op].note = "whether the call then succeeded is not learned";
}

static const struct program_row *program_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(program_rows); i++)
		if (streq(program_rows[i].name, name))
			return &program_rows[i];
	return NULL;
}

static void set_arguments(const struct kernel_btf *btf, const char *name, volatile const __u32 *to)
{
	__u32 count = kernel_btf_find(btf, name).arguments;

	if (count)
		*(__u32 *)to = count;
}

/* Task storage came in 5.11; bpf_task_pt_regs (5.15) stands for it, since it is for kernels much younger. */
static bool has_homes(const struct kernel_facts *facts)
{
	return facts->lsm.result == PROBE_WORKS && facts->pt_regs.result == PROBE_WORKS;
}

static void set_constants(const struct guard *guard, struct reprieve *skel, const struct kernel_facts *facts)
{
	const struct kernel_btf *btf = facts->btf;

	skel->rodata->instance = guard->instance;
	skel->rodata->has_cookie = facts->cookie.result == PROBE_WORKS;
	skel->rodata->libc_sleeps = facts->uprobe_sleeps.result == PROBE_WORKS;
	skel->rodata->have_pt_regs = facts->pt_regs.result == PROBE_WORKS;
	skel->rodata->have_homes = has_homes(facts);
	set_arguments(btf, "bpf_lsm_path_rename", &skel->rodata->args_path_rename);
	set_arguments(btf, "vfs_unlink", &skel->rodata->args_vfs_unlink);
	set_arguments(btf, "vfs_rmdir", &skel->rodata->args_vfs_rmdir);
	set_arguments(btf, "vfs_rename", &skel->rodata->args_vfs_rename);
	set_arguments(btf, "do_truncate", &skel->rodata->args_do_truncate);
}

struct arming {
	const struct kernel_facts *facts;
	const struct guard_options *options;
	enum stage stage;
	bool lsm;
	bool libc;
	bool signal;
	bool in_two_steps;
	bool whole;
	uint32_t first;
};

static enum stage stage_of(const struct arming *arming, const struct program_row *row)
{
	if (row->need == NEED_LSM_OVERWRITE)
		return STAGE_OVERWRITE;
	if (row->need == NEED_COOKIE || row->need == NEED_NO_COOKIE)
		return STAGE_LIBPQ;
	return arming->in_two_steps && !(row->ops & arming->first) ? STAGE_REST : STAGE_START;
}

static bool is_wanted(const struct arming *arming, const struct program_row *row)
{
	bool cookie = arming->facts->cookie.result == PROBE_WORKS;

	if (stage_of(arming, row) != arming->stage || row->form == (arming->whole ? FORM_PARTS : FORM_WHOLE) ||
	    (row->btf_function && !kernel_btf_find(arming->facts->btf, row->btf_function).id))
		return false;
	switch (row->need) {
	case NEED_LSM:
	case NEED_LSM_OVERWRITE:
	case NEED_PART:
		return arming->lsm;
	case NEED_LSM_HOME:
		return arming->lsm && has_homes(arming->facts);
	case NEED_RESULTS:
		return arming->lsm && known_results(arming->facts);
	case NEED_SIGNAL:
		return arming->signal;
	case NEED_COOKIE:
		return cookie;
	case NEED_NO_COOKIE:
		return !cookie;
	case NEED_LIBC_MULTI:
		return arming->libc && arming->facts->uprobe_multi.result == PROBE_WORKS;
	case NEED_LIBC:
		return arming->libc && arming->facts->uprobe_multi.result != PROBE_WORKS;
	default:
		return true;
	}
}

static int keep_link(struct guard *guard, struct bpf_link *link)
{
	struct bpf_link **links;

	if (!link)
		return -errno;
	if (guard->pins && pins_keep(guard->pins, guard->instance, guard->pinned++, link))
		log_warning("a probe cannot be kept beyond the daemon's end: %s", strerror(errno));
	links = realloc(guard->links, (guard->link_count + 1) * sizeof(*links));
	if (!links) {
		bpf_link__destroy(link);
		return -ENOMEM;
	}
	guard->links = links;
	guard->links[guard->link_count++] = link;
	return 0;
}

/* The entry or exit of a system call; no link and no error where this kernel has it not and that is usual. */
static int attach_syscall(struct bpf_program *program, const char *end, const struct syscall_row *row,
			  struct bpf_link **ret_link)
{
	char name[64];

	snprintf(name, sizeof(name), "sys_%s_%s", end, row->name);
	*ret_link = bpf_program__attach_tracepoint(program, "syscalls", name);
	return *ret_link || (errno == ENOENT && row->optional) ? 0 : -errno;
}

static int attach_entries(struct guard *guard)
{
	struct bpf_link *link;
	int error = 0;

	for (size_t i = 0; i < ARRAY_SIZE(syscall_rows) && !error; i++) {
		error = attach_syscall(guard->skel->progs.enter_call, "enter", &syscall_rows[i], &link);
		if (!error && link)
			error = keep_link(guard, link);
	}
	return error;
}

/*
 * Before 5.13 (commit f3a95075549e) a trampoline's program that was detached can never be attached again: what was armed
 * stays armed there. Told by a helper that is two releases younger.
 */
static bool can_arm_again(const struct guard *guard)
{
	return guard->facts.cookie.result == PROBE_WORKS;
}

/* --- results, while a session lives --- */

static void drop_results(struct guard *guard)
{
	guard->skel->bss->settings.known_results = 0;
	while (guard->result_count)
		bpf_link__destroy(guard->results[--guard->result_count]);
	guard->results_armed = false;
}

static int attach_exits(struct guard *guard)
{
	struct bpf_link *link;

	for (size_t i = 0; i < ARRAY_SIZE(syscall_rows); i++) {
		int error = attach_syscall(guard->skel->progs.exit_call, "exit", &syscall_rows[i], &link);

		if (error)
			return error;
		if (link)
			guard->results[guard->result_count++] = link;
	}
	guard->skel->bss->settings.known_results = ~0u;
	return 0;
}

static int attach_fexits(struct guard *guard)
{
	struct reprieve *skel = guard->in_two_steps ? guard->late[STAGE_REST] : guard->skel;
	struct bpf_program *program;

	bpf_object__for_each_program (program, skel->obj) {
		struct bpf_link *link;

		if (!bpf_program__autoload(program) || program_row(bpf_program__name(program))->need != NEED_RESULTS)
			continue;
		link = bpf_program__attach_trace(program);
		if (!link)
			return -errno;
		guard->results[guard->result_count++] = link;
	}
	/* Not all of them need be called: the programs find out themselves (settings.results_seen). */
	guard->skel->bss->settings.known_results = guard->fexits;
	return 0;
}

/* Programs of our own kinds have lost their handler when they were loaded. */
static struct bpf_link *attach_program(struct bpf_program *program)
{
	enum bpf_prog_type type = bpf_program__type(program);

	if (type == BPF_PROG_TYPE_LSM || type == BPF_PROG_TYPE_TRACING)
		return bpf_program__attach_trace(program);
	return bpf_program__attach(program);
}

/* --- parts of programs --- */

/* Where a part is put, in the place of a function of that name: into programs whose names begin so. */
struct place {
	const char *function;
	const char *prefixes[3];
};

static const struct place places[] = {
	{"guard_step", {"guard_"}},
	{"exec_judge", {"process_exec"}},
	{"cgroup_join", {"process_fork", "process_exec", "cgroup_attached"}},
};

static const struct place *place_of(const char *function)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (streq(places[i].function, function))
			return &places[i];
	return NULL;
}

/* The function that a part replaces: its section is called freplace/ and that. */
static const char *function_of(const struct bpf_program *part)
{
	return strchr(bpf_program__section_name(part), '/') + 1;
}

static bool has_place(const struct bpf_program *program, const struct place *place)
{
	const struct program_row *row = program_row(bpf_program__name(program));

	if (!bpf_program__autoload(program) || row->form != FORM_PARTS || row->need == NEED_PART)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(place->prefixes) && place->prefixes[i]; i++)
		if (!strncmp(row->name, place->prefixes[i], strlen(place->prefixes[i])))
			return true;
	return false;
}

static int function_id(const struct reprieve *skel, const char *name)
{
	return btf__find_by_name_kind(bpf_object__btf(skel->obj), name, BTF_KIND_FUNC);
}

static int keep_part(struct guard *guard, int link)
{
	int *parts = reallocarray(guard->parts, guard->part_count + 1, sizeof(*parts));

	if (!parts) {
		close(link);
		return -ENOMEM;
	}
	if (guard->pins && pins_keep_fd(guard->pins, guard->instance, guard->pinned++, link))
		log_warning("a probe cannot be kept beyond the daemon's end: %s", strerror(errno));
	guard->parts = parts;
	guard->parts[guard->part_count++] = link;
	return 0;
}

static int attach_part(struct guard *guard, const struct bpf_program *part, const struct bpf_program *program)
{
	LIBBPF_OPTS(bpf_link_create_opts, options);
	int id = function_id(guard->skel, function_of(part)), link;

	if (id < 0)
		return id;
	options.target_btf_id = (uint32_t)id;
	link = bpf_link_create(bpf_program__fd(part), bpf_program__fd(program), 0, &options);
	return link < 0 ? -errno : keep_part(guard, link);
}

static bool is_part(const struct bpf_program *program)
{
	return bpf_program__autoload(program) && program_row(bpf_program__name(program))->need == NEED_PART;
}

/* Puts the parts of one object into all programs of another, or of the same, that have a place for them. */
static int attach_parts_to(struct guard *guard, const struct reprieve *from, const struct reprieve *to)
{
	struct bpf_program *part, *program;
	int error = 0;

	bpf_object__for_each_program (part, from->obj) {
		if (!is_part(part))
			continue;
		bpf_object__for_each_program (program, to->obj) {
			if (!error && has_place(program, place_of(function_of(part))))
				error = attach_part(guard, part, program);
		}
	}
	if (error)
		log_error("programs cannot be put together: %s", strerror(-error));
	return error;
}

/* Before the programs that parts are put into are attached. */
static int attach_parts(struct guard *guard, const struct reprieve *skel)
{
	int error = attach_parts_to(guard, skel, skel);

	if (!error && skel != guard->skel)
		error = attach_parts_to(guard, guard->skel, skel);
	if (!error && skel != guard->skel)
		error = attach_parts_to(guard, skel, guard->skel);
	return error;
}

static int attach_one(struct guard *guard, struct bpf_program *program, const struct program_row *row)
{
	int error;

	if (row->need >= NEED_BY_HAND || streq(row->name, "exit_call"))
		return 0;
	if (streq(row->name, "enter_call"))
		error = attach_entries(guard);
	else
		error = keep_link(guard, attach_program(program));
	if (error)
		log_error("cannot attach %s: %s", row->name, strerror(-error));
	return error;
}

static int attach_all(struct guard *guard, struct reprieve *skel)
{
	struct bpf_program *program;
	int error = attach_parts(guard, skel);

	bpf_object__for_each_program (program, skel->obj) {
		if (error)
			return error;
		if (bpf_program__autoload(program))
			error = attach_one(guard, program, program_row(bpf_program__name(program)));
	}
	return error;
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_DEBUG || (level == LIBBPF_INFO && log_max_level < LOG_LEVEL_DEBUG))
		return 0;
	return vfprintf(stderr, format, args);
}

static int prepare_program(struct bpf_program *program, const struct arming *arming, const struct program_row *row)
{
	int error = bpf_program__set_autoload(program, is_wanted(arming, row));

	if (!error && row->need >= NEED_LIBC_MULTI && arming->facts->uprobe_sleeps.result == PROBE_WORKS)
		error = bpf_program__set_flags(program, BPF_F_SLEEPABLE);
	if (!error && row->need == NEED_LIBC_MULTI)
		error = bpf_program__set_expected_attach_type(program, UPROBE_MULTI);
	return error;
}

static int open_skeleton(struct guard *guard, const struct arming *arming, const char *btf_path,
			 struct reprieve **ret_skel)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = btf_path);
	struct reprieve *skel = reprieve__open_opts(&options);
	int cpus = libbpf_num_possible_cpus(), error = 0;
	struct bpf_program *program;

	if (!skel)
		return -errno;
	set_constants(guard, skel, arming->facts);
	if (bpf_map__set_autocreate(skel->maps.homes, has_homes(arming->facts)) ||
	    bpf_map__set_max_entries(skel->maps.scratches, SCRATCH_PER_CPU * MAX(cpus, 1)) ||
	    bpf_map__set_max_entries(skel->maps.ring, guard->ring_bytes))
		error = -EINVAL;
	bpf_object__for_each_program (program, skel->obj) {
		const struct program_row *row = program_row(bpf_program__name(program));

		if (row)
			error = prepare_program(program, arming, row) ?: error;
		else
			error = -ENOENT;
	}
	if (error)
		reprieve__destroy(skel);
	else
		*ret_skel = skel;
	return error;
}

/* Maps of the object loaded at the start, for one that comes later. */
static int share_maps(struct reprieve *from, struct reprieve *to)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, from->obj)
	{
		struct bpf_map *same = bpf_object__find_map_by_name(to->obj, bpf_map__name(map));

		if (bpf_map__autocreate(map) && (!same || bpf_map__reuse_fd(same, bpf_map__fd(map))))
			return -EINVAL;
	}
	return 0;
}

/*
 * --- the kernel's types, by our own index of them ---
 *
 * libbpf would parse all of the kernel's BTF and walk it once for each structure and each function that is named: most of
 * the time that a start takes. So it gets an extract for its relocations, and handlers of our own for the kinds of
 * programs that it would look functions up for.
 */
struct kind {
	const char *section;
	const char *prefix; /* of the function in BTF */
	enum bpf_prog_type type;
	enum bpf_attach_type attach_type;
};

static const struct kind kinds[] = {
	{"lsm/", "bpf_lsm_", BPF_PROG_TYPE_LSM, BPF_LSM_MAC},
	{"fexit/", "", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT},
	{"tp_btf/", "btf_trace_", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP},
	{"iter/", "bpf_iter_", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER},
	{"freplace/", "", BPF_PROG_TYPE_EXT, 0},
};

/* The index in use during a load: a handler is told of nothing but its kind. */
static const struct kernel_btf *kinds_btf;

/* The object with the programs that a part is put into, loaded before the part is. */
static const struct reprieve *kinds_skel;

/* A part is verified for one of its places, and good for all of them. */
static int prepare_part(struct bpf_program *part, struct bpf_prog_load_opts *options)
{
	const struct place *place = place_of(function_of(part));
	int id = function_id(kinds_skel, function_of(part));
	struct bpf_program *program;

	if (id < 0 || !place)
		return -ENOENT;
	options->attach_btf_id = (uint32_t)id;
	bpf_object__for_each_program (program, kinds_skel->obj)
		if (!options->attach_prog_fd && has_place(program, place))
			options->attach_prog_fd = (uint32_t)bpf_program__fd(program);
	return bpf_program__set_type(part, BPF_PROG_TYPE_EXT);
}

static int prepare_load(struct bpf_program *program, struct bpf_prog_load_opts *options, long cookie)
{
	const struct kind *kind = &kinds[cookie];
	char name[128];

	if (!kinds_btf)
		return -EINVAL;
	if (kind->type == BPF_PROG_TYPE_EXT)
		return prepare_part(program, options);
	snprintf(name, sizeof(name), "%s%s", kind->prefix, bpf_program__section_name(program) + strlen(kind->section));
	options->attach_btf_id = kernel_btf_find(kinds_btf, name).id;
	options->expected_attach_type = kind->attach_type;
	if (!options->attach_btf_id)
		return -ENOENT;
	bpf_program__set_expected_attach_type(program, kind->attach_type);
	return bpf_program__set_type(program, kind->type);
}

/*
 * Once and for good: libbpf before 1.3 goes on using the memory of its list of handlers when the last of them has been
 * taken away (libbpf commit "Fix realloc API handling in zero-sized edge cases").
 */
static int register_kinds(void)
{
	static bool registered;

	for (size_t i = 0; i < ARRAY_SIZE(kinds) && !registered; i++) {
		LIBBPF_OPTS(libbpf_prog_handler_opts, options, .cookie = (long)i, .prog_prepare_load_fn = prepare_load);
		/* Until it is loaded a program is of a kind for which libbpf asks for no BTF of the kernel's. */
		int handler = libbpf_register_prog_handler(kinds[i].section, BPF_PROG_TYPE_RAW_TRACEPOINT, 0, &options);

		if (handler < 0)
			return handler;
	}
	registered = true;
	return 0;
}

/* What the programs' own BTF names and the kernel knows, into a file without a name. */
static int write_types(const struct kernel_btf *kernel, const struct btf *own, int fd)
{
	_cleanup_free_ const char **names = calloc(btf__type_cnt(own), sizeof(*names));
	size_t count = 0;

	if (!names)
		return -ENOMEM;
	for (uint32_t id = 1; id < btf__type_cnt(own); id++) {
		const struct btf_type *type = btf__type_by_id(own, id);

		if (btf_is_composite(type) && type->name_off)
			names[count++] = btf__name_by_offset(own, type->name_off);
	}
	return kernel_btf_extract(kernel, names, count, fd);
}

static int load_skeleton(struct guard *guard, const struct arming *arming, struct reprieve **ret_skel)
{
	_cleanup_close_ int fd = memfd_create("reprieve-types", MFD_CLOEXEC);
	struct reprieve *skel = NULL;
	char path[64];
	int error;

	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	kinds_btf = arming->facts->btf;
	error = register_kinds();
	if (!error)
		error = open_skeleton(guard, arming, path, &skel);
	if (!error)
		error = write_types(arming->facts->btf, bpf_object__btf(skel->obj), fd);
	if (!error && arming->stage != STAGE_START)
		error = share_maps(guard->skel, skel);
	else if (!error && guard->pins)
		error = pins_prepare(guard->pins, skel->obj);
	kinds_skel = arming->stage == STAGE_START ? skel : guard->skel;
	if (!error)
		error = reprieve__load(skel);
	kinds_btf = NULL;
	kinds_skel = NULL;
	if (error)
		reprieve__destroy(skel);
	else
		*ret_skel = skel;
	return error;
}

/* Loads the programs of a later stage, where they are not yet. */
static int load_late(struct guard *guard, enum stage stage)
{
	struct arming arming = {.facts = &guard->facts,
				.stage = stage,
				.lsm = guard->lsm,
				.signal = !guard->lsm,
				.in_two_steps = guard->in_two_steps,
				.whole = guard->whole,
				.first = guard->first};
	int error;

	if (guard->late[stage])
		return 0;
	error = kernel_btf_new(&guard->facts.btf);
	if (!error)
		error = load_skeleton(guard, &arming, &guard->late[stage]);
	probe_done(&guard->facts);
	return error;
}

int guard_arm_results(struct guard *guard, bool arm)
{
	int error;

	if (arm == guard->results_armed)
		return 0;
	if (!arm) {
		if (!guard->lsm || can_arm_again(guard))
			drop_results(guard);
		return 0;
	}
	error = guard->in_two_steps ? load_late(guard, STAGE_REST) : 0;
	if (!error)
		error = guard->lsm ? attach_fexits(guard) : attach_exits(guard);
	if (error)
		drop_results(guard);
	else
		guard->results_armed = true;
	return error;
}

bool guard_has_rest(const struct guard *guard)
{
	return guard->in_two_steps && !guard->rest_armed;
}

int guard_arm_rest(struct guard *guard)
{
	int error;

	if (!guard_has_rest(guard))
		return 0;
	error = load_late(guard, STAGE_REST);
	if (!error)
		error = attach_all(guard, guard->late[STAGE_REST]);
	guard->rest_armed = !error;
	return error;
}

int guard_arm_overwrite(struct guard *guard, bool arm)
{
	bool loaded = guard->late[STAGE_OVERWRITE];
	struct bpf_program *program;
	int error = 0;

	if (guard->tiers[OP_OVERWRITE].tier != TIER_LSM || arm == !!guard->overwrite)
		return 0;
	if (!arm) {
		if (!can_arm_again(guard))
			return 0;
		bpf_link__destroy(guard->overwrite);
		guard->overwrite = NULL;
		return 0;
	}
	error = load_late(guard, STAGE_OVERWRITE);
	if (error)
		return error;
	program = guard->whole ? guard->late[STAGE_OVERWRITE]->progs.guard_file_permission_whole
			       : guard->late[STAGE_OVERWRITE]->progs.guard_file_permission;
	if (!loaded)
		error = attach_parts_to(guard, guard->skel, guard->late[STAGE_OVERWRITE]);
	if (error) {
		reprieve__destroy(take_pointer(guard->late[STAGE_OVERWRITE]));
		return error;
	}
	guard->overwrite = bpf_program__attach_trace(program);
	return guard->overwrite ? 0 : -errno;
}

/* A part of the map of policies in memory. */
struct window {
	char *at; /* the byte that was asked for */
	char *pages;
	size_t length; /* of the pages */
};

/* Only of the pages at hand: to map all of both slots would take the kernel longer than to load a program. */
static int open_window(const struct guard *guard, size_t offset, size_t length, int protection,
		       struct window *ret_window)
{
	size_t within = offset & ((size_t)sysconf(_SC_PAGESIZE) - 1);
	char *pages = mmap(NULL, within + length, protection, MAP_SHARED, bpf_map__fd(guard->skel->maps.policies),
			   (off_t)(offset - within));

	if (pages == MAP_FAILED)
		return -errno;
	*ret_window = (struct window){pages + within, pages, within + length};
	return 0;
}

static void close_window(struct window *window)
{
	munmap(window->pages, window->length);
}

static int write_policies(struct guard *guard, size_t offset, const void *data, size_t length)
{
	struct window window;
	int error;

	if (!length)
		return 0;
	error = open_window(guard, offset, length, PROT_READ | PROT_WRITE, &window);
	if (error)
		return error;
	memcpy(window.at, data, length);
	close_window(&window);
	return 0;
}

/* Loads, on the maps that another daemon left where there are any. Those of another release are of no use. */
static int load_start(struct guard *guard, const struct arming *arming, const struct guard_options *options)
{
	int error;

	guard->pins = options->pins;
	guard->instance = options->instance ? options->instance : 1;
	guard->adopted = guard->pins && pins_exist(guard->pins);
	error = load_skeleton(guard, arming, &guard->skel);
	/* That the maps do not fit and that the kernel takes no parts looks alike: without parts it is known. */
	if (error != -EINVAL || !guard->adopted || (arming->lsm && !arming->whole))
		return error;
	log_warning(
		"the guard that was left in the kernel (%s) is another release's: it is taken off, and a new one begins",
		guard->pins);
	pins_remove(guard->pins);
	guard->adopted = false;
	return load_skeleton(guard, arming, &guard->skel);
}

static int load_form(const struct kernel_facts *facts, const struct guard_options *options, bool whole,
		     struct guard **ret_guard)
{
	struct arming arming = {.facts = facts, .options = options, .first = options->first};
	struct guard *guard = calloc(1, sizeof(*guard));
	int error;

	if (!guard)
		return -ENOMEM;
	guard->ring_bytes = options->ring_bytes ? options->ring_bytes : RING_BYTES;
	guard_plan(facts, options->tracepoints, guard->tiers);
	arming.lsm = guard->tiers[OP_UNLINK].tier == TIER_LSM;
	arming.libc = guard->tiers[OP_UNLINK].tier == TIER_UPROBE;
	arming.signal = arming.libc || guard->tiers[OP_UNLINK].tier == TIER_SIGNAL;
	libbpf_set_print(print_libbpf);
	error = -ENOTSUP;
	if (!arming.lsm && !arming.signal)
		goto fail;
	/* Another daemon's programs do all of their work until ours do. */
	arming.in_two_steps = arming.lsm && options->in_two_steps && !(options->pins && pins_exist(options->pins));
	arming.whole = whole || !arming.lsm;
	guard->lsm = arming.lsm;
	guard->in_two_steps = arming.in_two_steps;
	guard->first = arming.first;
	guard->whole = arming.whole;
	guard->fexits = known_results(facts);
	guard->facts = *facts;
	guard->facts.btf = NULL;
	error = load_start(guard, &arming, options);
	if (error)
		goto fail;
	guard->skel->bss->settings.members_only = options->members_only;
	if (!guard->adopted)
		guard->skel->bss->settings.instance = guard->instance;
	guard->active = guard->skel->bss->settings.active_policy & 1;
	error = attach_all(guard, guard->skel);
	if (error)
		goto fail;
	*ret_guard = guard;
	return 0;
fail:
	if (guard->pins && !guard->adopted)
		pins_remove(guard->pins);
	guard_free(guard);
	return error;
}

int guard_load(const struct kernel_facts *facts, const struct guard_options *options, struct guard **ret_guard)
{
	struct guard_tier tiers[OP_COUNT];
	int error = load_form(facts, options, false, ret_guard);

	if (!error)
		return 0;
	guard_plan(facts, options->tracepoints, tiers);
	if (tiers[OP_UNLINK].tier != TIER_LSM)
		return error;
	log_debug("programs with parts in common cannot be loaded: %s", strerror(-error));
	return load_form(facts, options, true, ret_guard);
}

/* Closes the links; those that are pinned stay as they are. */
static void close_libc(struct guard *guard, bool pinned)
{
	for (size_t i = 0; i < guard->libc_multi_count; i++)
		close(guard->libc_multi[i]);
	for (size_t i = 0; i < guard->libc_link_count; i++) {
		if (pinned)
			bpf_link__disconnect(guard->libc_links[i]);
		bpf_link__destroy(guard->libc_links[i]);
	}
	free(guard->libc_multi);
	free(guard->libc_links);
	guard->libc_multi = NULL;
	guard->libc_links = NULL;
	guard->libc_multi_count = guard->libc_link_count = 0;
}

void guard_free(struct guard *guard)
{
	if (!guard)
		return;
	for (size_t i = 0; i < guard->link_count; i++) {
		/* A pinned link stays as it is; to destroy it would disable its perf event. */
		if (guard->pins)
			bpf_link__disconnect(guard->links[i]);
		bpf_link__destroy(guard->links[i]);
	}
	free(guard->links);
	close_libc(guard, guard->pins);
	bpf_link__destroy(guard->overwrite);
	for (size_t i = 0; i < guard->part_count; i++)
		close(guard->parts[i]);
	free(guard->parts);
	while (guard->result_count)
		bpf_link__destroy(guard->results[--guard->result_count]);
	for (size_t i = 0; i < STAGE_COUNT; i++)
		reprieve__destroy(guard->late[i]);
	reprieve__destroy(guard->skel);
	free(guard);
}

const struct guard_tier *guard_tiers(const struct guard *guard)
{
	return guard->tiers;
}

/* The strongest row of an operation below the probes in libc. */
static const struct tier_row *tier_below_libc(enum op op)
{
	for (size_t i = 0; i < ARRAY_SIZE(tier_rows); i++)
		if (tier_rows[i].op == op && tier_rows[i].tier == TIER_SIGNAL)
			return &tier_rows[i];
	return NULL;
}

void guard_mark_proven(struct guard *guard, enum op op, bool by_libc)
{
	struct guard_tier *tier = &guard->tiers[op];
	const struct tier_row *row = tier_below_libc(op);

	if (is_by_libc(op, tier->tier) && !by_libc && row) {
		log_warning("%s: %s are armed, but did not see an operation of our own; the signal tier did",
			    op_name(op), tier->by);
		*tier = (struct guard_tier){row->tier, false, row->by, row->note};
	}
	tier->proven = true;
}

/* What is armed later is proven then. */
bool guard_is_armed(const struct guard *guard, enum op op)
{
	return !guard_has_rest(guard) || guard->first & 1u << op;
}

void guard_drop_unproven(struct guard *guard)
{
	for (enum op op = 0; op < OP_COUNT; op++) {
		struct guard_tier *tier = &guard->tiers[op];

		if (tier->tier == TIER_NONE || tier->proven || op == OP_SQL || !guard_is_armed(guard, op))
			continue;
		log_warning("%s is not guarded: %s is armed, but did not see an operation of our own", op_name(op),
			    tier->by);
		*tier = (struct guard_tier){TIER_NONE, false, "nothing", "armed, and not called by this kernel"};
	}
}

int guard_ring_fd(const struct guard *guard)
{
	return bpf_map__fd(guard->skel->maps.ring);
}

size_t guard_ring_bytes(const struct guard *guard)
{
	return guard->ring_bytes;
}

/* The users of a slot: those of the policy that was there before go, the new ones come. */
static int set_users(struct guard *guard, uint32_t slot, const struct guard_policy *policy)
{
	struct bpf_map *map = guard->skel->maps.users;
	struct user_key key, next, *from = NULL;

	while (!bpf_map__get_next_key(map, from, &next, sizeof(next))) {
		if (from && key.policy == slot)
			bpf_map__delete_elem(map, &key, sizeof(key), 0);
		key = next;
		from = &key;
	}
	if (from && key.policy == slot)
		bpf_map__delete_elem(map, &key, sizeof(key), 0);
	for (size_t i = 0; i < policy->user_count; i++) {
		key = (struct user_key){.policy = slot, .uid = policy->users[i].uid};
		if (bpf_map__update_elem(map, &key, sizeof(key), &policy->users[i].rules, sizeof(struct rule_set),
					 BPF_ANY))
			return -errno;
	}
	return 0;
}

/* Writes what is in use; cells and states beyond that are never reached, and their pages stay untouched. */
static int write_image(struct guard *guard, uint32_t slot, const struct policy_image *image)
{
	size_t at = slot * sizeof(*image), head = offsetof(struct policy_image, dfa.next);
	size_t cells = MIN((size_t)image->dfa.states << image->dfa.shift, (size_t)DFA_CELLS);
	size_t states = MIN((size_t)image->dfa.states, (size_t)DFA_STATES);
	int error = write_policies(guard, at, image, head + cells * sizeof(image->dfa.next[0]));

	if (error)
		return error;
	return write_policies(guard, at + offsetof(struct policy_image, dfa.accept), image->dfa.accept,
			      states * sizeof(image->dfa.accept[0]));
}

int guard_set_policy(struct guard *guard, const struct guard_policy *policy)
{
	const struct policy_image *image = policy->image;
	uint32_t slot = !guard->active;
	struct stat host;
	int error = set_users(guard, slot, policy);

	if (!error)
		error = write_image(guard, slot, image);
	if (error)
		return error;
	guard->skel->bss->settings.watch_exe = image->dfa.start[DFA_EXE] != DFA_DEAD;
	guard->skel->bss->settings.watch_cgroups = image->dfa.start[DFA_CGROUP] != DFA_DEAD || policy->watch_pods;
	guard->skel->bss->settings.watch_pods = policy->watch_pods;
	guard->skel->bss->settings.unresolved_denied = policy->deny_unresolved;
	guard->skel->bss->settings.host_mounts = stat("/proc/1/ns/mnt", &host) < 0 ? 0 : (__u32)host.st_ino;
	guard->skel->bss->settings.inspect_maps = policy->inspect;
	guard->skel->bss->settings.watch_environ = image->dfa.start[DFA_ENVIRON] != DFA_DEAD;
	guard->skel->bss->settings.watch_execs = guard->watch_execs = policy->watch_execs;
	__atomic_store_n(&guard->skel->bss->settings.active_policy, slot, __ATOMIC_SEQ_CST);
	guard->active = slot;
	return 0;
}

int guard_add_session(struct guard *guard, const struct session_id *id, uint32_t agent, uint32_t ws_dev,
		      uint64_t ws_ino, const char *ws_name)
{
	struct session_info info = {.ws_ino = ws_ino, .ws_dev = ws_dev, .agent = agent};
	size_t length = ws_name ? strlen(ws_name) : 0;

	if (length && length < WORKSPACE_BYTES) {
		memcpy(info.ws_name, ws_name, length);
		info.ws_name_length = length;
	}
	return bpf_map__update_elem(guard->skel->maps.sessions, id, sizeof(*id), &info, sizeof(info), BPF_ANY) ? -errno
													       : 0;
}

void guard_remove_session(struct guard *guard, const struct session_id *id)
{
	bpf_map__delete_elem(guard->skel->maps.sessions, id, sizeof(*id), 0);
}

/* The count by which programs pass bystanders over; see `members` in bpf/reprieve.bpf.h. */
static void members_add(struct guard *guard, uint32_t pid, int change)
{
	__atomic_fetch_add((__u32 *)&guard->skel->bss->members[pid & (MEMBER_SLOTS - 1)], change, __ATOMIC_SEQ_CST);
}

/* Writes a process's entry, and counts it before it can be met. `flags`: BPF_ANY, or BPF_NOEXIST. */
static int put_task(struct guard *guard, uint32_t pid, const struct task_entry *entry, uint64_t flags)
{
	int error;

	members_add(guard, pid, 1);
	if (!bpf_map__update_elem(guard->skel->maps.tasks, &pid, sizeof(pid), entry, sizeof(*entry), flags))
		return 0;
	error = -errno;
	members_add(guard, pid, -1);
	return error;
}

int guard_add_task(struct guard *guard, const struct process_id *process, const struct session_id *session,
		   uint32_t agent)
{
	struct task_entry entry = {.start = process->start, .session = *session, .agent = agent};
	uint32_t pid = process->pid;

	/* In the place of an entry that waits for its pod it is counted already. */
	if (!bpf_map__update_elem(guard->skel->maps.tasks, &pid, sizeof(pid), &entry, sizeof(entry), BPF_EXIST))
		return 0;
	return put_task(guard, pid, &entry, BPF_ANY);
}

int guard_await_task(struct guard *guard, const struct process_id *process, uint64_t cgroup)
{
	struct task_entry entry = {.start = process->start, .session.start = cgroup, .awaiting = 1};
	int error = put_task(guard, process->pid, &entry, BPF_NOEXIST);

	return error == -EEXIST ? 0 : error;
}

/* Takes out of the map whatever `drops` says; how many it did. An entry that moves meanwhile is met by the next call. */
static size_t drop_tasks(struct guard *guard, bool (*drops)(const struct task_entry *entry, void *userdata),
			 void *userdata)
{
	const struct bpf_map *map = guard->skel->maps.tasks;
	_cleanup_buffer_ struct buffer list = {};
	uint32_t pid, *before = NULL;
	struct task_entry entry;
	size_t count;

	while (!bpf_map__get_next_key(map, before, &pid, sizeof(pid))) {
		before = &pid;
		if (bpf_map__lookup_elem(map, &pid, sizeof(pid), &entry, sizeof(entry), 0) || !drops(&entry, userdata))
			continue;
		buffer_add(&list, &pid, sizeof(pid));
		if (list.error)
			break;
	}
	count = list.length / sizeof(pid);
	for (size_t i = 0; i < count; i++) {
		memcpy(&pid, list.data + i * sizeof(pid), sizeof(pid));
		if (!bpf_map__delete_elem(map, &pid, sizeof(pid), 0))
			members_add(guard, pid, -1);
	}
	return count;
}

static uint32_t cgroup_mark(struct guard *guard, uint64_t cgroup)
{
	uint32_t mark = 0;

	bpf_map__lookup_elem(guard->skel->maps.cgroups, &cgroup, sizeof(cgroup), &mark, sizeof(mark), 0);
	return mark & ~CGROUP_INHERITED;
}

struct settling {
	struct guard *guard;
	size_t waiting;
};

static bool is_settled(const struct task_entry *entry, void *userdata)
{
	struct settling *settling = userdata;

	if (!entry->awaiting)
		return false;
	if (!cgroup_mark(settling->guard, entry->session.start))
		return true;
	settling->waiting += 1;
	return false;
}

size_t guard_settle_tasks(struct guard *guard)
{
	struct settling settling = {.guard = guard};

	do
		settling.waiting = 0;
	while (drop_tasks(guard, is_settled, &settling));
	return settling.waiting;
}

static bool is_of_session(const struct task_entry *entry, void *userdata)
{
	return !entry->awaiting && !memcmp(&entry->session, userdata, sizeof(entry->session));
}

void guard_drop_members(struct guard *guard, const struct session_id *session)
{
	struct session_id id = *session;

	while (drop_tasks(guard, is_of_session, &id))
		;
}

void guard_set_await_until(struct guard *guard, uint64_t until)
{
	__atomic_store_n(&guard->skel->bss->settings.await_until, until, __ATOMIC_SEQ_CST);
}

static int find_entry(struct guard *guard, uint32_t pid, struct task_entry *ret_entry)
{
	return bpf_map__lookup_elem(guard->skel->maps.tasks, &pid, sizeof(pid), ret_entry, sizeof(*ret_entry), 0)
		       ? -ENOENT
		       : 0;
}

int guard_find_task(struct guard *guard, uint32_t pid, struct process_id *ret_process, struct session_id *ret_session)
{
	struct task_entry entry;

	if (find_entry(guard, pid, &entry) || entry.awaiting)
		return -ENOENT;
	*ret_process = (struct process_id){.start = entry.start, .pid = pid};
	*ret_session = entry.session;
	return 0;
}

int guard_find_entry(struct guard *guard, uint32_t pid, struct process_id *ret_process)
{
	struct task_entry entry;
	int error = find_entry(guard, pid, &entry);

	if (!error)
		*ret_process = (struct process_id){.start = entry.start, .pid = pid};
	return error;
}

int guard_add_cgroup(struct guard *guard, uint64_t cgroup, uint32_t agent)
{
	return bpf_map__update_elem(guard->skel->maps.cgroups, &cgroup, sizeof(cgroup), &agent, sizeof(agent), BPF_ANY)
		       ? -errno
		       : 0;
}

int guard_mark_pod(struct guard *guard, uint64_t cgroup, uint32_t agent)
{
	const struct bpf_map *map = guard->skel->maps.cgroups;
	uint32_t before = 0, mark = agent | CGROUP_INHERITED;
	bool marked = !bpf_map__lookup_elem(map, &cgroup, sizeof(cgroup), &before, sizeof(before), 0);

	/* A mark without inheritance is the policy's own, by cgroup: */
	if (marked && (agent == CGROUP_UNRESOLVED || before == mark || !(before & CGROUP_INHERITED)))
		return 0;
	return bpf_map__update_elem(map, &cgroup, sizeof(cgroup), &mark, sizeof(mark), BPF_ANY) ? -errno : 1;
}

static struct bpf_program *libpq_program(struct reprieve *skel, enum libpq_function function)
{
	struct bpf_program *const programs[PQ_FUNCTION_COUNT] = {
		[PQ_SEND_QUERY] = skel->progs.pq_send_query,
		[PQ_SEND_QUERY_PARAMS] = skel->progs.pq_send_query_params,
		[PQ_SEND_PREPARE] = skel->progs.pq_send_prepare,
		[PQ_SEND_QUERY_PREPARED] = skel->progs.pq_send_query_prepared,
		[PQ_FN] = skel->progs.pq_fn,
		[PQ_EXEC] = skel->progs.pq_exec,
		[PQ_EXEC_PARAMS] = skel->progs.pq_exec_params,
		[PQ_PREPARE] = skel->progs.pq_prepare,
		[PQ_EXEC_PREPARED] = skel->progs.pq_exec_prepared,
	};

	return skel->rodata->has_cookie ? skel->progs.pq_call : programs[function];
}

static void drop_links(struct guard *guard, size_t keep)
{
	while (guard->link_count > keep)
		bpf_link__destroy(guard->links[--guard->link_count]);
}

int guard_attach_libpq(struct guard *guard, const struct libpq_library *library)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options);
	size_t before = guard->link_count;
	struct reprieve *skel;
	int error = load_late(guard, STAGE_LIBPQ);

	if (error) {
		log_warning("%s: the programs for its probes cannot be loaded: %s; its statements are not seen",
			    library->name, strerror(-error));
		return error;
	}
	skel = guard->late[STAGE_LIBPQ];
	for (enum libpq_function i = 1; i < PQ_FUNCTION_COUNT; i++) {
		struct bpf_link *link;

		if (!(library->functions.probe & (1u << i)))
			continue;
		if (skel->rodata->has_cookie)
			options.bpf_cookie = (__u64)i << 32 | (__u32)library->id;
		link = bpf_program__attach_uprobe_opts(libpq_program(skel, i), -1, library->path,
						       library->functions.place[i].offset, &options);
		error = keep_link(guard, link);
		if (error) {
			/* None rather than some: the library will be found again, and a probe set twice tells twice. */
			drop_links(guard, before);
			log_warning("%s: cannot probe %s: %s; its statements are not seen", library->name,
				    libpq_function_name(i), strerror(-error));
			return error;
		}
	}
	log_debug("probing libpq at %s", library->name);
	return 0;
}

/* A guard that stays without its daemon stops what comes through libc too. */
static void keep_libc(struct guard *guard, int link)
{
	int error;

	if (!guard->pins)
		return;
	error = pins_keep_libc(guard->pins, guard->instance, guard->libc_pinned++, link);
	if (error)
		log_warning("a probe in libc cannot be kept beyond the daemon's end: %s", strerror(-error));
}

static struct bpf_program *libc_program(struct reprieve *skel, enum libc_function function)
{
	struct bpf_program *const programs[LIBC_FUNCTION_COUNT] = {
		[LIBC_UNLINK] = skel->progs.libc_unlink,       [LIBC_UNLINKAT] = skel->progs.libc_unlinkat,
		[LIBC_RMDIR] = skel->progs.libc_rmdir,	       [LIBC_REMOVE] = skel->progs.libc_remove,
		[LIBC_RENAME] = skel->progs.libc_rename,       [LIBC_RENAMEAT] = skel->progs.libc_renameat,
		[LIBC_RENAMEAT2] = skel->progs.libc_renameat2, [LIBC_TRUNCATE] = skel->progs.libc_truncate,
		[LIBC_FTRUNCATE] = skel->progs.libc_ftruncate,
	};

	return programs[function];
}

static int probe_libc_at_once(struct guard *guard, const char *path, const struct libc_functions *functions)
{
	uint64_t offsets[LIBC_FUNCTION_COUNT], cookies[LIBC_FUNCTION_COUNT];
	int *links = reallocarray(guard->libc_multi, guard->libc_multi_count + 1, sizeof(*links)), link;
	uint32_t count = 0;

	if (!links)
		return -ENOMEM;
	guard->libc_multi = links;
	for (uint64_t i = 1; i < LIBC_FUNCTION_COUNT; i++) {
		if (!(functions->probe & 1u << i))
			continue;
		offsets[count] = functions->place[i].offset;
		cookies[count++] = i;
	}
	link = uprobe_multi_link(bpf_program__fd(guard->skel->progs.libc_any), path, offsets, cookies, count);
	if (link < 0)
		return link;
	guard->libc_multi[guard->libc_multi_count++] = link;
	keep_libc(guard, link);
	return 0;
}

static int probe_libc_each(struct guard *guard, const char *path, const struct libc_functions *functions)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options);
	size_t before = guard->libc_link_count;
	struct bpf_link **links =
		reallocarray(guard->libc_links, before + LIBC_FUNCTION_COUNT, sizeof(struct bpf_link *));

	if (!links)
		return -ENOMEM;
	guard->libc_links = links;
	for (enum libc_function i = 1; i < LIBC_FUNCTION_COUNT; i++) {
		struct bpf_link *link;

		if (!(functions->probe & 1u << i))
			continue;
		link = bpf_program__attach_uprobe_opts(libc_program(guard->skel, i), -1, path,
						       functions->place[i].offset, &options);
		if (!link) {
			int error = -errno;

			while (guard->libc_link_count > before)
				bpf_link__destroy(guard->libc_links[--guard->libc_link_count]);
			return error;
		}
		guard->libc_links[guard->libc_link_count++] = link;
		keep_libc(guard, bpf_link__fd(link));
	}
	return 0;
}

int guard_probe_libc(struct guard *guard, const char *path, const struct libc_functions *functions)
{
	if (bpf_program__autoload(guard->skel->progs.libc_any))
		return probe_libc_at_once(guard, path, functions);
	return probe_libc_each(guard, path, functions);
}

void guard_unprobe_libc(struct guard *guard)
{
	if (guard->pins)
		pins_drop_libc(guard->pins, guard->instance);
	close_libc(guard, false);
}

bool guard_probes_libc(const struct guard *guard)
{
	return guard->libc_multi_count || guard->libc_link_count;
}

void guard_forget_inspected(struct guard *guard)
{
	struct bpf_map *map = guard->skel->maps.inspected;
	struct file_key key;

	while (!bpf_map__get_next_key(map, NULL, &key, sizeof(key)))
		if (bpf_map__delete_elem(map, &key, sizeof(key), 0))
			return;
}

void guard_stop_inspecting(struct guard *guard)
{
	volatile struct settings *settings = &guard->skel->bss->settings;

	if (settings->inspect_maps <= INSPECT_RUNNING)
		return;
	settings->inspect_maps = INSPECT_NEVER;
	usleep(TAKE_OVER_USEC);
}

int guard_for_each_inspecting(struct guard *guard, void (*each)(uint32_t pid, void *userdata), void *userdata)
{
	struct bpf_map *map = guard->skel->maps.inspecting;
	size_t count = 0, room = bpf_map__max_entries(map);
	_cleanup_free_ uint32_t *pids = calloc(room, sizeof(*pids));
	uint32_t *before = NULL;

	if (!pids)
		return -ENOMEM;
	for (; count < room && !bpf_map__get_next_key(map, before, &pids[count], sizeof(*pids)); count++)
		before = &pids[count];
	for (size_t i = 0; i < count; i++)
		each(pids[i], userdata);
	return 0;
}

void guard_connects(struct guard *guard, uint32_t pid)
{
	struct bpf_map *map = guard->skel->maps.inspecting;
	struct file_key key = {};

	/* Where it has mapped another file meanwhile, that is what it waits for. */
	if (!bpf_map__lookup_elem(map, &pid, sizeof(pid), &key, sizeof(key), 0) && !key.ino)
		bpf_map__delete_elem(map, &pid, sizeof(pid), 0);
}

void guard_inspected(struct guard *guard, const struct record_map *record)
{
	struct file_key key = {
		.ino = record->ino, .size = record->size, .dev = record->dev, .generation = record->inode_generation};
	uint32_t done = INSPECT_DONE;

	bpf_map__update_elem(guard->skel->maps.inspected, &key, sizeof(key), &done, sizeof(done), BPF_ANY);
}

static uint64_t missed_by(const struct bpf_program *program)
{
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) ? 0 : info.recursion_misses;
}

uint64_t guard_missed(const struct guard *guard)
{
	return missed_by(guard->skel->progs.process_fork) + missed_by(guard->skel->progs.process_exec) +
	       missed_by(guard->skel->progs.process_exit);
}

int guard_counters(const struct guard *guard, uint64_t ret_counters[COUNT_SIZE])
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ uint64_t *values = calloc(MAX(cpus, 1), sizeof(*values));

	if (!values)
		return -ENOMEM;
	for (uint32_t i = 0; i < COUNT_SIZE; i++) {
		ret_counters[i] = 0;
		if (bpf_map__lookup_elem(guard->skel->maps.counters, &i, sizeof(i), values, cpus * sizeof(*values), 0))
			return -errno;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret_counters[i] += values[cpu];
	}
	return 0;
}

static int read_all(int fd, char **ret_data, size_t *ret_length)
{
	size_t length = 0, capacity = 1 << 16;
	char *data = malloc(capacity), *more;
	ssize_t got = 0;

	while (data) {
		got = read(fd, data + length, capacity - length);
		if (got <= 0)
			break;
		length += got;
		if (capacity - length >= 4096)
			continue;
		capacity *= 2;
		more = realloc(data, capacity);
		if (!more)
			free(data);
		data = more;
	}
	if (!data || got < 0) {
		free(data);
		return data ? -errno : -ENOMEM;
	}
	*ret_data = data;
	*ret_length = length;
	return 0;
}

int guard_snapshot(struct guard *guard, struct snapshot_entry **ret_processes, size_t *ret_count)
{
	struct bpf_link *link = bpf_program__attach_iter(guard->skel->progs.snapshot, NULL);
	_cleanup_close_ int fd = -1;
	char *data = NULL;
	size_t length = 0;
	int error;

	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	error = fd < 0 ? -errno : read_all(fd, &data, &length);
	bpf_link__destroy(link);
	if (error)
		return error;
	*ret_processes = (struct snapshot_entry *)data;
	*ret_count = length / sizeof(struct snapshot_entry);
	return 0;
}

int guard_process_start(struct guard *guard, uint32_t pid, __u64 *ret_start)
{
	_cleanup_free_ struct snapshot_entry *processes = NULL;
	size_t count;
	int error = guard_snapshot(guard, &processes, &count);

	if (error)
		return error;
	for (size_t i = 0; i < count; i++) {
		if (processes[i].tgid != pid)
			continue;
		*ret_start = processes[i].start;
		return 0;
	}
	return -ESRCH;
}

int guard_grant(struct guard *guard, const struct grant_key *key, const struct grant *grant)
{
	return bpf_map__update_elem(guard->skel->maps.grants, key, sizeof(*key), grant, sizeof(*grant), BPF_ANY)
		       ? -errno
		       : 0;
}

void guard_revoke(struct guard *guard, const struct grant_key *key)
{
	bpf_map__delete_elem(guard->skel->maps.grants, key, sizeof(*key), 0);
}

/* Of a thread's call, in the maps of what is held and under way: as bpf_get_current_pid_tgid() has it. */
static uint64_t call_key(uint32_t pid, uint32_t tid)
{
	return (uint64_t)pid << 32 | tid;
}

/* The record within a value of the map of held calls, at its end. */
static void *held_record(void *value, size_t value_bytes)
{
	return (char *)value + value_bytes - HELD_RECORD_BYTES;
}

void guard_drop_held(struct guard *guard, const struct actor *actor)
{
	uint64_t key = call_key(actor->process.pid, actor->tid);

	bpf_map__delete_elem(guard->skel->maps.helds, &key, sizeof(key), 0);
}

int guard_replace_held(struct guard *guard, const struct record_op *before, const struct record_op *record)
{
	const struct bpf_map *map = guard->skel->maps.helds;
	uint64_t key = call_key(before->actor.process.pid, before->actor.tid);
	size_t value_bytes = bpf_map__value_size(map);
	_cleanup_free_ char *value = malloc(value_bytes);
	struct record_op *kept;

	if (!value)
		return -ENOMEM;
	if (record->head.size > HELD_RECORD_BYTES)
		return -EMSGSIZE;
	kept = held_record(value, value_bytes);
	if (bpf_map__lookup_elem(map, &key, sizeof(key), value, value_bytes, 0) ||
	    kept->head.kind != before->head.kind || kept->exec_id != before->exec_id ||
	    kept->actor.process.start != before->actor.process.start)
		return -ENOENT;
	memcpy(kept, record, record->head.size);
	return bpf_map__update_elem(map, &key, sizeof(key), value, value_bytes, BPF_EXIST) ? -errno : 0;
}

void guard_forget_call(struct guard *guard, const struct actor *actor)
{
	uint64_t key = call_key(actor->process.pid, actor->tid);

	guard_drop_held(guard, actor);
	bpf_map__delete_elem(guard->skel->maps.inflights, &key, sizeof(key), 0);
	bpf_map__delete_elem(guard->skel->maps.briefs, &key, sizeof(key), 0);
}

void guard_set_traced(struct guard *guard, uint32_t pid)
{
	__atomic_store_n(&guard->skel->bss->settings.traced, pid, __ATOMIC_SEQ_CST);
}

/* The tier by which a kept call is held. */
static enum tier held_tier(void *value, size_t bytes)
{
	const struct record *record = held_record(value, bytes);

	return record->kind == RECORD_SQL ? ((const struct record_sql *)record)->tier
					  : ((const struct record_op *)record)->tier;
}

bool guard_can_stand(const struct guard *guard)
{
	return !guard->lsm || guard->late[STAGE_LIBPQ];
}

bool guard_stands(const struct guard *guard, uint32_t pid, uint32_t tid)
{
	const struct bpf_map *map = guard->skel->maps.helds;
	uint64_t key = call_key(pid, tid);
	size_t bytes = bpf_map__value_size(map);
	_cleanup_free_ char *value = malloc(bytes);

	/* Without memory the process stays stopped rather than going on too early. */
	if (!value)
		return true;
	return !bpf_map__lookup_elem(map, &key, sizeof(key), value, bytes, 0) && held_tier(value, bytes) != TIER_LSM;
}

/* All calls that are kept, as they stand in the map one behind the other. */
static int list_held(const struct bpf_map *map, size_t value_bytes, struct buffer *ret_values)
{
	_cleanup_free_ char *value = malloc(value_bytes);
	uint64_t key, *before = NULL;

	if (!value)
		return -ENOMEM;
	while (!bpf_map__get_next_key(map, before, &key, sizeof(key))) {
		before = &key;
		if (!bpf_map__lookup_elem(map, &key, sizeof(key), value, value_bytes, 0))
			buffer_add(ret_values, value, value_bytes);
	}
	return ret_values->error;
}

int guard_for_each_held(struct guard *guard, int (*each)(const void *record, size_t size, void *userdata),
			void *userdata)
{
	const struct bpf_map *map = guard->skel->maps.helds;
	size_t value_bytes = bpf_map__value_size(map);
	_cleanup_buffer_ struct buffer values = {};
	/* First all, and then one by one: where `each` takes one out of the map, a walk of the map would begin anew. */
	int error = list_held(map, value_bytes, &values);

	for (size_t at = 0; !error && at < values.length; at += value_bytes) {
		const struct record *record = held_record(values.data + at, value_bytes);

		error = each(record, record->size, userdata);
	}
	return error;
}

int guard_protect(struct guard *guard, const struct file_id *files, size_t count)
{
	uint32_t present = 1;
	uint64_t mask = 0;
	int error = 0;

	for (size_t i = 0; i < count; i++) {
		if (bpf_map__update_elem(guard->skel->maps.protected, &files[i], sizeof(files[i]), &present,
					 sizeof(present), BPF_ANY))
			error = -errno;
		else
			mask |= 1ull << (files[i].ino & 63);
	}
	guard->skel->bss->settings.protect_mask |= mask;
	guard->skel->bss->settings.guard_pid = (uint32_t)getpid();
	return error;
}

void guard_take_over(struct guard *guard)
{
	volatile struct settings *settings = &guard->skel->bss->settings;

	if (!guard->pins)
		return;
	/* In a pod ourselves, we may be waited for by nobody else. */
	settings->guard_pid = (uint32_t)getpid();
	if (guard->adopted) {
		settings->known_results = 0;
		settings->traced = 0;
		settings->next_instance = guard->instance;
		usleep(TAKE_OVER_USEC);
		settings->instance = guard->instance;
		settings->next_instance = 0;
	}
	pins_drop_others(guard->pins, guard->instance);
}

bool guard_keeps(const struct guard *guard)
{
	return guard->pins;
}

bool guard_adopted(const struct guard *guard)
{
	return guard->adopted;
}

uint32_t guard_generation(const struct guard *guard)
{
	size_t offset = (guard->active & 1) * sizeof(struct policy_image);
	struct window window;
	uint32_t generation;

	if (open_window(guard, offset, sizeof(struct rule_table), PROT_READ, &window))
		return 0;
	generation = ((const struct rule_table *)window.at)->generation;
	close_window(&window);
	return generation;
}

void guard_exempt(struct guard *guard, const struct session_id *session)
{
	guard->skel->bss->settings.selftest = *session;
	guard->skel->bss->settings.watch_execs = true;
}

void guard_exempt_done(struct guard *guard)
{
	guard->skel->bss->settings.watch_execs = guard->watch_execs;
}

static int find_session(struct guard *guard, const struct session_id *id, struct session_info *ret_info)
{
	return bpf_map__lookup_elem(guard->skel->maps.sessions, id, sizeof(*id), ret_info, sizeof(*ret_info), 0)
		       ? -ENOENT
		       : 0;
}

int guard_session_agent(struct guard *guard, const struct session_id *id, uint32_t *ret_agent)
{
	struct session_info info;
	int error = find_session(guard, id, &info);

	if (!error)
		*ret_agent = info.agent;
	return error;
}

int guard_set_session_agent(struct guard *guard, const struct session_id *id, uint32_t agent)
{
	struct session_info info;
	int error = find_session(guard, id, &info);

	if (error)
		return error;
	info.agent = agent;
	return bpf_map__update_elem(guard->skel->maps.sessions, id, sizeof(*id), &info, sizeof(info), BPF_EXIST)
		       ? -errno
		       : 0;
}

int guard_session_workspace(struct guard *guard, const struct session_id *id, char ret_path[WORKSPACE_BYTES + 1])
{
	struct session_info info;
	int error = find_session(guard, id, &info);

	if (error || !info.ws_name_length || info.ws_name_length > WORKSPACE_BYTES)
		return -ENOENT;
	memcpy(ret_path, info.ws_name, info.ws_name_length);
	ret_path[info.ws_name_length] = '\0';
	return 0;
}

void guard_take_off(struct guard *guard)
{
	if (guard->pins)
		pins_remove(guard->pins);
	guard->pins = NULL;
}
