/*
 * The socket file and the client of the control socket, against servers (good and bad ones) in a
 * child. The server: test_ctl.c.
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "ctl/client.h"
#include "ctl/server.h"
#include "unit/ctl_fixture.h"

/* Sends three lines and has the connection end: nothing else is in the way of a client's test. */
static int run_three(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	(void)args;
	(void)userdata;
	(void)ret_result;
	(void)reterr_err;
	if (ig_ctl_conn_send(conn, "one", 3) < 0 || ig_ctl_conn_send(conn, "", 0) < 0 ||
		ig_ctl_conn_send(conn, "three\n", 6) < 0)
		return -EIO;
	return 0;
}

static const struct ig_ctl_verb verbs[] = {
	{"status", NULL, run_null},
	{"echo", "args", run_echo},
	{"fail", "denied", run_denied},
	{"large", "text", run_large},
	{"audit", "three", run_three},
	{},
};

static int setup(void **state)
{
	struct place *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	place_init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct place *f = *state;

	place_done(f);
	free(f);
	return 0;
}

/* ---- listening ------------------------------------------------------------------------------- */

static void test_listen(void **state)
{
	struct place *f = *state;
	_cleanup_close_ int fd = -1, second = -1;
	mode_t mask = umask(0);
	struct ig_err err = {};
	struct stat st;
	ino_t inode;

	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &fd, &err), 0);
	(void)umask(mask);
	assert_int_equal(stat(f->path, &st), 0);
	inode = st.st_ino;
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	/* somebody answers there */
	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &second, &err), -EADDRINUSE);
	assert_int_equal(second, -1);
	assert_non_null(strstr(err.message, "another agent"));
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_ino, inode);
	/* nobody does any more */
	fd = ig_close(fd);
	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &fd, &err), 0);
}

static void test_listen_with_a_full_backlog_is_somebody(void **state)
{
	struct place *f = *state;
	const struct sockaddr_un address = address_of(f);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int waiting = -1, second = -1;

	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 0), 0);
	waiting = dial(f);
	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &second, NULL), -EADDRINUSE);
}

static void test_listen_spares_what_is_not_a_socket(void **state)
{
	struct place *f = *state;
	_cleanup_close_ int file = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), fd = -1;
	struct ig_err err = {};

	assert_true(file >= 0);
	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &fd, &err), -EADDRINUSE);
	assert_non_null(strstr(err.message, "not a socket"));
	assert_int_equal(access(f->path, F_OK), 0);
	assert_int_equal(unlink(f->path), 0);
	/* a link is not followed, even to a stale socket */
	assert_int_equal(symlink("/nonexistent/socket", f->path), 0);
	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &fd, &err), -EADDRINUSE);
	assert_int_equal(fd, -1);
}

static void test_listen_where_it_cannot(void **state)
{
	struct place *f = *state;
	char path[400];
	struct ig_err err = {};
	int fd = -1;

	assert_int_equal(ig_ctl_listen("", 0, 0, &fd, &err), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	assert_int_equal(ig_ctl_listen(path, 0, 0, &fd, &err), -EINVAL);
	(void)snprintf(path, sizeof(path), "%s/none/s", f->dir);
	assert_int_equal(ig_ctl_listen(path, geteuid(), getegid(), &fd, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/none/s"));
	assert_int_equal(fd, -1);
}

/* ---- client ---------------------------------------------------------------------------------- */

/* Runs `serve` in a child that ends with this process at the latest. */
static pid_t spawn(
	struct place *f, void (*serve)(struct place *f, int fd, const void *arg), const void *arg)
{
	int fd = -1;
	pid_t pid;

	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &fd, NULL), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)fcntl(fd, F_SETFL, 0); /* blocking */
		serve(f, fd, arg);
		_exit(0);
	}
	(void)close(fd);
	return pid;
}

static void reap(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void serve_really(struct place *f, int fd, const void *arg)
{
	struct event_base *base = event_base_new();
	struct ig_ctl_server *server = NULL;

	(void)arg;
	if (base && ig_ctl_server_new(base, fd, verbs, f, &server) == 0)
		(void)event_base_dispatch(base);
}

/* Says `arg` to whoever connects, after its request, and hangs up. */
static void serve_canned(struct place *f, int fd, const void *arg)
{
	char bytes[1024];

	(void)f;
	for (;;) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (peer < 0 || read(peer, bytes, sizeof(bytes)) < 0)
			return;
		(void)ig_fd_write_all(peer, arg, strlen(arg));
		(void)close(peer);
	}
}

static void test_call(void **state)
{
	struct place *f = *state;
	pid_t pid = spawn(f, serve_really, NULL);
	_cleanup_(json_decrefp) json_t *args = json_pack("{s:s,s:i}", "a", "\xc3\xbc", "b", 7);
	_cleanup_(json_decrefp) json_t *echo = NULL, *null = NULL, *none = NULL, *large = NULL;
	_cleanup_(json_decrefp) json_t *len = json_pack("{s:i}", "len", 3000000);
	struct ig_err err = {};
	bool reached = false;

	assert_int_equal(ig_ctl_call(f->path, "echo", "args", args, &echo, &reached, &err), 0);
	assert_true(reached);
	assert_true(json_equal(args, echo));
	assert_int_equal(ig_ctl_call(f->path, "status", NULL, NULL, &null, &reached, &err), 0);
	assert_true(json_is_null(null));
	assert_int_equal(ig_ctl_call(f->path, "large", "text", len, &large, &reached, &err), 0);
	assert_int_equal(json_string_length(large), 3000000);
	reached = false;
	assert_int_equal(
		ig_ctl_call(f->path, "fail", "denied", NULL, &none, &reached, &err), -EACCES);
	assert_true(reached);
	assert_string_equal(err.message, "denied \"\x1b[2J\"");
	assert_int_equal(
		ig_ctl_call(f->path, "no\"un", "verb", NULL, &none, &reached, &err), -ENOENT);
	assert_string_equal(err.message, "unknown noun \"no\"un\"");
	assert_null(none);
	reap(pid);
}

