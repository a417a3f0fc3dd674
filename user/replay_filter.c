/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "replay_filter.h"

#include <time.h>

#include "control.h"
#include "util.h"

/* --- times --- */

int replay_duration(const char *text, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {{"ms", NSEC_PER_MSEC},	 {"s", NSEC_PER_SEC},	      {"m", 60 * NSEC_PER_SEC},
		     {"h", 3600 * NSEC_PER_SEC}, {"d", 86400 * NSEC_PER_SEC}, {"", NSEC_PER_SEC}};
	int64_t total = 0;

	do {
		size_t digits = strspn(text, "0123456789"), letters = strspn(text + digits, "mshd"), unit = 0;
		int64_t part;

		if (!digits || digits > 9)
			return -EINVAL;
		while (unit < ARRAY_SIZE(units) &&
		       (strlen(units[unit].name) != letters || strncmp(units[unit].name, text + digits, letters)))
			unit++;
		if (unit == ARRAY_SIZE(units) || __builtin_mul_overflow(atoll(text), units[unit].ns, &part) ||
		    __builtin_add_overflow(total, part, &total))
			return -EINVAL;
		text += digits + letters;
	} while (*text);
	*ret_ns = total;
	return 0;
}

/* Behind the seconds: a fraction, then Z or +02:00 (RFC 3339), or nothing for local time. */
static int read_rest(const char *rest, struct tm *date, int64_t *ret_ns)
{
	int64_t fraction = 0, unit = NSEC_PER_SEC / 10, offset = 0;
	unsigned int hours, minutes;
	bool utc = false;
	time_t seconds;
	int end = 0;

	if (*rest == '.' && rest[1] >= '0' && rest[1] <= '9')
		for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
			fraction += (*rest - '0') * unit;
	if (*rest == 'Z' && !rest[1]) {
		utc = true;
	} else if ((*rest == '+' || *rest == '-') && sscanf(rest + 1, "%2u:%2u%n", &hours, &minutes, &end) == 2 &&
		   !rest[1 + end]) {
		utc = true;
		offset = (*rest == '-' ? -1 : 1) * (int64_t)(hours * 3600 + minutes * 60);
	} else if (*rest) {
		return -EINVAL;
	}
	date->tm_isdst = -1;
	seconds = utc ? timegm(date) : mktime(date);
	*ret_ns = ((int64_t)seconds - offset) * (int64_t)NSEC_PER_SEC + fraction;
	return 0;
}

static int read_date(const char *text, int64_t *ret_ns)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
					    "%Y-%m-%d %H:%M", "%Y-%m-%d"};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm date = {};
		const char *rest = strptime(text, forms[i], &date);

		if (rest && !read_rest(rest, &date, ret_ns))
			return 0;
	}
	return -EINVAL;
}

int replay_moment(const char *text, struct replay_moment *ret_moment)
{
	struct replay_moment moment = {.base = *text == '+'   ? MOMENT_AFTER_FIRST
					       : *text == '-' ? MOMENT_BEFORE_LAST
							      : MOMENT_ABSOLUTE};
	int error =
		moment.base == MOMENT_ABSOLUTE ? read_date(text, &moment.ns) : replay_duration(text + 1, &moment.ns);

	if (!error)
		*ret_moment = moment;
	return error;
}

static void anchor(struct replay_moment *moment, int64_t first, int64_t last)
{
	if (moment->base == MOMENT_AFTER_FIRST)
		moment->ns = first + moment->ns;
	else if (moment->base == MOMENT_BEFORE_LAST)
		moment->ns = last - moment->ns;
	if (moment->base != MOMENT_NONE)
		moment->base = MOMENT_ABSOLUTE;
}

void replay_filter_anchor(struct replay_filter *filter, int64_t first, int64_t last)
{
	anchor(&filter->since, first, last);
	anchor(&filter->until, first, last);
}

/* --- options --- */

