/*
 * MetadataPolicy of imdsgate.dev/v1alpha1; see kinds.h and docs/policy.md. A policy restricts, so
 * what is not understood must not be passed over: every field is known, and a field that would have
 * no effect beside the others is an error, too. deploy/kubernetes/crds says the same as far as a
 * schema can. Called by validate.c.
 */
#include "objects/kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "objects/names.h"

static const struct ig_field policy_fields[] = {
	{.name = "subject", .shape = IG_FIELD_STRING},
	{.name = "mode", .shape = IG_FIELD_STRING},
	{.name = "namespaces", .shape = IG_FIELD_STRINGS},
	{.name = "podSelector", .shape = IG_FIELD_MAPPING},
	{.name = "serviceAccounts", .shape = IG_FIELD_STRINGS},
	{.name = "identities", .shape = IG_FIELD_STRINGS},
	{.name = "allow", .shape = IG_FIELD_MAPPING},
	{.name = "rate", .shape = IG_FIELD_MAPPING},
};

static const struct ig_field selector_fields[] = {
	{.name = "matchLabels", .shape = IG_FIELD_MAPPING},
};

static const struct ig_field allow_fields[] = {
	{.name = "resources", .shape = IG_FIELD_STRINGS},
	{.name = "metadataPaths", .shape = IG_FIELD_STRINGS},
	{.name = "containers", .shape = IG_FIELD_STRINGS},
	{.name = "executables", .shape = IG_FIELD_STRINGS},
	{.name = "hostNetwork", .shape = IG_FIELD_BOOLEAN},
};

static const struct ig_field rate_fields[] = {
	{.name = "perSecond", .shape = IG_FIELD_INTEGER},
	{.name = "burst", .shape = IG_FIELD_INTEGER},
};

/* ---- what may stand in a list ---- */

/* Nothing matches by pattern, so an asterisk that is not all there is would be a misunderstanding.
 */
static bool is_resource(const char *s)
{
	if (strcmp(s, "*") == 0)
		return true;
	for (const char *c = s; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '*')
			return false;
	return *s;
}

static bool is_path_segment(const char *s, size_t len)
{
	if (len == 0 || s[0] == '.')
		return false;
	return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") >=
	       len;
}

/* A document or a part of the tree, in the form that requests are reduced to. Tokens have no path.
 */
static bool is_metadata_path(const char *s)
{
	static const char *const trees[] = {
		"instance", "attested", "scheduledevents", "loadbalancer", "versions"};
	static const char prefix[] = "/metadata/";
	bool known = false;

	if (strlen(s) > IG_DOCUMENT_PATH_BYTES || !ig_str_has_prefix(s, prefix))
		return false;
	s += strlen(prefix);
	for (size_t i = 0; i < IG_ARRAY_SIZE(trees); i++) {
		size_t len = strlen(trees[i]);

		if (strncmp(s, trees[i], len) == 0 && (s[len] == '/' || s[len] == '\0'))
			known = true;
	}
	for (;;) {
		size_t len = strcspn(s, "/");

		if (!known || !is_path_segment(s, len))
			return false;
		if (!s[len])
			return true;
		s += len + 1;
	}
}

/* Absolute, of a file, without empty, "." or ".." parts: as the kernel names it. */
static bool is_executable(const char *s)
{
	if (*s != '/' || strlen(s) > IG_EXE_PATH_BYTES)
		return false;
	while (*s) {
		size_t len = strcspn(++s, "/");

		if (len == 0 || (len <= 2 && strspn(s, ".") >= len))
			return false;
		s += len;
	}
	return true;
}

struct list_kind {
	bool (*is_valid)(const char *s);
	const char *expected;
};

static const struct list_kind namespace_list = {ig_name_is_dns_label, "names of namespaces"};
static const struct list_kind account_list = {ig_name_is_dns_subdomain, "names of ServiceAccounts"};
static const struct list_kind identity_list = {
	ig_name_is_dns_subdomain, "names of AzureIdentities or ServiceAccounts"};
static const struct list_kind resource_list = {is_resource,
	"resources as clients ask for them, without spaces and wildcards, or \"*\" alone for any"};
static const struct list_kind path_list = {is_metadata_path,
	"paths that begin with /metadata/instance, attested, scheduledevents, loadbalancer or versions, without a slash at the end"};
