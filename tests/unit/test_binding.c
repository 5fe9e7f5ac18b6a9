/*
 * Which identity a pod may use: bindings, namespaces, selectors, exceptions, and the old system's
 * defects that must not come back. The numbers R… are those of its recorded conformance cases.
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
#include "objects/manifest.h"
#include "policy/binding.h"

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
#define TWO                                                                                        \
	IDENTITY("default", "two", "clientID: " CID2 ", resourceID: " RID("two"))                  \
	IDENTITY("default", "one", "clientID: " CID1 ", resourceID: " RID("one"))                  \
	BINDING("default", "b2", "two", "sel")                                                     \
	BINDING("default", "b1", "one", "sel")                                                     \
	POD("default", "app", "aadpodidbinding: sel")

IG_DEFINE_CLEANUP(struct ig_store *, ig_store_free);

static struct ig_store *load(const char *text)
{
	struct ig_object_set *set = NULL;
	struct ig_store *store = NULL;
	struct ig_err err = {};

	assert_int_equal(ig_store_new(&store), 0);
	if (ig_manifest_parse("test", text, strlen(text), &set, &err) < 0 ||
		ig_store_replace(store, "test", set, &err) < 0)
		fail_msg("%u:%u: %s", err.line, err.column, err.message);
	return store;
}

static const struct ig_policy_options cross = {.allow_cross_namespace = true};
static const struct ig_policy_options own = {};

static struct ig_policy_decision ask(const struct ig_store *store, const char *ns, const char *pod,
	enum ig_selector_kind kind, const char *value, const struct ig_policy_options *options)
{
	const struct ig_pod *p = ig_store_pod_by_name(store, ns, pod);
	struct ig_selector selector = {.kind = kind};

	assert_non_null(p);
	(void)snprintf(selector.value, sizeof(selector.value), "%s", value);
	return ig_policy_select(store, p, &selector, options, NULL, NULL);
}

/* Expects a grant of that identity (ns/name). */
static void expect_grant(struct ig_policy_decision d, const char *ns, const char *name)
{
	assert_int_equal(d.outcome, IG_POLICY_GRANT);
	assert_non_null(d.identity);
	assert_non_null(d.binding);
	assert_null(d.exception);
	assert_string_equal(d.identity->namespace, ns);
	assert_string_equal(d.identity->name, name);
	assert_string_equal(d.binding->azure_identity, name);
}

static void expect_no(struct ig_policy_decision d, enum ig_policy_outcome outcome)
{
	assert_int_equal(d.outcome, outcome);
	assert_null(d.identity);
	assert_null(d.binding);
	assert_null(d.exception);
	assert_null(d.learn);
}

static void test_selectors(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(TWO);

	(void)state;
	expect_no(ask(s, "default", "app", IG_SELECTOR_NONE, "", &own), IG_POLICY_AMBIGUOUS);
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, &own), "default", "one");
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID2, &own), "default", "two");
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID3, &own), IG_POLICY_NOT_FOUND);
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, "", &own), IG_POLICY_NOT_FOUND);
	/* R14, R18: ids compare without regard to letter case */
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID,
			     "AAAAAAAA-0000-0000-0000-00000000000A", &own),
		"default", "one");
	expect_grant(
		ask(s, "default", "app", IG_SELECTOR_RESOURCE_ID,
			"/SUBSCRIPTIONS/S/resourceGroups/G/providers/microsoft.managedidentity/userassignedidentities/TWO",
			&own),
		"default", "two");
	/* R22: an unknown id is not made up for by anything else; R19 */
	expect_no(ask(s, "default", "app", IG_SELECTOR_RESOURCE_ID, RID("zzz"), &own),
		IG_POLICY_NOT_FOUND);
	/* a resource id passed as client id (and the reverse) is no match */
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, RID("one"), &own),
		IG_POLICY_NOT_FOUND);
	expect_no(
		ask(s, "default", "app", IG_SELECTOR_RESOURCE_ID, CID1, &own), IG_POLICY_NOT_FOUND);
}

