/*
 * The control protocol, both ends. The first byte chooses: the agent's end gets what a client says,
 * in pieces, and answers with one line of JSON; or the tool, which root runs, gets what an agent
 * that was taken over says, and prints nothing that a terminal would obey.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>
#include <jansson.h>

#include "base/fdutil.h"
#include "cli/cmd.h"
#include "ctl/client.h"
#include "ctl/server.h"

#define TOOL 0x80

/* ---- the agent's end ------------------------------------------------------------------------- */

static int run_echo(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	(void)conn;
	(void)userdata;
	(void)reterr_err;
	FUZZ_CHECK(json_is_object(args));
	*ret_result = json_incref(args);
	return 0;
}

static int run_tail(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	(void)args;
	(void)userdata;
	(void)ret_result;
	(void)reterr_err;
	FUZZ_CHECK(ig_ctl_conn_send(conn, "{\"seq\":1}", 9) == 0);
	return 0;
}

static int run_refuse(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	(void)conn;
	(void)userdata;
	(void)ret_result;
	return ig_err_set(reterr_err, -EACCES, "no \"%s\"",
		json_string_value(json_object_get(args, "name")) ?: "");
}

static const struct ig_ctl_verb verbs[] = {
	{"echo", NULL, run_echo},
	{"workload", "show", run_refuse},
	{"audit", "tail", run_tail},
	{},
};

static void turn(struct event_base *base)
{
	for (int i = 0; i < 4; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static void check_answer(const char *text, size_t len)
{
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		json_t *line;

		FUZZ_CHECK(end);
		line = json_loadb(text, (size_t)(end - text), JSON_REJECT_DUPLICATES, NULL);
		FUZZ_CHECK(json_is_object(line));
		json_decref(line);
		len -= (size_t)(end + 1 - text);
		text = end + 1;
	}
}

static void serve(struct fuzz_input *in, struct fuzz_cuts *cuts)
{
	static char answer[1024 * 1024];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct event_base *base = event_base_new();
	struct ig_ctl_server *server = NULL;
	socklen_t len = sizeof(sa_family_t);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	size_t got = 0;
	ssize_t n;

	/* the kernel picks an abstract name */
	FUZZ_CHECK(
		bind(listener, (struct sockaddr *)&address, len) == 0 && listen(listener, 4) == 0);
	len = sizeof(address);
	FUZZ_CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
	FUZZ_CHECK(connect(client, (struct sockaddr *)&address, len) == 0);
	FUZZ_CHECK(ig_ctl_server_new(base, listener, verbs, NULL, &server) == 0);
	while (in->left > 0) {
		size_t piece = fuzz_cut(cuts, in->left) * 16;

		piece = piece < in->left ? piece : in->left;
		n = send(client, in->data, piece, MSG_NOSIGNAL);
		turn(base);
		if (n <= 0)
			break;
		in->data += n;
		in->left -= (size_t)n;
	}
	(void)shutdown(client, SHUT_WR);
	turn(base);
	while ((n = recv(client, answer + got, sizeof(answer) - got, 0)) > 0 ||
		(n < 0 && errno == ECONNRESET))
		got += n > 0 ? (size_t)n : 0;
	check_answer(answer, got);
	(void)ig_ctl_server_free(server);
	event_base_free(base);
	(void)close(client);
}

/* ---- the tool -------------------------------------------------------------------------------- */

static int prepared = -1; /* what the next connect() is connected to */

int __real_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	if (prepared < 0)
		return __real_connect(fd, address, len);
	FUZZ_CHECK(dup3(prepared, fd, O_CLOEXEC) == fd);
	return 0;
}

/* Printable, or a line end: whatever the agent says. */
static void check_terminal(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		FUZZ_CHECK(c >= 0x20 ? c != 0x7f : c == '\n');
		/* C1 controls in UTF-8 */
		FUZZ_CHECK(c != 0xc2 || i + 1 == len || (unsigned char)text[i + 1] >= 0xa0);
	}
}

static void run_tool(struct fuzz_input *in, unsigned int which)
{
	static const char *const commands[][6] = {
		{"imdsgate", "status"},
		{"imdsgate", "workload", "list"},
		{"imdsgate", "workload", "show", "shop/a"},
		{"imdsgate", "audit", "tail"},
		{"imdsgate", "explain", "shop/a"},
		{"imdsgate", "--json", "workload", "list"},
		{"imdsgate", "--json", "audit", "tail"},
		{"imdsgate", "--json", "status"},
	};
	const char *const *command = commands[which % 8];
	char *argv[7] = {}, *out_text = NULL, *err_text = NULL;
	size_t out_len = 0, err_len = 0;
	FILE *out = open_memstream(&out_text, &out_len), *err = open_memstream(&err_text, &err_len);
	int fds[2], argc = 0, status, bytes = 1024 * 1024;

	for (; argc < 6 && command[argc]; argc++)
		argv[argc] = (char *)(uintptr_t)command[argc];
	FUZZ_CHECK(out && err && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	(void)send(fds[1], in->data, in->left, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)shutdown(fds[1], SHUT_WR);
	prepared = fds[0];
	status = ig_cli_run(argc, argv, out, err);
	prepared = -1;
	FUZZ_CHECK(status >= 0 && status <= 5);
	(void)fclose(out);
	(void)fclose(err);
	check_terminal(out_text, out_len);
	check_terminal(err_text, err_len);
	free(out_text);
	free(err_text);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	uint8_t choice = fuzz_byte(&in);
	struct fuzz_cuts cuts = {.state = choice};

	if (choice & TOOL)
		run_tool(&in, choice & 7);
	else
		serve(&in, &cuts);
	return 0;
}
