/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "glob.h"

#include <stdarg.h>

#include "match.h"

#define BRACES_MAX 32 /* pairs of braces in one glob; bounds the depth of the expansion */
#define COMPONENT_BYTES 255 /* NAME_MAX */

enum token_kind {
	TOKEN_BYTE,
	TOKEN_ANY,
	TOKEN_STAR,
	TOKEN_GLOBSTAR,
	TOKEN_CLASS,
	TOKEN_OPEN,
	TOKEN_COMMA,
	TOKEN_CLOSE
};

struct token {
	uint8_t kind;
	uint8_t byte;
	bool negated;
	uint16_t class; /* index into scan.classes */
	uint16_t column;
};

/* One glob on its way from text to tokens. */
struct scan {
	const struct glob *glob;
	struct glob_error *error;
	size_t at; /* next byte of the text */
	unsigned int depth, braces;
	size_t count, class_count;
	struct token tokens[GLOB_BYTES];
	struct byte_set classes[GLOB_BYTES / 3 + 1];
};

/* Called for each plain glob that a glob with braces stands for. */
typedef int (*plain_function)(struct scan *scan, const struct token *tokens, size_t count, void *context);

static int __attribute__((format(printf, 3, 4))) fail(struct scan *scan, size_t column, const char *format, ...)
{
	va_list args;

	if (!scan->error)
		return -EINVAL;
	scan->error->column = (unsigned int)column;
	va_start(args, format);
	vsnprintf(scan->error->message, sizeof(scan->error->message), format, args);
	va_end(args);
	return -EINVAL;
}

static void set_add(struct byte_set *set, uint8_t byte)
{
	set->word[byte >> 6] |= 1ULL << (byte & 63);
}

static void set_remove(struct byte_set *set, uint8_t byte)
{
	set->word[byte >> 6] &= ~(1ULL << (byte & 63));
}

static struct byte_set set_range(unsigned int first, unsigned int last)
{
	struct byte_set set = {};

	for (unsigned int byte = first; byte <= last; byte++)
		set_add(&set, (uint8_t)byte);
	return set;
}

/* The bytes that a wildcard of this form takes. */
static struct byte_set set_wild(enum glob_form form)
{
	struct byte_set set = set_range(0, 255);

	if (form == GLOB_COMPONENTS)
		set_remove(&set, '/');
	return set;
}

bool glob_is_floating(const char *text)
{
	return starts_with(text, "**");
}

/* --- Text to tokens --- */

static void push_token(struct scan *scan, enum token_kind kind, uint8_t byte, size_t column)
{
	scan->tokens[scan->count++] = (struct token){.kind = kind, .byte = byte, .column = (uint16_t)column};
}

/* One character of a class, an escape resolved. */
static int scan_class_byte(struct scan *scan, size_t open, uint8_t *ret)
{
	const char *text = scan->glob->text;
	size_t length = scan->glob->length;
	uint8_t byte;

	if (text[scan->at] == '\\' && ++scan->at >= length)
		return fail(scan, open, "'[' is never closed; write \\[ for the character itself");
	byte = (uint8_t)text[scan->at];
	if (byte >= 0x80)
		return fail(scan, scan->at + 1, "a class holds ASCII characters only; write {a,b} instead of [ab]");
	if (byte == '/' && scan->glob->form == GLOB_COMPONENTS)
		return fail(scan, scan->at + 1, "a class never matches '/'");
	if (byte == '[' && scan->at + 1 < length && strchr(":.=", text[scan->at + 1]))
		return fail(scan, scan->at + 1, "names of classes are not known here; write ranges such as [a-zA-Z]");
	scan->at++;
	*ret = byte;
	return 0;
}

