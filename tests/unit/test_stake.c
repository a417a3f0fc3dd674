/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "stake.h"

/* uploads/{1,2,link->1,hard->2} uploads/sub/{3,4} lone other/5 */
struct fixture {
	char dir[64];
	int root, cwd; /* both are the directory */
};

static void put(const struct fixture *fixture, const char *name, size_t size)
{
	int fd = openat(fixture->cwd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static int setup(void **state)
{
	static struct fixture fixture;

	snprintf(fixture.dir, sizeof(fixture.dir), "/tmp/reprieve-stake-XXXXXX");
	assert_non_null(mkdtemp(fixture.dir));
	fixture.root = fixture.cwd = open(fixture.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	mkdirat(fixture.cwd, "uploads", 0755);
	mkdirat(fixture.cwd, "uploads/sub", 0755);
	mkdirat(fixture.cwd, "other", 0755);
	put(&fixture, "uploads/1", 1000);
	put(&fixture, "uploads/2", 200);
	put(&fixture, "uploads/sub/3", 30);
	put(&fixture, "uploads/sub/4", 4);
	put(&fixture, "lone", 5);
	put(&fixture, "other/5", 7);
	assert_int_equal(symlinkat("1", fixture.cwd, "uploads/link"), 0);
	assert_int_equal(symlinkat("other", fixture.cwd, "way"), 0);
	assert_int_equal(linkat(fixture.cwd, "uploads/2", fixture.cwd, "uploads/hard", 0), 0);
	*state = &fixture;
	return 0;
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *place)
{
	(void)facts;
	(void)type;
	(void)place;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	close(fixture->cwd);
	return nftw(fixture->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct row {
	const char *args; /* words parted by blanks */
	int result;
	uint64_t files, directories, bytes;
};

static void check_row(struct fixture *fixture, const struct row *row)
{
	char args[256];
	struct hold_stake stake = {};
	size_t length = (size_t)snprintf(args, sizeof(args), "%s", row->args) + 1;
	struct span span = {args, length};

	for (size_t i = 0; i < length; i++)
		if (args[i] == ' ')
			args[i] = '\0';
	if (stake_count(fixture->root, fixture->cwd, span, NSEC_PER_SEC, &stake) != row->result)
		fail_msg("`%s`: not %d", row->args, row->result);
	if (row->result)
		return;
	if (stake.files != row->files || stake.directories != row->directories || stake.bytes != row->bytes)
		fail_msg("`%s`: %ju files, %ju directories, %ju bytes", row->args, (uintmax_t)stake.files,
			 (uintmax_t)stake.directories, (uintmax_t)stake.bytes);
	assert_false(stake.at_least);
}

/* Links are names, not what they lead to; of a file with another name no byte is lost. */
static void test_operands(void **state)
{
	static const struct row rows[] = {
		{"rm -rf uploads", 0, 6, 2, 1034},
		{"/usr/bin/rm -r -f uploads/", 0, 6, 2, 1034},
		{"rm --recursive uploads", 0, 6, 2, 1034},
		{"rm -rf lone uploads/sub", 0, 3, 1, 39},
		{"rm lone uploads/1", 0, 2, 0, 1005},
		{"rm -f -- lone", 0, 1, 0, 5},
		{"rm -rf way", 0, 1, 0, 0},
		{"rm -rf other/../uploads/sub", 0, 2, 1, 34},
		{"rm -rf /uploads/sub", 0, 2, 1, 34},
		{"rm -rf /../../uploads/sub", 0, 2, 1, 34},
		{"rm -rf not-there", 0, 0, 0, 0},
		{"rmdir uploads/sub", 0, 0, 1, 0},
		{"unlink lone", 0, 1, 0, 5},
		{"shred -u lone", 0, 1, 0, 5},
		{"busybox rm -rf uploads", 0, 6, 2, 1034},
		{"python3 clean.py uploads", -ENOENT, 0, 0, 0},
		{"", -ENOENT, 0, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(*state, &rows[i]);
}

static void test_find(void **state)
{
	static const struct row rows[] = {
		{"find uploads other -name x -delete", 0, 7, 3, 1041},
		{"find -P uploads -type f -exec rm {} ;", 0, 6, 2, 1034},
		{"find -delete", 0, 9, 4, 1046},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(*state, &rows[i]);
}

/* Arguments that the record could not hold whole: the last one is not what the program was given. */
static void test_cut(void **state)
{
	struct fixture *fixture = *state;
	static const char args[] = "rm\0-rf\0uploads/sub";
	struct span cut = {args, sizeof(args) - 1};
	struct hold_stake stake;

	assert_int_equal(stake_count(fixture->root, fixture->cwd, cut, NSEC_PER_SEC, &stake), 0);
	assert_int_equal(stake.files, 0);
}

static void test_no_time(void **state)
{
	struct fixture *fixture = *state;
	static const char args[] = "rm\0-rf\0uploads";
	struct span all = {args, sizeof(args)};
	struct hold_stake stake;

	assert_int_equal(stake_count(fixture->root, fixture->cwd, all, 0, &stake), 0);
	assert_true(stake.at_least);
	assert_non_null(stake.note);
}

static void test_other_file_system(void **state)
{
	struct fixture *fixture = *state;
	static const char args[] = "rm\0-rf\0uploads";
	struct span all = {args, sizeof(args)};
	struct hold_stake stake;
	char path[128];

	snprintf(path, sizeof(path), "%s/uploads/sub", fixture->dir);
	if (mount("none", path, "tmpfs", 0, NULL))
		skip();
	assert_int_equal(stake_count(fixture->root, fixture->cwd, all, NSEC_PER_SEC, &stake), 0);
	assert_int_equal(umount(path), 0);
	assert_int_equal(stake.files, 4);
	assert_true(stake.at_least);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_operands), TEST(test_find), TEST(test_cut), TEST(test_no_time),
					   TEST(test_other_file_system)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
