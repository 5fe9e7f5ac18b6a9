/*
 * What the kernel is told of the declared workloads, with the monitor played by the test: every
 * allocation fails once, and requests are refused. An entry must never go because memory ran out:
 * without it, a workload of the host's namespace would pass as the host.
 *
 * Cgroups are directories of a temporary one: any file system has inode numbers.
 */
#include "unit/policy_fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/link.h"
#include "agent/workloads.h"
#include "unit/alloc_failure.h"

#define DECLARED(name)                                                                             \
	"---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: demo, name: " name                  \
	", annotations: {imdsgate.dev/cgroup: /" name "}}\nspec: {hostNetwork: true}\n"
#define LABELLED(name)                                                                             \
	"---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: demo, name: " name                  \
	", labels: {may: pass}, annotations: {imdsgate.dev/cgroup: /" name "}}\nspec: {}\n"
#define LETS_PASS                                                                                  \
	"---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzurePodIdentityException\nmetadata: {namespace: demo, name: e, annotations: {imdsgate.dev/exception-mode: direct}}\nspec: {podLabels: {may: pass}}\n"
#define N_PODS	  3 /* that are declared from the beginning */
#define N_CGROUPS 5
#define REPLY_MAX 64

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
int __wrap_ig_link_request(struct ig_link *link, const struct ig_monitor_request *request,
	ig_link_reply *reply, void *userdata);
void __wrap_ig_link_forget(struct ig_link *link, const void *userdata);

static const char *const names[N_CGROUPS] = {"one", "two", "three", "four", "five"};

struct fixture {
	char dir[64];
	int root_fd;
	struct event_base *base;
	struct ig_store *store;
	struct ig_workloads *workloads;
	uint64_t ids[N_CGROUPS];
	bool has[N_CGROUPS]; /* what the kernel's map holds */
	uint8_t verdicts[N_CGROUPS];
	unsigned int n_requests;
	bool synced, has_synced_request;
	int refuse_requests, refuse_in_reply; /* so many */
	int refusal;
	struct {
		struct ig_monitor_message message;
		ig_link_reply *reply;
		void *userdata;
	} replies[REPLY_MAX];
	size_t n_replies;
};

static struct fixture *monitor;

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, n, size);
}

static int index_of(const struct fixture *f, uint64_t id)
{
	for (int i = 0; i < N_CGROUPS; i++)
		if (f->ids[i] == id)
			return i;
	fail_msg("a cgroup that is none of ours");
	return -1;
}

int __wrap_ig_link_request(struct ig_link *link, const struct ig_monitor_request *request,
	ig_link_reply *reply, void *userdata)
{
	struct fixture *f = monitor;
	struct ig_monitor_message *message = &f->replies[f->n_replies].message;

	(void)link;
	assert_true(f->n_replies < REPLY_MAX);
	if (f->refuse_requests > 0 && f->refuse_requests--)
		return -EBUSY;
	*message = (struct ig_monitor_message){.kind = IG_MONITOR_REPLY, .request = request->kind};
	f->n_requests++;
	if (request->kind == IG_MONITOR_WORKLOAD_SET && f->refuse_in_reply > 0) {
		f->refuse_in_reply--;
		message->result = f->refusal;
	} else if (request->kind == IG_MONITOR_WORKLOAD_SET) {
		f->has[index_of(f, request->workload.cgroup_id)] = true;
		f->verdicts[index_of(f, request->workload.cgroup_id)] =
			request->workload.entry.verdict[IG_ENDPOINT_IMDS];
	} else if (request->kind == IG_MONITOR_WORKLOAD_DELETE) {
		f->has[index_of(f, request->cgroup_id)] = false;
	} else {
		f->has_synced_request = true;
	}
	f->replies[f->n_replies].reply = reply;
	f->replies[f->n_replies++].userdata = userdata;
	return 0;
}

void __wrap_ig_link_forget(struct ig_link *link, const void *userdata)
{
	(void)link;
	(void)userdata;
	monitor->n_replies = 0;
}

static void on_synced(void *userdata)
{
	((struct fixture *)userdata)->synced = true;
}

