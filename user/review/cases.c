/*
 * Reading test cases; see cases.h. A field that is not known is an error: a case that tests
 * something else than its author meant is worse than none.
 */
#include "review/cases.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "objects/yaml.h"

struct reading {
	const char *path;
	ig_case_each *each;
	void *userdata;
	size_t n;
};

/* One entry while it is read. */
struct entry {
	const struct reading *reading;
	const struct ig_yaml_document *doc;
	const json_t *node;
	struct ig_err *err;
};

static int fail_at(const struct entry *e, const char *key, const char *what)
{
	unsigned int line = 0, column = 0;

	ig_yaml_locate(e->doc, e->node, key, &line, &column);
	return ig_err_at(e->err, -EINVAL, e->reading->path, line, column, "%s%s%s", key ? key : "",
		key ? ": " : "", what);
}

static int read_string(const struct entry *e, const char *key, const char **ret)
{
	const json_t *value = json_object_get(e->node, key);

	if (!value)
		return 0;
	if (!json_is_string(value) || json_string_length(value) == 0)
		return fail_at(e, key, "expected a text");
	*ret = json_string_value(value);
	return 0;
}

static int read_flag(const struct entry *e, const char *key, bool *ret)
{
	const json_t *value = json_object_get(e->node, key);

	if (value && !json_is_boolean(value))
		return fail_at(e, key, "expected true or false");
	*ret = json_is_true(value);
	return 0;
}

static int read_fields(const struct entry *e, struct ig_case *c, const char **ret_expect)
{
	const struct {
		const char *key;
		const char **to;
	} texts[] = {{"name", &c->name}, {"pod", &c->question.pod},
		{"resource", &c->question.resource}, {"path", &c->question.path},
		{"clientID", &c->question.client_id}, {"objectID", &c->question.object_id},
		{"resourceID", &c->question.resource_id}, {"container", &c->question.container},
		{"executable", &c->question.exe}, {"expect", ret_expect}, {"reason", &c->reason}};
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)e->node, key, value) {
		bool known = strcmp(key, "host") == 0 || strcmp(key, "executableDeleted") == 0;
		int r = 0;

		for (size_t i = 0; !known && i < IG_ARRAY_SIZE(texts); i++)
			if (strcmp(key, texts[i].key) == 0) {
				r = read_string(e, key, texts[i].to);
				known = true;
			}
		if (r < 0 || !known)
			return r < 0 ? r : fail_at(e, key, "there is no such field");
	}
	return 0;
}

static int read_entry(struct entry *e, struct ig_case *c)
{
	const char *expect = NULL;
	unsigned int column;
	int r;

	if (!json_is_object(e->node))
		return fail_at(e, NULL, "expected a case: a mapping with pod, expect, …");
	ig_yaml_locate(e->doc, e->node, NULL, &c->line, &column);
	r = read_fields(e, c, &expect);
	if (r == 0)
		r = read_flag(e, "host", &c->question.host);
	if (r == 0)
		r = read_flag(e, "executableDeleted", &c->question.exe_deleted);
	if (r < 0)
		return r;
	if (!expect)
		return fail_at(e, NULL, "expect is missing: allow, would-deny or deny");
	if (ig_answer_outcome_parse(expect, &c->expect) < 0)
		return fail_at(e, "expect", "expected allow, would-deny or deny");
	return 0;
}

static int read_document(
	const struct ig_yaml_document *doc, void *userdata, struct ig_err *reterr_err)
{
	struct reading *reading = userdata;
	const json_t *list = ig_yaml_root(doc), *node;
	struct entry e = {.reading = reading, .doc = doc, .node = list, .err = reterr_err};
	size_t i;

	if (!json_is_array(list))
		return fail_at(&e, NULL, "expected a list of cases");
	json_array_foreach (list, i, node) {
		struct ig_case c = {.file = reading->path, .name = ""};
		int r;

		e.node = node;
		if (++reading->n > IG_REVIEW_CASES_MAX)
			return fail_at(&e, NULL, "there are too many cases");
		r = read_entry(&e, &c);
		if (r == 0)
			r = reading->each(&c, reading->userdata, reterr_err);
		if (r < 0)
			return r;
	}
	return 0;
}

int ig_cases_read(const char *path, ig_case_each *each, void *userdata, struct ig_err *reterr_err)
{
	struct reading reading = {.path = path, .each = each, .userdata = userdata};
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = ig_fd_read_file(AT_FDCWD, path, IG_REVIEW_CASES_BYTES, &text, &len);

	if (r < 0)
		return ig_err_at(reterr_err, r, path, 0, 0, "cannot be read: %s", strerror(-r));
	r = ig_yaml_parse(path, text, len, read_document, &reading, reterr_err);
	if (r < 0)
		return r;
	if (reading.n == 0)
		return ig_err_at(reterr_err, -EINVAL, path, 0, 0, "there is no case in it");
	return 0;
}
