/*
 * The two ends of the channels between monitor and server, against each other and against a peer
 * that does not keep to the protocol.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/link.h"
#include "base/cleanup.h"
#include "base/fdutil.h"
#include "monitor/channel.h"

struct fixture {
	struct event_base *base;
	struct ig_channel *channel;
	struct ig_link *link;
	int async_peer, sync_peer; /* the server's ends while there is no link */
	unsigned int requests, replies, notices;
	int broken, link_broken;
	int result; /* what the monitor answers */
	struct ig_monitor_message last;
	int last_fd;
};

static int on_request(const struct ig_monitor_request *request, struct ig_monitor_message *reply,
	int *ret_fd, void *userdata)
{
	struct fixture *f = userdata;

	f->requests++;
	if (request->kind == IG_MONITOR_CGROUP_PATH)
		(void)snprintf(reply->cgroup_path, sizeof(reply->cgroup_path), "/id-%u",
			(unsigned int)request->cgroup_id);
	if (request->kind == IG_MONITOR_UPSTREAM_SOCKET)
		*ret_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return f->result;
}

static void on_broken(int error, void *userdata)
{
	((struct fixture *)userdata)->broken = error;
}

static void on_notice(const struct ig_monitor_message *message, int fd, void *userdata)
{
	struct fixture *f = userdata;

	f->notices++;
	f->last = *message;
	(void)ig_close(f->last_fd);
	f->last_fd = fd;
}

static void on_link_broken(int error, void *userdata)
{
	struct fixture *f = userdata;

	f->link_broken = error;
	(void)event_base_loopbreak(f->base);
}

static void on_reply(const struct ig_monitor_message *reply, void *userdata)
{
	struct fixture *f = userdata;

	f->replies++;
	f->last = *reply;
}

/* So many sendmsg() fail with this errno. */
static int shortages, shortage;

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	if (shortages == 0)
		return __real_sendmsg(fd, msg, flags);
	shortages--;
	errno = shortage;
	return -1;
}

static const struct ig_channel_ops channel_ops = {.request = on_request, .broken = on_broken};
static const struct ig_link_ops link_ops = {.notice = on_notice, .broken = on_link_broken};

static int setup(void **state)
{
	static struct fixture f;
	int async_pair[2], sync_pair[2];

	f = (struct fixture){.last_fd = -1};
	f.base = event_base_new();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, async_pair) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync_pair) < 0)
		return -1;
	f.async_peer = async_pair[1];
	f.sync_peer = sync_pair[1];
	*state = &f;
	return ig_channel_new(f.base, async_pair[0], sync_pair[0], &channel_ops, &f, &f.channel);
}

static int setup_both(void **state)
{
	struct fixture *f;
	int r = setup(state);

	if (r < 0)
		return r;
	f = *state;
	r = ig_link_new(f->base, f->async_peer, f->sync_peer, &link_ops, f, &f->link);
	f->async_peer = f->sync_peer = -1;
	return r;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->link = ig_link_free(f->link);
	f->channel = ig_channel_free(f->channel);
	(void)ig_close(f->async_peer);
	(void)ig_close(f->sync_peer);
	(void)ig_close(f->last_fd);
	event_base_free(f->base);
	return 0;
}

static void run_loop(const struct fixture *f)
{
	for (int i = 0; i < 8; i++)
		(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void requests_are_answered_to_whom_asked(void **state)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_CGROUP_PATH, .cgroup_id = 7};
	struct fixture *f = *state;
	int other = 0;

	assert_int_equal(ig_link_request(f->link, &request, on_reply, f), 0);
	assert_int_equal(f->replies, 0);
	run_loop(f);
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->last.cgroup_path, "/id-7");
	assert_int_equal(f->last.request, IG_MONITOR_CGROUP_PATH);
	/* who does not wait any more is not called */
	assert_int_equal(ig_link_request(f->link, &request, on_reply, &other), 0);
	ig_link_forget(f->link, &other);
	assert_int_equal(ig_link_request(f->link, &request, NULL, NULL), 0);
	run_loop(f);
	assert_int_equal(f->requests, 3);
	assert_int_equal(f->replies, 1);
	assert_int_equal(f->link_broken, 0);
}

