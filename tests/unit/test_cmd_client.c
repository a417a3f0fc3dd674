/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `status`, `sessions` and `watch` against a daemon that says what a row tells it to say. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "run_command.h"

#include <signal.h>

#include "commands.h"
#include "control.h"
#include "opts.h"

static char directory[] = "/tmp/test_cmd_client.XXXXXX";
static pid_t daemon_pid;

static const char status_reply[] =
	"{\"version\":\"0.1.0\",\"pid\":12,\"uptime_ms\":8054321,\"mode\":\"enforce\",\"policy\":{\"origin\":"
	"\"/etc/\\u001b[31mp.yaml\",\"generation\":1,\"rules\":3,\"default\":\"allow\"},\"tiers\":[{\"op\":\"unlink\","
	"\"tier\":\"signal\",\"by\":\"tracepoints\",\"note\":\"late; not 32-bit\"},{\"op\":\"rmdir\",\"tier\":"
	"\"signal\",\"by\":\"tracepoints\",\"note\":\"late\"},{\"op\":\"sql\",\"tier\":\"uprobe\",\"by\":\"libpq\","
	"\"note\":\"\"}],\"sessions\":2,\"processes\":9,\"counts\":{\"ops\":{\"unlink\":12,\"rename\":0,\"sql\":3},"
	"\"verdicts\":{\"allow\":3}},\"losses\":{\"records\":{\"op\":7,\"exec\":0},\"total\":7},\"mismatches\":2,"
	"\"ring\":{\"bytes\":33554432},\"degraded\":[\"rule 'a': falls "
	"short\"],\"libraries\":[{\"path\":\"/lib/pq.so\","
	"\"functions\":[\"PQfn\"]}]}";

/* The same daemon on a bad day: what the replies to `status` are is said by the file `reply`, where there is one. */
static const char *const sick_replies[] = {
	"{\"tiers\":[{\"op\":\"unlink\",\"tier\":\"lsm\"},{\"op\":\"truncate\",\"tier\":\"uprobe\"},{\"op\":"
	"\"overwrite\",\"tier\":\"none\"}],\"journal\":{\"directory\":\"/j\",\"failing\":\"disk \\u001b full\"},"
	"\"pods\":{\"node\":\"n\",\"synced\":true,\"age\":90,\"error\":\"refused\"}}",
	"{\"tiers\":[{\"op\":\"unlink\",\"tier\":\"none\"}],\"journal\":{\"directory\":\"/j\"},\"pods\":{\"node\":"
	"\"n\",\"synced\":false,\"error\":\"no route\"}}",
	"{\"tiers\":[]}",
};

static const char sessions_reply[] =
	"{\"sessions\":[{\"id\":\"s-7-1\",\"name\":\"cla\\u001b[2Jude\",\"agent\":\"claude-code\",\"how\":\"run\","
	"\"pid\":7,\"processes\":3,\"workspace\":\"/srv\",\"started\":\"2001-01-01T07:00:00.123456789Z\",\"counts\":"
	"{\"ops\":{\"unlink\":3,\"rename\":1},\"verdicts\":{\"alert\":1,\"hold\":1,\"kill\":2}}},{\"id\":\"c-9-1\","
	"\"name\":null,\"agent\":null,\"how\":\"cgroup\",\"pid\":null,\"processes\":1,\"workspace\":null}]}";

static int handle_status(struct control_client *client, json_t *request, void *userdata)
{
	json_t *reply = json_load_file("reply", 0, NULL);

	(void)request;
	(void)userdata;
	return control_reply(client, reply ? reply : json_loads(status_reply, 0, NULL));
}

static int handle_sessions(struct control_client *client, json_t *request, void *userdata)
{
	(void)request;
	(void)userdata;
	return control_reply(client, json_loads(sessions_reply, 0, NULL));
}

