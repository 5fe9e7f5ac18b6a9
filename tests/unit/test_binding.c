/*
 * Which identity a pod may use: bindings, namespaces, selectors, exceptions, and the old system's
 * defects that must not come back. The numbers R… are those of its recorded conformance cases.
 */
#include "policy_fixture.h"

#include <time.h>

#define TWO                                                                                        \
	IDENTITY("default", "two", "clientID: " CID2 ", resourceID: " RID("two"))                  \
	IDENTITY("default", "one", "clientID: " CID1 ", resourceID: " RID("one"))                  \
	BINDING("default", "b2", "two", "sel")                                                     \
	BINDING("default", "b1", "one", "sel")                                                     \
	POD("default", "app", "aadpodidbinding: sel")

static void test_selectors(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(TWO);

	(void)state;
	expect_no(ask(s, "default", "app", IG_SELECTOR_NONE, "", &own), IG_POLICY_AMBIGUOUS);
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, &own), "default", "one");
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID2, &own), "default", "two");
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID3, &own), IG_POLICY_NOT_FOUND);
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, "", &own), IG_POLICY_NOT_FOUND);
	/* ids compare without regard to letter case */
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID,
			     "AAAAAAAA-0000-0000-0000-00000000000A", &own),
		"default", "one");
	expect_grant(
		ask(s, "default", "app", IG_SELECTOR_RESOURCE_ID,
			"/SUBSCRIPTIONS/S/resourceGroups/G/providers/microsoft.managedidentity/userassignedidentities/TWO",
			&own),
		"default", "two");
	/* an unknown id is not made up for by anything else */
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

static void test_label(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		TWO POD("default", "none", "a: b") POD("default", "empty", "aadpodidbinding: \"\"")
			POD("default", "case", "aadpodidbinding: SEL") POD("default", "bare", "")
				POD("default", "prefix", "aadpodidbinding: se")
					POD("default", "mic-abc", "app: mic"));

	(void)state;
	static const char *const pods[] = {"none", "empty", "case", "bare", "prefix",
		/* no bypass by name */
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

/* An identity that asks for namespaced behaviour is not lent out, flag or no flag. */
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
	d = ask_object(s, OID2, &(struct known){OID1, NULL});
	assert_int_equal(d.outcome, IG_POLICY_NEEDS_OBJECT_ID);
	assert_string_equal(d.learn->name, "two");
	/* looked for in vain: not learned again, that would never end */
	d = ask_object(s, OID2, &(struct known){"", NULL});
	assert_int_equal(d.outcome, IG_POLICY_NEEDS_OBJECT_ID);
	assert_string_equal(d.learn->name, "two");
	expect_no(ask_object(s, OID2, &(struct known){OID1, ""}), IG_POLICY_NOT_FOUND);
	expect_no(ask_object(s, OID2, &(struct known){"", ""}), IG_POLICY_NOT_FOUND);
	expect_no(ask_object(s, "", &(struct known){"", ""}), IG_POLICY_NOT_FOUND);
	expect_grant(ask_object(s, OID2, &(struct known){"", OID2}), "default", "two");
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
	/* every kind of selector is the caller's, none is dropped */
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
	/* the value is exact; so is the key; an exception is for its namespace */
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
		ig_policy_exception(s, ig_store_pod_by_name(s, "default", "app"), &own);

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
	/* the first ones, and that there are more */
	memset(ids, 0, sizeof(ids));
	assert_int_equal(ig_policy_candidates(s, app, &cross, ids, 1), 2);
	assert_string_equal(ids[0]->name, "zzz");
	assert_null(ids[1]);
	assert_int_equal(ig_policy_candidates(s, app, &cross, ids, 2), 3);
	assert_string_equal(ids[1]->name, "one");
	assert_null(ids[2]);
	assert_int_equal(ig_policy_candidates(s, app, &cross, ids, 3), 3);
	assert_string_equal(ids[2]->name, "two");
	assert_int_equal(ig_policy_candidates(s, app, &cross, NULL, 0), 1);
	assert_int_equal(
		ig_policy_candidates(s, ig_store_pod_by_name(s, "default", "none"), &own, ids, 4),
		0);
}