/* One character or range of a class. */
static int scan_class_item(struct scan *scan, size_t open, struct byte_set *set)
{
	const char *text = scan->glob->text;
	size_t length = scan->glob->length, start = scan->at;
	uint8_t first, last;
	int r;

	r = scan_class_byte(scan, open, &first);
	if (r)
		return r;
	last = first;
	if (scan->at + 1 < length && text[scan->at] == '-' && text[scan->at + 1] != ']') {
		scan->at++;
		r = scan_class_byte(scan, open, &last);
		if (r)
			return r;
	}
	if (first > last)
		return fail(scan, start + 1, "the range %c-%c runs backwards", first, last);
	for (unsigned int byte = first; byte <= last; byte++)
		set_add(set, (uint8_t)byte);
	return 0;
}

static int scan_class(struct scan *scan)
{
	const char *text = scan->glob->text;
	size_t length = scan->glob->length, open = ++scan->at;
	struct byte_set set = {}, wild = set_wild(scan->glob->form);
	bool negated = scan->at < length && (text[scan->at] == '!' || text[scan->at] == '^');
	size_t first = scan->at += negated;

	while (scan->at < length && (text[scan->at] != ']' || scan->at == first)) {
		int r = scan_class_item(scan, open, &set);

		if (r)
			return r;
	}
	if (scan->at >= length)
		return fail(scan, open, "'[' is never closed; write \\[ for the character itself");
	scan->at++;
	for (unsigned int i = 0; i < ARRAY_SIZE(set.word); i++)
		set.word[i] = (negated ? ~set.word[i] : set.word[i]) & wild.word[i];
	push_token(scan, TOKEN_CLASS, 0, open);
	scan->tokens[scan->count - 1].negated = negated;
	scan->tokens[scan->count - 1].class = (uint16_t)scan->class_count;
	scan->classes[scan->class_count++] = set;
	return 0;
}

static int scan_star(struct scan *scan)
{
	const char *text = scan->glob->text;
	size_t start = scan->at, run;

	while (scan->at < scan->glob->length && text[scan->at] == '*')
		scan->at++;
	run = scan->at - start;
	if (scan->glob->form != GLOB_COMPONENTS || run == 1) {
		push_token(scan, TOKEN_STAR, 0, start + 1);
		return 0;
	}
	if (run > 2)
		return fail(scan, start + 1, "%zu stars in a row; write * within a component, ** for any depth", run);
	push_token(scan, TOKEN_GLOBSTAR, 0, start + 1);
	return 0;
}

static bool token_ends_alternative(const struct token *token)
{
	return token->kind == TOKEN_OPEN || token->kind == TOKEN_COMMA;
}

static int scan_open(struct scan *scan)
{
	if (++scan->braces > BRACES_MAX)
		return fail(scan, scan->at + 1, "more than %d pairs of braces in one glob", BRACES_MAX);
	scan->depth++;
	push_token(scan, TOKEN_OPEN, 0, ++scan->at);
	return 0;
}

static int scan_comma(struct scan *scan)
{
	size_t column = ++scan->at;

	if (!scan->depth) {
		push_token(scan, TOKEN_BYTE, ',', column);
		return 0;
	}
	if (token_ends_alternative(&scan->tokens[scan->count - 1]))
		return fail(scan, column, "an alternative between braces is empty");
	push_token(scan, TOKEN_COMMA, 0, column);
	return 0;
}

/* A pair of braces without a comma at its own depth means itself to a shell, so it is better not guessed at. */
static bool has_comma(const struct scan *scan)
{
	unsigned int depth = 0;

	for (size_t i = scan->count; i-- > 0;) {
		if (scan->tokens[i].kind == TOKEN_CLOSE)
			depth++;
		else if (scan->tokens[i].kind == TOKEN_OPEN && !depth--)
			return false;
		else if (scan->tokens[i].kind == TOKEN_COMMA && !depth)
			return true;
	}
	return false;
}

static int scan_close(struct scan *scan)
{
	size_t column = ++scan->at;

	if (!scan->depth)
		return fail(scan, column, "'}' without '{' before it; write \\} for the character itself");
	if (token_ends_alternative(&scan->tokens[scan->count - 1]))
		return fail(scan, column, "an alternative between braces is empty");
	if (!has_comma(scan))
		return fail(scan, column, "braces with a single alternative; write \\{ and \\} for the characters");
	scan->depth--;
	push_token(scan, TOKEN_CLOSE, 0, column);
	return 0;
}

