/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "report_source.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>

/* --- a file of events --- */

static int give_line(struct report_source *source, const char *line, size_t length, report_each each, void *userdata)
{
	json_t *event = json_loadb(line, length, JSON_ALLOW_NUL, NULL);
	int result = 0;

	if (json_is_object(event)) {
		source->events++;
		result = each(event, line, length, userdata);
	} else if (length) {
		source->bad_lines++;
	}
	json_decref(event);
	return result;
}

static int read_events(struct report_source *source, FILE *from, report_each each, void *userdata)
{
	_cleanup_free_ char *line = NULL;
	size_t capacity = 0;
	ssize_t length;
	int result = 0;

	while (!result && (length = getline(&line, &capacity, from)) >= 0) {
		while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
			length--;
		result = give_line(source, line, (size_t)length, each, userdata);
	}
	if (!result && ferror(from)) {
		result = -errno;
		source->failed = true;
		log_error("%s: %s", source->path, strerror(-result));
	}
	return result;
}

/* A line that was cut by a crash is passed over; a file without a single event is none. */
static int check_events(struct report_source *source)
{
	if (source->bad_lines && !source->events) {
		source->failed = true;
		log_error(
			"%s: no events in it: a journal's directory is needed, or a file that `reprieve daemon --events` wrote",
			source->path);
		return -EBADMSG;
	}
	if (source->bad_lines)
		log_warning("%s: %llu lines are no events and were passed over", source->path,
			    (unsigned long long)source->bad_lines);
	return 0;
}

/* --- a journal --- */

struct journal_walk {
	struct report_source *source;
	report_each each;
	void *userdata;
	int result; /* of each */
};

static int give_event(const struct replay_event *event, void *userdata)
{
	struct journal_walk *walk = userdata;
	size_t length = event->length;

	while (length && event->line[length - 1] == '\n')
		length--;
	walk->result = give_line(walk->source, event->line, length, walk->each, walk->userdata);
	return walk->result;
}

static int read_journal(struct report_source *source, report_each each, void *userdata)
{
	struct journal_walk walk = {source, each, userdata, 0};
	struct replay_summary summary;
	int result = replay_events(source->path, source->filter, give_event, &walk, &summary);

	source->failed = result && !walk.result;
	return result;
}

bool report_source_filtered(const struct replay_filter *filter)
{
	return filter->since.base || filter->until.base || filter->session || filter->ops || filter->verdict ||
	       filter->path;
}

static int read_file(struct report_source *source, report_each each, void *userdata)
{
	bool standard = streq(source->path, "-");
	_cleanup_fclose_ FILE *file = standard ? NULL : fopen(source->path, "re");
	int result;

	if (!standard && !file) {
		result = -errno;
		source->failed = true;
		log_error("%s: %s", source->path, strerror(-result));
		return result;
	}
	result = read_events(source, standard ? stdin : file, each, userdata);
	return result ? result : check_events(source);
}

int report_source_read(struct report_source *source, report_each each, void *userdata)
{
	return source->journal ? read_journal(source, each, userdata) : read_file(source, each, userdata);
}

/* --- a file that is whole --- */

static int failed(const struct report_file *file, const char *path)
{
	int error = errno ? -errno : -EIO;

	log_error("%s: %s", file->path && !path ? file->path : path ? path : "standard output", strerror(-error));
	return error;
}

int report_file_open(struct report_file *file, const char *path)
{
	struct stat status;
	int fd;

	*file = (struct report_file){.path = path};
	/* A pipe or a device is written as it is. */
	if (!path || streq(path, "-") || (!stat(path, &status) && !S_ISREG(status.st_mode))) {
		file->stream = !path || streq(path, "-") ? stdout : fopen(path, "we");
		return file->stream ? 0 : failed(file, path);
	}
	if (asprintf(&file->temporary, "%s.XXXXXX", path) < 0) {
		file->temporary = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(file->temporary, O_CLOEXEC); /* 0600 */
	if (fd < 0) {
		int error = failed(file, path);

		free(take_pointer(file->temporary));
		return error;
	}
	file->stream = fdopen(fd, "w");
	return file->stream ? 0 : failed(file, path);
}

/* So that the new name, too, is there after a crash. */
static void sync_directory(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0)
		fsync(fd);
}

int report_file_done(struct report_file *file)
{
	errno = 0;
	if (fflush(file->stream) || ferror(file->stream))
		return failed(file, NULL);
	if (!file->temporary)
		return 0;
	if (fsync(fileno(file->stream)) || rename(file->temporary, file->path))
		return failed(file, NULL);
	free(take_pointer(file->temporary));
	sync_directory(file->path);
	return 0;
}

void report_file_cleanup(struct report_file *file)
{
	if (!file)
		return;
	if (file->temporary)
		unlink(file->temporary);
	free(take_pointer(file->temporary));
	if (file->stream && file->stream != stdout)
		fclose(file->stream);
	file->stream = NULL;
}
