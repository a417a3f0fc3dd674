/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "commands.h"

#include <inttypes.h>
#include <time.h>

#include "event_line.h"
#include "opts.h"
#include "replay.h"
#include "replay_text.h"
#include "util.h"

#define STEPS_BETWEEN_LOOKS 4096
#define PROGRESS_MS 200

struct replay_command {
	const char *policy;
	double speed; /* 0: as fast as it goes */
	bool events;
	struct replay_filter filter;
};

enum { OPTION_EVENTS = OPTION_OWN, OPTION_SPEED };

static const struct argp_option rows[] = {
	{"policy", 'p', "FILE", 0, "Judge by this policy, and tell what would have been different", 0},
	{"events", OPTION_EVENTS, NULL, 0, "Show the events, too, as `reprieve watch` had shown them", 0},
	{"speed", OPTION_SPEED, "N", 0, "Show the events N times as fast as they happened: 1 is live", 0},
	REPLAY_FILTER_ROWS,
	{},
};

static double speed_of(const char *text, struct argp_state *state)
{
	char *end;
	double speed = strtod(text, &end);

	if (end == text || *end || !(speed > 0) || speed > 1e9)
		argp_error(state, "--speed %s: a number above 0 is needed, such as 1 or 60", text);
	return speed;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct replay_command *own = state->input;

	switch (key) {
	case 'p':
		own->policy = argument;
		return 0;
	case OPTION_EVENTS:
		own->events = true;
		return 0;
	case OPTION_SPEED:
		own->speed = speed_of(argument, state);
		own->events = true;
		return 0;
	default:
		return replay_filter_option(key, argument, state, &own->filter);
	}
}

static const struct option_spec spec = {
	.arguments = "JOURNAL",
	.summary =
		"Runs a journal through the pipeline again. With its own policies every recorded verdict must come out "
		"again: where one does not, it is shown, and the exit status is 1. With --policy it tells what another "
		"policy would have done, line by line and in sum. Nothing is done to any process.",
	.examples = "  reprieve replay /var/lib/reprieve/journal\n"
		    "  reprieve replay journal --policy stricter.yaml --session claude --since -1h\n"
		    "  reprieve replay journal --speed 10 --op delete --path '/var/app/**'\n",
	.common = COMMON_JSON | COMMON_COLOR,
	.arguments_min = 1,
	.arguments_max = 1,
	.options = rows,
	.parse = parse,
};

struct run {
	const struct replay_command *own;
	const struct common_options *common;
	struct trial *trial;
	struct trial_sums sums;
	struct buffer line;
	bool progress; /* is shown */
	uint64_t steps;
	uint64_t shown; /* when the progress was, monotonic milliseconds */
	int64_t first; /* real time that `began` stands for; 0: not begun */
	uint64_t began; /* monotonic nanoseconds */
};

/* --- progress and pace --- */

static void clear_progress(struct run *run)
{
	if (run->shown)
		fputs("\r\033[K", stderr);
	run->shown = 0;
}

static void show_progress(struct run *run, struct journal_progress progress)
{
	uint64_t now = monotonic_ns() / NSEC_PER_MSEC;

	if (now - run->shown < PROGRESS_MS)
		return;
	run->shown = now;
	fprintf(stderr, "\r\033[Kreplay: %3.0f %%, %" PRIu64 " entries",
		progress.total ? 100.0 * (double)progress.done / (double)progress.total : 100.0, run->steps);
}

/* Waits until it is the moment's turn. What the filter leaves out takes no time. */
static void keep_pace(struct run *run, int64_t real)
{
	uint64_t due;
	struct timespec until;

	if (!replay_filter_time(&run->own->filter, real))
		return;
	if (!run->first) {
		run->first = real;
		run->began = monotonic_ns();
	}
	if (real <= run->first)
		return;
	due = run->began + (uint64_t)((double)(real - run->first) / run->own->speed);
	if (due <= monotonic_ns())
		return;
	fflush(stdout);
	until = (struct timespec){.tv_sec = (time_t)(due / NSEC_PER_SEC), .tv_nsec = (long)(due % NSEC_PER_SEC)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static int on_step(int64_t real, struct journal_progress progress, void *userdata)
{
	struct run *run = userdata;

	run->steps += 1;
	if (run->own->speed)
		keep_pace(run, real);
	else if (run->progress && run->steps % STEPS_BETWEEN_LOOKS == 0)
		show_progress(run, progress);
	return 0;
}

/* --- lines --- */

/* 0, or a negative errno: the result cannot be written. */
static int put_line(struct run *run)
{
	int error = run->line.error;

	clear_progress(run);
	if (!error && fwrite(run->line.data, 1, run->line.length, stdout) != run->line.length)
		error = -EIO;
	buffer_clear(&run->line);
	return error;
}

static int on_event(const struct replay_event *event, void *userdata)
{
	struct run *run = userdata;

	if (run->common->json)
		buffer_add(&run->line, event->line, event->length);
	else
		event_line_of_text(event->line, event->length, run->common->color, &run->line);
	return put_line(run);
}

static int on_operation(const struct replay_operation *operation, void *userdata)
{
	struct run *run = userdata;
	bool trial = run->trial;

	if (trial)
		trial_sums_add(&run->sums, operation, trial_policy(run->trial));
	if (trial ? !trial_differs(operation, trial_policy(run->trial)) : operation->same || !operation->compared)
		return 0;
	if (run->common->json)
		replay_text_json(operation, run->trial, &run->line);
	else
		replay_text_line(operation, run->trial, run->common->color, &run->line);
	return put_line(run);
}

/* --- the end --- */

static int exit_code_of(const struct run *run, const struct replay_summary *summary)
{
	if (run->trial)
		return EXIT_DONE;
	return summary->mismatches || summary->not_compared || summary->faults ? EXIT_FAILED : EXIT_DONE;
}

static int finish(struct run *run, const struct replay_summary *summary)
{
	clear_progress(run);
	if (run->common->json)
		replay_text_summary_json(summary, run->trial ? &run->sums : NULL, run->trial, &run->line);
	else
		replay_text_summary(summary, run->trial ? &run->sums : NULL, run->trial, &run->line);
	return put_line(run) ? EXIT_FAILED : exit_code_of(run, summary);
}

static int replay(struct run *run, struct replay_command *own)
{
	struct replay_options options = {run->common->arguments[0], &own->filter, run->trial};
	struct replay_hooks hooks = {
		.event = own->events ? on_event : NULL, .operation = on_operation, .step = on_step, .userdata = run};
	struct replay_summary summary;
	int result = replay_run(&options, &hooks, &summary);

	if (result) {
		clear_progress(run);
		if (result == -EIO)
			log_error("the result cannot be written");
		return EXIT_FAILED;
	}
	return finish(run, &summary);
}

int cmd_replay(int argc, char **argv)
{
	struct replay_command own = {};
	struct common_options common;
	struct run run = {.own = &own, .common = &common};
	int code = options_parse(&spec, argc, argv, &own, &common);

	if (code)
		return code;
	run.progress = isatty(STDERR_FILENO) && !own.speed;
	if (own.policy && trial_new(own.policy, &run.trial))
		code = EXIT_FAILED;
	if (run.trial && trial_wants_execs(run.trial))
		log_warning("%s has rules about programs: they are tried on those only that a rule of the recorded "
			    "policy was about, too",
			    own.policy);
	if (!code)
		code = replay(&run, &own);
	trial_free(run.trial);
	replay_filter_done(&own.filter);
	buffer_free(&run.line);
	return code;
}
