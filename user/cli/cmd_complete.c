/*
 * `imdsgate complete`: what may stand next on a command line. The completions of bash, zsh and fish
 * (deploy/completion/) are thin: they hand over the words and show what this prints. Called by
 * args.c through the table.
 *
 * It runs whenever somebody presses a key, so it must never complain, and never wait for longer
 * than a moment: an agent that is away or hangs means no names. Shells insert what is printed into
 * a command line: a name with characters that could mean something there is left out.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cmd.h"
#include "cli/out.h"
#include "cli/values.h"
#include "ctl/client.h"

#define AGENT_MSEC 400
#define HARMLESS   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-"

struct completion {
	const struct ig_cli *cli;
	const char *socket_path;
	const char *word; /* that is to be completed: the part behind --name= */
	const char *flag; /* "--name=" in front of it, or "" */
	size_t flag_len;
	json_t *candidates; /* owned; {"value","help"} */
	const char *paths;  /* "files", "directories" or NULL */
};

/* The words before the one that is to be completed, and what they leave open. */
struct place {
	const char *const *words;
	size_t n, next;
	const struct ig_cli_option *options; /* that may stand here; NULL without */
	bool given[IG_CLI_OPTIONS_MAX];
	const struct ig_cli_option *wants; /* the option whose value comes next */
	bool lost;			   /* there is an error before */
};

static void offer(struct completion *c, const char *value, size_t len, const char *help)
{
	json_t *item;

	if (strncmp(value, c->word, strlen(c->word)) != 0 || strspn(value, HARMLESS) < len)
		return;
	item = json_pack("{s:o,s:s}", "value",
		json_sprintf("%.*s%.*s", (int)c->flag_len, c->flag, (int)len, value), "help", help);
	/* out of memory: a candidate less */
	(void)json_array_append_new(c->candidates, item);
}

static void offer_word(struct completion *c, const char *value, const char *help)
{
	offer(c, value, strlen(value), help);
}

/* ---- nouns, verbs, options ---- */

static void offer_nouns(struct completion *c)
{
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++)
		if (ig_cli_find_noun(v->noun) == v)
			offer_word(c, v->noun, v->verb ? "" : v->summary);
}

static void offer_verbs(struct completion *c, const char *noun)
{
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++)
		if (strcmp(v->noun, noun) == 0 && v->verb)
			offer_word(c, v->verb, v->summary);
}

static void offer_option(struct completion *c, const char *name, const char *help)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "--%s", name);
	offer_word(c, text, help);
}

static void offer_options(struct completion *c, const struct place *place, bool with_help)
{
	for (size_t i = 0; place->options && place->options[i].name; i++)
		if (!place->given[i])
			offer_option(c, place->options[i].name, place->options[i].help);
	if (with_help)
		offer_option(c, "help", "print help");
}

/* ---- values ---- */

static bool is_known(const json_t *candidates, const char *value)
{
	const json_t *item;
	size_t i;

	json_array_foreach (candidates, i, item)
		if (strcmp(ig_out_get_string(item, "value"), value) == 0)
			return true;
	return false;
}

static void offer_name(struct completion *c, const char *name)
{
	char text[600];
	int n = snprintf(text, sizeof(text), "%.*s%s", (int)c->flag_len, c->flag, name);

	if (n > 0 && (size_t)n < sizeof(text) && !is_known(c->candidates, text))
		offer_word(c, name, "");
}

static void offer_identities(struct completion *c, const json_t *workload)
{
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(workload, "identities"), i, item) {
		const char *name = json_string_value(item);
		const char *slash = name ? strchr(name, '/') : NULL;

		if (slash)
			offer_name(c, slash + 1);
	}
}

static void offer_workload(
	struct completion *c, const json_t *workload, enum ig_cli_value_type type)
{
	const char *namespace = ig_out_get_string(workload, "namespace");
	const char *name = ig_out_get_string(workload, "name");
	char both[600];

