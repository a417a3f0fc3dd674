/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The same texts through the scan in the kernel and through the scan outside: not one difference.
 *
 *     test_sqlscan [CASES [SEED]]        100000 random cases by default
 *
 * Exits 0 passed, 1 failed, 77 where the kernel or a privilege lacks what is needed.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "sqlscan.h"
#include "sqlscan.skel.h"
#include "sqlscan_case.h"
#include "util.h"

#define EXIT_SKIP 77

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(random_state >> 33) % limit;
}

/* Words that hit, words that nearly do, and what may stand between tokens. */
static const char *const pieces[] = {
	"drop",
	"DROP",
	"Drop",
	"dropp",
	"adrop",
	"drop_",
	"dr",
	"op",
	"delete",
	"UPDATE",
	"update1",
	"1update",
	"do",
	"done",
	"call",
	"merge",
	"lo_unlink",
	"LO_UNLINK",
	"lo_truncate64",
	"set_config",
	"U&\"",
	"u&\"x",
	"U&'",
	"U &\"",
	"select",
	"from",
	"t",
	"_",
	"$",
	"$$",
	"'",
	"\"",
	"--",
	"/*",
	"*/",
	";",
	" ",
	"\n",
	"\t",
	"0",
	"9",
	"@",
	"[",
	"`",
	"{",
	"^",
	"\x7f",
	"\x80",
	"\xff",
	"\xc3\xa9",
	"\\",
	"%",
	"(",
	")",
	"names",
	"cron.",
	"rule",
	"execute",
};

static uint32_t random_text(char *text)
{
	uint32_t limit = random_below(8) ? random_below(120) : random_below(SQL_BYTES + 1);
	uint32_t length = 0;

	while (length < limit) {
		const char *piece = pieces[random_below(ARRAY_SIZE(pieces))];
		size_t size = MIN(strlen(piece), limit - length);

		if (random_below(16) == 0) {
			text[length++] = (char)random_below(256);
			continue;
		}
		memcpy(text + length, piece, size);
		length += size;
		if (random_below(2) && length < limit)
			text[length++] = ' ';
	}
	return length;
}

/* Bytes behind the text must not count: fill them with what would hit. */
static void poison(struct sqlscan_case *one)
{
	static const char word[] = " drop ";

	for (uint32_t i = one->length; i < SQL_BYTES; i++)
		one->text[i] = word[(i - one->length) % (sizeof(word) - 1)];
}

static int compare(int program, struct sqlscan_case *one)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet));
	uint32_t outside = sql_scan_text(one->text, one->length);

	one->hit = UINT32_MAX;
	if (bpf_prog_test_run_opts(program, &run) < 0 || run.retval != 0) {
		log_error("the program could not be run: %s", strerror(errno));
		return -EIO;
	}
	if (one->hit == outside)
		return 0;
	log_error("kernel %#x, outside %#x on %u bytes: %.*s", one->hit, outside, one->length, (int)one->length,
		  one->text);
	return -EBADMSG;
}

static int compare_all(int program, struct sqlscan_case *one, long cases)
{
	long hits = 0;

	for (long i = 0; i < cases; i++) {
		int error;

		one->length = random_text(one->text);
		poison(one);
		error = compare(program, one);
		if (error < 0) {
			printf("test_sqlscan: %ld passed, 1 failed, 0 skipped\n", i);
			return error;
		}
		hits += one->hit != 0;
	}
	if (hits == 0 || hits == cases) {
		printf("test_sqlscan: %ld of %ld cases hit: they test nothing: 0 passed, 1 failed\n", hits, cases);
		return -EDOM;
	}
	printf("test_sqlscan: %ld hit; %ld passed, 0 failed, 0 skipped\n", hits, cases);
	return 0;
}

int main(int argc, char **argv)
{
	long cases = argc > 1 ? strtol(argv[1], NULL, 10) : 100000;
	struct sqlscan_case *one;
	struct sqlscan_bpf *skeleton;
	int error;

	random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	skeleton = sqlscan_bpf__open_and_load();
	if (!skeleton) {
		if (errno != EPERM)
			return EXIT_FAILURE;
		log_info("loading programs into the kernel needs root");
		printf("test_sqlscan: 0 passed, 0 failed, %ld skipped\n", cases);
		return EXIT_SKIP;
	}
	one = mmap(NULL, sizeof(*one), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(skeleton->maps.scan_case), 0);
	if (one == MAP_FAILED) {
		log_error("the map could not be mapped: %s", strerror(errno));
		sqlscan_bpf__destroy(skeleton);
		return EXIT_FAILURE;
	}
	error = compare_all(bpf_program__fd(skeleton->progs.scan), one, cases);
	munmap(one, sizeof(*one));
	sqlscan_bpf__destroy(skeleton);
	return error < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
