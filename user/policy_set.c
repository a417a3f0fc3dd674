/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "policy_set.h"

#include <ctype.h>

#define ERRORS_SHOWN 3
#define ITEMS_MAX 512 /* that are looked at; not a quarter of them can fit, as each has an agent */
#define SEARCHES_MAX 3 /* for objects that are too much, each of some loads that take the longest that loads can */
#define MESSAGE_MAX 2048 /* bytes of a condition's message; Kubernetes takes 32768 */

struct policy_set {
	struct policy_item **items; /* sorted by namespace and name */
	size_t count;
	char *text, *origin; /* the node's own; NULL: none yet */
	unsigned int lines; /* of it */
	unsigned int revisions; /* given to items' texts */
};

/* ---- an object as YAML ---- */

static bool is_plain(const char *text, size_t length)
{
	static const char *const others[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};

	if (!isalpha((unsigned char)text[0]) || length > 64)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("_.-", text[i]))
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (!strcasecmp(text, others[i]))
			return false;
	return true;
}

/* The code point that begins at a byte of well-formed UTF-8, which JSON's texts are. */
static uint32_t code_point(const unsigned char *at, size_t *ret_length)
{
	size_t length = *at < 0x80 ? 1 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
	uint32_t code = length == 1 ? *at : *at & (0x7fu >> length);

	for (size_t i = 1; i < length; i++)
		code = code << 6 | (at[i] & 0x3f);
	*ret_length = length;
	return code;
}

/* What YAML does not take between quotes as it is (YAML 1.1, 5.1), or breaks lines at. */
static bool is_escaped(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 || code == 0xfeff ||
	       code == 0xfffe || code == 0xffff;
}

static void add_quoted(struct buffer *out, const char *text, size_t length)
{
	size_t step;

	buffer_char(out, '"');
	for (size_t i = 0; i < length; i += step) {
		uint32_t code = code_point((const unsigned char *)text + i, &step);

		if (is_escaped(code)) {
			buffer_format(out, "\\u%04x", code);
			continue;
		}
		if (code == '"' || code == '\\')
			buffer_char(out, '\\');
		buffer_add(out, text + i, step);
	}
	buffer_char(out, '"');
}

static void add_text(struct buffer *out, const char *text, size_t length)
{
	if (is_plain(text, length))
		buffer_add(out, text, length);
	else
		add_quoted(out, text, length);
}

static void add_flow(struct buffer *out, const json_t *value);

static void add_pair(struct buffer *out, const char *key, const json_t *value, bool *first)
{
	buffer_text(out, *first ? "" : ", ");
	*first = false;
	add_text(out, key, strlen(key));
	buffer_text(out, ": ");
	add_flow(out, value);
}

/* A name before all else, for those who read it. */
static void add_flow_map(struct buffer *out, const json_t *map)
{
	const json_t *name = json_object_get(map, "name"), *value;
	bool first = true;
	const char *key;

	buffer_char(out, '{');
	if (name)
		add_pair(out, "name", name, &first);
	json_object_foreach ((json_t *)map, key, value)
		if (!streq(key, "name"))
			add_pair(out, key, value, &first);
	buffer_char(out, '}');
}

static void add_flow_list(struct buffer *out, const json_t *list)
{
	const json_t *item;
	size_t i;

	buffer_char(out, '[');
	json_array_foreach (list, i, item) {
		buffer_text(out, i ? ", " : "");
		add_flow(out, item);
	}
	buffer_char(out, ']');
}

