/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The same facts through the decision in the kernel and through the decision outside: not one difference.
 *
 *     test_decide [--cases N] [--seed S]
 *
 * N is 120000 by default. The seed is another one each time and is printed: the same seed gives the same cases. Exits 1
 * where something failed, 2 on wrong usage, else 0, also where all is skipped for want of a privilege.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "maps.h"

#include "decide.skel.h"
#include "decide_case.h"
#include "judge.h"
#include "random_policy.h"

#define CASES_DEFAULT 120000
#define CASES_PER_POLICY 480
#define DIFFERENCES_MAX 3 /* more of them say no more */

struct tally {
	uint64_t cases, failed;
	uint64_t policies, redrawn;
	uint64_t by_verdict[VERDICT_COUNT];
	uint64_t by_default, uncertain, matched, excluded, above, records, by_new_path, second_word;
	uint32_t sql; /* the next mask: an odd step reaches all of them */
};

struct test {
	struct decide *skel;
	struct decide_case *cases;
	struct random_policy *random;
	uint32_t slot; /* of the policy at hand */
	struct tally tally;
};

/* --- Cases --- */

static struct rule_set random_rules(void)
{
	uint64_t sparse = one_in(2) ? random_word() : UINT64_MAX;

	switch (random_below(4)) {
	case 0:
		return (struct rule_set){};
	case 1:
		return (struct rule_set){{UINT64_MAX, UINT64_MAX}};
	}
	return (struct rule_set){{random_word() & sparse, random_word() & sparse}};
}

static uint32_t lowest_of(uint32_t mask)
{
	return mask ? (uint32_t)__builtin_ctz(mask) : 0;
}

/* Facts that one rule holds for, and as few others as possible: first matches far down in long policies are rare. */
static void aim_at_rule(const struct test *test, struct facts *facts)
{
	const struct policy *policy = test->random->policy;
	uint16_t number = (uint16_t)random_below((uint32_t)policy_rule_count(policy));
	const struct policy_rule *rule = policy_rule(policy, number);
	struct rule_set only = {};

	only.word[number / 64] = 1ULL << number % 64;
	facts->op = lowest_of(rule->ops);
	facts->workspace = rule->workspace;
	facts->sql = rule->sql & -rule->sql;
	if (rule->agents.count)
		facts->agent = (uint32_t)agent_registry_find(test->random->registry, rule->agents.items[0]);
	facts->path = facts->user = facts->database = facts->host = facts->args = facts->rate = only;
	if (one_in(2))
		facts->unknown &= 1u << random_below(FAMILY_COUNT);
}

static void random_facts(struct test *test, struct facts *facts)
{
	*facts = (struct facts){
		.op = one_in(50) ? (uint32_t)random_word() : random_below(OP_COUNT),
		.agent = one_in(50) ? (uint32_t)random_word() : random_below(1 + test->random->agents),
		.workspace = one_in(50) ? (uint32_t)random_word() : random_below(WORKSPACE_COUNT),
		.unknown = one_in(2) ? 0 : (uint32_t)random_word() & (uint32_t)random_word(),
		.ancestor = random_below(2),
		.user = random_rules(),
		.database = random_rules(),
		.host = random_rules(),
		.args = random_rules(),
		.rate = random_rules(),
	};
	if (one_in(3)) {
		aim_at_rule(test, facts);
		return;
	}
	facts->sql = test->tally.sql & 0xffff;
	test->tally.sql += 40503;
	if (one_in(8)) {
		facts->path = random_rules();
		facts->path_not = random_rules();
		facts->path_below = random_rules();
	}
}

/* Longer or shorter by components, or another byte somewhere. */
static void change_path(struct case_name *name)
{
	static const char *const more[] = {"/x", "/a/b", "/uploads", "~", "/", "//", ".log", "/.git/HEAD"};
	const char *text = more[random_below(ARRAY_SIZE(more))];
	uint32_t cut;

	switch (random_below(4)) {
	case 0:
		for (cut = random_below(name->length + 1); cut && name->text[cut] != '/'; cut--)
			;
		name->length = cut;
		return;
	case 1:
		if (name->length)
			name->text[random_below(name->length)] = (char)random_word();
		return;
	case 2:
		name->length = random_below(name->length + 1);
		return;
	}
	if (name->length + strlen(text) > PATH_BYTES)
		return;
	memcpy(name->text + name->length, text, strlen(text));
	name->length += strlen(text);
}

