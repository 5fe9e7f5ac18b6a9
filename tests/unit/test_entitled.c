/*
 * Keys of identities, and which cached tokens stay when the policy changes: for a ServiceAccount as
 * long as that very pod is there and has the account's identity, for the others as long as there is
 * a binding or an exception.
 */
#include "unit/policy_fixture.h"

#include "agent/entitled.h"
#include "agent/identity_key.h"
#include "token/service.h"
#include "token/source.h"

#define UID_1  "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define UID_2  "1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define TENANT "99999999-0000-0000-0000-000000000009"

static const struct ig_identity_defaults defaults = {.tenant_id = TENANT};
static const struct ig_identity_defaults no_defaults = {};

static struct ig_entitlement rules_of(const struct ig_store *store)
{
	return (struct ig_entitlement){.store = store, .policy = &own, .defaults = &defaults};
}

static void take_away(struct ig_store *store, const char *source)
{
	assert_int_equal(ig_store_replace(store, source, NULL, NULL), 0);
}

/* A pod of the API server in place of the one before; labels may be "". */
static void put_pod(struct ig_store *store, const char *name, const char *uid, const char *labels,
	const char *account)
{
	char text[512], source[64];

	(void)snprintf(text, sizeof(text),
		"apiVersion: v1\nkind: Pod\nmetadata: {namespace: default, name: %s, uid: %s, "
		"labels: {%s}}\nspec: {serviceAccountName: %s}\n",
		name, uid, labels, account);
	(void)snprintf(source, sizeof(source), "pod:%s", name);
	load_one(store, source, text);
}

static struct ig_store *one_account_pod(void)
{
	struct ig_store *store = NULL;

	assert_int_equal(ig_store_new(&store), 0);
	put_pod(store, "web-0", UID_1, USE, "web");
	add_account(store, "default", "web", CID1);
	return store;
}

static void key_of_pod(const struct ig_store *store, const char *name, struct ig_identity_key *ret)
{
	const struct ig_pod *pod = ig_store_pod_by_name(store, "default", name);
	const struct ig_service_account *account;

	assert_non_null(pod);
	account = ig_policy_service_account(store, pod);
	assert_non_null(account);
	ig_identity_key_init(ret, &account->identity, pod, &defaults, "https://r/");
}