/* Streams two events. */
static int handle_watch(struct control_client *client, json_t *request, void *userdata)
{
	static const char *const lines[] = {
		"{\"v\":1,\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"kill\",\"target\":{\"path\":\"/srv/"
		"a\\u001b\"}}",
		"{\"v\":1,\"kind\":\"loss\",\"dropped\":41,\"at\":\"control\"}",
	};
	static const struct control_facts facts = {"s-7-1", "claude", OP_UNLINK, VERDICT_KILL, true};
	struct control_server **server = userdata;
	int error = control_handle_watch(client, request, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		control_publish(*server, lines[i], strlen(lines[i]), &facts);
	return error;
}

static const struct control_command commands[] = {
	{"status", handle_status}, {"sessions", handle_sessions}, {"watch", handle_watch}, {NULL, NULL}};

static int serve(void)
{
	struct control_server *server = NULL;
	sd_event *event;
	sigset_t end;

	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	if (sd_event_new(&event) < 0 || sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL) < 0)
		return 1;
	if (control_server_new(event, "sock", commands, &server, &server))
		return 1;
	sd_event_loop(event);
	control_server_free(server);
	sd_event_unref(event);
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory) || chdir(directory))
		return -1;
	daemon_pid = fork();
	if (daemon_pid == 0)
		_exit(serve());
	for (int i = 0; i < 200; i++) {
		int fd;

		if (!control_connect("sock", &fd))
			return close(fd);
		usleep(10000);
	}
	return -1;
}

static int tear_down(void **state)
{
	int status;

	(void)state;
	kill(daemon_pid, SIGTERM);
	waitpid(daemon_pid, &status, 0);
	return chdir("/") || rmdir(directory) || status;
}

static void test_status(void **state)
{
	static const struct row rows[] = {
		{"status --socket sock", EXIT_DONE, "reprieve 0.1.0, process 12, up for 2 h 14 min\n", NULL},
		{"status --socket sock", EXIT_DONE, "/etc/\\x1b[31mp.yaml (rules: 3, default: allow, generation: 1)",
		 NULL},
		{"status --socket sock", EXIT_DONE, "unlink     signal  tracepoints\n", NULL},
		{"status --socket sock", EXIT_DONE, "  late (unlink, rmdir)\n  not 32-bit (unlink)\n", NULL},
		{"status --socket sock", EXIT_DONE, "2, with 9 processes\n", NULL},
		{"status --socket sock", EXIT_DONE, "  12 unlink, 3 sql\n", NULL},
		{"status --socket sock", EXIT_DONE, "7 records found the ring buffer of 32768 KiB full: 7 op\n", NULL},
		{"status --socket sock", EXIT_DONE, "2 verdicts of the kernel differ", NULL},
		{"status --socket sock", EXIT_DONE, "/lib/pq.so: PQfn\n", NULL},
		{"status --socket sock", EXIT_DONE, "\n  rule 'a': falls short\n", NULL},
		{"status --socket sock --color=always", EXIT_DONE, "\033[31m7 records", NULL},
		{"status --socket sock --json", EXIT_DONE, "\"losses\":{\"records\":{\"op\":7,\"exec\":0},\"total\":7}",
		 NULL},
	};

	(void)state;
	check_rows(cmd_status, rows, ARRAY_SIZE(rows));
}

static void with_reply(const char *reply, const struct row *rows, size_t count)
{
	FILE *file = fopen("reply", "w");

	assert_true(fputs(reply, file) >= 0);
	fclose(file);
	check_rows(cmd_status, rows, count);
	unlink("reply");
}

