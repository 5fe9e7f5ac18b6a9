/*
 * Unit tests of the way from an identity to the key of its tokens: auxiliary tenants have keys of
 * their own, and the identity answers for all of them and no other.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "agent/identity_key.h"
#include "objects/object.h"

#define RESOURCE "https://vault.azure.net"

static const struct ig_identity_defaults defaults;

/* Strings are not freed: the identity is not ig_identity_done(). */
static struct ig_identity secret_identity(char *auxiliary)
{
	return (struct ig_identity){.namespace = "shop",
		.name = "id",
		.type = IG_IDENTITY_SECRET,
		.client_id = "AAAA",
		.resource_id = "",
		.object_id = "",
		.tenant_id = "home.example",
		.ad_endpoint = "",
		.secret_name = "secret",
		.auxiliary_tenants = auxiliary,
		.federated_token_file = ""};
}

static void test_numbers(void **state)
{
	struct ig_identity identity = secret_identity("one,two,three");

	(void)state;
	assert_int_equal(ig_identity_key_n_auxiliary(&identity), 3);
	identity.auxiliary_tenants = "one";
	assert_int_equal(ig_identity_key_n_auxiliary(&identity), 1);
	identity.auxiliary_tenants = "";
	assert_int_equal(ig_identity_key_n_auxiliary(&identity), 0);
	/* the field means something for secrets only */
	identity.auxiliary_tenants = "one";
	identity.type = IG_IDENTITY_CERTIFICATE;
	assert_int_equal(ig_identity_key_n_auxiliary(&identity), 0);
	identity.type = IG_IDENTITY_USER_ASSIGNED;
	assert_int_equal(ig_identity_key_n_auxiliary(&identity), 0);
}

static void test_keys_differ_in_the_tenant_only(void **state)
{
	static const char *const tenants[] = {"one", "two", "three"};
	struct ig_identity identity = secret_identity("one,two,three");
	struct ig_identity_key primary, other;

	(void)state;
	ig_identity_key_init(&primary, &identity, NULL, &defaults, RESOURCE);
	assert_string_equal(primary.key.tenant, "home.example");
	for (size_t i = 0; i < 3; i++) {
		ig_identity_key_init_auxiliary(&other, &identity, &defaults, i, RESOURCE);
		assert_string_equal(other.key.tenant, tenants[i]);
		assert_int_equal(other.key.source, primary.key.source);
		assert_string_equal(other.key.authority, primary.key.authority);
		assert_string_equal(other.key.credential, "shop/secret");
		assert_string_equal(other.key.upstream.value, "AAAA");
		assert_string_equal(other.key.expect_client_id, "AAAA");
		assert_string_equal(other.key.resource, RESOURCE);
	}
}

static void test_longest_tenant(void **state)
{
	char tenants[2 * (IG_OBJECT_NAME_BYTES + 1)], expected[IG_OBJECT_NAME_BYTES + 1];
	struct ig_identity identity = secret_identity(tenants);
	struct ig_identity_key key;

	(void)state;
	memset(tenants, 'a', sizeof(tenants));
	tenants[IG_OBJECT_NAME_BYTES] = ',';
	memset(tenants + IG_OBJECT_NAME_BYTES + 1, 'b', IG_OBJECT_NAME_BYTES);
	tenants[sizeof(tenants) - 1] = '\0';
	memset(expected, 'b', IG_OBJECT_NAME_BYTES);
	expected[IG_OBJECT_NAME_BYTES] = '\0';
	ig_identity_key_init_auxiliary(&key, &identity, &defaults, 1, RESOURCE);
	assert_string_equal(key.key.tenant, expected);
}

static void test_covers(void **state)
{
	struct ig_identity identity = secret_identity("one,two"), now = identity;
	struct ig_identity_key keys[3];

	(void)state;
	ig_identity_key_init(&keys[0], &identity, NULL, &defaults, RESOURCE);
	ig_identity_key_init_auxiliary(&keys[1], &identity, &defaults, 0, RESOURCE);
	ig_identity_key_init_auxiliary(&keys[2], &identity, &defaults, 1, RESOURCE);
	for (size_t i = 0; i < 3; i++)
		assert_true(ig_identity_key_covers(&identity, NULL, &defaults, &keys[i].key));
	now.auxiliary_tenants = "two";
	assert_true(ig_identity_key_covers(&now, NULL, &defaults, &keys[0].key));
	assert_false(ig_identity_key_covers(&now, NULL, &defaults, &keys[1].key));
	assert_true(ig_identity_key_covers(&now, NULL, &defaults, &keys[2].key));
	now = identity;
	now.secret_name = "other";
	now.tenant_id = "one";
	for (size_t i = 0; i < 3; i++)
		assert_false(ig_identity_key_covers(&now, NULL, &defaults, &keys[i].key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_keys_differ_in_the_tenant_only),
		cmocka_unit_test(test_longest_tenant),
		cmocka_unit_test(test_covers),
	};

	return cmocka_run_group_tests_name("agent/identity_key", tests, NULL, NULL);
}
