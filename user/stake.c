/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "stake.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "action.h"

#define DEPTH_MAX 128 /* of directories: one descriptor each */
#define LOOKS_BETWEEN 64 /* entries between two looks at the clock */
#define BUDGET_IN_LINE_NS (200 * NSEC_PER_MSEC) /* while others wait to be counted */

/* --- counting --- */

struct count {
	struct hold_stake stake;
	uint64_t until; /* CLOCK_MONOTONIC, nanoseconds */
	uint64_t looks;
	dev_t device; /* of the operand */
	bool recursive;
};

/* What was left out is said, with the first reason. */
static void leave_out(struct count *count, const char *why)
{
	count->stake.at_least = true;
	if (!count->stake.note)
		count->stake.note = why;
}

static bool is_late(struct count *count)
{
	if (count->looks++ % LOOKS_BETWEEN || monotonic_ns() < count->until)
		return false;
	leave_out(count, "the count took too long and was stopped");
	return true;
}

static void count_tree(struct count *count, int parent, const char *name, unsigned int depth);

static void count_directory(struct count *count, int fd, unsigned int depth)
{
	DIR *directory = fdopendir(fd);
	struct dirent *entry;

	if (!directory) {
		close(fd);
		return;
	}
	while ((entry = readdir(directory)) && monotonic_ns() < count->until)
		if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
			count_tree(count, dirfd(directory), entry->d_name, depth + 1);
	closedir(directory);
}

static void enter_directory(struct count *count, int parent, const char *name, unsigned int depth)
{
	int fd;

	if (depth >= DEPTH_MAX) {
		leave_out(count, "the tree is deeper than 128 directories");
		return;
	}
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
	if (fd < 0)
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		leave_out(count, "not every directory could be read");
	else
		count_directory(count, fd, depth);
}

