/*
 * MetadataPolicy: which policy decides, what its lists and its mode do, how the two layers go
 * together. Tables for the rules, and random policies for what must hold of all of them.
 */
#include "metadata_fixture.h"

#define SYS   "imdsgate-system"
#define VAULT "https://vault.azure.net"
#define ARM   "https://management.azure.com/"
#define APP   " pod=team/app"
#define TOKEN "token res=" VAULT
#define DOC   "doc path=/metadata/instance"

struct row {
	const char *policies;
	const char *request;
	const char *verdict;
};

static void run_rows(const struct row *rows, size_t n, const struct ig_policy_options *options)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_(ig_store_freep) struct ig_store *s =
			load_policies(rows[i].policies, NULL);
		char text[TEXT_MAX];

		verdict_text(check(s, options, rows[i].request), text, sizeof(text));
		if (strcmp(text, rows[i].verdict) != 0)
			fail_msg("row %zu: \"%s\", asked \"%s\": expected \"%s\", got \"%s\"", i,
				rows[i].policies, rows[i].request, rows[i].verdict, text);
	}
}

#define RUN(rows) run_rows(rows, IG_ARRAY_SIZE(rows), &own)

static void test_without_policies(void **state)
{
	static const struct row rows[] = {
		{"", TOKEN APP, "allow by -"},
		{"", "token res=anything" APP, "allow by -"},
		{"", DOC APP, "allow by -"},
		{"", "doc path=/metadata/attested" APP, "deny path_not_allowed by -"},
		{"", TOKEN, "deny host_not_allowed by -"},
		{"", DOC, "deny host_not_allowed by -"},
		{"", "doc path=/metadata/attested", "deny host_not_allowed by -"},
	};

	(void)state;
	RUN(rows);
}

static void test_resources(void **state)
{
#define P SYS "/p res=" VAULT "," ARM
	static const struct row rows[] = {
		{P, TOKEN APP, "allow by " SYS "/p"},
		{P, "token res=" VAULT "/" APP, "allow by " SYS "/p"},
		{P, "token res=" VAULT "//" APP, "allow by " SYS "/p"},
		{P, "token res=HTTPS://Vault.Azure.NET" APP, "allow by " SYS "/p"},
		{P, "token res=https://management.azure.com" APP, "allow by " SYS "/p"},
		{P, "token res=https://vault.azure.ne" APP,
			"deny resource_not_allowed by " SYS "/p"},
		{P, "token res=" VAULT ".evil.example" APP,
			"deny resource_not_allowed by " SYS "/p"},
		{P, "token res=" VAULT "/x" APP, "deny resource_not_allowed by " SYS "/p"},
		{P, "token res=/" VAULT APP, "deny resource_not_allowed by " SYS "/p"},
		{P, "token res=*" APP, "deny resource_not_allowed by " SYS "/p"},
		{P, "token res=/" APP, "deny resource_not_allowed by " SYS "/p"},
		{P, "token res=" APP, "deny resource_not_allowed by " SYS "/p"},
		{P, "token" APP, "deny resource_not_allowed by " SYS "/p"},
		/* slashes alone are no audience */
		{SYS "/p res=/", "token res=/" APP, "deny resource_not_allowed by " SYS "/p"},
		{SYS "/p res=*", "token res=anything" APP, "allow by " SYS "/p"},
		{SYS "/p res=" ARM ",*", TOKEN APP, "allow by " SYS "/p"},
		/* no pattern but "*" */
		{SYS "/p res=https://*", TOKEN APP, "deny resource_not_allowed by " SYS "/p"},
		/* empty is not absent */
		{SYS "/p res=", TOKEN APP, "deny resource_not_allowed by " SYS "/p"},
		{SYS "/p", TOKEN APP, "allow by " SYS "/p"},
		/* nothing about documents */
		{SYS "/p res=", DOC APP, "allow by " SYS "/p"},
	};
#undef P

	(void)state;
	RUN(rows);
}

