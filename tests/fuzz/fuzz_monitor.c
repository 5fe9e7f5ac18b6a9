/*
 * The channels between monitor and server, each end against a peer that keeps to nothing. Bit 7 of
 * the first byte says whose end it is; then come datagrams: a byte with channel, descriptors, form
 * and what happens next, then the bytes.
 *
 * The monitor has root's rights and must stay sane whatever the server sends: a reply for each
 * request and no other, texts that end, verdicts that exist, no descriptor that is forgotten.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link.h"
#include "base/fdutil.h"
#include "datapath/datapath.h"
#include "monitor/channel.h"
#include "monitor/requests.h"

#define SECOND_CHANNEL 0x01
#define FDS(op)	       ((op) >> 1 & 3)
#define RAW	       0x08
#define READ_REPLIES   0x10
#define TURN	       0x20
#define NOTICE	       0x40

static struct world {
	struct event_base *base;
	struct ig_channel *channel;
	struct ig_requests *requests;
	struct ig_link *link;
	int peers[2]; /* async, sync */
	bool broken, sees_monitor;
	unsigned int served[2], replied[2], asked, answered;
} world;

/* ---- the data path --------------------------------------------------------------------------- */

int __wrap_open_by_handle_at(int fd, struct file_handle *handle, int flags);
int __wrap_ig_datapath_cgroup_fd(const struct ig_datapath *dp);
int __wrap_ig_datapath_flows_fd(const struct ig_datapath *dp);
int __wrap_ig_datapath_upstream_mark(struct ig_datapath *dp, int sock);
int __wrap_ig_datapath_workload_set(
	struct ig_datapath *dp, uint64_t cgroup_id, const struct ig_workload_entry *entry);
int __wrap_ig_datapath_workload_get(
	struct ig_datapath *dp, uint64_t cgroup_id, struct ig_workload_entry *ret);
int __wrap_ig_datapath_workload_delete(struct ig_datapath *dp, uint64_t cgroup_id);
int __wrap_ig_datapath_workloads_sweep(
	struct ig_datapath *dp, bool (*keep)(uint64_t, void *), void *userdata);
int __wrap_ig_datapath_counters(struct ig_datapath *dp, uint64_t ret[_IG_COUNTER_MAX]);
int __wrap_ig_sources_find(struct ig_sources *sources, unsigned int ifindex,
	uint64_t *ret_netns_cookie, uint64_t *ret_cgroup_id);
int __wrap_ig_flow_take(int flows_fd, const struct ig_flow_key *key, struct ig_flow *ret);

int __wrap_open_by_handle_at(int fd, struct file_handle *handle, int flags)
{
	static const char *const places[] = {"/", "/proc", "/proc/self/fd", "/tmp"};

	(void)fd;
	(void)flags;
	if (handle->f_handle[0] & 0x80) {
		errno = ESTALE;
		return -1;
	}
	return open(places[handle->f_handle[0] & 3], O_PATH | O_CLOEXEC);
}

int __wrap_ig_datapath_cgroup_fd(const struct ig_datapath *dp)
{
	static int fd = -1;

	(void)dp;
	if (fd < 0)
		fd = open("/proc", O_PATH | O_CLOEXEC);
	return fd;
}

int __wrap_ig_datapath_flows_fd(const struct ig_datapath *dp)
{
	(void)dp;
	return -1;
}

int __wrap_ig_datapath_upstream_mark(struct ig_datapath *dp, int sock)
{
	int type = 0;
	socklen_t len = sizeof(type);

	(void)dp;
	FUZZ_CHECK(getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM);
	return 0;
}

int __wrap_ig_datapath_workload_set(
	struct ig_datapath *dp, uint64_t cgroup_id, const struct ig_workload_entry *entry)
{
	(void)dp;
	(void)cgroup_id;
	for (int i = 0; i < _IG_ENDPOINT_MAX; i++)
		FUZZ_CHECK(entry->verdict[i] < _IG_VERDICT_MAX);
	FUZZ_CHECK(entry->covers_many <= 1);
	return 0;
}

