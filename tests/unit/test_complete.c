/*
 * `imdsgate complete`: what is offered where, for every noun, verb and option of the table, and
 * that whatever stands on the line is taken without a complaint. With an agent, and in real shells:
 * tests/cli/test_completion.py.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cmd.h"
#include "cli/values.h"

#define WORDS_MAX 32

/* What is printed for these words, between single blanks; the last one is to be completed. */
static char *complete(const char *line)
{
	_cleanup_free_ char *copy = strdup(line);
	char *argv[WORDS_MAX] = {(char *)"imdsgate", (char *)"--socket", (char *)"/nonexistent/s",
		(char *)"complete", (char *)"--"};
	char *rest = copy, *word, *text = NULL, *errors = NULL;
	size_t len, errors_len;
	FILE *out = open_memstream(&text, &len), *err = open_memstream(&errors, &errors_len);
	int argc = 5;

	assert_non_null(copy);
	assert_non_null(out);
	assert_non_null(err);
	while ((word = strsep(&rest, " "))) {
		assert_true(argc < WORDS_MAX - 1);
		argv[argc++] = word;
	}
	assert_int_equal(ig_cli_run(argc, argv, out, err), IG_CLI_OK);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(fclose(err), 0);
	assert_string_equal(errors, "");
	free(errors);
	return text;
}

/* Only the words, each with a blank behind it. */
static char *words(const char *line)
{
	char *text = complete(line), *to = text;

	for (const char *from = text; *from; from++) {
		const char c = *from;

		*to++ = c == '\t' || c == '\n' ? ' ' : c;
		if (c == '\t')
			from += strcspn(from, "\n");
	}
	*to = '\0';
	return text;
}

static bool offers(const char *line, const char *word)
{
	_cleanup_free_ char *got = words(line), *with_blank = NULL;
	const char *found;

	assert_true(asprintf(&with_blank, "%s ", word) > 0);
	found = strstr(got, with_blank);
	return found && (found == got || found[-1] == ' ');
}

static void test_lines(void **state)
{
	static const struct {
		const char *line, *words;
	} rows[] = {
		{"st", "status "},
		{"audit t", "tail "},
		{"help audit t", "tail "},
		{"--so", "--socket "},
		{"--json --", "--socket --help "},
		{"--socket ", ":files "},
		{"--socket=", ":files "},
		{"--socket x audit v", "verify "},
		{"audit tail --decision ", "allow deny error none "},
		{"audit tail --decision d", "deny "},
		{"audit tail --decision=d", "--decision=deny "},
		{"audit tail --decision deny --de", ""},
		{"audit tail --kind=token.i", "--kind=token.issued "},
		{"audit tail --follow=", ""},
		{"audit tail --count ", ""},
		{"audit verify ", ":files "},
		{"audit verify a b ", ":files "},
		{"audit verify --s", "--sink "},
		{"audit verify -- --s", ":files "},
		{"audit verify --sink ", "file stdout syslog otlp subscriber "},
		{"explain --exe ", ":files "},
		{"explain --exe --h", ":files "},
		{"explain --host --h", "--help "},
		{"workload show a/b ", ""},
		{"workload -", "--help "},
		{"status -", "--here --data-path --help "},
		{"complete -- ", ""},
		/* behind an error nothing is known */
		{"--nope ", ""},
		{"-- ", ""},
		{"nope ", ""},
		{"audit nope ", ""},
		{"audit tail --nope ", ""},
		{"audit tail --nope=", ""},
		{"version x ", ""},
		{"audit tail xxkind=", ""},
		{"audit tail -xkind ", ""},
		/* words that mean something to shells, or nothing at all */
		{"$(x)", ""},
		{"audit tail --kind=$(x)", ""},
		{"\xff\x1b[2J", ""},
		{"-", "--json --socket --help "},
		{"=", ""},
		{"--=", ""},
		{"audit tail --=x", ""},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *got = words(rows[i].line);

		if (strcmp(got, rows[i].words) != 0)
			fail_msg("%s: \"%s\" and not \"%s\"", rows[i].line, got, rows[i].words);
	}
}

