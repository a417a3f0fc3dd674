/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes a journal of so many operations, as a guard would have written it, without a guard: for the bench, for memory
 * and for journals with faults made to order.
 *
 *	generate DIRECTORY COUNT [--policy FILE] [--flip N] [--host NAME] [--session OPS] [--process OPS]
 *
 * Agents remove files: a process each OPS operations (1,000), a session each OPS operations (100,000). Verdicts are those
 * of the policy. --flip N: of the N-th operation, counted from 1, another verdict is recorded.
 */
#include <getopt.h>
#include <time.h>

#include "journal.h"
#include "judge.h"
#include "rates.h"

static const char policy_default[] = "version: 1\n"
				     "rules:\n"
				     "  - {name: scratch, op: [delete], path: ['/srv/jobs/*/tmp/**'], action: allow}\n"
				     "  - {name: uploads, op: [delete], path: ['/srv/app/uploads/**'], action: deny}\n"
				     "  - {name: flood, op: [delete], rate: 50000/10s, action: alert}\n";

struct generator {
	const char *directory, *policy_path, *host;
	unsigned long long count, flip, session_ops, process_ops;
	struct journal *journal;
	struct agent_registry *registry;
	struct policy *policy;
	struct rates *rates;
	uint64_t time; /* of the next record, nanoseconds since boot */
	unsigned long long done;
	struct process_id root, process;
	struct session_id session;
	uint32_t last_pid;
	struct judge_memo memo;
};

#define RECORD_BYTES 1024
#define WAITING_MAX (16u << 20) /* bytes */

static void fail(const char *what, int error)
{
	fprintf(stderr, "generate: %s: %s\n", what, strerror(-error));
	exit(1);
}

static struct actor actor_of(const struct generator *generator, const struct process_id *process)
{
	struct actor actor = {.process = *process,
			      .session = generator->session,
			      .tid = process->pid,
			      .ppid = generator->root.pid,
			      .uid = 1000,
			      .gid = 1000};

	strcpy(actor.comm, process->pid == generator->root.pid ? "agent" : "rm");
	return actor;
}

/* Puts a text behind the record's fixed part. */
static struct text put_text(struct record *head, const void *data, size_t length)
{
	struct text text = {(__u16)head->size, (__u16)length};

	memcpy((char *)head + head->size, data, length);
	head->size += length;
	return text;
}

static void write_record(struct generator *generator, struct record *head)
{
	head->time = generator->time;
	generator->time += 20000;
	journal_record(generator->journal, head, head->size, 0);
}

static void write_exec(struct generator *generator, const struct process_id *process, const char *exe, const char *args,
		       size_t args_length, uint32_t flags)
{
	union {
		struct record_exec exec;
		char bytes[RECORD_BYTES];
	} record = {};
	struct record_exec *exec = &record.exec;

	exec->head = (struct record){.size = sizeof(*exec), .kind = RECORD_EXEC, .fixed = sizeof(*exec)};
	exec->actor = actor_of(generator, process);
	exec->flags = flags;
	exec->argc = 1;
	exec->exe = put_text(&exec->head, exe, strlen(exe));
	exec->args = put_text(&exec->head, args, args_length);
	exec->cwd = put_text(&exec->head, "/srv/jobs", 9);
	write_record(generator, &exec->head);
}

static void write_exit(struct generator *generator, const struct process_id *process)
{
	struct record_exit record = {.head = {.size = sizeof(record), .kind = RECORD_EXIT, .fixed = sizeof(record)},
				     .actor = actor_of(generator, process)};

	write_record(generator, &record.head);
}

static void write_fork(struct generator *generator, const struct process_id *child)
{
	struct record_fork record = {.head = {.size = sizeof(record), .kind = RECORD_FORK, .fixed = sizeof(record)},
				     .actor = actor_of(generator, &generator->root),
				     .child = *child};

	write_record(generator, &record.head);
}

static struct process_id new_process(struct generator *generator)
{
	generator->last_pid = generator->last_pid % 4000000 + 1;
	return (struct process_id){.pid = generator->last_pid, .start = generator->time};
}

static void end_process(struct generator *generator)
{
	if (generator->process.pid)
		write_exit(generator, &generator->process);
	generator->process = (struct process_id){};
}

static void end_session(struct generator *generator)
{
	end_process(generator);
	if (!generator->root.pid)
		return;
	write_exit(generator, &generator->root);
	rates_forget(generator->rates, &generator->session);
}