static void test_paths(void **state)
{
#define P  "/p path=/metadata/instance/compute,/metadata/attested/"
#define NO "deny path_not_allowed by " SYS "/p"
	static const struct row rows[] = {
		{SYS P, "doc path=/metadata/instance/compute" APP, "allow by " SYS "/p"},
		{SYS P, "doc path=/metadata/instance/compute/location" APP, "allow by " SYS "/p"},
		{SYS P, "doc path=/metadata/instance/compute/" APP, "allow by " SYS "/p"},
		{SYS P, "doc path=/METADATA/Instance/COMPUTE/name" APP, "allow by " SYS "/p"},
		{SYS P, "doc path=/metadata/instance/computer" APP, NO},
		{SYS P, "doc path=/metadata/instance/comput" APP, NO},
		{SYS P, "doc path=/metadata/instance" APP, NO},
		{SYS P, "doc path=/metadata/instance/network" APP, NO},
		{SYS P, "doc path=/metadata/attested/document" APP, "allow by " SYS "/p"},
		{SYS P, "doc path=/metadata/attested" APP, "allow by " SYS "/p"},
		{SYS P, "doc path=/metadata/scheduledevents" APP, NO},
		{SYS P, "doc" APP, NO},
		{SYS "/p path=/metadata/scheduledevents,/metadata/loadbalancer",
			"doc path=/metadata/scheduledevents" APP, "allow by " SYS "/p"},
		{SYS "/p path=", DOC APP, NO},
		/* a slash alone is no prefix */
		{SYS "/p path=/", DOC APP, NO},
		/* absent: what the default allows, and it is the default that denies */
		{SYS "/p", DOC APP, "allow by " SYS "/p"},
		{SYS "/p res=", "doc path=/metadata/attested" APP, "deny path_not_allowed by -"},
		/* nothing about tokens */
		{SYS "/p path=", TOKEN APP, "allow by " SYS "/p"},
		/* a namespace opens nothing … */
		{"team/p path=/metadata/attested", "doc path=/metadata/attested" APP,
			"deny path_not_allowed by -"},
		{SYS P "; team/p path=/metadata/scheduledevents",
			"doc path=/metadata/scheduledevents" APP, NO},
		/* … closes … */
		{"team/p path=/metadata/instance/compute", DOC APP,
			"deny path_not_allowed by team/p"},
		{SYS P "; team/p path=/metadata/instance",
			"doc path=/metadata/attested/document" APP,
			"deny path_not_allowed by team/p"},
		/* … and without a list leaves what the cluster has opened */
		{SYS P "; team/p res=", "doc path=/metadata/attested/document" APP,
			"allow by team/p"},
	};
#undef NO
#undef P

	(void)state;
	RUN(rows);
}

static void test_containers(void **state)
{
#define P "team/p ctr=main,side"
	static const struct row rows[] = {
		{P, TOKEN APP " ctr=main", "allow by team/p"},
		{P, TOKEN APP " ctr=side", "allow by team/p"},
		{P, TOKEN APP " ctr=Main", "deny container_not_allowed by team/p"},
		{P, TOKEN APP " ctr=mai", "deny container_not_allowed by team/p"},
		{P, TOKEN APP, "wait container_not_known by team/p"},
		{P, DOC APP, "wait container_not_known by team/p"},
		{P, DOC APP " ctr=main", "allow by team/p"},
		/* no name will do, so there is nothing to wait for */
		{"team/p ctr=", TOKEN APP, "deny container_not_allowed by team/p"},
		/* waiting is worth it only if all else is allowed, in both layers */
		{P " res=" ARM, TOKEN APP, "deny resource_not_allowed by team/p"},
		{P " exe=/a", TOKEN APP, "deny executable_not_allowed by team/p"},
		{P "; " SYS "/p res=" ARM, TOKEN APP, "deny resource_not_allowed by " SYS "/p"},
		{SYS "/p ctr=main; team/p res=" ARM, TOKEN APP,
			"deny resource_not_allowed by team/p"},
		{P "; " SYS "/p res=" ARM " mode=audit", TOKEN APP,
			"wait container_not_known by team/p"},
		/* watching does not make anybody wait */
		{P " mode=audit", TOKEN APP, "audit container_not_known by team/p"},
		{P " mode=audit", TOKEN APP " ctr=main", "allow by team/p"},
		{P " mode=off", TOKEN APP, "allow by team/p"},
		/* the host's processes never have one */
		{SYS "/p host ctr=main", TOKEN, "deny container_not_allowed by " SYS "/p"},
	};
#undef P

	(void)state;
	RUN(rows);
}