/* Of any length, up to the longest that the kernel resolves. */
static void random_bytes(struct case_name *name)
{
	static const char bytes[] = "/ab.x/\xc3\xbc*u_";

	name->length = one_in(4) ? PATH_BYTES - random_below(3) : random_below(PATH_BYTES + 1);
	for (uint32_t i = 0; i < name->length; i++)
		name->text[i] = one_in(20) ? (char)random_word() : bytes[random_below(sizeof(bytes) - 1)];
}

static void random_name(struct test *test, struct case_name *name)
{
	const struct random_policy *random = test->random;

	name->unknown = one_in(12);
	if (one_in(16) || !random->sample_count) {
		random_bytes(name);
	} else {
		const char *sample = random->samples[random_below((uint32_t)random->sample_count)];

		name->length = strlen(sample);
		memcpy(name->text, sample, name->length);
		while (one_in(2))
			change_path(name);
	}
	name->ws_length = one_in(3) ? random_below(name->length + 1) : 0;
	name->low = one_in(2) ? 2 * PATH_BYTES : random_below(name->length + 1);
}

static void random_record(struct decide_case *one)
{
	static const uint32_t flags[] = {0, OP_REPLACED, OP_REPLACED_UNKNOWN, OP_EXCHANGE};

	one->kind = CASE_RECORD;
	one->facts.op = one_in(2) ? OP_RENAME : random_below(OP_RAWWRITE + 1);
	one->facts.agent &= AGENTS_MAX - 1;
	one->flags = flags[random_below(ARRAY_SIZE(flags))];
	one->ws_ino = random_below(4);
	one->ws_name_length = random_below(MIN(one->name[0].length, WORKSPACE_BYTES - 1u) + 1);
	memcpy(one->ws_name, one->name[0].text, one->ws_name_length);
}

static void random_case(struct test *test, struct decide_case *one)
{
	memset(one, 0, sizeof(*one));
	one->policy = test->slot;
	random_facts(test, &one->facts);
	random_name(test, &one->name[0]);
	random_name(test, &one->name[1]);
	if (one_in(3))
		random_record(one);
	one->error = -ENOEXEC; /* until the program has run the case */
}

/* --- Telling --- */

static void print_set(const char *name, const struct rule_set *set)
{
	fprintf(stderr, " %s %016" PRIx64 ":%016" PRIx64, name, (uint64_t)set->word[1], (uint64_t)set->word[0]);
}

static void print_facts(const char *title, const struct facts *facts)
{
	fprintf(stderr, "%s: op %u agent %u workspace %u sql %#x unknown %#x ancestor %u\n ", title, facts->op,
		facts->agent, facts->workspace, facts->sql, facts->unknown, facts->ancestor);
	print_set("path", &facts->path);
	print_set("path_not", &facts->path_not);
	print_set("path_below", &facts->path_below);
	print_set("user", &facts->user);
	print_set("database", &facts->database);
	print_set("host", &facts->host);
	print_set("args", &facts->args);
	print_set("rate", &facts->rate);
	fputc('\n', stderr);
}

static void print_decision(const struct test *test, const char *title, const struct decision *decision)
{
	fprintf(stderr, "%s: %s, rule %u (%s)%s\n", title, verdict_name(decision->verdict), decision->rule,
		policy_rule_name(test->random->policy, decision->rule), decision->uncertain ? ", uncertain" : "");
}

static void print_difference(const struct test *test, const struct decide_case *one, const struct decision *outside)
{
	fprintf(stderr,
		"--- a difference; the policy:\n%s--- the case: %s, flags %#x, workspace %" PRIu64 " \"%.*s\"\n",
		policy_text(test->random->policy), one->kind == CASE_RECORD ? "a record" : "facts", one->flags,
		(uint64_t)one->ws_ino, (int)one->ws_name_length, one->ws_name);
	for (size_t i = 0; i < ARRAY_SIZE(one->name); i++)
		fprintf(stderr, "name%s, %u bytes, workspace %u, low %u: \"%.*s\"\n",
			one->name[i].unknown ? " (unknown)" : "", one->name[i].length, one->name[i].ws_length,
			one->name[i].low, (int)one->name[i].length, one->name[i].text);
	print_facts("facts given", &one->facts);
	print_facts("facts in the kernel", &one->judged);
	print_decision(test, "kernel", &one->decision);
	print_decision(test, "outside", outside);
	if (one->error)
		fprintf(stderr, "the program in the kernel failed: %d\n", one->error);
}