static void add_flow(struct buffer *out, const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		add_flow_map(out, value);
		break;
	case JSON_ARRAY:
		add_flow_list(out, value);
		break;
	case JSON_STRING:
		add_text(out, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		buffer_signed(out, json_integer_value(value));
		break;
	case JSON_REAL:
		buffer_format(out, "%.17g", json_real_value(value));
		break;
	default:
		buffer_text(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
	}
}

/* One agent and one rule a line: a place then names one thing. */
static void add_spec(struct buffer *out, const json_t *spec)
{
	const json_t *value, *item;
	const char *key;
	size_t i;

	json_object_foreach ((json_t *)spec, key, value) {
		buffer_text(out, "  ");
		add_text(out, key, strlen(key));
		buffer_char(out, ':');
		if (!json_array_size(value)) {
			buffer_char(out, ' ');
			add_flow(out, value);
		}
		json_array_foreach (value, i, item) {
			buffer_text(out, "\n    - ");
			add_flow(out, item);
		}
		buffer_char(out, '\n');
	}
}

static char *render(const char *space, const char *name, json_int_t generation, const json_t *spec)
{
	_cleanup_buffer_ struct buffer out = {};

	buffer_text(&out, "---\napiVersion: " OBJECT_API_VERSION "\nkind: " OBJECT_KIND "\nmetadata: {namespace: ");
	add_text(&out, space, strlen(space));
	buffer_text(&out, ", name: ");
	add_text(&out, name, strlen(name));
	buffer_format(&out, ", generation: %lld}\n", (long long)generation);
	if (json_object_size(spec)) {
		buffer_text(&out, "spec:\n");
		add_spec(&out, spec);
	} else {
		buffer_text(&out, "spec: {}\n");
	}
	return buffer_string(&out) ? strdup(out.data) : NULL;
}

/* ---- the items ---- */

static void item_free(struct policy_item *item)
{
	if (!item)
		return;
	json_decref(item->told);
	free(item->item_namespace);
	free(item->name);
	free(item->uid);
	free(item->version);
	free(item->text);
	free(item->good);
	free(item->message);
	free(item->wrong);
	free(item->logged);
	free(item);
}

int policy_set_new(struct policy_set **ret_set)
{
	struct policy_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	*ret_set = set;
	return 0;
}

void policy_set_free(struct policy_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->count; i++)
		item_free(set->items[i]);
	free(set->items);
	free(set->text);
	free(set->origin);
	free(set);
}

int policy_set_own(struct policy_set *set, const struct policy *own)
{
	const char *text = policy_text(own);
	size_t length = strlen(text);
	char *origin = strdup(policy_origin(own)), *copy;

	if (asprintf(&copy, "%s%s", text, length && text[length - 1] != '\n' ? "\n" : "") < 0)
		copy = NULL;
	if (!origin || !copy) {
		free(origin);
		free(copy);
		return -ENOMEM;
	}
	free(set->text);
	free(set->origin);
	set->text = copy;
	set->origin = origin;
	set->lines = 0;
	for (; *copy; copy++)
		set->lines += *copy == '\n';
	return 0;
}

static int compare(const struct policy_item *item, const char *space, const char *name)
{
	int order = strcmp(item->item_namespace, space);

	return order ? order : strcmp(item->name, name);
}

/* Where it is, or where it belongs. */
static size_t place_of(const struct policy_set *set, const char *space, const char *name, bool *ret_found)
{
	size_t at = 0;

	while (at < set->count && compare(set->items[at], space, name) < 0)
		at++;
	*ret_found = at < set->count && !compare(set->items[at], space, name);
	return at;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && text[0] ? text : NULL;
}

static struct policy_item *insert(struct policy_set *set, size_t at, const char *space, const char *name)
{
	struct policy_item **grown = reallocarray(set->items, set->count + 1, sizeof(*grown)), *item;

	if (!grown)
		return NULL;
	set->items = grown;
	item = calloc(1, sizeof(*item));
	if (!item)
		return NULL;
	item->item_namespace = strdup(space);
	item->name = strdup(name);
	if (!item->item_namespace || !item->name) {
		item_free(item);
		return NULL;
	}
	memmove(grown + at + 1, grown + at, (set->count - at) * sizeof(*grown));
	grown[at] = item;
	set->count++;
	return item;
}

static void cut(struct policy_set *set, size_t at)
{
	item_free(set->items[at]);
	set->count--;
	memmove(set->items + at, set->items + at + 1, (set->count - at) * sizeof(*set->items));
}

