/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every system call that loses something, once each, in a session under a rule that alerts: exactly one event, with the
 * right operation, absolute paths and result; nothing where nothing is lost.
 */
#include "live.h"

#include <linux/falloc.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

/* Every case finds these in its directory: */
#define F_BYTES 5 /* f: a file of this size, with a second name */
#define G_BYTES 3 /* g */
#define BIG_BYTES 16384 /* big: of four blocks */

struct call_case {
	const char *name;
	long (*call)(void); /* in that directory; returns as the kernel does: a negative errno for an error */
	const char *op; /* NULL: nothing is lost, no event may come */
	const char *path, *new_path;
	long result;
	long long size; /* before the operation, lsm tier; on the signal tier where `size_known` */
	bool size_known;
	long long replaced; /* size of what bore the new name, lsm tier; -1: nothing was replaced */
	bool exchange;
	bool signal_only; /* fails before any LSM hook */
	bool opens; /* the lsm tier takes the open for the loss, and learns no result */
};

static long ret(long value)
{
	return value < 0 ? -errno : value;
}

static int dir_fd(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY);
}

static const char *here(const char *name)
{
	char cwd[PATH_MAX];

	return text("%s/%s", getcwd(cwd, sizeof(cwd)), name);
}

static long call_unlink(void)
{
	return ret(syscall(SYS_unlink, "f"));
}
static long call_unlinkat(void)
{
	return ret(syscall(SYS_unlinkat, AT_FDCWD, here("f"), 0));
}
static long call_unlinkat_fd(void)
{
	return ret(syscall(SYS_unlinkat, dir_fd("sub"), "s", 0));
}
static long call_unlink_missing(void)
{
	return ret(syscall(SYS_unlink, "missing"));
}
static long call_unlink_link(void)
{
	return ret(syscall(SYS_unlink, "link"));
}
static long call_rmdir(void)
{
	return ret(syscall(SYS_rmdir, "d"));
}
static long call_rmdir_full(void)
{
	return ret(syscall(SYS_rmdir, "sub"));
}
static long call_removedir(void)
{
	return ret(syscall(SYS_unlinkat, AT_FDCWD, "d", AT_REMOVEDIR));
}
static long call_rename(void)
{
	return ret(syscall(SYS_rename, "f", "new"));
}
static long call_rename_over(void)
{
	return ret(syscall(SYS_rename, "f", "g"));
}
static long call_rename_dir(void)
{
	return ret(syscall(SYS_rename, "sub", "moved"));
}
static long call_renameat(void)
{
	return ret(syscall(SYS_renameat, AT_FDCWD, "f", dir_fd("sub"), "new"));
}
static long call_renameat2(void)
{
	return ret(syscall(SYS_renameat2, dir_fd("sub"), "s", AT_FDCWD, "new", 0));
}
static long call_renameat2_over(void)
{
	return ret(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "g", 0));
}

static long call_rename_noreplace(void)
{
	return ret(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "new", RENAME_NOREPLACE));
}

static long call_rename_noreplace_there(void)
{
	return ret(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE));
}

static long call_rename_exchange(void)
{
	return ret(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "g", RENAME_EXCHANGE));
}

static long call_truncate(void)
{
	return ret(syscall(SYS_truncate, "f", 1));
}
static long call_ftruncate(void)
{
	return ret(syscall(SYS_ftruncate, open("f", O_WRONLY), 2));
}
static long call_ftruncate_grows(void)
{
	return ret(syscall(SYS_ftruncate, open("f", O_WRONLY), 100));
}
static long call_ftruncate_same(void)
{
	return ret(syscall(SYS_ftruncate, open("f", O_WRONLY), F_BYTES));
}
static long call_creat(void)
{
	return ret(syscall(SYS_creat, "f", 0644));
}
static long call_creat_new(void)
{
	return ret(syscall(SYS_creat, "new", 0644));
}
static long call_open(void)
{
	return ret(syscall(SYS_open, "f", O_WRONLY | O_TRUNC));
}
static long call_open_new(void)
{
	return ret(syscall(SYS_open, "new", O_WRONLY | O_CREAT | O_TRUNC, 0644));
}
static long call_open_plain(void)
{
	return ret(syscall(SYS_open, "f", O_RDWR));
}
static long call_openat(void)
{
	return ret(syscall(SYS_openat, dir_fd("sub"), "s", O_WRONLY | O_TRUNC | O_CREAT, 0644));
}
static long call_open_null(void)
{
	return ret(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY | O_TRUNC));
}
static long call_open_append(void)
{
	return ret(syscall(SYS_openat, AT_FDCWD, "f", O_WRONLY | O_APPEND));
}

