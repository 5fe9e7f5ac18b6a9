/*
 * The agent's half of tests/unit/data/examples.yaml (the schemas' half: tests/check/crds), and the
 * examples in docs/policy.md, which people copy. Run from the top of the tree.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "objects/manifest.h"
#include "objects/validate.h"
#include "objects/yaml.h"

#define EXAMPLES	 "tests/unit/data/examples.yaml"
#define DOCUMENT	 "docs/policy.md"
#define POLICY_NAMESPACE "imdsgate-system"

IG_DEFINE_CLEANUP(struct ig_object_set *, ig_object_set_free);

static char *read_text(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;
	ssize_t len;

	if (!file)
		fail_msg("%s: %s (run this from the top of the tree)", path, strerror(errno));
	len = getdelim(&text, &size, '\0', file);
	(void)fclose(file);
	assert_true(len > 0);
	assert_int_equal(strlen(text), len);
	return text;
}

struct count {
	size_t rows;
	size_t accepted;
	size_t wrong;
};

static int judge(const json_t *object, struct ig_err *err)
{
	const struct ig_validate_options options = {.policy_namespace = POLICY_NAMESPACE};
	_cleanup_(ig_validator_freep) struct ig_validator *v = NULL;
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = ig_object_set_new();
	int r;

	assert_non_null(set);
	assert_int_equal(ig_validator_new(&options, &v), 0);
	r = ig_validator_add(v, object, set, err);
	assert_int_equal(ig_object_set_count(set), r == 0);
	assert_int_equal(set->n_ignored, 0);
	return r;
}

static int check_row(const struct ig_yaml_document *doc, void *userdata, struct ig_err *reterr_err)
{
	const json_t *row = ig_yaml_root(doc);
	const json_t *agent = json_object_get(row, "agent");
	const char *name = json_string_value(json_object_get(row, "name"));
	struct count *count = userdata;
	struct ig_err err = {};
	int r = judge(json_object_get(row, "object"), &err);

	(void)reterr_err;
	assert_non_null(name);
	assert_true(json_is_boolean(agent));
	count->rows++;
	count->accepted += r == 0;
	if ((r == 0) == json_is_true(agent) && (r == 0 || r == -EINVAL))
		return 0;
	print_error("%s: %d %s\n", name, r, err.message);
	count->wrong++;
	return 0;
}

static void test_examples(void **state)
{
	_cleanup_free_ char *text = read_text(EXAMPLES);
	struct count count = {};
	struct ig_err err = {};

	(void)state;
	if (ig_yaml_parse(EXAMPLES, text, strlen(text), check_row, &count, &err) != 0)
		fail_msg("%u:%u: %s", err.line, err.column, err.message);
	assert_int_equal(count.wrong, 0);
	assert_in_range(count.accepted, 15, 100);
	assert_in_range(count.rows - count.accepted, 100, 1000);
}

/* Each block between ```yaml and ``` is a manifest file. */
static void test_document(void **state)
{
	static const char begin[] = "\n```yaml\n", end[] = "\n```\n";
	_cleanup_free_ char *text = read_text(DOCUMENT);
	size_t policies = 0;

	(void)state;
	for (char *at = text; (at = strstr(at, begin));) {
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;
		struct ig_err err = {};
		char *stop;

		at += strlen(begin);
		stop = strstr(at, end);
		assert_non_null(stop);
		if (ig_manifest_parse(
			    DOCUMENT, at, (size_t)(stop - at), "imdsgate-system", &set, &err) != 0)
			fail_msg("%u:%u: %s\n%.*s", err.line, err.column, err.message,
				(int)(stop - at), at);
		policies += set->n_metadata_policies;
		at = stop;
	}
	assert_in_range(policies, 4, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_document),
	};

	return cmocka_run_group_tests_name("examples", tests, NULL, NULL);
}