/* A key that outlives the objects that it was made of, as the token service keeps it. */
static void keep_key(struct ig_identity_key *key)
{
	static char tenant[64];

	assert_ptr_equal(key->key.credential, key->credential);
	(void)snprintf(tenant, sizeof(tenant), "%s", key->key.tenant);
	key->key.tenant = tenant;
	key->key.expect_client_id = CID1;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void test_account_key(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *store = one_account_pod();
	struct ig_identity_key key;

	(void)state;
	key_of_pod(store, "web-0", &key);
	assert_int_equal(key.key.source, IG_TOKEN_SOURCE_SERVICE_ACCOUNT);
	assert_string_equal(key.key.credential, "default/web/web-0/" UID_1);
	assert_string_equal(key.key.tenant, TENANT);
	assert_string_equal(key.key.authority, "https://login.microsoftonline.com");
	assert_int_equal(key.key.upstream.kind, IG_SELECTOR_CLIENT_ID);
	assert_string_equal(key.key.upstream.value, CID1);
	assert_string_equal(key.key.expect_client_id, CID1);
	assert_true(ig_source_get(key.key.source)->is_complete(&key.key));
}

static void test_longest_names(void **state)
{
	char longest[IG_OBJECT_NAME_BYTES + 1];
	struct ig_pod pod = {.name = longest, .uid = longest};
	struct ig_identity identity = {.type = IG_IDENTITY_FEDERATED,
		.namespace = longest,
		.name = longest,
		.client_id = longest,
		.tenant_id = longest,
		.ad_endpoint = longest};
	struct ig_identity_key key;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ig_identity_key_init(&key, &identity, &pod, &defaults, "r");
	assert_int_equal(strlen(key.key.credential), 4 * IG_OBJECT_NAME_BYTES + 3);
	assert_true(ig_source_get(key.key.source)->is_complete(&key.key));
}

/* What the account says of its tenant goes before the default; without either the key lacks it. */
static void test_defaults(void **state)
{
	static const struct ig_identity_defaults gov = {
		.tenant_id = TENANT, .authority = "https://login.microsoftonline.us"};
	_cleanup_(ig_store_freep) struct ig_store *store = one_account_pod();
	const struct ig_pod *pod = ig_store_pod_by_name(store, "default", "web-0");
	struct ig_identity identity = ig_policy_service_account(store, pod)->identity;
	struct ig_identity_key key;
	char named[] = "named.example", ad_endpoint[] = "https://h";

	(void)state;
	ig_identity_key_init(&key, &identity, pod, &no_defaults, "r");
	assert_string_equal(key.key.tenant, "");
	assert_false(ig_source_get(key.key.source)->is_complete(&key.key));
	ig_identity_key_init(&key, &identity, pod, &gov, "r");
	assert_string_equal(key.key.tenant, TENANT);
	assert_string_equal(key.key.authority, "https://login.microsoftonline.us");
	identity.tenant_id = named;
	identity.ad_endpoint = ad_endpoint;
	ig_identity_key_init(&key, &identity, pod, &gov, "r");
	assert_string_equal(key.key.tenant, "named.example");
	assert_string_equal(key.key.authority, "https://h");
	assert_string_equal(ig_identity_tenant(&identity, &gov), "named.example");
	/* the default is no managed identity's */
	identity.tenant_id = named + strlen(named);
	identity.type = IG_IDENTITY_USER_ASSIGNED;
	assert_string_equal(ig_identity_tenant(&identity, &gov), "");
	/* and without a pod there is nobody to ask for */
	identity.type = IG_IDENTITY_FEDERATED;
	ig_identity_key_init(&key, &identity, NULL, &gov, "r");
	assert_false(ig_source_get(key.key.source)->is_complete(&key.key));
}

/* ---- service accounts ------------------------------------------------------------------------ */

static void test_account_stays(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *store = one_account_pod();
	const struct ig_entitlement rules = rules_of(store);
	struct ig_identity_key key;

	(void)state;
	key_of_pod(store, "web-0", &key);
	keep_key(&key);
	assert_true(ig_entitled_anybody(&rules, &key.key));
	/* whatever happens beside it */
	put_pod(store, "web-1", UID_2, USE, "web");
	add_account(store, "default", "other", CID2);
	assert_true(ig_entitled_anybody(&rules, &key.key));
	/* seen again with other labels */
	put_pod(store, "web-0", UID_1, USE ", a: b", "web");
	assert_true(ig_entitled_anybody(&rules, &key.key));
	take_away(store, "pod:web-1");
	assert_true(ig_entitled_anybody(&rules, &key.key));
	take_away(store, "pod:web-0");
	assert_false(ig_entitled_anybody(&rules, &key.key));
}

/* Each change by itself takes the token away. */
static void test_account_goes(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		_cleanup_(ig_store_freep) struct ig_store *store = one_account_pod();
		struct ig_entitlement rules = rules_of(store);
		const struct ig_identity_defaults elsewhere = {.tenant_id = "t.example"};
		struct ig_identity_key key;

		key_of_pod(store, "web-0", &key);
		keep_key(&key);
		assert_true(ig_entitled_anybody(&rules, &key.key));
		switch (i) {
		case 0: put_pod(store, "web-0", UID_2, USE, "web"); break;
		case 1: put_pod(store, "web-0", UID_1, "", "web"); break;
		case 2: put_pod(store, "web-0", UID_1, USE, "other"); break;
		case 3:
			take_away(store, "pod:web-0");
			put_pod(store, "web-9", UID_1, USE, "web");
			break;
		case 4: add_account(store, "default", "web", CID2); break;
		case 5: take_away(store, "account:default/web"); break;
		case 6: rules.defaults = &elsewhere; break;
		case 7:
			put_pod(store, "web-0", UID_1, USE ", a: b", "web");
			load_one(store, "exception", EXCEPTION("default", "e", "a: b"));
			break;
		}
		if (ig_entitled_anybody(&rules, &key.key))
			fail_msg("change %d", i);
	}
}

