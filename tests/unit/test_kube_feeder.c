/*
 * From lists and events of an API server to the store: scripted watches, whose texts go through the
 * real reader and the real tables of fields, a real store with a manifest beside the cluster, and
 * timers that the test lets go off.
 *
 * Linked with --wrap for the watch, the status of policies, event_add, and allocations.
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

#include <event2/event.h>
#include <jansson.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "kube/feeder.h"
#include "kube/pick.h"
#include "kube/policy_status.h"
#include "kube/resources.h"
#include "objects/manifest.h"
#include "unit/alloc_failure.h"

#define UID	"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define UID2	"1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define HASH	"0123456789abcdef0123456789abcdef"
#define CLIENT	"aaaaaaaa-0000-0000-0000-00000000000a"
#define CLIENT2 "bbbbbbbb-0000-0000-0000-00000000000b"
#define RESOURCE                                                                                   \
	"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u"

/* As elements of a list: without kind and apiVersion. */
#define OBJECT(ns, name, uid, meta, rest)                                                          \
	"{\"metadata\":{\"namespace\":\"" ns "\",\"name\":\"" name "\",\"uid\":\"" uid             \
	"\",\"resourceVersion\":\"7\",\"generation\":1" meta "}" rest "}"
#define POD(name, uid, app)                                                                        \
	OBJECT("demo", name, uid, ",\"labels\":{\"app\":\"" app "\"}",                             \
		",\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":\"main\",\"image\":\"x\"}]}")
#define BINDING(name, selector)                                                                    \
	OBJECT("demo", name, "u", "",                                                              \
		",\"spec\":{\"azureIdentity\":\"id\",\"selector\":\"" selector "\"}")
#define POLICY(name, resource)                                                                     \
	OBJECT("demo", name, "u", "", ",\"spec\":{\"allow\":{\"resources\":[\"" resource "\"]}}")
#define BAD_POLICY(name)  OBJECT("demo", name, "u", "", ",\"spec\":{\"allow\":7}")
#define BAD_BINDING(name) OBJECT("demo", name, "u", "", ",\"spec\":{\"selector\":7}")

struct ig_kube_watch {
	enum ig_object_kind kind;
	struct ig_kube_watch_options options;
	struct ig_kube_watch_ops ops;
	void *userdata;
	struct ig_kube_watch_stats stats;
};

static struct fixture {
	struct event_base *base;
	struct ig_store *store;
	struct ig_kube_feeder *feeder;
	struct ig_kube_watch *watches[_IG_OBJECT_KIND_MAX]; /* NULL: not begun */
	struct event *timers[8];			    /* that were ever armed */
	size_t n_timers;
	struct ig_buf rejected; /* "KIND/name: why; " */
	struct ig_buf states;	/* "KIND state; " */
	struct ig_buf reported; /* "name valid; ", "name: why; ", "name forgotten; " */
	unsigned int n_told, n_rejected;
} f;

/* ---- what the feeder believes to be the world ------------------------------------------------ */

int __real_event_add(struct event *event, const struct timeval *after);
int __wrap_event_add(struct event *event, const struct timeval *after);
int __wrap_ig_kube_watch_new(struct event_base *base, struct ig_kube_client *client,
	const struct ig_kube_watch_options *options, const struct ig_kube_watch_ops *ops,
	void *userdata, struct ig_kube_watch **ret);
struct ig_kube_watch *__wrap_ig_kube_watch_free(struct ig_kube_watch *watch);
void __wrap_ig_kube_watch_stats(const struct ig_kube_watch *watch, struct ig_kube_watch_stats *ret);
int __wrap_ig_kube_policy_status_report(
	struct ig_kube_policy_status *status, const json_t *policy, const char *refusal);
void __wrap_ig_kube_policy_status_forget(
	struct ig_kube_policy_status *status, const char *ns, const char *name);

int __wrap_event_add(struct event *event, const struct timeval *after)
{
	size_t i = 0;

	while (i < f.n_timers && f.timers[i] != event)
		i++;
	assert_true(i < IG_ARRAY_SIZE(f.timers));
	f.timers[i] = event;
	if (i == f.n_timers)
		f.n_timers++;
	return __real_event_add(event, after);
}

static enum ig_object_kind kind_of(const char *path)
{
	for (size_t i = 0; i < IG_KUBE_RESOURCES; i++)
		if (strcmp(ig_kube_resources[i].path, path) == 0)
			return ig_kube_resources[i].kind;
	fail_msg("%s is not to be watched", path);
	return _IG_OBJECT_KIND_MAX;
}

