/*
 * The server of the control socket, with raw peers in the same process. Link with
 * -Wl,--wrap=getsockopt, which lets a test be somebody else. The client: test_ctl_client.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "ctl/server.h"
#include "unit/ctl_fixture.h"

#define TURNS_MAX  20000
#define TIMERS_MAX 8
#define OTHER_UID  54321

struct fixture {
	struct place place;
	struct event_base *base;
	struct ig_ctl_server *server;
	struct ig_ctl_conn *stream; /* of the last "tail" */
	unsigned int closed;	    /* how often its on_close was called */
};

/* ---- somebody else --------------------------------------------------------------------------- */

static bool pretend_other_uid;

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	int r = __real_getsockopt(fd, level, name, value, len);

	if (r == 0 && level == SOL_SOCKET && name == SO_PEERCRED && pretend_other_uid)
		((struct ucred *)value)->uid = OTHER_UID;
	return r;
}

/* ---- verbs ----------------------------------------------------------------------------------- */

static int run_silent(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	(void)conn;
	(void)args;
	(void)userdata;
	(void)ret_result;
	(void)reterr_err;
	return -ENOENT;
}

static void on_closed(void *userdata)
{
	struct fixture *f = userdata;

	f->closed++;
	f->stream = NULL;
}

static int run_tail(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	struct fixture *f = userdata;
	json_t *eager = json_object_get(args, "eager");

	(void)reterr_err;
	(void)ret_result;
	f->stream = conn;
	ig_ctl_conn_on_close(conn, on_closed, f);
	if (eager && ig_ctl_conn_send(conn, "at once\n", 8) < 0)
		return -EIO;
	return json_is_string(eager) ? -EACCES : 0;
}

static const struct ig_ctl_verb verbs[] = {
	{"status", NULL, run_null},
	{"echo", "args", run_echo},
	{"fail", "denied", run_denied},
	{"fail", "silent", run_silent},
	{"large", "text", run_large},
	{"audit", "tail", run_tail},
	{},
};

