/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "commands.h"
#include "opts.h"
#include "util.h"

static const struct command commands[] = {
	{"run", "run a command as a session", cmd_run, NEEDS_DAEMON_OR_ROOT},
	{"daemon", "watch every agent on this machine, in the foreground; also called as reprieved", cmd_daemon,
	 NEEDS_ROOT},
	{"watch", "live events", cmd_watch, NEEDS_DAEMON},
	{"status", "tiers by operation, policy, sessions, counts, losses", cmd_status, NEEDS_DAEMON},
	{"sessions", "running sessions", cmd_sessions, NEEDS_DAEMON},
	{"pending", "held operations: who, what, why, until when, what is at stake", cmd_pending, NEEDS_DAEMON},
	{"approve", "let what was held go on", cmd_approve, NEEDS_DAEMON},
	{"deny", "make what was held fail", cmd_deny, NEEDS_DAEMON},
	{"review", "a screen of held operations, with keys to approve and deny", cmd_review, NEEDS_DAEMON},
	{"release", "answer every hold as its rule's on_timeout says", cmd_release, NEEDS_DAEMON_OR_ROOT},
	{"replay", "judge a journal again: with its policies, or to see what another one would have done", cmd_replay,
	 NEEDS_NOTHING},
	{"policy", "check, show and try policies", cmd_policy, NEEDS_NOTHING},
	{"report", "a recording as one page: what was lost, what was stopped, who decided", cmd_report, NEEDS_NOTHING},
	{"export", "a recording for other tools: jsonl, csv, sqlite, ocsf", cmd_export, NEEDS_NOTHING},
	{"verify", "is a journal what was written? where not, and what can be trusted", cmd_verify, NEEDS_NOTHING},
	{"doctor", "what this kernel offers, what is therefore guarded, how to get more", cmd_doctor, NEEDS_NOTHING},
};

static const char about[] = "Stands between an AI agent and the operations that nobody can take back.";

static bool called_as(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return streq(slash ? slash + 1 : path, name);
}

static int dispatch(int argc, char **argv)
{
	if (argc < 1)
		return EXIT_USAGE;
	if (argc >= 2 && (streq(argv[1], "--version") || streq(argv[1], "-V"))) {
		printf("reprieve %s\n", REPRIEVE_VERSION);
		return EXIT_DONE;
	}
	if (called_as(argv[0], "reprieved"))
		return cmd_daemon(argc, argv);
	return command_dispatch("reprieve", about, commands, ARRAY_SIZE(commands), argc, argv);
}

int main(int argc, char **argv)
{
	int code = dispatch(argc, argv);

	/* A result that did not reach its file (disk full) must not look done. */
	if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
		log_error("could not write the result: %s", strerror(errno));
		return EXIT_FAILED;
	}
	return code;
}