int __wrap_ig_kube_watch_new(struct event_base *base, struct ig_kube_client *client,
	const struct ig_kube_watch_options *options, const struct ig_kube_watch_ops *ops,
	void *userdata, struct ig_kube_watch **ret)
{
	struct ig_kube_watch *watch = calloc(1, sizeof(*watch));

	assert_ptr_equal(base, f.base);
	assert_null(client);
	if (!watch)
		return -ENOMEM;
	watch->kind = kind_of(options->path);
	watch->options = *options;
	watch->ops = *ops;
	watch->userdata = userdata;
	assert_null(f.watches[watch->kind]);
	*ret = f.watches[watch->kind] = watch;
	return 0;
}

struct ig_kube_watch *__wrap_ig_kube_watch_free(struct ig_kube_watch *watch)
{
	if (watch)
		f.watches[watch->kind] = NULL;
	free(watch);
	return NULL;
}

void __wrap_ig_kube_watch_stats(const struct ig_kube_watch *watch, struct ig_kube_watch_stats *ret)
{
	*ret = watch->stats;
}

int __wrap_ig_kube_policy_status_report(
	struct ig_kube_policy_status *status, const json_t *policy, const char *refusal)
{
	const json_t *metadata = json_object_get(policy, "metadata");

	assert_non_null(status);
	assert_non_null(json_object_get(metadata, "resourceVersion"));
	assert_int_equal(json_integer_value(json_object_get(metadata, "generation")), 1);
	ig_buf_printf(&f.reported, refusal ? "%s: %s; " : "%s valid; ",
		json_string_value(json_object_get(metadata, "name")), refusal);
	return 0;
}

void __wrap_ig_kube_policy_status_forget(
	struct ig_kube_policy_status *status, const char *ns, const char *name)
{
	assert_non_null(status);
	assert_string_equal(ns, "demo");
	ig_buf_printf(&f.reported, "%s forgotten; ", name);
}

/* ---- the owner ------------------------------------------------------------------------------- */

static void on_rejected(enum ig_object_kind kind, const char *ns, const char *name,
	const struct ig_err *err, void *userdata)
{
	char text[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 32];

	assert_ptr_equal(userdata, &f);
	assert_true(ns[0]);
	f.n_rejected++;
	ig_buf_printf(&f.rejected, "%s/%s: %s; ", ig_object_kind_name(kind), name,
		ig_err_format(err, text, sizeof(text)));
}

static void on_state(
	enum ig_object_kind kind, enum ig_kube_watch_state state, const char *text, void *userdata)
{
	assert_ptr_equal(userdata, &f);
	assert_string_equal(text, "");
	ig_buf_printf(
		&f.states, "%s %s; ", ig_object_kind_name(kind), ig_kube_watch_state_name(state));
}

static void on_status_forbidden(unsigned int http_status, void *userdata)
{
	(void)http_status;
	(void)userdata;
}

static void on_changed(uint64_t epoch, void *userdata)
{
	(void)epoch;
	(void)userdata;
	f.n_told++;
	if (f.feeder)
		ig_kube_feeder_store_changed(f.feeder);
}

static int make_feeder(const char *node)
{
	static const struct ig_kube_feeder_ops ops = {.rejected = on_rejected,
		.state = on_state,
		.status_forbidden = on_status_forbidden};
	const struct ig_kube_feeder_options options = {
		.node = node, .policy_namespace = "imdsgate-system"};

	return ig_kube_feeder_new(f.base, NULL, f.store, &options, &ops, &f, &f.feeder);
}