static void begin_session(struct generator *generator)
{
	end_session(generator);
	generator->root = new_process(generator);
	generator->session = (struct session_id){.pid = generator->root.pid, .start = generator->root.start};
	write_exec(generator, &generator->root, "/usr/bin/agent", "agent\0", 6, EXEC_NEW_SESSION | EXEC_BY_EXE);
}

static void begin_process(struct generator *generator)
{
	static const char args[] = "rm\0-rf\0build";

	end_process(generator);
	generator->process = new_process(generator);
	write_fork(generator, &generator->process);
	write_exec(generator, &generator->process, "/usr/bin/rm", args, sizeof(args), 0);
}

static void count_rates(struct generator *generator, struct event *event, struct record_op *op)
{
	const struct rule_table *table = &policy_image(generator->policy)->rules;
	struct rule_set possible = judge_possible(generator->policy, event);

	for (uint32_t i = 0; i < table->rate_count; i++) {
		uint32_t rule = table->rate[i].rule;
		bool over = false;

		if (possible.word[rule / 64] >> (rule % 64) & 1)
			rates_count(generator->rates, &generator->session, &table->rate[i], generator->time, &over);
		if (over)
			op->rate.word[rule / 64] |= 1ull << (rule % 64);
	}
}

/* Where the n-th file lies: mostly in the work tree, some in places that rules name. */
static void path_of(unsigned long long n, char *path, size_t size)
{
	if (n % 16 == 0)
		snprintf(path, size, "/srv/app/uploads/%02llu/image-%llu.jpg", n / 16 % 100, n);
	else if (n % 4 == 1)
		snprintf(path, size, "/srv/jobs/p%llu/tmp/cache-%llu", n / 1000 % 100, n);
	else
		snprintf(path, size, "/srv/jobs/p%llu/build/obj/%02llu/file-%llu.o", n / 1000 % 100, n % 64, n);
}

static void judge(struct generator *generator, struct record_op *op)
{
	struct decision decision;
	struct event event;
	int error = event_decode(op, op->head.size, &event, NULL);

	if (error)
		fail("a record of its own", error);
	count_rates(generator, &event, op);
	event.op.rate = op->rate;
	decision = judge_op(generator->policy, &event, &generator->memo);
	op->rule = decision.rule;
	op->verdict = decision.verdict;
	if (decision.verdict > VERDICT_HOLD) {
		op->flags |= OP_ACTED;
		op->result = -1; /* EPERM */
	}
}

static void write_op(struct generator *generator)
{
	union {
		struct record_op op;
		char bytes[RECORD_BYTES];
	} record = {};
	struct record_op *op = &record.op;
	char path[256];

	path_of(generator->done, path, sizeof(path));
	op->head = (struct record){
		.size = sizeof(*op), .kind = RECORD_OP, .fixed = sizeof(*op), .generation = 1, .time = generator->time};
	op->actor = actor_of(generator, &generator->process);
	op->op = OP_UNLINK;
	op->tier = TIER_LSM;
	op->source = SOURCE_LSM;
	op->flags = OP_SIZE_KNOWN | OP_RESULT_KNOWN;
	op->workspace = op->new_workspace = WORKSPACE_INSIDE;
	op->target = (struct target){.ino = 1000 + generator->done % 1000003,
				     .size = generator->done * 2654435761u % 100000,
				     .dev = 254u << 20,
				     .mode = 0100644,
				     .nlink = 1};
	op->path = put_text(&op->head, path, strlen(path));
	judge(generator, op);
	if (generator->done + 1 == generator->flip)
		op->verdict = op->verdict == VERDICT_DENY ? VERDICT_ALLOW : VERDICT_DENY;
	write_record(generator, &op->head);
}

static void write_start(struct generator *generator)
{
	struct journal *journal = generator->journal;

	journal_begin(journal, JOURNAL_START, 0, generator->time);
	journal_add_text(journal, JOURNAL_TAG_HOST, span_of(generator->host));
	journal_add_text(journal, JOURNAL_TAG_VERSION, span_of("0.1.0"));
	journal_add_number(journal, JOURNAL_TAG_PID, 1);
	journal_end(journal);
	journal_begin(journal, JOURNAL_AGENTS, 0, generator->time);
	for (uint32_t i = 1; agent_name(generator->registry, i); i++) {
		journal_add_number(journal, JOURNAL_TAG_AGENT, i);
		journal_add_text(journal, JOURNAL_TAG_NAME, span_of(agent_name(generator->registry, i)));
	}
	journal_end(journal);
	journal_begin(journal, JOURNAL_POLICY, 0, generator->time);
	journal_add_number(journal, JOURNAL_TAG_GENERATION, 1);
	journal_add_text(journal, JOURNAL_TAG_ORIGIN, span_of(policy_origin(generator->policy)));
	journal_add_text(journal, JOURNAL_TAG_TEXT, span_of(policy_text(generator->policy)));
	journal_end(journal);
}