static void test_executables(void **state)
{
#define P "team/p exe=/usr/bin/app,/opt/a"
	static const struct row rows[] = {
		{P, TOKEN APP " exe=/usr/bin/app", "allow by team/p"},
		{P, TOKEN APP " exe=/opt/a", "allow by team/p"},
		{P, TOKEN APP " exe=/usr/bin/app2", "deny executable_not_allowed by team/p"},
		{P, TOKEN APP " exe=/usr/bin/APP", "deny executable_not_allowed by team/p"},
		{P, TOKEN APP " exe=/opt/a/b", "deny executable_not_allowed by team/p"},
		{P, TOKEN APP " exe=app", "deny executable_not_allowed by team/p"},
		{P, TOKEN APP, "deny executable_not_allowed by team/p"},
		{P, TOKEN APP " exe=/opt/a deleted", "deny executable_not_allowed by team/p"},
		{P, DOC APP, "deny executable_not_allowed by team/p"},
		{"team/p exe=", TOKEN APP " exe=/opt/a", "deny executable_not_allowed by team/p"},
		{"team/p", TOKEN APP " exe=/opt/a deleted", "allow by team/p"},
		{"team/p", TOKEN APP, "allow by team/p"},
	};
#undef P

	(void)state;
	RUN(rows);
}

static void test_host_network(void **state)
{
	static const struct row rows[] = {
		{"team/p hostnet=no", TOKEN " pod=team/net",
			"deny host_network_not_allowed by team/p"},
		{"team/p hostnet=no", DOC " pod=team/net",
			"deny host_network_not_allowed by team/p"},
		{"team/p hostnet=no", TOKEN APP, "allow by team/p"},
		{"team/p hostnet=yes", TOKEN " pod=team/net", "allow by team/p"},
		{"team/p", TOKEN " pod=team/net", "allow by team/p"},
		{"team/p hostnet=no mode=audit", TOKEN " pod=team/net",
			"audit host_network_not_allowed by team/p"},
		{SYS "/p host hostnet=no", TOKEN, "deny host_network_not_allowed by " SYS "/p"},
	};

	(void)state;
	RUN(rows);
}

static void test_host(void **state)
{
#define AGENT SYS "/agent host exe=/usr/sbin/waagent"
	static const struct row rows[] = {
		{SYS "/p host", TOKEN, "allow by " SYS "/p"},
		{SYS "/p host", DOC, "allow by " SYS "/p"},
		{SYS "/p host", "doc path=/metadata/attested", "deny path_not_allowed by -"},
		{SYS "/p host path=/metadata/attested", "doc path=/metadata/attested",
			"allow by " SYS "/p"},
		{AGENT, TOKEN " exe=/usr/sbin/waagent", "allow by " SYS "/agent"},
		{AGENT, TOKEN " exe=/bin/sh", "deny executable_not_allowed by " SYS "/agent"},
		{AGENT, TOKEN " exe=/usr/sbin/waagent deleted",
			"deny executable_not_allowed by " SYS "/agent"},
		/* it is for the host and nobody else, and nothing else is for the host */
		{SYS "/p host res=", TOKEN APP, "allow by -"},
		{SYS "/p", TOKEN, "deny host_not_allowed by -"},
		{SYS "/p mode=off", TOKEN, "deny host_not_allowed by -"},
		{SYS "/p mode=audit", TOKEN, "deny host_not_allowed by -"},
		/* only the cluster's */
		{"team/p host", TOKEN, "deny host_not_allowed by -"},
		{"team/p host mode=audit", TOKEN, "deny host_not_allowed by -"},
		{"team/p host res=", TOKEN APP, "allow by -"},
		/* what the host does not have does not find it */
		{SYS "/p host ns=team", TOKEN, "deny host_not_allowed by -"},
		{SYS "/p host sa=default", TOKEN, "deny host_not_allowed by -"},
		{SYS "/p host id=x", TOKEN, "deny host_not_allowed by -"},
		{SYS "/p host label=a:b", TOKEN, "deny host_not_allowed by -"},
		/* modes */
		{AGENT " mode=audit", TOKEN " exe=/bin/sh",
			"audit executable_not_allowed by " SYS "/agent"},
		{AGENT " mode=audit", "doc path=/metadata/attested exe=/usr/sbin/waagent",
			"deny path_not_allowed by -"},
		{AGENT " mode=off", TOKEN " exe=/usr/sbin/waagent", "deny host_not_allowed by -"},
	};
#undef AGENT

	(void)state;
	RUN(rows);
}

