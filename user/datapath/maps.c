/*
 * Reading and writing the maps and rings; see datapath.h. No policy here: values go in as they
 * come.
 */
#include <errno.h>
#include <stdlib.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <imdsgate/limits.h>

#include "datapath/datapath_internal.h"
#include "redirect.skel.h"

int ig_datapath_cgroup_fd(const struct ig_datapath *dp)
{
	return dp->cgroup_fd;
}

int ig_datapath_flows_fd(const struct ig_datapath *dp)
{
	return bpf_map__fd(dp->skel->maps.flows);
}

int ig_datapath_events_fd(const struct ig_datapath *dp)
{
	return bpf_map__fd(dp->skel->maps.events);
}

int ig_datapath_wakeups_fd(const struct ig_datapath *dp)
{
	return bpf_map__fd(dp->skel->maps.wakeups);
}

int ig_datapath_settings_set(struct ig_datapath *dp, const struct ig_settings *settings)
{
	__u32 zero = 0;

	dp->netns_cookie = settings->host_netns_cookie;
	return bpf_map_update_elem(bpf_map__fd(dp->skel->maps.settings), &zero, settings, BPF_ANY);
}

int ig_datapath_workload_set(
	struct ig_datapath *dp, uint64_t cgroup_id, const struct ig_workload_entry *entry)
{
	return bpf_map_update_elem(
		bpf_map__fd(dp->skel->maps.workloads), &cgroup_id, entry, BPF_ANY);
}

int ig_datapath_workload_get(
	struct ig_datapath *dp, uint64_t cgroup_id, struct ig_workload_entry *ret)
{
	return bpf_map_lookup_elem(bpf_map__fd(dp->skel->maps.workloads), &cgroup_id, ret);
}

static int delete_key(int fd, uint64_t key)
{
	int r = bpf_map_delete_elem(fd, &key);

	return r == -ENOENT ? 0 : r;
}

int ig_datapath_workload_delete(struct ig_datapath *dp, uint64_t cgroup_id)
{
	return delete_key(bpf_map__fd(dp->skel->maps.workloads), cgroup_id);
}

/* Deleting while iterating a hash map restarts the walk; so collect first. */
static int sweep(int fd, size_t max, bool (*keep)(uint64_t, void *), void *userdata)
{
	_cleanup_free_ uint64_t *gone = calloc(max, sizeof(*gone));
	uint64_t key, *prev = NULL;
	size_t n = 0;

	if (!gone)
		return -ENOMEM;
	while (n < max && bpf_map_get_next_key(fd, prev, &key) == 0) {
		if (!keep || !keep(key, userdata))
			gone[n++] = key;
		prev = &key;
	}
	for (size_t i = 0; i < n; i++) {
		int r = delete_key(fd, gone[i]);

		if (r < 0)
			return r;
	}
	return (int)n;
}

int ig_datapath_workloads_sweep(
	struct ig_datapath *dp, bool (*keep)(uint64_t, void *), void *userdata)
{
	return sweep(bpf_map__fd(dp->skel->maps.workloads), IG_WORKLOADS_MAX, keep, userdata);
}

bool ig_datapath_is_direct(struct ig_datapath *dp, const struct ig_direct_key *key)
{
	struct ig_direct entry;

	return bpf_map_lookup_elem(bpf_map__fd(dp->skel->maps.direct), key, &entry) == 0;
}

void ig_datapath_direct_delete(struct ig_datapath *dp, const struct ig_direct_key *key)
{
	(void)bpf_map_delete_elem(bpf_map__fd(dp->skel->maps.direct), key);
}

int ig_datapath_listener_set(struct ig_datapath *dp, uint64_t netns_cookie, uint16_t port_be)
{
	struct ig_listener_entry entry = {.port_be = port_be};

	return bpf_map_update_elem(
		bpf_map__fd(dp->skel->maps.listeners), &netns_cookie, &entry, BPF_ANY);
}

int ig_datapath_listener_delete(struct ig_datapath *dp, uint64_t netns_cookie)
{
	return delete_key(bpf_map__fd(dp->skel->maps.listeners), netns_cookie);
}