/* What an identity does not have is no match for an empty question. */
static void test_empty_values(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s =
		load(IDENTITY("default", "r", "resourceID: " RID("r")) BINDING("default", "r", "r",
			"sel") IDENTITY("default", "c", "clientID: " CID1) BINDING("default", "c",
			"c", "sel") POD("default", "app", "aadpodidbinding: sel"));

	(void)state;
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, "", &own), IG_POLICY_NOT_FOUND);
	expect_no(ask(s, "default", "app", IG_SELECTOR_RESOURCE_ID, "", &own), IG_POLICY_NOT_FOUND);
}

static void set_text(char **field, const char *text)
{
	free(*field);
	*field = strdup(text);
	assert_non_null(*field);
}

/* The old system let an unlabelled pod have what a binding with an empty selector gives away. Such
 * a binding is refused on load; should a feeder let one through, it still gives nothing. */
static void test_empty_selector(void **state)
{
	static const char text[] =
		IDENTITY("default", "id", "clientID: " CID1) BINDING("default", "b", "id", "sel")
			POD("default", "bare", "") POD("default", "empty", "aadpodidbinding: \"\"");
	_cleanup_(ig_store_freep) struct ig_store *s = NULL;
	struct ig_object_set *set = NULL;

	(void)state;
	assert_int_equal(ig_store_new(&s), 0);
	assert_int_equal(ig_manifest_parse("test", text, strlen(text), &set, NULL), 0);
	set_text(&set->bindings[0].selector, "");
	assert_int_equal(ig_store_replace(s, "test", set, NULL), 0);
	expect_no(ask(s, "default", "bare", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "default", "empty", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
}

static void test_label(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		TWO POD("default", "none", "a: b") POD("default", "empty", "aadpodidbinding: \"\"")
			POD("default", "case", "aadpodidbinding: SEL") POD("default", "bare", "")
				POD("default", "prefix", "aadpodidbinding: se")
					POD("default", "mic-abc", "app: mic"));

	(void)state;
	static const char *const pods[] = {"none", "empty", "case", "bare", "prefix",
		/* R39, R41b: no bypass by name */
		"mic-abc"};
	for (size_t i = 0; i < IG_ARRAY_SIZE(pods); i++) {
		expect_no(ask(s, "default", pods[i], IG_SELECTOR_NONE, "", &own),
			IG_POLICY_NOT_BOUND);
		expect_no(ask(s, "default", pods[i], IG_SELECTOR_CLIENT_ID, CID1, &own),
			IG_POLICY_NOT_BOUND);
	}
}

static void test_single(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		IDENTITY("default", "one", "clientID: " CID1) BINDING("default", "b1", "one", "sel")
			BINDING("default", "b0", "one", "sel") BINDING("default", "b3", "missing",
				"sel") POD("default", "app", "aadpodidbinding: sel"));
	struct ig_policy_decision d = ask(s, "default", "app", IG_SELECTOR_NONE, "", &own);

	(void)state;
	/* the same identity through two bindings is one, a binding to nothing is none */
	expect_grant(d, "default", "one");
	assert_string_equal(d.binding->name, "b0");
}

static void test_missing_identity(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(BINDING(
		"default", "b", "missing", "sel") POD("default", "app", "aadpodidbinding: sel"));

	(void)state;
	expect_no(ask(s, "default", "app", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
}

static void test_namespaces(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		IDENTITY("b-ns", "id", "clientID: " CID1) BINDING("b-ns", "b", "id", "sel")
			IDENTITY("a-ns", "id", "clientID: " CID1) BINDING("a-ns", "b", "id", "sel")
				POD("default", "app", "aadpodidbinding: sel")
					POD("b-ns", "app", "aadpodidbinding: sel"));

	(void)state;
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, &own), IG_POLICY_NOT_BOUND);
	/* no options are the strict ones */
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, NULL), IG_POLICY_NOT_BOUND);
	expect_grant(ask(s, "b-ns", "app", IG_SELECTOR_CLIENT_ID, CID1, &own), "b-ns", "id");
	expect_grant(ask(s, "b-ns", "app", IG_SELECTOR_NONE, "", &own), "b-ns", "id");
	/* E10: the alphabetically first namespace wins */
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, &cross), "a-ns", "id");
	expect_no(ask(s, "default", "app", IG_SELECTOR_NONE, "", &cross), IG_POLICY_AMBIGUOUS);
}

