/*
 * What the old system did, and this one must not: one test for each defect that concerns the rules.
 */
#include "policy_fixture.h"

static void set_text(char **field, const char *text)
{
	free(*field);
	*field = strdup(text);
	assert_non_null(*field);
}

/* The old system let an unlabelled pod have what a binding with an empty selector gives away. Such
 * a binding is refused on load; should a feeder let one through, it still gives nothing. */
static void test_defect_empty_selector(void **state)
{
	static const char text[] =
		IDENTITY("default", "id", "clientID: " CID1) BINDING("default", "b", "id", "sel")
			POD("default", "bare", "") POD("default", "empty", "aadpodidbinding: \"\"");
	_cleanup_(ig_store_freep) struct ig_store *s = NULL;
	struct ig_object_set *set = NULL;

	(void)state;
	assert_int_equal(ig_store_new(&s), 0);
	assert_int_equal(ig_manifest_parse("test", text, strlen(text), NULL, &set, NULL), 0);
	set_text(&set->bindings[0].selector, "");
	assert_int_equal(ig_store_replace(s, "test", set, NULL), 0);
	expect_no(ask(s, "default", "bare", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "default", "empty", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
}

static void test_defect_cross_namespace(void **state)
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

/* The old controller left a finished Job its identity. */
static void test_defect_finished_pod(void **state)
{
	static const char text[] = IDENTITY("kube-system", "id", "clientID: " CID1)
		BINDING("kube-system", "b", "id", "sel") EXCEPTION("kube-system", "e", "foo: bar")
			ACCOUNT_POD("kube-system", "bound", "aadpodidbinding: sel", "web")
				ACCOUNT_POD("kube-system", "account", USE, "web")
					POD("kube-system", "excepted", "foo: bar")
						POD("kube-system", "aks", AKS_LABEL);
	static const enum ig_policy_outcome running[] = {
		IG_POLICY_GRANT, IG_POLICY_GRANT, IG_POLICY_GRANT_NODE, IG_POLICY_GRANT_NODE};
	static const char *const pods[] = {"bound", "account", "excepted", "aks"};

	(void)state;
	for (int finished = 0; finished < 2; finished++) {
		_cleanup_(ig_store_freep) struct ig_store *s = NULL;
		struct ig_object_set *set = NULL;

		assert_int_equal(ig_store_new(&s), 0);
		assert_int_equal(
			ig_manifest_parse("test", text, strlen(text), NULL, &set, NULL), 0);
		for (size_t i = 0; i < set->n_pods; i++)
			set->pods[i].finished = finished;
		assert_int_equal(ig_store_replace(s, "test", set, NULL), 0);
		add_account(s, "kube-system", "web", CID2);
		for (size_t i = 0; i < IG_ARRAY_SIZE(pods); i++) {
			const struct ig_pod *pod = ig_store_pod_by_name(s, "kube-system", pods[i]);
			struct ig_policy_decision d =
				ask(s, "kube-system", pods[i], IG_SELECTOR_NONE, "", &own);
			const struct ig_identity *id;

			if (!finished) {
				assert_int_equal(d.outcome, running[i]);
				continue;
			}
			assert_int_equal(d.outcome, IG_POLICY_NOT_BOUND);
			assert_string_equal(d.reason, "pod_finished");
			assert_null(d.identity);
			assert_null(d.exception);
			assert_null(d.rule);
			assert_null(ig_policy_exception(s, pod, &own));
			assert_int_equal(ig_policy_candidates(s, pod, &own, &id, 1), 0);
		}
	}
}

/* isMIC: any ReplicaSet whose name begins with "mic" had every identity of the node. */
static void test_defect_name_prefix_bypass(void **state)
{
	static const char *const pods[] = {"mic-abc", "microsvc-7d9f", "mic", "aks-managed"};
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		IDENTITY("default", "id", "clientID: " CID1) BINDING("default", "b", "id", "sel")
			POD("default", "mic-abc", "app: mic")
				POD("default", "microsvc-7d9f", "component: mic")
					POD("default", "mic", "app.kubernetes.io/component: mic")
						POD("default", "aks-managed", ""));

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(pods); i++)
		for (int kind = 0; kind < _IG_SELECTOR_KIND_MAX; kind++)
			expect_no(ask(s, "default", pods[i], (enum ig_selector_kind)kind,
					  kind ? CID1 : "", &own),
				IG_POLICY_NOT_BOUND);
}