static int set_up(void **state)
{
	(void)state;
	f = (struct fixture){};
	ig_buf_init(&f.rejected, 1 << 16);
	ig_buf_init(&f.states, 1 << 16);
	ig_buf_init(&f.reported, 1 << 16);
	f.base = event_base_new();
	assert_int_equal(ig_store_new(&f.store), 0);
	ig_store_set_listener(f.store, on_changed, NULL);
	assert_int_equal(make_feeder("n1"), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	f.feeder = ig_kube_feeder_free(f.feeder);
	f.store = ig_store_free(f.store);
	event_base_free(f.base);
	ig_buf_done(&f.rejected);
	ig_buf_done(&f.states);
	ig_buf_done(&f.reported);
	return 0;
}

static void expect(struct ig_buf *heard, const char *expected)
{
	assert_int_equal(ig_buf_finish(heard), 0);
	assert_string_equal(heard->data ? heard->data : "", expected);
	ig_buf_reset(heard);
	if (heard->data)
		heard->data[0] = '\0';
}

/* ---- the script ------------------------------------------------------------------------------ */

/* Everything that is ready. */
static void run(void)
{
	for (int i = 0; i < 5; i++)
		event_base_loop(f.base, EVLOOP_NONBLOCK);
}

/* Every timer that is armed goes off. */
static void fire(void)
{
	for (size_t i = 0; i < f.n_timers; i++)
		if (event_pending(f.timers[i], EV_TIMEOUT, NULL))
			event_active(f.timers[i], EV_TIMEOUT, 0);
	run();
}

static int take(const struct ig_kube_item *item, void *userdata)
{
	struct ig_kube_watch *w = userdata;

	if (item->object)
		w->ops.put(item->object, w->userdata);
	else
		w->ops.unusable(item->ns, item->name, item->uid, item->unusable, w->userdata);
	return 0;
}

/* Objects as the API server sends them. */
static void put(enum ig_object_kind kind, const char *items)
{
	struct ig_kube_watch *w = f.watches[kind];
	_cleanup_(ig_kube_reader_freep) struct ig_kube_reader *reader = NULL;
	char *text = NULL;

	assert_non_null(w);
	assert_int_equal(
		ig_kube_reader_new(IG_KUBE_BODY_LIST, w->options.fields, take, w, &reader), 0);
	assert_true(asprintf(&text, "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[%s]}",
			    items) > 0);
	assert_int_equal(ig_kube_reader_feed(reader, text, strlen(text)), 0);
	assert_int_equal(ig_kube_reader_finish(reader), 0);
	free(text);
}

static void gone(enum ig_object_kind kind, const char *name, const char *uid)
{
	f.watches[kind]->ops.gone("demo", name, uid, f.watches[kind]->userdata);
}

static void batch(enum ig_object_kind kind, bool begin)
{
	f.watches[kind]->ops.batch(begin, f.watches[kind]->userdata);
}

static void become(enum ig_object_kind kind, enum ig_kube_watch_state state)
{
	struct ig_kube_watch *w = f.watches[kind];

	w->stats.state = state;
	w->stats.complete |= state == IG_KUBE_WATCH_SYNCED || state == IG_KUBE_WATCH_ABSENT;
	w->ops.state(state, "", w->userdata);
}

/* Nothing is declared, and pods are watched, too. */
static void start_all(void)
{
	become(IG_OBJECT_METADATA_POLICY, IG_KUBE_WATCH_SYNCED);
	run();
	assert_non_null(f.watches[IG_OBJECT_POD]);
}

/* What the manifest "m" declares; NULL: it goes. */
static void manifest(const char *text)
{
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	if (text)
		assert_int_equal(ig_manifest_parse("m", text, strlen(text), NULL, &set, &err), 0);
	assert_int_equal(ig_store_replace(f.store, "m", set, &err), 0);
}

static size_t count(enum ig_object_kind kind)
{
	return ig_store_count(f.store, kind);
}

static size_t rejected_count(enum ig_object_kind kind)
{
	struct ig_kube_feeder_stats stats;

	assert_true(ig_kube_feeder_stats(f.feeder, kind, &stats));
	return stats.rejected;
}

static const char *app_of(const char *name)
{
	const struct ig_pod *pod = ig_store_pod_by_name(f.store, "demo", name);

	return pod ? ig_label_get(pod->labels, pod->n_labels, "app") : NULL;
}

static const char *selector(void)
{
	size_t iter = 0;
	const struct ig_binding *binding = ig_store_next_binding(f.store, &iter);

	return binding ? binding->selector : NULL;
}

static const char *allowed_resource(void)
{
	size_t iter = 0;
	const struct ig_metadata_policy *policy = ig_store_next_metadata_policy(f.store, &iter);

	return policy ? policy->resources.items[0] : NULL;
}

/* ---- what is watched ------------------------------------------------------------------------- */

static void asks_for_what_it_uses_and_no_secret(void **state)
{
	static const char *const paths[] = {"/api/v1/pods", "/api/v1/serviceaccounts",
		"/apis/aadpodidentity.k8s.io/v1/azureidentities",
		"/apis/aadpodidentity.k8s.io/v1/azureidentitybindings",
		"/apis/aadpodidentity.k8s.io/v1/azurepodidentityexceptions",
		"/apis/imdsgate.dev/v1alpha1/metadatapolicies"};
	size_t n = 0;

	(void)state;
	start_all();
	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		const struct ig_kube_watch *w = f.watches[kind];
		bool known = false;

		if (!w)
			continue;
		for (size_t i = 0; i < IG_ARRAY_SIZE(paths); i++)
			known |= strcmp(paths[i], w->options.path) == 0;
		assert_true(known);
		n++;
		assert_true(w->options.metadata_only == (kind == IG_OBJECT_SERVICE_ACCOUNT));
		if (kind == IG_OBJECT_METADATA_POLICY)
			assert_string_equal(w->options.reserved_ns, "imdsgate-system");
		else
			assert_null(w->options.reserved_ns);
		if (kind == IG_OBJECT_POD)
			assert_string_equal(w->options.query, "fieldSelector=spec.nodeName%3Dn1");
		else
			assert_null(w->options.query);
	}
	assert_int_equal(n, IG_ARRAY_SIZE(paths));
}

