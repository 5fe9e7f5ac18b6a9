/*
 * Reads the command line, runs the command, reports failures; see cmd.h. Called by main.c.
 *
 * Words are exact (no prefixes, no other spelling), an option may stand in one place only and be
 * given once. It must never print an error in another form than the one that was asked for: an
 * error object on stdout with --json, else a line on stderr.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cmd.h"
#include "cli/out.h"
#include "ctl/client.h"
#include "ctl/proto.h"

#define PROGRAM	      "imdsgate"
#define MESSAGE_BYTES 1024

/* The words of the command line that are still to be read. */
struct words {
	char **argv;
	int argc, next;
};

int ig_cli_fail(const struct ig_cli *cli, int code, bool reached, const char *message)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	if (cli->json) {
		ig_buf_puts(&b, "{\"error\":{");
		ig_buf_json_member_str(&b, "code", ig_err_name(code));
		ig_buf_json_member_str(&b, "message", message);
		ig_buf_puts(&b, "}}\n");
	} else {
		ig_buf_puts(&b, PROGRAM ": ");
		ig_out_text(&b, message, strlen(message));
		ig_buf_putc(&b, '\n');
	}
	(void)ig_out_flush(cli->json ? cli->out : cli->err, &b);
	if (!reached)
		return IG_CLI_UNREACHABLE;
	return code == -ENOENT || code == -EACCES ? IG_CLI_REFUSED : IG_CLI_FAILED;
}

int ig_cli_usage(const struct ig_cli *cli, const struct ig_cli_verb *verb, const char *fmt, ...)
{
	char message[MESSAGE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	(void)ig_cli_fail(cli, -EINVAL, true, message);
	if (!cli->json)
		(void)fprintf(cli->err, "Try '" PROGRAM "%s%s%s%s --help'.\n", verb ? " " : "",
			verb ? verb->noun : "", verb && verb->verb ? " " : "",
			verb && verb->verb ? verb->verb : "");
	return IG_CLI_USAGE;
}

int ig_cli_print(const struct ig_cli *cli, struct ig_buf *b)
{
	int r = ig_out_flush(cli->out, b);

	if (r == 0 || r == -EPIPE)
		return IG_CLI_OK;
	/* stdout is what fails, so not there */
	(void)fprintf(cli->err, PROGRAM ": cannot print: %s\n", strerror(-r));
	return IG_CLI_FAILED;
}

int ig_cli_request(const struct ig_cli *cli, const char *noun, const char *verb, json_t *args,
	json_t **ret_result)
{
	struct ig_err err = {};
	bool reached = false;
	int r = ig_ctl_call(cli->socket_path, noun, verb, args, ret_result, &reached, &err);

	return r < 0 ? ig_cli_fail(cli, r, reached, err.message) : IG_CLI_OK;
}

int ig_cli_print_result(const struct ig_cli *cli, const json_t *result,
	void (*format)(const json_t *result, bool color, struct ig_buf *b))
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	if (!cli->json)
		format(result, cli->color, &b);
	else if (ig_out_json(&b, result) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	return ig_cli_print(cli, &b);
}

int ig_cli_ask(const struct ig_cli *cli, const char *noun, const char *verb, json_t *args,
	void (*format)(const json_t *result, bool color, struct ig_buf *b))
{
	_cleanup_(json_decrefp) json_t *result = NULL;
	int status = ig_cli_request(cli, noun, verb, args, &result);

	return status == IG_CLI_OK ? ig_cli_print_result(cli, result, format) : status;
}

/* Is `word` this option? With "=", *ret_value is what follows, else NULL. */
static bool is_option(const char *word, const char *name, const char **ret_value)
{
	size_t len = strlen(name);

	if (strncmp(word, "--", 2) != 0 || strncmp(word + 2, name, len) != 0)
		return false;
	if (word[2 + len] != '\0' && word[2 + len] != '=')
		return false;
	*ret_value = word[2 + len] ? word + 2 + len + 1 : NULL;
	return true;
}

/* Reads the option that stands next and its value. IG_CLI_OK or what ig_cli_usage() says. */
static int read_option(const struct ig_cli *cli, const struct ig_cli_verb *verb,
	const struct ig_cli_option *options, struct words *words, const char **values)
{
	const char *word = words->argv[words->next++], *value = NULL;
	const struct ig_cli_option *o = options;

	while (o && o->name && !is_option(word, o->name, &value))
		o++;
	if (!o || !o->name) {
		for (const struct ig_cli_option *g = ig_cli_globals; verb && g->name; g++)
			if (is_option(word, g->name, &value))
				return ig_cli_usage(cli, verb, "'%s' stands before the noun", word);
		return ig_cli_usage(cli, verb, "there is no option '%s' here", word);
	}
	if (values[o - options])
		return ig_cli_usage(cli, verb, "--%s is given twice", o->name);
	if (!o->value && value)
		return ig_cli_usage(cli, verb, "--%s takes no value", o->name);
	if (o->value && !value && words->next < words->argc)
		value = words->argv[words->next++];
	if (o->value && (!value || !value[0]))
		return ig_cli_usage(cli, verb, "--%s needs a value: %s", o->name, o->value);
	values[o - options] = o->value ? value : "";
	return IG_CLI_OK;
}

static int read_args(const struct ig_cli *cli, const struct ig_cli_verb *verb, struct words *words,
	struct ig_cli_args *ret)
{
	bool options_end = false;
	int r;

	while (words->next < words->argc) {
		const char *word = words->argv[words->next];

		if (!options_end && strcmp(word, "--") == 0) {
			options_end = true;
			words->next++;
		} else if (!options_end && word[0] == '-' && word[1]) {
			r = read_option(cli, verb, verb->options, words, ret->option);
			if (r != IG_CLI_OK)
				return r;
		} else {
			if (ret->n_args >= verb->max_args)
				return ig_cli_usage(cli, verb, "'%s' is one word too many", word);
			ret->arg[ret->n_args++] = word;
			words->next++;
		}
	}
	if (ret->n_args < verb->min_args)
		return ig_cli_usage(cli, verb, "%s is missing", verb->args);
	return IG_CLI_OK;
}

static bool asks_for_help(const struct words *words)
{
	for (int i = words->next; i < words->argc && strcmp(words->argv[i], "--") != 0; i++)
		if (strcmp(words->argv[i], "--help") == 0)
			return true;
	return false;
}

static int print_help(const struct ig_cli *cli, const char *noun, const char *verb)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	int r = ig_cli_help(noun, verb, cli->json, &b);

	return r < 0 ? ig_cli_fail(cli, r, true, strerror(-r)) : ig_cli_print(cli, &b);
}

