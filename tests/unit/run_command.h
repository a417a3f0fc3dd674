/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Runs a command's function in a process of its own; rows say what must come of it. */
#ifndef REPRIEVE_RUN_COMMAND_H
#define REPRIEVE_RUN_COMMAND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "util.h"

struct outcome {
	int code;
	char out[16384];
	char err[16384];
};

static inline void read_back(FILE *file, char *text, size_t size)
{
	rewind(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

/* Words are parted by blanks. */
static inline struct outcome run(int (*program)(int argc, char **argv), const char *words)
{
	_cleanup_free_ char *copy = strdup(words);
	FILE *out = tmpfile(), *err = tmpfile();
	struct outcome outcome = {};
	char *argv[16] = {}, *rest = NULL;
	int argc = 0, status;
	pid_t child;

	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		exit(program(argc, argv));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	outcome.code = WEXITSTATUS(status);
	read_back(out, outcome.out, sizeof(outcome.out));
	read_back(err, outcome.err, sizeof(outcome.err));
	return outcome;
}

struct row {
	const char *words;
	int code;
	const char *out; /* NULL: nothing may be there */
	const char *err;
};

static inline void check_text(const char *words, const char *name, const char *text, const char *part)
{
	if (part ? !strstr(text, part) : *text)
		fail_msg("`%s` wrote to %s \"%s\", expected %s", words, name, text, part ? part : "nothing");
}

static inline void check_rows(int (*program)(int argc, char **argv), const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct outcome outcome = run(program, rows[i].words);

		if (outcome.code != rows[i].code)
			fail_msg("`%s` ended with %d, expected %d: %s", rows[i].words, outcome.code, rows[i].code,
				 outcome.err);
		check_text(rows[i].words, "stdout", outcome.out, rows[i].out);
		check_text(rows[i].words, "stderr", outcome.err, rows[i].err);
	}
}

/* Where the process is root: gives it up for good. */
static inline int become_nobody(void)
{
	return geteuid() == 0 && (setgid(65534) || setuid(65534)) ? -EPERM : 0;
}

#endif