static void a_node_that_is_no_name_is_refused(void **state)
{
	static const char *const bad[] = {"", "n1&limit=1", "N1", "a b", "a%3D", ".."};

	(void)state;
	f.feeder = ig_kube_feeder_free(f.feeder);
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++)
		assert_int_equal(make_feeder(bad[i]), -EINVAL);
	assert_null(f.feeder);
}

static void pods_come_after_policies(void **state)
{
	static const enum ig_kube_watch_state states[] = {
		IG_KUBE_WATCH_SYNCED, IG_KUBE_WATCH_ABSENT, IG_KUBE_WATCH_TOO_MANY};

	for (size_t i = 0; i < IG_ARRAY_SIZE(states); i++) {
		struct ig_kube_feeder_stats stats;

		become(IG_OBJECT_BINDING, IG_KUBE_WATCH_SYNCED);
		become(IG_OBJECT_METADATA_POLICY, IG_KUBE_WATCH_FORBIDDEN);
		become(IG_OBJECT_METADATA_POLICY, IG_KUBE_WATCH_LISTING);
		manifest("");
		run();
		assert_null(f.watches[IG_OBJECT_POD]);
		assert_true(ig_kube_feeder_stats(f.feeder, IG_OBJECT_POD, &stats));
		assert_int_equal(stats.watch.state, IG_KUBE_WATCH_LISTING);
		assert_false(stats.watch.complete);
		if (states[i] == IG_KUBE_WATCH_TOO_MANY)
			f.watches[IG_OBJECT_METADATA_POLICY]->stats.complete = true;
		become(IG_OBJECT_METADATA_POLICY, states[i]);
		run();
		assert_non_null(f.watches[IG_OBJECT_POD]);
		(void)tear_down(state);
		(void)set_up(state);
	}
}

static void synced_when_all_is_known_or_absent(void **state)
{
	(void)state;
	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		if (!f.watches[kind] || kind == IG_OBJECT_METADATA_POLICY)
			continue;
		assert_false(ig_kube_feeder_synced(f.feeder));
		become(kind, kind % 2 ? IG_KUBE_WATCH_SYNCED : IG_KUBE_WATCH_ABSENT);
	}
	become(IG_OBJECT_METADATA_POLICY, IG_KUBE_WATCH_ABSENT);
	assert_false(ig_kube_feeder_synced(f.feeder));
	run();
	assert_false(ig_kube_feeder_synced(f.feeder));
	become(IG_OBJECT_POD, IG_KUBE_WATCH_SYNCED);
	assert_true(ig_kube_feeder_synced(f.feeder));
	/* and stays so */
	become(IG_OBJECT_POD, IG_KUBE_WATCH_STALE);
	assert_true(ig_kube_feeder_synced(f.feeder));
	assert_non_null(strstr(f.states.data, "MetadataPolicy absent; Pod synced; Pod stale; "));
}

/* ---- objects --------------------------------------------------------------------------------- */