/* Nothing is lost, however slow the disk is: the live guard would count it, a generator can wait. */
static void hand_over(struct generator *generator)
{
	const struct timespec moment = {.tv_nsec = 2000000};
	struct journal_state state;

	journal_push(generator->journal, false);
	for (;;) {
		journal_get_state(generator->journal, &state);
		if (state.waiting < WAITING_MAX)
			return;
		nanosleep(&moment, NULL);
	}
}

static void generate(struct generator *generator)
{
	write_start(generator);
	for (; generator->done < generator->count; generator->done++) {
		if (generator->done % generator->session_ops == 0)
			begin_session(generator);
		if (generator->done % generator->process_ops == 0 || !generator->process.pid)
			begin_process(generator);
		write_op(generator);
		if (generator->done % 256 == 0)
			hand_over(generator);
	}
	end_session(generator);
	journal_begin(generator->journal, JOURNAL_STOP, 0, generator->time);
	journal_end(generator->journal);
	journal_push(generator->journal, true);
}

static void load_policy(struct generator *generator)
{
	struct policy_errors errors = {};
	int error = agent_registry_new(&generator->registry);

	if (!error && generator->policy_path)
		error = policy_load_file(generator->policy_path, generator->registry, 1, &generator->policy, &errors);
	else if (!error)
		error = policy_load_text(policy_default, strlen(policy_default), "generated", generator->registry, 1,
					 &generator->policy, &errors);
	policy_errors_print(&errors, stderr);
	if (error)
		fail("policy", error);
	policy_errors_clear(&errors);
}

static void open_journal(struct generator *generator)
{
	struct journal_options options = {.directory = generator->directory,
					  .limits = {.cap = (uint64_t)1 << 40, .window = 10 * NSEC_PER_MSEC}};
	const char *what = NULL;
	int error = journal_new(&options, &generator->journal, &what);

	if (error)
		fail(what ? what : generator->directory, error);
	error = rates_new(&generator->rates);
	if (error)
		fail("rates", error);
}

static void parse(int argc, char **argv, struct generator *generator)
{
	static const struct option rows[] = {
		{"policy", required_argument, NULL, 'p'},  {"flip", required_argument, NULL, 'f'},
		{"host", required_argument, NULL, 'h'},	   {"session", required_argument, NULL, 's'},
		{"process", required_argument, NULL, 'P'}, {}};
	int key;

	while ((key = getopt_long(argc, argv, "", rows, NULL)) != -1) {
		if (key == 'p')
			generator->policy_path = optarg;
		else if (key == 'f')
			generator->flip = strtoull(optarg, NULL, 10);
		else if (key == 'h')
			generator->host = optarg;
		else if (key == 's')
			generator->session_ops = strtoull(optarg, NULL, 10);
		else if (key == 'P')
			generator->process_ops = strtoull(optarg, NULL, 10);
		else
			exit(2);
	}
	if (argc - optind != 2 || !generator->session_ops || !generator->process_ops) {
		fprintf(stderr, "usage: generate DIRECTORY COUNT [--policy FILE] [--flip N] [--host NAME] "
				"[--session OPS] [--process OPS]\n");
		exit(2);
	}
	generator->directory = argv[optind];
	generator->count = strtoull(argv[optind + 1], NULL, 10);
}

int main(int argc, char **argv)
{
	struct generator generator = {
		.host = "elsewhere", .session_ops = 100000, .process_ops = 1000, .time = 5 * NSEC_PER_SEC};
	struct journal_state state;

	parse(argc, argv, &generator);
	load_policy(&generator);
	open_journal(&generator);
	generate(&generator);
	journal_get_state(generator.journal, &state);
	journal_free(generator.journal);
	printf("{\"operations\":%llu,\"lost\":%llu}\n", generator.count, (unsigned long long)state.lost);
	policy_free(generator.policy);
	agent_registry_free(generator.registry);
	rates_free(generator.rates);
	return state.lost ? 1 : 0;
}