/* ---- fixture --------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd = -1;

	assert_non_null(f);
	place_init(&f->place);
	f->base = event_base_new();
	assert_non_null(f->base);
	assert_int_equal(ig_ctl_listen(f->place.path, geteuid(), getegid(), &fd, NULL), 0);
	assert_int_equal(ig_ctl_server_new(f->base, fd, verbs, f, &f->server), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pretend_other_uid = false;
	(void)ig_ctl_server_free(f->server);
	if (f->base)
		event_base_free(f->base);
	place_done(&f->place);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

static void put(int fd, const char *text, size_t len)
{
	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

static void put_text(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

/* Takes turns with the server until the peer has received a line (whole false) or everything. */
static void collect(struct fixture *f, int fd, bool whole, struct ig_buf *b)
{
	char bytes[65536];

	for (int turns = 0; turns < TURNS_MAX; turns++) {
		ssize_t n;

		turn(f);
		n = recv(fd, bytes, sizeof(bytes), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return;
		if (n > 0)
			ig_buf_append(b, bytes, (size_t)n);
		if (!whole && b->len && b->data[b->len - 1] == '\n')
			return;
	}
	fail_msg("the server does not go on");
}

/* A whole exchange: what comes back until the server hangs up. */
static char *exchange(struct fixture *f, const char *request, size_t len)
{
	_cleanup_close_ int fd = dial(&f->place);
	struct ig_buf b;

	ig_buf_init(&b, IG_CTL_REPLY_BYTES + 1);
	ig_buf_puts(&b, "");
	put(fd, request, len);
	collect(f, fd, true, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	return b.data;
}

static void expect_exchange(struct fixture *f, const char *request, const char *reply)
{
	_cleanup_free_ char *got = exchange(f, request, strlen(request));

	assert_string_equal(got, reply);
}

static int collect_timers(const struct event_base *base, const struct event *event, void *arg)
{
	const struct event **timers = arg;
	size_t i = 0;

	(void)base;
	if (event_get_fd(event) >= 0 || !event_pending(event, EV_TIMEOUT, NULL))
		return 0;
	while (i < TIMERS_MAX && timers[i])
		i++;
	assert_true(i < TIMERS_MAX);
	timers[i] = event;
	return 0;
}

/* Lets every timer run out now; returns how many there were. */
static size_t expire(struct fixture *f)
{
	struct event *timers[TIMERS_MAX] = {};
	size_t n = 0;

	(void)event_base_foreach_event(f->base, collect_timers, timers);
	for (; n < TIMERS_MAX && timers[n]; n++) {
		(void)event_del(timers[n]);
		event_active(timers[n], EV_TIMEOUT, 0);
	}
	turn(f);
	return n;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void test_requests(void **state)
{
	static const struct {
		const char *request, *reply;
	} rows[] = {
		{"{\"v\":1,\"noun\":\"status\"}\n", "{\"ok\":true,\"result\":null}\n"},
		{"{\"v\":1,\"noun\":\"status\",\"verb\":\"\"}\n",
			"{\"ok\":true,\"result\":null}\n"},
		{"{\"v\":1,\"noun\":\"echo\",\"verb\":\"args\",\"args\":{\"b\":[1,\"\xc3\xbc\"],\"a\":null}}\n",
			"{\"ok\":true,\"result\":{\"b\":[1,\"\xc3\xbc\"],\"a\":null}}\n"},
		{"{\"v\":1,\"noun\":\"echo\",\"verb\":\"args\"}\n",
			"{\"ok\":true,\"result\":{}}\n"},
		{"{\"v\":1,\"noun\":\"echo\",\"verb\":\"args\"}\nand more\n",
			"{\"ok\":true,\"result\":{}}\n"},
		{"{\"v\":1,\"noun\":\"fail\",\"verb\":\"denied\"}\n",
			ERROR("EACCES", "denied \\\"\\u001b[2J\\\"")},
		{"{\"v\":1,\"noun\":\"fail\",\"verb\":\"silent\"}\n",
			ERROR("ENOENT", "No such file or directory")},
		{"{\"v\":1,\"noun\":\"nope\",\"verb\":\"list\"}\n",
			ERROR("ENOENT", "unknown noun \\\"nope\\\"")},
		{"{\"v\":1,\"noun\":\"echo\",\"verb\":\"arg\"}\n",
			ERROR("ENOENT", "\\\"echo\\\" has no verb \\\"arg\\\"")},
		{"{\"v\":1,\"noun\":\"echo\"}\n",
			ERROR("ENOENT", "\\\"echo\\\" has no verb \\\"\\\"")},
		{"{\"v\":2,\"noun\":\"status\"}\n",
			ERROR("EOPNOTSUPP",
				"the agent speaks version 1 of the control protocol, the request has version 2")},
		{"{\"noun\":\"status\"}\n", ERROR("EBADMSG", "the request has no version")},
		{"{\"v\":\"1\",\"noun\":\"status\"}\n",
			ERROR("EBADMSG", "the request has no version")},
		{"[1]\n", ERROR("EBADMSG", "the request is not a JSON object")},
	};

	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++)
		expect_exchange(*state, rows[i].request, rows[i].reply);
}

static void test_malformed_requests(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} rows[] = {
#define ROW(s) {s, sizeof(s) - 1}
		ROW("\n"),
		ROW("GET / HTTP/1.1\r\n"),
		ROW("{\"v\":1,\"noun\":\"status\"\n"),
		ROW("{\"v\":1,\"noun\":\"status\"}x\n"),
		ROW("{\"v\":1,\"v\":1,\"noun\":\"status\"}\n"),
		ROW("{\"v\":1,\"noun\":\"sta\0tus\"}\n"),
		ROW("{\"v\":1,\"noun\":\"sta\xfftus\"}\n"),
		ROW("{\"v\":1}\n"),
		ROW("{\"v\":1,\"noun\":\"\"}\n"),
		ROW("{\"v\":1,\"noun\":7}\n"),
		ROW("{\"v\":1,\"noun\":\"echo\",\"verb\":null}\n"),
		ROW("{\"v\":1,\"noun\":\"echo\",\"verb\":\"args\",\"args\":[]}\n"),
		ROW("{\"v\":1,\"noun\":\"echo\",\"verb\":\"args\",\"args\":null}\n"),
#undef ROW
	};

	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *got = exchange(*state, rows[i].text, rows[i].len);

		assert_non_null(strstr(got, "\"code\":\"EBADMSG\""));
		assert_int_equal(got[strlen(got) - 1], '\n');
	}
}

