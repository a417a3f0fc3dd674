/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* review: a screen of what pends, the list on the left, the chosen one in full on the right, answers by key. */
#include "commands.h"

#include <locale.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>

#include "buffer.h"
#include "control.h"
#include "event_line.h"
#include "hold_line.h"
#include "opts.h"
#include "util.h"

#define LIST_WIDTH 30
#define RECONNECT_MS 1000
#define POLL_MS 500 /* ages and deadlines go on */
#define ESCAPE 27

enum { PAIR_OPEN = 1, PAIR_DIM, PAIR_ALARM, PAIR_DONE };

static const struct option_spec spec = {
	.summary =
		"A screen of everything that stands stopped: choose with the arrow keys, a approves for the process, o "
		"once, f for 10 minutes of the session, d denies, k kills (and asks before), q ends.",
	.examples = "  sudo reprieve review\n"
		    "  sudo NO_COLOR=1 reprieve review\n",
	.common = COMMON_SOCKET | COMMON_COLOR,
};

struct screen {
	const char *socket;
	struct control_stream *stream; /* NULL: not connected */
	json_t *holds; /* array */
	long long chosen; /* number of the hold under the cursor; 0: none */
	size_t scroll; /* first row of the detail that is shown */
	bool stale; /* what pends has to be asked for anew */
	bool asks; /* before a kill */
	bool color;
	char message[512]; /* the last line */
	bool alarm; /* the message is about a failure */
	uint64_t fetched; /* CLOCK_MONOTONIC, milliseconds */
	uint64_t tried; /* when a connection was tried last */
};

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* --- the daemon --- */