/* Two pods of one account: each has a token of its own. */
static void test_account_by_pod(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *store = one_account_pod();
	const struct ig_entitlement rules = rules_of(store);
	struct ig_identity_key first, second;

	(void)state;
	put_pod(store, "web-1", UID_2, USE, "web");
	key_of_pod(store, "web-0", &first);
	keep_key(&first);
	key_of_pod(store, "web-1", &second);
	keep_key(&second);
	assert_string_not_equal(first.key.credential, second.key.credential);
	take_away(store, "pod:web-0");
	assert_false(ig_entitled_anybody(&rules, &first.key));
	assert_true(ig_entitled_anybody(&rules, &second.key));
}

/* No other pod's uid, and no nonsense, stands for the pod. */
static void test_foreign_credentials(void **state)
{
	static const char *const credentials[] = {"default/web/web-0/" UID_2, "default/web/web-0/",
		"default/web/web-1/" UID_1, "default/other/web-0/" UID_1, "other/web/web-0/" UID_1,
		UID_1, "", "/"};
	_cleanup_(ig_store_freep) struct ig_store *store = one_account_pod();
	const struct ig_entitlement rules = rules_of(store);
	struct ig_identity_key key;

	(void)state;
	put_pod(store, "web-1", UID_2, USE, "web");
	key_of_pod(store, "web-0", &key);
	for (size_t i = 0; i < IG_ARRAY_SIZE(credentials); i++) {
		key.key.credential = credentials[i];
		if (ig_entitled_anybody(&rules, &key.key))
			fail_msg("%s", credentials[i]);
	}
}

/* ---- bindings and exceptions ----------------------------------------------------------------- */

static void test_binding(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *store = load(
		IDENTITY("default", "i", "type: 0, clientID: " CID1 ", resourceID: " RID("i")));
	const struct ig_entitlement rules = rules_of(store);
	struct ig_token_key key = {.upstream = {IG_SELECTOR_CLIENT_ID, CID1},
		.expect_client_id = CID1,
		.resource = "r"};

	(void)state;
	assert_false(ig_entitled_anybody(&rules, &key));
	load_one(store, "binding", BINDING("default", "b", "i", "s"));
	assert_true(ig_entitled_anybody(&rules, &key));
	/* the same client by an account's token is another token */
	key.source = IG_TOKEN_SOURCE_SERVICE_ACCOUNT;
	key.credential = "default/web/web-0/" UID_1;
	assert_false(ig_entitled_anybody(&rules, &key));
	key.source = IG_TOKEN_SOURCE_IMDS;
	key.credential = NULL;
	take_away(store, "binding");
	assert_false(ig_entitled_anybody(&rules, &key));
}

static void test_exceptions(void **state)
{
	static const struct ig_policy_options no_aks = {.no_aks_exception = true};
	const struct ig_token_key key = {.expect_client_id = "", .resource = "r"};
	_cleanup_(ig_store_freep) struct ig_store *store = NULL;
	struct ig_entitlement rules;

	(void)state;
	assert_int_equal(ig_store_new(&store), 0);
	rules = rules_of(store);
	assert_false(ig_entitled_anybody(&rules, &key));
	load_one(store, "e", EXCEPTION("default", "e", "a: b"));
	assert_true(ig_entitled_anybody(&rules, &key));
	take_away(store, "e");
	assert_false(ig_entitled_anybody(&rules, &key));
	/* the rule that is built in */
	load_one(store, "p", POD("kube-system", "csi", AKS_LABEL));
	assert_true(ig_entitled_anybody(&rules, &key));
	rules.policy = &no_aks;
	assert_false(ig_entitled_anybody(&rules, &key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_account_key),
		cmocka_unit_test(test_longest_names),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_account_stays),
		cmocka_unit_test(test_account_goes),
		cmocka_unit_test(test_account_by_pod),
		cmocka_unit_test(test_foreign_credentials),
		cmocka_unit_test(test_binding),
		cmocka_unit_test(test_exceptions),
	};

	return cmocka_run_group_tests_name("entitled", tests, NULL, NULL);
}
