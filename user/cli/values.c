/*
 * What may stand where; see values.h.
 */
#include "cli/values.h"

#include <stdio.h>
#include <string.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "report/stats.h"

typedef const char *list_fn(unsigned int i); /* NULL behind the last one */

static const char *kind_at(unsigned int i)
{
	return i < _IG_AUDIT_KIND_MAX ? ig_audit_kind_name((enum ig_audit_kind)i) : NULL;
}

static const char *decision_at(unsigned int i)
{
	static const char *const names[] = {"allow", "deny", "error", "none"};

	return i < IG_ARRAY_SIZE(names) ? names[i] : NULL;
}

static const char *sink_at(unsigned int i)
{
	static const char *const names[] = {"file", "stdout", "syslog", "otlp", "subscriber"};

	return i < IG_ARRAY_SIZE(names) ? names[i] : NULL;
}

static const char *by_at(unsigned int i)
{
	return i < _IG_REPORT_BY_MAX ? ig_report_by_name((enum ig_report_by)i) : NULL;
}

/* An option means the same behind every verb. */
static const struct {
	const char *option;
	enum ig_cli_value_type type;
	list_fn *list;
} options[] = {
	{"kind", IG_CLI_VALUE_LIST, kind_at},
	{"decision", IG_CLI_VALUE_LIST, decision_at},
	{"sink", IG_CLI_VALUE_LIST, sink_at},
	{"by", IG_CLI_VALUE_LIST, by_at},
	{"namespace", IG_CLI_VALUE_NAMESPACE, NULL},
	{"policy-namespace", IG_CLI_VALUE_NAMESPACE, NULL},
	{"pod", IG_CLI_VALUE_POD, NULL},
	{"identity", IG_CLI_VALUE_IDENTITY, NULL},
};

static const struct {
	const char *name;
	enum ig_cli_value_type type;
} placeholders[] = {
	{"FILE", IG_CLI_VALUE_FILE},
	{"LOG", IG_CLI_VALUE_FILE},
	{"PATH", IG_CLI_VALUE_FILE},
	{"DIR", IG_CLI_VALUE_DIRECTORY},
	{"NAMESPACE/NAME", IG_CLI_VALUE_WORKLOAD},
	{"NAMESPACE/POD", IG_CLI_VALUE_WORKLOAD},
	{"NS/NAME", IG_CLI_VALUE_WORKLOAD},
	{"NOUN", IG_CLI_VALUE_NOUN},
	{"VERB", IG_CLI_VALUE_VERB},
};

const char *ig_cli_value_type_name(enum ig_cli_value_type type)
{
	static const char *const names[_IG_CLI_VALUE_MAX] = {
		[IG_CLI_VALUE_TEXT] = "text",
		[IG_CLI_VALUE_LIST] = "list",
		[IG_CLI_VALUE_FILE] = "file",
		[IG_CLI_VALUE_DIRECTORY] = "directory",
		[IG_CLI_VALUE_WORKLOAD] = "workload",
		[IG_CLI_VALUE_NAMESPACE] = "namespace",
		[IG_CLI_VALUE_POD] = "pod",
		[IG_CLI_VALUE_IDENTITY] = "identity",
		[IG_CLI_VALUE_NOUN] = "noun",
		[IG_CLI_VALUE_VERB] = "verb",
	};

	return names[type];
}

/* The word without brackets. Returns where the next one is. */
static const char *bare(const char *words, char *ret, size_t size)
{
	size_t n = 0;

	words += strspn(words, " ");
	for (; *words && *words != ' '; words++)
		if (*words != '[' && *words != ']' && n < size - 1)
			ret[n++] = *words;
	ret[n] = '\0';
	return words;
}

static enum ig_cli_value_type placeholder_type(const char *name)
{
	char word[IG_CLI_ARG_BYTES];

	(void)bare(name, word, sizeof(word));
	for (size_t i = 0; i < IG_ARRAY_SIZE(placeholders); i++)
		if (strcmp(placeholders[i].name, word) == 0)
			return placeholders[i].type;
	return IG_CLI_VALUE_TEXT;
}

/* By the name of the option: what its values are, and for IG_CLI_VALUE_LIST which. */
static list_fn *list_of(const struct ig_cli_option *option, enum ig_cli_value_type *ret_type)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(options); i++) {
		if (strcmp(options[i].option, option->name) != 0)
			continue;
		*ret_type = options[i].type;
		return options[i].list;
	}
	*ret_type = IG_CLI_VALUE_TEXT;
	return NULL;
}

static bool is_literal(const char *value)
{
	return strchr(value, '|') && !strpbrk(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

enum ig_cli_value_type ig_cli_option_type(const struct ig_cli_option *option)
{
	enum ig_cli_value_type type;

	if (!option->value)
		return IG_CLI_VALUE_TEXT;
	if (is_literal(option->value))
		return IG_CLI_VALUE_LIST;
	type = placeholder_type(option->value);
	if (type == IG_CLI_VALUE_TEXT)
		(void)list_of(option, &type);
	return type;
}

static json_t *split(const char *words)
{
	_cleanup_(json_decrefp) json_t *list = json_array();

	for (size_t len; list; words += len + 1) {
		len = strcspn(words, "|");
		if (json_array_append_new(list, json_stringn(words, len)) < 0)
			return NULL;
		if (!words[len])
			break;
	}
	return TAKE_PTR(list);
}

json_t *ig_cli_option_values(const struct ig_cli_option *option)
{
	_cleanup_(json_decrefp) json_t *values = NULL;
	enum ig_cli_value_type type;
	list_fn *list;

	if (ig_cli_option_type(option) != IG_CLI_VALUE_LIST)
		return json_null();
	if (is_literal(option->value))
		return split(option->value);
	list = list_of(option, &type);
	values = json_array();
	for (unsigned int i = 0; list && list(i); i++)
		if (json_array_append_new(values, json_string(list(i))) < 0)
			return NULL;
	return TAKE_PTR(values);
}

/* false at the end */
static bool next_arg(const char **rest, struct ig_cli_arg *ret)
{
	size_t n;

	*ret = (struct ig_cli_arg){};
	*rest = bare(*rest, ret->name, sizeof(ret->name));
	n = strlen(ret->name);
	if (n > 3 && strcmp(ret->name + n - 3, "...") == 0) {
		ret->name[n - 3] = '\0';
		ret->repeats = true;
	}
	ret->type = placeholder_type(ret->name);
	return n > 0;
}

size_t ig_cli_verb_args(const struct ig_cli_verb *verb, struct ig_cli_arg *ret)
{
	const char *rest = verb->args;
	struct ig_cli_arg arg;
	size_t n = 0;

	while (n < IG_CLI_VERB_ARGS_MAX && next_arg(&rest, &arg)) {
		if (arg.name[0] == '-') /* an option and its value: in the list of options */
			(void)next_arg(&rest, &arg);
		else
			ret[n++] = arg;
	}
	return n;
}
