/*
 * Pods, ServiceAccounts and MetadataPolicies: what is read, what is refused, and what a tenant's
 * text cannot bring about. (What is wrong with a MetadataPolicy by itself: test_examples.c.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "objects/manifest.h"
#include "objects/validate.h"

#define GUID "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define HASH "81cdabfc720501d9e81b425b15921b4d"
#define ID_A "aad4dbb2afdcb755bc1f917ebbad122ec0aeaa182b27521633dea1ab9330fb24"
#define ID_B "bbd4dbb2afdcb755bc1f917ebbad122ec0aeaa182b27521633dea1ab9330fb24"
#define ID_C "ccd4dbb2afdcb755bc1f917ebbad122ec0aeaa182b27521633dea1ab9330fb24"

#define POD    "apiVersion: v1\nkind: Pod\n"
#define SA     "apiVersion: v1\nkind: ServiceAccount\n"
#define POLICY "apiVersion: imdsgate.dev/v1alpha1\nkind: MetadataPolicy\n"

IG_DEFINE_CLEANUP(struct ig_object_set *, ig_object_set_free);

/* As a manifest. */
static struct ig_object_set *parse(const char *text)
{
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	if (ig_manifest_parse("f.yaml", text, strlen(text), NULL, &set, &err) != 0)
		fail_msg("%u:%u: %s", err.line, err.column, err.message);
	return set;
}

static void expect_refused(const char *text, const char *message)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;
	struct ig_err err = {};

	if (ig_manifest_parse("f.yaml", text, strlen(text), NULL, &set, &err) != -EINVAL ||
		!strstr(err.message, message))
		fail_msg("%u:%u: %s\nexpected: %s\n%s", err.line, err.column, err.message, message,
			text);
}

/* As the API server says it. *ret_err may be NULL when it must be valid. */
static struct ig_object_set *from_api(
	const char *json, const char *policy_namespace, struct ig_err *ret_err)
{
	const struct ig_validate_options options = {.policy_namespace = policy_namespace};
	_cleanup_(ig_validator_freep) struct ig_validator *v = NULL;
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = ig_object_set_new();
	_cleanup_(json_decrefp) json_t *doc = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	struct ig_err err = {};
	int r;

	assert_non_null(set);
	assert_non_null(doc);
	assert_int_equal(ig_validator_new(&options, &v), 0);
	r = ig_validator_add(v, doc, set, &err);
	if (r < 0 && !ret_err)
		fail_msg("%s", err.message);
	if (ret_err)
		*ret_err = err;
	return r < 0 ? NULL : TAKE_PTR(set);
}

static void expect_container(const struct ig_pod *pod, size_t i, const char *name, const char *id)
{
	assert_true(i < pod->n_containers);
	assert_string_equal(pod->containers[i].name, name);
	assert_string_equal(pod->containers[i].id, id);
}

/* The id is looked for in the list that belongs to the container's, whatever the order there. */
static void test_containers(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(POD
		"metadata: {name: a}\n"
		"spec:\n  initContainers: [{name: setup, image: x}]\n"
		"  containers: [{name: web}, {name: side, env: [{name: X}]}, {name: new}, {name: odd}]\n"
		"  ephemeralContainers: [{name: debug}]\n"
		"status:\n  phase: Running\n"
		"  initContainerStatuses: [{name: setup, containerID: 'docker://" ID_A "'},\n"
		"    {name: web, containerID: 'docker://" ID_C "'}]\n"
		"  containerStatuses:\n"
		"  - {name: side, containerID: 'cri-o://CCD4DBB2AFDCB755BC1F917EBBAD122EC0AEAA182B27521633DEA1AB9330FB24',"
		" lastState: {terminated: {containerID: 'cri-o://" ID_A "'}}}\n"
		"  - {name: web, containerID: 'containerd://" ID_B "', ready: true}\n"
		"  - {name: new, state: {waiting: {reason: ContainerCreating}}}\n"
		"  - {name: odd, containerID: 'containerd://../../" ID_B "'}\n"
		"  - {name: stranger, containerID: 'containerd://" ID_A "'}\n"
		"  ephemeralContainerStatuses: [{name: debug, containerID: 'containerd://" ID_A
		"'}]\n");
	const struct ig_pod *pod = &set->pods[0];

	(void)state;
	assert_int_equal(pod->n_containers, 6);
	expect_container(pod, 0, "setup", ID_A);
	expect_container(pod, 1, "web", ID_B);
	expect_container(pod, 2, "side", ID_C);
	expect_container(pod, 3, "new", "");
	expect_container(pod, 4, "odd", "");
	expect_container(pod, 5, "debug", ID_A);
	assert_false(pod->finished);
}