static void each_kind_comes_changes_and_goes(void **state)
{
	static const struct {
		enum ig_object_kind kind;
		const char *first, *second;
	} cases[] = {
		{IG_OBJECT_POD, POD("x", UID, "one"), POD("x", UID, "two")},
		{IG_OBJECT_SERVICE_ACCOUNT,
			OBJECT("demo", "x", "u",
				",\"annotations\":{\"azure.workload.identity/client-id\":\"" CLIENT
				"\"}",
				""),
			OBJECT("demo", "x", "u",
				",\"annotations\":{\"azure.workload.identity/client-id\":\"" CLIENT2
				"\"}",
				"")},
		{IG_OBJECT_IDENTITY,
			OBJECT("demo", "x", "u", "",
				",\"spec\":{\"type\":0,\"clientID\":\"" CLIENT
				"\",\"resourceID\":\"" RESOURCE "\"}"),
			OBJECT("demo", "x", "u", "",
				",\"spec\":{\"type\":0,\"clientID\":\"" CLIENT2
				"\",\"resourceID\":\"" RESOURCE "\"}")},
		{IG_OBJECT_BINDING, BINDING("x", "one"), BINDING("x", "two")},
		{IG_OBJECT_EXCEPTION,
			OBJECT("demo", "x", "u", "", ",\"spec\":{\"podLabels\":{\"a\":\"b\"}}"),
			OBJECT("demo", "x", "u", "", ",\"spec\":{\"podLabels\":{\"a\":\"c\"}}")},
		{IG_OBJECT_METADATA_POLICY, POLICY("x", "https://a"), POLICY("x", "https://b")},
	};

	(void)state;
	start_all();
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		uint64_t epoch = ig_store_epoch(f.store);

		put(cases[i].kind, cases[i].first);
		expect(&f.rejected, "");
		assert_int_equal(count(cases[i].kind), 1);
		assert_int_equal(ig_store_epoch(f.store), epoch + 1);
		put(cases[i].kind, cases[i].first); /* a list says it again */
		assert_int_equal(ig_store_epoch(f.store), epoch + 1);
		put(cases[i].kind, cases[i].second);
		assert_int_equal(count(cases[i].kind), 1);
		assert_int_equal(ig_store_epoch(f.store), epoch + 2);
		gone(cases[i].kind, "x", "u");
		assert_int_equal(count(cases[i].kind), 0);
		gone(cases[i].kind, "x", "u");
	}
	assert_int_equal(IG_ARRAY_SIZE(cases), IG_KUBE_RESOURCES);
}

static void an_object_without_a_namespace_is_none_of_ours(void **state)
{
	(void)state;
	put(IG_OBJECT_BINDING,
		"{\"metadata\":{\"name\":\"x\",\"uid\":\"u\",\"resourceVersion\":\"1\"}}");
	expect(&f.rejected, "");
	assert_int_equal(count(IG_OBJECT_BINDING), 0);
}

static void a_wrong_object_is_told_once_and_does_not_hold(void **state)
{
	(void)state;
	put(IG_OBJECT_BINDING, BINDING("x", "one"));
	put(IG_OBJECT_BINDING, BAD_BINDING("x"));
	assert_memory_equal(f.rejected.data, "AzureIdentityBinding/x: ", 24);
	assert_int_equal(f.n_rejected, 1);
	ig_buf_reset(&f.rejected);
	assert_int_equal(count(IG_OBJECT_BINDING), 0);
	assert_int_equal(rejected_count(IG_OBJECT_BINDING), 1);
	/* what happens elsewhere is no reason to try it again */
	manifest("");
	put(IG_OBJECT_BINDING, BINDING("y", "two"));
	run();
	assert_int_equal(f.rejected.len, 0);
	put(IG_OBJECT_BINDING, BINDING("x", "one"));
	assert_int_equal(rejected_count(IG_OBJECT_BINDING), 0);
	assert_int_equal(count(IG_OBJECT_BINDING), 2);
	put(IG_OBJECT_BINDING, BAD_BINDING("x"));
	gone(IG_OBJECT_BINDING, "x", "u");
	assert_int_equal(rejected_count(IG_OBJECT_BINDING), 0);
}

static void a_policy_keeps_its_last_good_content(void **state)
{
	(void)state;
	put(IG_OBJECT_METADATA_POLICY, POLICY("x", "https://a"));
	expect(&f.reported, "x valid; ");
	put(IG_OBJECT_METADATA_POLICY, BAD_POLICY("x"));
	assert_string_equal(allowed_resource(), "https://a");
	assert_int_equal(rejected_count(IG_OBJECT_METADATA_POLICY), 1);
	assert_non_null(strstr(f.reported.data, "x: "));
	assert_null(strstr(f.reported.data, "valid"));
	assert_non_null(strstr(f.rejected.data, "MetadataPolicy/x: "));
	ig_buf_reset(&f.reported);
	put(IG_OBJECT_METADATA_POLICY, POLICY("x", "https://b"));
	expect(&f.reported, "x valid; ");
	assert_string_equal(allowed_resource(), "https://b");
	assert_int_equal(rejected_count(IG_OBJECT_METADATA_POLICY), 0);
	gone(IG_OBJECT_METADATA_POLICY, "x", "u");
	expect(&f.reported, "x forgotten; ");
	assert_null(allowed_resource());
}

static void a_policy_that_never_was_good_does_not_hold(void **state)
{
	(void)state;
	put(IG_OBJECT_METADATA_POLICY, BAD_POLICY("x"));
	assert_int_equal(count(IG_OBJECT_METADATA_POLICY), 0);
	assert_int_equal(rejected_count(IG_OBJECT_METADATA_POLICY), 1);
	gone(IG_OBJECT_METADATA_POLICY, "x", "u");
	assert_int_equal(rejected_count(IG_OBJECT_METADATA_POLICY), 0);
}