	if (!namespace || !name)
		return;
	(void)snprintf(both, sizeof(both), "%s/%s", namespace, name);
	if (type == IG_CLI_VALUE_WORKLOAD)
		offer_name(c, both);
	else if (type == IG_CLI_VALUE_IDENTITY)
		offer_identities(c, workload);
	else
		offer_name(c, type == IG_CLI_VALUE_POD ? name : namespace);
}

static void offer_workloads(struct completion *c, enum ig_cli_value_type type)
{
	_cleanup_(json_decrefp) json_t *list = NULL;
	struct ig_err err = {};
	bool reached;
	const json_t *item;
	size_t i;

	if (ig_ctl_call_within(AGENT_MSEC, c->socket_path, "workload", "list", NULL, &list,
		    &reached, &err) < 0)
		return;
	json_array_foreach (list, i, item)
		offer_workload(c, item, type);
}

/* noun: what a verb belongs to; NULL elsewhere */
static void offer_values(struct completion *c, enum ig_cli_value_type type, const char *noun)
{
	switch (type) {
	case IG_CLI_VALUE_FILE: c->paths = "files"; break;
	case IG_CLI_VALUE_DIRECTORY: c->paths = "directories"; break;
	case IG_CLI_VALUE_WORKLOAD:
	case IG_CLI_VALUE_NAMESPACE:
	case IG_CLI_VALUE_POD:
	case IG_CLI_VALUE_IDENTITY: offer_workloads(c, type); break;
	case IG_CLI_VALUE_NOUN: offer_nouns(c); break;
	case IG_CLI_VALUE_VERB:
		if (noun)
			offer_verbs(c, noun);
		break;
	default: break;
	}
}

static void offer_option_values(struct completion *c, const struct ig_cli_option *option)
{
	_cleanup_(json_decrefp) json_t *list = ig_cli_option_values(option);
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item)
		offer_word(c, json_string_value(item), "");
	offer_values(c, ig_cli_option_type(option), NULL);
}

/* ---- reading the words ---- */

/* The option that the word begins: its place; *ret_value is behind its =, or NULL. -ENOENT */
static int find_option(
	const struct ig_cli_option *options, const char *word, const char **ret_value)
{
	size_t len = strcspn(word, "=");

	if (strncmp(word, "--", 2) != 0)
		return -ENOENT;
	for (int i = 0; options && options[i].name; i++) {
		if (strlen(options[i].name) != len - 2 ||
			strncmp(word + 2, options[i].name, len - 2) != 0)
			continue;
		*ret_value = word[len] ? word + len + 1 : NULL;
		return i;
	}
	return -ENOENT;
}

/* Reads the option that stands next. *ret_value: borrowed; its value, if it stands here. */
static int read_option(struct place *place, const char **ret_value)
{
	const char *value = NULL;
	int i = find_option(place->options, place->words[place->next++], &value);

	place->lost |= i < 0;
	if (i < 0)
		return i;
	place->given[i] = true;
	if (place->options[i].value && !value) {
		if (place->next < place->n)
			value = place->words[place->next++];
		else
			place->wants = &place->options[i];
	}
	*ret_value = value;
	return i;
}

static void read_globals(struct completion *c, struct place *place)
{
	const char *value;
	int i;

	place->options = ig_cli_globals;
	while (place->next < place->n && place->words[place->next][0] == '-') {
		i = read_option(place, &value);
		if (i >= 0 && value && strcmp(ig_cli_globals[i].name, "socket") == 0)
			c->socket_path = value;
	}
}

/* NULL when the line ends before the command does, or there is no such one. */
static const struct ig_cli_verb *read_command(struct place *place, const char **ret_noun)
{
	const struct ig_cli_verb *verb;

	if (place->next == place->n)
		return NULL;
	*ret_noun = place->words[place->next++];
	verb = ig_cli_find(*ret_noun, NULL);
	if (verb || place->next == place->n)
		return verb;
	return ig_cli_find(*ret_noun, place->words[place->next++]);
}