/* What is no id of a known runtime is not known, which is no error: the next one may be. */
static void test_container_ids(void **state)
{
	static const char *const unknown[] = {"", "containerd://", ID_A, "rkt://" ID_A,
		"containerd://" ID_A "0", "containerd://" ID_A "/", "Containerd://" ID_A,
		"containerd:/" ID_A,
		"containerd://gad4dbb2afdcb755bc1f917ebbad122ec0aeaa182b27521633dea1ab9330fb24"};
	char text[512];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(unknown); i++) {
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

		(void)snprintf(text, sizeof(text),
			POD "metadata: {name: a}\nspec: {containers: [{name: c}]}\n"
			    "status: {containerStatuses: [{name: c, containerID: '%s'}]}\n",
			unknown[i]);
		set = parse(text);
		expect_container(&set->pods[0], 0, "c", "");
	}
}

static void test_bad_containers(void **state)
{
	static const struct {
		const char *spec, *message;
	} bad[] = {
		{"spec: {containers: {name: a}}", "expected a sequence of mappings"},
		{"spec: {containers: [a]}", "spec.containers: expected a mapping, found a string"},
		{"spec: {containers: [{image: a}]}", "missing field \"name\""},
		{"spec: {containers: [{name: 5}]}", "spec.containers.name: expected a string"},
		{"spec: {containers: [{name: A}]}", "found \"A\""},
		{"spec: {containers: [{name: a.b}]}", "found \"a.b\""},
		{"spec: {containers: [{name: a}, {name: a}]}", "there are two containers \"a\""},
		{"spec: {containers: [{name: a}], initContainers: [{name: a}]}", "two containers"},
		{"spec: {containers: [{name: a}]}\nstatus: {containerStatuses: [{name: 5}]}",
			"status.containerStatuses.name: expected a string"},
		{"spec: {containers: []}\nstatus: {containerstatuses: []}", "did you mean"},
		{"status: {phase: 1}", "status.phase: expected a string"},
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		(void)snprintf(text, sizeof(text), POD "metadata: {name: x}\n%s\n", bad[i].spec);
		expect_refused(text, bad[i].message);
	}
}

static int parse_containers(size_t n, size_t n_init, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	ig_buf_puts(&b, POD "metadata: {name: a}\nspec:\n  containers:\n");
	for (size_t i = 0; i < n; i++)
		ig_buf_printf(&b, "  - {name: c%zu}\n", i);
	ig_buf_puts(&b, "  initContainers:\n");
	for (size_t i = 0; i < n_init; i++)
		ig_buf_printf(&b, "  - {name: i%zu}\n", i);
	assert_int_equal(ig_buf_finish(&b), 0);
	return ig_manifest_parse("f", b.data, b.len, NULL, &set, err);
}

static void test_container_limit(void **state)
{
	struct ig_err err = {};

	(void)state;
	assert_int_equal(parse_containers(IG_POD_CONTAINERS_MAX - 1, 1, &err), 0);
	assert_int_equal(parse_containers(IG_POD_CONTAINERS_MAX, 1, &err), -EINVAL);
	assert_non_null(strstr(err.message, "257 containers are more than the 256 allowed"));
}

static void test_phase(void **state)
{
	static const struct {
		const char *status;
		bool finished;
	} rows[] = {
		{"{}", false},
		{"null", false},
		{"{phase: Pending}", false},
		{"{phase: Running}", false},
		{"{phase: Unknown}", false},
		{"{phase: succeeded}", false},
		{"{phase: Succeeded}", true},
		{"{phase: Failed, reason: Evicted}", true},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

		(void)snprintf(text, sizeof(text), POD "metadata: {name: x}\nstatus: %s\n",
			rows[i].status);
		set = parse(text);
		if (set->pods[0].finished != rows[i].finished)
			fail_msg("%s", rows[i].status);
	}
}