/* Every other one has an entry, which lets it pass. */
int __wrap_ig_datapath_workload_get(
	struct ig_datapath *dp, uint64_t cgroup_id, struct ig_workload_entry *ret)
{
	(void)dp;
	if (cgroup_id % 2 == 0)
		return -ENOENT;
	*ret = (struct ig_workload_entry){};
	for (int i = 0; i < _IG_ENDPOINT_MAX; i++)
		ret->verdict[i] = IG_VERDICT_PASS;
	return 0;
}

int __wrap_ig_datapath_workload_delete(struct ig_datapath *dp, uint64_t cgroup_id)
{
	(void)dp;
	(void)cgroup_id;
	return 0;
}

int __wrap_ig_datapath_workloads_sweep(
	struct ig_datapath *dp, bool (*keep)(uint64_t, void *), void *userdata)
{
	(void)dp;
	for (uint64_t id = 0; id < 4; id++)
		(void)keep(id, userdata);
	return 0;
}

int __wrap_ig_datapath_counters(struct ig_datapath *dp, uint64_t ret[_IG_COUNTER_MAX])
{
	(void)dp;
	memset(ret, 0x5a, _IG_COUNTER_MAX * sizeof(*ret));
	return 0;
}

int __wrap_ig_sources_find(struct ig_sources *sources, unsigned int ifindex,
	uint64_t *ret_netns_cookie, uint64_t *ret_cgroup_id)
{
	(void)sources;
	*ret_netns_cookie = *ret_cgroup_id = 0;
	if (ifindex & 1)
		return -ENOENT;
	*ret_netns_cookie = *ret_cgroup_id = ifindex;
	return 0;
}

int __wrap_ig_flow_take(int flows_fd, const struct ig_flow_key *key, struct ig_flow *ret)
{
	(void)flows_fd;
	if (key->netns_cookie & 1)
		return -ENOENT;
	memset(ret, 0x5a, sizeof(*ret));
	return 0;
}

/* ---- the two ends ---------------------------------------------------------------------------- */

static int on_request(const struct ig_monitor_request *request, struct ig_monitor_message *reply,
	int *ret_fd, void *userdata)
{
	int r;

	(void)userdata;
	FUZZ_CHECK(request->kind > 0 && request->kind < _IG_MONITOR_REQUEST_MAX);
	r = ig_requests_admit(world.requests, request);
	if (r == 0)
		r = ig_requests_serve(world.requests, request, reply, ret_fd);
	FUZZ_CHECK(*ret_fd < 0 || (r == 0 && request->kind == IG_MONITOR_UPSTREAM_SOCKET));
	FUZZ_CHECK(r <= 0);
	return r;
}

static void on_broken(int error, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(error < 0 && !world.broken);
	world.broken = true;
}

static void on_notice(const struct ig_monitor_message *message, int fd, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(message->kind != IG_MONITOR_REPLY);
	if (fd >= 0)
		(void)close(fd);
}

static void on_link_broken(int error, void *userdata)
{
	on_broken(error, userdata);
	(void)event_base_loopbreak(world.base);
}

static void on_reply(const struct ig_monitor_message *reply, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(reply->kind == IG_MONITOR_REPLY);
	world.answered++;
}

static const struct ig_channel_ops channel_ops = {.request = on_request, .broken = on_broken};
static const struct ig_link_ops link_ops = {.notice = on_notice, .broken = on_link_broken};

/* ---- the peer -------------------------------------------------------------------------------- */

static void check_reply(const struct ig_monitor_message *reply, size_t len)
{
	FUZZ_CHECK(len == sizeof(*reply) && reply->kind == IG_MONITOR_REPLY && reply->result <= 0);
	if (reply->request == IG_MONITOR_CGROUP_PATH)
		FUZZ_CHECK(memchr(reply->cgroup_path, '\0', sizeof(reply->cgroup_path)));
	if (reply->request == IG_MONITOR_PROCESS)
		FUZZ_CHECK(memchr(reply->process.path, '\0', sizeof(reply->process.path)));
}

static void read_replies(void)
{
	struct ig_monitor_message reply;

	for (int i = 0; i < 2; i++) {
		for (;;) {
			int fd = -1;
			size_t n_fds = 0;
			ssize_t n =
				ig_fd_recv(world.peers[i], &reply, sizeof(reply), &fd, 1, &n_fds);

			if (n <= 0)
				break;
			if (!world.sees_monitor)
				check_reply(&reply, (size_t)n);
			if (fd >= 0)
				(void)close(fd);
		}
	}
}