static bool is_cookie(uint64_t key, void *userdata)
{
	return key == *(const uint64_t *)userdata;
}

int ig_datapath_listeners_clear(struct ig_datapath *dp, uint64_t but_netns_cookie)
{
	int r = sweep(bpf_map__fd(dp->skel->maps.listeners), IG_LISTENERS_MAX, is_cookie,
		&but_netns_cookie);

	return r < 0 ? r : 0;
}

int ig_datapath_upstream_mark(struct ig_datapath *dp, int sock)
{
	__u32 one = 1;

	return bpf_map_update_elem(bpf_map__fd(dp->skel->maps.upstream), &sock, &one, BPF_ANY);
}

int ig_datapath_port_owner_mark(struct ig_datapath *dp, int sock)
{
	__u32 one = 1;

	return bpf_map_update_elem(bpf_map__fd(dp->skel->maps.port_owners), &sock, &one, BPF_ANY);
}

int ig_datapath_upstream_fd(const struct ig_datapath *dp)
{
	return bpf_map__fd(dp->skel->maps.upstream);
}

int ig_datapath_counters(struct ig_datapath *dp, uint64_t ret[_IG_COUNTER_MAX])
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ uint64_t *values = NULL;

	if (cpus < 0)
		return cpus;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (__u32 i = 0; i < _IG_COUNTER_MAX; i++) {
		int r = bpf_map_lookup_elem(bpf_map__fd(dp->skel->maps.counters), &i, values);

		if (r < 0)
			return r;
		ret[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret[i] += values[cpu];
	}
	return 0;
}

const char *ig_counter_name(enum ig_counter counter)
{
	static const char *const names[_IG_COUNTER_MAX] = {
#define X(id, text) [IG_COUNTER_##id] = text,
		IG_COUNTERS(X)
#undef X
	};

	return counter < _IG_COUNTER_MAX ? names[counter] : "unknown";
}

#define KERNEL_ENOTSUPP 524 /* not among the errors that are meant to leave the kernel */

/* Taking out in one step exists for hash maps since 5.14; before, the entry can only be replaced by
 * a newer connection of the same tuple, whose own record it then is. */
int ig_flow_take(int flows_fd, const struct ig_flow_key *key, struct ig_flow *ret)
{
	int r = bpf_map_lookup_and_delete_elem(flows_fd, key, ret);

	if (r != -KERNEL_ENOTSUPP && r != -EINVAL)
		return r;
	r = bpf_map_lookup_elem(flows_fd, key, ret);
	if (r == 0)
		(void)bpf_map_delete_elem(flows_fd, key);
	return r;
}

struct ig_ring {
	struct ring_buffer *ring; /* owned */
	ig_ring_record *record;
	void *userdata;
	size_t record_bytes;
	unsigned int left; /* records that may still be read in this turn */
};

static int on_sample(void *ctx, void *data, size_t size)
{
	struct ig_ring *ring = ctx;

	if (size == ring->record_bytes)
		ring->record(data, ring->userdata);
	/* the one that brought an error counts as read */
	return --ring->left ? 0 : -ENOBUFS;
}

int ig_ring_new(int ring_fd, size_t record_bytes, ig_ring_record *record, void *userdata,
	struct ig_ring **ret)
{
	_cleanup_free_ struct ig_ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	ring->record = record;
	ring->userdata = userdata;
	ring->record_bytes = record_bytes;
	ring->ring = ring_buffer__new(ring_fd, on_sample, ring, NULL);
	if (!ring->ring)
		return -errno;
	*ret = TAKE_PTR(ring);
	return 0;
}

struct ig_ring *ig_ring_free(struct ig_ring *ring)
{
	if (!ring)
		return NULL;
	ring_buffer__free(ring->ring);
	free(ring);
	return NULL;
}

int ig_ring_epoll_fd(const struct ig_ring *ring)
{
	return ring_buffer__epoll_fd(ring->ring);
}

int ig_ring_consume(struct ig_ring *ring, unsigned int max)
{
	int r;

	ring->left = max;
	r = ring_buffer__consume(ring->ring);
	return r == -ENOBUFS ? (int)max : r;
}
