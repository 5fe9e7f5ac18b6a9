/*
 * The store: all or nothing, clashes, what counts as a change, look-ups, iteration, what a change
 * costs. And the object sets below it.
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

#include "base/cleanup.h"
#include "objects/manifest.h"
#include "objects/store.h"
#include "unit/object_fixture.h"

#define UID_A "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define UID_B "1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"

IG_DEFINE_CLEANUP(struct ig_object_set *, ig_object_set_free);

struct fixture {
	struct ig_store *store;
	unsigned int told;
	uint64_t told_epoch;
};

static void on_change(uint64_t epoch, void *userdata)
{
	struct fixture *f = userdata;

	f->told++;
	f->told_epoch = epoch;
}

/* How many allocations succeed yet; negative: all. */
static long allocations_left = -1;
static size_t allocated_bytes;

static bool out_of_memory(size_t bytes)
{
	allocated_bytes += bytes;
	if (allocations_left == 0)
		return true;
	if (allocations_left > 0)
		allocations_left--;
	return false;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n)
{
	return out_of_memory(n) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return out_of_memory(n * size) ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return out_of_memory(n * size) ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
	return out_of_memory(strlen(s) + 1) ? NULL : __real_strdup(s);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(ig_store_new(&f->store), 0);
	ig_store_set_listener(f->store, on_change, f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_null(ig_store_free(f->store));
	free(f);
	return 0;
}

static struct ig_object_set *new_set(void)
{
	struct ig_object_set *set = ig_object_set_new();

	assert_non_null(set);
	return set;
}

static void add_pod(
	struct ig_object_set *set, const char *name, const char *uid, const char *cgroup)
{
	struct ig_pod pod = {.namespace = copy("default"),
		.name = copy(name),
		.uid = copy(uid),
		.cgroup = copy(cgroup),
		.service_account = copy(""),
		.labels = calloc(1, sizeof(struct ig_label)),
		.n_labels = 1,
		.containers = calloc(1, sizeof(struct ig_container)),
		.n_containers = 1};

	assert_non_null(pod.labels);
	assert_non_null(pod.containers);
	pod.containers[0] = (struct ig_container){.name = copy("main"), .id = copy("")};
	pod.labels[0] = (struct ig_label){.key = copy("k"), .value = copy("v")};
	assert_int_equal(ig_object_set_add(set, IG_OBJECT_POD, &pod), 0);
	assert_null(pod.name);
}

static void add_identity(struct ig_object_set *set, const char *ns, const char *name)
{
	struct ig_identity id = identity_of(IG_IDENTITY_USER_ASSIGNED, ns, name, UID_A);

	assert_int_equal(ig_object_set_add(set, IG_OBJECT_IDENTITY, &id), 0);
}

static void add_binding(struct ig_object_set *set, const char *name, const char *selector)
{
	struct ig_binding b = {.namespace = copy("default"),
		.name = copy(name),
		.azure_identity = copy("id"),
		.selector = copy(selector)};

	assert_int_equal(ig_object_set_add(set, IG_OBJECT_BINDING, &b), 0);
}

static void add_exception(struct ig_object_set *set, const char *name)
{
	struct ig_exception e = {.namespace = copy("default"),
		.name = copy(name),
		.labels = calloc(1, sizeof(struct ig_label)),
		.n_labels = 1};

	assert_non_null(e.labels);
	e.labels[0] = (struct ig_label){.key = copy("k"), .value = copy("v")};
	assert_int_equal(ig_object_set_add(set, IG_OBJECT_EXCEPTION, &e), 0);
}

static void add_service_account(struct ig_object_set *set, const char *ns, const char *name)
{
	struct ig_service_account account = account_of(ns, name, UID_A);

	assert_int_equal(ig_object_set_add(set, IG_OBJECT_SERVICE_ACCOUNT, &account), 0);
}

static struct ig_text_list one_text(const char *text)
{
	struct ig_text_list list = {.items = calloc(1, sizeof(char *)), .n = 1, .given = true};

	assert_non_null(list.items);
	list.items[0] = copy(text);
	return list;
}

static void add_policy(struct ig_object_set *set, const char *name)
{
	struct ig_metadata_policy policy = {.namespace = copy("default"),
		.name = copy(name),
		.labels = calloc(1, sizeof(struct ig_label)),
		.n_labels = 1,
		.namespaces = one_text("a"),
		.service_accounts = one_text("b"),
		.identities = one_text("c"),
		.resources = one_text("d"),
		.paths = one_text("e"),
		.containers = one_text("f"),
		.executables = one_text("g")};

	assert_non_null(policy.labels);
	policy.labels[0] = (struct ig_label){.key = copy("k"), .value = copy("v")};
	assert_int_equal(ig_object_set_add(set, IG_OBJECT_METADATA_POLICY, &policy), 0);
}

static struct ig_object_set *one_pod(const char *name, const char *uid, const char *cgroup)
{
	struct ig_object_set *set = new_set();

	add_pod(set, name, uid, cgroup);
	return set;
}

static struct ig_object_set *one_of_each(void)
{
	struct ig_object_set *set = new_set();

	add_pod(set, "p", UID_A, "/p");
	add_identity(set, "default", "id");
	add_binding(set, "b", "sel");
	add_exception(set, "e");
	add_service_account(set, "default", "sa");
	add_policy(set, "m");
	return set;
}

static void put(struct fixture *f, const char *source, struct ig_object_set *set)
{
	struct ig_err err = {};

	if (ig_store_replace(f->store, source, set, &err) != 0)
		fail_msg("%s", err.message);
}

/* Expects the store to refuse the set, which it must not have taken. */
static void refuse(
	struct fixture *f, const char *source, struct ig_object_set *set, const char *why)
{
	struct ig_err err = {};
	uint64_t epoch = ig_store_epoch(f->store);
	unsigned int told = f->told;

	assert_int_equal(ig_store_replace(f->store, source, set, &err), -EINVAL);
	assert_string_equal(err.message, why);
	assert_string_equal(err.file, source);
	assert_int_equal(ig_store_epoch(f->store), epoch);
	assert_int_equal(f->told, told);
	assert_null(ig_object_set_free(set));
}

static void test_empty(void **state)
{
	struct fixture *f = *state;
	size_t iter = 0;

	assert_int_equal(ig_store_epoch(f->store), 0);
	assert_null(ig_store_pod_by_uid(f->store, UID_A));
	assert_null(ig_store_pod_by_name(f->store, "default", "p"));
	assert_null(ig_store_pod_by_cgroup(f->store, "/p"));
	assert_null(ig_store_identity_by_name(f->store, "default", "id"));
	assert_null(ig_store_next_pod(f->store, &iter));
	put(f, "nobody", NULL);
	put(f, "nobody", new_set());
	assert_int_equal(ig_store_epoch(f->store), 0);
	assert_int_equal(f->told, 0);
	assert_null(ig_store_free(NULL));
}

static void test_lookup(void **state)
{
	struct fixture *f = *state;
	const struct ig_pod *pod;
	size_t policies = 0;

	put(f, "a", one_of_each());
	assert_int_equal(ig_store_epoch(f->store), 1);
	assert_int_equal(f->told, 1);
	assert_int_equal(f->told_epoch, 1);
	pod = ig_store_pod_by_uid(f->store, UID_A);
	assert_non_null(pod);
	assert_string_equal(pod->name, "p");
	assert_ptr_equal(ig_store_pod_by_name(f->store, "default", "p"), pod);
	assert_ptr_equal(ig_store_pod_by_cgroup(f->store, "/p"), pod);
	assert_non_null(ig_store_identity_by_name(f->store, "default", "id"));
	assert_null(ig_store_identity_by_name(f->store, "default", "p"));
	assert_null(ig_store_identity_by_name(f->store, "other", "id"));
	assert_non_null(ig_store_service_account_by_name(f->store, "default", "sa"));
	assert_null(ig_store_service_account_by_name(f->store, "default", "id"));
	assert_null(ig_store_service_account_by_name(f->store, "other", "sa"));
	assert_string_equal(ig_store_next_metadata_policy(f->store, &policies)->name, "m");
	assert_null(ig_store_next_metadata_policy(f->store, &policies));
	assert_null(ig_store_pod_by_uid(f->store, ""));
	assert_null(ig_store_pod_by_uid(f->store, UID_B));
	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++)
		assert_int_equal(ig_store_count(f->store, (enum ig_object_kind)kind), 1);
}