static int scan_escape(struct scan *scan)
{
	size_t column = ++scan->at;

	if (scan->at >= scan->glob->length)
		return fail(scan, column, "'\\' at the end escapes nothing; write \\\\ for the character itself");
	push_token(scan, TOKEN_BYTE, (uint8_t)scan->glob->text[scan->at++], column);
	return 0;
}

static int scan_token(struct scan *scan)
{
	uint8_t byte = (uint8_t)scan->glob->text[scan->at];

	switch (byte) {
	case '\\':
		return scan_escape(scan);
	case '*':
		return scan_star(scan);
	case '[':
		return scan_class(scan);
	case '{':
		return scan_open(scan);
	case ',':
		return scan_comma(scan);
	case '}':
		return scan_close(scan);
	}
	push_token(scan, byte == '?' ? TOKEN_ANY : TOKEN_BYTE, byte, ++scan->at);
	return 0;
}

/* The column of the last brace that nothing closes. */
static size_t unclosed_brace(const struct scan *scan)
{
	unsigned int depth = 0;
	size_t i = scan->count - 1;

	for (; i > 0; i--) {
		if (scan->tokens[i].kind == TOKEN_CLOSE)
			depth++;
		else if (scan->tokens[i].kind == TOKEN_OPEN && !depth--)
			break;
	}
	return scan->tokens[i].column;
}

static int scan_text(struct scan *scan)
{
	const char *nul;

	if (!scan->glob->length)
		return fail(scan, 1, "an empty glob");
	if (scan->glob->length > GLOB_BYTES)
		return fail(scan, 1, "a glob of %zu bytes; the most is %d", scan->glob->length, GLOB_BYTES);
	nul = memchr(scan->glob->text, 0, scan->glob->length);
	if (nul)
		return fail(scan, (size_t)(nul - scan->glob->text) + 1, "a NUL byte");
	while (scan->at < scan->glob->length) {
		int r = scan_token(scan);

		if (r)
			return r;
	}
	if (scan->depth)
		return fail(scan, unclosed_brace(scan), "'{' is never closed; write \\{ for the character itself");
	return 0;
}

/* --- Tokens to plain globs --- */

struct expansion {
	plain_function function;
	void *context;
	unsigned int count;
};

static size_t closing_brace(const struct token *tokens, size_t open)
{
	unsigned int depth = 0;
	size_t i = open;

	do {
		depth += tokens[i].kind == TOKEN_OPEN;
		depth -= tokens[i].kind == TOKEN_CLOSE;
		i++;
	} while (depth);
	return i - 1;
}

/* The end of the alternative that begins at `from`: the comma or the brace behind it. */
static size_t alternative_end(const struct token *tokens, size_t from)
{
	while (tokens[from].kind != TOKEN_COMMA && tokens[from].kind != TOKEN_CLOSE) {
		if (tokens[from].kind == TOKEN_OPEN)
			from = closing_brace(tokens, from);
		from++;
	}
	return from;
}

static int expand(struct scan *scan, struct expansion *expansion, const struct token *tokens, size_t count);

static int expand_alternatives(struct scan *scan, struct expansion *expansion, const struct token *tokens, size_t count,
			       size_t open)
{
	_cleanup_free_ struct token *plain = NULL;
	size_t close = closing_brace(tokens, open), tail = count - close - 1;

	plain = calloc(count, sizeof(*plain));
	if (!plain)
		return -ENOMEM;
	memcpy(plain, tokens, open * sizeof(*plain));
	for (size_t from = open + 1, end; from <= close; from = end + 1) {
		size_t length;
		int r;

		end = alternative_end(tokens, from);
		length = end - from;
		memcpy(plain + open, tokens + from, length * sizeof(*plain));
		memcpy(plain + open + length, tokens + close + 1, tail * sizeof(*plain));
		r = expand(scan, expansion, plain, open + length + tail);
		if (r)
			return r;
	}
	return 0;
}