/* --- Comparing --- */

static bool same_decision(const struct decision *a, const struct decision *b)
{
	return a->rule == b->rule && a->verdict == b->verdict && a->uncertain == b->uncertain;
}

static void count_facts(struct tally *tally, const struct facts *facts)
{
	tally->matched += !rule_set_empty(&facts->path);
	tally->excluded += !rule_set_empty(&facts->path_not);
	tally->above += !rule_set_empty(&facts->path_below);
}

static bool same_facts(struct test *test, const struct decide_case *one, struct decision *ret_outside)
{
	const struct policy_image *image = policy_image(test->random->policy);
	struct facts facts = one->facts;
	struct dfa_accept accept = {};

	dfa_match_path(&image->dfa, one->name[0].text, one->name[0].length, &accept);
	facts_add_path(&facts, &accept);
	/* Which rates were exceeded is what the kernel counted: told, not decided. */
	facts.rate = one->judged.rate;
	count_facts(&test->tally, &facts);
	*ret_outside = decide(&image->rules, &facts);
	return !memcmp(&facts, &one->judged, sizeof(facts)) && same_decision(&one->decision, ret_outside);
}

/* The record as userspace gets it, judged by nothing but what stands in it. */
static bool same_record(struct test *test, struct decide_case *one, struct decision *ret_outside)
{
	const char *reason = "";
	struct event event;
	int error;

	*ret_outside = (struct decision){};
	one->record.head.kind = RECORD_OP;
	one->record.actor.process.pid = 1;
	error = event_decode(&one->record, one->record.head.size, &event, &reason);
	if (error) {
		log_error("the kernel's record is refused: %s", reason);
		return false;
	}
	*ret_outside = judge_op(test->random->policy, &event, NULL);
	test->tally.records++;
	test->tally.by_new_path += !!(one->record.flags & OP_BY_NEW_PATH);
	return same_decision(&one->decision, ret_outside);
}

static void compare(struct test *test, struct decide_case *one)
{
	struct tally *tally = &test->tally;
	struct decision outside;
	bool same = one->kind == CASE_RECORD ? same_record(test, one, &outside) : same_facts(test, one, &outside);

	tally->cases++;
	tally->by_verdict[outside.verdict % VERDICT_COUNT]++;
	tally->by_default += outside.rule == RULE_DEFAULT;
	tally->second_word += outside.rule >= 64 && outside.rule < RULES_MAX;
	tally->uncertain += outside.uncertain;
	if (same && !one->error)
		return;
	tally->failed++;
	if (tally->failed <= DIFFERENCES_MAX)
		print_difference(test, one, &outside);
}

/* --- Running --- */

static int run_batch(struct test *test, uint32_t count)
{
	uint64_t args[] = {count};
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = args, .ctx_size_in = sizeof(args));

	for (uint32_t i = 0; i < count; i++)
		random_case(test, &test->cases[i]);
	if (bpf_prog_test_run_opts(bpf_program__fd(test->skel->progs.run_cases), &options) < 0) {
		log_error("the program cannot be run: %s", strerror(errno));
		return -errno;
	}
	for (uint32_t i = 0; i < count; i++)
		compare(test, &test->cases[i]);
	return 0;
}