static void test_workload_identity_label(void **state)
{
	static const struct {
		const char *labels;
		bool uses;
	} rows[] = {
		{"{}", false},
		{"{azure.workload.identity/use: 'true'}", true},
		{"{azure.workload.identity/use: 'True'}", false},
		{"{azure.workload.identity/use: 'false'}", false},
		{"{azure.workload.identity/use: ''}", false},
		{"{use: 'true'}", false},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

		(void)snprintf(text, sizeof(text), POD "metadata: {name: x, labels: %s}\n",
			rows[i].labels);
		set = parse(text);
		if (ig_pod_uses_workload_identity(&set->pods[0]) != rows[i].uses)
			fail_msg("%s", rows[i].labels);
	}
}

/* ---- whose processes a pod is ---- */

static void api_pod(char *buf, size_t size, const char *ns, const char *meta)
{
	(void)snprintf(buf, size,
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"etcd-n1\",\"namespace\":\"%s\"%s}}",
		ns, meta);
}

static void test_api_pod_has_uid(void **state)
{
	struct ig_err err = {};
	char json[512];

	(void)state;
	api_pod(json, sizeof(json), "default", "");
	assert_null(from_api(json, NULL, &err));
	assert_non_null(strstr(err.message, "missing field \"uid\""));
	api_pod(json, sizeof(json), "default", ",\"uid\":\"\"");
	assert_null(from_api(json, NULL, &err));
	/* in a manifest the cgroup says it as well */
	ig_object_set_free(parse(POD "metadata: {name: x}\n"));
}

#define MIRROR(value)                                                                              \
	",\"uid\":\"" GUID "\",\"annotations\":{\"kubernetes.io/config.mirror\":\"" value "\","    \
	"\"kubernetes.io/config.hash\":\"00000000000000000000000000000000\","                      \
	"\"kubernetes.io/config.source\":\"file\"},\"ownerReferences\":"                           \
	"[{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"name\":\"n1\",\"controller\":true}]"

/* Only in kube-system, and never in the form of a uid that the API server gives: a mirror pod's
 * annotation is a tenant's text everywhere else. */
static void test_mirror_pod(void **state)
{
	static const struct {
		const char *ns, *meta, *uid;
	} rows[] = {
		{"kube-system", MIRROR(HASH), HASH},
		{"kube-system", MIRROR("81CDABFC720501D9E81B425B15921B4D"), HASH},
		/* a tenant claims a static pod */
		{"default", MIRROR(HASH), GUID},
		{"kube-systems", MIRROR(HASH), GUID},
		/* anybody claims another pod */
		{"default", MIRROR("1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"), GUID},
		{"kube-system", MIRROR("1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"), GUID},
		{"kube-system", MIRROR(""), GUID},
		{"kube-system", MIRROR(HASH "0"), GUID},
		{"kube-system", MIRROR("g1cdabfc720501d9e81b425b15921b4d"), GUID},
		/* the hash without the mark of a mirror pod may be changed at any time */
		{"kube-system",
			",\"uid\":\"" GUID
			"\",\"annotations\":{\"kubernetes.io/config.hash\":\"" HASH "\"}",
			GUID},
	};
	char json[1024];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

		api_pod(json, sizeof(json), rows[i].ns, rows[i].meta);
		set = from_api(json, NULL, NULL);
		if (strcmp(set->pods[0].uid, rows[i].uid) != 0)
			fail_msg("row %zu: %s", i, set->pods[0].uid);
	}
}

/* A manifest's uid is what the administrator wrote. */
static void test_mirror_in_manifest(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set =
		parse(POD "metadata:\n  name: x\n  namespace: kube-system\n  uid: " GUID "\n"
			  "  annotations: {kubernetes.io/config.mirror: " HASH "}\n");

	(void)state;
	assert_string_equal(set->pods[0].uid, GUID);
}

/* ---- service accounts ---- */