static bool is_complete(void *userdata)
{
	(void)userdata;
	return true;
}

static int setup(void **state)
{
	static const struct ig_workloads_ops ops = {.synced = on_synced, .complete = is_complete};
	struct fixture *f = calloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/igwl-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->root_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < N_CGROUPS; i++) {
		struct stat st;

		if (mkdirat(f->root_fd, names[i], 0700) < 0 ||
			fstatat(f->root_fd, names[i], &st, 0) < 0)
			return -1;
		f->ids[i] = st.st_ino;
	}
	f->base = event_base_new();
	f->store = load(DECLARED("one") DECLARED("two") DECLARED("three"));
	f->refusal = -ENOMEM;
	*state = monitor = f;
	return ig_workloads_new(f->base, f->root_fd, NULL, f->store, &ops, f, &f->workloads);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->workloads = ig_workloads_free(f->workloads);
	f->store = ig_store_free(f->store);
	event_base_free(f->base);
	for (int i = 0; i < N_CGROUPS; i++)
		(void)unlinkat(f->root_fd, names[i], AT_REMOVEDIR);
	(void)close(f->root_fd);
	(void)rmdir(f->dir);
	free(f);
	return 0;
}

/* Until nothing is left to do now. */
static void run(struct fixture *f)
{
	do {
		(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
		for (size_t n = f->n_replies; n > 0; n--) {
			struct ig_monitor_message message = f->replies[n - 1].message;

			f->n_replies--;
			f->replies[n - 1].reply(&message, f->replies[n - 1].userdata);
			(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
		}
	} while (f->n_replies > 0);
}

static bool has_all(const struct fixture *f)
{
	return f->has[0] && f->has[1] && f->has[2];
}

/* Waits for what is tried again by itself. */
static void run_until_all(struct fixture *f)
{
	for (int i = 0; i < 10 && !(has_all(f) && f->synced); i++) {
		(void)event_base_loop(f->base, EVLOOP_ONCE);
		run(f);
	}
	assert_true(has_all(f));
	assert_true(f->synced);
}

static void all_are_sent_then_it_is_synced(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	assert_true(has_all(f));
	assert_true(f->synced);
}

static void without_memory_no_entry_goes(void **state)
{
	struct fixture *f = *state;
	unsigned int n;
	int hurt = 0;

	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	for (n = 1;; n++) {
		allocations = 0;
		failing = n;
		armed = true;
		hurt += ig_workloads_update(f->workloads) < 0;
		run(f);
		armed = false;
		assert_true(has_all(f));
		if (allocations < n)
			break;
	}
	assert_true(n > N_PODS && hurt > N_PODS);
}

/* `synced` tells the monitor to take away what nobody declared since it started. */
static void without_memory_it_is_not_synced(void **state)
{
	struct fixture *f = *state;

	for (unsigned int n = 1; !has_all(f); n++) {
		allocations = 0;
		failing = n;
		armed = true;
		(void)ig_workloads_update(f->workloads);
		run(f);
		armed = false;
		assert_true(has_all(f) || !f->has_synced_request);
		if (!has_all(f)) { /* begin anew */
			assert_int_equal(teardown(state), 0);
			assert_int_equal(setup(state), 0);
			f = *state;
		}
	}
	run(f);
	assert_true(f->synced);
}

static void it_is_tried_again(void **state)
{
	struct fixture *f = *state;

	allocations = 0;
	failing = 1;
	armed = true;
	assert_int_equal(ig_workloads_update(f->workloads), -ENOMEM);
	armed = false;
	run(f);
	assert_false(f->has[0] || f->has[1] || f->has[2]);
	run_until_all(f);
}

static void what_the_monitor_had_no_memory_for_is_sent_again(void **state)
{
	struct fixture *f = *state;

	f->refuse_in_reply = 2;
	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	assert_false(has_all(f));
	assert_false(f->has_synced_request);
	run_until_all(f);
}

/* Whatever the reason: without its entry a workload of the host's namespace passes as the host. */
static void what_the_monitor_had_no_descriptor_for_is_sent_again(void **state)
{
	struct fixture *f = *state;

	f->refuse_in_reply = 2;
	f->refusal = -EMFILE;
	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	assert_false(has_all(f));
	assert_false(f->has_synced_request);
	run_until_all(f);
}

/* The map may be full of what an earlier agent left, and `synced` is what makes room. */
static void what_found_the_map_full_is_sent_again_after_synced(void **state)
{
	struct fixture *f = *state;

	f->refuse_in_reply = 2;
	f->refusal = -E2BIG;
	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	assert_false(has_all(f));
	assert_true(f->has_synced_request);
	run_until_all(f);
}

static void what_is_gone_is_not_sent_again(void **state)
{
	struct fixture *f = *state;

	f->refuse_in_reply = 1;
	f->refusal = -ENOENT;
	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	assert_true(f->synced);
	assert_int_equal(f->n_requests, N_PODS + 1);
	assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), 1);
}