static long open_how(const char *path, uint64_t flags, uint64_t mode)
{
	struct open_how how = {.flags = flags, .mode = mode};

	return ret(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
}

static long call_openat2(void)
{
	return open_how("f", O_WRONLY | O_TRUNC, 0);
}
static long call_openat2_new(void)
{
	return open_how("new", O_WRONLY | O_CREAT | O_TRUNC, 0644);
}

static long fallocate_big(int mode)
{
	return ret(syscall(SYS_fallocate, open("big", O_RDWR), mode, 0, BIG_BYTES / 4));
}

static long call_punch(void)
{
	return fallocate_big(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}
static long call_collapse(void)
{
	return fallocate_big(FALLOC_FL_COLLAPSE_RANGE);
}
static long call_zero(void)
{
	return fallocate_big(FALLOC_FL_ZERO_RANGE);
}
static long call_allocate(void)
{
	return fallocate_big(0);
}

#define GONE(function, operation, file, bytes) \
	.call = function, .op = operation, .path = file, .size = bytes, .replaced = -1

#define KEPT(function) .call = function, .replaced = -1

static const struct call_case cases[] = {
	{"unlink", GONE(call_unlink, "unlink", "f", F_BYTES)},
	{"unlinkat", GONE(call_unlinkat, "unlink", "f", F_BYTES)},
	{"unlinkat-dirfd", GONE(call_unlinkat_fd, "unlink", "sub/s", 4)},
	{"unlink-missing", GONE(call_unlink_missing, "unlink", "missing", 0), .result = -ENOENT, .signal_only = true},
	{"unlink-symlink", GONE(call_unlink_link, "unlink", "link", 1)},
	{"rmdir", GONE(call_rmdir, "rmdir", "d", -1)},
	{"rmdir-not-empty", GONE(call_rmdir_full, "rmdir", "sub", -1), .result = -ENOTEMPTY},
	{"unlinkat-removedir", GONE(call_removedir, "rmdir", "d", -1)},
	{"rename", GONE(call_rename, "rename", "f", F_BYTES), .new_path = "new"},
	{"rename-over", call_rename_over, "rename", "f", "g", .size = F_BYTES, .replaced = G_BYTES},
	{"rename-directory", GONE(call_rename_dir, "rename", "sub", -1), .new_path = "moved"},
	{"renameat", GONE(call_renameat, "rename", "f", F_BYTES), .new_path = "sub/new"},
	{"renameat2", GONE(call_renameat2, "rename", "sub/s", 4), .new_path = "new"},
	{"renameat2-over", call_renameat2_over, "rename", "f", "g", .size = F_BYTES, .replaced = G_BYTES},
	{"renameat2-noreplace", GONE(call_rename_noreplace, "rename", "f", F_BYTES), .new_path = "new"},
	{"renameat2-noreplace-there", GONE(call_rename_noreplace_there, "rename", "f", F_BYTES), .new_path = "g",
	 .result = -EEXIST, .signal_only = true},
	{"renameat2-exchange", GONE(call_rename_exchange, "rename", "f", F_BYTES), .new_path = "g", .exchange = true},
	{"truncate", GONE(call_truncate, "truncate", "f", F_BYTES)},
	{"ftruncate", GONE(call_ftruncate, "truncate", "f", F_BYTES), .size_known = true},
	{"ftruncate-grows", KEPT(call_ftruncate_grows)},
	{"ftruncate-same", KEPT(call_ftruncate_same)},
	{"creat", GONE(call_creat, "truncate", "f", F_BYTES)},
	{"creat-new", KEPT(call_creat_new)},
	{"open-truncates", GONE(call_open, "truncate", "f", F_BYTES)},
	{"open-new", KEPT(call_open_new)},
	{"open-plain", GONE(call_open_plain, "overwrite", "f", F_BYTES), .opens = true},
	{"open-append", KEPT(call_open_append)},
	{"open-dev-null", KEPT(call_open_null)},
	{"openat-truncates", GONE(call_openat, "truncate", "sub/s", 4)},
	{"openat2-truncates", GONE(call_openat2, "truncate", "f", F_BYTES)},
	{"openat2-new", KEPT(call_openat2_new)},
	{"fallocate-punch", GONE(call_punch, "overwrite", "big", BIG_BYTES), .size_known = true},
	{"fallocate-collapse", GONE(call_collapse, "overwrite", "big", BIG_BYTES), .size_known = true},
	{"fallocate-zero", GONE(call_zero, "overwrite", "big", BIG_BYTES), .size_known = true},
	{"fallocate-only", KEPT(call_allocate)},
};

/* call NAME: prints what the call returned. */
static int act_call(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(cases); i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		printf("returned %ld\n", cases[i].call());
		return 0;
	}
	return 2;
}

static void furnish(const char *dir)
{
	char big[BIG_BYTES + 1];

	memset(big, 'x', BIG_BYTES);
	big[BIG_BYTES] = '\0';
	make_file(text("%s/f", dir), "hello");
	make_file(text("%s/g", dir), "abc");
	make_file(text("%s/big", dir), big);
	make_dirs(text("%s/d", dir));
	make_file(text("%s/sub/s", dir), "sand");
	if (link(text("%s/f", dir), text("%s/f2", dir)) || symlink("f", text("%s/link", dir)))
		fail("%s: %s", dir, strerror(errno));
}

/* What the lsm tier learns of the objects, and the signal tier mostly does not. */
static void expect_objects(json_t *event, const struct call_case *what, ino_t inode, bool lsm)
{
	if (what->exchange)
		check(json_is_true(member(event, "target.exchange")), "an exchange is not told: %s", dump(event));
	if (!lsm) {
		if (what->size_known)
			expect_number(event, "target.size", what->size);
		else
			expect_null(event, "target.size");
		return;
	}
	if (what->size >= 0)
		expect_number(event, "target.size", what->size);
	expect_number(event, "target.ino", (long long)inode);
	if (!strcmp(what->path, "f"))
		expect_number(event, "target.nlink", 2);
	if (what->replaced >= 0)
		expect_number(event, "target.replaced.size", what->replaced);
	else
		check(!member(event, "target.replaced"), "something replaced: %s", dump(event));
}

/* Where the lsm tier says that it does not learn them, and only there, they are null. */
static void expect_result(struct live *live, json_t *event, bool lsm, const struct call_case *what, long returned)
{
	if (what->opens || (lsm && !has_results(live, member_text(event, "op"))))
		expect_null(event, "result");
	else
		expect_number(event, "result",
			      returned > 0 ? 0 : returned); /* an open's descriptor is no one's business */
}

/* Before 5.19 (commit 100f59d96405) the LSM hook of an exchange comes once for each of the two names, without flags. */
static bool is_exchange_in_two(struct live *live, const struct call_case *what, json_t *ops)
{
	if (!what->exchange || !on_lsm(live, "rename") || json_array_size(ops) != 2)
		return false;
	for (size_t i = 0; i < 2; i++) {
		json_t *event = json_array_get(ops, i);

		expect_text(event, "op", "rename");
		check(json_is_object(member(event, "target.replaced")), "an exchange that replaces nothing: %s",
		      dump(event));
		check(strcmp(member_text(event, "target.path"), member_text(json_array_get(ops, !i), "target.path")),
		      "twice the same name: %s", dump(ops));
	}
	return kernel_before(5, 19);
}

static void expect_event(struct live *live, const struct call_case *what, json_t *ops, long returned, ino_t inode)
{
	bool lsm = on_lsm(live, what->op);
	json_t *event;

	if (is_exchange_in_two(live, what, ops))
		return;
	event = one_op(ops);
	expect_text(event, "op", what->op);
	expect_text(event, "verdict", "alert");
	expect_text(event, "rule", "watched");
	expect_text(event, "tier", raw_tier_of(live, what->op));
	expect_text(event, "target.path", path_of(live, text("alert/%s", what->path)));
	if (what->new_path)
		expect_text(event, "target.new_path", path_of(live, text("alert/%s", what->new_path)));
	expect_result(live, event, lsm, what, returned);
	expect_number(event, "process.uid", 0);
	expect_objects(event, what, inode, lsm);
}

/* Where the lsm tier guards, to open a file that has content for writing is an operation by itself. */
static json_t *without_opens(json_t *ops)
{
	json_t *rest = json_array();

	for (size_t i = 0; i < json_array_size(ops); i++) {
		const char *hook = json_string_value(member(json_array_get(ops, i), "hook"));

		if (!hook || strcmp(hook, "file_open"))
			json_array_append(rest, json_array_get(ops, i));
	}
	return rest;
}

static void run_call(struct live *live)
{
	const struct call_case *what = live->row->data;
	const char *dir = dir_of(live, "alert");
	struct outcome outcome;
	struct stat facts = {};
	long returned = 0;
	json_t *ops;

	furnish(dir);
	if (what->path)
		lstat(text("%s/%s", dir, what->path), &facts);
	outcome = session_act(live, dir, ARGV("call", what->name));
	check(!outcome.status && sscanf(outcome.output, "returned %ld", &returned) == 1, "exit status %d, it says: %s",
	      outcome.status, outcome.output);
	if (returned == -EOPNOTSUPP || returned == -ENOSYS)
		skip("this file system or kernel has no such call");
	/* Of an open, the descriptor. */
	check(returned == what->result || (returned > 0 && !what->result), "the call returned %ld, not %ld", returned,
	      what->result);
	ops = ops_of(live, outcome.pid);
	if (!what->opens)
		ops = without_opens(ops);
	if (!what->op || (what->opens && !on_lsm(live, "overwrite")) || !strcmp(tier_of(live, what->op), "none") ||
	    (what->signal_only && on_lsm(live, what->op)))
		check(!json_array_size(ops), "nothing is lost, or nothing guards it, and yet: %s", dump(ops));
	else
		expect_event(live, what, ops, returned, facts.st_ino);
}

const struct actor call_actors[] = {{"call", act_call}, {}};

#define ROW(number, name)                                            \
	{                                                            \
		"call-" name, NEEDS_DAEMON, run_call, &cases[number] \
	}

const struct row call_rows[] = {
	ROW(0, "unlink"),
	ROW(1, "unlinkat"),
	ROW(2, "unlinkat-dirfd"),
	ROW(3, "unlink-missing"),
	ROW(4, "unlink-symlink"),
	ROW(5, "rmdir"),
	ROW(6, "rmdir-not-empty"),
	ROW(7, "unlinkat-removedir"),
	ROW(8, "rename"),
	ROW(9, "rename-over"),
	ROW(10, "rename-directory"),
	ROW(11, "renameat"),
	ROW(12, "renameat2"),
	ROW(13, "renameat2-over"),
	ROW(14, "renameat2-noreplace"),
	ROW(15, "renameat2-noreplace-there"),
	ROW(16, "renameat2-exchange"),
	ROW(17, "truncate"),
	ROW(18, "ftruncate"),
	ROW(19, "ftruncate-grows"),
	ROW(20, "ftruncate-same"),
	ROW(21, "creat"),
	ROW(22, "creat-new"),
	ROW(23, "open-truncates"),
	ROW(24, "open-new"),
	ROW(25, "open-plain"),
	ROW(26, "open-append"),
	ROW(27, "open-dev-null"),
	ROW(28, "openat-truncates"),
	ROW(29, "openat2-truncates"),
	ROW(30, "openat2-new"),
	ROW(31, "fallocate-punch"),
	ROW(32, "fallocate-collapse"),
	ROW(33, "fallocate-zero"),
	ROW(34, "fallocate-only"),
	{},
};