static void test_service_account(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(
		SA "metadata:\n  name: build.bot\n  namespace: shop\n"
		   "  annotations:\n    azure.workload.identity/client-id: " GUID "\n"
		   "    azure.workload.identity/tenant-id: contoso.example\n"
		   "secrets: [{name: x}]\nautomountServiceAccountToken: false\n"
		   "---\n" SA
		   "metadata: {name: web, annotations: {azure.workload.identity/client-id: " GUID
		   ", azure.workload.identity/tenant-id: ''}}\n");
	const struct ig_service_account *account;

	(void)state;
	assert_int_equal(set->n_service_accounts, 2);
	account = &set->service_accounts[0];
	assert_string_equal(account->namespace, "shop");
	assert_string_equal(account->name, "build.bot");
	assert_int_equal(account->place.line, 1);
	assert_int_equal(account->identity.type, IG_IDENTITY_FEDERATED);
	assert_string_equal(account->identity.namespace, "shop");
	assert_string_equal(account->identity.name, "build.bot");
	assert_string_equal(account->identity.client_id, GUID);
	assert_string_equal(account->identity.tenant_id, "contoso.example");
	assert_string_equal(account->identity.resource_id, "");
	assert_string_equal(account->identity.object_id, "");
	assert_string_equal(account->identity.ad_endpoint, "");
	assert_string_equal(account->identity.secret_name, "");
	assert_string_equal(account->identity.auxiliary_tenants, "");
	assert_string_equal(account->identity.federated_token_file, "");
	assert_string_equal(set->service_accounts[1].identity.tenant_id, "");
}

/* Most accounts have no identity. */
static void test_service_account_without_client_id(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(SA
		"metadata: {name: default}\n---\n" SA
		"metadata: {name: a, annotations: {azure.workload.identity/client-id: ''}}\n---\n" SA
		"metadata: {name: b, annotations: {azure.workload.identity/tenant-id: t}}\n---\n" SA
		"metadata: {name: c, annotations: null}\n");

	(void)state;
	assert_int_equal(ig_object_set_count(set), 0);
	assert_int_equal(set->n_ignored, 0);
	expect_refused(SA
		"metadata: {name: a, annotations: {azure.workload.identity/client-id: app}}\n",
		"metadata.annotations.azure.workload.identity/client-id: expected a GUID");
	expect_refused(SA
		"metadata: {name: a, annotations: {azure.workload.identity/client-id: 5}}\n",
		"expected a string");
	expect_refused(SA
		"metadata: {name: a, annotations: {azure.workload.identity/client-id: " GUID
		", azure.workload.identity/tenant-id: a/b}}\n",
		"expected a GUID or a domain name, found \"a/b\"");
	/* no AzureIdentity has its type */
	expect_refused("apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\n"
		       "metadata: {name: x}\nspec: {type: 3, clientID: " GUID "}\n",
		"found 3");
}

/* ---- policies ---- */