static void test_deeply_nested_request(void **state)
{
	_cleanup_free_ char *request = malloc(60001);
	_cleanup_free_ char *got = NULL;

	assert_non_null(request);
	memset(request, '[', 60000);
	request[60000] = '\n';
	got = exchange(*state, request, 60001);
	assert_non_null(strstr(got, "\"code\":\"EBADMSG\""));
}

static void test_request_in_pieces(void **state)
{
	static const char request[] = "{\"v\":1,\"noun\":\"echo\",\"verb\":\"args\"}\n";
	struct fixture *f = *state;
	_cleanup_close_ int fd = dial(&f->place);
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 4096};

	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		put(fd, request + i, 1);
		turn(f);
	}
	collect(f, fd, true, &b);
	assert_string_equal(b.data, "{\"ok\":true,\"result\":{}}\n");
}

/* A request of exactly `len` bytes before its newline. */
static char *padded_request(size_t len)
{
	static const char head[] =
		"{\"v\":1,\"noun\":\"large\",\"verb\":\"text\",\"args\":{\"p\":\"";
	char *text = malloc(len + 1);

	assert_non_null(text);
	memset(text, 'x', len);
	memcpy(text, head, sizeof(head) - 1);
	memcpy(text + len - 3, "\"}}\n", 4);
	return text;
}

static void test_limit_of_the_request(void **state)
{
	_cleanup_free_ char *fits = padded_request(IG_CTL_REQUEST_BYTES);
	_cleanup_free_ char *over = padded_request(IG_CTL_REQUEST_BYTES + 1);
	_cleanup_free_ char *a = exchange(*state, fits, IG_CTL_REQUEST_BYTES + 1);
	_cleanup_free_ char *b = exchange(*state, over, IG_CTL_REQUEST_BYTES + 2);

	assert_string_equal(a, "{\"ok\":true,\"result\":\"\"}\n");
	assert_string_equal(b, ERROR("E2BIG", "the request is larger than 65536 bytes"));
}

static void test_limit_of_the_reply(void **state)
{
	static const char request[] =
		"{\"v\":1,\"noun\":\"large\",\"verb\":\"text\",\"args\":{\"len\":%d}}\n";
	/* {"ok":true,"result":"…"} and the newline */
	const int room = IG_CTL_REPLY_BYTES - 24;
	char fits[128], over[128];
	_cleanup_free_ char *a = NULL, *b = NULL;

	(void)snprintf(fits, sizeof(fits), request, room);
	(void)snprintf(over, sizeof(over), request, room + 1);
	a = exchange(*state, fits, strlen(fits));
	assert_int_equal(strlen(a), IG_CTL_REPLY_BYTES);
	assert_string_equal(a + IG_CTL_REPLY_BYTES - 3, "\"}\n");
	b = exchange(*state, over, strlen(over));
	assert_string_equal(b, ERROR("E2BIG", "the answer is larger than 16777216 bytes"));
}

static void test_half_closed_peer_gets_its_reply(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = dial(&f->place);
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 2 * 1024 * 1024};

	put_text(fd, "{\"v\":1,\"noun\":\"large\",\"verb\":\"text\",\"args\":{\"len\":1000000}}\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	collect(f, fd, true, &b);
	assert_int_equal(b.len, 1000000 + 24);
}

static void test_peer_that_goes_away(void **state)
{
	static const char *const said[] = {"", "{\"v\":1,", "{\"v\":1,\"noun\":\"status\"}\n",
		"{\"v\":1,\"noun\":\"large\",\"verb\":\"text\",\"args\":{\"len\":4000000}}\n"};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(said); i++) {
		int fd = dial(&f->place);

		put_text(fd, said[i]);
		turn(f);
		(void)close(fd);
		for (int n = 0; n < 10; n++)
			turn(f);
	}
	assert_int_equal(expire(f), 0); /* nobody is left to have a deadline */
	expect_exchange(f, "{\"v\":1,\"noun\":\"status\"}\n", "{\"ok\":true,\"result\":null}\n");
}