static int expand(struct scan *scan, struct expansion *expansion, const struct token *tokens, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (tokens[i].kind == TOKEN_OPEN)
			return expand_alternatives(scan, expansion, tokens, count, i);
	if (++expansion->count > GLOB_EXPANSIONS)
		return fail(scan, 1, "the braces stand for more than %d globs", GLOB_EXPANSIONS);
	return expansion->function(scan, tokens, count, expansion->context);
}

/* --- Checks of a plain glob --- */

static bool is_slash(const struct token *token)
{
	return token->kind == TOKEN_BYTE && token->byte == '/';
}

static size_t component_end(const struct token *tokens, size_t count, size_t from)
{
	while (from < count && !is_slash(&tokens[from]))
		from++;
	return from;
}

static bool is_dots(const struct token *tokens, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (tokens[i].kind != TOKEN_BYTE || tokens[i].byte != '.')
			return false;
	return count == 1 || count == 2;
}

static int check_component(struct scan *scan, const struct token *tokens, size_t count)
{
	size_t least = 0;

	if (is_dots(tokens, count))
		return fail(scan, tokens[0].column, "a path has no component '.' or '..' once it is resolved");
	for (size_t i = 0; i < count; i++) {
		if (tokens[i].kind == TOKEN_GLOBSTAR && count > 1)
			return fail(scan, tokens[i].column,
				    "** stands alone between slashes; write **/*.c instead of **.c");
		least += tokens[i].kind != TOKEN_STAR;
	}
	if (least > COMPONENT_BYTES)
		return fail(scan, tokens[0].column, "a component of %zu bytes can never match; the most is %d", least,
			    COMPONENT_BYTES);
	return 0;
}

static int check_beginning(struct scan *scan, const struct token *tokens, size_t count)
{
	if (count && (is_slash(&tokens[0]) || tokens[0].kind == TOKEN_GLOBSTAR))
		return 0;
	if (count && tokens[0].kind == TOKEN_BYTE && (tokens[0].byte == '~' || tokens[0].byte == '$'))
		return fail(scan, tokens[0].column, "'%c' is not expanded here; write the path, for instance /home/*/",
			    tokens[0].byte);
	return fail(scan, count ? tokens[0].column : 1, "a glob begins with / or with **/; for any depth write **/%.*s",
		    (int)MIN(scan->glob->length, (size_t)100), scan->glob->text);
}

static int check_plain(struct scan *scan, const struct token *tokens, size_t count, void *context)
{
	size_t end;
	int r;

	(void)context;
	if (scan->glob->form != GLOB_COMPONENTS)
		return 0;
	r = check_beginning(scan, tokens, count);
	if (r)
		return r;
	for (size_t from = is_slash(&tokens[0]); from < count; from = end + 1) {
		end = component_end(tokens, count, from);
		if (end == from)
			return fail(scan, tokens[from].column, "'//' never stands in a resolved path");
		r = check_component(scan, tokens + from, end - from);
		if (r)
			return r;
	}
	if (count > 1 && is_slash(&tokens[count - 1]))
		return fail(scan, tokens[count - 1].column,
			    "'/' at the end; write /dir for the directory itself, /dir/** for what is below it");
	return 0;
}

static int scan_glob(const struct glob *glob, struct glob_error *error, plain_function function, void *context)
{
	struct expansion expansion = {.function = function, .context = context};
	_cleanup_free_ struct scan *scan = NULL;
	int r;

	scan = calloc(1, sizeof(*scan));
	if (!scan)
		return -ENOMEM;
	scan->glob = glob;
	scan->error = error;
	r = scan_text(scan);
	if (r)
		return r;
	return expand(scan, &expansion, scan->tokens, scan->count);
}

int glob_check(const struct glob *glob, struct glob_error *error)
{
	return scan_glob(glob, error, check_plain, NULL);
}

/* --- The automaton --- */

