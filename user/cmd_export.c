/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* export: a recording for other tools. */
#include "commands.h"

#include "export.h"
#include "opts.h"
#include "report_journal.h"
#include "report_source.h"

struct export_options {
	const char *output;
	const struct export_format *format;
	bool raw;
	struct replay_filter filter;
};

enum { KEY_FORMAT = OPTION_OWN, KEY_RAW };

static const struct argp_option rows[] = {
	{"format", KEY_FORMAT, "FORMAT", 0, "jsonl, csv, sqlite or ocsf", 0},
	{"output", 'o', "FILE", 0, "Where to; it is replaced only by a whole export. Default: standard output", 0},
	{"raw", KEY_RAW, NULL, 0,
	 "csv: leave out the apostrophe before fields that a spreadsheet would take for formulas", 0},
	REPLAY_FILTER_ROWS,
	{},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct export_options *own = state->input;

	switch (key) {
	case 'o':
		own->output = argument;
		return 0;
	case KEY_FORMAT:
		own->format = export_format_of(argument);
		if (!own->format)
			argp_error(state, "--format %s: there are jsonl, csv, sqlite, ocsf", argument);
		return 0;
	case KEY_RAW:
		own->raw = true;
		return 0;
	case ARGP_KEY_END:
		if (!own->format)
			argp_error(state, "--format is needed: jsonl, csv, sqlite or ocsf");
		return 0;
	default:
		return replay_filter_option(key, argument, state, &own->filter);
	}
}

static const struct option_spec spec = {
	.arguments = "JOURNAL",
	.summary =
		"Gives a recording to other tools: jsonl (the events as they are), csv (RFC 4180), sqlite (tables "
		"operations, processes, sessions, holds, reviews, policies; views lost_files, lost_by_directory, "
		"hold_decisions), ocsf (schema 1.9.0, one object a line). JOURNAL is a journal's directory, or a file "
		"of events (--events, a sink of type file; - is standard input).",
	.examples = "  sudo reprieve export /var/lib/reprieve/journal --format sqlite -o incident.db\n"
		    "  sqlite3 -header incident.db \"SELECT time, path, size FROM lost_files\n"
		    "    WHERE session_name = 'assistant' ORDER BY id\"\n"
		    "  reprieve export events.jsonl --format csv -o events.csv\n",
	.arguments_min = 1,
	.arguments_max = 1,
	.options = rows,
	.parse = parse,
};

static int add_event(const json_t *event, const char *line, size_t length, void *userdata)
{
	struct export *export = userdata;

	return export->format->add(export, event, line, length);
}

static void tell(const struct export *export, const char *output, int error)
{
	if (error == -ENOMEM || (error && !export->format->database))
		log_error("%s: %s", output ? output : "standard output", strerror(-error));
}

static int add_policies(struct export *export, const struct report_journal *journal)
{
	int error = 0;

	for (size_t i = 0; !error && export->format->database && i < journal->policy_count; i++)
		error = export_sqlite_policy(export, &(struct export_policy){.time = journal->policies[i].time,
									     .origin = journal->policies[i].origin,
									     .text = journal->policies[i].text});
	return error;
}

/* Into a file, or a database, that is not in its place yet. */
static int fill(struct export *export, struct report_source *source, const struct report_journal *journal,
		const char *output)
{
	int error = export->format->begin ? export->format->begin(export) : 0;

	if (error) {
		tell(export, output, error);
		return error;
	}
	error = add_policies(export, journal);
	if (!error)
		error = report_source_read(source, add_event, export);
	if (!error && export->format->end)
		error = export->format->end(export);
	if (error && !source->failed)
		tell(export, output, error);
	return error;
}

static int write_export(const struct export_options *own, struct export *export, struct report_source *source,
			const struct report_journal *journal)
{
	_cleanup_(report_file_cleanup) struct report_file file = {};
	int error = report_file_open(&file, own->output);

	if (error)
		return error;
	if (own->format->database && !file.temporary) {
		log_error("%s cannot be written to a pipe or a device: -o FILE is needed", own->format->name);
		return -EINVAL;
	}
	export->stream = file.stream;
	export->path = file.temporary;
	error = fill(export, source, journal, own->output);
	if (own->format->free)
		own->format->free(export);
	return error ? error : report_file_done(&file);
}

static int make_export(struct export_options *own, const char *path)
{
	_cleanup_(report_journal_done) struct report_journal journal = {};
	struct report_source source = {.path = path, .journal = report_is_journal(path)};
	struct export export = {.format = own->format, .raw = own->raw, .source = path};
	int error = source.journal && own->format->database ? report_journal_read(path, &journal) : 0;

	if (error)
		return error;
	export.integrity = journal.integrity_text;
	if (report_source_filtered(&own->filter))
		source.filter = &own->filter;
	return write_export(own, &export, &source, &journal);
}

int cmd_export(int argc, char **argv)
{
	struct export_options own = {};
	struct common_options common;
	int code = options_parse(&spec, argc, argv, &own, &common);

	if (code)
		return code;
	if (own.format->binary && (!own.output || streq(own.output, "-"))) {
		log_error("%s is no text: -o FILE is needed", own.format->name);
		return EXIT_USAGE;
	}
	if (report_source_filtered(&own.filter) && !report_is_journal(common.arguments[0])) {
		log_error(
			"%s is a file of events: --since, --until, --session, --op, --path and --verdict need a journal",
			common.arguments[0]);
		return EXIT_USAGE;
	}
	code = make_export(&own, common.arguments[0]) ? EXIT_FAILED : EXIT_DONE;
	replay_filter_done(&own.filter);
	return code;
}