static void take_text(struct policy_item *item, char *text, const json_t *spec)
{
	free(item->text);
	item->text = text;
	item->agents = json_array_size(json_object_get(spec, "agents"));
	item->rules = json_array_size(json_object_get(spec, "rules"));
	item->judged = item->checked = false;
	free(take_pointer(item->wrong));
}

/* The item of an object, as new as it is. NULL: out of memory. */
static struct policy_item *find_or_insert(struct policy_set *set, const json_t *metadata)
{
	const char *space = text_of(metadata, "namespace"), *name = text_of(metadata, "name");
	bool found;
	size_t at = place_of(set, space, name, &found);

	return found ? set->items[at] : insert(set, at, space, name);
}

int policy_set_apply(struct policy_set *set, const json_t *object, bool *ret_changed, struct policy_item **ret_item)
{
	const json_t *metadata = json_object_get(object, "metadata"), *spec = json_object_get(object, "spec");
	const char *space = text_of(metadata, "namespace"), *name = text_of(metadata, "name");
	const char *uid = text_of(metadata, "uid"), *version = text_of(metadata, "resourceVersion");
	json_int_t generation = json_integer_value(json_object_get(metadata, "generation"));
	_cleanup_free_ char *text = NULL, *own_uid = NULL, *own_version = NULL;
	struct policy_item *item;

	if (!space || !name || !uid)
		return -EBADMSG;
	text = render(space, name, generation, spec);
	own_uid = strdup(uid);
	own_version = strdup(version ? version : "");
	item = text && own_uid && own_version ? find_or_insert(set, metadata) : NULL;
	if (!item)
		return -ENOMEM;
	item->listed = true;
	item->generation = generation;
	free(item->uid);
	item->uid = take_pointer(own_uid);
	if (item->sent && !streq(item->version, own_version)) {
		item->sent = false;
		item->due = 0;
	}
	free(item->version);
	item->version = take_pointer(own_version);
	json_decref(item->told);
	item->told = json_deep_copy(json_object_get(object, "status"));
	*ret_changed = !item->text || !streq(item->text, text);
	if (*ret_changed) {
		take_text(item, take_pointer(text), spec);
		item->revision = ++set->revisions;
	}
	if (ret_item)
		*ret_item = item;
	return 0;
}

bool policy_set_remove(struct policy_set *set, const json_t *object)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *space = text_of(metadata, "namespace"), *name = text_of(metadata, "name");
	bool found = false;
	size_t at = space && name ? place_of(set, space, name, &found) : 0;

	if (found)
		cut(set, at);
	return found;
}

void policy_set_list_begin(struct policy_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		set->items[i]->listed = false;
}

bool policy_set_list_end(struct policy_set *set)
{
	size_t before = set->count;

	for (size_t i = set->count; i-- > 0;)
		if (!set->items[i]->listed)
			cut(set, i);
	return set->count != before;
}

void policy_set_for_each(struct policy_set *set, void (*each)(struct policy_item *item, void *userdata), void *userdata)
{
	for (size_t i = 0; i < set->count; i++)
		each(set->items[i], userdata);
}

size_t policy_set_count(const struct policy_set *set)
{
	return set->count;
}

/* ---- what is wrong, in an object's own words ---- */

/* A text in which objects stand behind each other, and what was said of it. */
struct stream {
	const struct policy_set *set; /* NULL: one object stands alone */
	struct policy_item *const *items;
	size_t count;
	unsigned int *lines; /* that each begins in */
};

static size_t stream_find(const struct stream *stream, unsigned int line)
{
	size_t at = stream->count;

	while (at > 0 && stream->lines[at - 1] > line)
		at--;
	return line && at ? at - 1 : SIZE_MAX;
}

static void add_path(const struct policy_item *item, unsigned int line, unsigned int column, struct buffer *out)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_buffer_ struct buffer path = {};
	struct yaml_node *root = NULL;

	if (!yaml_tree_parse(item->text, strlen(item->text), &errors, &root) && root)
		yaml_path_of(root, line, column, &path);
	yaml_tree_free(root);
	buffer_add(out, path.data, path.length);
}