static void test_everything_in_the_table_is_offered(void **state)
{
	(void)state;
	for (const struct ig_cli_option *g = ig_cli_globals; g->name; g++) {
		_cleanup_free_ char *flag = NULL;

		assert_true(asprintf(&flag, "--%s", g->name) > 0);
		assert_true(offers("--", flag));
	}
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++) {
		_cleanup_free_ char *noun = NULL, *line = NULL;

		assert_true(offers("", v->noun));
		assert_true(asprintf(&noun, "%s ", v->noun) > 0);
		if (v->verb)
			assert_true(offers(noun, v->verb));
		assert_true(asprintf(&line, "%s%s%s--", noun, v->verb ? v->verb : "",
				    v->verb ? " " : "") > 0);
		assert_true(offers(line, "--help"));
		for (const struct ig_cli_option *o = v->options; o && o->name; o++) {
			_cleanup_free_ char *flag = NULL;

			assert_true(asprintf(&flag, "--%s", o->name) > 0);
			assert_true(offers(line, flag));
		}
	}
}

static void test_each_is_offered_once(void **state)
{
	_cleanup_free_ char *got = words("");
	char *rest = got, *word, *seen[64];
	size_t n = 0;

	(void)state;
	while ((word = strsep(&rest, " ")) && *word) {
		for (size_t i = 0; i < n; i++)
			assert_string_not_equal(word, seen[i]);
		assert_true(n < IG_ARRAY_SIZE(seen));
		seen[n++] = word;
	}
	assert_true(n > 4);
}

static void test_values(void **state)
{
	static const struct ig_cli_option literal = {"x", "one|two-3", ""},
					  name = {"x", "NAME|UID", ""}, flag = {"kind", NULL, ""},
					  dir = {"x", "DIR", ""}, text = {"x", "WHATEVER", ""},
					  pod = {"pod", "NAME", ""},
					  both = {"pod", "[NS/]NAME", ""}, empty = {"x", "a|", ""};
	_cleanup_(json_decrefp) json_t *two = ig_cli_option_values(&literal);
	_cleanup_(json_decrefp) json_t *one = ig_cli_option_values(&empty);

	(void)state;
	assert_int_equal(ig_cli_option_type(&literal), IG_CLI_VALUE_LIST);
	assert_int_equal(json_array_size(two), 2);
	assert_string_equal(json_string_value(json_array_get(two, 1)), "two-3");
	assert_int_equal(json_array_size(one), 2);
	assert_int_equal(ig_cli_option_type(&name), IG_CLI_VALUE_TEXT);
	assert_int_equal(ig_cli_option_type(&flag), IG_CLI_VALUE_TEXT);
	assert_int_equal(ig_cli_option_type(&dir), IG_CLI_VALUE_DIRECTORY);
	assert_int_equal(ig_cli_option_type(&text), IG_CLI_VALUE_TEXT);
	assert_int_equal(ig_cli_option_type(&pod), IG_CLI_VALUE_POD);
	assert_int_equal(ig_cli_option_type(&both), IG_CLI_VALUE_WORKLOAD);
	assert_true(json_is_null(ig_cli_option_values(&text)));
	for (int i = 0; i < _IG_CLI_VALUE_MAX; i++)
		assert_non_null(ig_cli_value_type_name((enum ig_cli_value_type)i));
}

static void test_arguments(void **state)
{
	static const struct {
		const char *args;
		size_t n;
		struct ig_cli_arg last;
	} rows[] = {
		{"", 0, {}},
		{"NAMESPACE/NAME", 1, {"NAMESPACE/NAME", IG_CLI_VALUE_WORKLOAD, false}},
		{"[[NAMESPACE/]POD]", 1, {"NAMESPACE/POD", IG_CLI_VALUE_WORKLOAD, false}},
		{"[NOUN [VERB]]", 2, {"VERB", IG_CLI_VALUE_VERB, false}},
		{"[FILE...]", 1, {"FILE", IG_CLI_VALUE_FILE, true}},
		{"--html FILE [LOG...]", 1, {"LOG", IG_CLI_VALUE_FILE, true}},
		{"--html", 0, {}},
		{"...", 1, {"...", IG_CLI_VALUE_TEXT, false}},
		{"A B C D E F G H I J", IG_CLI_VERB_ARGS_MAX, {"H", IG_CLI_VALUE_TEXT, false}},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		const struct ig_cli_verb verb = {.args = rows[i].args};
		struct ig_cli_arg args[IG_CLI_VERB_ARGS_MAX];

		assert_int_equal(ig_cli_verb_args(&verb, args), rows[i].n);
		if (!rows[i].n)
			continue;
		assert_string_equal(args[rows[i].n - 1].name, rows[i].last.name);
		assert_int_equal(args[rows[i].n - 1].type, rows[i].last.type);
		assert_int_equal(args[rows[i].n - 1].repeats, rows[i].last.repeats);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_everything_in_the_table_is_offered),
		cmocka_unit_test(test_each_is_offered_once),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
