/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this kernel offers, what is therefore guarded, and how to get more: each line behind a trial, not a version. */
#include "commands.h"

#include <jansson.h>
#include <unistd.h>

#include "container.h"
#include "kube.h"
#include "loader.h"
#include "opts.h"
#include "probe.h"
#include "selftest.h"

static const struct option_spec spec = {
	.summary =
		"Tries what this kernel can do, says which operation is guarded by which tier, what that leaves open, "
		"and how to get more.",
	.examples = "  sudo reprieve doctor\n"
		    "  sudo reprieve doctor --json | jq '.tiers[] | select(.tier == \"none\")'\n",
	.common = COMMON_JSON | COMMON_COLOR,
};

struct feature {
	const char *name;
	const char *what;
	size_t probe; /* offset in struct kernel_facts */
};

static const struct feature features[] = {
	{"lsm", "LSM programs: the lsm tier", offsetof(struct kernel_facts, lsm)},
	{"fexit", "fexit programs: results on the lsm tier", offsetof(struct kernel_facts, fexit)},
	{"tracepoint", "system call tracepoints: the signal tier", offsetof(struct kernel_facts, tracepoint)},
	{"tp_btf", "scheduler tracepoints: sessions", offsetof(struct kernel_facts, tp_btf)},
	{"uprobe", "uprobes: the uprobe tier, SQL through libpq", offsetof(struct kernel_facts, uprobe)},
	{"uprobe_sleeps", "uprobes that read names from disk", offsetof(struct kernel_facts, uprobe_sleeps)},
	{"uprobe_multi", "uprobes set all at once", offsetof(struct kernel_facts, uprobe_multi)},
	{"cookie", "uprobe cookies: which libpq", offsetof(struct kernel_facts, cookie)},
	{"pt_regs", "registers of a system call: overwrites on the lsm tier", offsetof(struct kernel_facts, pt_regs)},
};

struct diagnosis {
	struct kernel_facts facts;
	struct guard_tier tiers[OP_COUNT];
	struct container_blindness blindness;
	struct kube_api_options api; /* as a pod is given it; no server: we run in none */
	const char *node; /* as the pod is told; or NULL */
	bool frozen; /* what is held by its stop can be frozen */
	bool armed; /* the programs were loaded, attached and tried */
	int error;
};

static const struct probe *probe_of(const struct diagnosis *diagnosis, const struct feature *feature)
{
	return (const struct probe *)((const char *)&diagnosis->facts + feature->probe);
}

/* How to get the stronger tier, for people; NULL where it is there. */
static const char *advice(const struct diagnosis *diagnosis)
{
	const struct kernel_facts *facts = &diagnosis->facts;

	if (facts->lsm.result == PROBE_WORKS)
		return NULL;
	if (facts->lsm.result == PROBE_SILENT)
		return "LSM programs load here and are never called, because `bpf` is not among the active LSMs: add it to "
		       "the kernel's command line, lsm=...,bpf with those of /sys/kernel/security/lsm before it, and boot "
		       "again (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub).";
	return "this kernel refuses LSM programs: it needs CONFIG_BPF_LSM=y, BPF trampolines, and `bpf` in lsm= on its "
	       "command line. Stock kernels of Debian 12 and later have all of it; some virtual machines' kernels do not.";
}

/* Loads the real programs, and lets each see an operation of ours. */
static void try_guard(struct diagnosis *diagnosis)
{
	struct guard_options options = {.ring_bytes = 1 << 20, .members_only = true};
	struct policy_image *image = calloc(1, sizeof(*image));
	struct guard_policy policy = {.image = image, .watch_execs = true};
	struct session_id session;
	struct guard *guard = NULL;

	diagnosis->error = image ? guard_load(&diagnosis->facts, &options, &guard) : -ENOMEM;
	if (!diagnosis->error)
		diagnosis->error = guard_set_policy(guard, &policy);
	if (!diagnosis->error)
		diagnosis->error = selftest_run(guard, &session);
	if (!diagnosis->error) {
		guard_drop_unproven(guard);
		diagnosis->armed = true;
		memcpy(diagnosis->tiers, guard_tiers(guard), sizeof(diagnosis->tiers));
	}
	guard_free(guard);
	free(image);
}

