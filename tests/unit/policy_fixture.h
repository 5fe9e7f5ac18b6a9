/*
 * Manifests of the kinds that the policy reads, a store made of them, and the questions and
 * expectations that its unit tests share.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "objects/manifest.h"
#include "policy/binding.h"
#include "unit/object_fixture.h"

#define CID1 "aaaaaaaa-0000-0000-0000-00000000000a"
#define CID2 "bbbbbbbb-0000-0000-0000-00000000000b"
#define CID3 "cccccccc-0000-0000-0000-00000000000c"
#define OID1 "11111111-0000-0000-0000-000000000001"
#define OID2 "22222222-0000-0000-0000-000000000002"
#define RID(name)                                                                                  \
	"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" name

#define META(ns, name) "metadata: {namespace: " ns ", name: " name "}\n"
#define IDENTITY(ns, name, spec)                                                                   \
	"---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\n" META(                   \
		ns, name) "spec: {" spec "}\n"
#define BINDING(ns, name, identity, selector)                                                      \
	"---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\n" META(            \
		ns, name) "spec: {azureIdentity: " identity ", selector: " selector "}\n"
#define POD(ns, name, labels)                                                                      \
	"---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: " ns ", name: " name                \
	", labels: {" labels "}}\n"
#define EXCEPTION(ns, name, labels)                                                                \
	"---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzurePodIdentityException\n" META(       \
		ns, name) "spec: {podLabels: {" labels "}}\n"
#define DIRECT(ns, name, labels)                                                                   \
	"---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzurePodIdentityException\n"             \
	"metadata: {namespace: " ns ", name: " name                                                \
	", annotations: {imdsgate.dev/exception-mode: direct}}\n"                                  \
	"spec: {podLabels: {" labels "}}\n"

/* two identities on one selector */
#define USE "azure.workload.identity/use: \"true\""
#define ACCOUNT_POD(ns, name, labels, account)                                                     \
	POD(ns, name, labels) "spec: {serviceAccountName: " account "}\n"
#define UPPER_CID1 "AAAAAAAA-0000-0000-0000-00000000000A"
#define AKS_LABEL  "kubernetes.azure.com/managedby: aks"

IG_DEFINE_CLEANUP(struct ig_store *, ig_store_free);

static inline void load_one(struct ig_store *store, const char *source, const char *text)
{
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	if (ig_manifest_parse("test", text, strlen(text), NULL, &set, &err) < 0 ||
		ig_store_replace(store, source, set, &err) < 0)
		fail_msg("%u:%u: %s", err.line, err.column, err.message);
}

static inline struct ig_store *load(const char *text)
{
	struct ig_store *store = NULL;

	assert_int_equal(ig_store_new(&store), 0);
	load_one(store, "test", text);
	return store;
}

/* Each text a source of its own; with a seed they come in some other order. */
static inline struct ig_store *load_all(const char *const *texts, size_t n, unsigned int *seed)
{
	struct ig_store *store = NULL;
	char source[32];

	assert_int_equal(ig_store_new(&store), 0);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(source, sizeof(source), "%010d-%zu", seed ? rand_r(seed) : 0, i);
		load_one(store, source, texts[i]);
	}
	return store;
}

static inline void add_account(
	struct ig_store *store, const char *ns, const char *name, const char *client_id)
{
	struct ig_object_set *set = ig_object_set_new();
	struct ig_service_account account = account_of(ns, name, client_id);
	char source[128];

	assert_non_null(set);
	(void)snprintf(source, sizeof(source), "account:%s/%s", ns, name);
	assert_int_equal(ig_object_set_add(set, IG_OBJECT_SERVICE_ACCOUNT, &account), 0);
	assert_int_equal(ig_store_replace(store, source, set, NULL), 0);
}

static const struct ig_policy_options cross
	__attribute__((unused)) = {.allow_cross_namespace = true};
static const struct ig_policy_options own __attribute__((unused)) = {};

static inline struct ig_policy_decision ask(const struct ig_store *store, const char *ns,
	const char *pod, enum ig_selector_kind kind, const char *value,
	const struct ig_policy_options *options)
{
	const struct ig_pod *p = ig_store_pod_by_name(store, ns, pod);
	struct ig_selector selector = {.kind = kind};

	assert_non_null(p);
	(void)snprintf(selector.value, sizeof(selector.value), "%s", value);
	return ig_policy_select(store, p, &selector, options, NULL, NULL);
}

/* Expects a grant of that identity (ns/name). */
static inline void expect_grant(struct ig_policy_decision d, const char *ns, const char *name)
{
	assert_int_equal(d.outcome, IG_POLICY_GRANT);
	assert_string_equal(d.reason, "grant");
	assert_non_null(d.identity);
	assert_non_null(d.binding);
	assert_null(d.service_account);
	assert_null(d.exception);
	assert_string_equal(d.rule, d.binding->name);
	assert_string_equal(d.identity->namespace, ns);
	assert_string_equal(d.identity->name, name);
	assert_string_equal(d.binding->azure_identity, name);
}

/* Expects a grant of the identity of the pod's account (default/name). */
static inline void expect_account(struct ig_policy_decision d, const char *name)
{
	assert_int_equal(d.outcome, IG_POLICY_GRANT);
	assert_non_null(d.service_account);
	assert_ptr_equal(d.identity, &d.service_account->identity);
	assert_null(d.binding);
	assert_null(d.exception);
	assert_string_equal(d.service_account->namespace, "default");
	assert_string_equal(d.service_account->name, name);
	assert_string_equal(d.rule, name);
}

static inline void expect_no(struct ig_policy_decision d, enum ig_policy_outcome outcome)
{
	assert_int_equal(d.outcome, outcome);
	assert_string_equal(d.reason, ig_policy_outcome_name(outcome));
	assert_null(d.rule);
	assert_null(d.service_account);
	assert_null(d.identity);
	assert_null(d.binding);
	assert_null(d.exception);
	assert_null(d.learn);
}
