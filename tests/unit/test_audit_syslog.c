/*
 * The syslog sink: what a message looks like, what a target may be, and what a receiver gets that
 * comes late, leaves and returns. The receivers here are sockets of the test; a real one is in
 * tests/netns/test_audit_syslog.py.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "audit/sink_syslog.h"
#include "audit/syslog_format.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define RUN	  "0123456789abcdef"
#define WAIT_MSEC 10000
#define SEEN_MAX  20000

static struct ig_audit_line *make_line(uint64_t seq)
{
	char text[64];
	struct ig_audit_line *line;
	int n = snprintf(text, sizeof(text), "{\"seq\":%ju}\n", (uintmax_t)seq);

	line = ig_audit_line_new(text, (size_t)n);
	assert_non_null(line);
	line->seq = seq;
	line->time_usec = 1767323045678901ULL;
	line->kind = IG_AUDIT_TOKEN_DENIED;
	line->decision = IG_AUDIT_DENY;
	return line;
}

/* ---- send ------------------------------------------------------------------------------------ */

/* Not NULL: of what is sent next, half is taken, and then nothing until the sink has to stop. */
static struct ig_audit_queue *_Atomic slow;
static atomic_bool is_half_sent;

ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	struct ig_audit_queue *queue = atomic_load(&slow);

	if (!queue)
		return __real_send(fd, data, len, flags);
	if (!atomic_exchange(&is_half_sent, true))
		return __real_send(fd, data, len / 2, flags);
	while (!(ig_audit_queue_wait(queue, SIZE_MAX, 0) & IG_AUDIT_QUEUE_STOP))
		continue;
	atomic_store(&slow, NULL);
	errno = EAGAIN;
	return -1;
}

/* ---- messages and targets -------------------------------------------------------------------- */

static void test_message(void **state)
{
	struct ig_audit_line *line = make_line(7);
	struct ig_buf b = {.limit = 4096};

	(void)state;
	ig_syslog_format(line, "node-1", RUN, 42, &b);
	assert_string_equal(b.data,
		"<84>1 2026-01-02T03:04:05.678901Z node-1 imdsgate 42 token.denied [imdsgate@32473 seq=\"7\" run=\"" RUN
		"\"] {\"seq\":7}");
	ig_buf_done(&b);
	(void)ig_audit_line_unref(line);
}

static void test_severity_and_host(void **state)
{
	static const struct {
		enum ig_audit_kind kind;
		enum ig_audit_decision decision;
		const char *host, *start;
	} rows[] = {
		{IG_AUDIT_TOKEN_ISSUED, IG_AUDIT_ALLOW, "n",
			"<86>1 2026-01-02T03:04:05.678901Z n "},
		{IG_AUDIT_TOKEN_DENIED, IG_AUDIT_DENY, "", "<84>1 2026-01-02T03:04:05.678901Z - "},
		{IG_AUDIT_TOKEN_FAILED, IG_AUDIT_ERROR, "a b\n\xc3\xbc",
			"<83>1 2026-01-02T03:04:05.678901Z a_b___ "},
		{IG_AUDIT_AGENT_STARTED, IG_AUDIT_DECISION_NONE, "n",
			"<85>1 2026-01-02T03:04:05.678901Z n "},
		{IG_AUDIT_EVENTS_LOST, IG_AUDIT_DECISION_NONE, "n",
			"<84>1 2026-01-02T03:04:05.678901Z n "},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		struct ig_audit_line *line = make_line(1);
		struct ig_buf b = {.limit = 4096};

		line->kind = rows[i].kind;
		line->decision = rows[i].decision;
		ig_syslog_format(line, rows[i].host, RUN, 1, &b);
		assert_memory_equal(b.data, rows[i].start, strlen(rows[i].start));
		ig_buf_done(&b);
		(void)ig_audit_line_unref(line);
	}
}

