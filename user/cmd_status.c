/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "commands.h"

#include "control.h"
#include "event_line.h"
#include "opts.h"
#include "replay_filter.h"
#include "status_check.h"
#include "table.h"
#include "util.h"

#define LABEL_COLUMNS 12

enum { OPTION_CHECK = OPTION_OWN, OPTION_TIER, OPTION_JOURNAL, OPTION_API_AGE };

struct status_options {
	struct status_wanted wanted;
	bool check;
	bool wants; /* something that only --check looks at */
};

static const struct argp_option rows[] = {
	{"check", OPTION_CHECK, NULL, 0,
	 "Say only what falls short, a line each, and exit with 1 where something does: for probes and monitors", 0},
	{"tier", OPTION_TIER, "TIER", 0,
	 "With --check: unlink, rmdir, rename and truncate are guarded by TIER or better: signal (default), uprobe, lsm",
	 0},
	{"journal", OPTION_JOURNAL, NULL, 0, "With --check: a journal is kept, and it can be written", 0},
	{"api-age", OPTION_API_AGE, "TIME", 0,
	 "With --check: the node's pods are known, and the Kubernetes API was heard within TIME (90s, 5m)", 0},
	{},
};

static enum tier tier_named(const char *name)
{
	enum tier tier = TIER_COUNT;

	while (--tier > TIER_NONE)
		if (streq(name, tier_name(tier)))
			break;
	return tier;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct status_options *own = state->input;
	int64_t age;

