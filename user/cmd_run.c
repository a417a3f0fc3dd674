/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "commands.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "action.h"
#include "control.h"
#include "dry_run.h"
#include "journal.h"
#include "opts.h"
#include "serve.h"

struct run_options {
	const char *name;
	const char *agent;
	const char *workspace;
	const char *policy;
	const char *events;
	const char *journal, *journal_key;
	bool observe;
	bool tracepoints;
	bool all;
	bool dry_run;
};

enum {
	OPTION_AGENT = OPTION_OWN,
	OPTION_WORKSPACE,
	OPTION_EVENTS,
	OPTION_OBSERVE,
	OPTION_TRACEPOINTS,
	OPTION_DRY_RUN,
	OPTION_JOURNAL,
	OPTION_JOURNAL_KEY
};

static const struct argp_option rows[] = {
	{"name", 'n', "NAME", 0, "Name of the session (default: the command's)", 0},
	{"agent", OPTION_AGENT, "KIND", 0, "The kind of agent, for rules that name one", 0},
	{"workspace", 'w', "DIR", 0, "The session's workspace (default: the current directory)", 0},
	{"policy", 'p', "FILE", 0, "Guard by this policy, without a daemon", 0},
	{"events", OPTION_EVENTS, "FILE", 0, "Append every event to FILE, as JSON lines; without a daemon", 0},
	{"journal", OPTION_JOURNAL, "DIR", 0,
	 "Keep a journal in DIR of all that happens and is decided; without a daemon", 0},
	{"journal-key", OPTION_JOURNAL_KEY, "FILE", 0,
	 "The private key that signs the journal, made where it is not there (default: " JOURNAL_KEY_DEFAULT ")", 0},
	{"dry-run", OPTION_DRY_RUN, NULL, 0,
	 "Deny every destructive operation, and list at the end what would have been done", 0},
	{"observe", OPTION_OBSERVE, NULL, 0, "Stop nothing, record what would have been stopped; without a daemon", 0},
	{"tracepoints", OPTION_TRACEPOINTS, NULL, 0, "Use the signal tier even where the lsm tier works", 0},
	{"all", 'a', NULL, 0, "Show allowed operations too", 0},
	{},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct run_options *own = state->input;

	switch (key) {
	case 'n':
		own->name = argument;
		return 0;
	case 'w':
	case OPTION_WORKSPACE:
		own->workspace = argument;
		return 0;
	case 'p':
		own->policy = argument;
		return 0;
	case 'a':
		own->all = true;
		return 0;
	case OPTION_AGENT:
		own->agent = argument;
		return 0;
	case OPTION_EVENTS:
		own->events = argument;
		return 0;
	case OPTION_DRY_RUN:
		own->dry_run = true;
		return 0;
	case OPTION_JOURNAL:
		own->journal = argument;
		return 0;
	case OPTION_JOURNAL_KEY:
		own->journal_key = argument;
		return 0;
	case OPTION_OBSERVE:
		own->observe = true;
		return 0;
	case OPTION_TRACEPOINTS:
		own->tracepoints = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct option_spec spec = {
	.arguments = "[--] CMD [ARG...]",
	.summary =
		"Runs CMD as a session: by the daemon if one runs, otherwise with a guard of its own for as long as CMD "
		"lives (needs root). Exits with CMD's status, 128 + signal when it was killed.",
	.examples = "  sudo reprieve run --policy policy.yaml -- bash -c 'rm -rf build ../shared'\n"
		    "  sudo reprieve run --name nightly --workspace /srv/app -- claude -p 'clean up'\n"
		    "  sudo reprieve run --dry-run -- make distclean\n"
		    "  reprieve run -- codex          # with a daemon running\n",
	.common = COMMON_SOCKET | COMMON_JSON | COMMON_COLOR,
	.flags = ARGP_IN_ORDER,
	.arguments_min = 1,
	.arguments_max = ARGUMENTS_ANY,
	.options = rows,
	.parse = parse,
};

#define STATUS_NOT_FOUND 127
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_SIGNAL 128

static int exec_command(char **arguments)
{
	int error;

	execvp(arguments[0], arguments);
	error = errno;
	log_error("%s: %s", arguments[0], strerror(error));
	return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

static const char *name_of_command(const struct run_options *own, const struct common_options *common)
{
	const char *slash = strrchr(common->arguments[0], '/');

	if (own->name)
		return own->name;
	return slash && slash[1] ? slash + 1 : common->arguments[0];
}

/* --- by the daemon: this very process becomes the session's root, and then the command --- */

static int run_by_daemon(const struct run_options *own, const struct common_options *common, int *ret_error)
{
	struct control_error error = {};
	json_t *result = NULL;
	char workspace[PATH_MAX];

	if (own->workspace && !realpath(own->workspace, workspace)) {
		log_error("--workspace %s: %s", own->workspace, strerror(errno));
		return EXIT_FAILED;
	}
	*ret_error = control_call(common->socket,
				  json_pack("{s:s, s:s, s:s*, s:s*}", "command", "register", "name",
					    name_of_command(own, common), "agent", own->agent, "workspace",
					    own->workspace ? workspace : NULL),
				  &error, &result);
	if (*ret_error)
		return control_no_daemon(*ret_error) ? EXIT_DONE : control_report(*ret_error, &error);
	/* Another `reprieve run`, which guards its own command alone. */
	if (json_is_true(json_object_get(result, "alone"))) {
		json_decref(result);
		*ret_error = -ECONNREFUSED;
		return EXIT_DONE;
	}
	if (json_is_true(json_object_get(result, "already")))
		log_warning("already inside a session: %s belongs to that one", common->arguments[0]);
	json_decref(result);
	return exec_command(common->arguments);
}

/* --- with a guard of our own --- */

struct run {
	sd_event *event;
	struct serve serve;
	struct sinks *sinks;
	struct dry_run *dry_run; /* NULL: it is none */
	pid_t child;
	int go; /* write end: a byte lets the child run */
	int status; /* as wait(2) has it */
	sigset_t old_mask;
};

/* The child waits until it is a session, and then becomes the command. */
static int start_child(struct run *run, const struct common_options *common)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	run->child = fork();
	if (run->child < 0)
		return -errno;
	if (run->child == 0) {
		char go;

		close(ends[1]);
		if (read(ends[0], &go, 1) != 1)
			_exit(EXIT_FAILED);
		sigprocmask(SIG_SETMASK, &run->old_mask, NULL);
		signal(SIGPIPE, SIG_DFL);
		_exit(exec_command(common->arguments));
	}
	close(ends[0]);
	run->go = ends[1];
	return 0;
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	struct run *run = userdata;

	run->status = info->si_code == CLD_EXITED ? info->si_status : STATUS_SIGNAL + info->si_status;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

/* What the terminal sends reaches the command itself; what is sent to us is passed on. */
static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct run *run = userdata;

	(void)source;
	if (info->ssi_code != SI_KERNEL)
		kill(run->child, (int)info->ssi_signo);
	return 0;
}

static int watch_child(struct run *run)
{
	static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		if (sd_event_add_signal(run->event, NULL, passed[i], on_signal, run) < 0)
			return -ENOMEM;
	return sd_event_add_child(run->event, NULL, run->child, WEXITED, on_child, run);
}

static void block_signals(struct run *run)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &run->old_mask);
	signal(SIGPIPE, SIG_IGN);
}