static bool is_open(const struct diagnosis *diagnosis, enum op op)
{
	const struct guard_tier *tier = &diagnosis->tiers[op];

	return tier->tier == TIER_NONE || (!tier->proven && op != OP_SQL);
}

static void print_features(const struct diagnosis *diagnosis, bool color)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		const struct probe *probe = probe_of(diagnosis, &features[i]);
		bool works = probe->result == PROBE_WORKS;

		printf("  %s%-13s%s %s", color ? (works ? "\033[32m" : "\033[31m") : "",
		       probe_result_name(probe->result), color ? "\033[0m" : "", features[i].what);
		if (probe->result == PROBE_REFUSED)
			printf(" (%s)", strerror(probe->error));
		putchar('\n');
	}
}

static void print_tiers(const struct diagnosis *diagnosis)
{
	printf("\n%-11s%-8s%-8s%s\n", "OPERATION", "TIER", "PROVEN", "BY");
	for (enum op op = 0; op < OP_COUNT; op++) {
		const struct guard_tier *tier = &diagnosis->tiers[op];

		printf("%-11s%-8s%-8s%s\n", op_name(op), tier_name(tier->tier),
		       tier->proven		    ? "yes"
		       : op == OP_SQL && tier->tier ? "by kind"
						    : "no",
		       tier->by);
		if (tier->note[0])
			printf("%27s%s\n", "", tier->note);
	}
}

/* Whether and how a daemon that is started as we were finds agents by pod. */
static void print_node(const struct diagnosis *diagnosis)
{
	size_t count = diagnosis->blindness.in_pods;

	if (diagnosis->api.server && diagnosis->node)
		printf("kubernetes  node %s, its pods told of by %s; %zu processes of pods are seen\n", diagnosis->node,
		       diagnosis->api.server, count);
	else if (diagnosis->api.server)
		printf("kubernetes  this runs in a pod, but on which node is not told: agents are not found by pod; set "
		       "NODE_NAME from spec.nodeName, or give the daemon --node\n");
	else if (count)
		printf("kubernetes  %zu processes of pods are seen; this does not run in a pod itself: agents are found by "
		       "pod where the daemon is given --api and --node\n",
		       count);
	if (diagnosis->api.server && !count)
		printf("            no process of a pod is seen: the daemon's pod needs hostPID: true\n");
}

/* How agents are found by cgroup, and held. */
static void print_cgroups(const struct diagnosis *diagnosis)
{
	const struct kernel_facts *facts = &diagnosis->facts;

	if (!facts->cgroup2)
		printf("cgroup2     not mounted: agents are not found by cgroup, and what is held can be woken\n");
	else if (!diagnosis->frozen)
		printf("cgroup2     %s, which cannot be written to: what is held by its stop alone can be woken\n",
		       facts->cgroup_root);
	else
		printf("cgroup2     %s\n", facts->cgroup_root);
}

static void print_blindness(const struct diagnosis *diagnosis)
{
	_cleanup_free_ char *text = container_blindness_text(&diagnosis->blindness);

	if (text)
		printf("containers  %s\n", text);
	putchar('\n');
}

