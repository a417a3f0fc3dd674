/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names in all the forms that a process may use: the event has the absolute path, or says that it is not known. */
#include "live.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>

struct path_case {
	const char *name;
	const char *directory; /* the working directory, below the case's */
	const char *given; /* what is unlinked; %d: a descriptor of a/b */
	const char *lsm; /* the path told, below the case's directory */
	const char *signal; /* the same where links are not resolved; NULL: as `lsm`. With a slash: absolute */
};

/* In each case's directory: alert/a/b/f, and alert/link which leads to a/b. */
static const struct path_case cases[] = {
	{"plain", "alert/a/b", "f", "alert/a/b/f", NULL},
	{"dot", "alert/a", "./b/./f", "alert/a/b/f", NULL},
	{"dotdot", "alert/a/b", "../b/f", "alert/a/b/f", NULL},
	{"dotdot-far", "alert/a/b", "../../../alert/a/b/f", "alert/a/b/f", NULL},
	{"slashes", "alert", "a//b///f", "alert/a/b/f", NULL},
	{"above-root", "alert/a/b", "../../../../../../../../../../..%s/alert/a/b/f", "alert/a/b/f", NULL},
	{"link-in-the-middle", "alert", "link/f", "alert/a/b/f", "alert/link/f"},
	{"proc-cwd", "alert/a/b", "/proc/self/cwd/f", "alert/a/b/f", "/proc/self/cwd/f"},
	{"proc-fd", "alert", "/proc/self/fd/%d/f", "alert/a/b/f", "/proc/self/fd/9/f"},
};

#define PROC_FD 9

/* unlink-name GIVEN DIR: with DIR open as descriptor 9 */
static int act_unlink_name(int argc, char **argv)
{
	int fd = argc > 2 ? open(argv[2], O_RDONLY | O_DIRECTORY) : -1;

	if (fd >= 0)
		dup2(fd, PROC_FD);
	return argc > 1 && !unlink(argv[1]) ? 0 : errno;
}

static void run_path(struct live *live)
{
	const struct path_case *what = live->row->data;
	const char *file = path_of(live, "alert/a/b/f"), *given = what->given, *wanted = what->lsm;
	struct outcome outcome;

	make_file(file, "x");
	check(!symlink("a/b", path_of(live, "alert/link")), "symlink: %s", strerror(errno));
	if (strstr(given, "%s"))
		given = text("../../../../../../../../../../..%s/alert/a/b/f", live->dir);
	if (strstr(given, "%d"))
		given = text("/proc/self/fd/%d/f", PROC_FD);
	if (!on_lsm(live, "unlink") && what->signal)
		wanted = what->signal;
	outcome = session_act(live, path_of(live, what->directory),
			      ARGV("unlink-name", given, path_of(live, "alert/a/b")));
	check(!outcome.status && !exists(file), "unlink %s: %s", given, strerror(outcome.status));
	expect_text(one_op(ops_of(live, outcome.pid)), "target.path", *wanted == '/' ? wanted : path_of(live, wanted));
}

/* A trailing slash names the same directory. */
static void run_trailing(struct live *live)
{
	struct outcome outcome;

	dir_of(live, "alert/empty");
	outcome = session_in(live, path_of(live, "alert"), ARGV("rmdir", "empty/"));
	check(!outcome.status, "rmdir: %s", outcome.output);
	expect_text(one_op(ops_of(live, outcome.pid)), "target.path", path_of(live, "alert/empty"));
}

/* --- mount namespaces, roots --- */

static int private_mounts(void)
{
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ? -errno : 0;
}

static int act_bind(int argc, char **argv)
{
	if (argc < 3 || private_mounts() || mount(argv[1], argv[2], NULL, MS_BIND, NULL))
		return errno;
	return unlink(text("%s/f", argv[2])) ? errno : 0;
}

static void run_bind(struct live *live)
{
	struct outcome outcome;

	make_file(path_of(live, "real/f"), "x");
	dir_of(live, "alert/shown");
	outcome = session_act(live, NULL, ARGV("bind", path_of(live, "real"), path_of(live, "alert/shown")));
	check(!outcome.status && !exists(path_of(live, "real/f")), "it failed: %s", strerror(outcome.status));
	expect_text(one_op(ops_of(live, outcome.pid)), "target.path", path_of(live, "alert/shown/f"));
}

static int act_chroot(int argc, char **argv)
{
	if (argc < 2 || chroot(argv[1]) || chdir("/"))
		return errno;
	return unlink("/sub/../sub/f") ? errno : 0;
}

/* A changed root hides nothing. */
static void run_chroot(struct live *live)
{
	struct outcome outcome;

	make_file(path_of(live, "alert/sub/f"), "x");
	outcome = session_act(live, NULL, ARGV("chroot", path_of(live, "alert")));
	check(!outcome.status, "it failed: %s", strerror(outcome.status));
	expect_text(one_op(ops_of(live, outcome.pid)), "target.path", path_of(live, "alert/sub/f"));
}

/* --- a name that is not in memory yet --- */

/* untouched FILE: FILE holds a path; it is unlinked by the bytes of a mapping that was never read. */
static int act_untouched(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
	char *name = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

	if (name == MAP_FAILED)
		return errno;
	return syscall(SYS_unlink, name) ? errno : 0;
}

static void untouched(struct live *live, const char *victim, struct outcome *ret_outcome)
{
	make_file(victim, "x");
	make_file(path_of(live, "name"), victim);
	*ret_outcome = session_act(live, NULL, ARGV("untouched", path_of(live, "name")));
}

