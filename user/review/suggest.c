/*
 * Suggesting policies; see suggest.h. What may stand in a policy is asked of the validator, entry
 * by entry; nothing of that is repeated here. Called by the command-line tool.
 */
#include "review/suggest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/parse.h"
#include "objects/validate.h"
#include "policy/binding.h"
#include "report/filter.h"
#include "report/stats.h"
#include "report/summary.h"
#include "review/recorded.h"

/* What a use is counted under. The first four are lists of a policy. */
static const char *const lists[] = {"resources", "metadataPaths", "containers", "executables"};
enum { RESOURCES, PATHS, CONTAINERS, EXECUTABLES, N_LISTS };
#define HOST_NETWORK "hostNetwork"
#define WATCHED	     "watched"

/* Fields of the tables. */
enum { NAMESPACE, KEY, N_GROUP };
enum { LIST = N_GROUP, TEXT, N_ITEM }; /* TEXT "": it was not known */

/* Not the name of anything. */
#define HOST_KEY "(host)"

struct ig_suggest {
	const struct ig_store *store;
	struct ig_suggest_options options;
	struct ig_report_table groups, items;
	struct ig_report_table left_out; /* by why and whose */
	struct ig_report_tally all;
	uint64_t not_allowed;
};

int ig_suggest_new(const struct ig_store *store, const struct ig_suggest_options *options,
	struct ig_suggest **ret)
{
	struct ig_suggest *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->store = store;
	s->options = *options;
	s->groups = ig_report_table_init(N_GROUP);
	s->items = ig_report_table_init(N_ITEM);
	s->left_out = ig_report_table_init(2);
	*ret = s;
	return 0;
}

struct ig_suggest *ig_suggest_free(struct ig_suggest *s)
{
	if (!s)
		return NULL;
	ig_report_table_done(&s->groups);
	ig_report_table_done(&s->items);
	ig_report_table_done(&s->left_out);
	free(s);
	return NULL;
}

/* ---- counting -------------------------------------------------------------------------------- */

/* One use, on its way into the tables. */
struct use {
	struct ig_suggest *suggest;
	const struct ig_report_event *event;
	const struct ig_recorded *recorded;
	const char *namespace, *key;
};

static int leave_out(const struct use *use, const char *why, const char *whose)
{
	const char *fields[] = {why, whose};

	return ig_report_table_add(
		&use->suggest->left_out, fields, IG_AUDIT_ALLOW, use->event->time_usec, 1);
}

static int add_item(const struct use *use, const char *list, const char *text)
{
	const char *fields[] = {use->namespace, use->key, list, text ? text : ""};

	return ig_report_table_add(
		&use->suggest->items, fields, IG_AUDIT_ALLOW, use->event->time_usec, 1);
}

/* As policies compare: lower case, no slashes at the end. */
static int add_resource(const struct use *use)
{
	char text[IG_RESOURCE_BYTES + 1];
	size_t len;

	(void)snprintf(text, sizeof(text), "%s", use->event->resource);
	ig_str_lower(text);
	for (len = strlen(text); len > 0 && text[len - 1] == '/'; len--)
		text[len - 1] = '\0';
	return add_item(use, lists[RESOURCES], text);
}

static int add_items(const struct use *use)
{
	const struct ig_policy_request *request = &use->recorded->request;
	int r;

	if (request->kind == IG_POLICY_REQUEST_TOKEN)
		r = add_resource(use);
	else
		r = add_item(use, lists[PATHS], use->recorded->path);
	if (r == 0)
		r = add_item(use, lists[EXECUTABLES], request->exe_deleted ? NULL : request->exe);
	if (r == 0)
		r = add_item(use, lists[CONTAINERS], request->container);
	if (r == 0 && request->pod && request->pod->host_network)
		r = add_item(use, HOST_NETWORK, "true");
	if (r == 0 && use->event->would_deny[0])
		r = add_item(use, WATCHED, use->event->would_deny);
	return r;
}