static void what_could_not_be_sent_is_sent_again(void **state)
{
	struct fixture *f = *state;

	f->refuse_requests = 1;
	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	assert_false(has_all(f));
	run_until_all(f);
}

static void on_store_changed(uint64_t epoch, void *userdata)
{
	struct fixture *f = userdata;

	(void)epoch;
	assert_int_equal(ig_workloads_update_changed(f->workloads), 0);
}

static void declare(struct fixture *f, const char *source, const char *text)
{
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	if (text)
		assert_int_equal(
			ig_manifest_parse(source, text, strlen(text), NULL, &set, &err), 0);
	assert_int_equal(ig_store_replace(f->store, source, set, &err), 0);
	run(f);
}

static void a_pod_that_changes_takes_no_other_along(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	ig_store_set_listener(f->store, on_store_changed, f);
	f->n_requests = 0;
	declare(f, "more", DECLARED("four"));
	assert_true(has_all(f) && f->has[3]);
	assert_int_equal(f->n_requests, 1);
	/* it declares another cgroup, then none */
	declare(f, "more", DECLARED("five"));
	assert_true(has_all(f) && !f->has[3] && f->has[4]);
	declare(f, "more", NULL);
	assert_true(has_all(f) && !f->has[4]);
	assert_int_equal(f->n_requests, 4);
	ig_store_set_listener(f->store, NULL, NULL);
}

/* What one source gives up in a change, another may take. */
static void a_cgroup_changes_hands(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	ig_store_set_listener(f->store, on_store_changed, f);
	declare(f, "first", DECLARED("four"));
	f->n_requests = 0;
	ig_store_begin(f->store);
	declare(f, "first", NULL);
	declare(f, "second", DECLARED("four"));
	ig_store_commit(f->store);
	run(f);
	assert_true(has_all(f) && f->has[3]);
	assert_int_equal(f->n_requests, 0);
	ig_store_set_listener(f->store, NULL, NULL);
}

/* An exception for all pods changes verdicts of pods that did not change. */
static void an_exception_is_for_all(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ig_workloads_update(f->workloads), 0);
	run(f);
	ig_store_set_listener(f->store, on_store_changed, f);
	declare(f, "labelled", LABELLED("four"));
	assert_int_equal(f->verdicts[3], IG_VERDICT_REDIRECT);
	declare(f, "exception", LETS_PASS);
	assert_int_equal(f->verdicts[3], IG_VERDICT_PASS);
	declare(f, "exception", NULL);
	assert_int_equal(f->verdicts[3], IG_VERDICT_REDIRECT);
	ig_store_set_listener(f->store, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_are_sent_then_it_is_synced, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_no_entry_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_it_is_not_synced, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_the_monitor_had_no_memory_for_is_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_the_monitor_had_no_descriptor_for_is_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_found_the_map_full_is_sent_again_after_synced, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_gone_is_not_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_could_not_be_sent_is_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_pod_that_changes_takes_no_other_along, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cgroup_changes_hands, setup, teardown),
		cmocka_unit_test_setup_teardown(an_exception_is_for_all, setup, teardown),
	};

	return cmocka_run_group_tests_name("agent/workloads", tests, NULL, NULL);
}