static void tell(struct screen *screen, bool alarm, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void tell(struct screen *screen, bool alarm, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(screen->message, sizeof(screen->message), format, args);
	va_end(args);
	screen->alarm = alarm;
}

static void disconnect(struct screen *screen, const char *why)
{
	control_stream_free(screen->stream);
	screen->stream = NULL;
	screen->tried = monotonic_ms();
	tell(screen, true, "no connection to the daemon: %s; trying again", why);
}

/* Returns what control_open_stream does, with its words in *error. */
static int connect_stream(struct screen *screen, struct control_error *error)
{
	int failed = control_open_stream(screen->socket, json_pack("{s:s, s:s}", "command", "watch", "verdict", "hold"),
					 error, &screen->stream);

	screen->tried = monotonic_ms();
	screen->stale = true;
	return failed;
}

static size_t index_of(const struct screen *screen, long long number)
{
	const json_t *hold;
	size_t i;

	json_array_foreach (screen->holds, i, hold)
		if (number_of(hold, "hold") == number)
			return i;
	return SIZE_MAX;
}

static const json_t *chosen_hold(const struct screen *screen)
{
	return json_array_get(screen->holds, index_of(screen, screen->chosen));
}

/* The cursor stays on its hold; where that is gone, on what stands in its place now. */
static void keep_chosen(struct screen *screen, size_t before)
{
	size_t count = json_array_size(screen->holds);

	if (index_of(screen, screen->chosen) != SIZE_MAX)
		return;
	screen->chosen = count ? number_of(json_array_get(screen->holds, MIN(before, count - 1)), "hold") : 0;
	screen->scroll = 0;
	screen->asks = false;
}

static void fetch(struct screen *screen)
{
	struct control_error error = {};
	size_t before = index_of(screen, screen->chosen);
	json_t *result;
	int failed = control_call(screen->socket, json_pack("{s:s}", "command", "pending"), &error, &result);

	screen->stale = false;
	screen->fetched = monotonic_ms();
	if (failed) {
		disconnect(screen, error.text[0] ? error.text : strerror(-failed));
		return;
	}
	json_decref(screen->holds);
	screen->holds = json_incref(json_object_get(result, "holds"));
	json_decref(result);
	keep_chosen(screen, before == SIZE_MAX ? 0 : before);
}

/* Everything that has come; holds and answers make what is shown old. */
static void read_stream(struct screen *screen)
{
	size_t length;
	char *line;
	int result;

	while ((result = control_stream_next(screen->stream, &line, &length)) > 0)
		if (strstr(line, "\"kind\":\"hold\"") || strstr(line, "\"kind\":\"review\"") ||
		    strstr(line, "\"kind\":\"loss\""))
			screen->stale = true;
	if (result != -EAGAIN)
		disconnect(screen, result ? strerror(-result) : "it has ended");
}

static void decide(struct screen *screen, const char *command, json_t *more)
{
	struct control_error error = {};
	json_t *request = json_pack("{s:s, s:I}", "command", command, "hold", (json_int_t)screen->chosen), *result;
	int failed;

	json_object_update(request, more);
	json_decref(more);
	failed = control_call(screen->socket, request, &error, &result);
	screen->stale = true;
	if (failed) {
		tell(screen, true, "%s%s%s", error.text[0] ? error.text : strerror(-failed), error.hint[0] ? "; " : "",
		     error.hint);
		return;
	}
	tell(screen, false, "hold %lld: %s%s", screen->chosen, streq(command, "approve") ? "approved" : "denied",
	     json_is_true(json_object_get(result, "late")) ? "; the call has failed already, a retry goes through"
							   : "");
	json_decref(result);
}

/* --- drawing --- */

static void paint(const struct screen *screen, int pair, int attributes)
{
	attrset(screen->color ? COLOR_PAIR(pair) | (unsigned int)attributes : (unsigned int)attributes);
}

/* As much of a line as fits; the text is safe for a terminal (line_add_text). */
static void put_line(int row, int column, int width, const char *text)
{
	if (width > 0)
		mvaddnstr(row, column, text, width);
}

static void draw_row(const struct screen *screen, int row, int width, const json_t *hold)
{
	_cleanup_buffer_ struct buffer line = {};
	bool open = streq(text_of(hold, "state") ? text_of(hold, "state") : "", "open");
	bool chosen = number_of(hold, "hold") == screen->chosen;

	buffer_format(&line, "%4lld ", number_of(hold, "hold"));
	if (open)
		buffer_format(&line, "%4llds ", (number_of(hold, "remaining_ms") + 999) / 1000);
	else
		buffer_text(&line, " late ");
	line_add_text(&line, text_of(json_object_get(hold, "process"), "comm")
				     ? text_of(json_object_get(hold, "process"), "comm")
				     : "?");
	buffer_char(&line, ' ');
	line_add_text(&line, text_of(hold, "rule") ? text_of(hold, "rule") : "default");
	while (line.length < (size_t)width)
		buffer_char(&line, ' ');
	if (!buffer_string(&line))
		return;
	paint(screen, open ? PAIR_OPEN : PAIR_DIM, (open ? A_BOLD : A_NORMAL) | (chosen ? A_REVERSE : 0));
	put_line(row, 0, width, line.data);
	attrset(A_NORMAL);
}

static void draw_list(const struct screen *screen, int height, int width)
{
	size_t count = json_array_size(screen->holds), at = index_of(screen, screen->chosen);
	size_t first = at != SIZE_MAX && at >= (size_t)height ? at - (size_t)height + 1 : 0;

	for (int row = 0; row < height && first + (size_t)row < count; row++)
		draw_row(screen, row + 1, width, json_array_get(screen->holds, first + (size_t)row));
	if (!count)
		put_line(1, 0, width, " nothing stands stopped");
}

static void add_field(struct buffer *text, const char *label)
{
	buffer_format(text, "%s\n  ", label);
}

static void add_processes(struct buffer *text, const json_t *hold)
{
	const json_t *process = json_object_get(hold, "process"), *ancestor;
	size_t i;

	add_field(text, "who");
	hold_add_command(text, process);
	buffer_format(text, " [%lld] uid %lld\n", number_of(process, "pid"), number_of(process, "uid"));
	if (text_of(process, "cwd")) {
		buffer_text(text, "  in ");
		line_add_text(text, text_of(process, "cwd"));
		buffer_char(text, '\n');
	}
	json_array_foreach (json_object_get(hold, "ancestry"), i, ancestor) {
		buffer_text(text, "  < ");
		hold_add_command(text, ancestor);
		buffer_format(text, " [%lld]\n", number_of(ancestor, "pid"));
	}
}

static void add_reason(struct buffer *text, const json_t *hold)
{
	const char *rule = text_of(hold, "rule"), *message = text_of(hold, "message");
	const char *note = text_of(json_object_get(hold, "stake"), "note");

	add_field(text, "at stake");
	hold_add_stake(text, hold);
	buffer_format(text, "%s%s%s\n", note ? " (" : "", note ? note : "", note ? ")" : "");
	add_field(text, "why");
	buffer_text(text, rule ? "rule " : "the policy's default");
	line_add_text(text, rule ? rule : "");
	if (message) {
		buffer_text(text, "\n  ");
		line_add_text(text, message);
	}
	buffer_char(text, '\n');
}

/* All that is known of one hold, line by line. */
static void write_detail(struct buffer *text, const json_t *hold)
{
	const char *session = text_of(json_object_get(hold, "session"), "name");

	buffer_format(text, "hold %lld, since ", number_of(hold, "hold"));
	hold_add_duration(text, number_of(hold, "waiting_ms"));
	if (json_object_get(hold, "remaining_ms")) {
		buffer_text(text, "; ");
		hold_add_deadline(text, hold);
	} else {
		buffer_text(text, "\ntimed out: approve lets a retry of the session through");
	}
	buffer_char(text, '\n');
	add_field(text, "what");
	hold_add_what(text, hold);
	if (number_of(hold, "operations") > 1)
		buffer_format(text, "\n  and %lld more calls", number_of(hold, "operations") - 1);
	buffer_char(text, '\n');
	add_reason(text, hold);
	add_processes(text, hold);
	add_field(text, "session");
	line_add_text(text, session ? session : "?");
	buffer_char(text, '\n');
}

/* Long lines go on below, a little further in. Returns how many rows there are. */
static size_t draw_wrapped(const char *text, size_t skip, int column, int width, int height)
{
	size_t rows = 0;

	for (const char *line = text; *line;) {
		const char *end = strchrnul(line, '\n');
		bool first = true;

		do {
			int indent = first ? 0 : 4;
			size_t piece = MIN((size_t)(end - line), (size_t)MAX(width - indent, 1));

			/* Not in the middle of a character. */
			while (piece > 1 && line + piece < end && (line[piece] & 0xc0) == 0x80)
				piece--;
			if (rows >= skip && rows - skip < (size_t)height)
				mvaddnstr((int)(rows - skip) + 1, column + indent, line, (int)piece);
			line += piece;
			rows++;
			first = false;
		} while (line < end);
		line = *end ? end + 1 : end;
	}
	return rows;
}

static void draw_detail(struct screen *screen, int height, int column, int width)
{
	_cleanup_buffer_ struct buffer text = {};
	const json_t *hold = chosen_hold(screen);
	size_t rows;

	if (!hold)
		return;
	write_detail(&text, hold);
	if (!buffer_string(&text))
		return;
	rows = draw_wrapped(text.data, screen->scroll, column, width, height);
	if (screen->scroll + (size_t)height > rows)
		screen->scroll = rows > (size_t)height ? rows - (size_t)height : 0;
}

static void draw_frame(const struct screen *screen, int rows, int columns)
{
	static const char keys[] = " a approve  o once  f for 10 min  d deny  k kill  arrows choose  PgUp/PgDn  q quit";
	char title[128];

	snprintf(title, sizeof(title), " reprieve review   %zu pending%s", json_array_size(screen->holds),
		 screen->stream ? "" : "   NOT CONNECTED");
	paint(screen, PAIR_DONE, A_REVERSE);
	mvhline(0, 0, ' ', columns);
	put_line(0, 0, columns, title);
	mvhline(rows - 1, 0, ' ', columns);
	put_line(rows - 1, 0, columns, keys);
	attrset(A_NORMAL);
	if (screen->asks) {
		snprintf(title, sizeof(title), " kill the process of hold %lld? y/n", screen->chosen);
		paint(screen, PAIR_ALARM, A_BOLD);
		put_line(rows - 2, 0, columns, title);
	} else {
		paint(screen, screen->alarm ? PAIR_ALARM : PAIR_DONE, screen->alarm ? A_BOLD : A_NORMAL);
		put_line(rows - 2, 1, columns - 1, screen->message);
	}
	attrset(A_NORMAL);
}

static void draw(struct screen *screen)
{
	int rows = getmaxy(stdscr), columns = getmaxx(stdscr), list = MIN(LIST_WIDTH, columns / 2);

	erase();
	if (rows >= 5 && columns >= 20) {
		draw_frame(screen, rows, columns);
		draw_list(screen, rows - 3, list);
		mvvline(1, list, ACS_VLINE, rows - 3);
		draw_detail(screen, rows - 3, list + 2, columns - list - 2);
	} else {
		put_line(0, 0, columns, "too small");
	}
	refresh();
}

/* --- keys --- */

static void move_by(struct screen *screen, int step)
{
	size_t count = json_array_size(screen->holds), at = index_of(screen, screen->chosen);

	if (at == SIZE_MAX || !count)
		return;
	if (step < 0)
		at -= MIN(at, (size_t)-step);
	else
		at = MIN(at + (size_t)step, count - 1);
	screen->chosen = number_of(json_array_get(screen->holds, at), "hold");
	screen->scroll = 0;
}

/* Answers to the question whether to kill: only y kills. */
static void confirm(struct screen *screen, int key)
{
	screen->asks = false;
	if (key == 'y' || key == 'Y')
		decide(screen, "deny", json_pack("{s:b}", "kill", true));
	else
		tell(screen, false, "nothing was killed");
}

static void decide_by_key(struct screen *screen, int key)
{
	if (!chosen_hold(screen)) {
		tell(screen, false, "no hold is chosen");
		return;
	}
	if (key == 'a')
		decide(screen, "approve", json_object());
	else if (key == 'o')
		decide(screen, "approve", json_pack("{s:s}", "scope", "once"));
	else if (key == 'f')
		decide(screen, "approve", json_pack("{s:i}", "for_ms", 600000));
	else if (key == 'd')
		decide(screen, "deny", json_object());
	else
		screen->asks = true;
}

/* Returns false where the screen is to end. */
static bool take_key(struct screen *screen, int key)
{
	/* The terminal's, not the user's: no answer to a question. */
	if (key == KEY_RESIZE)
		return true;
	if (screen->asks) {
		confirm(screen, key);
		return true;
	}
	switch (key) {
	case 'q':
	case ESCAPE:
		return false;
	case KEY_UP:
		move_by(screen, -1);
		return true;
	case KEY_DOWN:
	case 'j':
		move_by(screen, 1);
		return true;
	case KEY_NPAGE:
	case ' ':
		screen->scroll += 5;
		return true;
	case KEY_PPAGE:
		screen->scroll -= MIN(screen->scroll, (size_t)5);
		return true;
	case 'a':
	case 'o':
	case 'f':
	case 'd':
	case 'k':
		decide_by_key(screen, key);
		return true;
	default:
		return true;
	}
}

static volatile sig_atomic_t ended;

static void note_end(int number)
{
	ended = number;
}

static void wait_for_more(const struct screen *screen)
{
	struct pollfd pollers[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = screen->stream ? control_stream_fd(screen->stream) : -1, .events = POLLIN},
	};

	poll(pollers, ARRAY_SIZE(pollers), POLL_MS);
}