/* Which policy is it for? key NULL: none, and *ret_why says why. */
static void find_group(struct use *use, const char **ret_why)
{
	const struct ig_suggest_options *options = &use->suggest->options;
	const struct ig_recorded *recorded = use->recorded;
	const struct ig_pod *pod = recorded->request.pod;

	*ret_why = recorded->missing;
	if (recorded->missing)
		return;
	if (recorded->is_host) {
		use->namespace = options->policy_namespace;
		use->key = HOST_KEY;
		return;
	}
	use->namespace = pod->namespace;
	switch (options->per) {
	case IG_SUGGEST_PER_ACCOUNT: use->key = ig_policy_service_account_name(pod); return;
	case IG_SUGGEST_PER_IDENTITY:
		if (recorded->request.identity)
			use->key = recorded->request.identity->name;
		*ret_why = recorded->request.kind == IG_POLICY_REQUEST_TOKEN
				   ? "a token of the node's own identities, which have no name"
				   : "a document, which policies with `identities` do not govern";
		return;
	case IG_SUGGEST_PER_LABEL:
		if (recorded->declared)
			use->key = ig_label_get(pod->labels, pod->n_labels, options->label);
		*ret_why = recorded->declared
				   ? "its pod does not have the label"
				   : "its pod is not declared, so its labels are not known";
	}
}

static int add_use(struct use *use)
{
	const char *fields[N_GROUP], *why = NULL;
	char whose[2 * 256 + 2];
	int r;

	find_group(use, &why);
	if (!use->key) {
		(void)snprintf(whose, sizeof(whose), "%s/%s", ig_report_namespace(use->event),
			ig_report_pod(use->event));
		return leave_out(use, why, whose);
	}
	fields[NAMESPACE] = use->namespace;
	fields[KEY] = use->key;
	r = ig_report_table_add(
		&use->suggest->groups, fields, IG_AUDIT_ALLOW, use->event->time_usec, 1);
	return r < 0 ? r : add_items(use);
}

int ig_suggest_add(struct ig_suggest *s, const struct ig_report_event *event)
{
	struct use use = {.suggest = s, .event = event};
	struct ig_recorded recorded;

	if (event->kind != IG_AUDIT_TOKEN_ISSUED && event->kind != IG_AUDIT_METADATA_FORWARDED) {
		s->not_allowed += ig_recorded_outcome(event) != IG_RECORDED_OTHER;
		return 0;
	}
	ig_recorded_read(s->store, event, &recorded);
	use.recorded = &recorded;
	ig_report_tally_add(&s->all, IG_AUDIT_ALLOW, event->time_usec, 1);
	return add_use(&use);
}

/* ---- a policy -------------------------------------------------------------------------------- */

/* A policy while it is made. */
struct draft {
	const struct ig_suggest *suggest;
	const char *namespace, *key;
	bool is_host;
	json_t *policy, *spec, *allow;	    /* borrowed from policy, which the result owns */
	json_t *notes;			    /* borrowed from the result */
	const struct ig_report_row **items; /* its own, in order */
	size_t n_items;
};

static int note(json_t *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int note(json_t *list, const char *fmt, ...)
{
	char text[2 * IG_ERR_MESSAGE_BYTES];
	va_list ap;
	json_t *value;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	value = json_string(text);
	/* a cut may have left half a character */
	return json_array_append_new(list, value ? value : json_string("(a text that is cut)"));
}

static bool is_valid(const struct draft *d, const json_t *policy, struct ig_err *err)
{
	const struct ig_validate_options options = {
		.policy_namespace = d->suggest->options.policy_namespace};
	_cleanup_(ig_validator_freep) struct ig_validator *v = NULL;
	struct ig_object_set *set = ig_object_set_new();
	bool valid = set && ig_validator_new(&options, &v) == 0 &&
		     ig_validator_add(v, policy, set, err) == 0;

	(void)ig_object_set_free(set);
	return valid;
}

/* May this entry stand in that list? */
static bool is_entry(const struct draft *d, const char *list, const char *text, struct ig_err *err)
{
	_cleanup_(json_decrefp) json_t *probe = json_pack("{s:s,s:s,s:{s:s,s:s},s:{s:{s:[s]}}}",
		"apiVersion", "imdsgate.dev/v1alpha1", "kind", "MetadataPolicy", "metadata", "name",
		"x", "namespace", d->suggest->options.policy_namespace, "spec", "allow", list,
		text);

	if (!probe)
		return ig_err_set(err, -EINVAL, "not UTF-8") == 0;
	return is_valid(d, probe, err);
}

static bool is_of(const struct ig_report_row *item, const char *list)
{
	return strcmp(item->field[LIST], list) == 0;
}

/* A path stands for all that is below it. */
static bool is_below_another(const struct draft *d, const struct ig_report_row *item)
{
	for (size_t i = 0; i < d->n_items; i++) {
		const char *other = d->items[i]->field[TEXT];
		size_t len = strlen(other);

		if (d->items[i] != item && is_of(d->items[i], lists[PATHS]) && len > 0 &&
			ig_str_equal_nocase_n(other, item->field[TEXT], len) &&
			strlen(item->field[TEXT]) > len && item->field[TEXT][len] == '/')
			return true;
	}
	return false;
}

/* Appends an entry. -EINVAL with a note when the list cannot be given. */
static int add_entry(struct draft *d, json_t *list, int which, const struct ig_report_row *item)
{
	const char *text = item->field[TEXT];
	struct ig_err err = {};

	if (!text[0] && which != RESOURCES && which != PATHS) {
		(void)note(d->notes, "no allow.%s: in %" PRIu64 " requests it was not known",
			lists[which], ig_report_tally_total(&item->tally));
		return -EINVAL;
	}
	if (!is_entry(d, lists[which], text, &err)) {
		(void)note(d->notes, "no allow.%s: \"%.200s\" cannot stand there (%.300s)",
			lists[which], text, err.message);
		return -EINVAL;
	}
	if (which == PATHS && is_below_another(d, item))
		return 0;
	if (json_array_size(list) == IG_POLICY_LIST_MAX) {
		(void)note(d->notes, "no allow.%s: there are more than %d", lists[which],
			IG_POLICY_LIST_MAX);
		return -EINVAL;
	}
	return json_array_append_new(list, json_string(text)) < 0 ? -ENOMEM : 0;
}

static int add_list(struct draft *d, int which)
{
	_cleanup_(json_decrefp) json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->n_items; i++)
		if (is_of(d->items[i], lists[which]))
			r = add_entry(d, list, which, d->items[i]);
	if (r == -EINVAL)
		return 0;
	if (r < 0 || json_object_set(d->allow, lists[which], list) < 0)
		return -ENOMEM;
	return 0;
}