static void expect_list(const struct ig_text_list *list, const char *const *want, size_t n)
{
	assert_true(list->given);
	assert_int_equal(list->n, n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(list->items[i], want[i]);
}
#define EXPECT_LIST(list, ...)                                                                     \
	expect_list(&(list), (const char *const[]){__VA_ARGS__},                                   \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void test_policy(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(POLICY
		"metadata: {name: web, namespace: shop, generation: 7}\n"
		"spec:\n  subject: Pods\n  mode: Audit\n  namespaces: [shop, b]\n"
		"  podSelector: {matchLabels: {tier: '1', app: web}}\n"
		"  serviceAccounts: [web, build.bot]\n  identities: [web-id]\n"
		"  allow:\n    resources: ['https://vault.azure.net', '*']\n    containers: [web]\n"
		"    executables: [/usr/bin/app, '/a b/...']\n    hostNetwork: false\n"
		"  rate: {perSecond: 5, burst: 20}\n"
		"---\n" POLICY "metadata: {name: host}\nspec:\n  subject: Host\n  mode: Disabled\n"
		"  allow:\n    metadataPaths: [/metadata/instance/compute, /metadata/attested]\n"
		"---\n" POLICY "metadata: {name: empty, generation: null}\nspec:\n"
		"  podSelector: {}\n  allow: {hostNetwork: true, resources: [], metadataPaths: []}\n"
		"  namespaces: []\n  rate: {}\n"
		"status: {conditions: [{type: Accepted, status: 'True'}]}\n");
	const struct ig_metadata_policy *p = &set->metadata_policies[0];

	(void)state;
	assert_int_equal(set->n_metadata_policies, 3);
	assert_string_equal(p->namespace, "shop");
	assert_string_equal(p->name, "web");
	assert_int_equal(p->generation, 7);
	assert_int_equal(p->mode, IG_POLICY_MODE_AUDIT);
	assert_false(p->host);
	EXPECT_LIST(p->namespaces, "shop", "b");
	assert_int_equal(p->n_labels, 2);
	assert_string_equal(p->labels[0].key, "app");
	EXPECT_LIST(p->service_accounts, "web", "build.bot");
	EXPECT_LIST(p->identities, "web-id");
	EXPECT_LIST(p->resources, "https://vault.azure.net", "*");
	assert_false(p->paths.given);
	EXPECT_LIST(p->containers, "web");
	EXPECT_LIST(p->executables, "/usr/bin/app", "/a b/...");
	assert_int_equal(p->host_network, IG_POLICY_HOST_NETWORK_DENY);
	assert_int_equal(p->rate_per_sec, 5);
	assert_int_equal(p->rate_burst, 20);
	p++;
	assert_true(p->host);
	assert_int_equal(p->mode, IG_POLICY_MODE_OFF);
	EXPECT_LIST(p->paths, "/metadata/instance/compute", "/metadata/attested");
	assert_false(p->resources.given);
	assert_int_equal(p->host_network, IG_POLICY_HOST_NETWORK_UNSET);
	assert_int_equal(p->generation, 0);
	p++;
	assert_int_equal(p->mode, IG_POLICY_MODE_ENFORCE);
	assert_int_equal(p->n_labels, 0);
	assert_int_equal(p->host_network, IG_POLICY_HOST_NETWORK_ALLOW);
	/* empty is not absent */
	expect_list(&p->resources, NULL, 0);
	expect_list(&p->paths, NULL, 0);
	expect_list(&p->namespaces, NULL, 0);
	assert_false(p->containers.given);
	assert_int_equal(p->rate_per_sec, 0);
	assert_int_equal(p->rate_burst, 0);
}

/* Where something is wrong, as a person needs it. */
static void test_policy_places(void **state)
{
	static const char text[] = POLICY "metadata: {name: x}\nspec:\n  allow:\n    resources:\n"
					  "    - https://vault.azure.net\n    resource: []\n";
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	(void)state;
	assert_int_equal(ig_manifest_parse("f", text, strlen(text), NULL, &set, &err), -EINVAL);
	assert_int_equal(err.line, 8);
	assert_int_equal(err.column, 5);
	assert_string_equal(err.message,
		"MetadataPolicy default/x: spec.allow.resource: unknown field \"resource\"");
}

#define API_POLICY(ns, spec)                                                                       \
	"{\"apiVersion\":\"imdsgate.dev/v1alpha1\",\"kind\":\"MetadataPolicy\",\"metadata\":"      \
	"{\"name\":\"p\",\"namespace\":\"" ns "\"},\"spec\":" spec "}"

/* A namespace's owner cannot govern others, nor the host. */
static void test_policy_reach(void **state)
{
	static const struct {
		const char *json, *own, *message; /* NULL: valid */
	} rows[] = {
		{API_POLICY("gate", "{\"subject\":\"Host\"}"), "gate", NULL},
		{API_POLICY("gate", "{\"namespaces\":[\"a\"]}"), "gate", NULL},
		{API_POLICY("shop", "{}"), "gate", NULL},
		{API_POLICY("shop", "{\"subject\":\"Host\"}"), "gate",
			"\"Host\" is allowed in namespace \"gate\" only, this is \"shop\""},
		{API_POLICY("shop", "{\"namespaces\":[\"shop\"]}"), "gate",
			"spec.namespaces: allowed in namespace \"gate\" only; here a policy covers its own namespace, \"shop\""},
		{API_POLICY("shop", "{\"namespaces\":[]}"), "gate", "\"gate\" only"},
		/* not known: not checked */
		{API_POLICY("shop", "{\"subject\":\"Host\"}"), NULL, NULL},
		{API_POLICY("shop", "{\"namespaces\":[\"shop\"]}"), NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;
		struct ig_err err = {};

		set = from_api(rows[i].json, rows[i].own, &err);
		if (!set != !!rows[i].message ||
			(rows[i].message && !strstr(err.message, rows[i].message)))
			fail_msg("row %zu: %s", i, err.message);
	}
}

static int parse_list(size_t n, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	ig_buf_puts(&b, POLICY "metadata: {name: a}\nspec:\n  allow:\n    resources:\n");
	for (size_t i = 0; i < n; i++)
		ig_buf_printf(&b, "    - r%zu\n", i);
	assert_int_equal(ig_buf_finish(&b), 0);
	return ig_manifest_parse("f", b.data, b.len, NULL, &set, err);
}

static int parse_entry(const char *list, const char *prefix, size_t len, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	ig_buf_printf(&b, POLICY "metadata: {name: a}\nspec: {allow: {%s: [%s", list, prefix);
	for (size_t i = strlen(prefix); i < len; i++)
		ig_buf_putc(&b, 'x');
	ig_buf_puts(&b, "]}}\n");
	assert_int_equal(ig_buf_finish(&b), 0);
	return ig_manifest_parse("f", b.data, b.len, NULL, &set, err);
}

static void test_policy_limits(void **state)
{
	static const struct {
		const char *list, *prefix;
		size_t max;
	} rows[] = {
		{"resources", "", IG_SELECTOR_BYTES},
		{"metadataPaths", "/metadata/instance/", IG_DOCUMENT_PATH_BYTES},
		{"executables", "/", IG_EXE_PATH_BYTES},
		{"containers", "", 63},
	};
	struct ig_err err = {};
	char text[256];

	(void)state;
	assert_int_equal(parse_list(IG_POLICY_LIST_MAX, &err), 0);
	assert_int_equal(parse_list(IG_POLICY_LIST_MAX + 1, &err), -EINVAL);
	assert_non_null(strstr(err.message, "257 entries are more than the 256 allowed"));
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		assert_int_equal(parse_entry(rows[i].list, rows[i].prefix, rows[i].max, &err), 0);
		assert_int_equal(
			parse_entry(rows[i].list, rows[i].prefix, rows[i].max + 1, &err), -EINVAL);
	}
	(void)snprintf(text, sizeof(text),
		POLICY "metadata: {name: a}\nspec: {rate: {perSecond: %d, burst: %d}}\n",
		IG_POLICY_RATE_MAX, IG_POLICY_RATE_MAX);
	ig_object_set_free(parse(text));
	(void)snprintf(text, sizeof(text),
		POLICY "metadata: {name: a}\nspec: {rate: {burst: %d}}\n", IG_POLICY_RATE_MAX + 1);
	expect_refused(text, "spec.rate.burst: expected 1 to 100000, found 100001");
	expect_refused(POLICY "metadata: {name: a}\nspec: {rate: {perSecond: 4294967297}}\n",
		"found 4294967297");
}

/* Who may make identities in the cluster must not have the agent talk to what listens on the node's
 * loopback host only. */
static void test_identity_authority(void **state)
{
	static const char text[] =
		"{\"apiVersion\": \"aadpodidentity.k8s.io/v1\", \"kind\": \"AzureIdentity\","
		" \"metadata\": {\"namespace\": \"shop\", \"name\": \"web\"},"
		" \"spec\": {\"type\": 1, \"clientID\": \"" GUID "\", \"tenantID\": \"" GUID "\","
		" \"clientPassword\": {\"name\": \"s\"}, \"adEndpoint\": \"%s\"}}";
	_cleanup_(ig_object_set_freep) struct ig_object_set *manifest = NULL, *api = NULL;
	struct ig_err err = {};
	char json[1024];

	(void)state;
	(void)snprintf(json, sizeof(json), text, "http://127.0.0.1:10255/x");
	manifest = parse(json);
	assert_string_equal(manifest->identities[0].ad_endpoint, "http://127.0.0.1:10255/x");
	assert_null(from_api(json, NULL, &err));
	assert_non_null(
		strstr(err.message, "adEndpoint: expected an https:// URL (only manifests"));
	(void)snprintf(json, sizeof(json), text, "https://login.example");
	api = from_api(json, NULL, NULL);
	assert_string_equal(api->identities[0].ad_endpoint, "https://login.example");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_container_ids),
		cmocka_unit_test(test_bad_containers),
		cmocka_unit_test(test_container_limit),
		cmocka_unit_test(test_phase),
		cmocka_unit_test(test_workload_identity_label),
		cmocka_unit_test(test_api_pod_has_uid),
		cmocka_unit_test(test_mirror_pod),
		cmocka_unit_test(test_mirror_in_manifest),
		cmocka_unit_test(test_service_account),
		cmocka_unit_test(test_service_account_without_client_id),
		cmocka_unit_test(test_identity_authority),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_policy_places),
		cmocka_unit_test(test_policy_reach),
		cmocka_unit_test(test_policy_limits),
	};

	return cmocka_run_group_tests_name("kinds", tests, NULL, NULL);
}
