/*
 * Manifest text to objects: what is accepted and what becomes of it, and for everything that is
 * refused its line, column and reason. Also the validator on JSON, as the API server sends it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "objects/manifest.h"
#include "objects/names.h"
#include "objects/validate.h"
#include "objects/yaml.h"

#define GUID "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define RID                                                                                        \
	"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n"
#define V1     "apiVersion: aadpodidentity.k8s.io/v1\n"
#define ID     V1 "kind: AzureIdentity\n"
#define BIND   V1 "kind: AzureIdentityBinding\n"
#define EXC    V1 "kind: AzurePodIdentityException\n"
#define POD    "apiVersion: v1\nkind: Pod\n"
#define NAME   "metadata: {name: x}\n"
#define IDSPEC ID NAME "spec:\n"
#define SP     ID NAME "spec: {type: 1, clientID: c, tenantID: t"
#define FED(path, spec)                                                                            \
	ID "metadata: {name: x, annotations: {imdsgate.dev/federated-token-file: " path "}}\n"     \
	   "spec: {clientID: " GUID ", " spec "}\n"

IG_DEFINE_CLEANUP(struct ig_object_set *, ig_object_set_free);

static struct ig_object_set *parse(const char *text)
{
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	if (ig_manifest_parse("f.yaml", text, strlen(text), NULL, &set, &err) != 0)
		fail_msg("%u:%u: %s", err.line, err.column, err.message);
	assert_non_null(set);
	return set;
}

static void test_identity(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(
		ID "metadata:\n  name: web\n  namespace: shop\n"
		   "  annotations:\n    aadpodidentity.k8s.io/Behavior: namespaced\n"
		   "    imdsgate.dev/object-id: " GUID "\n    note: |\n      two\n      lines\n"
		   "spec:\n  type: 0\n  clientID: " GUID "\n  resourceID: " RID "\n"
		   "  replicas: null\n  adResourceID: x\n  metadata: {}\n"
		   "status: {availableReplicas: 1}\n"
		   "---\n" ID "metadata: {name: sp}\n"
		   "spec: {type: 1, clientID: app, tenantID: contoso.example,"
		   " clientPassword: {name: s, namespace: default}, auxiliaryTenantIDs: [a, b],"
		   " adEndpoint: 'https://login.example/'}\n"
		   "---\n" ID "metadata: {name: cert}\n"
		   "spec: {type: 2, clientID: " GUID ", tenantID: " GUID
		   ", clientPassword: {name: my.cert}"
		   ", auxiliaryTenantIDs: null, adEndpoint: 'http://127.0.0.1:8080'}\n");
	const struct ig_identity *id;

	(void)state;
	assert_int_equal(set->n_identities, 3);
	assert_string_equal(set->identities[0].secret_name, "");
	assert_string_equal(set->identities[0].federated_token_file, "");
	assert_string_equal(set->identities[1].secret_name, "s");
	assert_string_equal(set->identities[1].auxiliary_tenants, "a,b");
	assert_string_equal(set->identities[2].secret_name, "my.cert");
	assert_string_equal(set->identities[2].auxiliary_tenants, "");
	assert_false(set->identities[2].assertion_rs256);
	id = &set->identities[0];
	assert_string_equal(id->namespace, "shop");
	assert_string_equal(id->name, "web");
	assert_int_equal(id->type, IG_IDENTITY_USER_ASSIGNED);
	assert_string_equal(id->client_id, GUID);
	assert_string_equal(id->resource_id, RID);
	assert_string_equal(id->object_id, GUID);
	assert_string_equal(id->tenant_id, "");
	assert_string_equal(id->ad_endpoint, "");
	assert_true(id->behavior_namespaced);
	assert_int_equal(id->place.line, 1);
	id = &set->identities[1];
	assert_string_equal(id->namespace, "default");
	assert_int_equal(id->type, IG_IDENTITY_SECRET);
	assert_string_equal(id->client_id, "app");
	assert_string_equal(id->tenant_id, "contoso.example");
	assert_string_equal(id->ad_endpoint, "https://login.example/");
	assert_false(id->behavior_namespaced);
	assert_string_equal(id->object_id, "");
	assert_int_equal(set->identities[2].type, IG_IDENTITY_CERTIFICATE);
}

static void test_credentials(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(
		ID "metadata:\n  name: fed\n  namespace: shop\n  annotations:\n"
		   "    imdsgate.dev/federated-token-file: shop/fed/token..1\n"
		   "spec: {clientID: " GUID ", tenantID: " GUID
		   ", clientPassword: {name: '', namespace: ''}, auxiliaryTenantIDs: []}\n"
		   "---\n" ID "metadata:\n  name: old\n  annotations:\n"
		   "    imdsgate.dev/assertion-algorithm: RS256\n"
		   "spec: {type: 2, clientID: " GUID ", tenantID: t, clientPassword: {name: c}}\n"
		   "---\n" ID "metadata:\n  name: new\n  annotations:\n"
		   "    imdsgate.dev/assertion-algorithm: PS256\n"
		   "spec: {type: 2, clientID: " GUID ", tenantID: t, clientPassword: {name: c},"
		   " auxiliaryTenantIDs: [a.example, " GUID ", c]}\n");

	(void)state;
	assert_int_equal(set->n_identities, 3);
	assert_string_equal(set->identities[0].federated_token_file, "shop/fed/token..1");
	assert_string_equal(set->identities[0].secret_name, "");
	assert_false(set->identities[0].assertion_rs256);
	assert_true(set->identities[1].assertion_rs256);
	assert_string_equal(set->identities[1].secret_name, "c");
	assert_false(set->identities[2].assertion_rs256);
	assert_string_equal(set->identities[2].auxiliary_tenants, "a.example," GUID ",c");
}

static void test_binding_and_exception(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(BIND NAME
		"spec: {azureIdentity: web, selector: 'Web_1', weight: 5}\n"
		"--- # a comment\n" EXC NAME "spec: {podLabels: {z.example/b: '', app: 'true'}}\n"
		"...\n---\n" EXC "metadata:\n  name: y\n"
		"  annotations: {imdsgate.dev/exception-mode: direct}\n"
		"spec: {podLabels: {a: b}}\n---\n" EXC "metadata:\n  name: p\n"
		"  annotations: {imdsgate.dev/exception-mode: proxy}\n"
		"spec: {podLabels: {a: b}}\n");

	(void)state;
	assert_int_equal(set->n_bindings, 1);
	assert_string_equal(set->bindings[0].azure_identity, "web");
	assert_string_equal(set->bindings[0].selector, "Web_1");
	assert_int_equal(set->n_exceptions, 3);
	assert_int_equal(set->exceptions[0].mode, IG_EXCEPTION_PROXY);
	assert_int_equal(set->exceptions[0].n_labels, 2);
	/* sorted by key */
	assert_string_equal(set->exceptions[0].labels[0].key, "app");
	assert_string_equal(set->exceptions[0].labels[0].value, "true");
	assert_string_equal(set->exceptions[0].labels[1].key, "z.example/b");
	assert_string_equal(set->exceptions[0].labels[1].value, "");
	assert_int_equal(set->exceptions[1].mode, IG_EXCEPTION_DIRECT);
	assert_int_equal(set->exceptions[2].mode, IG_EXCEPTION_PROXY);
}

