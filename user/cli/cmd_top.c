/*
 * `imdsgate top`: the agent's work as it goes on, interval by interval. Called by args.c through
 * the table.
 *
 * On a terminal it takes the whole screen and gives it back as it was, however it ends, also when
 * it is stopped for a while (Ctrl-Z). Elsewhere it prints the same as plain text, or JSON lines.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cli/cmd.h"
#include "cli/out.h"
#include "cli/top.h"
#include "ctl/client.h"

#define SCREEN_ON	"\033[?1049h\033[?25l" /* the other screen, no cursor */
#define SCREEN_OFF	"\033[?25h\033[?1049l"
#define FROM_TOP	"\033[H"
#define LINE_END	"\033[K\n"
#define REST_OFF	"\033[J"
#define DEFAULT_COLUMNS 80
#define DEFAULT_ROWS	24

enum { INTERVAL, COUNT, SORT };

const struct ig_cli_option ig_cli_top_options[] = {
	[INTERVAL] = {"interval", "SEC", "seconds between two looks (default 1)"},
	[COUNT] = {"count", "N", "end after N intervals"},
	[SORT] = {"sort", "requests|allowed|denied|failed|latency|name",
		"what the rows are sorted by (default requests)"},
	{},
};

enum wake { WAKE_TIME, WAKE_DRAW, WAKE_END };

struct top {
	const struct ig_cli *cli;
	uint32_t interval_sec, left; /* left: 0: without an end */
	enum ig_top_sort sort;
	bool is_screen; /* out is a terminal */
	bool is_raw;	/* so is stdin, and it is changed */
	struct termios saved;
	sigset_t saved_mask;
	int signals; /* signalfd; -1 */
};

/* ---- the terminal ---- */

static void print(struct top *top, const char *text)
{
	(void)fputs(text, top->cli->out);
	(void)fflush(top->cli->out);
}

static void screen_on(struct top *top)
{
	struct termios raw;

	if (!top->is_screen)
		return;
	top->is_raw = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &top->saved) == 0;
	if (top->is_raw) {
		raw = top->saved;
		raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO); /* Ctrl-C and Ctrl-Z stay signals */
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	print(top, SCREEN_ON);
}

static void screen_off(struct top *top)
{
	if (!top->is_screen)
		return;
	print(top, SCREEN_OFF);
	if (top->is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &top->saved);
}

static int terminal_begin(struct top *top)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
	sigset_t mask;

	top->signals = -1;
	top->is_screen = top->cli->terminal && !top->cli->json;
	if (!top->is_screen)
		return 0;
	(void)sigemptyset(&mask);
	for (size_t i = 0; i < IG_ARRAY_SIZE(numbers); i++)
		(void)sigaddset(&mask, numbers[i]);
	top->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (top->signals < 0)
		return -errno;
	(void)sigprocmask(SIG_BLOCK, &mask, &top->saved_mask);
	screen_on(top);
	return 0;
}

/* Idempotent. */
static void terminal_end(struct top *top)
{
	if (top->signals < 0)
		return;
	screen_off(top);
	(void)sigprocmask(SIG_SETMASK, &top->saved_mask, NULL);
	top->signals = ig_close(top->signals);
	top->is_screen = false;
}

/* The shell gets its terminal back until it lets us go on. */
static void pause_for_shell(struct top *top)
{
	screen_off(top);
	(void)raise(SIGSTOP);
	screen_on(top);
}

static enum wake read_signal(struct top *top)
{
	struct signalfd_siginfo info;

	if (read(top->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return WAKE_TIME;
	if (info.ssi_signo == SIGTSTP)
		pause_for_shell(top);
	return info.ssi_signo == SIGTSTP || info.ssi_signo == SIGWINCH ? WAKE_DRAW : WAKE_END;
}

/* Nothing to read means that the terminal is gone: no more keys, then. */
static enum wake read_key(struct top *top)
{
	char key = 0;
	ssize_t n = read(STDIN_FILENO, &key, 1);

	if (n == 1)
		return key == 'q' || key == 'Q' ? WAKE_END : WAKE_DRAW;
	top->is_raw = top->is_raw && n < 0 && (errno == EINTR || errno == EAGAIN);
	return WAKE_TIME;
}

/* Until then (monotonic), or something that cannot wait. */
static enum wake wait_until(struct top *top, uint64_t when_usec)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = top->signals, .events = POLLIN},
			{.fd = top->is_screen && top->is_raw ? STDIN_FILENO : -1,
				.events = POLLIN}};
		uint64_t now = ig_clock_mono_usec();
		enum wake wake = WAKE_TIME;

		if (now >= when_usec)
			return WAKE_TIME;
		if (poll(fds, IG_ARRAY_SIZE(fds),
			    (int)((when_usec - now) / IG_USEC_PER_MSEC) + 1) <= 0)
			continue;
		if (fds[0].revents)
			wake = read_signal(top);
		if (wake == WAKE_TIME && fds[1].revents)
			wake = read_key(top);
		if (wake != WAKE_TIME)
			return wake;
	}
}

