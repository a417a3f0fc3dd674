/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "policy_judge.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define JUDGE_SECONDS 60 /* of processor time; a node's whole policy takes less than one */
#define JUDGE_WALL_SECONDS 300 /* on a machine that has no time for it */
#define JUDGE_NICE 10

struct policy_judge {
	struct policy_set *set;
	pid_t child;
	int fd;
	sd_event_source *ready;
	struct buffer verdicts;
	void (*done)(int error, void *userdata);
	void *userdata;
};

/* ---- the child ---- */

static int write_all(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t done = write(fd, text, length);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		text += done;
		length -= (size_t)done;
	}
	return 0;
}

/* Nothing of the parent's is touched or freed: only memory that is a copy by now. */
static _Noreturn void judge(struct policy_set *set, struct agent_registry *registry, int fd)
{
	struct rlimit limit = {JUDGE_SECONDS, JUDGE_SECONDS + 1};
	struct policy_errors errors = {};
	struct policy *policy = NULL;
	sigset_t none;
	json_t *verdicts;
	char *text;
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_CPU, &limit);
	alarm(JUDGE_WALL_SECONDS);
	setpriority(PRIO_PROCESS, 0, JUDGE_NICE);
	error = policy_set_compose(set, registry, 0, &policy, &errors);
	verdicts = error ? NULL : policy_set_verdicts(set);
	text = verdicts ? json_dumps(verdicts, JSON_COMPACT) : NULL;
	_exit(!text || write_all(fd, text, strlen(text)));
}

/* ---- the parent ---- */

static int take(struct policy_judge *judge)
{
	json_t *verdicts;
	int status = 0, error;

	while (waitpid(judge->child, &status, 0) < 0 && errno == EINTR)
		;
	judge->child = 0;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGALRM ? -ETIMEDOUT : -ECHILD;
	if (status || judge->verdicts.error)
		return -ECHILD;
	verdicts = json_loadb(judge->verdicts.data ? judge->verdicts.data : "", judge->verdicts.length, 0, NULL);
	error = verdicts ? policy_set_take_verdicts(judge->set, verdicts) : -ECHILD;
	json_decref(verdicts);
	return error;
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct policy_judge *judge = userdata;
	char text[16384];
	ssize_t length = read(fd, text, sizeof(text));

	(void)events;
	if (length > 0)
		buffer_add(&judge->verdicts, text, (size_t)length);
	if (length > 0 || (length < 0 && (errno == EINTR || errno == EAGAIN)))
		return 0;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	judge->done(take(judge), judge->userdata);
	return 0;
}

int policy_judge_new(sd_event *event, struct policy_set *set, struct agent_registry *registry,
		     void (*done)(int error, void *userdata), void *userdata, struct policy_judge **ret_judge)
{
	struct policy_judge *made = calloc(1, sizeof(*made));
	int pipes[2], r;

	if (!made)
		return -ENOMEM;
	*made = (struct policy_judge){.set = set, .fd = -1, .done = done, .userdata = userdata};
	if (pipe2(pipes, O_CLOEXEC)) {
		r = -errno;
		policy_judge_free(made);
		return r;
	}
	made->fd = pipes[0];
	made->child = fork();
	if (made->child == 0)
		judge(set, registry, pipes[1]);
	r = made->child < 0 ? -errno : 0;
	close(pipes[1]);
	if (!r && fcntl(made->fd, F_SETFL, O_NONBLOCK))
		r = -errno;
	if (!r)
		r = MIN(sd_event_add_io(event, &made->ready, made->fd, EPOLLIN, on_ready, made), 0);
	if (r) {
		policy_judge_free(made);
		return r;
	}
	*ret_judge = made;
	return 0;
}

void policy_judge_free(struct policy_judge *judge)
{
	if (!judge)
		return;
	sd_event_source_disable_unref(judge->ready);
	if (judge->child > 0) {
		kill(judge->child, SIGKILL);
		waitpid(judge->child, NULL, 0);
	}
	if (judge->fd >= 0)
		close(judge->fd);
	buffer_free(&judge->verdicts);
	free(judge);
}