static void test_coverage(void **state)
{
	static const struct row rows[] = {
		/* layers and namespaces */
		{"team/p res=", TOKEN APP, "deny resource_not_allowed by team/p"},
		{"team/p res=", TOKEN " pod=other/app", "allow by -"},
		{SYS "/p res=", TOKEN " pod=other/app", "deny resource_not_allowed by " SYS "/p"},
		{SYS "/p res= ns=team", TOKEN APP, "deny resource_not_allowed by " SYS "/p"},
		{SYS "/p res= ns=team,a", TOKEN " pod=other/app", "allow by -"},
		{SYS "/p res= ns=", TOKEN APP, "allow by -"},
		{SYS "/p res=", TOKEN " pod=" SYS "/app", "deny resource_not_allowed by " SYS "/p"},
		/* a namespace's policy reaches nobody else, whatever it lists */
		{"team/p res= ns=other", TOKEN " pod=other/app", "allow by -"},
		{"team/p res= ns=other", TOKEN APP, "allow by -"},
		{"team/p res= ns=team", TOKEN APP, "deny resource_not_allowed by team/p"},
		/* labels: all of them, exactly */
		{"team/p res= label=app:web", TOKEN APP, "deny resource_not_allowed by team/p"},
		{"team/p res= label=app:web,tier:front", TOKEN APP,
			"deny resource_not_allowed by team/p"},
		{"team/p res= label=app:web,tier:back", TOKEN APP, "allow by -"},
		{"team/p res= label=app:WEB", TOKEN APP, "allow by -"},
		{"team/p res= label=App:web", TOKEN APP, "allow by -"},
		{"team/p res= label=app:web", TOKEN " pod=team/bare", "allow by -"},
		/* service accounts: the pod's, or "default" */
		{"team/p res= sa=web", TOKEN APP, "deny resource_not_allowed by team/p"},
		{"team/p res= sa=a,web", TOKEN APP, "deny resource_not_allowed by team/p"},
		{"team/p res= sa=Web", TOKEN APP, "allow by -"},
		{"team/p res= sa=default", TOKEN " pod=team/bare",
			"deny resource_not_allowed by team/p"},
		{"team/p res= sa=default", TOKEN APP, "allow by -"},
		{"team/p res= sa=", TOKEN APP, "allow by -"},
		/* identities: of a token, never of a document or of the node */
		{"team/p res= id=pay", TOKEN APP " id=pay", "deny resource_not_allowed by team/p"},
		{"team/p res= id=pay", TOKEN APP " id=pays", "allow by -"},
		{"team/p res= id=pay", TOKEN APP, "allow by -"},
		{"team/p path= id=pay", DOC APP, "allow by -"},
		{"team/p res= id=", TOKEN APP " id=pay", "allow by -"},
		/* all conditions at once */
		{"team/p res= id=pay sa=web label=app:web", TOKEN APP " id=pay",
			"deny resource_not_allowed by team/p"},
		{"team/p res= id=pay sa=batch label=app:web", TOKEN APP " id=pay", "allow by -"},
	};

	(void)state;
	RUN(rows);
}