static uint64_t count_of(const struct draft *d, const char *list)
{
	uint64_t n = 0;

	for (size_t i = 0; i < d->n_items; i++)
		if (is_of(d->items[i], list))
			n += ig_report_tally_total(&d->items[i]->tally);
	return n;
}

static int add_host_network(struct draft *d)
{
	if (count_of(d, HOST_NETWORK))
		return note(
			d->notes, "no allow.hostNetwork: pods in the host's network were served");
	return json_object_set_new(d->allow, HOST_NETWORK, json_false());
}

static int add_allow(struct draft *d)
{
	bool identity = d->suggest->options.per == IG_SUGGEST_PER_IDENTITY && !d->is_host;
	uint64_t watched = count_of(d, WATCHED);
	int r = add_list(d, RESOURCES);

	if (r == 0 && !identity)
		r = add_list(d, PATHS);
	if (r == 0 && !d->is_host)
		r = add_list(d, CONTAINERS);
	if (r == 0)
		r = add_list(d, EXECUTABLES);
	if (r == 0 && !d->is_host)
		r = add_host_network(d);
	if (r == 0 && watched)
		r = note(d->notes,
			"%" PRIu64
			" of the requests were allowed by a policy in mode Audit that would deny them",
			watched);
	return r < 0 ? -ENOMEM : 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* "suggested-" and the key, as far as it can be a name; if not, the number says which it is. */
static void name_of(const struct draft *d, size_t number, char *ret, size_t size)
{
	int n = snprintf(ret, size, "suggested-%s", d->is_host ? "host" : d->key);
	bool changed = n >= (int)size || n > IG_OBJECT_NAME_BYTES - 24;
	size_t len = strnlen(ret, IG_OBJECT_NAME_BYTES - 24);

	ret[len] = '\0';
	for (char *p = ret; *p; p++) {
		bool good = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-';

		/* two that differ in a dot would be one */
		changed |= !good && *p != '.';
		if (!good && *p != '.')
			*p = '-';
	}
	while (len > 0 && (ret[len - 1] == '-' || ret[len - 1] == '.')) {
		ret[--len] = '\0';
		changed = true;
	}
	if (changed)
		(void)snprintf(ret + len, size - len, "-%zu", number);
}

static int add_subject(struct draft *d)
{
	switch (d->is_host ? -1 : (int)d->suggest->options.per) {
	case -1: return json_object_set_new(d->spec, "subject", json_string("Host"));
	case IG_SUGGEST_PER_ACCOUNT:
		return json_object_set_new(d->spec, "serviceAccounts", json_pack("[s]", d->key));
	case IG_SUGGEST_PER_IDENTITY:
		return json_object_set_new(d->spec, "identities", json_pack("[s]", d->key));
	default:
		return json_object_set_new(d->spec, "podSelector",
			json_pack("{s:{s:s}}", "matchLabels", d->suggest->options.label, d->key));
	}
}

static int build(struct draft *d, size_t number)
{
	char name[IG_OBJECT_NAME_BYTES + 1];

	name_of(d, number, name, sizeof(name));
	d->policy = json_pack("{s:s,s:s,s:{s:s,s:s},s:{}}", "apiVersion", "imdsgate.dev/v1alpha1",
		"kind", "MetadataPolicy", "metadata", "name", name, "namespace", d->namespace,
		"spec");
	d->spec = json_object_get(d->policy, "spec");
	d->allow = json_object();
	if (!d->spec || add_subject(d) < 0) {
		json_decref(d->allow);
		return -ENOMEM;
	}
	return json_object_set_new(d->spec, "allow", d->allow) < 0 ? -ENOMEM : add_allow(d);
}

/* ---- the result ------------------------------------------------------------------------------ */

static int put_suggestion(
	const struct ig_report_row *group, struct draft *d, size_t number, json_t *all)
{
	_cleanup_(json_decrefp) json_t *notes = json_array();
	_cleanup_(json_decrefp) json_t *policy = NULL;
	struct ig_err err = {};
	int r;

	d->namespace = group->field[NAMESPACE];
	d->key = group->field[KEY];
	d->is_host = strcmp(d->key, HOST_KEY) == 0;
	d->notes = notes;
	r = build(d, number);
	policy = d->policy;
	if (r < 0)
		return r;
	if (!is_valid(d, policy, &err))
		return note(json_object_get(all, "left_out"),
			"%" PRIu64 " requests of \"%.256s\" in namespace \"%.256s\": %.300s",
			ig_report_tally_total(&group->tally), d->key, d->namespace, err.message);
	return json_array_append_new(json_object_get(all, "suggestions"),
		       json_pack("{s:o,s:o,s:o,s:O,s:O}", "requests",
			       ig_report_number(ig_report_tally_total(&group->tally)), "first",
			       ig_report_time(group->tally.first_usec), "last",
			       ig_report_time(group->tally.last_usec), "notes", notes, "policy",
			       policy)) < 0
		       ? -ENOMEM
		       : 0;
}

static bool belongs(const struct ig_report_row *item, const struct ig_report_row *group)
{
	return strcmp(item->field[NAMESPACE], group->field[NAMESPACE]) == 0 &&
	       strcmp(item->field[KEY], group->field[KEY]) == 0;
}

static int put_suggestions(const struct ig_suggest *s, json_t *all)
{
	_cleanup_free_ const struct ig_report_row **groups = NULL;
	_cleanup_free_ const struct ig_report_row **items = NULL;
	struct draft d = {.suggest = s};
	size_t at = 0; /* groups and items have one order */
	int r = ig_report_table_sort(&s->groups, IG_REPORT_BY_FIELDS, &groups);

	if (r == 0)
		r = ig_report_table_sort(&s->items, IG_REPORT_BY_FIELDS, &items);
	for (size_t i = 0; r == 0 && i < s->groups.n_rows; i++) {
		d.items = items + at;
		for (d.n_items = 0; at < s->items.n_rows && belongs(items[at], groups[i]); at++)
			d.n_items++;
		r = put_suggestion(groups[i], &d, i + 1, all);
	}
	return r;
}

static int put_all_left_out(const struct ig_suggest *s, json_t *list)
{
	_cleanup_free_ const struct ig_report_row **rows = NULL;
	int r = ig_report_table_sort(&s->left_out, IG_REPORT_BY_FIELDS, &rows);

	for (size_t i = 0; r == 0 && i < s->left_out.n_rows; i++)
		r = note(list, "%" PRIu64 " requests of %.512s: %.256s",
			ig_report_tally_total(&rows[i]->tally), rows[i]->field[1],
			rows[i]->field[0]);
	return r;
}

int ig_suggest_result(const struct ig_suggest *s, json_t **ret, struct ig_err *reterr_err)
{
	_cleanup_(json_decrefp) json_t *all = NULL;

	if (s->groups.dropped_rows || s->items.dropped_rows)
		return ig_err_set(reterr_err, -E2BIG,
			"there are too many different requests: choose some, by --namespace or --since");
	all = json_pack("{s:o,s:o,s:o,s:o,s:[],s:[]}", "requests",
		ig_report_number(ig_report_tally_total(&s->all)), "first",
		ig_report_time(s->all.first_usec), "last", ig_report_time(s->all.last_usec),
		"not_allowed", ig_report_number(s->not_allowed), "left_out", "suggestions");
	if (!all || put_suggestions(s, all) < 0 ||
		put_all_left_out(s, json_object_get(all, "left_out")) < 0)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	*ret = TAKE_PTR(all);
	return 0;
}
