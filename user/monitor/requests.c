/*
 * The request table; see requests.h. One function per request, each with its checks in front.
 */
#include "monitor/requests.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/table.h"
#include "datapath/datapath.h"
#include "monitor/session.h"
#include "monitor/sources.h"
#include "workload/process.h"

struct session_workload {
	uint64_t cgroup_id;
	struct ig_workload_entry entry;
	UT_hash_handle hh;
};

struct ig_requests {
	struct ig_datapath *dp; /* both outlive this */
	struct ig_sources *sources;
	struct ig_session session;	    /* of the server process that runs */
	struct session_workload *workloads; /* what it has set */
	bool held;			    /* the maps are another agent's */
	bool synced;			    /* it has said that this is all */
	bool revoked;			    /* somebody may not pass any more */
};

typedef int request_fn(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd);

int ig_requests_new(struct ig_datapath *dp, struct ig_sources *sources, struct ig_requests **ret)
{
	struct ig_requests *requests = calloc(1, sizeof(*requests));

	if (!requests)
		return -ENOMEM;
	requests->dp = dp;
	requests->sources = sources;
	*ret = requests;
	return 0;
}

void ig_requests_new_session(struct ig_requests *requests)
{
	struct session_workload *w, *next;

	ig_session_begin(&requests->session, ig_clock_mono_usec());
	HASH_ITER (hh, requests->workloads, w, next) {
		HASH_DEL(requests->workloads, w);
		free(w);
	}
	requests->synced = false;
}

void ig_requests_hold(struct ig_requests *requests)
{
	requests->held = true;
}

void ig_requests_drain(struct ig_requests *requests)
{
	ig_requests_hold(requests);
	ig_session_drain(&requests->session);
}

struct ig_requests *ig_requests_free(struct ig_requests *requests)
{
	if (!requests)
		return NULL;
	ig_requests_new_session(requests);
	free(requests);
	return NULL;
}

int ig_requests_admit(struct ig_requests *requests, const struct ig_monitor_request *request)
{
	return ig_session_admit(&requests->session, request->kind, ig_clock_mono_usec());
}

static int cgroup_path(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	(void)ret_fd;
	return ig_cgroup_path_by_id(ig_datapath_cgroup_fd(requests->dp), request->cgroup_id,
		reply->cgroup_path, sizeof(reply->cgroup_path));
}

static int process(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	bool deleted = false;
	int r;

	(void)requests;
	(void)ret_fd;
	r = ig_process_exe(request->process.tgid, request->process.start_time_ns,
		request->process.exe_inode, reply->process.path, sizeof(reply->process.path),
		&deleted);
	reply->process.deleted = deleted;
	return r;
}