/* "line 14" is of a text that the object's author never saw. */
static void add_line_name(const struct stream *stream, const struct policy_item *item, unsigned int line,
			  struct buffer *out)
{
	size_t at = stream_find(stream, line);
	size_t before = out->length;

	if (at == SIZE_MAX) {
		buffer_format(out, "line %u of the node's own policy", line);
		return;
	}
	if (stream->items[at] != item) {
		buffer_format(out, "%s/%s", stream->items[at]->item_namespace, stream->items[at]->name);
		return;
	}
	add_path(item, line - stream->lines[at] + 1, UINT32_MAX, out);
	/* The list's entry, whatever of it stands last in the line. */
	for (size_t i = before; i < out->length; i++)
		if (out->data[i] == ']') {
			out->length = i + 1;
			break;
		}
}

static void add_message(const struct stream *stream, const struct policy_item *item, const char *message,
			struct buffer *out)
{
	static const char word[] = "line ";
	const char *at;

	while ((at = strstr(message, word)) && isdigit((unsigned char)at[strlen(word)])) {
		char *end;
		unsigned long line = strtoul(at + strlen(word), &end, 10);

		buffer_add(out, message, (size_t)(at - message));
		add_line_name(stream, item, (unsigned int)line, out);
		message = end;
	}
	buffer_text(out, message);
}

/* All that was said of one object; *ret_count: how many errors. */
static char *describe(const struct stream *stream, size_t index, const struct policy_errors *errors)
{
	const struct policy_item *item = stream->items[index];
	_cleanup_buffer_ struct buffer out = {};
	size_t shown = 0, more = 0;

	for (size_t i = 0; i < errors->count; i++) {
		const struct policy_error *error = &errors->entries[i];
		size_t before = out.length;

		if (error->warning || stream_find(stream, error->line) != index)
			continue;
		if (shown == ERRORS_SHOWN || out.length > MESSAGE_MAX) {
			more++;
			continue;
		}
		buffer_text(&out, shown++ ? "; " : "");
		before = out.length;
		add_path(item, error->line - stream->lines[index] + 1, error->column, &out);
		buffer_text(&out, out.length > before ? ": " : "");
		add_message(stream, item, error->message ? error->message : "out of memory", &out);
	}
	if (more)
		buffer_format(&out, "; and %zu more", more);
	return buffer_string(&out) ? strdup(out.data) : NULL;
}

static bool is_to_blame(const struct stream *stream, size_t index, const struct policy_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		if (!errors->entries[i].warning && stream_find(stream, errors->entries[i].line) == index)
			return true;
	return false;
}

/* What concerns the text as a whole. */
static const char *whole_message(const struct policy_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		if (!errors->entries[i].warning && errors->entries[i].message)
			return errors->entries[i].message;
	return "it does not fit";
}

/* ---- composing ---- */

static int refuse(struct policy_item *item, const char *reason, char *message)
{
	item->accepted = false;
	item->reason = reason;
	free(item->message);
	item->message = message;
	return message ? 0 : -ENOMEM;
}

/* An object is looked at alone first: what is wrong with it is then its own fault, whatever else there is. */
static int check_alone(struct policy_item *item)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;
	unsigned int line = 1;
	struct stream stream = {.items = &item, .count = 1, .lines = &line};
	int r = agent_registry_new(&registry);

	if (!r)
		r = policy_load_text(item->text, strlen(item->text), "object", registry, 0, &policy, &errors);
	if (r && r != -EINVAL)
		return r;
	if (r && is_to_blame(&stream, 0, &errors))
		item->wrong = describe(&stream, 0, &errors);
	else if (r)
		item->wrong = strdup(whole_message(&errors));
	item->checked = !r || item->wrong;
	return item->checked ? 0 : -ENOMEM;
}