static void test_call_without_an_agent(void **state)
{
	struct place *f = *state;
	_cleanup_close_ int stale = -1;
	json_t *result = NULL;
	struct ig_err err = {};
	char longest[200] = {};
	bool reached = true;

	assert_int_equal(
		ig_ctl_call(f->path, "status", NULL, NULL, &result, &reached, &err), -ENOENT);
	assert_false(reached);
	assert_non_null(strstr(err.message, f->path));
	assert_int_equal(ig_ctl_listen(f->path, geteuid(), getegid(), &stale, NULL), 0);
	stale = ig_close(stale);
	reached = true;
	assert_int_equal(
		ig_ctl_call(f->path, "status", NULL, NULL, &result, &reached, &err), -ECONNREFUSED);
	assert_false(reached);
	memset(longest, 'x', sizeof(longest) - 1);
	assert_int_equal(
		ig_ctl_call(longest, "status", NULL, NULL, &result, &reached, &err), -EINVAL);
	assert_int_equal(ig_ctl_call("", "status", NULL, NULL, &result, &reached, &err), -EINVAL);
	assert_null(result);
}

static void test_call_with_strange_answers(void **state)
{
	static const struct {
		const char *says;
		int code;
		bool reached;
	} rows[] = {
		{"", -ECONNRESET, false},
		{"{\"ok\":true,\"result\":1}", -ECONNRESET, false}, /* no newline: cut off */
		{"nonsense\n", -EBADMSG, true},
		{"\n", -EBADMSG, true},
		{"[]\n", -EBADMSG, true},
		{"{\"ok\":true}\n", -EBADMSG, true},
		{"{\"ok\":false}\n", -EBADMSG, true},
		{"{\"ok\":1,\"result\":1}\n", -EBADMSG, true},
		{"{\"ok\":true,\"ok\":true,\"result\":1}\n", -EBADMSG, true},
		{"{\"ok\":false,\"error\":{\"code\":1,\"message\":\"m\"}}\n", -EBADMSG, true},
		{ERROR("EWHATEVER", "m"), -EIO, true},
		{ERROR("EUNKNOWN", "m"), -EIO, true},
		{ERROR("EBUSY", "m"), -EBUSY, true},
		{"{\"ok\":true,\"result\":1}\nmore\n", 0, true},
	};
	struct place *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		pid_t pid = spawn(f, serve_canned, rows[i].says);
		_cleanup_(json_decrefp) json_t *result = NULL;
		struct ig_err err = {};
		bool reached = !rows[i].reached;

		assert_int_equal(
			ig_ctl_call(f->path, "status", NULL, NULL, &result, &reached, &err),
			rows[i].code);
		assert_int_equal(reached, rows[i].reached);
		assert_int_equal(result != NULL, rows[i].code == 0);
		assert_int_equal(err.message[0] != '\0', rows[i].code != 0);
		reap(pid);
	}
}

struct heard {
	char text[256];
	unsigned int lines, stop_after;
};

static int on_line(const char *text, size_t len, void *userdata)
{
	struct heard *heard = userdata;
	size_t used = strlen(heard->text);

	(void)snprintf(heard->text + used, sizeof(heard->text) - used, "<%.*s>", (int)len, text);
	return ++heard->lines == heard->stop_after ? 42 : 0;
}

static void test_stream_client(void **state)
{
	struct place *f = *state;
	pid_t pid = spawn(f, serve_really, NULL);
	struct heard heard = {.stop_after = 3};
	struct ig_err err = {};
	bool reached = false;

	assert_int_equal(
		ig_ctl_stream(f->path, "audit", "three", NULL, 0, on_line, &heard, &reached, &err),
		42);
	assert_true(reached);
	assert_string_equal(heard.text, "<one><><three>");
	assert_int_equal(
		ig_ctl_stream(f->path, "fail", "denied", NULL, 0, on_line, &heard, &reached, &err),
		-EACCES);
	assert_int_equal(heard.lines, 3);
	reap(pid);
}

static void test_stream_client_until_the_agent_hangs_up(void **state)
{
	struct place *f = *state;
	pid_t pid = spawn(f, serve_canned, HEAD "a\nb\ncut off");
	struct heard heard = {};
	struct ig_err err = {};
	bool reached = false;

	assert_int_equal(
		ig_ctl_stream(f->path, "audit", "tail", NULL, 0, on_line, &heard, &reached, &err),
		0);
	assert_string_equal(heard.text, "<a><b>");
	reap(pid);
}

static void test_stream_client_with_a_limit(void **state)
{
	struct place *f = *state;
	pid_t pid = spawn(f, serve_really, NULL);
	struct heard heard = {};
	struct ig_err err = {};
	bool reached = false;

	assert_int_equal(
		ig_ctl_stream(f->path, "audit", "three", NULL, 1, on_line, &heard, &reached, &err),
		-ETIMEDOUT);
	assert_true(reached);
	assert_string_equal(heard.text, "<one><><three>");
	reap(pid);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_listen),
		T(test_listen_with_a_full_backlog_is_somebody),
		T(test_listen_spares_what_is_not_a_socket),
		T(test_listen_where_it_cannot),
		T(test_call),
		T(test_call_without_an_agent),
		T(test_call_with_strange_answers),
		T(test_stream_client),
		T(test_stream_client_until_the_agent_hangs_up),
		T(test_stream_client_with_a_limit),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("control client", tests, NULL, NULL);
}