static void turn(void)
{
	for (int i = 0; i < 3 && !world.broken; i++)
		(void)event_base_loop(world.base, EVLOOP_NONBLOCK);
}

static void take(struct fuzz_input *in, void *to, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(to, 0, len);
	memcpy(to, in->data, n);
	in->data += n;
	in->left -= n;
}

/* Sends a datagram of any length; one of the right size has a kind of the first ones. */
static void send_datagram(struct fuzz_input *in, uint8_t op)
{
	static const int fds[3] = {0, 1, 2};
	uint8_t bytes[sizeof(struct ig_monitor_message) + 256];
	uint32_t kind = fuzz_byte(in);
	size_t len = sizeof(struct ig_monitor_request);

	if (world.sees_monitor) {
		struct ig_monitor_message *message = (void *)bytes;

		len = sizeof(*message);
		memset(bytes, 0, sizeof(bytes));
		take(in, bytes, 48);
		message->kind = op & NOTICE ? 2 + kind % 5 : IG_MONITOR_REPLY;
		message->seq = world.answered + 1;
	} else {
		take(in, bytes, len);
		((struct ig_monitor_request *)(void *)bytes)->kind = kind % 12;
	}
	if (op & RAW) {
		len = (size_t)kind * 8 % sizeof(bytes);
		take(in, bytes, len);
	}
	(void)ig_fd_send(world.peers[op & SECOND_CHANNEL], bytes, len, fds, FDS(op));
}

static void ask(uint8_t op)
{
	struct ig_monitor_request request = {.kind = 1 + op % 8};
	uint64_t counters[_IG_COUNTER_MAX];
	int fd;

	if (ig_link_request(world.link, &request, on_reply, &world) == 0)
		world.asked++;
	if (op != 0xff)
		return;
	/* what is asked synchronously is answered by what is there, or the end */
	(void)shutdown(world.peers[1], SHUT_WR);
	fd = ig_link_upstream_socket(world.link, AF_INET);
	if (fd >= 0)
		(void)close(fd);
	(void)ig_link_counters(world.link, counters);
}

static void pair(int *ret_ours, int *ret_peer)
{
	int fds[2];

	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
	FUZZ_CHECK(ig_fd_set_nonblock(fds[1]) == 0);
	*ret_ours = fds[0];
	*ret_peer = fds[1];
}

static void open_world(bool sees_monitor)
{
	int ours[2];

	world = (struct world){.base = event_base_new(), .sees_monitor = sees_monitor};
	FUZZ_CHECK(world.base);
	pair(&ours[0], &world.peers[0]);
	pair(&ours[1], &world.peers[1]);
	if (sees_monitor) {
		FUZZ_CHECK(ig_link_new(world.base, ours[0], ours[1], &link_ops, NULL,
				   &world.link) == 0);
	} else {
		FUZZ_CHECK(ig_requests_new(NULL, NULL, &world.requests) == 0);
		FUZZ_CHECK(ig_channel_new(world.base, ours[0], ours[1], &channel_ops, NULL,
				   &world.channel) == 0);
	}
}

static int lowest_free(void)
{
	int fd = fcntl(0, F_DUPFD_CLOEXEC, 3);

	FUZZ_CHECK(fd >= 0);
	(void)close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	int before;

	(void)__wrap_ig_datapath_cgroup_fd(NULL);
	before = lowest_free();
	open_world(fuzz_byte(&in) & 0x80);
	for (int i = 0; in.left > 0 && i < 100 && !world.broken; i++) {
		uint8_t op = fuzz_byte(&in);

		if (world.sees_monitor && (op & (SECOND_CHANNEL | NOTICE)) == 0)
			ask(fuzz_byte(&in));
		send_datagram(&in, op);
		if (op & TURN)
			turn();
		if (op & READ_REPLIES)
			read_replies();
	}
	turn();
	read_replies();
	FUZZ_CHECK(world.answered <= world.asked);
	(void)ig_link_free(world.link);
	(void)ig_channel_free(world.channel);
	(void)ig_requests_free(world.requests);
	event_base_free(world.base);
	(void)close(world.peers[0]);
	(void)close(world.peers[1]);
	FUZZ_CHECK(lowest_free() == before);
	return 0;
}