/* Every kind is a MSGID, and the head never exceeds what there is room for. */
static void test_limits_of_the_head(void **state)
{
	char host[600];

	(void)state;
	memset(host, 'h', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	for (unsigned int kind = 0; kind < _IG_AUDIT_KIND_MAX; kind++) {
		struct ig_audit_line *line = make_line(UINT64_MAX);
		struct ig_buf b = {.limit = 4096};

		assert_in_range(strlen(ig_audit_kind_name((enum ig_audit_kind)kind)), 1, 32);
		line->kind = (enum ig_audit_kind)kind;
		ig_syslog_format(line, host, RUN, UINT32_MAX, &b);
		assert_in_range(b.len - (line->len - 1), 255, IG_SYSLOG_HEAD_BYTES);
		ig_buf_done(&b);
		(void)ig_audit_line_unref(line);
	}
}

static void test_targets(void **state)
{
	static const struct {
		const char *url;
		enum ig_syslog_transport transport;
		const char *host, *port;
	} good[] = {
		{"unix:/dev/log", IG_SYSLOG_UNIX, "/dev/log", ""},
		{"tcp://logs.example:1514", IG_SYSLOG_TCP, "logs.example", "1514"},
		{"tcp://10.0.0.1", IG_SYSLOG_TCP, "10.0.0.1", "514"},
		{"tls://logs.example", IG_SYSLOG_TLS, "logs.example", "6514"},
		{"tls://[2001:db8::1]:99", IG_SYSLOG_TLS, "2001:db8::1", "99"},
		{"tcp://[::1]", IG_SYSLOG_TCP, "::1", "514"},
	};
	static const char *const bad[] = {"", "unix:dev/log", "udp://h:1", "tcp://", "tcp://:1",
		"tcp://h:0", "tcp://h:65536", "tcp://h:", "tcp://h/x", "tcp://u@h", "tls://[::1",
		"tls://[::1]x", "tls://[]:1", "tcp://h h"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(good); i++) {
		struct ig_syslog_target t;

		assert_int_equal(ig_syslog_target_parse(good[i].url, &t, NULL), 0);
		assert_int_equal(t.transport, good[i].transport);
		assert_string_equal(t.host, good[i].host);
		assert_string_equal(t.port, good[i].port);
	}
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		struct ig_syslog_target t;

		assert_int_equal(ig_syslog_target_parse(bad[i], &t, NULL), -EINVAL);
	}
}

/* ---- the sink -------------------------------------------------------------------------------- */

struct fixture {
	struct ig_audit_sink *sink;
	int listener;
	char url[64];
	bool seen[SEEN_MAX];
	size_t n_seen;
};

static int bind_tcp(uint16_t port, uint16_t *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(port)};
	socklen_t len = sizeof(address);
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void start(struct fixture *f, const char *url, size_t queue_lines)
{
	struct ig_audit_syslog_options options = {
		.node = "n", .run_id = RUN, .queue_lines = queue_lines};

	assert_int_equal(ig_syslog_target_parse(url, &options.target, NULL), 0);
	assert_int_equal(ig_audit_sink_syslog_new(&options, &f->sink, NULL), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->listener = -1;
	*state = f;
	return 0;
}

static void finish(struct fixture *f)
{
	ig_audit_queue_stop(f->sink->queue);
	f->sink->ops->finish(f->sink, ig_clock_mono_usec() + 10 * IG_USEC_PER_SEC);
	f->sink = ig_audit_sink_free(f->sink);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->sink)
		finish(f);
	if (f->listener >= 0)
		(void)close(f->listener);
	free(f);
	return 0;
}

static bool push(struct fixture *f, uint64_t seq)
{
	struct ig_audit_line *line = make_line(seq);
	bool taken = ig_audit_queue_push(f->sink->queue, line);

	(void)ig_audit_line_unref(line);
	return taken;
}

static void note(struct fixture *f, const char *message)
{
	const char *at = strstr(message, " {\"seq\":");
	unsigned long seq = 0;

	assert_non_null(at);
	assert_int_equal(sscanf(at, " {\"seq\":%lu}", &seq), 1);
	assert_in_range(seq, 1, SEEN_MAX - 1);
	f->n_seen += !f->seen[seq];
	f->seen[seq] = true;
}