static const struct list_kind container_list = {ig_name_is_dns_label, "names of containers"};
static const struct list_kind executable_list = {
	is_executable, "absolute paths of files without empty, \".\" or \"..\" parts"};

static int read_list(const struct ig_input *in, const struct ig_fields *f, const char *key,
	const struct list_kind *kind, struct ig_text_list *ret)
{
	const json_t *array = json_object_get(f->node, key);
	const json_t *item;
	size_t i, n = json_array_size(array);

	if (!array)
		return 0;
	if (n > IG_POLICY_LIST_MAX)
		return ig_fields_fail(
			f, key, "%zu entries are more than the %d allowed", n, IG_POLICY_LIST_MAX);
	/* never zero, so that NULL means out of memory */
	ret->items = calloc(n + 1, sizeof(*ret->items));
	if (!ret->items)
		return ig_err_set(in->top.err, -ENOMEM, "out of memory");
	ret->given = true;
	json_array_foreach (array, i, item) {
		const char *text = json_string_value(item);
		int r;

		if (!kind->is_valid(text))
			return ig_fields_fail(
				f, key, "expected %s, found \"%s\"", kind->expected, text);
		r = ig_kind_text(in, text, &ret->items[ret->n]);
		if (r < 0)
			return r;
		ret->n++;
	}
	return 0;
}

/* ---- the parts of a policy ---- */

static int read_mode(const struct ig_input *in, enum ig_policy_mode *ret)
{
	/* not "Off": YAML 1.1, which kubectl reads, takes that for a boolean */
	static const struct {
		const char *name;
		enum ig_policy_mode mode;
	} modes[] = {
		{"Enforce", IG_POLICY_MODE_ENFORCE},
		{"Audit", IG_POLICY_MODE_AUDIT},
		{"Disabled", IG_POLICY_MODE_OFF},
	};
	const char *name = ig_fields_peek(&in->spec, "mode");

	if (!name)
		return 0;
	for (size_t i = 0; i < IG_ARRAY_SIZE(modes); i++) {
		*ret = modes[i].mode;
		if (strcmp(name, modes[i].name) == 0)
			return 0;
	}
	return ig_fields_fail(&in->spec, "mode",
		"expected \"Enforce\", \"Audit\" or \"Disabled\", found \"%s\"", name);
}

static int read_subject(const struct ig_input *in, bool *ret_host)
{
	const char *subject = ig_fields_peek(&in->spec, "subject");

	*ret_host = subject && strcmp(subject, "Host") == 0;
	if (subject && !*ret_host && strcmp(subject, "Pods") != 0)
		return ig_fields_fail(&in->spec, "subject",
			"expected \"Pods\" or \"Host\", found \"%s\"", subject);
	return 0;
}

static int read_selector(const struct ig_input *in, struct ig_metadata_policy *policy)
{
	struct ig_fields selector, labels;
	int r;

	if (!ig_fields_enter(&in->spec, "podSelector", "spec.podSelector", &selector))
		return 0;
	r = IG_FIELDS_CHECK(&selector, selector_fields, true);
	if (r < 0 ||
		!ig_fields_enter(&selector, "matchLabels", "spec.podSelector.matchLabels", &labels))
		return r;
	return ig_fields_labels(&labels, &policy->labels, &policy->n_labels);
}

static int read_allow(
	const struct ig_input *in, const struct ig_fields *allow, struct ig_metadata_policy *policy)
{
	int r = IG_FIELDS_CHECK(allow, allow_fields, true);

	if (r == 0)
		r = read_list(in, allow, "resources", &resource_list, &policy->resources);
	if (r == 0)
		r = read_list(in, allow, "metadataPaths", &path_list, &policy->paths);
	if (r == 0)
		r = read_list(in, allow, "containers", &container_list, &policy->containers);
	if (r == 0)
		r = read_list(in, allow, "executables", &executable_list, &policy->executables);
	if (r == 0 && json_object_get(allow->node, "hostNetwork"))
		policy->host_network = ig_fields_bool(allow, "hostNetwork")
					       ? IG_POLICY_HOST_NETWORK_ALLOW
					       : IG_POLICY_HOST_NETWORK_DENY;
	return r;
}