/* The more specific one of two says no, the other yes. */
static void test_specificity(void **state)
{
#define NO(n) "deny resource_not_allowed by " n
	static const struct row rows[] = {
		{SYS "/a; " SYS "/b ns=team res=", TOKEN APP, NO(SYS "/b")},
		{SYS "/a id=pay; " SYS "/b ns=team res=", TOKEN APP " id=pay", NO(SYS "/b")},
		{SYS "/a sa=web; " SYS "/b ns=team res=", TOKEN APP, NO(SYS "/b")},
		{SYS "/a label=app:web,tier:front id=pay sa=web; " SYS "/b ns=team res=",
			TOKEN APP " id=pay", NO(SYS "/b")},
		{SYS "/a ns=team; " SYS "/b ns=team id=pay res=", TOKEN APP " id=pay",
			NO(SYS "/b")},
		{"team/a sa=web; team/b id=pay res=", TOKEN APP " id=pay", NO("team/b")},
		{"team/a sa=web label=app:web; team/b id=pay res=", TOKEN APP " id=pay",
			NO("team/b")},
		{"team/a label=app:web,tier:front; team/b sa=web res=", TOKEN APP, NO("team/b")},
		{"team/a label=app:web; team/b label=app:web,tier:front res=", TOKEN APP,
			NO("team/b")},
		{"team/a; team/b label=app:web res=", TOKEN APP, NO("team/b")},
		/* the same: the first by name */
		{"team/b; team/a res=", TOKEN APP, NO("team/a")},
		{"team/b label=app:web; team/a label=tier:front res=", TOKEN APP, NO("team/a")},
		{"team/b sa=web; team/a sa=web,x res=", TOKEN APP, NO("team/a")},
		/* the specific one alone: what the general one says does not add up */
		{"team/a res=; team/b label=app:web", TOKEN APP, "allow by team/b"},
		{"team/a exe=/x; team/b label=app:web res=" VAULT, TOKEN APP, "allow by team/b"},
		/* one that does not cover the request is not there */
		{"team/a res=; team/b id=pay", TOKEN APP, NO("team/a")},
		{"team/a path=; team/b id=pay sa=web", DOC APP, "deny path_not_allowed by team/a"},
		{"team/a res=; team/b label=app:api", TOKEN APP, NO("team/a")},
		/* each layer for itself */
		{SYS "/a label=app:web,tier:front; team/b res=", TOKEN APP, NO("team/b")},
		{SYS "/a res=; team/b label=app:web,tier:front id=pay", TOKEN APP " id=pay",
			NO(SYS "/a")},
	};
#undef NO

	(void)state;
	RUN(rows);
}

static void test_layers(void **state)
{
	static const struct row rows[] = {
		{SYS "/c; team/n", TOKEN APP, "allow by team/n"},
		{SYS "/c", TOKEN APP, "allow by " SYS "/c"},
		/* both must list it */
		{SYS "/c res=" VAULT "; team/n res=" VAULT, TOKEN APP, "allow by team/n"},
		{SYS "/c res=" ARM "; team/n res=" VAULT, TOKEN APP,
			"deny resource_not_allowed by " SYS "/c"},
		{SYS "/c res=" VAULT "; team/n res=" ARM, TOKEN APP,
			"deny resource_not_allowed by team/n"},
		{SYS "/c res=" ARM "; team/n res=*", TOKEN APP,
			"deny resource_not_allowed by " SYS "/c"},
		/* the cluster's reason comes first */
		{SYS "/c exe=; team/n res=", TOKEN APP, "deny executable_not_allowed by " SYS "/c"},
	};
	static const struct row moved[] = {
		{"policies/c res=", TOKEN APP, "deny resource_not_allowed by policies/c"},
		{SYS "/c res=", TOKEN APP, "allow by -"},
		{"policies/c host", TOKEN, "allow by policies/c"},
		{SYS "/c host", TOKEN, "deny host_not_allowed by -"},
		{SYS "/c res=", TOKEN " pod=" SYS "/app", "deny resource_not_allowed by " SYS "/c"},
	};
	static const struct ig_policy_options options = {.policy_namespace = "policies"};

	(void)state;
	RUN(rows);
	run_rows(rows, IG_ARRAY_SIZE(rows), NULL);
	run_rows(moved, IG_ARRAY_SIZE(moved), &options);
}