/* R32, R35: an identity that asks for namespaced behaviour is not lent out, flag or no flag. */
static void test_behavior_namespaced(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		"apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\n"
		"metadata: {namespace: other, name: id, annotations: {aadpodidentity.k8s.io/Behavior: namespaced}}\n"
		"spec: {clientID: " CID1 "}\n" BINDING("other", "b", "id", "sel") POD("default",
			"app", "aadpodidbinding: sel") POD("other", "app", "aadpodidbinding: sel"));

	(void)state;
	expect_no(ask(s, "default", "app", IG_SELECTOR_NONE, "", &cross), IG_POLICY_NOT_BOUND);
	expect_grant(ask(s, "other", "app", IG_SELECTOR_NONE, "", &cross), "other", "id");
}

/* A binding names an identity of its own namespace, never one of the pod's. */
static void test_binding_namespace(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s =
		load(IDENTITY("default", "id", "clientID: " CID1) BINDING("other", "b", "id", "sel")
				POD("default", "app", "aadpodidbinding: sel"));

	(void)state;
	expect_no(ask(s, "default", "app", IG_SELECTOR_NONE, "", &cross), IG_POLICY_NOT_BOUND);
}

struct known {
	const char *one;
	const char *two;
};

static const char *object_id(const struct ig_identity *identity, void *userdata)
{
	const struct known *known = userdata;

	return strcmp(identity->name, "one") == 0 ? known->one : known->two;
}

static struct ig_policy_decision ask_object(
	const struct ig_store *s, const char *value, struct known *known)
{
	struct ig_selector selector = {.kind = IG_SELECTOR_OBJECT_ID};

	(void)snprintf(selector.value, sizeof(selector.value), "%s", value);
	return ig_policy_select(s, ig_store_pod_by_name(s, "default", "app"), &selector, &own,
		known ? object_id : NULL, known);
}

static void test_object_id(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(TWO);
	struct ig_policy_decision d;

	(void)state;
	expect_grant(ask_object(s, OID2, &(struct known){OID1, OID2}), "default", "two");
	expect_grant(ask_object(s, OID2, &(struct known){NULL, OID2}), "default", "two");
	expect_no(ask_object(s, CID3, &(struct known){OID1, OID2}), IG_POLICY_NOT_FOUND);
	/* not known yet: learn the first one that is not */
	d = ask_object(s, OID2, &(struct known){NULL, NULL});
	assert_int_equal(d.outcome, IG_POLICY_NEEDS_OBJECT_ID);
	assert_null(d.identity);
	assert_string_equal(d.learn->name, "one");
	d = ask_object(s, OID2, &(struct known){OID1, ""});
	assert_int_equal(d.outcome, IG_POLICY_NEEDS_OBJECT_ID);
	assert_string_equal(d.learn->name, "two");
	/* without a callback only the annotation counts, and here there is none */
	d = ask_object(s, OID1, NULL);
	assert_int_equal(d.outcome, IG_POLICY_NEEDS_OBJECT_ID);
}

static void test_object_id_annotation(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s =
		load("apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\n"
		     "metadata: {name: id, annotations: {imdsgate.dev/object-id: " OID1 "}}\n"
		     "spec: {clientID: " CID1 "}\n" BINDING("default", "b", "id", "sel")
				POD("default", "app", "aadpodidbinding: sel"));

	(void)state;
	expect_grant(ask_object(s, OID1, NULL), "default", "id");
	expect_no(ask_object(s, OID2, NULL), IG_POLICY_NOT_FOUND);
}

