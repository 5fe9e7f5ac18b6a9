/*
 * Tests of base/err: formatting by what is known about the place, wrapping, cutting, and that a
 * caller who does not want to know may pass NULL.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/err.h"

static void set_replaces_everything(void **state)
{
	struct ig_err err;

	(void)state;
	memset(&err, 'x', sizeof(err));
	assert_int_equal(ig_err_set(&err, -EINVAL, "bad %s %d", "port", 7), -EINVAL);
	assert_string_equal(err.message, "bad port 7");
	assert_string_equal(err.file, "");
	assert_int_equal(err.line, 0);
	assert_int_equal(err.column, 0);
}

static void null_is_accepted_and_returns_the_code(void **state)
{
	(void)state;
	assert_int_equal(ig_err_set(NULL, -ENOENT, "x"), -ENOENT);
	assert_int_equal(ig_err_at(NULL, -E2BIG, "f", 1, 2, "x"), -E2BIG);
	assert_int_equal(ig_err_wrap(NULL, -ENOMEM, "x"), -ENOMEM);
}

static void format_leaves_out_what_is_unknown(void **state)
{
	struct ig_err err;
	char text[128];

	(void)state;
	ig_err_set(&err, -EINVAL, "bad");
	assert_string_equal(ig_err_format(&err, text, sizeof(text)), "bad");
	ig_err_at(&err, -EINVAL, "a.yaml", 0, 0, "bad");
	assert_string_equal(ig_err_format(&err, text, sizeof(text)), "a.yaml: bad");
	ig_err_at(&err, -EINVAL, "a.yaml", 3, 0, "bad");
	assert_string_equal(ig_err_format(&err, text, sizeof(text)), "a.yaml:3: bad");
	ig_err_at(&err, -EINVAL, "a.yaml", 3, 14, "bad");
	assert_string_equal(ig_err_format(&err, text, sizeof(text)), "a.yaml:3:14: bad");
	ig_err_at(&err, -EINVAL, NULL, 3, 14, "bad");
	assert_string_equal(ig_err_format(&err, text, sizeof(text)), "bad");
}

static void format_terminates_a_short_buffer(void **state)
{
	struct ig_err err;
	char text[8];

	(void)state;
	memset(text, 'x', sizeof(text));
	ig_err_at(&err, -EINVAL, "a.yaml", 3, 14, "bad");
	assert_string_equal(ig_err_format(&err, text, sizeof(text)), "a.yaml:");
}

static void wrap_adds_in_front_and_keeps_the_place(void **state)
{
	struct ig_err err;
	char text[128];

	(void)state;
	ig_err_at(&err, -EINVAL, "a.yaml", 3, 14, "bad");
	assert_int_equal(ig_err_wrap(&err, -EINVAL, "manifest %d", 2), -EINVAL);
	assert_int_equal(ig_err_wrap(&err, -EBADMSG, "start"), -EBADMSG);
	assert_string_equal(
		ig_err_format(&err, text, sizeof(text)), "a.yaml:3:14: start: manifest 2: bad");
}

static void wrap_of_nothing_is_the_context(void **state)
{
	struct ig_err err = {};

	(void)state;
	ig_err_wrap(&err, -EIO, "cannot read");
	assert_string_equal(err.message, "cannot read");
}

static void overlong_text_is_cut_not_overrun(void **state)
{
	char big[2 * IG_ERR_MESSAGE_BYTES];
	struct ig_err err;

	(void)state;
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	ig_err_at(&err, -EINVAL, big, UINT_MAX, UINT_MAX, "%s", big);
	assert_int_equal(strlen(err.message), IG_ERR_MESSAGE_BYTES - 1);
	assert_int_equal(strlen(err.file), IG_ERR_FILE_BYTES - 1);
	assert_int_equal(err.line, UINT_MAX);
	ig_err_wrap(&err, -EINVAL, "ctx");
	assert_int_equal(strlen(err.message), IG_ERR_MESSAGE_BYTES - 1);
	assert_memory_equal(err.message, "ctx: aaa", 8);
	ig_err_wrap(&err, -EINVAL, "%s", big);
	assert_int_equal(strlen(err.message), IG_ERR_MESSAGE_BYTES - 1);
	assert_memory_equal(err.message, "aaaaaaaa", 8);
}

static void untrusted_text_is_no_format(void **state)
{
	struct ig_err err;

	(void)state;
	ig_err_set(&err, -EINVAL, "%s", "%n%s%x");
	ig_err_wrap(&err, -EINVAL, "in");
	assert_string_equal(err.message, "in: %n%s%x");
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(ig_err_name(ENOENT), "ENOENT");
	assert_string_equal(ig_err_name(-ENOENT), "ENOENT");
	assert_string_equal(ig_err_name(-EOPNOTSUPP), "EOPNOTSUPP");
	assert_string_equal(ig_err_name(100000), "EUNKNOWN");
	assert_string_equal(ig_err_name(-100000), "EUNKNOWN");
	assert_string_equal(ig_err_name(INT_MIN), "EUNKNOWN");
	assert_string_equal(ig_err_name(INT_MAX), "EUNKNOWN");
	assert_non_null(ig_err_name(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_replaces_everything),
		cmocka_unit_test(null_is_accepted_and_returns_the_code),
		cmocka_unit_test(format_leaves_out_what_is_unknown),
		cmocka_unit_test(format_terminates_a_short_buffer),
		cmocka_unit_test(wrap_adds_in_front_and_keeps_the_place),
		cmocka_unit_test(wrap_of_nothing_is_the_context),
		cmocka_unit_test(overlong_text_is_cut_not_overrun),
		cmocka_unit_test(untrusted_text_is_no_format),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