/* Makes room for one more element of `size` bytes. */
static int reserve(void **array, size_t count, size_t *capacity, size_t size)
{
	size_t larger = *capacity ? *capacity * 2 : 16;
	void *grown;

	if (count < *capacity)
		return 0;
	grown = reallocarray(*array, larger, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*capacity = larger;
	return 0;
}

int nfa_new(struct nfa **ret)
{
	struct nfa *nfa = calloc(1, sizeof(*nfa));

	if (!nfa)
		return -ENOMEM;
	*ret = nfa;
	return 0;
}

void nfa_free(struct nfa *nfa)
{
	if (!nfa)
		return;
	for (size_t i = 0; i < nfa->node_count; i++)
		free(nfa->nodes[i].edges);
	free(nfa->nodes);
	free(nfa->accepts);
	free(nfa->sets);
	free(nfa->sinks);
	free(nfa);
}

static int add_node(struct nfa *nfa, uint16_t loop, uint32_t *ret)
{
	int r;

	if (nfa->node_count >= NFA_NODES_MAX)
		return -E2BIG;
	r = reserve((void **)&nfa->nodes, nfa->node_count, &nfa->node_capacity, sizeof(*nfa->nodes));
	if (r)
		return r;
	nfa->nodes[nfa->node_count] = (struct nfa_node){.accept = -1, .loop = loop};
	*ret = (uint32_t)nfa->node_count++;
	return 0;
}

int nfa_root(struct nfa *nfa, uint32_t *ret)
{
	return add_node(nfa, NFA_NO_LOOP, ret);
}

/* The label of a byte set; equal sets have one label. */
static int set_label(struct nfa *nfa, const struct byte_set *set, uint16_t *ret)
{
	int r;

	for (size_t i = 0; i < nfa->set_count; i++) {
		if (!memcmp(&nfa->sets[i], set, sizeof(*set))) {
			*ret = (uint16_t)(NFA_SET + i);
			return 0;
		}
	}
	if (NFA_SET + nfa->set_count >= NFA_EPSILON)
		return -E2BIG;
	r = reserve((void **)&nfa->sets, nfa->set_count, &nfa->set_capacity, sizeof(*nfa->sets));
	if (r)
		return r;
	nfa->sets[nfa->set_count] = *set;
	*ret = (uint16_t)(NFA_SET + nfa->set_count++);
	return 0;
}

static int add_edge(struct nfa_node *node, uint16_t label, uint32_t target)
{
	if (node->edge_count == node->edge_capacity) {
		uint32_t larger = node->edge_capacity ? node->edge_capacity * 2 : 2;
		struct nfa_edge *grown = reallocarray(node->edges, larger, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		node->edges = grown;
		node->edge_capacity = larger;
	}
	node->edges[node->edge_count++] = (struct nfa_edge){.label = label, .target = target};
	return 0;
}

/* An edge between two nodes that are there already. */
static int link_nodes(struct nfa *nfa, uint32_t from, uint16_t label, uint32_t target)
{
	struct nfa_node *node = &nfa->nodes[from];

	for (uint32_t i = 0; i < node->edge_count; i++)
		if (node->edges[i].label == label && node->edges[i].target == target)
			return 0;
	return add_edge(node, label, target);
}

/* The node behind an edge; made where there is none. Moves *at there. */
static int follow(struct nfa *nfa, uint32_t *at, uint16_t label, uint16_t loop)
{
	struct nfa_node *node = &nfa->nodes[*at];
	uint32_t target;
	int r;

	for (uint32_t i = 0; i < node->edge_count; i++) {
		target = node->edges[i].target;
		/* Edges back, and those to sinks, are not the tree's own: nothing may be built behind them. */
		if (node->edges[i].label == label && nfa->nodes[target].loop == loop && target > *at &&
		    !nfa->nodes[target].sink) {
			*at = target;
			return 0;
		}
	}
	r = add_node(nfa, loop, &target);
	if (r)
		return r;
	r = add_edge(&nfa->nodes[*at], label, target);
	if (!r)
		*at = target;
	return r;
}

static int follow_set(struct nfa *nfa, uint32_t *at, const struct byte_set *set)
{
	uint16_t label;
	int r = set_label(nfa, set, &label);

	return r ? r : follow(nfa, at, label, NFA_NO_LOOP);
}

/* Any number of bytes of a set: a node that loops, beside the way. */
static int follow_loop(struct nfa *nfa, uint32_t *at, const struct byte_set *set)
{
	uint16_t label;
	int r = set_label(nfa, set, &label);

	if (r)
		return r;
	if (nfa->nodes[*at].loop == label)
		return 0;
	return follow(nfa, at, NFA_EPSILON, label);
}

/* The characters of 2, 3 and 4 bytes: each a lead byte and continuation bytes, all to the same target. */
static int link_multibyte(struct nfa *nfa, uint32_t from, uint32_t target)
{
	static const struct {
		uint8_t first, last, bytes;
	} leads[] = {{0xc2, 0xdf, 2}, {0xe0, 0xef, 3}, {0xf0, 0xf4, 4}};
	struct byte_set continuation = set_range(0x80, 0xbf);
	uint16_t label;
	int r = set_label(nfa, &continuation, &label);

	for (size_t i = 0; !r && i < ARRAY_SIZE(leads); i++) {
		struct byte_set lead = set_range(leads[i].first, leads[i].last);
		uint32_t at = from;

		r = follow_set(nfa, &at, &lead);
		for (unsigned int n = 2; !r && n < leads[i].bytes; n++)
			r = follow(nfa, &at, label, NFA_NO_LOOP);
		if (!r)
			r = link_nodes(nfa, at, label, target);
	}
	return r;
}

/* One character: a byte of the set or, for wildcards and negated classes, any character beyond ASCII. A byte that
 * begins one never stands alone: were both tried, every ? would multiply states. */
static int follow_character(struct nfa *nfa, uint32_t *at, const struct byte_set *set, bool beyond_ascii)
{
	struct byte_set single = *set;
	uint32_t from = *at;
	int r;

	for (unsigned int byte = 0xc2; beyond_ascii && byte <= 0xf4; byte++)
		set_remove(&single, (uint8_t)byte);
	r = follow_set(nfa, at, &single);
	if (r || !beyond_ascii)
		return r;
	return link_multibyte(nfa, from, *at);
}

static struct byte_set set_swapped(const struct byte_set *set)
{
	struct byte_set swapped = {};

	for (unsigned int byte = 0; byte < 256; byte++)
		if (byte_set_has(set, (uint8_t)byte))
			set_add(&swapped, swap_case((uint8_t)byte));
	return swapped;
}

static int follow_token(struct nfa *nfa, const struct scan *scan, const struct token *token, uint32_t *at)
{
	struct byte_set wild = set_wild(scan->glob->form), class = {};
	bool swapped = scan->glob->form == GLOB_VARIABLE;

	switch (token->kind) {
	case TOKEN_BYTE:
		return follow(nfa, at, swapped ? swap_case(token->byte) : token->byte, NFA_NO_LOOP);
	case TOKEN_CLASS:
		class = scan->classes[token->class];
		if (swapped)
			class = set_swapped(&class);
		return follow_character(nfa, at, &class, token->negated);
	case TOKEN_ANY:
		return follow_character(nfa, at, &wild, true);
	}
	return follow_loop(nfa, at, &wild);
}

static bool only_stars(const struct token *tokens, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (tokens[i].kind != TOKEN_STAR)
			return false;
	return true;
}

static int follow_tokens(struct nfa *nfa, const struct scan *scan, const struct token *tokens, size_t count,
			 uint32_t *at)
{
	struct byte_set wild = set_wild(scan->glob->form);
	int r = 0;

	/* A component has at least one byte: a lone star does not match the root directory. */
	if (scan->glob->form == GLOB_COMPONENTS && only_stars(tokens, count))
		r = follow_set(nfa, at, &wild);
	for (size_t i = 0; !r && i < count; i++)
		r = follow_token(nfa, scan, &tokens[i], at);
	return r;
}

static void set_bit(struct rule_set *set, unsigned int bit)
{
	set->word[bit / 64 & 1] |= 1ULL << (bit & 63);
}

static int accept_of(struct nfa *nfa, uint32_t at, struct dfa_accept **ret)
{
	struct nfa_node *node = &nfa->nodes[at];

	if (node->accept < 0) {
		int r = reserve((void **)&nfa->accepts, nfa->accept_count, &nfa->accept_capacity,
				sizeof(*nfa->accepts));

		if (r)
			return r;
		nfa->accepts[nfa->accept_count] = (struct dfa_accept){};
		node->accept = (int32_t)nfa->accept_count++;
	}
	*ret = &nfa->accepts[node->accept];
	return 0;
}

static int mark_match(struct nfa *nfa, uint32_t at, const struct glob *glob)
{
	struct dfa_accept *accept;
	int r = accept_of(nfa, at, &accept);

	if (!r)
		set_bit(glob->not ? &accept->match_not : &accept->match, glob->bit);
	return r;
}

static int mark_ancestor(struct nfa *nfa, uint32_t at, const struct glob *glob)
{
	struct dfa_accept *accept;
	int r = accept_of(nfa, at, &accept);

	if (!r)
		set_bit(&accept->ancestor, glob->bit);
	return r;
}

/* ** with components behind it: `(.*<slash>)?`, from a place right behind a slash to another such place. */
static int follow_depth(struct nfa *nfa, uint32_t *at)
{
	struct byte_set any = set_range(0, 255);
	uint32_t from = *at, to = *at;
	int r = follow_loop(nfa, &to, &any);

	if (!r)
		r = follow(nfa, &to, '/', NFA_NO_LOOP);
	if (!r)
		r = link_nodes(nfa, from, NFA_EPSILON, to);
	if (!r)
		*at = to;
	return r;
}

static int sink_of(struct nfa *nfa, uint32_t root, const struct glob *glob, uint32_t *ret)
{
	struct byte_set any = set_range(0, 255);
	uint16_t label;
	uint32_t at;
	int r;

	for (size_t i = 0; i < nfa->sink_count; i++) {
		const struct nfa_sink *sink = &nfa->sinks[i];

		if (sink->root == root && sink->bit == glob->bit && sink->not == glob->not ) {
			*ret = sink->node;
			return 0;
		}
	}
	r = set_label(nfa, &any, &label);
	if (!r)
		r = reserve((void **)&nfa->sinks, nfa->sink_count, &nfa->sink_capacity, sizeof(*nfa->sinks));
	if (!r)
		r = add_node(nfa, label, &at);
	if (!r)
		r = mark_match(nfa, at, glob);
	if (r)
		return r;
	nfa->nodes[at].sink = true;
	nfa->sinks[nfa->sink_count++] =
		(struct nfa_sink){.root = root, .node = at, .bit = glob->bit, .not = glob->not };
	*ret = at;
	return 0;
}

/* ** at the end: at least one byte more; where it is the whole glob, anything. */
static int finish_rest(struct nfa *nfa, uint32_t root, uint32_t at, const struct glob *glob)
{
	struct byte_set any = set_range(0, 255);
	uint16_t label;
	uint32_t sink;
	int r = sink_of(nfa, root, glob, &sink);

	if (!r)
		r = set_label(nfa, &any, &label);
	return r ? r : link_nodes(nfa, at, at == root ? NFA_EPSILON : label, sink);
}

struct nfa_place {
	struct nfa *nfa;
	uint32_t root;
};

/* Components up to the last one. Places right behind a slash and places behind a name alternate. */
static int add_components(struct nfa *nfa, const struct scan *scan, const struct token *tokens, size_t count,
			  uint32_t root)
{
	const struct glob *glob = scan->glob;
	bool ancestors = glob->ancestors && is_slash(&tokens[0]);
	uint32_t at = root;
	size_t from = is_slash(&tokens[0]), end;
	int r = from ? follow(nfa, &at, '/', NFA_NO_LOOP) : 0;

	if (!r && ancestors && count > 1)
		r = mark_ancestor(nfa, at, glob);
	for (; !r && from < count; from = end + 1) {
		bool depth = tokens[from].kind == TOKEN_GLOBSTAR;

		end = component_end(tokens, count, from);
		if (depth) {
			ancestors = false;
			/* Of several in a row the last one counts. */
			if (end + 1 < count && tokens[end + 1].kind == TOKEN_GLOBSTAR)
				continue;
			if (end == count)
				return finish_rest(nfa, root, at, glob);
			r = follow_depth(nfa, &at);
			continue;
		}
		r = follow_tokens(nfa, scan, tokens + from, end - from, &at);
		if (end == count)
			break;
		if (!r && ancestors)
			r = mark_ancestor(nfa, at, glob);
		if (!r)
			r = follow(nfa, &at, '/', NFA_NO_LOOP);
	}
	return r ? r : mark_match(nfa, at, glob);
}

static int add_plain(struct scan *scan, const struct token *tokens, size_t count, void *context)
{
	struct nfa_place *place = context;
	uint32_t at = place->root;
	int r = check_plain(scan, tokens, count, NULL);

	if (r)
		return r;
	if (scan->glob->form == GLOB_COMPONENTS)
		return add_components(place->nfa, scan, tokens, count, place->root);
	r = follow_tokens(place->nfa, scan, tokens, count, &at);
	return r ? r : mark_match(place->nfa, at, scan->glob);
}

int nfa_add(struct nfa *nfa, uint32_t root, const struct glob *glob, struct glob_error *error)
{
	struct nfa_place place = {.nfa = nfa, .root = root};

	return scan_glob(glob, error, add_plain, &place);
}

/* --- Walking it --- */

static bool label_has(const struct nfa *nfa, uint16_t label, uint8_t byte)
{
	if (label < NFA_SET)
		return label == byte;
	return label != NFA_EPSILON && byte_set_has(&nfa->sets[label - NFA_SET], byte);
}

static void enter_node(const struct nfa *nfa, uint32_t at, uint8_t *active)
{
	const struct nfa_node *node = &nfa->nodes[at];

	if (active[at])
		return;
	active[at] = 1;
	for (uint32_t i = 0; i < node->edge_count; i++)
		if (node->edges[i].label == NFA_EPSILON)
			enter_node(nfa, node->edges[i].target, active);
}

static void step_node(const struct nfa *nfa, uint32_t at, uint8_t byte, uint8_t *next)
{
	const struct nfa_node *node = &nfa->nodes[at];

	if (node->loop != NFA_NO_LOOP && label_has(nfa, node->loop, byte))
		enter_node(nfa, at, next);
	for (uint32_t i = 0; i < node->edge_count; i++)
		if (label_has(nfa, node->edges[i].label, byte))
			enter_node(nfa, node->edges[i].target, next);
}

int nfa_match(const struct nfa *nfa, uint32_t root, const char *text, size_t length, struct dfa_accept *ret)
{
	_cleanup_free_ uint8_t *nodes = calloc(nfa->node_count, 2);
	uint8_t *active = nodes, *next = nodes + nfa->node_count;
	struct dfa_accept result = {};

	if (!nodes)
		return -ENOMEM;
	enter_node(nfa, root, active);
	for (size_t i = 0; i < length; i++) {
		uint8_t *spent = active;

		memset(next, 0, nfa->node_count);
		for (uint32_t at = 0; at < nfa->node_count; at++)
			if (active[at])
				step_node(nfa, at, (uint8_t)text[i], next);
		active = next;
		next = spent;
	}
	for (uint32_t at = 0; at < nfa->node_count; at++) {
		const struct nfa_node *node = &nfa->nodes[at];

		if (!active[at] || node->accept < 0)
			continue;
		rule_set_or(&result.match, &nfa->accepts[node->accept].match);
		rule_set_or(&result.match_not, &nfa->accepts[node->accept].match_not);
		rule_set_or(&result.ancestor, &nfa->accepts[node->accept].ancestor);
	}
	*ret = result;
	return 0;
}