static void test_modes(void **state)
{
	static const struct row rows[] = {
		{"team/n res= mode=audit", TOKEN APP, "audit resource_not_allowed by team/n"},
		{"team/n res=" VAULT " mode=audit", TOKEN APP, "allow by team/n"},
		{"team/n res= mode=off", TOKEN APP, "allow by team/n"},
		/* audit and enforce in the two layers */
		{SYS "/c res= mode=audit; team/n res=", TOKEN APP,
			"deny resource_not_allowed by team/n"},
		{SYS "/c res= mode=audit; team/n exe= mode=audit", TOKEN APP,
			"audit resource_not_allowed by " SYS "/c"},
		{SYS "/c; team/n exe= mode=audit", TOKEN APP,
			"audit executable_not_allowed by team/n"},
		/* audit opens nothing and closes nothing by itself; what it lists is open */
		{SYS "/c path=/metadata/instance mode=audit", "doc path=/metadata/attested" APP,
			"deny path_not_allowed by -"},
		{SYS "/c path=/metadata/attested mode=audit", "doc path=/metadata/attested" APP,
			"allow by " SYS "/c"},
		{SYS "/c path=/metadata/attested mode=audit", DOC APP,
			"audit path_not_allowed by " SYS "/c"},
		{"team/n path=/metadata/attested mode=audit", "doc path=/metadata/attested" APP,
			"deny path_not_allowed by -"},
		/* a specific `off` lifts the general rule of its own layer only */
		{"team/n res=; team/o label=app:web mode=off", TOKEN APP, "allow by team/o"},
		{"team/n res=; team/o label=app:api mode=off", TOKEN APP,
			"deny resource_not_allowed by team/n"},
		{SYS "/c res=; team/o label=app:web mode=off", TOKEN APP,
			"deny resource_not_allowed by " SYS "/c"},
		{SYS "/c res=; " SYS "/o label=app:web mode=off; team/n res=", TOKEN APP,
			"deny resource_not_allowed by team/n"},
		{SYS "/c res=; " SYS "/o label=app:web mode=off", TOKEN APP, "allow by " SYS "/o"},
		/* a general one does not lift a specific one */
		{"team/n res= label=app:web; team/o mode=off", TOKEN APP,
			"deny resource_not_allowed by team/n"},
		/* off is as without a policy, so it does not open what is closed then */
		{SYS "/o mode=off path=/metadata/attested", "doc path=/metadata/attested" APP,
			"deny path_not_allowed by -"},
		{SYS "/c path=/metadata/attested; team/o mode=off path=",
			"doc path=/metadata/attested" APP, "allow by team/o"},
	};

	(void)state;
	RUN(rows);
}

static void test_rate(void **state)
{
	static const struct {
		const char *policies;
		uint32_t per_sec, burst;
	} rows[] = {
		{"", 0, 0},
		{"team/n", 0, 0},
		{"team/n rate=5 burst=10", 5, 10},
		{SYS "/c rate=7; team/n burst=10", 7, 10},
		{SYS "/c rate=7 burst=9; team/n rate=5 burst=10", 5, 9},
		{SYS "/c rate=7 burst=9; team/n rate=8", 7, 9},
		/* the deciding one's, not the others' */
		{"team/n rate=5 burst=10; team/s label=app:web rate=50", 50, 0},
		{"other/n rate=5", 0, 0},
		/* who watches does not slow down */
		{"team/n rate=5 burst=10 mode=audit", 0, 0},
		{SYS "/c rate=7 burst=9; team/n rate=5 mode=off", 7, 9},
		/* denied requests count, too */
		{"team/n rate=5 burst=10 res=", 5, 10},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(ig_store_freep) struct ig_store *s =
			load_policies(rows[i].policies, NULL);
		struct ig_policy_verdict v = check(s, &own, TOKEN APP);

		assert_int_equal(v.rate_per_sec, rows[i].per_sec);
		assert_int_equal(v.rate_burst, rows[i].burst);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_null(ig_policy_denial_name(IG_POLICY_ALLOWED));
	for (int i = IG_POLICY_ALLOWED + 1; i < _IG_POLICY_DENIAL_MAX; i++) {
		assert_non_null(ig_policy_denial_name((enum ig_policy_denial)i));
		for (int j = IG_POLICY_ALLOWED + 1; j < i; j++)
			assert_string_not_equal(ig_policy_denial_name((enum ig_policy_denial)i),
				ig_policy_denial_name((enum ig_policy_denial)j));
	}
	assert_null(ig_policy_denial_name(_IG_POLICY_DENIAL_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_policies),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_executables),
		cmocka_unit_test(test_host_network),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_coverage),
		cmocka_unit_test(test_specificity),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("metadata policy", tests, NULL, NULL);
}