static void too_many_requests_are_refused_not_lost(void **state)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_CGROUP_PATH, .cgroup_id = 1};
	struct fixture *f = *state;
	unsigned int sent = 0;

	while (ig_link_request(f->link, &request, on_reply, f) == 0)
		sent++;
	assert_true(sent > 0 && sent <= IG_MONITOR_REQUESTS_MAX);
	assert_int_equal(ig_link_request(f->link, &request, on_reply, f), -EBUSY);
	while (f->replies < sent && !f->link_broken && !f->broken)
		(void)event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(f->replies, sent);
	assert_int_equal(ig_link_request(f->link, &request, on_reply, f), 0);
}

static void notices_come_in_order_with_their_descriptors(void **state)
{
	struct fixture *f = *state;
	unsigned int n = 0;

	/* more than any socket buffer holds: the rest is queued and follows */
	for (; n < 4000; n++) {
		struct ig_monitor_message m = {
			.kind = IG_MONITOR_LISTENER_OPENED, .listener = {.netns_cookie = n}};
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			break; /* the descriptor limit of this machine */
		assert_int_equal(ig_channel_send(f->channel, &m, &fd, 1), 0);
		(void)close(fd);
		if (n % 100 == 99)
			run_loop(f);
	}
	while (f->notices < n && !f->link_broken)
		(void)event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(f->notices, n);
	assert_int_equal(f->last.listener.netns_cookie, n - 1);
	assert_true(f->last_fd >= 0);
}

static void a_peer_that_closes_breaks_the_channel(void **state)
{
	struct fixture *f = *state;

	f->async_peer = ig_close(f->async_peer);
	run_loop(f);
	assert_int_equal(f->broken, -EPIPE);
	assert_int_equal(ig_channel_send(f->channel, &f->last, NULL, 0), -EPIPE);
}

static void short_requests_end_the_relation(void **state)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_CGROUP_PATH};
	struct fixture *f = *state;

	assert_int_equal(ig_fd_send(f->async_peer, &request, sizeof(request) - 1, NULL, 0), 0);
	run_loop(f);
	assert_int_equal(f->broken, -EBADMSG);
	assert_int_equal(f->requests, 0);
}

static void long_requests_end_the_relation(void **state)
{
	struct fixture *f = *state;
	char big[sizeof(struct ig_monitor_request) + 1] = {IG_MONITOR_COUNTERS};

	assert_int_equal(ig_fd_send(f->sync_peer, big, sizeof(big), NULL, 0), 0);
	run_loop(f);
	assert_int_equal(f->broken, -EBADMSG);
	assert_int_equal(f->requests, 0);
}

static void unknown_requests_end_the_relation(void **state)
{
	struct ig_monitor_request request = {.kind = _IG_MONITOR_REQUEST_MAX};
	struct fixture *f = *state;

	assert_int_equal(ig_fd_send(f->async_peer, &request, sizeof(request), NULL, 0), 0);
	run_loop(f);
	assert_int_equal(f->broken, -EBADMSG);
	assert_int_equal(f->requests, 0);
}

static void requests_at_the_wrong_time_end_the_relation(void **state)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_READY};
	struct fixture *f = *state;
	char byte;

	f->result = -EPROTO;
	assert_int_equal(ig_fd_send(f->async_peer, &request, sizeof(request), NULL, 0), 0);
	run_loop(f);
	assert_int_equal(f->broken, -EPROTO);
	assert_int_equal(f->requests, 1);
	/* and are not answered */
	assert_int_equal(recv(f->async_peer, &byte, 1, MSG_DONTWAIT), -1);
}