static void set_moment(const char *option, const char *text, struct argp_state *state, struct replay_moment *moment)
{
	if (replay_moment(text, moment))
		argp_error(state,
			   "%s %s: no time; write 2026-11-22T07:00:00Z, '2026-11-22 07:00' for local time, +10m (after "
			   "the journal's first record) or -10m (before its last)",
			   option, text);
}

static void add_ops(char *list, struct argp_state *state, struct replay_filter *filter)
{
	char *rest = NULL;

	for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		uint32_t ops = control_ops_from_name(name);

		if (!ops)
			argp_error(state,
				   "no op '%s': there are unlink, rmdir, rename, truncate, overwrite, rawwrite, sql, "
				   "exec, and delete and all for groups of them",
				   name);
		filter->ops |= ops;
	}
	if (!filter->ops)
		argp_error(state, "--op needs the name of an operation");
}

static void set_path(const char *text, struct argp_state *state, struct replay_filter *filter)
{
	struct glob glob = {.text = text, .length = strlen(text), .form = GLOB_COMPONENTS};
	struct glob_error error = {};
	int r;

	replay_filter_done(filter);
	r = nfa_new(&filter->path);
	if (!r)
		r = nfa_root(filter->path, &filter->path_root);
	if (!r)
		r = nfa_add(filter->path, filter->path_root, &glob, &error);
	if (r == -EINVAL)
		argp_error(state, "--path %s: column %u: %s", text, error.column, error.message);
	if (r)
		argp_failure(state, 1, -r, "--path %s", text);
}

error_t replay_filter_option(int key, char *argument, struct argp_state *state, struct replay_filter *filter)
{
	int verdict;

	switch (key) {
	case OPTION_SINCE:
		set_moment("--since", argument, state, &filter->since);
		return 0;
	case OPTION_UNTIL:
		set_moment("--until", argument, state, &filter->until);
		return 0;
	case OPTION_SESSION:
		filter->session = argument;
		return 0;
	case OPTION_OP:
		add_ops(argument, state, filter);
		return 0;
	case OPTION_PATH:
		set_path(argument, state, filter);
		return 0;
	case OPTION_VERDICT:
		verdict = verdict_from_name(argument);
		if (verdict < 0)
			argp_error(state, "no verdict '%s': there are allow, alert, hold, deny, kill", argument);
		filter->verdict = (enum verdict)verdict;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void replay_filter_done(struct replay_filter *filter)
{
	nfa_free(filter->path);
	filter->path = NULL;
}

/* --- what passes --- */

bool replay_filter_time(const struct replay_filter *filter, int64_t real_ns)
{
	if (filter->since.base != MOMENT_NONE && real_ns < filter->since.ns)
		return false;
	return filter->until.base == MOMENT_NONE || real_ns < filter->until.ns;
}

bool replay_filter_session(const struct replay_filter *filter, const struct session *session)
{
	if (!filter->session)
		return true;
	return session &&
	       (streq(session->text_id, filter->session) || (session->name && streq(session->name, filter->session)));
}

static bool path_matches(const struct replay_filter *filter, struct span path)
{
	struct dfa_accept accept;

	return path.data && !nfa_match(filter->path, filter->path_root, path.data, path.length, &accept) &&
	       accept.match.word[0];
}

bool replay_filter_op(const struct replay_filter *filter, const struct event *event, enum verdict one,
		      enum verdict other)
{
	if (filter->ops && !(filter->ops & 1u << event_op(event)))
		return false;
	if (one < filter->verdict && other < filter->verdict)
		return false;
	if (!filter->path)
		return true;
	return event->head.kind == RECORD_OP && (path_matches(filter, event_text(event, event->op.path)) ||
						 path_matches(filter, event_text(event, event->op.new_path)));
}

bool replay_filter_only_ops(const struct replay_filter *filter)
{
	return filter->ops || filter->verdict || filter->path;
}