/* ---- peers ----------------------------------------------------------------------------------- */

static void test_other_users_are_refused(void **state)
{
	static const char request[] = "{\"v\":1,\"noun\":\"status\"}\n";
	struct fixture *f = *state;

	pretend_other_uid = true;
	expect_exchange(f, request, ERROR("EACCES", "only root and the agent's own user may ask"));
	pretend_other_uid = false;
	expect_exchange(f, request, "{\"ok\":true,\"result\":null}\n");
}

static void test_limit_of_connections(void **state)
{
	struct fixture *f = *state;
	int fds[IG_CTL_CONNECTIONS_MAX];

	for (size_t i = 0; i < IG_ARRAY_SIZE(fds); i++) {
		fds[i] = dial(&f->place);
		turn(f);
	}
	expect_exchange(f, "{\"v\":1,\"noun\":\"status\"}\n",
		ERROR("EBUSY", "too many control connections"));
	(void)close(fds[5]);
	turn(f);
	expect_exchange(f, "{\"v\":1,\"noun\":\"status\"}\n", "{\"ok\":true,\"result\":null}\n");
	fds[5] = -1;
	for (size_t i = 0; i < IG_ARRAY_SIZE(fds); i++)
		(void)ig_close(fds[i]);
}

static void test_peer_that_says_nothing(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = dial(&f->place);
	char byte;

	put_text(fd, "{\"v\":1");
	turn(f);
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(expire(f), 1);
	turn(f);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void test_peer_that_does_not_read(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = dial(&f->place);
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_CTL_REPLY_BYTES};

	put_text(fd, "{\"v\":1,\"noun\":\"large\",\"verb\":\"text\",\"args\":{\"len\":9000000}}\n");
	for (int i = 0; i < 10; i++)
		turn(f);
	assert_int_equal(expire(f), 1);
	collect(f, fd, true, &b);
	assert_true(b.len < 9000000);
	assert_int_equal(expire(f), 0);
}

static void test_accept_without_descriptors(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = dial(&f->place), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	_cleanup_close_ int err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	_cleanup_close_ int next = dup(fd);
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 4096};
	struct rlimit limit, low;

	assert_true(err >= 0 && null >= 0 && next >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = limit.rlim_max};
	next = ig_close(next);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(dup2(null, STDERR_FILENO), STDERR_FILENO); /* the warning is expected */
	turn(f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(dup2(err, STDERR_FILENO), STDERR_FILENO);
	/* it pauses instead of spinning, then goes on */
	put_text(fd, "{\"v\":1,\"noun\":\"status\"}\n");
	turn(f);
	assert_int_equal(recv(fd, &(char){0}, 1, 0), -1);
	assert_int_equal(expire(f), 1);
	collect(f, fd, true, &b);
	assert_string_equal(b.data, "{\"ok\":true,\"result\":null}\n");
}

/* ---- streams --------------------------------------------------------------------------------- */

static int start_tail(struct fixture *f, const char *args)
{
	char request[256];
	int fd = dial(&f->place);

	(void)snprintf(request, sizeof(request),
		"{\"v\":1,\"noun\":\"audit\",\"verb\":\"tail\",\"args\":%s}\n", args);
	put_text(fd, request);
	turn(f);
	turn(f);
	return fd;
}

static void test_stream(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = start_tail(f, "{}");
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 4096};

	assert_non_null(f->stream);
	assert_int_equal(ig_ctl_conn_send(f->stream, "first\n", 6), 0);
	assert_int_equal(ig_ctl_conn_send(f->stream, "second", 6), 0);
	collect(f, fd, false, &b);
	assert_string_equal(b.data, HEAD "first\nsecond\n");
	assert_int_equal(expire(f), 0); /* a stream has no deadline */
	put_text(fd, "what a stream's peer says is of no interest\n");
	turn(f);
	assert_int_equal(f->closed, 0);
	fd = ig_close(fd);
	turn(f);
	assert_int_equal(f->closed, 1);
}