static void run_untouched(struct live *live)
{
	const char *victim = path_of(live, "alert/f");
	struct outcome outcome;
	json_t *event;

	untouched(live, victim, &outcome);
	check(!outcome.status && !exists(victim), "it failed: %s", strerror(outcome.status));
	event = one_op(ops_of(live, outcome.pid));
	expect_text(event, "target.path", victim);
	expect_text(event, "rule", "watched");
	expect_number(event, "result", 0);
	if (on_lsm(live, "unlink"))
		return;
	check(json_is_true(member(event, "late")) &&
		      has_text(member(event, "target.path_notes"), "read-after-the-call"),
	      "not told that it was read late: %s", dump(event));
}

static void run_untouched_killed(struct live *live)
{
	const char *victim = path_of(live, "kill/f");
	struct outcome outcome;

	untouched(live, victim, &outcome);
	check(outcome.status == KILLED, "exit status %d: not killed", outcome.status);
	expect_text(one_op(ops_of(live, outcome.pid)), "verdict", "kill");
	check(exists(victim) == on_lsm(live, "unlink"), "the file is %s", exists(victim) ? "there" : "gone");
}

/* --- paths that cannot be told --- */

/* deep COUNT NAME: goes down COUNT directories called NAME, made on the way, and removes a file there */
static int act_deep(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[1]) : 0, fd;

	for (int i = 0; i < count; i++)
		if ((mkdir(argv[2], 0755) && errno != EEXIST) || chdir(argv[2]))
			return errno;
	fd = open("f", O_WRONLY | O_CREAT, 0644);
	if (fd < 0)
		return errno;
	close(fd);
	return unlink("f") ? errno : 0;
}

/* What cannot be known is judged by what might be: somewhere there is a rule that kills. */
static void unknown_path(struct live *live, const char *count, const char *name)
{
	struct outcome outcome = session_act(live, dir_of(live, "allow"), ARGV("deep", count, name));
	json_t *event = one_op(ops_of(live, outcome.pid));

	expect_null(event, "target.path");
	check(json_is_false(member(event, "target.path_known")), "path_known is not false: %s", dump(event));
	expect_text(event, "verdict", "kill");
	check(has_text(member(event, "notes"), "uncertain"), "not told to be uncertain: %s", dump(event));
	check(outcome.status == KILLED, "exit status %d: not killed", outcome.status);
}

static void run_deep(struct live *live)
{
	unknown_path(live, "70", "d");
}

static void run_long(struct live *live)
{
	char name[241] = "";

	memset(name, 'n', sizeof(name) - 1);
	unknown_path(live, "5", name);
}

/* Deep and long, but within what is kept: told whole. */
static void run_deep_known(struct live *live)
{
	struct outcome outcome = session_act(live, dir_of(live, "alert"), ARGV("deep", "50", "deeper"));
	json_t *event = one_op(ops_of(live, outcome.pid));
	const char *path = member_text(event, "target.path");

	check(!outcome.status, "it failed: %s", strerror(outcome.status));
	check(strlen(path) == strlen(live->dir) + strlen("/alert") + 50 * strlen("/deeper") + strlen("/f"),
	      "the path is not whole: %s", dump(event));
	expect_text(event, "rule", "watched");
}

/* Bytes that are no UTF-8 come escaped, and once more as they are. */
static void run_bytes(struct live *live)
{
	const char *name = path_of(live, "alert/\xff\xfe");
	struct outcome outcome;
	json_t *event;

	make_file(name, "x");
	outcome = session(live, "rm", name);
	check(!outcome.status, "rm: %s", outcome.output);
	event = one_op(ops_of(live, outcome.pid));
	expect_text(event, "target.path", path_of(live, "alert/\u00ff\u00fe"));
	check(*member_text(event, "target.path_raw"), "no path_raw: %s", dump(event));
}

const struct actor path_actors[] = {
	{"unlink-name", act_unlink_name}, {"bind", act_bind}, {"chroot", act_chroot},
	{"untouched", act_untouched},	  {"deep", act_deep}, {},
};

#define ROW(number, name)                                            \
	{                                                            \
		"path-" name, NEEDS_DAEMON, run_path, &cases[number] \
	}

const struct row path_rows[] = {
	ROW(0, "plain"),
	ROW(1, "dot"),
	ROW(2, "dotdot"),
	ROW(3, "dotdot-far"),
	ROW(4, "slashes"),
	ROW(5, "above-root"),
	ROW(6, "link-in-the-middle"),
	ROW(7, "proc-cwd"),
	ROW(8, "proc-fd"),
	{"path-trailing-slash", NEEDS_DAEMON, run_trailing, NULL},
	{"path-bind-mount", NEEDS_DAEMON, run_bind, NULL},
	{"path-chroot", NEEDS_DAEMON, run_chroot, NULL},
	{"path-untouched-page", NEEDS_DAEMON, run_untouched, NULL},
	{"path-untouched-page-killed", NEEDS_DAEMON, run_untouched_killed, NULL},
	{"path-too-deep", NEEDS_DAEMON, run_deep, NULL},
	{"path-too-long", NEEDS_DAEMON, run_long, NULL},
	{"path-deep", NEEDS_DAEMON, run_deep_known, NULL},
	{"path-not-utf8", NEEDS_DAEMON, run_bytes, NULL},
	{},
};