/* The node's own policy and the first `count` of the candidates: as they are now, or as they were when they were taken. */
static int load_texts(const struct stream *stream, size_t count, bool good, struct agent_registry *registry,
		      uint32_t generation, struct policy **ret, struct policy_errors *errors)
{
	_cleanup_buffer_ struct buffer text = {};
	unsigned int line = stream->set->lines + 1;

	buffer_text(&text, stream->set->text);
	for (size_t i = 0; i < count; i++) {
		const char *object = good ? stream->items[i]->good : stream->items[i]->text;

		stream->lines[i] = line;
		buffer_text(&text, object);
		for (; *object; object++)
			line += *object == '\n';
	}
	if (!buffer_string(&text))
		return -ENOMEM;
	return policy_load_text(text.data, text.length, stream->set->origin, registry, generation, ret, errors);
}

static int load(const struct stream *stream, size_t count, struct agent_registry *registry, uint32_t generation,
		struct policy **ret, struct policy_errors *errors)
{
	return load_texts(stream, count, false, registry, generation, ret, errors);
}

/* The first of the candidates with which there is no more room. */
static int find_too_much(const struct stream *stream, struct agent_registry *registry, size_t *ret_index)
{
	size_t fits = 0, fails = stream->count;

	while (fails - fits > 1) {
		_cleanup_policy_errors_ struct policy_errors errors = {};
		_cleanup_policy_ struct policy *policy = NULL;
		size_t middle = fits + (fails - fits) / 2;
		int r = load(stream, middle, registry, 0, &policy, &errors);

		if (r == -ENOMEM)
			return r;
		if (r)
			fails = middle;
		else
			fits = middle;
	}
	*ret_index = fails - 1;
	return 0;
}

static void leave_out(struct stream *stream, struct policy_item **items, size_t index)
{
	stream->count--;
	memmove(items + index, items + index + 1, (stream->count - index) * sizeof(*items));
}

/* The one that made it too much; after some of them, all that come after it. */
static int leave_out_too_much(struct stream *stream, struct policy_item **items, struct agent_registry *registry,
			      const struct policy_errors *errors, unsigned int *searches)
{
	size_t index = 0;
	int r = find_too_much(stream, registry, &index);

	do {
		r = r ? r : refuse(items[index], "DoesNotFit", strdup(whole_message(errors)));
		leave_out(stream, items, index);
	} while (!r && *searches + 1 >= SEARCHES_MAX && index < stream->count);
	*searches += 1;
	return r;
}

/* Leaves out those that the errors are about. */
static int leave_out_wrong(struct stream *stream, struct policy_item **items, struct agent_registry *registry,
			   const struct policy_errors *errors, unsigned int *searches)
{
	size_t before = stream->count;
	bool blame[ITEMS_MAX];
	int r = 0;

	for (size_t i = 0; i < before; i++) {
		blame[i] = is_to_blame(stream, i, errors);
		if (blame[i] && !r)
			r = refuse(items[i], "DoesNotFit", describe(stream, i, errors));
	}
	for (size_t i = before; i-- > 0;)
		if (blame[i])
			leave_out(stream, items, i);
	if (r || stream->count < before)
		return r;
	return leave_out_too_much(stream, items, registry, errors, searches);
}

static int compose(struct stream *stream, struct policy_item **items, struct agent_registry *registry,
		   uint32_t generation, struct policy **ret, struct policy_errors *errors)
{
	unsigned int searches = 0;

	for (;;) {
		int r = load(stream, stream->count, registry, generation, ret, errors);

		if (r != -EINVAL || !stream->count)
			return r;
		r = leave_out_wrong(stream, items, registry, errors, &searches);
		policy_errors_clear(errors);
		if (r)
			return r;
	}
}

static int judge_alone(struct policy_item *item)
{
	int r = item->checked ? 0 : check_alone(item);

	if (!r && item->wrong)
		r = refuse(item, "Invalid", strdup(item->wrong));
	return r;
}

static int accept_rest(const struct stream *stream)
{
	for (size_t i = 0; i < stream->count; i++) {
		struct policy_item *item = stream->items[i];
		char *message;

		if (asprintf(&message, "%zu agent%s and %zu rule%s are in force", item->agents,
			     item->agents == 1 ? "" : "s", item->rules, item->rules == 1 ? "" : "s") < 0)
			return -ENOMEM;
		free(item->message);
		item->message = message;
		item->accepted = true;
		item->reason = "Accepted";
	}
	return 0;
}