static void test_stream_that_starts_at_once(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = start_tail(f, "{\"eager\":true}");
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 4096};

	assert_int_equal(ig_ctl_conn_send(f->stream, "later\n", 6), 0);
	collect(f, fd, false, &b);
	assert_string_equal(b.data, HEAD "at once\nlater\n");
}

static void test_stream_that_fails_too_late(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = start_tail(f, "{\"eager\":\"then fail\"}");
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 4096};

	collect(f, fd, true, &b); /* ends, and without a second answer */
	assert_int_equal(f->closed, 1);
	assert_true(b.len == 0 || !strstr(b.data, "\"ok\":false"));
}

static void test_queue_of_a_stream_is_bounded(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = start_tail(f, "{}");
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 8 * 1024 * 1024};
	_cleanup_free_ char *large = NULL;
	char line[4096];
	size_t sent = 0, more = 0;
	int r;

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	while ((r = ig_ctl_conn_send(f->stream, line, sizeof(line))) == 0)
		sent += sizeof(line);
	assert_int_equal(r, -EAGAIN);
	assert_in_range(
		sent, IG_AUDIT_SUBSCRIBER_BYTES - 2 * sizeof(line), IG_AUDIT_SUBSCRIBER_BYTES);
	assert_int_equal(f->closed, 0);
	/* what was queued arrives whole, and then there is room again */
	while (b.len < sent + sizeof(HEAD) - 1)
		collect(f, fd, false, &b);
	assert_int_equal(b.len, sent + sizeof(HEAD) - 1);
	while (ig_ctl_conn_send(f->stream, line, sizeof(line)) == 0)
		more += sizeof(line);
	assert_true(more > 0);
	/* a line that never fits is refused as well */
	large = calloc(1, IG_AUDIT_SUBSCRIBER_BYTES);
	assert_non_null(large);
	assert_int_equal(ig_ctl_conn_send(f->stream, large, IG_AUDIT_SUBSCRIBER_BYTES), -EAGAIN);
}

static void test_send_after_the_peer_has_gone(void **state)
{
	struct fixture *f = *state;
	int fd = start_tail(f, "{}");

	(void)close(fd);
	/* the server does not know yet; it must not call back from within */
	assert_int_equal(ig_ctl_conn_send(f->stream, "x\n", 2), 0);
	assert_int_equal(f->closed, 0);
	turn(f);
	turn(f);
	assert_int_equal(f->closed, 1);
}

static void test_server_that_ends_tells_its_streams(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = start_tail(f, "{}");

	assert_true(fd >= 0);
	assert_non_null(f->stream);
	f->server = ig_ctl_server_free(f->server);
	assert_null(f->server);
	assert_int_equal(f->closed, 1);
}

static void test_modes_whatever_the_umask(void **state)
{
	static const mode_t modes[] = {0600, 0660};
	struct fixture *f = *state;
	char path[sizeof(f->place.path) + 8];
	mode_t before = umask(077);

	(void)snprintf(path, sizeof(path), "%s.mode", f->place.path);
	for (size_t i = 0; i < IG_ARRAY_SIZE(modes); i++) {
		struct stat st;
		int fd = -1;

		assert_int_equal(
			ig_ctl_listen_mode(path, geteuid(), getegid(), modes[i], &fd, NULL), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, modes[i]);
		assert_int_equal(umask(077), 077);
		(void)close(fd);
		assert_int_equal(unlink(path), 0);
	}
	(void)umask(before);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_modes_whatever_the_umask),
		T(test_requests),
		T(test_malformed_requests),
		T(test_deeply_nested_request),
		T(test_request_in_pieces),
		T(test_limit_of_the_request),
		T(test_limit_of_the_reply),
		T(test_half_closed_peer_gets_its_reply),
		T(test_peer_that_goes_away),
		T(test_other_users_are_refused),
		T(test_limit_of_connections),
		T(test_peer_that_says_nothing),
		T(test_peer_that_does_not_read),
		T(test_accept_without_descriptors),
		T(test_stream),
		T(test_stream_that_starts_at_once),
		T(test_stream_that_fails_too_late),
		T(test_queue_of_a_stream_is_bounded),
		T(test_send_after_the_peer_has_gone),
		T(test_server_that_ends_tells_its_streams),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("control server", tests, NULL, NULL);
}