static int read_rate_field(const struct ig_fields *rate, const char *key, uint32_t *ret)
{
	const json_t *value = json_object_get(rate->node, key);
	json_int_t n = json_integer_value(value);

	if (value && (n < 1 || n > IG_POLICY_RATE_MAX))
		return ig_fields_fail(rate, key, "expected 1 to %d, found %lld", IG_POLICY_RATE_MAX,
			(long long)n);
	*ret = (uint32_t)n;
	return 0;
}

static int read_rate(const struct ig_input *in, struct ig_metadata_policy *policy)
{
	struct ig_fields rate;
	int r;

	if (!ig_fields_enter(&in->spec, "rate", "spec.rate", &rate))
		return 0;
	r = IG_FIELDS_CHECK(&rate, rate_fields, true);
	if (r == 0)
		r = read_rate_field(&rate, "perSecond", &policy->rate_per_sec);
	return r < 0 ? r : read_rate_field(&rate, "burst", &policy->rate_burst);
}

/* ---- what does not go together ---- */

static int fail_beside(const struct ig_fields *f, const char *key, const char *beside)
{
	return ig_fields_fail(f, key, "has no effect beside %s", beside);
}

static int check_beside(const struct ig_input *in, const struct ig_fields *allow,
	const struct ig_metadata_policy *policy)
{
	static const char *const of_pods[] = {
		"namespaces", "podSelector", "serviceAccounts", "identities"};
	static const char *const of_containers[] = {"containers", "hostNetwork"};

	for (size_t i = 0; policy->host && i < IG_ARRAY_SIZE(of_pods); i++)
		if (json_object_get(in->spec.node, of_pods[i]))
			return fail_beside(&in->spec, of_pods[i], "\"subject: Host\"");
	for (size_t i = 0; policy->host && i < IG_ARRAY_SIZE(of_containers); i++)
		if (json_object_get(allow->node, of_containers[i]))
			return fail_beside(allow, of_containers[i], "\"subject: Host\"");
	/* a document belongs to no identity */
	if (policy->identities.given && policy->paths.given)
		return fail_beside(
			allow, "metadataPaths", "\"identities\", which governs tokens only");
	return 0;
}

static int check_reach(const struct ig_input *in, const struct ig_metadata_policy *policy)
{
	const char *own = in->policy_namespace;

	if (!own || strcmp(in->namespace, own) == 0)
		return 0;
	if (policy->host)
		return ig_fields_fail(&in->spec, "subject",
			"\"Host\" is allowed in namespace \"%s\" only, this is \"%s\"", own,
			in->namespace);
	if (policy->namespaces.given)
		return ig_fields_fail(&in->spec, "namespaces",
			"allowed in namespace \"%s\" only; here a policy covers its own namespace, \"%s\"",
			own, in->namespace);
	return 0;
}

static int read_spec(const struct ig_input *in, struct ig_metadata_policy *policy)
{
	const struct ig_fields *spec = &in->spec;
	struct ig_fields allow = {};
	int r = IG_FIELDS_CHECK(spec, policy_fields, true);

	if (r == 0)
		r = read_subject(in, &policy->host);
	if (r == 0)
		r = read_mode(in, &policy->mode);
	if (r == 0)
		r = read_list(in, spec, "namespaces", &namespace_list, &policy->namespaces);
	if (r == 0)
		r = read_selector(in, policy);
	if (r == 0)
		r = read_list(
			in, spec, "serviceAccounts", &account_list, &policy->service_accounts);
	if (r == 0)
		r = read_list(in, spec, "identities", &identity_list, &policy->identities);
	if (r == 0 && ig_fields_enter(spec, "allow", "spec.allow", &allow))
		r = read_allow(in, &allow, policy);
	if (r == 0)
		r = read_rate(in, policy);
	if (r == 0)
		r = check_beside(in, &allow, policy);
	return r < 0 ? r : check_reach(in, policy);
}

int ig_kind_read_policy(const struct ig_input *in)
{
	_cleanup_(ig_metadata_policy_done) struct ig_metadata_policy policy = {.place = in->place};
	int r = ig_kind_names(in, &policy.namespace, &policy.name);

	if (r == 0)
		r = read_spec(in, &policy);
	if (r < 0)
		return r;
	policy.generation = json_integer_value(json_object_get(in->meta.node, "generation"));
	return ig_kind_add(in, IG_OBJECT_METADATA_POLICY, &policy);
}