static int run_noun(const struct ig_cli *cli, struct words *words)
{
	const char *noun = words->argv[words->next++], *verb = NULL;
	const struct ig_cli_verb *found = ig_cli_find(noun, NULL);
	struct ig_cli_args args = {};
	int r;

	if (!found && !ig_cli_find_noun(noun))
		return ig_cli_usage(cli, NULL, "there is no noun '%s'", noun);
	if (!found) {
		if (words->next == words->argc)
			return ig_cli_usage(cli, NULL, "'%s' needs a verb", noun);
		verb = words->argv[words->next++];
		if (strcmp(verb, "--help") == 0)
			return print_help(cli, noun, NULL);
		found = ig_cli_find(noun, verb);
	}
	if (!found)
		return ig_cli_usage(cli, NULL, "'%s' has no verb '%s'", noun, verb);
	if (asks_for_help(words))
		return print_help(cli, noun, verb);
	r = read_args(cli, found, words, &args);
	return r != IG_CLI_OK ? r : found->run(cli, &args);
}

static bool wants_color(void)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0);
}

int ig_cli_run(int argc, char **argv, FILE *out, FILE *err)
{
	struct ig_cli cli = {.out = out, .err = err, .socket_path = IG_CTL_DEFAULT_SOCKET};
	const char *values[IG_CLI_OPTIONS_MAX] = {};
	struct words words = {.argv = argv, .argc = argc, .next = 1};
	enum { JSON, SOCKET, HELP }; /* places in ig_cli_globals */
	int r;

	while (words.next < argc && argv[words.next][0] == '-') {
		r = read_option(&cli, NULL, ig_cli_globals, &words, values);
		if (r != IG_CLI_OK)
			return r;
		cli.json = values[JSON];
	}
	if (values[SOCKET])
		cli.socket_path = values[SOCKET];
	cli.terminal = isatty(fileno(out)) == 1;
	cli.color = !cli.json && cli.terminal && wants_color();
	if (values[HELP])
		return print_help(&cli, NULL, NULL);
	if (words.next >= argc)
		return ig_cli_usage(&cli, NULL, "a noun is missing");
	return run_noun(&cli, &words);
}
