/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A journal whose writer is killed at random moments: what it had said was on disk is there each time, in order and
 * without a gap, the journal is sound, and the next writer goes on with it.
 *
 * usage: test_journal_crash [KILLS], 50 unless said otherwise; `make crash` kills 1,000 times
 */
#include <assert.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "journal.h"

#define KILLS_DEFAULT 50
#define KILLS_OF_ONE 25 /* then another journal is begun */
#define LIFE_NS (40 * NSEC_PER_MSEC) /* of a writer, at most */

/* Between writer and killer. */
struct shared {
	uint64_t acknowledged; /* records that are on disk */
};

struct run {
	char path[64], journal[80], key[80];
	struct shared *shared;
	unsigned int seed;
	uint64_t records; /* found the last time */
	uint64_t torn, acknowledged;
};

static void put_record(struct journal *journal, uint64_t number, size_t extra)
{
	char bytes[sizeof(struct record_exit) + 2048] = {};
	struct record_exit record = {.head = {.size = (__u32)(sizeof(record) + extra),
					      .kind = RECORD_EXIT,
					      .fixed = sizeof(record),
					      .time = number + 1},
				     .code = (__u32)number};

	memset(bytes, (int)number, sizeof(bytes));
	memcpy(bytes, &record, sizeof(record));
	journal_record(journal, bytes, sizeof(record) + extra, 0);
}

/* Never returns: it is killed. */
static void write_on(const struct run *run, unsigned int seed)
{
	struct journal_options options = {
		.directory = run->journal, .key = run->key, .limits = {.window = 2 * NSEC_PER_MSEC, .size = 65536}};
	struct journal_state state;
	struct journal *journal;

	if (journal_new(&options, &journal, NULL))
		_exit(1);
	for (uint64_t i = 0;;) {
		for (int burst = rand_r(&seed) % 40; burst >= 0; burst--)
			put_record(journal, run->records + i++, (size_t)rand_r(&seed) % 2048);
		journal_push(journal, rand_r(&seed) % 4 == 0);
		if (journal_wants_rotation(journal))
			journal_rotate(journal);
		journal_get_state(journal, &state);
		__atomic_store_n(&run->shared->acknowledged, run->records + state.committed, __ATOMIC_RELEASE);
		if (rand_r(&seed) % 8 == 0)
			nanosleep(&(struct timespec){.tv_nsec = rand_r(&seed) % 2000000}, NULL);
	}
}

static int kill_one(struct run *run)
{
	struct timespec life = {.tv_nsec = (long)((uint64_t)rand_r(&run->seed) % LIFE_NS)};
	unsigned int seed = (unsigned int)rand_r(&run->seed);
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		write_on(run, seed);
	nanosleep(&life, NULL);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) {
		fprintf(stderr, "the writer ended by itself\n");
		return -EIO;
	}
	return 0;
}

/* Counts the records; each has to be the one behind the one before. */
static int count_records(struct run *run, uint64_t *ret_count)
{
	_cleanup_journal_reader_ struct journal_reader *reader = NULL;
	struct journal_fault fault;
	struct journal_item item;
	struct record_exit record;
	uint64_t count = 0;
	int result = journal_open(run->journal, &reader, &fault);

	/* Killed before the first header was whole. */
	if (result == -ENOENT) {
		*ret_count = 0;
		return 0;
	}
	if (result)
		return result;
	while ((result = journal_next(reader, &item))) {
		if (result == -EBADMSG && journal_reader_fault(reader)->kind == JOURNAL_FAULT_TORN) {
			run->torn += 1;
			continue;
		}
		if (result < 0) {
			fprintf(stderr, "%s: %s\n", journal_reader_fault(reader)->segment,
				journal_reader_fault(reader)->what);
			return result;
		}
		memcpy(&record, item.payload.data, sizeof(record));
		if (item.kind != JOURNAL_RECORD || record.code != (__u32)count++) {
			fprintf(stderr, "record %u stands where %llu should\n", record.code,
				(unsigned long long)count - 1);
			return -EBADMSG;
		}
	}
	*ret_count = count;
	return 0;
}

static int check(struct run *run)
{
	uint64_t acknowledged = __atomic_load_n(&run->shared->acknowledged, __ATOMIC_ACQUIRE), count;
	struct journal_check check;
	int error = count_records(run, &count);

	if (error)
		return error;
	if (count < acknowledged) {
		fprintf(stderr, "%llu records were on disk, %llu are there\n", (unsigned long long)acknowledged,
			(unsigned long long)count);
		return -ENODATA;
	}
	if (count) {
		error = journal_verify(run->journal, NULL, NULL, NULL, &check);
		if (error || check.faults) {
			fprintf(stderr, "verify: %s at %llu: %s\n", check.fault.segment,
				(unsigned long long)check.fault.offset, check.fault.what);
			return -EBADMSG;
		}
	}
	run->acknowledged += acknowledged > run->records ? acknowledged - run->records : 0;
	run->records = count;
	return 0;
}

static void start_over(struct run *run)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -rf '%s'", run->journal);
	if (system(command))
		fprintf(stderr, "%s: not removed\n", run->journal);
	run->records = 0;
	run->shared->acknowledged = 0;
}

int main(int argc, char **argv)
{
	unsigned int kills = argc > 1 ? (unsigned int)atoi(argv[1]) : KILLS_DEFAULT, passed = 0, failed = 0;
	struct run run = {.path = "/tmp/reprieve-crash-XXXXXX", .seed = (unsigned int)time(NULL)};
	uint64_t records = 0;

	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.shared == MAP_FAILED || !mkdtemp(run.path))
		return 1;
	snprintf(run.journal, sizeof(run.journal), "%s/journal", run.path);
	snprintf(run.key, sizeof(run.key), "%s/sign.key", run.path);
	printf("seed %u\n", run.seed);
	for (unsigned int i = 0; i < kills && !failed; i++) {
		if (i % KILLS_OF_ONE == 0) {
			records += run.records;
			start_over(&run);
		}
		if (kill_one(&run) || check(&run))
			failed += 1;
		else
			passed += 1;
	}
	records += run.records;
	printf("%llu records read, %llu of them acknowledged before a kill, %llu torn ends met\n",
	       (unsigned long long)records, (unsigned long long)run.acknowledged, (unsigned long long)run.torn);
	if (failed) {
		printf("the journal is left in %s\n", run.journal);
	} else {
		start_over(&run);
		unlink(run.key);
		snprintf(run.key, sizeof(run.key), "%s/sign.pub", run.path);
		unlink(run.key);
		rmdir(run.path);
	}
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed != 0;
}