static int next_policy(struct test *test)
{
	const struct policy_image *image;
	int error;

	random_policy_free(take_pointer(test->random));
	while ((error = random_policy_new((uint32_t)test->tally.policies + 1, &test->random)) == -EAGAIN)
		test->tally.redrawn++;
	if (error) {
		log_error("no policy: %s", strerror(-error));
		return error;
	}
	test->tally.policies++;
	test->slot = !test->slot;
	image = policy_image(test->random->policy);
	if (bpf_map__update_elem(test->skel->maps.policies, &test->slot, sizeof(test->slot), image, sizeof(*image),
				 BPF_ANY)) {
		log_error("cannot write the policy into its map: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

static int run_all(struct test *test, uint64_t cases)
{
	int error = 0;

	while (!error && test->tally.cases < cases && test->tally.failed < DIFFERENCES_MAX) {
		uint64_t end = MIN(cases, test->tally.cases + CASES_PER_POLICY);

		error = next_policy(test);
		while (!error && test->tally.cases < end)
			error = run_batch(test, (uint32_t)MIN(end - test->tally.cases, (uint64_t)CASES_PER_RUN));
	}
	return error;
}

/* Cases that never reach a branch test nothing there. */
static bool reached_all(const struct tally *tally)
{
	bool all = tally->matched && tally->excluded && tally->above && tally->uncertain && tally->by_default &&
		   tally->records && tally->by_new_path && tally->second_word && tally->redrawn <= tally->policies;

	for (size_t i = 0; i < VERDICT_COUNT; i++)
		all = all && tally->by_verdict[i];
	return all;
}

static void print_tally(const struct tally *tally)
{
	printf("%" PRIu64 " policies (%" PRIu64 " drawn again); of the decisions ", tally->policies, tally->redrawn);
	for (unsigned int i = 0; i < VERDICT_COUNT; i++)
		printf("%" PRIu64 " %s, ", tally->by_verdict[i], verdict_name(i));
	printf("%" PRIu64 " by default, %" PRIu64 " by a rule past the 64th, %" PRIu64 " uncertain\n",
	       tally->by_default, tally->second_word, tally->uncertain);
	printf("%" PRIu64 " paths matched, %" PRIu64 " matched path_not, %" PRIu64 " lie above one; %" PRIu64
	       " records, %" PRIu64 " of them decided by the new name\n",
	       tally->matched, tally->excluded, tally->above, tally->records, tally->by_new_path);
}

/* --- Setting up --- */

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* Of the guard's objects only this test's program is loaded. */
static int load(struct test *test)
{
	struct bpf_program *program;
	int cases;

	libbpf_set_print(print_libbpf);
	test->skel = decide__open();
	if (!test->skel)
		return -errno;
	bpf_object__for_each_program (program, test->skel->obj)
		bpf_program__set_autoload(program, program == test->skel->progs.run_cases);
	bpf_map__set_max_entries(test->skel->maps.ring, (uint32_t)sysconf(_SC_PAGESIZE));
	/* Task storage is younger than some of the kernels, and no decision asks for it. */
	bpf_map__set_autocreate(test->skel->maps.homes, false);
	if (decide__load(test->skel))
		return -errno;
	cases = bpf_map__fd(test->skel->maps.decide_cases);
	test->cases = mmap(NULL, CASES_PER_RUN * sizeof(*test->cases), PROT_READ | PROT_WRITE, MAP_SHARED, cases, 0);
	return test->cases == MAP_FAILED ? -errno : 0;
}

static uint64_t another_seed(void)
{
	uint32_t seed = 0;

	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed : (uint64_t)getpid();
}

static int parse_options(int argc, char **argv, uint64_t *ret_cases, uint64_t *ret_seed)
{
	static const struct option options[] = {
		{"cases", required_argument, NULL, 'c'}, {"seed", required_argument, NULL, 's'}, {}};
	int option;

	*ret_cases = CASES_DEFAULT;
	*ret_seed = another_seed();
	while ((option = getopt_long(argc, argv, "c:s:", options, NULL)) != -1) {
		if (option == 'c')
			*ret_cases = strtoull(optarg, NULL, 10);
		else if (option == 's')
			*ret_seed = strtoull(optarg, NULL, 10);
		else
			return -EINVAL;
	}
	return optind == argc && *ret_cases ? 0 : -EINVAL;
}

static int run(struct test *test, uint64_t cases, uint64_t seed)
{
	int error = load(test);

	if (error == -EPERM || error == -EACCES) {
		log_info("loading programs into the kernel needs root");
		printf("test_decide: 0 passed, 0 failed, %" PRIu64 " skipped\n", cases);
		return EXIT_SUCCESS;
	}
	if (!error)
		error = run_all(test, cases);
	print_tally(&test->tally);
	if (!error && !test->tally.failed && cases >= 20000 && !reached_all(&test->tally)) {
		log_error("a branch of the decision was never reached: the cases are too tame, see above");
		error = -EDOM;
	}
	printf("test_decide: seed %" PRIu64 ": %" PRIu64 " passed, %" PRIu64 " failed, 0 skipped\n", seed,
	       test->tally.cases - test->tally.failed, test->tally.failed + !!error);
	return error || test->tally.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct test test = {};
	uint64_t cases, seed;
	int status;

	if (parse_options(argc, argv, &cases, &seed)) {
		fprintf(stderr, "usage: %s [--cases N] [--seed S]\n", argv[0]);
		return 2;
	}
	random_seed(seed);
	printf("test_decide: %" PRIu64 " cases, --seed %" PRIu64 "\n", cases, seed);
	status = run(&test, cases, seed);
	random_policy_free(test.random);
	decide__destroy(test.skel);
	return status;
}