static void descriptors_from_the_server_end_the_relation(void **state)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_COUNTERS};
	_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct fixture *f = *state;

	assert_int_equal(ig_fd_send(f->async_peer, &request, sizeof(request), &fd, 1), 0);
	run_loop(f);
	assert_int_equal(f->broken, -EBADMSG);
	assert_int_equal(f->requests, 0);
}

static void hello_must_be_what_it_is(void **state)
{
	struct fixture *f = *state;
	struct ig_monitor_message hello = {.kind = IG_MONITOR_HELLO,
		.hello = {.abi_version = IG_ABI_VERSION, .host_netns_cookie = 5}};
	struct ig_monitor_message got;
	_cleanup_close_ int flows = -1, events = -1, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fds[] = {null, null};

	assert_int_equal(ig_channel_send(f->channel, &hello, fds, 2), 0);
	assert_int_equal(ig_link_hello(f->async_peer, &got, &flows, &events), 0);
	assert_int_equal(got.hello.host_netns_cookie, 5);
	assert_true(flows >= 0 && events >= 0);
	/* without its descriptors, or of another version, it is none */
	assert_int_equal(ig_channel_send(f->channel, &hello, fds, 1), 0);
	assert_int_equal(ig_link_hello(f->async_peer, &got, &flows, &events), -EBADMSG);
	hello.hello.abi_version++;
	assert_int_equal(ig_channel_send(f->channel, &hello, fds, 2), 0);
	assert_int_equal(ig_link_hello(f->async_peer, &got, &flows, &events), -EBADMSG);
}

static void nonsense_from_the_monitor_is_noticed(void **state)
{
	struct ig_monitor_message reply = {.kind = IG_MONITOR_REPLY, .seq = 99};
	struct fixture *f = *state;

	assert_int_equal(ig_channel_send(f->channel, &reply, NULL, 0), 0);
	run_loop(f);
	assert_int_equal(f->link_broken, -EBADMSG);
}

static void a_kernel_short_of_memory_delays_and_loses_nothing(void **state)
{
	static const int errors[] = {ENOBUFS, ENOMEM, ETOOMANYREFS};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		struct ig_monitor_message notice = {.kind = IG_MONITOR_LISTENER_CLOSED};

		f->notices = 0;
		shortage = errors[i];
		shortages = 3;
		for (uint64_t n = 1; n <= 2; n++) {
			notice.listener.netns_cookie = n;
			assert_int_equal(ig_channel_send(f->channel, &notice, NULL, 0), 0);
		}
		run_loop(f);
		assert_int_equal(shortages, 0);
		assert_int_equal(f->notices, 2);
		assert_int_equal(f->last.listener.netns_cookie, 2);
		assert_int_equal(f->broken, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			requests_are_answered_to_whom_asked, setup_both, teardown),
		cmocka_unit_test_setup_teardown(
			too_many_requests_are_refused_not_lost, setup_both, teardown),
		cmocka_unit_test_setup_teardown(
			notices_come_in_order_with_their_descriptors, setup_both, teardown),
		cmocka_unit_test_setup_teardown(
			a_peer_that_closes_breaks_the_channel, setup, teardown),
		cmocka_unit_test_setup_teardown(short_requests_end_the_relation, setup, teardown),
		cmocka_unit_test_setup_teardown(long_requests_end_the_relation, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_requests_end_the_relation, setup, teardown),
		cmocka_unit_test_setup_teardown(
			requests_at_the_wrong_time_end_the_relation, setup, teardown),
		cmocka_unit_test_setup_teardown(
			descriptors_from_the_server_end_the_relation, setup, teardown),
		cmocka_unit_test_setup_teardown(hello_must_be_what_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(
			nonsense_from_the_monitor_is_noticed, setup_both, teardown),
		cmocka_unit_test_setup_teardown(
			a_kernel_short_of_memory_delays_and_loses_nothing, setup_both, teardown),
	};

	return cmocka_run_group_tests_name("monitor/channel", tests, NULL, NULL);
}