static void refresh_state(struct screen *screen)
{
	struct control_error error = {};

	if (screen->stream)
		read_stream(screen);
	if (!screen->stream && monotonic_ms() - screen->tried >= RECONNECT_MS && !connect_stream(screen, &error))
		tell(screen, false, "connected again");
	if (screen->stream && (screen->stale || monotonic_ms() - screen->fetched >= POLL_MS))
		fetch(screen);
}

static void work(struct screen *screen)
{
	bool goes_on = true;
	int key;

	while (goes_on && !ended) {
		refresh_state(screen);
		draw(screen);
		wait_for_more(screen);
		while (goes_on && (key = getch()) != ERR)
			goes_on = take_key(screen, key);
	}
}

static void start_colors(struct screen *screen)
{
	screen->color = screen->color && has_colors();
	if (!screen->color)
		return;
	start_color();
	use_default_colors();
	init_pair(PAIR_OPEN, COLOR_YELLOW, -1);
	init_pair(PAIR_DIM, -1, -1);
	init_pair(PAIR_ALARM, COLOR_RED, -1);
	init_pair(PAIR_DONE, -1, -1);
}

static int show(struct screen *screen)
{
	const struct sigaction action = {.sa_handler = note_end};

	setlocale(LC_ALL, "");
	if (!newterm(NULL, stdout, stdin)) {
		log_error("review: the terminal %s is not known; `reprieve pending` works on any",
			  getenv("TERM") ? getenv("TERM") : "(TERM is not set)");
		return EXIT_FAILED;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	start_colors(screen);
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(50);
	work(screen);
	endwin();
	return EXIT_DONE;
}

int cmd_review(int argc, char **argv)
{
	struct control_error error = {};
	struct common_options common;
	struct screen screen = {};
	int code = options_parse(&spec, argc, argv, NULL, &common), failed;

	if (code)
		return code;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		log_error("review needs a terminal; `reprieve pending` and `reprieve approve` do without");
		return EXIT_FAILED;
	}
	screen.socket = common.socket;
	screen.color = common.color;
	failed = connect_stream(&screen, &error);
	if (failed)
		return control_report(failed, &error);
	code = show(&screen);
	control_stream_free(screen.stream);
	json_decref(screen.holds);
	return code;
}
