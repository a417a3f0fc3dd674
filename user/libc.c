/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "libc.h"

#include "libpq.h"

struct libc_probes {
	struct guard *guard;
	struct libpq_set *files; /* looked through since the probes were set; NULL: they are not */
	size_t count; /* libcs with probes */
	uint64_t idle_since; /* 0: a session lives, or lived at the last tick */
};

static bool guards_by_libc(const struct guard *guard)
{
	return guard_tiers(guard)[OP_UNLINK].tier == TIER_UPROBE;
}

int libc_probes_new(struct guard *guard, struct libc_probes **ret_probes)
{
	struct libc_probes *probes = calloc(1, sizeof(*probes));

	if (!probes)
		return -ENOMEM;
	probes->guard = guard;
	*ret_probes = probes;
	return 0;
}

/* What was looked through is forgotten: kept open, a container's libc would keep its file system from going. */
static void disarm(struct libc_probes *probes)
{
	if (!probes->files)
		return;
	guard_unprobe_libc(probes->guard);
	guard_forget_inspected(probes->guard);
	libpq_set_free(probes->files);
	probes->files = NULL;
	probes->count = 0;
}

void libc_probes_free(struct libc_probes *probes)
{
	if (!probes)
		return;
	/* Of a guard that stays, what was looked through stays so: nobody would look through it again. */
	if (guard_keeps(probes->guard))
		libpq_set_free(probes->files);
	else
		disarm(probes);
	free(probes);
}

static int found(const struct libpq_library *library, void *userdata)
{
	struct libc_probes *probes = userdata;
	int error;

	error = guard_probe_libc(probes->guard, library->path, &library->functions.libc);
	if (error) {
		log_warning("%s: cannot probe this libc: %s; calls through it are only reported", library->name,
			    strerror(-error));
		return error;
	}
	probes->count += 1;
	log_debug("probing libc at %s", library->name);
	return 0;
}

void libc_probes_arm(struct libc_probes *probes)
{
	probes->idle_since = 0;
	if (probes->files || !guards_by_libc(probes->guard))
		return;
	if (libpq_set_new_for_libc(&probes->files)) {
		log_error("out of memory: libc is not probed, calls through it are only reported");
		return;
	}
	libpq_scan_processes(probes->files, found, probes);
}

int libc_probes_mapped(struct libc_probes *probes, const struct event *event)
{
	pid_t pid = (pid_t)event_actor(event)->process.pid;
	struct span name = event_text(event, event->map.name);
	struct libpq_wanted wanted = {event->map.dev, event->map.ino, name.data, name.length};

	if (!probes->files)
		return 0;
	/* With a program the kernel maps its loader, and musl's is its libc: of that no record tells. */
	if (event->map.flags & MAP_EXE)
		return libpq_inspect_all(probes->files, pid, found, probes);
	return libpq_inspect_process(probes->files, pid, &wanted, found, probes);
}

void libc_probes_tick(struct libc_probes *probes, bool session_lives, uint64_t now)
{
	if (session_lives)
		probes->idle_since = 0;
	else if (!probes->idle_since)
		probes->idle_since = now;
	else if (now - probes->idle_since >= LIBC_GRACE_NS)
		disarm(probes);
}

size_t libc_probes_count(const struct libc_probes *probes)
{
	return probes->count;
}

void libc_probe_self(struct guard *guard)
{
	struct libc_probes probes = {.guard = guard};

	if (!guards_by_libc(guard) || libpq_set_new_for_libc(&probes.files))
		return;
	libpq_inspect_all(probes.files, getpid(), found, &probes);
	libpq_set_free(probes.files);
}