static void test_cgroup_ancestors(void **state)
{
	struct fixture *f = *state;
	struct ig_object_set *set = new_set();
	char path[3 * IG_CGROUP_PATH_BYTES];

	add_pod(set, "outer", "", "/a");
	add_pod(set, "inner", "", "/a/b/c");
	put(f, "s", set);
	assert_string_equal(ig_store_pod_by_cgroup(f->store, "/a")->name, "outer");
	assert_string_equal(ig_store_pod_by_cgroup(f->store, "/a/b")->name, "outer");
	assert_string_equal(ig_store_pod_by_cgroup(f->store, "/a/b/c")->name, "inner");
	assert_string_equal(ig_store_pod_by_cgroup(f->store, "/a/b/c/d/e")->name, "inner");
	assert_string_equal(ig_store_pod_by_cgroup(f->store, "/a/b/cc")->name, "outer");
	assert_null(ig_store_pod_by_cgroup(f->store, "/ab"));
	assert_null(ig_store_pod_by_cgroup(f->store, "/"));
	assert_null(ig_store_pod_by_cgroup(f->store, ""));
	assert_null(ig_store_pod_by_cgroup(f->store, "/b/a"));
	/* deeper than a declared path may be long */
	memset(path, 'x', sizeof(path));
	for (size_t i = 0; i < sizeof(path); i += 10)
		path[i] = '/';
	memcpy(path, "/a/b/c/", strlen("/a/b/c/"));
	path[sizeof(path) - 1] = '\0';
	assert_string_equal(ig_store_pod_by_cgroup(f->store, path)->name, "inner");
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	assert_null(ig_store_pod_by_cgroup(f->store, path));
}

