/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* New holds as notifications on the desktops of those who are logged in (org.freedesktop.Notifications). */
#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-bus.h>

#include "buffer.h"
#include "hold_line.h"
#include "sink_types.h"

#define RUN_USER "/run/user"
#define USERS_MAX 64 /* that are told of one hold */
#define CALL_USEC 1000000 /* one desktop may take this long */

/* What a notification says. */
struct notice {
	char title[96];
	struct buffer body;
};

/*
 * As the user, since a bus takes no other: the kernel keeps credentials by thread, and the system call, other than the
 * library's function, changes this thread's alone. -1 leaves an id as it is; the saved ones lead back.
 */
static int become(uid_t uid, gid_t gid)
{
	if (uid == 0)
		return syscall(SYS_setresuid, -1, 0, -1) || syscall(SYS_setresgid, -1, 0, -1) ? -errno : 0;
	return syscall(SYS_setresgid, -1, gid, -1) || syscall(SYS_setresuid, -1, uid, -1) ? -errno : 0;
}

static int open_bus(const char *address, sd_bus **ret_bus)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	int error = sd_bus_new(&bus);

	if (error >= 0)
		error = sd_bus_set_address(bus, address);
	if (error >= 0)
		error = sd_bus_set_bus_client(bus, true);
	if (error >= 0)
		error = sd_bus_set_method_call_timeout(bus, CALL_USEC);
	if (error >= 0)
		error = sd_bus_start(bus);
	if (error < 0)
		return error;
	*ret_bus = take_pointer(bus);
	return 0;
}

/* Urgency 2: it stays until somebody looks at it. */
static int notify(const char *address, struct notice *notice)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	int error = open_bus(address, &bus);

	if (error < 0)
		return error;
	return sd_bus_call_method(bus, "org.freedesktop.Notifications", "/org/freedesktop/Notifications",
				  "org.freedesktop.Notifications", "Notify", NULL, NULL, "susssasa{sv}i", "reprieve",
				  0u, "dialog-warning", notice->title, buffer_string(&notice->body), 0, 1, "urgency",
				  "y", 2, -1);
}

static void notify_user(const char *name, struct notice *notice)
{
	char address[512], path[PATH_MAX];
	struct stat facts;
	int error;

	snprintf(path, sizeof(path), RUN_USER "/%s/bus", name);
	if (lstat(path, &facts) || !S_ISSOCK(facts.st_mode) || !facts.st_uid)
		return;
	snprintf(address, sizeof(address), "unix:path=" RUN_USER "/%s/bus", name);
	error = become(facts.st_uid, facts.st_gid);
	if (!error)
		error = notify(address, notice);
	if (become(0, 0))
		abort(); /* a thread of the guard that is no longer root would fail later, and in silence */
	if (error < 0)
		log_debug("the desktop of user %s is not told: %s", name, strerror(-error));
}

/* The question of one event; false where it tells of none that has just been opened. */
static bool read_notice(const struct sink_event *event, struct notice *ret_notice)
{
	json_t *hold = json_loadb(event->line, event->length, JSON_ALLOW_NUL, NULL);
	const char *kind = json_string_value(json_object_get(hold, "kind"));
	const char *change = json_string_value(json_object_get(hold, "change"));
	bool opened = kind && change && streq(kind, "hold") && streq(change, "opened");

	if (opened) {
		long long number = json_integer_value(json_object_get(hold, "hold"));

		snprintf(ret_notice->title, sizeof(ret_notice->title), "Hold %lld waits for an answer", number);
		hold_add_command(&ret_notice->body, json_object_get(hold, "process"));
		buffer_text(&ret_notice->body, "\n");
		hold_add_what(&ret_notice->body, hold);
		buffer_format(&ret_notice->body, "\nreprieve approve %lld, or reprieve deny %lld; ", number, number);
		hold_add_deadline(&ret_notice->body, hold);
	}
	json_decref(hold);
	return opened && !ret_notice->body.error;
}

/* A desktop that does not answer is not tried again: the question has a deadline. */
static int deliver(void *self, struct sink_queue *queue, const struct sink_event *events, size_t *ret_count)
{
	struct notice notice = {};
	struct dirent *entry;
	int left = USERS_MAX;
	DIR *users;

	(void)self;
	*ret_count = 1;
	users = read_notice(events, &notice) ? opendir(RUN_USER) : NULL;
	while (users && left-- > 0 && !sink_queue_is_over(queue) && (entry = readdir(users)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			notify_user(entry->d_name, &notice);
	if (users)
		closedir(users);
	buffer_free(&notice.body);
	return 0;
}

int sink_desktop_new(struct sink_queue **ret_queue)
{
	struct sink_target target = {.deliver = deliver, .name = strdup("desktop")};

	return target.name ? sink_queue_new(&target, ret_queue) : -ENOMEM;
}
