/*
 * Identities that a pod has by its ServiceAccount: whose they are, how they are asked for, and what
 * becomes of a binding to the same client.
 */
#include "policy_fixture.h"

/* Accounts of the rows below: default/{web: CID1, default: CID2}, other/{web, only}: CID3. */
static const char *const account_objects[] = {
	IDENTITY("default", "bound", "clientID: " CID3),
	BINDING("default", "b", "bound", "sel"),
	IDENTITY("default", "twin", "clientID: " UPPER_CID1 ", resourceID: " RID("twin")),
	BINDING("default", "t", "twin", "twin"),
	/* called like the account, and somebody else */
	IDENTITY("default", "web", "clientID: " CID3),
	BINDING("default", "n", "web", "namesake"),
	ACCOUNT_POD("default", "app", USE, "web"),
	ACCOUNT_POD("default", "no-label", "", "web"),
	ACCOUNT_POD("default", "refuses", "azure.workload.identity/use: \"false\"", "web"),
	ACCOUNT_POD("default", "case", "azure.workload.identity/use: \"True\"", "web"),
	ACCOUNT_POD("default", "no-account", USE, "nobody"),
	ACCOUNT_POD("default", "elsewhere", USE, "only"),
	POD("default", "unnamed", USE),
	ACCOUNT_POD("default", "both", USE ", aadpodidbinding: sel", "web"),
	ACCOUNT_POD("default", "twins", USE ", aadpodidbinding: twin", "web"),
	ACCOUNT_POD("default", "namesakes", USE ", aadpodidbinding: namesake", "web"),
	ACCOUNT_POD("default", "bound", "aadpodidbinding: sel", "web"),
};

static struct ig_store *load_accounts(void)
{
	struct ig_store *s = load_all(account_objects, IG_ARRAY_SIZE(account_objects), NULL);

	add_account(s, "default", "web", CID1);
	add_account(s, "default", "default", CID2);
	add_account(s, "other", "web", CID3);
	add_account(s, "other", "only", CID3);
	return s;
}

static void test_service_account(void **state)
{
	static const struct {
		const char *pod;
		enum ig_selector_kind kind;
		const char *value;
		enum ig_policy_outcome outcome;
		const char *account;  /* granted */
		const char *identity; /* granted by a binding */
	} rows[] = {
		{"app", IG_SELECTOR_NONE, "", IG_POLICY_GRANT, "web", NULL},
		{"app", IG_SELECTOR_CLIENT_ID, CID1, IG_POLICY_GRANT, "web", NULL},
		{"app", IG_SELECTOR_CLIENT_ID, UPPER_CID1, IG_POLICY_GRANT, "web", NULL},
		{"app", IG_SELECTOR_CLIENT_ID, CID2, IG_POLICY_NOT_FOUND, NULL, NULL},
		{"app", IG_SELECTOR_CLIENT_ID, "", IG_POLICY_NOT_FOUND, NULL, NULL},
		/* it has no resource id, whatever is asked */
		{"app", IG_SELECTOR_RESOURCE_ID, "", IG_POLICY_NOT_FOUND, NULL, NULL},
		{"app", IG_SELECTOR_RESOURCE_ID, RID("web"), IG_POLICY_NOT_FOUND, NULL, NULL},
		{"app", IG_SELECTOR_RESOURCE_ID, CID1, IG_POLICY_NOT_FOUND, NULL, NULL},
		/* the label is asked for, exactly */
		{"no-label", IG_SELECTOR_NONE, "", IG_POLICY_NOT_BOUND, NULL, NULL},
		{"no-label", IG_SELECTOR_CLIENT_ID, CID1, IG_POLICY_NOT_BOUND, NULL, NULL},
		{"refuses", IG_SELECTOR_NONE, "", IG_POLICY_NOT_BOUND, NULL, NULL},
		{"case", IG_SELECTOR_NONE, "", IG_POLICY_NOT_BOUND, NULL, NULL},
		/* so is an account of the pod's own namespace */
		{"no-account", IG_SELECTOR_NONE, "", IG_POLICY_NOT_BOUND, NULL, NULL},
		{"elsewhere", IG_SELECTOR_NONE, "", IG_POLICY_NOT_BOUND, NULL, NULL},
		{"elsewhere", IG_SELECTOR_CLIENT_ID, CID3, IG_POLICY_NOT_BOUND, NULL, NULL},
		{"unnamed", IG_SELECTOR_NONE, "", IG_POLICY_GRANT, "default", NULL},
		/* with a binding to another identity there are two */
		{"both", IG_SELECTOR_NONE, "", IG_POLICY_AMBIGUOUS, NULL, NULL},
		{"both", IG_SELECTOR_CLIENT_ID, CID1, IG_POLICY_GRANT, "web", NULL},
		{"both", IG_SELECTOR_CLIENT_ID, CID3, IG_POLICY_GRANT, NULL, "bound"},
		/* with a binding to the same client there is one, however it is asked for */
		{"twins", IG_SELECTOR_NONE, "", IG_POLICY_GRANT, "web", NULL},
		{"twins", IG_SELECTOR_CLIENT_ID, CID1, IG_POLICY_GRANT, "web", NULL},
		{"twins", IG_SELECTOR_RESOURCE_ID, RID("TWIN"), IG_POLICY_GRANT, "web", NULL},
		{"twins", IG_SELECTOR_RESOURCE_ID, RID("web"), IG_POLICY_NOT_FOUND, NULL, NULL},
		/* the same name makes nobody the same */
		{"namesakes", IG_SELECTOR_NONE, "", IG_POLICY_AMBIGUOUS, NULL, NULL},
		{"namesakes", IG_SELECTOR_CLIENT_ID, CID1, IG_POLICY_GRANT, "web", NULL},
		{"namesakes", IG_SELECTOR_CLIENT_ID, CID3, IG_POLICY_GRANT, NULL, "web"},
		{"bound", IG_SELECTOR_NONE, "", IG_POLICY_GRANT, NULL, "bound"},
		{"bound", IG_SELECTOR_CLIENT_ID, CID1, IG_POLICY_NOT_FOUND, NULL, NULL},
	};
	_cleanup_(ig_store_freep) struct ig_store *s = load_accounts();

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		/* accounts are for their own namespace, flag or no flag */
		const struct ig_policy_options *const options[] = {&own, &cross, NULL};

		for (size_t o = 0; o < IG_ARRAY_SIZE(options); o++) {
			struct ig_policy_decision d = ask(
				s, "default", rows[i].pod, rows[i].kind, rows[i].value, options[o]);

			if (rows[i].account)
				expect_account(d, rows[i].account);
			else if (rows[i].identity)
				expect_grant(d, "default", rows[i].identity);
			else
				expect_no(d, rows[i].outcome);
		}
	}
}