/* What is in force of it from here on: all of what was judged, or nothing. */
static int keep_good(struct policy_item *item)
{
	char *good = item->accepted ? strdup(item->text) : NULL;

	if (item->accepted && !good)
		return -ENOMEM;
	free(item->good);
	item->good = good;
	item->judged = true;
	return 0;
}

int policy_set_compose(struct policy_set *set, struct agent_registry *registry, uint32_t generation,
		       struct policy **ret, struct policy_errors *errors)
{
	_cleanup_free_ struct policy_item **items = calloc(set->count + 1, sizeof(*items));
	_cleanup_free_ unsigned int *lines = calloc(set->count + 1, sizeof(*lines));
	struct stream stream = {.set = set, .items = items, .lines = lines};
	_cleanup_policy_ struct policy *policy = NULL;
	int r = items && lines ? 0 : -ENOMEM;

	for (size_t i = 0; !r && i < set->count; i++) {
		if (i >= ITEMS_MAX) {
			r = refuse(set->items[i], "DoesNotFit", strdup("there are too many objects before it"));
			continue;
		}
		r = judge_alone(set->items[i]);
		if (!r && !set->items[i]->wrong)
			items[stream.count++] = set->items[i];
	}
	if (!r)
		r = compose(&stream, items, registry, generation, &policy, errors);
	if (!r)
		r = accept_rest(&stream);
	for (size_t i = 0; !r && i < set->count; i++)
		r = keep_good(set->items[i]);
	if (!r)
		*ret = take_pointer(policy);
	return r;
}

int policy_set_join(struct policy_set *set, struct agent_registry *registry, uint32_t generation, struct policy **ret,
		    struct policy_errors *errors)
{
	_cleanup_free_ struct policy_item **items = calloc(set->count + 1, sizeof(*items));
	_cleanup_free_ unsigned int *lines = calloc(set->count + 1, sizeof(*lines));
	struct stream stream = {.set = set, .items = items, .lines = lines};

	if (!items || !lines)
		return -ENOMEM;
	for (size_t i = 0; i < set->count; i++)
		if (set->items[i]->good)
			items[stream.count++] = set->items[i];
	return load_texts(&stream, stream.count, true, registry, generation, ret, errors);
}

/* ---- verdicts, from one process to another ---- */

static const char *const reasons[] = {"Accepted", "Invalid", "DoesNotFit"};

json_t *policy_set_verdicts(struct policy_set *set)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < set->count; i++) {
		const struct policy_item *item = set->items[i];

		if (json_array_append_new(list,
					  json_pack("{s:i, s:s, s:s, s:s*}", "revision", (int)item->revision, "reason",
						    item->reason, "message", item->message, "wrong", item->wrong))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static struct policy_item *find_revision(struct policy_set *set, unsigned int revision)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->items[i]->revision == revision)
			return set->items[i];
	return NULL;
}

static int take_verdict(struct policy_set *set, const json_t *verdict)
{
	struct policy_item *item =
		find_revision(set, (unsigned int)json_integer_value(json_object_get(verdict, "revision")));
	const char *reason = text_of(verdict, "reason"), *message = text_of(verdict, "message");
	const char *wrong = text_of(verdict, "wrong");
	size_t known = 0;
	int r;

	if (!item)
		return 0;
	while (reason && known < ARRAY_SIZE(reasons) && !streq(reasons[known], reason))
		known++;
	if (!reason || !message || known == ARRAY_SIZE(reasons))
		return -EBADMSG;
	r = refuse(item, reasons[known], strdup(message));
	free(item->wrong);
	item->wrong = wrong ? strdup(wrong) : NULL;
	item->checked = !wrong || item->wrong;
	item->accepted = known == 0;
	return r ? r : keep_good(item);
}

int policy_set_take_verdicts(struct policy_set *set, const json_t *verdicts)
{
	const json_t *verdict;
	size_t i;
	int r = json_is_array(verdicts) ? 0 : -EBADMSG;

	json_array_foreach (verdicts, i, verdict)
		r = r ? r : take_verdict(set, verdict);
	return r;
}