static void unusable_objects_do_not_hold(void **state)
{
	(void)state;
	put(IG_OBJECT_BINDING, BINDING("x", "one"));
	put(IG_OBJECT_BINDING, BINDING("x", "one\\u0000"));
	expect(&f.rejected, "AzureIdentityBinding/x: a text of it has a NUL character; ");
	assert_int_equal(count(IG_OBJECT_BINDING), 0);
	assert_int_equal(rejected_count(IG_OBJECT_BINDING), 1);
	put(IG_OBJECT_METADATA_POLICY, POLICY("p", "https://a"));
	put(IG_OBJECT_METADATA_POLICY, POLICY("p", "https://b\\u0000"));
	expect(&f.rejected, "MetadataPolicy/p: a text of it has a NUL character; ");
	expect(&f.reported, "p valid; ");
	assert_string_equal(allowed_resource(), "https://a");
	put(IG_OBJECT_METADATA_POLICY, POLICY("p", "https://c"));
	assert_string_equal(allowed_resource(), "https://c");
	assert_int_equal(rejected_count(IG_OBJECT_METADATA_POLICY), 0);
}

/* ---- pods ------------------------------------------------------------------------------------ */

static void a_cgroup_that_a_pod_names_is_not_honoured(void **state)
{
	const struct ig_pod *pod;

	(void)state;
	start_all();
	put(IG_OBJECT_POD, OBJECT("demo", "x", UID,
				   ",\"annotations\":{\"imdsgate.dev/cgroup\":\"/other.slice\"}",
				   ",\"spec\":{\"nodeName\":\"n1\"}"));
	pod = ig_store_pod_by_name(f.store, "demo", "x");
	assert_non_null(pod);
	assert_string_equal(pod->cgroup, "");
	assert_null(ig_store_pod_by_cgroup(f.store, "/other.slice"));
}

/* Even if the table of fields let the annotation through. */
static void nor_by_the_validator(void **state)
{
	json_t *object = json_loads(
		OBJECT("demo", "x", UID,
			",\"annotations\":{\"imdsgate.dev/cgroup\":\"/other.slice\"}", ""),
		0, NULL);

	(void)state;
	start_all();
	assert_non_null(object);
	f.watches[IG_OBJECT_POD]->ops.put(object, f.watches[IG_OBJECT_POD]->userdata);
	json_decref(object);
	assert_null(ig_store_pod_by_cgroup(f.store, "/other.slice"));
}

#define MIRROR(ns)                                                                                 \
	OBJECT(ns, "m", UID, ",\"annotations\":{\"kubernetes.io/config.mirror\":\"" HASH "\"}",    \
		",\"spec\":{\"nodeName\":\"n1\"}")

static void mirror_pods_run_under_their_hash_in_kube_system_only(void **state)
{
	(void)state;
	start_all();
	put(IG_OBJECT_POD, MIRROR("kube-system"));
	assert_non_null(ig_store_pod_by_uid(f.store, HASH));
	assert_null(ig_store_pod_by_uid(f.store, UID));
	f.watches[IG_OBJECT_POD]->ops.gone(
		"kube-system", "m", UID, f.watches[IG_OBJECT_POD]->userdata);
	assert_int_equal(count(IG_OBJECT_POD), 0);
	put(IG_OBJECT_POD, MIRROR("demo"));
	assert_null(ig_store_pod_by_uid(f.store, HASH));
	assert_non_null(ig_store_pod_by_uid(f.store, UID));
	expect(&f.rejected, "");
}

static void a_pod_is_replaced_under_its_name(void **state)
{
	(void)state;
	start_all();
	put(IG_OBJECT_POD, POD("x", UID, "old"));
	gone(IG_OBJECT_POD, "x", UID); /* which the watch says first */
	put(IG_OBJECT_POD, POD("x", UID2, "new"));
	assert_null(ig_store_pod_by_uid(f.store, UID));
	assert_non_null(ig_store_pod_by_uid(f.store, UID2));
	assert_string_equal(app_of("x"), "new");
	assert_int_equal(count(IG_OBJECT_POD), 1);
}

/* ---- clashes --------------------------------------------------------------------------------- */

#define MANIFEST_BINDING                                                                           \
	"apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\n"                       \
	"metadata: {namespace: demo, name: x}\nspec: {azureIdentity: id, selector: mine}\n"
#define MANIFEST_POLICY                                                                            \
	"apiVersion: imdsgate.dev/v1alpha1\nkind: MetadataPolicy\n"                                \
	"metadata: {namespace: demo, name: x}\nspec: {allow: {resources: [\"https://mine\"]}}\n"