/* One name and, where it is a directory that is removed with all in it, what lies below. */
static void count_tree(struct count *count, int parent, const char *name, unsigned int depth)
{
	struct stat facts;

	if (is_late(count) || fstatat(parent, name, &facts, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return;
	if (!S_ISDIR(facts.st_mode)) {
		count->stake.files += 1;
		if (facts.st_nlink <= 1 && S_ISREG(facts.st_mode))
			count->stake.bytes += (uint64_t)facts.st_size;
		return;
	}
	if (!depth)
		count->device = facts.st_dev;
	if (facts.st_dev != count->device) {
		leave_out(count, "other file systems below are not counted");
		return;
	}
	count->stake.directories += 1;
	if (count->recursive)
		enter_directory(count, parent, name, depth);
}

/* --- operands --- */

/* The next of the texts, each ended by a NUL; NULL behind the last. */
static const char *next_word(struct span *rest)
{
	const char *word = rest->data;
	size_t length;

	if (!rest->length)
		return NULL;
	length = strnlen(word, rest->length);
	/* The record's end may have cut the last one: it is not what the program was given. */
	if (length == rest->length)
		return NULL;
	rest->data += length + 1;
	rest->length -= length + 1;
	return word;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* An absolute path begins at the process's root, and may not lead out of it. */
static void count_operand(struct count *count, int root, int cwd, const char *operand)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	_cleanup_free_ char *copy = strdup(operand);
	_cleanup_close_ int parent = -1;
	size_t length = copy ? strlen(copy) : 0;
	char *slash;

	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = '\0';
	if (!length)
		return;
	slash = strrchr(copy, '/');
	if (!slash) {
		count_tree(count, cwd, copy, 0);
		return;
	}
	*slash = '\0';
	parent = operand[0] == '/' ? (int)syscall(SYS_openat2, root, *copy ? copy : "/", &how, sizeof(how))
				   : openat(cwd, copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent >= 0)
		count_tree(count, parent, slash[1] ? slash + 1 : ".", 0);
}

/* A program whose arguments name what it removes. */
struct remover {
	const char *name;
	bool descends; /* always; else only with an option that says so */
	bool before_options; /* operands end at the first option (find) */
	const char *note;
};

static const struct remover removers[] = {
	{"rm", false, false, NULL},	  {"rmdir", false, false, NULL},
	{"unlink", false, false, NULL},	  {"shred", false, false, NULL},
	{"truncate", false, false, NULL}, {"find", true, true, "all below the starting points; find may choose less"},
};

static const struct remover *find_remover(struct span *args)
{
	const char *word = next_word(args);

	if (word && (streq(base_name(word), "busybox") || streq(base_name(word), "toybox")))
		word = next_word(args);
	for (size_t i = 0; word && i < ARRAY_SIZE(removers); i++)
		if (streq(base_name(word), removers[i].name))
			return &removers[i];
	return NULL;
}

static bool is_option(const char *word, const struct remover *program)
{
	return (word[0] == '-' && word[1]) || (program->before_options && (streq(word, "(") || streq(word, "!")));
}

/* -r, -R, -fr, --recursive, and what getopt takes for it */
static bool says_recursive(struct span args)
{
	const char *word;

	while ((word = next_word(&args)) && !streq(word, "--")) {
		if (word[0] != '-')
			continue;
		if (word[1] != '-' ? strpbrk(word + 1, "rR") != NULL : starts_with("--recursive", word))
			return true;
	}
	return false;
}

/* Options of find that stand before its starting points. */
static bool is_leading_option(const char *word)
{
	return streq(word, "-H") || streq(word, "-L") || streq(word, "-P");
}

int stake_count(int root, int cwd, struct span args, uint64_t budget_ns, struct hold_stake *ret_stake)
{
	struct count count = {.until = monotonic_ns() + budget_ns, .stake = {.known = true}};
	const struct remover *program = find_remover(&args);
	bool options = true, any = false;
	const char *word;

	if (!program)
		return -ENOENT;
	count.recursive = program->descends || (streq(program->name, "rm") && says_recursive(args));
	while ((word = next_word(&args))) {
		if (options && streq(word, "--")) {
			options = program->before_options;
			continue;
		}
		if (options && is_option(word, program)) {
			if (program->before_options && !is_leading_option(word))
				break;
			continue;
		}
		any = true;
		count_operand(&count, root, cwd, word);
	}
	if (!any && program->before_options)
		count_operand(&count, root, cwd, ".");
	if (program->note && !count.stake.note)
		count.stake.note = program->note;
	*ret_stake = count.stake;
	return 0;
}

/* --- the thread --- */

struct job {
	struct job *next;
	uint32_t number;
	int root, cwd;
	struct hold_stake stake;
	bool found;
	size_t length;
	char args[];
};

struct stakes {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *waiting, *done;
	bool ends;
	bool started;
	int ready; /* eventfd */
	sd_event_source *source;
	void (*tell)(uint32_t number, const struct hold_stake *stake, void *userdata);
	void *userdata;
};

static void job_free(struct job *job)
{
	if (job->root >= 0)
		close(job->root);
	if (job->cwd >= 0)
		close(job->cwd);
	free(job);
}

static void append(struct job **list, struct job *job)
{
	while (*list)
		list = &(*list)->next;
	job->next = NULL;
	*list = job;
}

static struct job *take_job(struct stakes *stakes)
{
	struct job *job;

	pthread_mutex_lock(&stakes->lock);
	while (!stakes->waiting && !stakes->ends)
		pthread_cond_wait(&stakes->more, &stakes->lock);
	job = stakes->ends ? NULL : stakes->waiting;
	if (job)
		stakes->waiting = job->next;
	pthread_mutex_unlock(&stakes->lock);
	return job;
}

static uint64_t budget_of(struct stakes *stakes)
{
	bool others;

	pthread_mutex_lock(&stakes->lock);
	others = stakes->waiting;
	pthread_mutex_unlock(&stakes->lock);
	return others ? BUDGET_IN_LINE_NS : STAKE_BUDGET_NS;
}

static void *work(void *userdata)
{
	struct stakes *stakes = userdata;
	const uint64_t one = 1;
	struct job *job;

	while ((job = take_job(stakes))) {
		struct span args = {job->args, job->length};

		job->found = !stake_count(job->root, job->cwd, args, budget_of(stakes), &job->stake);
		pthread_mutex_lock(&stakes->lock);
		append(&stakes->done, job);
		pthread_mutex_unlock(&stakes->lock);
		(void)!write(stakes->ready, &one, sizeof(one));
	}
	return NULL;
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct stakes *stakes = userdata;
	struct job *done, *next;
	uint64_t count;

	(void)source;
	(void)events;
	(void)!read(fd, &count, sizeof(count));
	pthread_mutex_lock(&stakes->lock);
	done = stakes->done;
	stakes->done = NULL;
	pthread_mutex_unlock(&stakes->lock);
	for (; done; done = next) {
		next = done->next;
		if (done->found)
			stakes->tell(done->number, &done->stake, stakes->userdata);
		job_free(done);
	}
	return 0;
}

int stakes_begin(struct stakes *stakes, uint32_t number, const struct process_id *process, struct span args)
{
	struct job *job = calloc(1, sizeof(*job) + args.length);
	char path[32];

	if (!job)
		return -ENOMEM;
	job->number = number;
	job->length = args.length;
	if (args.length)
		memcpy(job->args, args.data, args.length);
	snprintf(path, sizeof(path), "/proc/%u/root", process->pid);
	job->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%u/cwd", process->pid);
	job->cwd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (job->root < 0 || job->cwd < 0 || !action_is_process(process)) {
		job_free(job);
		return -ESRCH;
	}
	pthread_mutex_lock(&stakes->lock);
	append(&stakes->waiting, job);
	pthread_cond_signal(&stakes->more);
	pthread_mutex_unlock(&stakes->lock);
	return 0;
}

int stakes_new(sd_event *event, void (*done)(uint32_t number, const struct hold_stake *stake, void *userdata),
	       void *userdata, struct stakes **ret_stakes)
{
	struct stakes *stakes = calloc(1, sizeof(*stakes));
	int error;

	if (!stakes)
		return -ENOMEM;
	pthread_mutex_init(&stakes->lock, NULL);
	pthread_cond_init(&stakes->more, NULL);
	stakes->tell = done;
	stakes->userdata = userdata;
	stakes->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = stakes->ready < 0 ? -errno
				  : sd_event_add_io(event, &stakes->source, stakes->ready, EPOLLIN, on_done, stakes);
	if (error >= 0)
		error = -pthread_create(&stakes->thread, NULL, work, stakes);
	if (error < 0) {
		stakes_free(stakes);
		return error;
	}
	stakes->started = true;
	*ret_stakes = stakes;
	return 0;
}

static void free_jobs(struct job *job)
{
	while (job) {
		struct job *next = job->next;

		job_free(job);
		job = next;
	}
}

/* A thread that a dead file server keeps is left behind, with what it works on. */
void stakes_free(struct stakes *stakes)
{
	struct timespec until;

	if (!stakes)
		return;
	sd_event_source_disable_unref(stakes->source);
	pthread_mutex_lock(&stakes->lock);
	stakes->ends = true;
	pthread_cond_signal(&stakes->more);
	pthread_mutex_unlock(&stakes->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 3;
	if (stakes->started && pthread_timedjoin_np(stakes->thread, NULL, &until))
		return;
	free_jobs(stakes->waiting);
	free_jobs(stakes->done);
	if (stakes->ready >= 0)
		close(stakes->ready);
	free(stakes);
}