/* The longest path that may be declared is found and not mixed up with one that is cut. */
static void test_longest_cgroup(void **state)
{
	struct fixture *f = *state;
	char path[IG_CGROUP_PATH_BYTES + 2];

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[IG_CGROUP_PATH_BYTES] = '\0';
	put(f, "s", one_pod("p", "", path));
	assert_non_null(ig_store_pod_by_cgroup(f->store, path));
	path[IG_CGROUP_PATH_BYTES] = 'x';
	path[IG_CGROUP_PATH_BYTES + 1] = '\0';
	assert_null(ig_store_pod_by_cgroup(f->store, path));
}

static void test_clashes(void **state)
{
	struct fixture *f = *state;
	struct ig_object_set *set;

	put(f, "a", one_of_each());
	refuse(f, "b", one_pod("p", "", ""), "Pod default/p is already declared by a");
	refuse(f, "b", one_pod("q", UID_A, ""), "pod uid " UID_A " is already declared by a");
	refuse(f, "b", one_pod("q", "", "/p"), "cgroup /p is already declared by a");
	set = new_set();
	add_binding(set, "b", "other");
	refuse(f, "b", set, "AzureIdentityBinding default/b is already declared by a");
	set = new_set();
	add_exception(set, "e");
	refuse(f, "b", set, "AzurePodIdentityException default/e is already declared by a");
	/* all or nothing: the good half of a set does not get in */
	set = new_set();
	add_identity(set, "default", "new");
	add_identity(set, "default", "id");
	refuse(f, "b", set, "AzureIdentity default/id is already declared by a");
	assert_null(ig_store_identity_by_name(f->store, "default", "new"));
	/* same name, other namespace or other kind, is another object */
	set = new_set();
	add_identity(set, "other", "id");
	add_binding(set, "p", "sel");
	put(f, "b", set);
	/* what a gave up, b may take */
	put(f, "a", NULL);
	put(f, "b", one_of_each());
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_IDENTITY), 1);
}

