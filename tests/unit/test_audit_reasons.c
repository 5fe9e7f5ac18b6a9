/*
 * The closed list of reasons and the schema say the same, for every kind. Runs in the root of the
 * tree.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "audit/reasons.h"
#include "audit/record.h"
#include "base/cleanup.h"

#define SCHEMA "deploy/schema/audit-v1.schema.json"

static const struct {
	enum ig_audit_kind kind;
	const char *reason;
} reasons[] = {
#define X(kind, reason) {IG_AUDIT_##kind, reason},
	IG_AUDIT_REASONS(X)
#undef X
};

/* What the schema allows as reason of this kind: a list, or false. */
static const json_t *rule_of(const json_t *schema, const char *kind)
{
	const json_t *rules = json_object_get(schema, "allOf"), *rule, *found = NULL;
	const char *name;
	json_t *then;
	size_t i;

	json_array_foreach (rules, i, rule) {
		assert_int_equal(
			json_unpack((json_t *)(uintptr_t)rule,
				"{s:{s:{s:{s:s!}!}!},s:{s:{s:o!}!}!}", "if", "properties", "kind",
				"const", &name, "then", "properties", "reason", &then),
			0);
		if (strcmp(name, kind) != 0)
			continue;
		assert_null(found);
		found = then;
	}
	assert_non_null(found);
	return found;
}

static void test_schema_has_the_same_list(void **state)
{
	_cleanup_(json_decrefp) json_t *schema = json_load_file(SCHEMA, 0, NULL);

	(void)state;
	assert_non_null(schema);
	assert_int_equal(json_array_size(json_object_get(schema, "allOf")), _IG_AUDIT_KIND_MAX);
	for (unsigned int kind = 0; kind < _IG_AUDIT_KIND_MAX; kind++) {
		const json_t *rule = rule_of(schema, ig_audit_kind_name((enum ig_audit_kind)kind));
		const json_t *list = json_object_get(rule, "enum");
		size_t n = 0;

		for (size_t i = 0; i < IG_ARRAY_SIZE(reasons); i++) {
			if (reasons[i].kind != kind)
				continue;
			assert_string_equal(
				json_string_value(json_array_get(list, n++)), reasons[i].reason);
		}
		assert_int_equal(n, json_array_size(list));
		assert_true(list || json_is_false(rule));
	}
}

static void test_schema_knows_every_kind(void **state)
{
	_cleanup_(json_decrefp) json_t *schema = json_load_file(SCHEMA, 0, NULL);
	json_t *kinds = NULL;

	(void)state;
	assert_int_equal(
		json_unpack(schema, "{s:{s:{s:o}}}", "properties", "kind", "enum", &kinds), 0);
	assert_int_equal(json_array_size(kinds), _IG_AUDIT_KIND_MAX);
	for (unsigned int kind = 0; kind < _IG_AUDIT_KIND_MAX; kind++)
		assert_string_equal(json_string_value(json_array_get(kinds, kind)),
			ig_audit_kind_name((enum ig_audit_kind)kind));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schema_has_the_same_list),
		cmocka_unit_test(test_schema_knows_every_kind),
	};

	return cmocka_run_group_tests_name("audit/reasons", tests, NULL, NULL);
}