static uint64_t cpu_msec(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Whoever may make bindings in a namespace may make any number, and any of its pods may ask: what
 * that costs must not grow with the square of it. (It was 2 s and more.) */
static void test_many_candidates(void **state)
{
	enum { N = 20000 };
	_cleanup_(ig_store_freep) struct ig_store *s =
		load(POD("default", "app", "aadpodidbinding: sel"));
	const struct ig_pod *app;
	const struct ig_identity *ids[2];
	struct ig_object_set *set = ig_object_set_new();
	uint64_t start;

	(void)state;
	assert_non_null(set);
	for (unsigned int i = 0; i < N; i++) {
		struct ig_identity id = {};
		struct ig_binding b = {};
		char name[16];

		/* the last ones come first */
		(void)snprintf(name, sizeof(name), "i%05u", N - 1 - i);
		id = identity_of(IG_IDENTITY_USER_ASSIGNED, "default", name, CID1);
		b = (struct ig_binding){.namespace = copy("default"),
			.name = copy(name),
			.azure_identity = copy(name),
			.selector = copy("sel")};
		assert_int_equal(ig_object_set_add(set, IG_OBJECT_IDENTITY, &id), 0);
		assert_int_equal(ig_object_set_add(set, IG_OBJECT_BINDING, &b), 0);
	}
	assert_int_equal(ig_store_replace(s, "many", set, NULL), 0);
	app = ig_store_pod_by_name(s, "default", "app");
	start = cpu_msec();
	assert_int_equal(ig_policy_candidates(s, app, &own, ids, 2), 3);
	assert_in_range(cpu_msec() - start, 0, 1000);
	assert_string_equal(ids[0]->name, "i00000");
	assert_string_equal(ids[1]->name, "i00001");
}

static void test_aks_exception(void **state)
{
	static const struct ig_policy_options off = {.no_aks_exception = true};
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		POD("kube-system", "aks", AKS_LABEL) POD("kube-system", "user", "a: b") POD(
			"kube-system", "case", "kubernetes.azure.com/managedby: AKS")
			POD("default", "aks", AKS_LABEL) POD("kube-system-2", "aks", AKS_LABEL));
	struct ig_policy_decision d = ask(s, "kube-system", "aks", IG_SELECTOR_NONE, "", &own);

	(void)state;
	assert_int_equal(d.outcome, IG_POLICY_GRANT_NODE);
	assert_ptr_equal(d.exception, ig_policy_aks_exception());
	assert_int_equal(d.exception->mode, IG_EXCEPTION_PROXY);
	assert_string_equal(d.rule, IG_POLICY_AKS_RULE);
	assert_null(d.identity);
	expect_no(ask(s, "kube-system", "aks", IG_SELECTOR_NONE, "", &off), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "kube-system", "aks", IG_SELECTOR_NONE, "", NULL), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "kube-system", "user", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "kube-system", "case", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "default", "aks", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "kube-system-2", "aks", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
}

/* Whoever says the same with an object is reported by that. */
static void test_aks_exception_object(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		POD("kube-system", "aks", AKS_LABEL) EXCEPTION("kube-system", "zzz", AKS_LABEL));

	(void)state;
	assert_string_equal(ask(s, "kube-system", "aks", IG_SELECTOR_NONE, "", &own).rule, "zzz");
}

/* ---- what the old system did and this one must not ---- */

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
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_single),
		cmocka_unit_test(test_missing_identity),
		cmocka_unit_test(test_behavior_namespaced),
		cmocka_unit_test(test_binding_namespace),
		cmocka_unit_test(test_object_id),
		cmocka_unit_test(test_object_id_annotation),
		cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_direct_wins),
		cmocka_unit_test(test_candidates),
		cmocka_unit_test(test_many_candidates),
		cmocka_unit_test(test_aks_exception),
		cmocka_unit_test(test_aks_exception_object),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("binding", tests, NULL, NULL);
}