static void test_twice_in_one_set(void **state)
{
	struct fixture *f = *state;
	struct ig_object_set *set = new_set();

	add_pod(set, "p", "", "/x");
	add_pod(set, "q", "", "/x");
	refuse(f, "a", set, "cgroup /x is declared twice");
	assert_null(ig_store_pod_by_cgroup(f->store, "/x"));
}

/* A refused replacement leaves what the source declared before. */
static void test_refused_keeps_old(void **state)
{
	struct fixture *f = *state;
	const struct ig_pod *pod;

	put(f, "a", one_pod("p", UID_A, ""));
	put(f, "b", one_pod("q", UID_B, "/q"));
	pod = ig_store_pod_by_uid(f->store, UID_B);
	refuse(f, "b", one_pod("q", UID_A, "/q"), "pod uid " UID_A " is already declared by a");
	assert_ptr_equal(ig_store_pod_by_uid(f->store, UID_B), pod);
	assert_ptr_equal(ig_store_pod_by_cgroup(f->store, "/q"), pod);
	assert_string_equal(pod->name, "q");
}

static void test_epoch(void **state)
{
	struct fixture *f = *state;
	struct ig_object_set *set;
	const struct ig_pod *pod;

	put(f, "a", one_of_each());
	pod = ig_store_pod_by_uid(f->store, UID_A);
	set = one_of_each();
	set->n_ignored = 7;
	set->pods[0].place.line = 99;
	put(f, "a", set);
	assert_int_equal(ig_store_epoch(f->store), 1);
	assert_int_equal(f->told, 1);
	/* what was handed out is still valid then */
	assert_ptr_equal(ig_store_pod_by_uid(f->store, UID_A), pod);
	put(f, "a", one_pod("p", UID_A, "/p"));
	assert_int_equal(ig_store_epoch(f->store), 2);
	assert_null(ig_store_identity_by_name(f->store, "default", "id"));
	put(f, "a", new_set());
	assert_int_equal(ig_store_epoch(f->store), 3);
	assert_null(ig_store_pod_by_uid(f->store, UID_A));
	put(f, "a", NULL);
	assert_int_equal(ig_store_epoch(f->store), 3);
	assert_int_equal(f->told, 3);
	assert_int_equal(f->told_epoch, 3);
}

static void test_kind_epochs(void **state)
{
	struct fixture *f = *state;

	put(f, "a", one_of_each());
	put(f, "b", one_pod("q", UID_B, "/q"));
	assert_int_equal(ig_store_kind_epoch(f->store, IG_OBJECT_POD), 2);
	assert_int_equal(ig_store_kind_epoch(f->store, IG_OBJECT_IDENTITY), 1);
	/* the same again is no change, of nothing */
	put(f, "b", one_pod("q", UID_B, "/q"));
	assert_int_equal(ig_store_kind_epoch(f->store, IG_OBJECT_POD), 2);
	/* what is gone has changed, too */
	put(f, "a", one_pod("p", UID_A, "/p"));
	assert_int_equal(ig_store_kind_epoch(f->store, IG_OBJECT_IDENTITY), 3);
	put(f, "b", NULL);
	assert_int_equal(ig_store_kind_epoch(f->store, IG_OBJECT_POD), 4);
	assert_int_equal(ig_store_kind_epoch(f->store, IG_OBJECT_IDENTITY), 3);
}