/* Behind the verb. Returns the number of arguments before the word; *ret_first is the first. */
static size_t read_rest(struct place *place, bool *ret_options_end, const char **ret_first)
{
	const char *value;
	size_t n_args = 0;

	while (place->next < place->n) {
		const char *word = place->words[place->next];

		if (!*ret_options_end && strcmp(word, "--") == 0) {
			*ret_options_end = true;
			place->next++;
		} else if (!*ret_options_end && word[0] == '-' && word[1]) {
			(void)read_option(place, &value);
		} else {
			if (n_args++ == 0)
				*ret_first = word;
			place->next++;
		}
	}
	return n_args;
}

/* The word is the value of an option: of the one before it, or of the one that it begins itself. */
static bool complete_value(struct completion *c, const struct place *place)
{
	const char *value = NULL;
	int i = find_option(place->options, c->word, &value);

	if (place->wants) {
		offer_option_values(c, place->wants);
		return true;
	}
	if (i < 0 || !value)
		return false;
	c->flag = c->word;
	c->flag_len = (size_t)(value - c->word);
	c->word = value;
	if (place->options[i].value)
		offer_option_values(c, &place->options[i]);
	return true;
}

static void complete_rest(struct completion *c, struct place *place, const struct ig_cli_verb *verb)
{
	struct ig_cli_arg args[IG_CLI_VERB_ARGS_MAX];
	size_t n_known = ig_cli_verb_args(verb, args), n_args, at;
	const char *first = NULL;
	bool options_end = false, takes_more;

	memset(place->given, 0, sizeof(place->given));
	place->options = verb->options;
	n_args = read_rest(place, &options_end, &first);
	if (place->lost || (!options_end && complete_value(c, place)))
		return;
	at = n_args < n_known ? n_args : n_known - 1;
	takes_more = n_known && n_args < verb->max_args && (n_args < n_known || args[at].repeats);
	if (takes_more && (options_end || c->word[0] != '-'))
		offer_values(c, args[at].type, first);
	if (!options_end && (c->word[0] == '-' || !takes_more))
		offer_options(c, place, c->word[0] == '-');
}

static void complete(struct completion *c, struct place *place)
{
	const char *noun = NULL;
	const struct ig_cli_verb *verb;

	read_globals(c, place);
	if (place->lost)
		return;
	verb = place->wants ? NULL : read_command(place, &noun);
	if (verb)
		complete_rest(c, place, verb);
	else if (noun && place->words[place->n - 1] == noun)
		c->word[0] == '-' ? offer_option(c, "help", "print help") : offer_verbs(c, noun);
	else if (!noun && !complete_value(c, place))
		c->word[0] == '-' ? offer_options(c, place, false) : offer_nouns(c);
}

static int print(const struct ig_cli *cli, const struct completion *c)
{
	_cleanup_(json_decrefp) json_t *all = NULL;
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	const json_t *item;
	size_t i;

	if (cli->json) {
		all = json_pack("{s:O,s:s?}", "candidates", c->candidates, "paths", c->paths);
		if (!all || ig_out_json(&b, all) < 0)
			return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
		return ig_cli_print(cli, &b);
	}
	json_array_foreach (c->candidates, i, item) {
		const char *help = ig_out_get_string(item, "help");

		ig_out_value(&b, json_object_get(item, "value"));
		ig_buf_printf(&b, "\t%s\n", help ? help : "");
	}
	if (c->paths)
		ig_buf_printf(&b, ":%s\n", c->paths);
	return ig_cli_print(cli, &b);
}

int ig_cli_cmd_complete(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	_cleanup_(json_decrefp) json_t *candidates = json_array();
	struct completion c = {.cli = cli,
		.socket_path = cli->socket_path,
		.word = args->arg[args->n_args - 1],
		.flag = "",
		.candidates = candidates};
	struct place place = {.words = args->arg, .n = args->n_args - 1};

	if (!candidates)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	complete(&c, &place);
	return print(cli, &c);
}
