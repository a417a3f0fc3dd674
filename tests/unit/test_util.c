/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Messages: whatever a name or a text in them holds, a terminal and a reader of logs see one message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util.h"

static void expect_message(const char *text, const char *wanted)
{
	char seen[256] = "";
	int kept = dup(STDERR_FILENO), pipes[2];
	ssize_t length;

	assert_int_equal(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	log_warning("pod %s", text);
	fflush(stderr);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(pipes[1]);
	length = read(pipes[0], seen, sizeof(seen) - 1);
	close(pipes[0]);
	assert_true(length > 0);
	assert_string_equal(seen, wanted);
}

static void test_messages(void **state)
{
	(void)state;
	expect_message("coder-1", "reprieve: warning: pod coder-1\n");
	expect_message("caf\xc3\xa9 \xe2\x82\xac", "reprieve: warning: pod caf\xc3\xa9 \xe2\x82\xac\n");
	expect_message("a\x1b[2Jb\x7f\tc", "reprieve: warning: pod a?[2Jb??c\n");
	expect_message("a\xc2\x9b"
		       "2Jb\xc2\xa0",
		       "reprieve: warning: pod a?2Jb\xc2\xa0\n");
	expect_message("a\nreprieve: hold 1 approved", "reprieve: warning: pod a\n  reprieve: hold 1 approved\n");
	expect_message("a\n  look here", "reprieve: warning: pod a\n  look here\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_messages)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