/* Changes field i of a set of one_of_each(); false when it has no more. */
static bool change_text(struct ig_object_set *set, size_t i)
{
	struct ig_identity *id = &set->identities[0];
	struct ig_exception *e = &set->exceptions[0];
	struct ig_binding *b = &set->bindings[0];
	struct ig_pod *pod = &set->pods[0];
	struct ig_service_account *sa = &set->service_accounts[0];
	struct ig_metadata_policy *m = &set->metadata_policies[0];
	char **strings[] = {&id->namespace, &id->name, &id->client_id, &id->resource_id,
		&id->object_id, &id->tenant_id, &id->ad_endpoint, &id->secret_name,
		&id->auxiliary_tenants, &id->federated_token_file, &b->namespace, &b->name,
		&b->azure_identity, &b->selector, &e->namespace, &e->name, &e->labels[0].key,
		&e->labels[0].value, &pod->namespace, &pod->name, &pod->uid, &pod->cgroup,
		&pod->service_account, &pod->labels[0].key, &pod->labels[0].value,
		&pod->containers[0].name, &pod->containers[0].id, &sa->namespace, &sa->name,
		&sa->identity.namespace, &sa->identity.name, &sa->identity.client_id,
		&sa->identity.resource_id, &sa->identity.object_id, &sa->identity.tenant_id,
		&sa->identity.ad_endpoint, &sa->identity.secret_name,
		&sa->identity.auxiliary_tenants, &sa->identity.federated_token_file, &m->namespace,
		&m->name, &m->labels[0].key, &m->labels[0].value, &m->namespaces.items[0],
		&m->service_accounts.items[0], &m->identities.items[0], &m->resources.items[0],
		&m->paths.items[0], &m->containers.items[0], &m->executables.items[0]};

	if (i >= IG_ARRAY_SIZE(strings))
		return false;
	free(*strings[i]);
	*strings[i] = copy("changed");
	return true;
}

static bool change_list(struct ig_object_set *set, size_t i)
{
	struct ig_metadata_policy *m = &set->metadata_policies[0];
	struct ig_text_list *lists[] = {&m->namespaces, &m->service_accounts, &m->identities,
		&m->resources, &m->paths, &m->containers, &m->executables};

	if (i >= 2 * IG_ARRAY_SIZE(lists))
		return false;
	ig_text_list_done(lists[i / 2]);
	lists[i / 2]->given = i % 2;
	return true;
}

static bool change_rest(struct ig_object_set *set, size_t i)
{
	struct ig_metadata_policy *m = &set->metadata_policies[0];
	struct ig_pod *pod = &set->pods[0];

	switch (i) {
	case 0: set->identities[0].type = IG_IDENTITY_SECRET; break;
	case 1: set->identities[0].behavior_namespaced = true; break;
	case 2: set->identities[0].assertion_rs256 = true; break;
	case 3: set->exceptions[0].mode = IG_EXCEPTION_DIRECT; break;
	case 4: pod->host_network = true; break;
	case 5: pod->finished = true; break;
	case 6:
		ig_containers_free(pod->containers, pod->n_containers);
		pod->containers = NULL;
		pod->n_containers = 0;
		break;
	case 7: set->service_accounts[0].identity.type = IG_IDENTITY_USER_ASSIGNED; break;
	case 8: m->mode = IG_POLICY_MODE_OFF; break;
	case 9: m->host = true; break;
	case 10: m->host_network = IG_POLICY_HOST_NETWORK_DENY; break;
	case 11: m->rate_per_sec = 1; break;
	case 12: m->rate_burst = 1; break;
	case 13: m->generation = 1; break;
	case 14: add_binding(set, "more", "sel"); break;
	default: return false;
	}
	return true;
}

/* Each field by itself makes sets differ. */
static void test_every_field_counts(void **state)
{
	static bool (*const changes[])(struct ig_object_set * set, size_t i) = {
		change_text, change_list, change_rest};
	_cleanup_(ig_object_set_freep) struct ig_object_set *base = one_of_each();
	size_t fields = 0;

	(void)state;
	for (size_t c = 0; c < IG_ARRAY_SIZE(changes); c++)
		for (size_t i = 0;; i++, fields++) {
			_cleanup_(ig_object_set_freep) struct ig_object_set *set = one_of_each();

			assert_true(ig_object_set_equal(base, set));
			if (!changes[c](set, i))
				break;
			if (ig_object_set_equal(base, set))
				fail_msg("group %zu, field %zu", c, i);
		}
	assert_int_equal(fields, 50 + 14 + 15);
}