static int upstream_socket(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int r;

	(void)reply;
	if (request->upstream.family != AF_INET && request->upstream.family != AF_INET6)
		return -EINVAL;
	fd = socket((int)request->upstream.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	r = ig_datapath_upstream_mark(requests->dp, fd);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Before the map changes. now NULL: the entry goes. */
static void note_revoked(
	struct ig_requests *requests, uint64_t cgroup_id, const struct ig_workload_entry *now)
{
	struct ig_workload_entry old;

	if (ig_datapath_workload_get(requests->dp, cgroup_id, &old) < 0)
		return;
	for (int i = 0; i < _IG_ENDPOINT_MAX; i++)
		if (old.verdict[i] == IG_VERDICT_PASS &&
			(!now || now->verdict[i] != IG_VERDICT_PASS))
			requests->revoked = true;
}

bool ig_requests_take_revoked(struct ig_requests *requests)
{
	bool revoked = requests->revoked;

	requests->revoked = false;
	return revoked;
}

static struct session_workload *find(struct ig_requests *requests, uint64_t cgroup_id)
{
	struct session_workload *w;

	HASH_FIND(hh, requests->workloads, &cgroup_id, sizeof(cgroup_id), w);
	return w;
}

static int workload_set(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	uint64_t cgroup_id = request->workload.cgroup_id;
	struct ig_workload_entry entry = {};
	struct session_workload *w;
	int r;

	(void)reply;
	(void)ret_fd;
	for (int i = 0; i < _IG_ENDPOINT_MAX; i++) {
		if (request->workload.entry.verdict[i] >= _IG_VERDICT_MAX)
			return -EINVAL;
		entry.verdict[i] = request->workload.entry.verdict[i];
	}
	entry.covers_many = request->workload.entry.covers_many != 0;
	r = ig_cgroup_id_check(ig_datapath_cgroup_fd(requests->dp), cgroup_id);
	if (r < 0)
		return r;
	w = find(requests, cgroup_id);
	if (!w) {
		if (HASH_COUNT(requests->workloads) >= IG_WORKLOADS_MAX)
			return -E2BIG;
		w = calloc(1, sizeof(*w));
		if (!w)
			return -ENOMEM;
		w->cgroup_id = cgroup_id;
		HASH_ADD(hh, requests->workloads, cgroup_id, sizeof(cgroup_id), w);
		if (!ig_table_has(w)) {
			free(w);
			return -ENOMEM;
		}
	}
	w->entry = entry;
	if (requests->held)
		return 0;
	note_revoked(requests, cgroup_id, &entry);
	return ig_datapath_workload_set(requests->dp, cgroup_id, &entry);
}

static int workload_delete(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	struct session_workload *w = find(requests, request->cgroup_id);

	(void)reply;
	(void)ret_fd;
	if (w) {
		HASH_DEL(requests->workloads, w);
		free(w);
	}
	if (requests->held)
		return 0;
	/* a workload that ended has nothing open */
	if (ig_cgroup_id_check(ig_datapath_cgroup_fd(requests->dp), request->cgroup_id) != -ENOENT)
		note_revoked(requests, request->cgroup_id, NULL);
	return ig_datapath_workload_delete(requests->dp, request->cgroup_id);
}

/* For sweeps: what is not goes. */
static bool is_in_session(uint64_t cgroup_id, void *userdata)
{
	if (find(userdata, cgroup_id))
		return true;
	note_revoked(userdata, cgroup_id, NULL);
	return false;
}

static int workloads_synced(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	int r = 0;

	(void)request;
	(void)reply;
	(void)ret_fd;
	requests->synced = true;
	if (!requests->held)
		r = ig_datapath_workloads_sweep(requests->dp, is_in_session, requests);
	return r < 0 ? r : 0;
}

int ig_requests_apply(struct ig_requests *requests)
{
	struct session_workload *w, *next;
	int r = 0;

	HASH_ITER (hh, requests->workloads, w, next) {
		note_revoked(requests, w->cgroup_id, &w->entry);
		if (r == 0)
			r = ig_datapath_workload_set(requests->dp, w->cgroup_id, &w->entry);
	}
	if (r == 0 && requests->synced)
		r = ig_datapath_workloads_sweep(requests->dp, is_in_session, requests);
	if (r < 0)
		return r;
	requests->held = false;
	return 0;
}

static int flow_take(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	(void)ret_fd;
	return ig_flow_take(ig_datapath_flows_fd(requests->dp), &request->flow, &reply->flow);
}

static int counters(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	(void)request;
	(void)ret_fd;
	return ig_datapath_counters(requests->dp, reply->counters);
}

static int source(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	(void)ret_fd;
	/* so are the listeners that it is looked up among */
	if (requests->held)
		return -ENOENT;
	return ig_sources_find(requests->sources, request->ifindex, &reply->source.netns_cookie,
		&reply->source.cgroup_id);
}

int ig_requests_serve(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd)
{
	static request_fn *const table[_IG_MONITOR_REQUEST_MAX] = {
		[IG_MONITOR_CGROUP_PATH] = cgroup_path,
		[IG_MONITOR_PROCESS] = process,
		[IG_MONITOR_UPSTREAM_SOCKET] = upstream_socket,
		[IG_MONITOR_WORKLOAD_SET] = workload_set,
		[IG_MONITOR_WORKLOAD_DELETE] = workload_delete,
		[IG_MONITOR_WORKLOADS_SYNCED] = workloads_synced,
		[IG_MONITOR_FLOW_TAKE] = flow_take,
		[IG_MONITOR_COUNTERS] = counters,
		[IG_MONITOR_SOURCE] = source,
	};

	if (request->kind >= _IG_MONITOR_REQUEST_MAX || !table[request->kind])
		return -EINVAL;
	return table[request->kind](requests, request, reply, ret_fd);
}