static void test_exceptions(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(TWO EXCEPTION("default", "z",
		"foo: bar, x: y") EXCEPTION("default", "a", "foo: bar") EXCEPTION("other", "o",
		"n: n") POD("default", "by-foo", "foo: bar, aadpodidbinding: sel")
			POD("default", "by-x", "x: y") POD("default", "case", "foo: BAR")
				POD("default", "key", "Foo: bar") POD("default", "away", "n: n"));

	(void)state;
	/* R38: every kind of selector is the caller's, none is dropped */
	for (int kind = 0; kind < _IG_SELECTOR_KIND_MAX; kind++) {
		struct ig_policy_decision d = ask(s, "default", "by-foo",
			(enum ig_selector_kind)kind, kind ? CID3 : "", &own);

		assert_int_equal(d.outcome, IG_POLICY_GRANT_NODE);
		assert_null(d.identity);
		assert_null(d.binding);
		assert_string_equal(d.exception->name, "a");
	}
	assert_string_equal(
		ask(s, "default", "by-x", IG_SELECTOR_NONE, "", &own).exception->name, "z");
	/* R36: the value is exact; so is the key; an exception is for its namespace */
	expect_no(ask(s, "default", "case", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "default", "key", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "default", "away", IG_SELECTOR_NONE, "", &cross), IG_POLICY_NOT_BOUND);
}

static void test_direct_wins(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(EXCEPTION("default", "a", "k: v")
			DIRECT("default", "y", "k: v") DIRECT("default", "x", "k: v")
				EXCEPTION("default", "b", "k: v") POD("default", "app", "k: v"));
	const struct ig_exception *e =
		ig_policy_exception(s, ig_store_pod_by_name(s, "default", "app"));

	(void)state;
	assert_non_null(e);
	assert_int_equal(e->mode, IG_EXCEPTION_DIRECT);
	assert_string_equal(e->name, "x");
}

static void test_candidates(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		TWO BINDING("default", "b9", "two", "sel") BINDING("default", "b8", "one", "sel")
			IDENTITY("aaa", "zzz", "clientID: " CID3) BINDING("aaa", "b", "zzz", "sel")
				POD("default", "none", ""));
	const struct ig_pod *app = ig_store_pod_by_name(s, "default", "app");
	const struct ig_identity *ids[4] = {};

	(void)state;
	assert_int_equal(ig_policy_candidates(s, app, &own, ids, 4), 2);
	assert_string_equal(ids[0]->name, "one");
	assert_string_equal(ids[1]->name, "two");
	assert_null(ids[2]);
	assert_int_equal(ig_policy_candidates(s, app, &cross, ids, 4), 3);
	assert_string_equal(ids[0]->name, "zzz");
	assert_string_equal(ids[2]->name, "two");
	/* the first ones, but all of them counted once */
	memset(ids, 0, sizeof(ids));
	assert_int_equal(ig_policy_candidates(s, app, &cross, ids, 1), 3);
	assert_string_equal(ids[0]->name, "zzz");
	assert_null(ids[1]);
	assert_int_equal(ig_policy_candidates(s, app, &cross, ids, 2), 3);
	assert_string_equal(ids[1]->name, "one");
	assert_null(ids[2]);
	assert_int_equal(ig_policy_candidates(s, app, &cross, NULL, 0), 3);
	assert_int_equal(
		ig_policy_candidates(s, ig_store_pod_by_name(s, "default", "none"), &own, ids, 4),
		0);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(ig_policy_outcome_name(IG_POLICY_NOT_BOUND), "not_bound");
	for (int i = 0; i < _IG_POLICY_OUTCOME_MAX; i++) {
		assert_non_null(ig_policy_outcome_name((enum ig_policy_outcome)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ig_policy_outcome_name((enum ig_policy_outcome)i),
				ig_policy_outcome_name((enum ig_policy_outcome)j));
	}
	assert_string_equal(ig_policy_outcome_name(_IG_POLICY_OUTCOME_MAX), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_empty_values),
		cmocka_unit_test(test_empty_selector),
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_single),
		cmocka_unit_test(test_missing_identity),
		cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_behavior_namespaced),
		cmocka_unit_test(test_binding_namespace),
		cmocka_unit_test(test_object_id),
		cmocka_unit_test(test_object_id_annotation),
		cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_direct_wins),
		cmocka_unit_test(test_candidates),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("binding", tests, NULL, NULL);
}
