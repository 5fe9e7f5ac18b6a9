/*
 * The tools over logs and policies, called as a function under the sanitizers: every verb on a log
 * with records of all shapes, hostile ones and broken ones among them. What they say is tested in
 * tests/cli.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cmd.h"

#define WORDS_MAX 16
#define HEAD(kind, decision)                                                                       \
	"{\"v\":1,\"seq\":1,\"time\":\"2026-01-02T03:04:05.678901Z\",\"kind\":\"" kind             \
	"\",\"decision\":\"" decision "\",\"reason\":\"bound\""
#define POD                                                                                        \
	",\"pod\":{\"namespace\":\"shop\",\"name\":\"cart\",\"service_account\":\"cart\",\"host_network\":false},\"process\":{\"exe\":\"/bin/cart\"}"
#define TOKEN                                                                                      \
	",\"request\":{\"route\":\"token\",\"resource\":\"https://vault.azure.net\"},\"identity\":{\"namespace\":\"shop\",\"name\":\"i\"}"

static const char log_text[] = HEAD("token.issued", "allow") POD TOKEN "}\n" HEAD(
	"token.denied", "deny") POD TOKEN "}\n" HEAD("metadata.forwarded",
	"allow") POD ",\"request\":{\"route\":\"instance\",\"path\":\"/metadata/instance\"}}\n" HEAD("token.issued",
	"allow") "}\n" HEAD("token.issued",
	"allow") ",\"pod\":7,\"request\":[]}\n" HEAD("token.issued",
	"allow") ",\"pod\":{\"namespace\":\"<script>\",\"name\":\"\\u202e\\\"\"},\"request\":{\"resource\":\"</style>\\ud83d\\ude00\"}}\n" HEAD("later.kind",
	"deny") "}\n" HEAD("events.lost", "none") ",\"count\":5}\n"
						  "nonsense\n\n[]\n" HEAD("token.issued", "allow")
							  POD;

static const char rules_text[] =
	"apiVersion: imdsgate.dev/v1alpha1\nkind: MetadataPolicy\nmetadata: {name: p, namespace: shop}\n"
	"spec: {podSelector: {matchLabels: {a: b}}, allow: {resources: []}}\n"
	"---\napiVersion: v1\nkind: Pod\nmetadata: {name: one, namespace: shop}\n";
static const char cases_text[] = "- {pod: shop/one, expect: deny}\n- {host: true, expect: allow}\n";

static struct {
	char dir[64], log[96], rules[96], manifest[112], cases[96], page[96];
} files;

static int write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	return file && fputs(text, file) >= 0 && fclose(file) == 0 ? 0 : -1;
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(files.dir, sizeof(files.dir), "/tmp/ig-tools-XXXXXX");
	if (!mkdtemp(files.dir))
		return -1;
	(void)snprintf(files.log, sizeof(files.log), "%s/log.jsonl", files.dir);
	(void)snprintf(files.rules, sizeof(files.rules), "%s", files.dir);
	(void)snprintf(files.manifest, sizeof(files.manifest), "%s/m.yaml", files.dir);
	(void)snprintf(files.cases, sizeof(files.cases), "%s/cases", files.dir);
	(void)snprintf(files.page, sizeof(files.page), "%s/page.html", files.dir);
	return write_text(files.log, log_text) + write_text(files.manifest, rules_text) +
	       write_text(files.cases, cases_text);
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(files.log);
	(void)unlink(files.manifest);
	(void)unlink(files.cases);
	(void)unlink(files.page);
	return rmdir(files.dir);
}

/* words: separated by blanks; %L, %R, %C and %P stand for the files. Returns what was printed. */
static char *run(const char *words, int status)
{
	_cleanup_free_ char *copy = strdup(words);
	char *argv[WORDS_MAX] = {(char *)"imdsgate"}, *rest = copy, *word, *out = NULL, *err = NULL;
	size_t out_len = 0, err_len = 0;
	FILE *out_file = open_memstream(&out, &out_len), *err_file = open_memstream(&err, &err_len);
	int argc = 1;

	while ((word = strsep(&rest, " "))) {
		assert_true(argc < WORDS_MAX - 1);
		argv[argc++] = strcmp(word, "%L") == 0	 ? files.log
			       : strcmp(word, "%R") == 0 ? files.rules
			       : strcmp(word, "%C") == 0 ? files.cases
			       : strcmp(word, "%P") == 0 ? files.page
							 : word;
	}
	assert_int_equal(ig_cli_run(argc, argv, out_file, err_file), status);
	(void)fclose(out_file);
	(void)fclose(err_file);
	free(err);
	return out;
}

static void test_verbs(void **state)
{
	static const struct {
		const char *words;
		int status;
		const char *part;
	} rows[] = {
		{"audit stats %L", IG_CLI_OK, "7: allowed 5, denied 2"},
		{"audit stats --by executable --top 1 %L", IG_CLI_OK, "rows more"},
		{"--json audit stats --by pod %L", IG_CLI_OK, "\"bad_lines\":3"},
		{"audit report --html %P %L", IG_CLI_OK, "page.html: a report"},
		{"--json audit report --html %P --baseline %L %L", IG_CLI_OK, "\"first_seen\":0"},
		{"policy test --manifests %R --pod shop/one", IG_CLI_REFUSED, "DENY"},
		{"policy test --manifests %R --cases %C", IG_CLI_PROBLEMS, "2 cases, 1 failed"},
		{"policy replay --manifests %R %L", IG_CLI_OK, "unknown"},
		{"--json policy replay --manifests %R %L", IG_CLI_OK, "\"newly_denied\""},
		{"policy suggest %L", IG_CLI_OK, "suggested-cart"},
		{"policy suggest --per identity %L", IG_CLI_OK, "suggested-i"},
		{"--json policy suggest --per pod-label=a --manifests %R %L", IG_CLI_OK,
			"not declared"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *out = run(rows[i].words, rows[i].status);

		if (!strstr(out, rows[i].part))
			fail_msg("%s: no \"%s\" in\n%s", rows[i].words, rows[i].part, out);
	}
}

/* The log cut off anywhere is still a log. */
static void test_torn_logs(void **state)
{
	static const char *const verbs[] = {"--json audit stats %L",
		"--json policy replay --manifests %R %L", "--json policy suggest %L",
		"--json audit report --html %P %L"};

	(void)state;
	for (size_t len = 0; len < sizeof(log_text); len += 37) {
		_cleanup_free_ char *text = strndup(log_text, len);

		assert_int_equal(write_text(files.log, text), 0);
		for (size_t i = 0; i < IG_ARRAY_SIZE(verbs); i++)
			free(run(verbs[i], IG_CLI_OK));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_torn_logs),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
