/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* release: every hold answered at once, by a daemon or, where it left its guard in the kernel and is gone, without. */
#include "commands.h"

#include "control.h"
#include "engine.h"
#include "freezer.h"
#include "opts.h"
#include "pins.h"
#include "probe.h"

struct release_options {
	const char *pins;
};

enum { KEY_PINS = OPTION_OWN };

static const struct argp_option rows[] = {
	{"pins", KEY_PINS, "DIR", 0, "Where a daemon that is gone left its guard (default: " PINS_DEFAULT ")", 0},
	{},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct release_options *own = state->input;

	if (key != KEY_PINS)
		return ARGP_ERR_UNKNOWN;
	own->pins = argument;
	return 0;
}

static const struct option_spec release_spec = {
	.summary =
		"Answers every open hold as its rule's on_timeout says. Where a daemon was started with --keep and is gone, "
		"the guard that it left in the kernel is taken off as well. Processes that a killed daemon left frozen, with nothing "
		"in the kernel, are given back: they stand stopped as by SIGSTOP.",
	.examples = "  sudo reprieve release\n",
	.common = COMMON_SOCKET | COMMON_JSON,
	.options = rows,
	.parse = parse,
};

static int print_released(json_t *result, bool json)
{
	if (json) {
		json_dumpf(result, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		printf("%lld holds answered as their rules say\n",
		       (long long)json_integer_value(json_object_get(result, "released")));
	}
	json_decref(result);
	return EXIT_DONE;
}

#define RELEASE_ROUNDS 100 /* of RELEASE_USEC: until every answered call has run again */
#define RELEASE_USEC 50000

/* What a daemon left in the kernel is taken over, answered, and taken off. */
static int release_left(const char *pins, struct sinks *sinks, sd_event *event, size_t *ret_released)
{
	const char *policy = access(POLICY_DEFAULT, F_OK) ? NULL : POLICY_DEFAULT;
	struct engine_options options = {.policy_path = policy, .pins = pins, .sinks = sinks};
	struct engine *engine = NULL;
	int error = engine_new(event, &options, &engine);

	if (error)
		return error;
	*ret_released = engine_release(engine);
	for (int i = 0; i < RELEASE_ROUNDS && engine_held(engine); i++)
		sd_event_run(event, RELEASE_USEC);
	if (engine_held(engine))
		log_warning("%zu calls are still stopped: `kill -CONT` lets them go on unguarded", engine_held(engine));
	engine_take_off(engine);
	engine_free(engine);
	return 0;
}

static int release_without_daemon(const char *pins, const struct common_options *common)
{
	struct sinks *sinks = NULL;
	sd_event *event = NULL;
	size_t released = 0;
	int code = require_root("what a daemon left in the kernel"), error;

	if (code)
		return code;
	error = sinks_new(&sinks);
	if (!error && sd_event_default(&event) < 0)
		error = -ENOMEM;
	if (!error)
		error = release_left(pins, sinks, event, &released);
	sinks_free(sinks);
	sd_event_unref(event);
	if (error)
		return EXIT_FAILED;
	return print_released(json_pack("{s:I}", "released", (json_int_t)released), common->json);
}

/* What a guard froze that is gone altogether: nobody can answer for it any more. Returns how many processes. */
static size_t release_frozen(const char *pins)
{
	struct freezer *freezer = NULL;
	struct kernel_facts facts;
	size_t count;

	if (geteuid() || probe_kernel(PROBE_QUICK, &facts))
		return 0;
	count = facts.cgroup2 && !freezer_new(facts.cgroup_root, pins, &freezer) ? freezer_sweep(freezer) : 0;
	freezer_free(freezer);
	probe_done(&facts);
	return count;
}

int cmd_release(int argc, char **argv)
{
	struct release_options own = {.pins = PINS_DEFAULT};
	struct control_error error = {};
	struct common_options common;
	json_t *result;
	int code = options_parse(&release_spec, argc, argv, &own, &common), failed;

	if (code)
		return code;
	failed = control_call(common.socket, json_pack("{s:s}", "command", "release"), &error, &result);
	if (control_no_daemon(failed) && pins_exist(own.pins))
		return release_without_daemon(own.pins, &common);
	if (control_no_daemon(failed) && release_frozen(own.pins))
		return EXIT_DONE;
	if (failed)
		return control_report(failed, &error);
	return print_released(result, common.json);
}