static void a_clash_is_resolved_when_the_other_goes(void **state)
{
	(void)state;
	manifest(MANIFEST_BINDING);
	put(IG_OBJECT_BINDING, BINDING("x", "theirs"));
	expect(&f.rejected,
		"AzureIdentityBinding/x: kube:AzureIdentityBinding/demo/x: AzureIdentityBinding demo/x is already declared by m; ");
	assert_string_equal(selector(), "mine");
	assert_int_equal(rejected_count(IG_OBJECT_BINDING), 1);
	put(IG_OBJECT_BINDING, BINDING("y", "other"));
	run();
	expect(&f.rejected, "");
	gone(IG_OBJECT_BINDING, "y", "u");
	manifest(NULL);
	assert_null(selector());
	run();
	assert_string_equal(selector(), "theirs");
	assert_int_equal(rejected_count(IG_OBJECT_BINDING), 0);
	expect(&f.rejected, "");
	run();
	gone(IG_OBJECT_BINDING, "x", "u");
	assert_null(selector());
}

static void a_clash_is_resolved_although_a_list_goes_on(void **state)
{
	(void)state;
	manifest(MANIFEST_BINDING);
	put(IG_OBJECT_BINDING, BINDING("x", "theirs"));
	run();
	batch(IG_OBJECT_IDENTITY, true);
	manifest(NULL);
	run();
	assert_null(selector());
	batch(IG_OBJECT_IDENTITY, false);
	run();
	assert_string_equal(selector(), "theirs");
}

static void an_object_that_went_is_not_tried_again(void **state)
{
	(void)state;
	manifest(MANIFEST_BINDING);
	put(IG_OBJECT_BINDING, BINDING("x", "theirs"));
	gone(IG_OBJECT_BINDING, "x", "u");
	manifest(NULL);
	run();
	assert_null(selector());
	manifest(MANIFEST_BINDING);
	put(IG_OBJECT_BINDING, BINDING("x", "theirs"));
	put(IG_OBJECT_BINDING, BINDING("x", "newer"));
	manifest(NULL);
	run();
	assert_string_equal(selector(), "newer");
}

/* Another node may have no such manifest, so the status, which is all nodes', says nothing of it.
 */
static void a_policy_that_clashes_is_valid_all_the_same(void **state)
{
	(void)state;
	manifest(MANIFEST_POLICY);
	put(IG_OBJECT_METADATA_POLICY, POLICY("x", "https://theirs"));
	expect(&f.reported, "x valid; ");
	assert_non_null(strstr(f.rejected.data, "already declared by m"));
	assert_string_equal(allowed_resource(), "https://mine");
	manifest(NULL);
	run();
	assert_string_equal(allowed_resource(), "https://theirs");
	expect(&f.reported, "");
}

/* ---- batches --------------------------------------------------------------------------------- */

static void lists_under_way_tell_once(void **state)
{
	(void)state;
	f.n_told = 0;
	batch(IG_OBJECT_BINDING, true);
	put(IG_OBJECT_BINDING, BINDING("x", "one"));
	batch(IG_OBJECT_METADATA_POLICY, true);
	put(IG_OBJECT_METADATA_POLICY, POLICY("p", "https://a"));
	batch(IG_OBJECT_BINDING, false);
	put(IG_OBJECT_BINDING, BINDING("x", "two"));
	run();
	assert_int_equal(f.n_told, 0);
	batch(IG_OBJECT_METADATA_POLICY, false);
	assert_int_equal(f.n_told, 1);
	put(IG_OBJECT_BINDING, BINDING("x", "three"));
	assert_int_equal(f.n_told, 2);
	batch(IG_OBJECT_BINDING, true);
	batch(IG_OBJECT_BINDING, false);
	assert_int_equal(f.n_told, 2);
	fire(); /* no timer is left */
	assert_int_equal(f.n_told, 2);
}

static void a_list_that_hangs_does_not_hold_up_the_rest(void **state)
{
	(void)state;
	batch(IG_OBJECT_BINDING, true);
	f.n_told = 0;
	manifest(MANIFEST_POLICY);
	assert_int_equal(f.n_told, 0);
	fire();
	assert_int_equal(f.n_told, 1);
	fire();
	assert_int_equal(f.n_told, 1);
	put(IG_OBJECT_BINDING, BINDING("x", "one"));
	assert_int_equal(f.n_told, 1);
	batch(IG_OBJECT_BINDING, false);
	assert_int_equal(f.n_told, 2);
}