static void test_pod(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(POD
		"metadata:\n  name: web-0\n  namespace: shop\n  uid: 0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9\n"
		"  labels: {aadpodidbinding: sel, on: yes}\n"
		"  annotations:\n    imdsgate.dev/cgroup: /demo.slice/app\n"
		"    kubectl.kubernetes.io/last-applied-configuration: |\n      {\"a\": 1}\n"
		"  creationTimestamp: null\n  managedFields: [{manager: kubectl}]\n"
		"spec:\n  hostNetwork: true\n  serviceAccountName: web\n"
		"  containers: [{name: c, image: i, resources: {limits: {cpu: 1.5}}}]\n"
		"status: null\n---\n" POD "metadata: {name: bare, labels: null}\n");
	const struct ig_pod *pod;

	(void)state;
	assert_int_equal(set->n_pods, 2);
	pod = &set->pods[0];
	assert_string_equal(pod->namespace, "shop");
	assert_string_equal(pod->name, "web-0");
	assert_string_equal(pod->uid, GUID);
	assert_string_equal(pod->cgroup, "/demo.slice/app");
	assert_string_equal(pod->service_account, "web");
	assert_true(pod->host_network);
	assert_int_equal(pod->n_labels, 2);
	assert_string_equal(ig_label_get(pod->labels, pod->n_labels, "aadpodidbinding"), "sel");
	assert_string_equal(ig_label_get(pod->labels, pod->n_labels, "on"), "yes");
	pod = &set->pods[1];
	assert_string_equal(pod->uid, "");
	assert_string_equal(pod->cgroup, "");
	assert_string_equal(pod->service_account, "");
	assert_false(pod->host_network);
	assert_int_equal(pod->n_labels, 0);
}

static void test_empty_and_ignored(void **state)
{
	static const char *const empty[] = {"", "\n", "# only a comment\n", "---\n", "---\n---\n",
		"null\n", "~\n", "\xef\xbb\xbf# byte order mark\n"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(empty); i++) {
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = parse(empty[i]);

		assert_int_equal(ig_object_set_count(set), 0);
		assert_int_equal(set->n_ignored, 0);
	}
	_cleanup_(ig_object_set_freep) struct ig_object_set *set =
		parse("apiVersion: apps/v1\nkind: Deployment\nspec: {anything: [goes, {here: 1}]}\n"
		      "---\n" POD NAME
		      "---\napiVersion: aadpodidentity.k8s.io.example/v1\nkind: AzureIdentity\n");
	assert_int_equal(ig_object_set_count(set), 1);
	assert_int_equal(set->n_ignored, 2);
}

static void test_list(void **state)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set =
		parse("apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n"
		      "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n"
		      "- apiVersion: batch/v1\n  kind: Job\n"
		      "- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n"
		      "---\napiVersion: v1\nkind: List\nitems: []\n");

	(void)state;
	assert_int_equal(set->n_pods, 2);
	assert_int_equal(set->n_ignored, 1);
	assert_string_equal(set->pods[1].name, "b");
	assert_int_equal(set->pods[1].place.line, 10);
	assert_int_equal(set->pods[1].place.column, 3);
}

