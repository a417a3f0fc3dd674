/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* report: a recording as one page. */
#include "commands.h"

#include "opts.h"
#include "report_journal.h"
#include "report_source.h"

struct report_options {
	const char *output;
	size_t rows;
	bool no_look;
	struct replay_filter filter;
};

enum { KEY_ROWS = OPTION_OWN, KEY_NO_LOOK };

static const struct argp_option rows[] = {
	{"output", 'o', "FILE", 0, "Where to; it is replaced only by a whole page. Default: standard output", 0},
	{"rows", KEY_ROWS, "N", 0,
	 "Rows of each table at most (default 2000); sums count everything, and what is left out is said", 0},
	{"no-look", KEY_NO_LOOK, NULL, 0, "Do not look into /proc for lost files that are still open", 0},
	REPLAY_FILTER_ROWS,
	{},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct report_options *own = state->input;
	char *end;

	switch (key) {
	case 'o':
		own->output = argument;
		return 0;
	case KEY_ROWS:
		own->rows = strtoul(argument, &end, 10);
		if (*argument < '1' || *argument > '9' || *end || own->rows > REPORT_ROWS_MAX)
			argp_error(state, "--rows %s: a number from 1 to %d is needed", argument, REPORT_ROWS_MAX);
		return 0;
	case KEY_NO_LOOK:
		own->no_look = true;
		return 0;
	default:
		return replay_filter_option(key, argument, state, &own->filter);
	}
}

static const struct option_spec spec = {
	.arguments = "JOURNAL",
	.summary =
		"Tells a recording as one self-contained HTML page, for people who were not there: what was lost, what "
		"may bring it back, what was stopped, who decided, the timeline and the processes. JOURNAL is a "
		"journal's directory, or a file of events (--events, a sink of type file; - is standard input).",
	.examples = "  sudo reprieve report /var/lib/reprieve/journal -o incident.html\n"
		    "  sudo reprieve report journal --session assistant --since -1h -o incident.html\n"
		    "  reprieve report events.jsonl -o incident.html --no-look\n",
	.arguments_min = 1,
	.arguments_max = 1,
	.options = rows,
	.parse = parse,
};

static int add_event(const json_t *event, const char *line, size_t length, void *userdata)
{
	(void)line;
	(void)length;
	return report_add(userdata, event);
}

static int write_page(const struct report *report, const struct report_facts *facts, const char *output)
{
	_cleanup_(report_file_cleanup) struct report_file file = {};
	_cleanup_buffer_ struct buffer page = {};
	int error = report_file_open(&file, output);

	if (error)
		return error;
	error = report_write(report, facts, &page);
	if (error) {
		log_error("the report: %s", strerror(-error));
		return error;
	}
	fwrite(page.data, 1, page.length, file.stream);
	return report_file_done(&file);
}

/* What the filter leaves out of a report, its reader has to know. */
static char *filter_words(char **argv)
{
	_cleanup_buffer_ struct buffer text = {};
	static const char *const names[] = {"--since", "--until", "--session", "--op", "--path", "--verdict"};

	for (char **word = argv; *word; word++) {
		for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
			size_t length = strlen(names[i]);

			if (strncmp(*word, names[i], length) || ((*word)[length] && (*word)[length] != '='))
				continue;
			buffer_text(&text, text.length ? ", " : "");
			buffer_text(&text, *word + 2);
			if (!(*word)[length] && word[1]) {
				buffer_char(&text, ' ');
				buffer_text(&text, word[1]);
			}
		}
	}
	return text.length && buffer_string(&text) ? strdup(text.data) : NULL;
}

static int fill_report(struct report *report, struct report_options *own, struct report_source *source)
{
	int error;

	if (report_source_filtered(&own->filter))
		source->filter = &own->filter;
	error = report_source_read(source, add_event, report);
	if (error && !source->failed)
		log_error("the report: %s", strerror(-error));
	if (error)
		return error;
	report_finish(report);
	return 0;
}

static int make_report(struct report *report, struct report_options *own, const char *path, const char *filter)
{
	_cleanup_(report_journal_done) struct report_journal journal = {};
	struct report_source source = {.path = path, .journal = report_is_journal(path)};
	struct report_facts facts = {.path = path, .filter = filter};
	int error = source.journal ? report_journal_read(path, &journal) : 0;

	if (error)
		return error;
	if (source.journal)
		report_journal_facts(&journal, &facts);
	error = fill_report(report, own, &source);
	if (error)
		return error;
	if (own->no_look)
		report->look.why_not = strdup("it was not asked for (--no-look)");
	else
		report_look_around(report, &facts);
	return write_page(report, &facts, own->output);
}

/* Of a file of events nothing is left out: grep and jq do that. */
static bool filter_fits(const struct replay_filter *filter, const char *path)
{
	if (!report_source_filtered(filter) || report_is_journal(path))
		return true;
	log_error("%s is a file of events: --since, --until, --session, --op, --path and --verdict need a journal",
		  path);
	return false;
}

int cmd_report(int argc, char **argv)
{
	struct report_options own = {.rows = REPORT_ROWS_DEFAULT};
	_cleanup_free_ char *filter = filter_words(argv);
	struct common_options common;
	struct report *report;
	int code = options_parse(&spec, argc, argv, &own, &common);

	if (code)
		return code;
	if (!filter_fits(&own.filter, common.arguments[0]))
		return EXIT_USAGE;
	if (report_new(own.rows, &report)) {
		log_error("the report: %s", strerror(ENOMEM));
		return EXIT_FAILED;
	}
	code = make_report(report, &own, common.arguments[0], filter) ? EXIT_FAILED : EXIT_DONE;
	report_free(report);
	replay_filter_done(&own.filter);
	return code;
}
