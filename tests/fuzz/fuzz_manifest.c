/*
 * Manifests: YAML, validator, store, and then the rules that came of it, asked. What is taken has
 * to be what the headers promise: canonical cgroups, names that are names, no control characters;
 * the same text twice is the same set, and a set can be put into a store and taken out.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "objects/manifest.h"
#include "objects/store.h"
#include "policy/binding.h"
#include "policy/explain.h"
#include "policy/metadata.h"
#include "workload/cgroup.h"

#define POLICY_NAMESPACE "imdsgate-system"

static void check_plain(const char *text)
{
	FUZZ_CHECK(text);
	for (const char *p = text; *p; p++)
		FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void check_name(const char *ns, const char *name)
{
	check_plain(ns);
	check_plain(name);
	FUZZ_CHECK(name[0] && strlen(name) <= IG_OBJECT_NAME_BYTES && !strchr(name, '/'));
	FUZZ_CHECK(ns[0] && strlen(ns) <= IG_OBJECT_NAME_BYTES && !strchr(ns, '/'));
}

static void check_list(const struct ig_text_list *list)
{
	FUZZ_CHECK(list->n <= IG_POLICY_LIST_MAX && (list->given || list->n == 0));
	for (size_t i = 0; i < list->n; i++)
		check_plain(list->items[i]);
}

static void check_identity(const struct ig_identity *identity)
{
	check_name(identity->namespace, identity->name);
	check_plain(identity->client_id);
	check_plain(identity->resource_id);
	check_plain(identity->secret_name);
	check_plain(identity->ad_endpoint);
	FUZZ_CHECK(!identity->object_id[0] || ig_parse_is_guid(identity->object_id));
	FUZZ_CHECK(!strstr(identity->secret_name, ".."));
	FUZZ_CHECK(!strstr(identity->federated_token_file, ".."));
	if (identity->federated_token_file[0])
		FUZZ_CHECK(strncmp(identity->federated_token_file, identity->namespace,
				   strlen(identity->namespace)) == 0);
}

static void check_policy(const struct ig_metadata_policy *policy)
{
	check_name(policy->namespace, policy->name);
	check_list(&policy->namespaces);
	check_list(&policy->resources);
	check_list(&policy->paths);
	check_list(&policy->executables);
	check_list(&policy->containers);
	/* nobody reaches beyond his own namespace */
	if (strcmp(policy->namespace, POLICY_NAMESPACE) != 0)
		FUZZ_CHECK(!policy->host && !policy->namespaces.given);
	FUZZ_CHECK(policy->rate_per_sec <= IG_POLICY_RATE_MAX);
	for (size_t i = 0; i < policy->executables.n; i++)
		FUZZ_CHECK(policy->executables.items[i][0] == '/');
}

static void check_set(const struct ig_object_set *set)
{
	for (size_t i = 0; i < set->n_identities; i++)
		check_identity(&set->identities[i]);
	for (size_t i = 0; i < set->n_pods; i++) {
		check_name(set->pods[i].namespace, set->pods[i].name);
		FUZZ_CHECK(
			!set->pods[i].cgroup[0] || ig_cgroup_path_check(set->pods[i].cgroup) == 0);
		FUZZ_CHECK(strcmp(set->pods[i].cgroup, "/") != 0);
		FUZZ_CHECK(set->pods[i].n_labels <= IG_LABELS_MAX);
	}
	for (size_t i = 0; i < set->n_bindings; i++) {
		check_name(set->bindings[i].namespace, set->bindings[i].name);
		FUZZ_CHECK(set->bindings[i].selector[0]);
	}
	for (size_t i = 0; i < set->n_metadata_policies; i++)
		check_policy(&set->metadata_policies[i]);
}

static void ask(const struct ig_store *store)
{
	const struct ig_policy_options options = {.policy_namespace = POLICY_NAMESPACE};
	const struct ig_selector none = {.kind = IG_SELECTOR_NONE};
	const struct ig_pod *pod;
	size_t iter = 0;

	while ((pod = ig_store_next_pod(store, &iter)) != NULL) {
		struct ig_policy_decision d =
			ig_policy_select(store, pod, &none, &options, NULL, NULL);

		FUZZ_CHECK(d.outcome < _IG_POLICY_OUTCOME_MAX && d.reason);
		if (d.outcome == IG_POLICY_GRANT) {
			FUZZ_CHECK(d.identity && (d.binding || d.service_account));
			FUZZ_CHECK(!pod->finished);
			FUZZ_CHECK(strcmp(d.identity->namespace, pod->namespace) == 0);
		}
		if (pod->cgroup[0])
			FUZZ_CHECK(ig_store_pod_by_cgroup(store, pod->cgroup) == pod);
		if (pod->uid[0])
			FUZZ_CHECK(ig_store_pod_by_uid(store, pod->uid) == pod);
		FUZZ_CHECK(ig_store_pod_by_name(store, pod->namespace, pod->name) == pod);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ig_object_set *set = NULL, *again = NULL;
	char *text = fuzz_copy(data, size);
	struct ig_store *store = NULL;
	struct ig_err err = {};
	int r = ig_manifest_parse("fuzz.yaml", text, size, POLICY_NAMESPACE, &set, &err);

	if (r < 0) {
		FUZZ_CHECK(r == -EINVAL || r == -E2BIG);
		FUZZ_CHECK(err.message[0]);
		free(text);
		return 0;
	}
	check_set(set);
	FUZZ_CHECK(ig_manifest_parse("fuzz.yaml", text, size, POLICY_NAMESPACE, &again, &err) == 0);
	FUZZ_CHECK(ig_object_set_equal(set, again));
	FUZZ_CHECK(ig_store_new(&store) == 0);
	/* what one file may declare goes into an empty store */
	FUZZ_CHECK(ig_store_replace(store, "a", set, &err) == 0);
	ask(store);
	if (ig_object_set_count(again) > 0) {
		FUZZ_CHECK(ig_store_replace(store, "b", again, &err) == -EINVAL);
		(void)ig_object_set_free(again);
	} else {
		(void)ig_object_set_free(again);
	}
	FUZZ_CHECK(ig_store_replace(store, "a", NULL, &err) == 0);
	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++)
		FUZZ_CHECK(ig_store_count(store, kind) == 0);
	(void)ig_store_free(store);
	free(text);
	return 0;
}