static void the_end_within_a_list(void **state)
{
	(void)state;
	put(IG_OBJECT_BINDING, BAD_BINDING("y"));
	batch(IG_OBJECT_BINDING, true);
	put(IG_OBJECT_BINDING, BINDING("x", "one"));
	f.feeder = ig_kube_feeder_free(f.feeder);
	assert_string_equal(selector(), "one"); /* what was declared stays */
	f.n_told = 0;
	manifest(MANIFEST_POLICY);
	assert_int_equal(f.n_told, 1);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void making_one_may_fail(void **state)
{
	unsigned int n = 0;
	int r;

	(void)state;
	f.feeder = ig_kube_feeder_free(f.feeder);
	do {
		failing = ++n;
		allocations = 0;
		armed = true;
		r = make_feeder("n1");
		armed = false;
		assert_true(r == 0 || r == -ENOMEM);
		for (int kind = 0; r < 0 && kind < _IG_OBJECT_KIND_MAX; kind++)
			assert_null(f.watches[kind]);
	} while (r < 0);
	assert_true(n > 5);
}

/* Pods are watched as soon as there is memory to do so. */
static void a_watch_that_could_not_begin_begins_later(void **state)
{
	(void)state;
	become(IG_OBJECT_METADATA_POLICY, IG_KUBE_WATCH_SYNCED);
	failing = 1;
	allocations = 0;
	armed = true;
	run();
	armed = false;
	assert_null(f.watches[IG_OBJECT_POD]);
	fire();
	assert_non_null(f.watches[IG_OBJECT_POD]);
}

/* Whatever has no memory: what the object said before does not hold any more (a policy's does, and
 * nothing else), and the next time there is memory what it says now does. */
static void every_allocation_may_fail(void **state)
{
	unsigned int n = 0;
	json_t *binding = json_loads(BINDING("x", "new"), 0, NULL);
	json_t *policy = json_loads(POLICY("p", "https://new"), 0, NULL);

	(void)state;
	do {
		put(IG_OBJECT_BINDING, BINDING("x", "old"));
		put(IG_OBJECT_METADATA_POLICY, POLICY("p", "https://old"));
		ig_buf_reset(&f.reported);
		failing = ++n;
		allocations = 0;
		json_set_alloc_funcs(__wrap_malloc, free);
		armed = true;
		f.watches[IG_OBJECT_BINDING]->ops.put(
			binding, f.watches[IG_OBJECT_BINDING]->userdata);
		f.watches[IG_OBJECT_METADATA_POLICY]->ops.put(
			policy, f.watches[IG_OBJECT_METADATA_POLICY]->userdata);
		armed = false;
		json_set_alloc_funcs(__real_malloc, free);
		assert_true(!selector() || strcmp(selector(), "new") == 0);
		assert_non_null(allowed_resource());
		assert_int_equal(rejected_count(IG_OBJECT_BINDING), selector() ? 0 : 1);
		if (f.reported.len)
			expect(&f.reported, "p valid; ");
		fire();
		assert_string_equal(selector(), "new");
		assert_string_equal(allowed_resource(), "https://new");
		assert_int_equal(rejected_count(IG_OBJECT_BINDING), 0);
		assert_int_equal(rejected_count(IG_OBJECT_METADATA_POLICY), 0);
	} while (allocations >= n);
	json_decref(binding);
	json_decref(policy);
	assert_true(n > 30);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(asks_for_what_it_uses_and_no_secret),
		TEST(a_node_that_is_no_name_is_refused),
		TEST(pods_come_after_policies),
		TEST(synced_when_all_is_known_or_absent),
		TEST(each_kind_comes_changes_and_goes),
		TEST(an_object_without_a_namespace_is_none_of_ours),
		TEST(a_wrong_object_is_told_once_and_does_not_hold),
		TEST(a_policy_keeps_its_last_good_content),
		TEST(a_policy_that_never_was_good_does_not_hold),
		TEST(unusable_objects_do_not_hold),
		TEST(a_cgroup_that_a_pod_names_is_not_honoured),
		TEST(nor_by_the_validator),
		TEST(mirror_pods_run_under_their_hash_in_kube_system_only),
		TEST(a_pod_is_replaced_under_its_name),
		TEST(a_clash_is_resolved_when_the_other_goes),
		TEST(a_clash_is_resolved_although_a_list_goes_on),
		TEST(an_object_that_went_is_not_tried_again),
		TEST(a_policy_that_clashes_is_valid_all_the_same),
		TEST(lists_under_way_tell_once),
		TEST(a_list_that_hangs_does_not_hold_up_the_rest),
		TEST(the_end_within_a_list),
		TEST(making_one_may_fail),
		TEST(a_watch_that_could_not_begin_begins_later),
		TEST(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