static void print_people(const struct diagnosis *diagnosis, bool color)
{
	const struct kernel_facts *facts = &diagnosis->facts;
	const char *more = advice(diagnosis);

	printf("kernel      %s\n", facts->release);
	printf("active LSMs %s\n", facts->lsm_list[0] ? facts->lsm_list : "not told (securityfs is not mounted)");
	print_cgroups(diagnosis);
	print_node(diagnosis);
	print_blindness(diagnosis);
	print_features(diagnosis, color);
	print_tiers(diagnosis);
	if (!diagnosis->armed)
		printf("\nThe programs could not be tried: %s\n", strerror(-diagnosis->error));
	if (diagnosis->tiers[OP_UNLINK].tier == TIER_LSM)
		puts("\nlsm: a denied or killed call loses nothing.");
	else if (diagnosis->tiers[OP_UNLINK].tier == TIER_SIGNAL)
		puts("\nsignal: a kill comes after the system call under way: at most one operation for each thread is lost.\n"
		     "        A denial or a hold of a file operation cannot be given.");
	if (more)
		printf("\nTo get more: %s\n", more);
}

static void print_json(const struct diagnosis *diagnosis)
{
	json_t *kinds = json_object(), *tiers = json_array(), *object;
	const char *more = advice(diagnosis);

	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		const struct probe *probe = probe_of(diagnosis, &features[i]);

		json_object_set_new(kinds, features[i].name,
				    json_pack("{s:s, s:s?}", "result", probe_result_name(probe->result), "error",
					      probe->result == PROBE_REFUSED ? strerror(probe->error) : NULL));
	}
	for (unsigned int op = 0; op < OP_COUNT; op++) {
		const struct guard_tier *tier = &diagnosis->tiers[op];

		json_array_append_new(tiers, json_pack("{s:s, s:s, s:b, s:s, s:s}", "op", op_name(op), "tier",
						       tier_name(tier->tier), "proven", tier->proven, "by", tier->by,
						       "note", tier->note));
	}
	object = json_pack(
		"{s:s, s:s, s:b, s:b, s:I, s:I, s:s?, s:s?, s:o, s:o, s:b, s:s?}", "kernel", diagnosis->facts.release,
		"lsm_list", diagnosis->facts.lsm_list, "cgroup2", diagnosis->facts.cgroup2, "freezes",
		diagnosis->frozen, "container_processes_without_cgroup2", (json_int_t)diagnosis->blindness.processes,
		"pod_processes", (json_int_t)diagnosis->blindness.in_pods, "api", diagnosis->api.server, "node",
		diagnosis->node, "features", kinds, "tiers", tiers, "armed", diagnosis->armed, "advice", more);
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

/* ret_server: what diagnosis->api points to, malloc'ed. */
static void look_around(struct diagnosis *diagnosis, char **ret_server)
{
	const struct kernel_facts *facts = &diagnosis->facts;
	const char *node = getenv("NODE_NAME");

	container_find_blind(NULL, &diagnosis->blindness);
	if (!kube_in_cluster(&diagnosis->api, ret_server) && node && kube_is_name(node))
		diagnosis->node = node;
	diagnosis->frozen = facts->cgroup2 && !access(facts->cgroup_root, W_OK);
}

int cmd_doctor(int argc, char **argv)
{
	_cleanup_free_ char *server = NULL;
	struct common_options common;
	struct diagnosis diagnosis = {};
	int code = options_parse(&spec, argc, argv, NULL, &common), error;

	if (code)
		return code;
	code = require_root("doctor");
	if (code)
		return code;
	error = probe_kernel(PROBE_THOROUGH, &diagnosis.facts);
	if (error) {
		log_error("this kernel has no BTF (/sys/kernel/btf/vmlinux), which everything else needs: "
			  "CONFIG_DEBUG_INFO_BTF=y");
		return EXIT_LACKING;
	}
	guard_plan(&diagnosis.facts, false, diagnosis.tiers);
	try_guard(&diagnosis);
	look_around(&diagnosis, &server);
	if (common.json)
		print_json(&diagnosis);
	else
		print_people(&diagnosis, common.color);
	probe_done(&diagnosis.facts);
	for (enum op op = OP_UNLINK; op <= OP_TRUNCATE; op++)
		if (is_open(&diagnosis, op))
			return EXIT_LACKING;
	return EXIT_DONE;
}