static void test_check(void **state)
{
	static const struct row well[] = {
		{"status --check --socket sock", EXIT_DONE, NULL, NULL},
		{"status --check --socket sock --json", EXIT_DONE, "{\"healthy\":true,\"failed\":[]}\n", NULL},
		{"status --check --tier uprobe --socket sock", EXIT_FAILED,
		 "tier: less than uprobe: unlink on signal, rmdir on signal; `reprieve doctor` tells why\n", NULL},
		{"status --check --journal --socket sock", EXIT_FAILED, "journal: none is kept;", NULL},
		{"status --check --api-age 5m --socket sock", EXIT_FAILED, "API: this daemon watches no pods;", NULL},
		{"status --check --socket nobody", EXIT_NO_DAEMON, NULL, "no daemon at nobody"},
		{"status --tier lsm --socket sock", EXIT_USAGE, NULL, "belong to --check"},
		{"status --check --tier none --socket sock", EXIT_USAGE, NULL, "signal, uprobe or lsm"},
		{"status --check --api-age soon --socket sock", EXIT_USAGE, NULL, "a time such as"},
	};
	static const struct row sick[] = {
		{"status --check --tier uprobe --socket sock", EXIT_DONE, NULL, NULL},
		{"status --check --tier lsm --socket sock", EXIT_FAILED, "less than lsm: truncate on uprobe;", NULL},
		{"status --check --journal --socket sock", EXIT_FAILED, "journal: /j is not written: disk \\x1b full\n",
		 NULL},
		{"status --check --api-age 90 --socket sock", EXIT_DONE, NULL, NULL},
		{"status --check --api-age 89s --socket sock", EXIT_FAILED,
		 "API: last heard 90 s ago, more than 89 s: refused\n", NULL},
		{"status --check --journal --api-age 1m --json --socket sock", EXIT_FAILED,
		 "{\"healthy\":false,\"failed\":[\"journal: /j", NULL},
	};
	static const struct row unlisted[] = {
		{"status --check --socket sock", EXIT_FAILED, "less than signal: unlink on none;", NULL},
		{"status --check --journal --api-age 1m --socket sock", EXIT_FAILED,
		 "API: the node's pods are not listed yet: no route\n", NULL},
	};
	static const struct row empty[] = {
		{"status --check --socket sock", EXIT_FAILED, "tier: the daemon says of no operation", NULL},
	};

	(void)state;
	check_rows(cmd_status, well, ARRAY_SIZE(well));
	with_reply(sick_replies[0], sick, ARRAY_SIZE(sick));
	with_reply(sick_replies[1], unlisted, ARRAY_SIZE(unlisted));
	with_reply(sick_replies[2], empty, ARRAY_SIZE(empty));
}

static void test_sessions(void **state)
{
	static const struct row rows[] = {
		{"sessions --socket sock", EXIT_DONE, "SESSION  NAME", NULL},
		{"sessions --socket sock", EXIT_DONE, "s-7-1    cla\\x1b[2Jude  claude-code    7  ", NULL},
		{"sessions --socket sock", EXIT_DONE, "          3    4       1        3  run       /srv\n", NULL},
		{"sessions --socket sock", EXIT_DONE, "c-9-1    -              -            -    -  ", NULL},
		{"sessions --socket sock --json", EXIT_DONE, "}}}\n{\"id\":\"c-9-1\",\"name\":null,", NULL},
	};

	(void)state;
	check_rows(cmd_sessions, rows, ARRAY_SIZE(rows));
}

/* Ends when the daemon does, or by a signal: here by one, once the events have come. */
static int watch_for_a_moment(int argc, char **argv)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGINT};
	struct itimerspec moment = {.it_value.tv_nsec = 500000000};
	timer_t timer;

	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &moment, NULL);
	return cmd_watch(argc, argv);
}

static void test_watch(void **state)
{
	static const struct row rows[] = {
		{"watch --socket sock", EXIT_DONE, "KILL  unlink /srv/a\\x1b", NULL},
		{"watch --socket sock", EXIT_DONE, "41 events left out here", NULL},
		{"watch --socket sock --json", EXIT_DONE, "\"dropped\":41,\"at\":\"control\"}\n", NULL},
		{"watch --socket sock --color=always", EXIT_DONE, "\033[", NULL},
	};

	(void)state;
	check_rows(watch_for_a_moment, rows, ARRAY_SIZE(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_watch),
	};

	return cmocka_run_group_tests_name("cmd_client", tests, set_up, tear_down) ? 1 : 0;
}