static void test_service_account_candidates(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load_accounts();
	const struct ig_identity *ids[4] = {};

	(void)state;
	assert_int_equal(
		ig_policy_candidates(s, ig_store_pod_by_name(s, "default", "both"), &own, ids, 4),
		2);
	assert_string_equal(ids[0]->name, "bound");
	assert_string_equal(ids[1]->name, "web");
	assert_int_equal(ids[1]->type, IG_IDENTITY_FEDERATED);
	assert_int_equal(
		ig_policy_candidates(s, ig_store_pod_by_name(s, "default", "twins"), &own, ids, 4),
		1);
	assert_int_equal(ids[0]->type, IG_IDENTITY_FEDERATED);
	assert_int_equal(ig_policy_candidates(
				 s, ig_store_pod_by_name(s, "default", "namesakes"), &own, ids, 4),
		2);
	assert_int_equal(ids[0]->type, IG_IDENTITY_FEDERATED);
	assert_int_equal(ids[1]->type, IG_IDENTITY_USER_ASSIGNED);
	assert_int_equal(ig_policy_candidates(
				 s, ig_store_pod_by_name(s, "default", "no-label"), &own, ids, 4),
		0);
}

struct object_ids {
	const char *account;
	const char *others;
};

static const char *object_id_by_type(const struct ig_identity *identity, void *userdata)
{
	const struct object_ids *ids = userdata;

	return identity->type == IG_IDENTITY_FEDERATED ? ids->account : ids->others;
}

static struct ig_policy_decision ask_object_of(
	const struct ig_store *s, const char *pod, const char *value, struct object_ids ids)
{
	struct ig_selector selector = {.kind = IG_SELECTOR_OBJECT_ID};

	(void)snprintf(selector.value, sizeof(selector.value), "%s", value);
	return ig_policy_select(s, ig_store_pod_by_name(s, "default", pod), &selector, &own,
		object_id_by_type, &ids);
}

static void test_service_account_object_id(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load_accounts();
	struct ig_policy_decision d;

	(void)state;
	expect_account(ask_object_of(s, "app", OID1, (struct object_ids){OID1, NULL}), "web");
	expect_no(ask_object_of(s, "app", OID2, (struct object_ids){OID1, OID2}),
		IG_POLICY_NOT_FOUND);
	d = ask_object_of(s, "app", OID1, (struct object_ids){NULL, NULL});
	assert_int_equal(d.outcome, IG_POLICY_NEEDS_OBJECT_ID);
	assert_int_equal(d.learn->type, IG_IDENTITY_FEDERATED);
	/* what is known of the twin serves, and what is not known of it is not learned: that would
	 * never end */
	expect_account(ask_object_of(s, "twins", OID2, (struct object_ids){NULL, OID2}), "web");
	expect_account(ask_object_of(s, "twins", OID1, (struct object_ids){OID1, NULL}), "web");
	expect_no(ask_object_of(s, "twins", OID2, (struct object_ids){OID1, NULL}),
		IG_POLICY_NOT_FOUND);
}

/* An account without a client id is not kept; should one slip in, it gives nothing. */
static void test_service_account_without_client(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s =
		load(ACCOUNT_POD("default", "app", USE, "web"));

	(void)state;
	add_account(s, "default", "web", "");
	expect_no(ask(s, "default", "app", IG_SELECTOR_NONE, "", &own), IG_POLICY_NOT_BOUND);
	expect_no(ask(s, "default", "app", IG_SELECTOR_CLIENT_ID, "", &own), IG_POLICY_NOT_BOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_service_account),
		cmocka_unit_test(test_service_account_candidates),
		cmocka_unit_test(test_service_account_object_id),
		cmocka_unit_test(test_service_account_without_client),
	};

	return cmocka_run_group_tests_name("service account", tests, NULL, NULL);
}