	switch (key) {
	case OPTION_CHECK:
		own->check = true;
		return 0;
	case OPTION_TIER:
		own->wanted.tier = tier_named(argument);
		if (own->wanted.tier == TIER_NONE)
			argp_error(state, "--tier %s: signal, uprobe or lsm is needed", argument);
		break;
	case OPTION_JOURNAL:
		own->wanted.journal = true;
		break;
	case OPTION_API_AGE:
		if (replay_duration(argument, &age))
			argp_error(state, "--api-age %s: a time such as 90s or 5m is needed", argument);
		own->wanted.api_age = age / NSEC_PER_SEC;
		break;
	case ARGP_KEY_END:
		if (own->wants && !own->check)
			argp_error(state, "--tier, --journal and --api-age belong to --check");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	own->wants = true;
	return 0;
}

static const struct option_spec spec = {
	.summary = "Shows what the daemon guards and how well: tier by operation, policy, sessions, counts, losses.",
	.examples = "  sudo reprieve status\n"
		    "  sudo reprieve status --json | jq .losses.total\n"
		    "  sudo reprieve status --check --tier lsm --journal\n",
	.common = COMMON_SOCKET | COMMON_JSON | COMMON_COLOR,
	.options = rows,
	.parse = parse,
};

struct status {
	json_t *object;
	bool color;
	int error; /* -ENOMEM, once it happened */
};

static const char bold[] = "\033[1m", red[] = "\033[31m", yellow[] = "\033[33m", plain[] = "\033[0m";

static int64_t number_of(json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "?";
}

static void paint(const struct status *status, const char *code)
{
	if (status->color)
		fputs(code, stdout);
}

static void print_label(const struct status *status, const char *label)
{
	paint(status, bold);
	printf("%-*s", LABEL_COLUMNS, label);
	paint(status, plain);
}

static void print_safe(struct status *status, const char *text)
{
	_cleanup_buffer_ struct buffer safe = {};

	line_add_text(&safe, text);
	fwrite(safe.data, 1, safe.length, stdout);
	status->error = safe.error ? safe.error : status->error;
}

static void print_duration(int64_t msec)
{
	int64_t minutes = msec / 60000;

	if (minutes < 1)
		printf("%jd s", (intmax_t)(msec / 1000));
	else if (minutes < 60)
		printf("%jd min", (intmax_t)minutes);
	else if (minutes < 48 * 60)
		printf("%jd h %jd min", (intmax_t)(minutes / 60), (intmax_t)(minutes % 60));
	else
		printf("%jd days", (intmax_t)(minutes / 60 / 24));
}

/* "12 unlink, 3 sql", without what is zero; "none" where all is. */
static void print_counts(struct status *status, json_t *counts)
{
	const char *name, *comma = "";
	json_t *count;

	json_object_foreach (counts, name, count) {
		if (!json_integer_value(count))
			continue;
		printf("%s%jd ", comma, (intmax_t)json_integer_value(count));
		print_safe(status, name);
		comma = ", ";
	}
	puts(*comma ? "" : "none");
}

static void print_head(struct status *status)
{
	json_t *object = status->object, *policy = json_object_get(object, "policy");
	const char *mode = text_of(object, "mode");

	print_label(status, "Daemon");
	printf("reprieve ");
	print_safe(status, text_of(object, "version"));
	printf(", process %jd, up for ", (intmax_t)number_of(object, "pid"));
	print_duration(number_of(object, "uptime_ms"));
	putchar('\n');

	print_label(status, "Mode");
	if (streq(mode, "observe")) {
		paint(status, yellow);
		printf("observe: nothing is stopped, every verdict is what it would have been");
		paint(status, plain);
	} else {
		print_safe(status, mode);
	}
	putchar('\n');

	print_label(status, "Policy");
	print_safe(status, text_of(policy, "origin"));
	printf(" (rules: %jd, default: ", (intmax_t)number_of(policy, "rules"));
	print_safe(status, text_of(policy, "default"));
	printf(", generation: %jd)\n", (intmax_t)number_of(policy, "generation"));
}

/* Adds the op to each part of its note; many operations share most parts. notes: {part: [op, ...]}, in order. */
static int add_notes(json_t *notes, const char *op, const char *note)
{
	static const char between[] = "; ";

	while (*note) {
		const char *end = strstr(note, between);
		size_t length = end ? (size_t)(end - note) : strlen(note);
		_cleanup_free_ char *part = strndup(note, length);
		json_t *ops = part ? json_object_get(notes, part) : NULL;

		if (part && !ops && !json_object_set_new(notes, part, json_array()))
			ops = json_object_get(notes, part);
		if (json_array_append_new(ops, json_string(op)))
			return -ENOMEM;
		note += length + (end ? strlen(between) : 0);
	}
	return 0;
}

/* What the tiers leave open. */
static void print_notes(struct status *status)
{
	json_t *notes = json_object(), *row, *ops, *op;
	const char *part;
	size_t i;

	json_array_foreach (json_object_get(status->object, "tiers"), i, row) {
		const char *note = json_string_value(json_object_get(row, "note"));

		if (note && add_notes(notes, text_of(row, "op"), note))
			status->error = -ENOMEM;
	}
	if (json_object_size(notes))
		printf("\nWhat that leaves open:\n");
	json_object_foreach (notes, part, ops) {
		printf("  ");
		print_safe(status, part);
		json_array_foreach (ops, i, op) {
			printf("%s", i ? ", " : " (");
			print_safe(status, json_string_value(op));
		}
		printf(")\n");
	}
	json_decref(notes);
}

static void print_tiers(struct status *status)
{
	static const char *const titles[] = {"OPERATION", "TIER", "BY"};
	_cleanup_(table_cleanup) struct table *table = table_new(titles, ARRAY_SIZE(titles));
	json_t *row;
	size_t i;

	if (!table) {
		status->error = -ENOMEM;
		return;
	}
	json_array_foreach (json_object_get(status->object, "tiers"), i, row) {
		table_add(table, json_string_value(json_object_get(row, "op")));
		table_add(table, json_string_value(json_object_get(row, "tier")));
		table_add(table, json_string_value(json_object_get(row, "by")));
	}
	putchar('\n');
	if (table_print(table, stdout, "", status->color))
		status->error = -ENOMEM;
	print_notes(status);
	putchar('\n');
}

static void print_activity(struct status *status)
{
	json_t *object = status->object, *counts = json_object_get(object, "counts");

	print_label(status, "Sessions");
	printf("%jd, with %jd processes\n", (intmax_t)number_of(object, "sessions"),
	       (intmax_t)number_of(object, "processes"));
	print_label(status, "Operations");
	print_counts(status, json_object_get(counts, "ops"));
	print_label(status, "Verdicts");
	print_counts(status, json_object_get(counts, "verdicts"));
}

static void print_losses(struct status *status)
{
	json_t *losses = json_object_get(status->object, "losses");
	int64_t total = number_of(losses, "total");
	int64_t ring = number_of(json_object_get(status->object, "ring"), "bytes");

	print_label(status, "Losses");
	if (!total) {
		printf("none (ring buffer of %jd KiB)\n", (intmax_t)(ring / 1024));
		return;
	}
	paint(status, red);
	printf("%jd records found the ring buffer of %jd KiB full: ", (intmax_t)total, (intmax_t)(ring / 1024));
	print_counts(status, json_object_get(losses, "records"));
	paint(status, plain);
	printf("%*sVerdicts stood all the same; what is missing is their record.\n", LABEL_COLUMNS, "");
}

/* Losses come from scheduling: a reader that waits for its turn finds the ring full. */
static void print_reader(struct status *status)
{
	const char *reader = text_of(json_object_get(status->object, "ring"), "reader");

	if (!streq(reader, "nice") && !streq(reader, "normal"))
		return;
	print_label(status, "Reader");
	paint(status, yellow);
	printf("not in real time, %s: records may be lost on a busy machine. The daemon needs CAP_SYS_NICE, and its "
	       "cgroup room for real-time tasks (cpu.rt_runtime_us)",
	       streq(reader, "nice") ? "only nice -20" : "at the priority of all others");
	paint(status, plain);
	putchar('\n');
}

static void print_mismatches(struct status *status)
{
	int64_t mismatches = number_of(status->object, "mismatches");

	print_label(status, "Mismatches");
	if (!mismatches) {
		puts("none");
		return;
	}
	paint(status, red);
	printf("%jd verdicts of the kernel differ from the same decision made again: a defect, please report it",
	       (intmax_t)mismatches);
	paint(status, plain);
	putchar('\n');
}

static void print_sinks(struct status *status)
{
	const char *label = "Sinks";
	json_t *sink;
	size_t i;

	json_array_foreach (json_object_get(status->object, "sinks"), i, sink) {
		bool bad = number_of(sink, "lost") || json_is_true(json_object_get(sink, "failing"));

		print_label(status, label);
		label = "";
		print_safe(status, text_of(sink, "name"));
		if (bad)
			paint(status, red);
		printf(": %jd sent, %jd waiting, %jd lost%s", (intmax_t)number_of(sink, "sent"),
		       (intmax_t)number_of(sink, "waiting"), (intmax_t)number_of(sink, "lost"),
		       json_is_true(json_object_get(sink, "failing")) ? ", not reached at present" : "");
		if (bad)
			paint(status, plain);
		putchar('\n');
	}
}

static void print_journal(struct status *status)
{
	json_t *journal = json_object_get(status->object, "journal");
	const char *failing = json_string_value(json_object_get(journal, "failing"));

	if (!json_is_object(journal))
		return;
	print_label(status, "Journal");
	print_safe(status, text_of(journal, "directory"));
	printf(": segments %jd to %jd, %jd KiB, %jd items of this daemon, %jd of them on disk%s\n",
	       (intmax_t)number_of(journal, "first_segment"), (intmax_t)number_of(journal, "segment"),
	       (intmax_t)(number_of(journal, "bytes") / 1024), (intmax_t)number_of(journal, "items"),
	       (intmax_t)number_of(journal, "committed"),
	       json_is_true(json_object_get(journal, "redacts")) ? "; literals are masked" : "");
	if (!failing && !number_of(journal, "lost"))
		return;
	paint(status, red);
	printf("%*s", LABEL_COLUMNS, "");
	print_safe(status, failing ? failing : "");
	printf("%s%jd items are lost to it, %jd KiB wait in memory\n", failing ? "; " : "",
	       (intmax_t)number_of(journal, "lost"), (intmax_t)(number_of(journal, "waiting") / 1024));
	paint(status, plain);
}

static void print_libraries(struct status *status)
{
	const char *label = "Libraries";
	json_t *library, *function;
	size_t i, j;

	json_array_foreach (json_object_get(status->object, "libraries"), i, library) {
		print_label(status, label);
		print_safe(status, text_of(library, "path"));
		putchar(':');
		json_array_foreach (json_object_get(library, "functions"), j, function) {
			putchar(' ');
			print_safe(status, json_is_string(function) ? json_string_value(function) : "?");
		}
		putchar('\n');
		label = "";
	}
}

/* What waits, or waited, since nobody has told of its pod. */
static void print_unresolved(struct status *status, json_t *unresolved)
{
	if (!number_of(unresolved, "processes") && !number_of(unresolved, "calls"))
		return;
	print_label(status, "unknown pods");
	printf("%jd processes; %jd of their calls wait, %jd have waited", (intmax_t)number_of(unresolved, "processes"),
	       (intmax_t)number_of(unresolved, "waiting"), (intmax_t)number_of(unresolved, "calls"));
	if (number_of(unresolved, "pods_late")) {
		paint(status, yellow);
		printf("; %jd pods were not told of in time: the policy's unresolved: decided",
		       (intmax_t)number_of(unresolved, "pods_late"));
		paint(status, plain);
	}
	putchar('\n');
}

/* Of a Kubernetes node: how much is known of its pods, and how fresh that is. */
static void print_pods(struct status *status)
{
	json_t *pods = json_object_get(status->object, "pods");
	json_t *error = json_object_get(pods, "error");

	if (!pods)
		return;
	print_label(status, "pods");
	printf("%jd on node ", (intmax_t)number_of(pods, "pods"));
	print_safe(status, text_of(pods, "node"));
	printf(", %jd of them agents", (intmax_t)number_of(pods, "agents"));
	if (json_object_get(pods, "age"))
		printf("; the API was heard %jd s ago", (intmax_t)number_of(pods, "age"));
	if (json_is_string(error)) {
		paint(status, red);
		printf("; now: ");
		print_safe(status, json_string_value(error));
		paint(status, plain);
	} else if (!json_is_true(json_object_get(pods, "synced"))) {
		printf("; not listed yet");
	}
	putchar('\n');
	print_unresolved(status, json_object_get(pods, "unresolved"));
}

/* What of the holds is to be seen in the cluster. */
static void print_hold_objects(struct status *status)
{
	json_t *objects = json_object_get(status->object, "hold_objects");
	json_t *error = json_object_get(objects, "error");

	if (!objects)
		return;
	print_label(status, "hold objects");
	printf("%jd, %jd of them open; %jd answered there", (intmax_t)number_of(objects, "objects"),
	       (intmax_t)number_of(objects, "open"), (intmax_t)number_of(objects, "decided"));
	if (number_of(objects, "skipped"))
		printf(", %jd holds had none at first", (intmax_t)number_of(objects, "skipped"));
	if (json_is_string(error)) {
		paint(status, red);
		printf("; now: ");
		print_safe(status, json_string_value(error));
		paint(status, plain);
	} else if (!json_is_true(json_object_get(objects, "synced"))) {
		printf("; not listed yet");
	}
	putchar('\n');
}

static void print_degraded(struct status *status)
{
	json_t *degraded = json_object_get(status->object, "degraded"), *sentence;
	size_t i;

	if (!json_array_size(degraded))
		return;
	paint(status, yellow);
	printf("\nWeaker than the policy asks for (`reprieve doctor` tells how to get more):\n");
	json_array_foreach (degraded, i, sentence) {
		printf("  ");
		print_safe(status, json_is_string(sentence) ? json_string_value(sentence) : "?");
		putchar('\n');
	}
	paint(status, plain);
}

static int print_status(json_t *object, bool color)
{
	static void (*const parts[])(struct status * status) = {
		print_head,  print_tiers,   print_activity,  print_losses, print_reader,       print_mismatches,
		print_sinks, print_journal, print_libraries, print_pods,   print_hold_objects, print_degraded,
	};
	struct status status = {object, color, 0};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		parts[i](&status);
	return status.error;
}

static int print_json(json_t *object)
{
	if (json_dumpf(object, stdout, JSON_COMPACT))
		return -ENOMEM;
	putchar('\n');
	return 0;
}

static void print_failed(json_t *failed, struct buffer *safe)
{
	json_t *sentence;
	size_t i;

	json_array_foreach (failed, i, sentence) {
		line_add_text(safe, json_string_value(sentence));
		buffer_char(safe, '\n');
	}
	fwrite(safe->data, 1, safe->length, stdout);
}

/* {"healthy":false,"failed":["..."]}, or a line for each that failed. */
static int print_check(json_t *failed, bool json)
{
	_cleanup_buffer_ struct buffer safe = {};
	json_t *object;
	int error;

	if (!json) {
		print_failed(failed, &safe);
		return safe.error;
	}
	object = json_pack("{s:b, s:O}", "healthy", !json_array_size(failed), "failed", failed);
	error = object ? print_json(object) : -ENOMEM;
	json_decref(object);
	return error;
}

/* Returns an exit code. */
static int check(const json_t *status, const struct status_wanted *wanted, bool json)
{
	json_t *failed = json_array();
	int error = failed ? status_check(status, wanted, failed) : -ENOMEM;
	int code = json_array_size(failed) ? EXIT_FAILED : EXIT_DONE;

	if (!error)
		error = print_check(failed, json);
	json_decref(failed);
	if (!error)
		return code;
	log_error("status: %s", strerror(-error));
	return EXIT_FAILED;
}

static int show(json_t *status, const struct common_options *common)
{
	int error = common->json ? print_json(status) : print_status(status, common->color);

	if (error)
		log_error("status: %s", strerror(-error));
	return error ? EXIT_FAILED : EXIT_DONE;
}

int cmd_status(int argc, char **argv)
{
	struct status_options own = {.wanted = {.tier = TIER_SIGNAL, .api_age = -1}};
	struct common_options common;
	struct control_error error;
	json_t *result;
	int code, failed;

	code = options_parse(&spec, argc, argv, &own, &common);
	if (code)
		return code;
	failed = control_call(common.socket, json_pack("{s:s}", "command", "status"), &error, &result);
	if (failed)
		return control_report(failed, &error);
	code = own.check ? check(result, &own.wanted, common.json) : show(result, &common);
	json_decref(result);
	return code;
}