/* The names in the order of iteration, and that there are no more. */
static void expect_pods(struct fixture *f, const char *const *want, size_t n)
{
	size_t iter = 0;

	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(ig_store_next_pod(f->store, &iter)->name, want[i]);
	assert_null(ig_store_next_pod(f->store, &iter));
	assert_null(ig_store_next_pod(f->store, &iter));
}

/* Whatever goes leaves a gap that the last one fills: nothing else moves. */
static void test_iteration(void **state)
{
	struct fixture *f = *state;
	struct ig_object_set *set = new_set();
	size_t iter = 0;

	put(f, "z", one_pod("p0", "", ""));
	add_pod(set, "p1", "", "");
	add_pod(set, "p2", "", "");
	put(f, "m", set);
	put(f, "a", one_pod("p3", "", ""));
	expect_pods(f, (const char *const[]){"p0", "p1", "p2", "p3"}, 4);
	put(f, "m", NULL);
	expect_pods(f, (const char *const[]){"p0", "p3"}, 2);
	put(f, "z", one_pod("p4", "", ""));
	expect_pods(f, (const char *const[]){"p3", "p4"}, 2);
	put(f, "a", NULL);
	put(f, "z", NULL);
	expect_pods(f, NULL, 0);
	put(f, "z", one_pod("p0", "", ""));
	expect_pods(f, (const char *const[]){"p0"}, 1);
	assert_null(ig_store_next_binding(f->store, &iter));
	assert_null(ig_store_next_exception(f->store, &iter));
	assert_null(ig_store_next_identity(f->store, &iter));
	assert_null(ig_store_next_metadata_policy(f->store, &iter));
}

static void test_batch(void **state)
{
	struct fixture *f = *state;

	ig_store_begin(f->store);
	put(f, "a", one_pod("p", UID_A, ""));
	put(f, "b", one_pod("q", UID_B, ""));
	put(f, "a", NULL);
	/* visible already, but nobody is told yet */
	assert_int_equal(ig_store_epoch(f->store), 3);
	assert_null(ig_store_pod_by_uid(f->store, UID_A));
	assert_non_null(ig_store_pod_by_uid(f->store, UID_B));
	assert_int_equal(f->told, 0);
	ig_store_commit(f->store);
	assert_int_equal(f->told, 1);
	assert_int_equal(f->told_epoch, 3);
	/* nothing changed, refused, nothing at all: nobody is told */
	ig_store_begin(f->store);
	put(f, "b", one_pod("q", UID_B, ""));
	refuse(f, "c", one_pod("x", UID_B, ""), "pod uid " UID_B " is already declared by b");
	ig_store_commit(f->store);
	ig_store_begin(f->store);
	ig_store_commit(f->store);
	assert_int_equal(f->told, 1);
	put(f, "b", NULL);
	assert_int_equal(f->told, 2);
}

/* Kubernetes feeds one source per object. */
#define CHURN_SOURCES 20000

static void put_pod(struct fixture *f, unsigned int i, unsigned int version)
{
	char source[48], name[32], uid[32];

	(void)snprintf(source, sizeof(source), "kube:Pod/default/p%u", i);
	(void)snprintf(name, sizeof(name), "p%u", i);
	(void)snprintf(uid, sizeof(uid), "u%u-%u", i, version);
	put(f, source, one_pod(name, uid, ""));
}

static void snapshot(const struct fixture *f, const struct ig_pod **ret)
{
	size_t iter = 0, n = 0;

	while ((ret[n] = ig_store_next_pod(f->store, &iter)))
		n++;
}

static size_t count_moved(const struct ig_pod *const *a, const struct ig_pod *const *b, size_t n)
{
	size_t moved = 0;

	for (size_t i = 0; i < n; i++)
		moved += a[i] != b[i];
	return moved;
}