static int open_sinks(struct run *run, const struct run_options *own, const struct common_options *common)
{
	int error = sinks_new(&run->sinks);

	if (!error && own->events)
		error = sinks_add_file(run->sinks, own->events, VERDICT_ALLOW);
	if (error || own->dry_run)
		return error;
	if (common->json)
		return sinks_add_fd(run->sinks, STDERR_FILENO, own->all ? VERDICT_ALLOW : VERDICT_ALERT);
	return sinks_add_people(run->sinks, STDERR_FILENO, own->all ? VERDICT_ALLOW : VERDICT_ALERT,
				common->color && isatty(STDERR_FILENO));
}

static int register_child(struct run *run, const struct run_options *own, const struct common_options *common)
{
	struct engine_session session = {.pid = run->child,
					 .name = name_of_command(own, common),
					 .agent = own->agent,
					 .workspace = own->workspace};
	struct session_id id;
	int error = engine_register(run->serve.engine, &session, &id);

	if (error == -ENOENT && own->agent)
		log_error("no agent is called '%s': `reprieve policy show` lists those that are known", own->agent);
	else if (error)
		log_error("%s cannot become a session: %s", common->arguments[0], strerror(-error));
	return error;
}

static void tell_left_behind(struct run *run)
{
	size_t left = sessions_count(pipeline_sessions(run->serve.engine ? engine_pipeline(run->serve.engine) : NULL));

	if (left)
		log_warning(
			"processes of the session are still running, and are no longer guarded; a daemon would go on "
			"guarding them");
}

/* Behind us nobody will answer, and a call that is let go is guarded no more. */
static int kill_held(struct hold *hold, void *userdata)
{
	struct actor actor = {.process = hold->process->id};

	(void)userdata;
	if (hold->state == HOLD_OPEN && !action_signal(&actor.process, SIGKILL))
		log_warning("process %u still stands stopped for hold %u: it is killed", actor.process.pid,
			    hold->number);
	return 0;
}