/* An excepted pod that asked by resource id got the system-assigned identity. The
 * selector is the caller's and goes upstream as it is; nothing of the decision replaces it. */
static void test_defect_excepted_by_resource_id(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load(
		IDENTITY("default", "id", "resourceID: " RID("id"))
			EXCEPTION("default", "e", "foo: bar") POD("default", "app", "foo: bar"));
	struct ig_policy_decision d =
		ask(s, "default", "app", IG_SELECTOR_RESOURCE_ID, RID("id"), &own);

	(void)state;
	assert_int_equal(d.outcome, IG_POLICY_GRANT_NODE);
	assert_null(d.identity);
	assert_null(d.learn);
}

/* Compared with regard to letter case, in the second of two places only. */
static void test_defect_case_sensitive_client_id(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s =
		load(IDENTITY("default", "id", "clientID: " UPPER_CID1) BINDING(
			"default", "b", "id", "sel") POD("default", "app", "aadpodidbinding: sel"));

	(void)state;
	expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, &own), "default", "id");
}

/* One of several "at random". Now it is an error, and one that was asked for is the same
 * whichever way the objects came in. */
static void test_defect_random_choice(void **state)
{
	static const char *const objects[] = {
		IDENTITY("default", "one", "clientID: " CID1),
		IDENTITY("default", "same", "clientID: " CID1),
		IDENTITY("default", "two", "clientID: " CID2),
		BINDING("default", "b1", "one", "sel"),
		BINDING("default", "b2", "same", "sel"),
		BINDING("default", "b3", "two", "sel"),
		BINDING("default", "b4", "one", "sel"),
		EXCEPTION("default", "e2", "foo: bar"),
		EXCEPTION("default", "e1", "foo: bar"),
		POD("default", "app", "aadpodidbinding: sel"),
		POD("default", "excepted", "foo: bar"),
	};
	unsigned int seed = 1;

	(void)state;
	for (int round = 0; round < 50; round++) {
		_cleanup_(ig_store_freep) struct ig_store *s =
			load_all(objects, IG_ARRAY_SIZE(objects), &seed);
		const struct ig_identity *ids[4];

		expect_no(
			ask(s, "default", "app", IG_SELECTOR_NONE, "", &own), IG_POLICY_AMBIGUOUS);
		expect_grant(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, &own), "default",
			"one");
		assert_string_equal(
			ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, CID1, &own).rule, "b1");
		assert_string_equal(
			ask(s, "default", "excepted", IG_SELECTOR_NONE, "", &own).rule, "e1");
		assert_int_equal(ig_policy_candidates(s, ig_store_pod_by_name(s, "default", "app"),
					 &own, ids, 4),
			3);
		assert_string_equal(ids[0]->name, "one");
		assert_string_equal(ids[1]->name, "same");
		assert_string_equal(ids[2]->name, "two");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defect_empty_selector),
		cmocka_unit_test(test_defect_cross_namespace),
		cmocka_unit_test(test_defect_finished_pod),
		cmocka_unit_test(test_defect_name_prefix_bypass),
		cmocka_unit_test(test_defect_excepted_by_resource_id),
		cmocka_unit_test(test_defect_case_sensitive_client_id),
		cmocka_unit_test(test_defect_random_choice),
	};

	return cmocka_run_group_tests_name("policy defects", tests, NULL, NULL);
}