/* What a change takes and moves does not grow with what else is there. */
static void test_churn(void **state)
{
	struct fixture *f = *state;
	const struct ig_pod **before = calloc(2 * (CHURN_SOURCES + 1), sizeof(*before));
	const struct ig_pod **after = before + CHURN_SOURCES + 1;
	size_t start;

	assert_non_null(before);
	for (unsigned int i = 0; i < CHURN_SOURCES; i++)
		put_pod(f, i, 0);
	start = allocated_bytes;
	for (unsigned int i = 0; i < 2 * CHURN_SOURCES; i++) {
		/* in an order that goes up and down the table */
		unsigned int which = (unsigned int)(i * 7919ULL % CHURN_SOURCES);

		if (i % 1000 == 0)
			snapshot(f, before);
		put_pod(f, which, 1 + i / CHURN_SOURCES);
		if (i % 1000 != 0)
			continue;
		snapshot(f, after);
		assert_in_range(count_moved(before, after, CHURN_SOURCES), 1, 2);
	}
	/* the set itself, claims and slot of one pod */
	assert_in_range((allocated_bytes - start) / (2 * CHURN_SOURCES), 1, 2048);
	assert_int_equal(ig_store_epoch(f->store), 3 * CHURN_SOURCES);
	assert_string_equal(ig_store_pod_by_uid(f->store, "u7919-2")->name, "p7919");
	assert_null(ig_store_pod_by_uid(f->store, "u7919-1"));
	for (unsigned int i = 0; i < CHURN_SOURCES; i++) {
		char source[48];

		(void)snprintf(source, sizeof(source), "kube:Pod/default/p%u", i);
		allocations_left = 0;
		put(f, source, NULL);
		allocations_left = -1;
	}
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 0);
	free(before);
}

/* Many sources and many objects, added, replaced and removed: the table grows and shrinks. */
static void test_many(void **state)
{
	struct fixture *f = *state;
	char source[48], name[48], uid[48];

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 100; i++) {
			struct ig_object_set *set = new_set();

			(void)snprintf(source, sizeof(source), "s%02d", i);
			for (int j = 0; j < 20; j++) {
				(void)snprintf(name, sizeof(name), "p-%d-%d-%d", i, j, round);
				(void)snprintf(uid, sizeof(uid), "u-%d-%d", i, j);
				add_pod(set, name, uid, "");
			}
			put(f, source, set);
		}
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 2000);
	assert_string_equal(ig_store_pod_by_uid(f->store, "u-57-13")->name, "p-57-13-1");
	assert_null(ig_store_pod_by_name(f->store, "default", "p-57-13-0"));
	for (int i = 0; i < 100; i += 2) {
		(void)snprintf(source, sizeof(source), "s%02d", i);
		put(f, source, NULL);
	}
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 1000);
	assert_null(ig_store_pod_by_uid(f->store, "u-56-13"));
	assert_non_null(ig_store_pod_by_uid(f->store, "u-57-13"));
	assert_int_equal(ig_store_epoch(f->store), 250);
}

/* Whichever allocation of a replacement fails: nothing has changed, nothing is lost. */
static void test_replace_out_of_memory(void **state)
{
	struct fixture *f = *state;
	struct ig_object_set *set = one_of_each();
	const struct ig_pod *old;
	struct ig_err err = {};
	size_t iter = 0;
	long n = 0;
	int r;

	/* so many that the hash table has to grow, and fails in the middle */
	for (int i = 0; i < 400; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "q%d", i);
		add_pod(set, name, "", "");
	}
	put(f, "a", one_pod("p", UID_A, "/old"));
	put(f, "b", one_pod("x", "", ""));
	old = ig_store_pod_by_uid(f->store, UID_A);
	do {
		allocations_left = n++;
		r = ig_store_replace(f->store, "a", set, &err);
		allocations_left = -1;
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(ig_store_epoch(f->store), 2);
		assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 2);
		assert_ptr_equal(ig_store_pod_by_uid(f->store, UID_A), old);
		assert_ptr_equal(ig_store_pod_by_cgroup(f->store, "/old"), old);
		iter = 0;
		assert_ptr_equal(ig_store_next_pod(f->store, &iter), old);
		assert_null(ig_store_pod_by_name(f->store, "default", "q0"));
	} while (n < 10000);
	assert_int_equal(r, 0);
	/* each claim takes one at least */
	assert_true(n > 400);
	assert_non_null(ig_store_pod_by_name(f->store, "default", "q399"));
	assert_null(ig_store_pod_by_cgroup(f->store, "/old"));
	/* taking away must work without any memory */
	allocations_left = 0;
	r = ig_store_replace(f->store, "a", NULL, &err);
	allocations_left = -1;
	assert_int_equal(r, 0);
	assert_null(ig_store_pod_by_uid(f->store, UID_A));
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 1);
}