static int guard_child(struct run *run, const struct run_options *own, const struct common_options *common)
{
	int error = register_child(run, own, common);

	if (!error)
		error = watch_child(run);
	if (error < 0 || write(run->go, "g", 1) != 1)
		return EXIT_FAILED;
	close(run->go);
	run->go = -1;
	if (sd_event_loop(run->event) < 0)
		return EXIT_FAILED;
	engine_drain(run->serve.engine);
	holds_for_each(pipeline_holds(engine_pipeline(run->serve.engine)), kill_held, NULL);
	tell_left_behind(run);
	if (run->dry_run && dry_run_print(run->dry_run, common->json, stderr))
		log_error("out of memory: the list is not complete");
	return run->status;
}

static void publish(const char *line, size_t length, const struct session *session, int op, enum verdict verdict,
		    void *userdata)
{
	struct run *run = userdata;

	if (run->dry_run && dry_run_add(run->dry_run, line, length))
		log_error("out of memory: the list is not complete");
	serve_publish(line, length, session, op, verdict, &run->serve);
}

/* For `reprieve pending` and those that answer; where a daemon has the place, beside it. */
static void open_socket(struct run *run, const struct common_options *common)
{
	char path[64];
	int error = serve_open(run->event, common->socket, &run->serve);

	run->serve.alone = true;
	if (error != -EADDRINUSE) {
		if (error)
			log_warning("%s: cannot listen there (%s): holds can only time out", common->socket,
				    strerror(-error));
		return;
	}
	snprintf(path, sizeof(path), "/run/reprieve/run-%d.sock", (int)getpid());
	error = serve_open(run->event, path, &run->serve);
	if (error)
		log_warning("%s: cannot listen there (%s): holds can only time out", path, strerror(-error));
	else
		log_info("holds of this run are answered with --socket %s", path);
}

/* Denying is what a dry run does, and all of it: on the tiers below not every call can be made to fail. */
static bool can_dry_run(struct run *run)
{
	const struct guard_tier *tier = &engine_tiers(run->serve.engine)[OP_UNLINK];

	if (tier->tier == TIER_LSM)
		return true;
	log_error("a dry run has to prevent operations, and this kernel guards unlink by tier %s only: `reprieve "
		  "doctor` tells how to get more",
		  tier_name(tier->tier));
	return false;
}

static int run_alone(struct run *run, const struct run_options *own, const struct common_options *common)
{
	struct engine_options options = {.own_files = {own->events},
					 .policy_path = own->policy,
					 .policy_text = own->dry_run ? dry_run_policy : NULL,
					 .observe = own->observe,
					 .tracepoints = own->tracepoints,
					 .journal = own->journal,
					 .journal_key = own->journal_key,
					 .publish = publish,
					 .userdata = run};
	int error = open_sinks(run, own, common);

	if (!error && own->dry_run)
		error = dry_run_new(&run->dry_run);
	if (error)
		return EXIT_FAILED;
	options.sinks = run->sinks;
	block_signals(run);
	if (sd_event_default(&run->event) < 0)
		return EXIT_FAILED;
	/* The child before the guard's threads: it is a plain copy of this process. */
	error = start_child(run, common);
	if (!error)
		error = engine_new(run->event, &options, &run->serve.engine);
	if (error)
		return error == -EINVAL ? EXIT_FAILED : EXIT_LACKING;
	if (own->dry_run && !can_dry_run(run))
		return EXIT_LACKING;
	open_socket(run, common);
	return guard_child(run, own, common);
}

static void run_done(struct run *run)
{
	if (run->go >= 0)
		close(run->go);
	engine_free(run->serve.engine);
	serve_close(&run->serve);
	sinks_free(run->sinks);
	dry_run_free(run->dry_run);
	sd_event_unref(run->event);
}

int cmd_run(int argc, char **argv)
{
	struct run run = {.go = -1};
	struct run_options own = {};
	struct common_options common;
	bool alone;
	int code = options_parse(&spec, argc, argv, &own, &common), error = 0;

	if (code)
		return code;
	alone = own.policy || own.events || own.observe || own.tracepoints || own.dry_run || own.journal;
	if (!alone) {
		code = run_by_daemon(&own, &common, &error);
		if (!control_no_daemon(error))
			return code;
	}
	if (own.dry_run && own.policy) {
		log_error("--dry-run denies everything that is destructive: it takes no --policy");
		return EXIT_USAGE;
	}
	code = require_root("a guard without a daemon");
	if (code)
		return code;
	code = run_alone(&run, &own, &common);
	run_done(&run);
	return code;
}