static int accept_one(const struct fixture *f)
{
	struct pollfd p = {.fd = f->listener, .events = POLLIN};

	assert_int_equal(poll(&p, 1, WAIT_MSEC), 1);
	return accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
}

static void read_exactly(int fd, char *buf, size_t len)
{
	while (len > 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&p, 1, WAIT_MSEC), 1);
		n = read(fd, buf, len);
		assert_true(n > 0);
		buf += n;
		len -= (size_t)n;
	}
}

/* One octet-counted frame. */
static void read_frame(struct fixture *f, int fd)
{
	char message[2048];
	size_t len = 0;
	char c;

	for (read_exactly(fd, &c, 1); c != ' '; read_exactly(fd, &c, 1)) {
		assert_in_range(c, '0', '9');
		len = 10 * len + (size_t)(c - '0');
	}
	assert_in_range(len, 50, sizeof(message) - 1);
	read_exactly(fd, message, len);
	message[len] = '\0';
	assert_memory_equal(message, "<84>1 ", 6);
	assert_int_equal(message[len - 1], '}');
	note(f, message);
}

static void start_tcp(struct fixture *f, size_t queue_lines)
{
	uint16_t port;

	f->listener = bind_tcp(0, &port);
	(void)snprintf(f->url, sizeof(f->url), "tcp://127.0.0.1:%u", port);
	start(f, f->url, queue_lines);
}

static void test_frames_over_tcp(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = -1;

	start_tcp(f, 0);
	fd = accept_one(f);
	for (uint64_t seq = 1; seq <= 3000; seq++) /* more than one window */
		assert_true(push(f, seq));
	while (f->n_seen < 3000)
		read_frame(f, fd);
	finish(f); /* at the end everything counts as delivered, at once */
	assert_int_equal(f->n_seen, 3000);
}

/* What the receiver's machine had acknowledged but the receiver had not read comes again. */
static void test_a_receiver_that_restarts(void **state)
{
	struct fixture *f = *state;
	int fd;

	start_tcp(f, 0);
	fd = accept_one(f);
	for (uint64_t seq = 1; seq <= 100; seq++)
		assert_true(push(f, seq));
	for (int i = 0; i < 40; i++)
		read_frame(f, fd);
	assert_int_equal(f->n_seen, 40);
	(void)close(fd); /* with 60 unread */
	for (uint64_t seq = 101; seq <= 150; seq++)
		assert_true(push(f, seq));
	fd = accept_one(f);
	while (f->n_seen < 150)
		read_frame(f, fd);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).lost, 0);
	finish(f);
	(void)close(fd);
}

static void wait_error(struct fixture *f, bool wanted)
{
	struct pollfd p = {.fd = ig_audit_queue_notify_fd(f->sink->queue), .events = POLLIN};

	while (!ig_audit_queue_stats(f->sink->queue).error == wanted) {
		assert_int_equal(poll(&p, 1, WAIT_MSEC), 1);
		ig_audit_queue_acknowledge(f->sink->queue);
	}
}

/* Nobody is there for a while: lines wait, what does not fit is counted, the rest arrives. */
static void test_a_receiver_that_comes_late(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = -1;
	uint16_t port;

	f->listener = bind_tcp(0, &port);
	(void)close(f->listener);
	f->listener = -1;
	(void)snprintf(f->url, sizeof(f->url), "tcp://127.0.0.1:%u", port);
	start(f, f->url, 10);
	wait_error(f, true);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).error, -ECONNREFUSED);
	for (uint64_t seq = 1; seq <= 10; seq++)
		assert_true(push(f, seq));
	assert_false(push(f, 11));
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).lost, 1);
	f->listener = bind_tcp(port, &port);
	ig_audit_queue_reopen(f->sink->queue); /* need not wait for the pause to end */
	fd = accept_one(f);
	while (f->n_seen < 10)
		read_frame(f, fd);
	wait_error(f, false);
}