/* ---- looking and showing ---- */

/* IG_CLI_OK, or what the failure gives, said after the terminal is as it was. */
static int look(struct top *top, struct ig_top_look *ret)
{
	_cleanup_(ig_top_look_done) struct ig_top_look fresh = {};
	const char *path = top->cli->socket_path;
	struct ig_err err = {};
	bool reached = false;
	int r = ig_ctl_call(path, "status", NULL, NULL, &fresh.status, &reached, &err);

	if (r == 0)
		r = ig_ctl_call(path, "workload", "list", NULL, &fresh.workloads, &reached, &err);
	if (r < 0) {
		terminal_end(top);
		return ig_cli_fail(top->cli, r, reached, err.message);
	}
	fresh.when_usec = ig_clock_mono_usec();
	ig_top_look_done(ret);
	*ret = fresh;
	fresh = (struct ig_top_look){};
	return IG_CLI_OK;
}

static void draw(const struct top *top, const json_t *report, struct ig_buf *b)
{
	struct winsize size = {};
	bool known =
		ioctl(fileno(top->cli->out), TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;

	ig_buf_puts(b, FROM_TOP);
	/* the last line stays free: a line end there would move the screen up */
	ig_top_format(report, known ? size.ws_col : DEFAULT_COLUMNS,
		(known ? size.ws_row : DEFAULT_ROWS) - 1, LINE_END, top->cli->color, b);
	ig_buf_puts(b, REST_OFF);
}

static int show(struct top *top, const json_t *report)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	int r;

	if (top->cli->json)
		(void)ig_out_json(&b, report);
	else if (top->is_screen)
		draw(top, report, &b);
	else
		ig_top_format(report, 0, 0, "\n", false, &b);
	if (!top->cli->json && !top->is_screen)
		ig_buf_putc(&b, '\n');
	r = ig_out_flush(top->cli->out, &b);
	if (r == 0)
		return IG_CLI_OK;
	terminal_end(top);
	if (r == -EPIPE)
		return IG_CLI_OK;
	(void)fprintf(top->cli->err, "imdsgate: cannot print: %s\n", strerror(-r));
	return IG_CLI_FAILED;
}

/* One interval: waits, looks, shows. *ret_end: that was the last one. */
static int step(struct top *top, struct ig_top_look *last, json_t **report, bool *ret_end)
{
	uint64_t next_usec = last->when_usec + top->interval_sec * IG_USEC_PER_SEC;
	_cleanup_(ig_top_look_done) struct ig_top_look fresh = {};
	enum wake wake;
	int status;

	while ((wake = wait_until(top, next_usec)) == WAKE_DRAW)
		if (*report && show(top, *report) != IG_CLI_OK)
			return IG_CLI_FAILED;
	if (wake == WAKE_END) {
		*ret_end = true;
		return IG_CLI_OK;
	}
	status = look(top, &fresh);
	if (status != IG_CLI_OK)
		return status;
	json_decref(*report);
	*report = ig_top_report(last, &fresh, top->sort, ig_clock_real_usec());
	ig_top_look_done(last);
	*last = fresh;
	fresh = (struct ig_top_look){};
	if (!*report) {
		terminal_end(top);
		return ig_cli_fail(top->cli, -ENOMEM, true, "out of memory");
	}
	status = show(top, *report);
	*ret_end = (top->left && --top->left == 0) || ferror(top->cli->out);
	return status;
}

static int run(struct top *top)
{
	_cleanup_(ig_top_look_done) struct ig_top_look last = {};
	_cleanup_(json_decrefp) json_t *report = NULL;
	bool end = false;
	int status = look(top, &last);
	int r;

	if (status != IG_CLI_OK)
		return status;
	r = terminal_begin(top);
	if (r < 0)
		return ig_cli_fail(top->cli, r, true, strerror(-r));
	while (status == IG_CLI_OK && !end)
		status = step(top, &last, &report, &end);
	terminal_end(top);
	return status;
}

int ig_cli_cmd_top(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *verb = ig_cli_find("top", NULL);
	const char *const *option = args->option;
	struct top top = {.cli = cli, .interval_sec = 1, .signals = -1};

	if (option[INTERVAL] &&
		(ig_parse_u32(option[INTERVAL], &top.interval_sec) < 0 || top.interval_sec < 1 ||
			top.interval_sec > IG_TOP_INTERVAL_SEC))
		return ig_cli_usage(cli, verb, "--interval '%s' is not a number from 1 to %d",
			option[INTERVAL], IG_TOP_INTERVAL_SEC);
	if (option[COUNT] && (ig_parse_u32(option[COUNT], &top.left) < 0 || !top.left))
		return ig_cli_usage(
			cli, verb, "--count '%s' is not a number above 0", option[COUNT]);
	if (option[SORT] && ig_top_sort_parse(option[SORT], &top.sort) < 0)
		return ig_cli_usage(cli, verb, "there is no order '%s'", option[SORT]);
	return run(&top);
}
