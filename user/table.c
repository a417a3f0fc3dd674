/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "table.h"

#include "event_line.h"
#include "util.h"

#define COLUMN_GAP 2

struct cell {
	char *text;
	size_t width;
	bool right;
};

struct table {
	const char *const *titles;
	size_t columns;
	struct cell *cells;
	size_t count;
	size_t room;
	int error;
};

/* Characters, which is columns for all but wide scripts. */
static size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

struct table *table_new(const char *const *titles, size_t columns)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->titles = titles;
	table->columns = columns;
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
}

static int table_make_room(struct table *table)
{
	size_t room = table->room ? table->room * 2 : 64;
	struct cell *cells;

	if (table->count < table->room)
		return 0;
	cells = reallocarray(table->cells, room, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	table->cells = cells;
	table->room = room;
	return 0;
}

static void table_add_cell(struct table *table, const char *text, bool right)
{
	_cleanup_buffer_ struct buffer buffer = {};
	const char *safe;

	line_add_text(&buffer, text && *text ? text : "-");
	safe = buffer_string(&buffer);
	if (!safe || table_make_room(table)) {
		table->error = -ENOMEM;
		return;
	}
	table->cells[table->count++] = (struct cell){take_pointer(buffer.data), text_width(safe), right};
}

void table_add(struct table *table, const char *text)
{
	table_add_cell(table, text, false);
}

void table_add_number(struct table *table, int64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%jd", (intmax_t)number);
	table_add_cell(table, text, true);
}

static size_t column_width(const struct table *table, size_t column)
{
	size_t width = text_width(table->titles[column]);

	for (size_t i = column; i < table->count; i += table->columns)
		width = MAX(width, table->cells[i].width);
	return width;
}

static void print_cell(FILE *to, const char *text, size_t used, size_t width, bool right, bool last)
{
	int pad = (int)(width - used);

	if (right)
		fprintf(to, "%*s%s", pad, "", text);
	else
		fprintf(to, "%s%*s", text, last ? 0 : pad, "");
	fprintf(to, "%*s", last ? 0 : COLUMN_GAP, "");
}

int table_print(const struct table *table, FILE *to, const char *indent, bool color)
{
	size_t widths[table->columns];

	if (table->error)
		return table->error;
	for (size_t i = 0; i < table->columns; i++)
		widths[i] = column_width(table, i);

	fprintf(to, "%s%s", indent, color ? "\033[1m" : "");
	for (size_t i = 0; i < table->columns; i++)
		print_cell(to, table->titles[i], text_width(table->titles[i]), widths[i],
			   i < table->count && table->cells[i].right, i == table->columns - 1);
	fprintf(to, "%s\n", color ? "\033[0m" : "");

	for (size_t i = 0; i < table->count; i++) {
		const struct cell *cell = &table->cells[i];
		bool last = i % table->columns == table->columns - 1;

		if (i % table->columns == 0)
			fputs(indent, to);
		print_cell(to, cell->text, cell->width, widths[i % table->columns], cell->right, last);
		if (last)
			fputc('\n', to);
	}
	return 0;
}