/* A receiver that reads nothing: the sending stops, the queue fills, nothing else happens. */
static void test_a_receiver_that_hangs(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = -1;
	uint64_t seq = 1;

	start_tcp(f, 2000);
	fd = accept_one(f);
	while (seq < SEEN_MAX && ig_audit_queue_stats(f->sink->queue).lost == 0)
		(void)push(f, seq++);
	assert_true(seq < SEEN_MAX);
	for (uint64_t left = seq - 2; f->n_seen < left;)
		read_frame(f, fd);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).lost, 1);
}

/* The agent ends while a receiver is slow in the middle of a record. It goes on where it stopped:
 * the frames behind half of one would be the rest of its text. */
static void test_the_end_in_the_middle_of_a_record(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = -1;

	start_tcp(f, 0);
	fd = accept_one(f);
	atomic_store(&slow, f->sink->queue);
	assert_true(push(f, 1));
	assert_true(push(f, 2));
	while (!atomic_load(&is_half_sent))
		(void)sched_yield();
	finish(f);
	read_frame(f, fd);
	read_frame(f, fd);
	assert_int_equal(f->n_seen, 2);
}

/* A balancer without a receiver behind it: takes each connection, and ends it. Neither it nor the
 * agent's log is to be flooded. */
static void test_a_receiver_that_hangs_up_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t end = ig_clock_mono_usec() + IG_USEC_PER_SEC, now;
	unsigned int n = 0;

	start_tcp(f, 0);
	while ((now = ig_clock_mono_usec()) < end) {
		struct pollfd p = {.fd = f->listener, .events = POLLIN};

		if (poll(&p, 1, (int)((end - now) / IG_USEC_PER_MSEC) + 1) > 0) {
			(void)close(accept4(f->listener, NULL, NULL, SOCK_CLOEXEC));
			assert_true(push(f, ++n));
		}
	}
	/* at once, and after 0.1, 0.2 and 0.4 seconds */
	assert_in_range(n, 2, 5);
	assert_in_range(ig_audit_queue_stats(f->sink->queue).failures, 1, 5);
}

static void test_datagrams_over_a_unix_socket(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char url[128], message[2048];

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/igsyslog-%d", getpid());
	(void)snprintf(url, sizeof(url), "unix:%s", address.sun_path);
	for (int round = 0; round < 2; round++) {
		_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		size_t wanted = round ? 80 : 30;

		assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
		if (!round)
			start(f, url, 0);
		/* in the second round the first 50 come again, which nobody had read */
		for (uint64_t seq = round ? 51 : 1; seq <= (round ? 80 : 50); seq++)
			assert_true(push(f, seq));
		while (f->n_seen < wanted) {
			struct pollfd p = {.fd = fd, .events = POLLIN};
			ssize_t n;

			assert_int_equal(poll(&p, 1, WAIT_MSEC), 1);
			n = recv(fd, message, sizeof(message) - 1, 0);
			assert_true(n > 0);
			message[n] = '\0';
			note(f, message);
		}
		assert_int_equal(unlink(address.sun_path), 0);
	}
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).lost, 0);
}

static void test_tls_needs_authorities(void **state)
{
	struct ig_audit_syslog_options options = {
		.node = "", .run_id = RUN, .ca_file = "/nonexistent/ca.pem"};
	struct ig_audit_sink *sink = NULL;
	struct ig_err err = {};

	(void)state;
	assert_int_equal(ig_syslog_target_parse("tls://localhost", &options.target, NULL), 0);
	assert_int_equal(ig_audit_sink_syslog_new(&options, &sink, &err), -EINVAL);
	assert_non_null(strstr(err.message, "/nonexistent/ca.pem"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_severity_and_host),
		cmocka_unit_test(test_limits_of_the_head),
		cmocka_unit_test(test_targets),
		T(test_frames_over_tcp),
		T(test_a_receiver_that_restarts),
		T(test_a_receiver_that_comes_late),
		T(test_a_receiver_that_hangs),
		T(test_the_end_in_the_middle_of_a_record),
		T(test_a_receiver_that_hangs_up_at_once),
		T(test_datagrams_over_a_unix_socket),
		cmocka_unit_test(test_tls_needs_authorities),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("audit/syslog", tests, NULL, NULL);
}