static const struct {
	const char *text;
	unsigned int line, column;
	const char *message; /* a part of it */
} bad[] = {
	/* YAML itself */
	{"a: b: c\n", 1, 5, "not valid YAML"},
	{"a:\n\tb: c\n", 2, 1, "not valid YAML"},
	{"a: [b\n", 2, 1, "not valid YAML"},
	{"a: \"b\n", 2, 1, "not valid YAML"},
	{"a: 1\n[b]\n", 3, 1, "not valid YAML"},
	{"x: 1\nb: \xff\n", 2, 4, "not valid YAML"},
	{"x: 1\nb: \x01\n", 2, 4, "not valid YAML"},
	{"x: \"\\ud800\"\n", 1, 7, "not valid YAML"},
	{"a: &x b\n", 1, 4, "anchors (&) are not supported"},
	{"a: &x {b: c}\n", 1, 4, "anchors (&) are not supported"},
	{"a: &x [b]\n", 1, 4, "anchors (&) are not supported"},
	{"a: b\nc: *x\n", 2, 4, "aliases (*) are not supported"},
	{"a: !!str 5\n", 1, 4, "tags (!) are not supported"},
	{"a: !x {}\n", 1, 4, "tags (!) are not supported"},
	{"a: 1\nb: 2\na: 3\n", 3, 1, "key \"a\" stands here twice; the first is in line 1"},
	{"a: {b: 1, \"b\": 2}\n", 1, 11, "key \"b\" stands here twice"},
	{"? [a]\n: b\n", 1, 3, "expected a plain key"},
	{"? {a: b}\n: b\n", 1, 3, "expected a plain key"},
	{"'': b\n", 1, 1, "empty key"},
	{"? \n: b\n", 1, 2, "empty key"},
	{"\"a\\0b\": c\n", 1, 1, "control character in a key"},
	{"a: 99999999999999999999\n", 1, 4, "number out of range"},
	{"a: 9223372036854775808\n", 1, 4, "number out of range"},
	/* documents */
	{"just text\n", 1, 1, "expected a mapping with apiVersion and kind"},
	{"- a\n", 1, 1, "expected a mapping with apiVersion and kind"},
	{"true\n", 1, 1, "expected a mapping with apiVersion and kind"},
	{"kind: Pod\n", 1, 1, "missing field \"apiVersion\""},
	{"apiVersion: v1\n", 1, 1, "missing field \"kind\""},
	{"apiversion: v1\nkind: Pod\n", 1, 1, "did you mean \"apiVersion\"?"},
	{"apiVersion: 1\nkind: Pod\n", 1, 1, "expected a string, found a number; put it in quotes"},
	{"apiVersion: v1\nkind: Service\n", 2, 1, "unknown kind \"Service\""},
	{"apiVersion: v1\nkind: pod\n", 2, 1, "unknown kind \"pod\""},
	{"apiVersion: V1\nkind: Pod\n", 1, 1, "expected \"v1\", found \"V1\""},
	{"apiVersion: imdsgate.dev/v1\nkind: MetadataPolicy\n", 1, 1,
		"expected \"imdsgate.dev/v1alpha1\", found \"imdsgate.dev/v1\""},
	{"apiVersion: imdsgate.dev/v1alpha1\nkind: Policy\n", 2, 1,
		"unknown kind \"Policy\"; expected MetadataPolicy"},
	{V1 "kind: AzureAssignedIdentity\n", 2, 1, "unknown kind \"AzureAssignedIdentity\""},
	{"apiVersion: aadpodidentity.k8s.io/v2\nkind: AzureIdentity\n", 1, 1,
		"expected \"aadpodidentity.k8s.io/v1\", found \"aadpodidentity.k8s.io/v2\""},
	{"apiVersion: AADPodIdentity.k8s.io/v1\nkind: AzureIdentity\n", 1, 1, "expected \"aadpod"},
	{"apiVersion: aadpodidentity.k8s.io\nkind: AzureIdentity\n", 1, 1, "expected \"aadpod"},
	{"apiVersion: v1\nkind: List\n", 1, 1, "expected a sequence \"items\""},
	{"apiVersion: v1\nkind: List\nitems: {}\n", 3, 1, "expected a sequence \"items\""},
	{"apiVersion: v1\nkind: List\nitems: [x]\n", 3, 1, "item 1: expected a mapping"},
	{"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items: []\n", 4, 3,
		"a List inside a List"},
	{"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n", 4, 3,
		"missing field \"metadata\""},
	/* what all kinds share */
	{POD "metadata: [a]\n", 3, 1, "metadata: expected a mapping, found a sequence"},
	{POD "metadata: {}\n", 3, 11, "missing field \"name\""},
	{POD "metadata: {name: 5}\n", 3, 12, "metadata.name: expected a string, found a number"},
	{POD "metadata: {name: null}\n", 3, 12, "expected a string, found nothing"},
	{POD "metadata: {name: X}\n", 3, 12, "found \"X\""},
	{POD "metadata: {name: -a}\n", 3, 12, "found \"-a\""},
	{POD "metadata: {name: a..b}\n", 3, 12, "found \"a..b\""},
	{POD "metadata: {name: \"a\\u001b[2J\"}\n", 3, 12, "control characters"},
	{POD "metadata: {name: \"a\\0b\"}\n", 3, 12, "control characters"},
	{POD "metadata: {name: \"a\\u0085b\"}\n", 3, 12, "control characters"},
	{POD "metadata: {name: a, namespace: a.b}\n", 3, 21, "metadata.namespace: expected"},
	{POD "metadata: {name: a, namespace: ''}\n", 3, 21, "metadata.namespace: expected"},
	{POD "metadata: {name: a, Namespace: b}\n", 3, 21, "did you mean \"namespace\"?"},
	{POD "metadata: {name: a, labels: {a: 1}}\n", 3, 30,
		"metadata.labels.a: expected a string"},
	{POD "metadata: {name: a, labels: {a: true}}\n", 3, 30,
		"found a boolean; put it in quotes"},
	{POD "metadata: {name: a, labels: {a: }}\n", 3, 30, "found nothing"},
	{POD "metadata: {name: a, labels: {-a: b}}\n", 3, 30, "not a valid label key"},
	{POD "metadata: {name: a, labels: {/a: b}}\n", 3, 30, "not a valid label key"},
	{POD "metadata: {name: a, labels: {x/y/z: b}}\n", 3, 30, "not a valid label key"},
	{POD "metadata: {name: a, labels: {a: b c}}\n", 3, 30, "not a valid label value"},
	{POD "metadata: {name: a, labels: {a: -b}}\n", 3, 30, "not a valid label value"},
	{POD "metadata: {name: a, labels: {a: \"b\\n\"}}\n", 3, 30, "control characters"},
	/* identities */
	{ID NAME, 1, 1, "AzureIdentity default/x: missing field \"spec\""},
	{ID NAME "spec: {}\n", 4, 7, "type 0 needs a clientID or a resourceID"},
	{ID NAME "specs: {}\nspec: {}\n", 4, 1, "unknown field \"specs\""},
	{IDSPEC "  clientId: " GUID "\n", 5, 3,
		"AzureIdentity default/x: spec.clientId: unknown field \"clientId\", did you mean \"clientID\"?"},
	{IDSPEC "  clientID: " GUID "\n  frobnicate: 1\n", 6, 3, "unknown field \"frobnicate\""},
	{IDSPEC "  clientID: AAAA-client-1\n", 5, 3, "expected a GUID"},
	{IDSPEC "  clientID: ' " GUID "'\n", 5, 3, "expected a GUID"},
	{IDSPEC "  clientID: \"" GUID "\\n\"\n", 5, 3, "control characters"},
	{IDSPEC "  type: 3\n  clientID: " GUID "\n", 5, 3, "found 3"},
	{IDSPEC "  type: -1\n  clientID: " GUID "\n", 5, 3, "found -1"},
	{IDSPEC "  type: 4294967296\n  clientID: " GUID "\n", 5, 3, "found 4294967296"},
	{IDSPEC "  type: '0'\n  clientID: " GUID "\n", 5, 3, "expected an integer, found a string"},
	{IDSPEC "  type: 1.0\n", 5, 3, "expected an integer, found a string"},
	{IDSPEC "  type: 1\n  tenantID: " GUID "\n", 5, 3, "type 1 needs a clientID"},
	{IDSPEC "  type: 2\n  clientID: " GUID "\n", 5, 3, "type 2 needs a tenantID"},
	{IDSPEC "  type: 1\n  clientID: a\n  tenantID: a/b\n", 7, 3, "expected a GUID or a domain"},
	{IDSPEC "  resourceID: x" RID "\n", 5, 3, "spec.resourceID: expected /subscriptions/"},
	{IDSPEC "  resourceID: " RID "/\n", 5, 3, "spec.resourceID: expected"},
	{IDSPEC "  resourceID: " RID "/more\n", 5, 3, "spec.resourceID: expected"},
	{IDSPEC "  clientID: " GUID "\n  adEndpoint: http://login.example/\n", 6, 3,
		"http:// only for the loopback host"},
	{IDSPEC "  clientID: " GUID "\n  clientPassword: x\n", 6, 3, "expected a mapping"},
	{IDSPEC "  clientID: " GUID "\n  clientPassword: {nam: x}\n", 6, 20,
		"spec.clientPassword.nam: unknown field"},
	{IDSPEC "  clientID: " GUID "\n  auxiliaryTenantIDs: a\n", 6, 3, "sequence of strings"},
	{IDSPEC "  clientID: " GUID "\n  auxiliaryTenantIDs: [1]\n", 6, 3, "expected a string"},
	{IDSPEC "  clientID: " GUID "\n  replicas: x\n", 6, 3, "expected an integer"},
	/* their credentials */
	{SP "}\n", 4, 7, "type 1 needs a clientPassword with the name of a Secret"},
	{SP ", clientPassword: {name: ''}}\n", 4, 7, "type 1 needs a clientPassword"},
	{SP ", clientPassword: null}\n", 4, 7, "type 1 needs a clientPassword"},
	{SP ", clientPassword: {name: s, namespace: other}}\n", 4, 69,
		"expected \"default\", the identity's own namespace (secrets of others are not read), found \"other\""},
	{SP ", clientPassword: {name: ../s}}\n", 4, 60, "name of a Secret"},
	{SP ", clientPassword: {name: s/k}}\n", 4, 60, "name of a Secret"},
	{SP ", clientPassword: {name: ..}}\n", 4, 60, "name of a Secret"},
	{SP ", clientPassword: {name: s}, auxiliaryTenantIDs: [a, b, c, d]}\n", 4, 70,
		"4 tenants are more than the 3 allowed"},
	{SP ", clientPassword: {name: s}, auxiliaryTenantIDs: ['a,b']}\n", 4, 70,
		"GUIDs or domain names, found \"a,b\""},
	{FED("default/x/token", "tenantID: t, type: 1, clientPassword: {name: s}"), 3, 35,
		"only for type 0"},
	{FED("default/x/token", "resourceID: " RID), 3, 35, "needs a clientID and a tenantID"},
	{FED("other/x/token", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("defaults/token", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("/default/token", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("default/../other/token", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("default/./token", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("default//token", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("default/token/..", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("default/", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("default", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{FED("''", "tenantID: t"), 3, 35, "expected default/SECRET/KEY"},
	{ID "metadata: {name: x, annotations: {imdsgate.dev/assertion-algorithm: HS256}}\n"
	    "spec: {type: 2, clientID: c, tenantID: t, clientPassword: {name: s}}\n",
		3, 35, "expected \"PS256\" or \"RS256\", found \"HS256\""},
	{ID "metadata: {name: x, annotations: {imdsgate.dev/assertion-algorithm: RS256}}\n"
	    "spec: {type: 1, clientID: c, tenantID: t, clientPassword: {name: s}}\n",
		3, 35, "only for type 2"},
	{ID "metadata: {name: x, annotations: {aadpodidentity.k8s.io/Behavior: Namespaced}}\n"
	    "spec: {clientID: " GUID "}\n",
		3, 35, "expected \"namespaced\", found \"Namespaced\""},
	{ID "metadata: {name: x, annotations: {imdsgate.dev/object-id: x}}\n"
	    "spec: {clientID: " GUID "}\n",
		3, 35, "expected a GUID"},
	/* bindings */
	{BIND NAME "spec: {selector: a}\n", 4, 7, "missing field \"azureIdentity\""},
	{BIND NAME "spec: {azureIdentity: a}\n", 4, 7, "missing field \"selector\""},
	{BIND NAME "spec: {azureIdentity: a, selector: ''}\n", 4, 26, "not empty"},
	{BIND NAME "spec: {azureIdentity: a, selector: 'b c'}\n", 4, 26, "spec.selector: expected"},
	{BIND NAME "spec: {azureIdentity: '', selector: b}\n", 4, 8, "name of an AzureIdentity"},
	{BIND NAME "spec: {azureIdentity: a, Selector: b}\n", 4, 26, "did you mean \"selector\"?"},
	{BIND NAME "spec: {azureIdentity: a, selector: 5}\n", 4, 26, "put it in quotes"},
	/* exceptions */
	{EXC NAME "spec: {}\n", 4, 7, "missing field \"podLabels\""},
	{EXC NAME "spec: {podLabels: {}}\n", 4, 8, "expected at least one label"},
	{EXC NAME "spec: {podLabels: null}\n", 4, 8, "expected a mapping, found nothing"},
	{EXC NAME "spec: {podLabels: {a: [b]}}\n", 4, 20, "expected a string, found a sequence"},
	{EXC "metadata: {name: x, annotations: {imdsgate.dev/exception-mode: Direct}}\n"
	     "spec: {podLabels: {a: b}}\n",
		3, 35, "expected \"proxy\" or \"direct\", found \"Direct\""},
	/* pods */
	{POD "metadata: {name: a, uid: x}\n", 3, 21, "metadata.uid: expected a GUID"},
	{POD "metadata: {name: a, annotations: {imdsgate.dev/cgroup: /}}\n", 3, 35,
		"absolute path"},
	{POD "metadata: {name: a, annotations: {imdsgate.dev/cgroup: a/b}}\n", 3, 35,
		"absolute path"},
	{POD "metadata: {name: a, annotations: {imdsgate.dev/cgroup: /a/../b}}\n", 3, 35,
		"absolute path"},
	{POD "metadata: {name: a, annotations: {imdsgate.dev/cgroup: }}\n", 3, 35, "found nothing"},
	{POD NAME "spec: {hostNetwork: 'true'}\n", 4, 8, "expected true or false, found a string"},
	{POD NAME "spec: {hostnetwork: true}\n", 4, 8, "did you mean \"hostNetwork\"?"},
	{POD NAME "spec: {hostNetwork: yes}\n", 4, 8, "expected true or false"},
	{POD NAME "spec: {serviceAccountName: A}\n", 4, 8, "name of a ServiceAccount"},
	/* twice in one file */
	{POD NAME "---\n" POD NAME, 5, 1,
		"Pod default/x is declared twice; the first is in line 1"},
	{POD "metadata: {name: a, uid: " GUID "}\n---\n" POD "metadata: {name: b, uid: " GUID "}\n",
		5, 1, "pod uid " GUID " is declared twice"},
};

/* Says what is different, so that one run shows all of it. */
static bool is_refused(
	const char *text, unsigned int line, unsigned int column, const char *message)
{
	struct ig_object_set *set = NULL;
	struct ig_err err = {};
	int r = ig_manifest_parse("f.yaml", text, strlen(text), NULL, &set, &err);

	if (r == -EINVAL && !set && strstr(err.message, message) && err.line == line &&
		err.column == column && strcmp(err.file, "f.yaml") == 0)
		return true;
	print_error("%d %s:%u:%u: %s\nexpected %u:%u: %s\n%s", r, err.file, err.line, err.column,
		err.message, line, column, message, text);
	(void)ig_object_set_free(set);
	return false;
}

static void test_bad(void **state)
{
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		struct ig_object_set *set = NULL;

		wrong += !is_refused(bad[i].text, bad[i].line, bad[i].column, bad[i].message);
		/* whoever does not want to know is not told */
		assert_int_equal(ig_manifest_parse("f.yaml", bad[i].text, strlen(bad[i].text), NULL,
					 &set, NULL),
			-EINVAL);
	}
	assert_int_equal(wrong, 0);
}

/* The encoding is UTF-8 and is not guessed from a byte order mark. */
static void test_utf16(void **state)
{
	static const char text[] = "\xff\xfe#\0x\0\n";
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	(void)state;
	assert_int_equal(ig_manifest_parse("f", text, sizeof(text), NULL, &set, &err), -EINVAL);
	assert_null(set);
	assert_int_equal(err.line, 1);
	assert_int_equal(err.column, 1);
}

/* One wrong document spoils the file, wherever it stands. */
static void test_all_or_nothing(void **state)
{
	static const char text[] = POD NAME "---\n" POD "metadata: {}\n";
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	(void)state;
	assert_int_equal(ig_manifest_parse("f", text, strlen(text), NULL, &set, &err), -EINVAL);
	assert_null(set);
	assert_int_equal(err.line, 7);
}

static int parse_buf(const struct ig_buf *b, struct ig_object_set **ret, struct ig_err *err)
{
	assert_int_equal(ig_buf_finish(b), 0);
	return ig_manifest_parse("f", b->data, b->len, NULL, ret, err);
}

static int parse_depth(int depth, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	/* the document is the first level */
	ig_buf_puts(&b, "apiVersion: x/v1\nkind: X\na: ");
	for (int i = 1; i < depth; i++)
		ig_buf_puts(&b, "[");
	for (int i = 1; i < depth; i++)
		ig_buf_puts(&b, "]");
	ig_buf_puts(&b, "\n");
	return parse_buf(&b, &set, err);
}

static int parse_nodes(int nodes, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	/* the mapping, three keys, two values and the sequence are nodes, too */
	ig_buf_puts(&b, "apiVersion: x/v1\nkind: X\na:\n");
	for (int i = 7; i < nodes; i++)
		ig_buf_puts(&b, "- 1\n");
	return parse_buf(&b, &set, err);
}

static int parse_docs(int docs, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	for (int i = 0; i < docs; i++)
		ig_buf_puts(&b, "---\n");
	return parse_buf(&b, &set, err);
}

static int parse_size(size_t size, struct ig_err *err)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;
	_cleanup_free_ char *text = malloc(size);

	assert_non_null(text);
	memset(text, '\n', size);
	return ig_manifest_parse("f", text, size, NULL, &set, err);
}

static int parse_labels(int n, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	ig_buf_puts(&b, POD "metadata:\n  name: a\n  labels:\n");
	for (int i = 0; i < n; i++)
		ig_buf_printf(&b, "    l%d: v\n", i);
	return parse_buf(&b, &set, err);
}

static void test_limits(void **state)
{
	struct ig_err err = {};

	(void)state;
	assert_int_equal(parse_depth(IG_MANIFEST_DEPTH_MAX, &err), 0);
	assert_int_equal(parse_depth(IG_MANIFEST_DEPTH_MAX + 1, &err), -E2BIG);
	assert_int_equal(err.line, 3);
	assert_int_equal(err.column, 4 + IG_MANIFEST_DEPTH_MAX - 1);
	assert_int_equal(parse_depth(100000, &err), -E2BIG);
	assert_int_equal(parse_nodes(IG_YAML_NODES_MAX, &err), 0);
	assert_int_equal(parse_nodes(IG_YAML_NODES_MAX + 1, &err), -E2BIG);
	assert_int_equal(err.line, 4 + IG_YAML_NODES_MAX - 7);
	assert_int_equal(parse_docs(IG_MANIFEST_DOCS_MAX, &err), 0);
	assert_int_equal(parse_docs(IG_MANIFEST_DOCS_MAX + 1, &err), -E2BIG);
	assert_int_equal(err.line, IG_MANIFEST_DOCS_MAX + 1);
	assert_int_equal(parse_size(IG_MANIFEST_FILE_BYTES, &err), 0);
	assert_int_equal(parse_size(IG_MANIFEST_FILE_BYTES + 1, &err), -E2BIG);
	assert_string_equal(err.file, "f");
	assert_int_equal(parse_labels(IG_LABELS_MAX, &err), 0);
	assert_int_equal(parse_labels(IG_LABELS_MAX + 1, &err), -EINVAL);
	assert_non_null(strstr(err.message, "257 labels"));
}

static int parse_client_id(size_t len, struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {};
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;

	ig_buf_init(&b, 1 << 20);
	ig_buf_puts(
		&b, IDSPEC "  type: 1\n  tenantID: t\n  clientPassword: {name: s}\n  clientID: ");
	for (size_t i = 0; i < len; i++)
		ig_buf_putc(&b, 'x');
	ig_buf_putc(&b, '\n');
	return parse_buf(&b, &set, err);
}

static void test_string_limit(void **state)
{
	struct ig_err err = {};

	(void)state;
	assert_int_equal(parse_client_id(IG_SELECTOR_BYTES, &err), 0);
	assert_int_equal(parse_client_id(IG_SELECTOR_BYTES + 1, &err), -EINVAL);
	assert_non_null(strstr(err.message, "longer than the 1024 bytes"));
}

/* Every beginning of a good file is good, or refused with a place, and never read beyond. */
static void test_truncated(void **state)
{
	static const char text[] = ID
		"metadata:\n  name: web\nspec:\n  clientID: \"" GUID "\"\n---\n" POD
		"metadata: {name: a, labels: {a: b},\n annotations: {imdsgate.dev/cgroup: /x}}\n";

	(void)state;
	for (size_t len = 0; len < sizeof(text); len++) {
		/* an exact copy, so that a sanitizer sees any byte too many */
		_cleanup_free_ char *part = malloc(len ? len : 1);
		_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;
		struct ig_err err = {};
		int r;

		assert_non_null(part);
		memcpy(part, text, len);
		if (len == sizeof(text) - 1)
			break;
		r = ig_manifest_parse("f", part, len, NULL, &set, &err);
		if (r == -EINVAL && (!err.line || !err.column))
			fail_msg("no place: %s", err.message);
		assert_true(r == 0 || r == -EINVAL);
		assert_int_equal(r == 0, set != NULL);
	}
}

struct scalars {
	const char *key[32];
	json_type type[32];
	size_t n;
	unsigned int calls;
};

static int check_scalars(const struct ig_yaml_document *doc, void *userdata, struct ig_err *err)
{
	struct scalars *want = userdata;

	(void)err;
	assert_int_equal(json_object_size(ig_yaml_root(doc)), want->n);
	for (size_t i = 0; i < want->n; i++) {
		const json_t *value = json_object_get(ig_yaml_root(doc), want->key[i]);
		unsigned int line = 0, column = 0;

		assert_non_null(value);
		if (json_typeof(value) != want->type[i])
			fail_msg("%s", want->key[i]);
		ig_yaml_locate(doc, ig_yaml_root(doc), want->key[i], &line, &column);
		assert_int_equal(line, i + 1);
		assert_int_equal(column, 1);
	}
	want->calls++;
	return 0;
}

static void test_scalars(void **state)
{
	static const char text[] =
		"a: true\nb: False\nc: TRUE\nd: yes\ne: on\nf: 'true'\n"
		"g: null\nh: ~\ni:\nj: \"\"\nk: 0\nl: -17\nm: 9223372036854775807\n"
		"n: 007\no: 1.5\np: 0x10\nq: 1e3\nr: +1\ns: -\nt: '5'\nu: tRUE\n"
		"v: NULL\nw: .inf\n1: x\n";
	struct scalars want = {
		.key = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o",
			"p", "q", "r"},
		.type = {JSON_TRUE, JSON_FALSE, JSON_TRUE, JSON_STRING, JSON_STRING, JSON_STRING,
			JSON_NULL, JSON_NULL, JSON_NULL, JSON_STRING, JSON_INTEGER, JSON_INTEGER,
			JSON_INTEGER, JSON_STRING, JSON_STRING, JSON_STRING, JSON_STRING,
			JSON_STRING},
		.n = 18,
	};
	struct scalars rest = {
		.key = {"s", "t", "u", "v", "w", "1"},
		.type = {JSON_STRING, JSON_STRING, JSON_STRING, JSON_NULL, JSON_STRING,
			JSON_STRING},
		.n = 6,
	};
	const char *cut = strstr(text, "s: -\n");
	_cleanup_free_ char *second = NULL;

	(void)state;
	/* "s: -" would open a sequence */
	assert_int_equal(asprintf(&second, "s: '-'\n%s", cut + strlen("s: -\n")) > 0, 1);
	assert_int_equal(
		ig_yaml_parse("f", text, (size_t)(cut - text), check_scalars, &want, NULL), 0);
	assert_int_equal(ig_yaml_parse("f", second, strlen(second), check_scalars, &rest, NULL), 0);
	assert_int_equal(want.calls, 1);
	assert_int_equal(rest.calls, 1);
}

static int refuse(const struct ig_yaml_document *doc, void *userdata, struct ig_err *err)
{
	unsigned int *calls = userdata;

	assert_non_null(ig_yaml_root(doc));
	(*calls)++;
	return ig_err_at(err, -EACCES, "mine", 7, 8, "no");
}

static void test_callback_ends_it(void **state)
{
	static const char text[] = "a: 1\n---\nb: 2\n";
	struct ig_err err = {};
	unsigned int calls = 0;

	(void)state;
	assert_int_equal(ig_yaml_parse("f", text, strlen(text), refuse, &calls, &err), -EACCES);
	assert_int_equal(calls, 1);
	assert_string_equal(err.file, "mine");
}

static int add_json(
	struct ig_validator *v, const char *text, struct ig_object_set *set, struct ig_err *err)
{
	_cleanup_(json_decrefp) json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL);

	assert_non_null(json);
	return ig_validator_add(v, json, set, err);
}

static void test_json(void **state)
{
	const struct ig_validate_options options = {};
	_cleanup_(ig_validator_freep) struct ig_validator *v = NULL;
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = ig_object_set_new();
	struct ig_err err = {};

	(void)state;
	assert_int_equal(ig_validator_new(&options, &v), 0);
	/* a tenant's annotation must not claim a cgroup, and may be nonsense */
	assert_int_equal(
		add_json(v,
			"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\",\"uid\":\"" GUID
			"\",\"annotations\":{\"imdsgate.dev/cgroup\":\"/system.slice\"}},\"spec\":{}}",
			set, &err),
		0);
	assert_string_equal(set->pods[0].cgroup, "");
	assert_int_equal(
		add_json(v,
			"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\",\"uid\":\"7c6d5e4f-3a2b-1c0d-9e8f-7a6b5c4d3e2f\",\"annotations\":{\"imdsgate.dev/cgroup\":17}}}",
			set, &err),
		0);
	assert_int_equal(
		add_json(v,
			"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\",\"uid\":\"8c6d5e4f-3a2b-1c0d-9e8f-7a6b5c4d3e2f\"}}",
			set, &err),
		-EINVAL);
	assert_string_equal(err.message, "Pod default/a: Pod default/a is declared twice");
	assert_string_equal(err.file, "");
	assert_int_equal(err.line, 0);
	/* characters that only JSON can smuggle in */
	assert_int_equal(
		add_json(v,
			"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"c\\u0000d\"}}",
			set, &err),
		-EINVAL);
	assert_non_null(strstr(err.message, "control characters"));
	assert_int_equal(
		add_json(v,
			"{\"apiVersion\":\"aadpodidentity.k8s.io/v1\",\"kind\":\"AzureIdentity\",\"metadata\":{\"name\":\"i\"},\"spec\":{\"type\":0.5}}",
			set, &err),
		-EINVAL);
	assert_non_null(strstr(err.message, "expected an integer, found a number"));
	assert_int_equal(set->n_pods, 2);
	assert_null(ig_validator_free(NULL));
}

static void test_names(void **state)
{
	char name[300];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[64] = '\0';
	assert_false(ig_name_is_dns_label(name));
	assert_false(ig_name_is_label_value(name));
	assert_true(ig_name_is_dns_subdomain(name));
	name[63] = '\0';
	assert_true(ig_name_is_dns_label(name));
	assert_true(ig_name_is_label_value(name));
	memset(name, 'a', sizeof(name));
	name[254] = '\0';
	assert_false(ig_name_is_dns_subdomain(name));
	name[253] = '\0';
	assert_true(ig_name_is_dns_subdomain(name));
	assert_false(ig_name_is_dns_subdomain(""));
	assert_false(ig_name_is_dns_subdomain("a."));
	assert_false(ig_name_is_dns_subdomain(".a"));
	assert_false(ig_name_is_dns_subdomain("a_b"));
	assert_false(ig_name_is_dns_label("a-"));
	assert_true(ig_name_is_label_key("aadpodidbinding"));
	assert_true(ig_name_is_label_key("kubernetes.azure.com/managedby"));
	assert_false(ig_name_is_label_key(""));
	assert_false(ig_name_is_label_key("a/"));
	assert_false(ig_name_is_label_key("A.b/c"));
	assert_true(ig_name_is_label_value(""));
	assert_true(ig_name_is_label_value("A_b.c-1"));
	assert_false(ig_name_is_label_value("\xc3\xa9"));
	assert_true(ig_name_is_pod_uid("7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f"));
	assert_false(ig_name_is_pod_uid("7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f0"));
	assert_false(ig_name_is_pod_uid(""));
	assert_true(ig_name_is_printable("\xc3\xa9 ~"));
	assert_false(ig_name_is_printable("\xc2\x9b"));
	assert_false(ig_name_is_printable("\x7f"));
}

static void test_resource_ids(void **state)
{
	static const char *const good[] = {RID,
		"/SUBSCRIPTIONS/x/ResourceGroups/0000/Providers/microsoft.managedidentity/UserAssignedIdentities/keyvault-identity-0",
		"/subscriptions/" GUID
		"/resourceGroups/MC_a_b_(c).d/providers/Microsoft.ManagedIdentity/userAssignedIdentities/e_f"};
	static const char *const no[] = {"", "/", "invalidresid",
		"/subscriptions/x/resourcegroups/0000/providers/Microsoft.ManagedIdentity/keyvault-identity-0",
		"/subscriptions//resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n",
		"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/",
		"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities",
		"/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/userAssignedIdentities/n",
		"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n?x",
		"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/%6e",
		"/subscriptions/s/resourcegroups/../providers/Microsoft.ManagedIdentity/userAssignedIdentities/n",
		"/subscriptions/s t/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n",
		RID "/federatedIdentityCredentials/x", "x" RID, RID " "};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(good); i++)
		if (!ig_name_is_identity_resource_id(good[i]))
			fail_msg("%s", good[i]);
	for (size_t i = 0; i < IG_ARRAY_SIZE(no); i++)
		if (ig_name_is_identity_resource_id(no[i]))
			fail_msg("%s", no[i]);
}

static void test_authorities(void **state)
{
	static const char *const good[] = {"https://login.microsoftonline.com/",
		"https://login.example", "https://login.example:8443/base/x",
		"http://127.0.0.1:8080", "http://localhost/", "http://[::1]:99/x",
		"https://[2001:db8::1]/"};
	static const char *const no[] = {"", "https://", "https:///x", "login.example",
		"http://login.example/", "http://127.0.0.1.example/", "http://localhost.example",
		"https://user@login.example/", "https://login.example/?a=b", "https://a/#b",
		"https://a b/", "https://a:0/", "https://a:65536/", "https://a:/",
		"https://a:123456/", "https://[::1", "https://[]/", "https://:443/", "ftp://a/",
		"HTTPS://a/", "https://a\\b", "https://a/%2e"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(good); i++)
		if (!ig_name_is_authority_url(good[i]))
			fail_msg("%s", good[i]);
	for (size_t i = 0; i < IG_ARRAY_SIZE(no); i++)
		if (ig_name_is_authority_url(no[i]))
			fail_msg("%s", no[i]);
	assert_true(ig_name_is_tenant(GUID));
	assert_true(ig_name_is_tenant("contoso.onmicrosoft.com"));
	assert_false(ig_name_is_tenant(""));
	assert_false(ig_name_is_tenant("a..b"));
	assert_false(ig_name_is_tenant("a/b"));
	assert_false(ig_name_is_tenant(".."));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_credentials),
		cmocka_unit_test(test_binding_and_exception),
		cmocka_unit_test(test_pod),
		cmocka_unit_test(test_empty_and_ignored),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_utf16),
		cmocka_unit_test(test_all_or_nothing),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_string_limit),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_callback_ends_it),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_resource_ids),
		cmocka_unit_test(test_authorities),
	};

	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