static void test_parse_out_of_memory(void **state)
{
	static const char text[] =
		"apiVersion: v1\nkind: List\nitems:\n"
		"- apiVersion: aadpodidentity.k8s.io/v1\n  kind: AzureIdentity\n"
		"  metadata: {name: id}\n  spec: {clientID: " UID_A "}\n"
		"- apiVersion: aadpodidentity.k8s.io/v1\n  kind: AzureIdentityBinding\n"
		"  metadata: {name: b}\n  spec: {azureIdentity: id, selector: sel}\n"
		"- apiVersion: aadpodidentity.k8s.io/v1\n  kind: AzurePodIdentityException\n"
		"  metadata: {name: e}\n  spec: {podLabels: {a: b, c: d}}\n"
		"- apiVersion: v1\n  kind: Pod\n"
		"  metadata: {name: p, uid: " UID_A ", labels: {a: b, c: d}}\n"
		"  spec: {containers: [{name: c}, {name: d}]}\n"
		"- apiVersion: v1\n  kind: ServiceAccount\n  metadata:\n    name: s\n"
		"    annotations: {azure.workload.identity/client-id: " UID_A "}\n"
		"- apiVersion: imdsgate.dev/v1alpha1\n  kind: MetadataPolicy\n"
		"  metadata: {name: m}\n"
		"  spec: {podSelector: {matchLabels: {a: b}}, allow: {resources: [x, y]}}\n";
	struct ig_object_set *set = NULL;
	struct ig_err err = {};
	long n = 0;
	int r;

	(void)state;
	do {
		allocations_left = n++;
		r = ig_manifest_parse("f", text, strlen(text), NULL, &set, &err);
		allocations_left = -1;
		assert_true(r == 0 || r == -ENOMEM);
		assert_true(r == 0 || !set);
	} while (r < 0 && n < 10000);
	assert_int_equal(r, 0);
	assert_true(n > 20);
	assert_int_equal(ig_object_set_count(set), 6);
	ig_object_set_free(set);
}

static void test_label_get(void **state)
{
	struct ig_label labels[] = {{.key = (char *)"a", .value = (char *)"1"},
		{.key = (char *)"b", .value = (char *)""}};

	(void)state;
	assert_string_equal(ig_label_get(labels, 2, "a"), "1");
	assert_string_equal(ig_label_get(labels, 2, "b"), "");
	assert_null(ig_label_get(labels, 2, "A"));
	assert_null(ig_label_get(labels, 1, "b"));
	assert_null(ig_label_get(NULL, 0, "a"));
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_empty),
		STORE_TEST(test_lookup),
		STORE_TEST(test_cgroup_ancestors),
		STORE_TEST(test_longest_cgroup),
		STORE_TEST(test_clashes),
		STORE_TEST(test_twice_in_one_set),
		STORE_TEST(test_refused_keeps_old),
		STORE_TEST(test_epoch),
		STORE_TEST(test_kind_epochs),
		cmocka_unit_test(test_every_field_counts),
		STORE_TEST(test_iteration),
		STORE_TEST(test_batch),
		STORE_TEST(test_churn),
		STORE_TEST(test_many),
		STORE_TEST(test_replace_out_of_memory),
		cmocka_unit_test(test_parse_out_of_memory),
		cmocka_unit_test(test_label_get),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
