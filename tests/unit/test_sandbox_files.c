/*
 * What landlock leaves of the file system: children confine themselves and try. Runs in a temporary
 * directory and without privilege, so that nothing but landlock refuses.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/files.h"

#define FAILED 255

static char root[64];

static const char *below(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void put(const char *name)
{
	int fd = open(below(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "text", 4), 4);
	(void)close(fd);
}

/* root/app/{rules/a, other, keep/kept}, root/outside, and a link root/app/link -> ../outside */
static int setup(void **state)
{
	(void)state;
	(void)snprintf(root, sizeof(root), "/tmp/ig-sandbox-XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(mkdir(below("app"), 0755), 0);
	assert_int_equal(mkdir(below("app/rules"), 0755), 0);
	assert_int_equal(mkdir(below("app/keep"), 0755), 0);
	put("app/rules/a");
	put("app/keep/kept");
	put("app/other");
	put("outside");
	assert_int_equal(symlink("../outside", below("app/link")), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static int abi(void)
{
	struct ig_files files;

	assert_int_equal(ig_files_init(&files, NULL), 0);
	ig_files_done(&files);
	return files.abi;
}

/* ---- a child that is confined ---------------------------------------------------------------- */

typedef int allow_fn(struct ig_files *files);

static int confine(allow_fn *allow)
{
	_cleanup_(ig_files_done) struct ig_files files = {.ruleset = -1};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || ig_files_init(&files, NULL) < 0 ||
		(allow && allow(&files) < 0))
		return -EPERM;
	return ig_files_enforce(&files, NULL);
}

/* What the attempt returned under these rules: 0 or an errno. */
static int outcome(allow_fn *allow, int (*attempt)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(confine(allow) < 0 ? FAILED : attempt());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno;
	(void)close(fd);
	return 0;
}

static int result(int r)
{
	return r < 0 ? errno : 0;
}

static int read_a(void)
{
	return try_open(below("app/rules/a"), O_RDONLY);
}

static int write_a(void)
{
	return try_open(below("app/rules/a"), O_WRONLY);
}

static int list_rules(void)
{
	return try_open(below("app/rules"), O_RDONLY | O_DIRECTORY);
}

static int read_other(void)
{
	return try_open(below("app/other"), O_RDONLY);
}

static int read_outside(void)
{
	return try_open(below("outside"), O_RDONLY);
}

static int read_link(void)
{
	return try_open(below("app/link"), O_RDONLY);
}

static int read_shadow(void)
{
	return try_open("/etc/shadow", O_RDONLY);
}

static int run_a(void)
{
	char *const argv[] = {root, NULL};

	(void)execv(below("app/rules/a"), argv);
	return errno;
}

static int make_in_rules(void)
{
	return try_open(below("app/rules/new"), O_WRONLY | O_CREAT);
}

/* ---- reading --------------------------------------------------------------------------------- */

static int allow_rules(struct ig_files *files)
{
	return ig_files_allow(files, below("app/rules"), IG_FILES_READ, NULL);
}

static void need_landlock(void)
{
	if (abi() == 0) {
		print_message("this kernel has no landlock\n");
		skip();
	}
}

static void nothing_is_allowed_but_what_is(void **state)
{
	(void)state;
	need_landlock();
	assert_int_equal(outcome(NULL, read_a), EACCES);
	assert_int_equal(outcome(allow_rules, read_a), 0);
	assert_int_equal(outcome(allow_rules, list_rules), 0);
	assert_int_equal(outcome(allow_rules, write_a), EACCES);
	assert_int_equal(outcome(allow_rules, run_a), EACCES);
	assert_int_equal(outcome(allow_rules, make_in_rules), EACCES);
	assert_int_equal(outcome(allow_rules, read_other), EACCES);
	assert_int_equal(outcome(allow_rules, read_outside), EACCES);
	assert_int_equal(outcome(allow_rules, read_shadow), EACCES);
}

static int allow_app_files(struct ig_files *files)
{
	return ig_files_allow(files, below("app"), IG_FILES_READ_FILES, NULL);
}

static void files_without_their_directories(void **state)
{
	(void)state;
	need_landlock();
	assert_int_equal(outcome(allow_app_files, read_a), 0);
	assert_int_equal(outcome(allow_app_files, list_rules), EACCES);
	/* a link does not lead out */
	assert_int_equal(outcome(allow_app_files, read_link), EACCES);
}

static int allow_missing(struct ig_files *files)
{
	int r = ig_files_allow(files, below("app/none"), IG_FILES_READ, NULL);

	return r == -ENOENT ? 0 : -EPERM;
}

static void what_is_missing_is_said(void **state)
{
	(void)state;
	need_landlock();
	assert_int_equal(outcome(allow_missing, read_other), EACCES);
}

/* ---- places that are replaced ---------------------------------------------------------------- */

static int allow_rules_place(struct ig_files *files)
{
	return ig_files_allow_place(files, below("app/rules"), NULL);
}

/* The child is confined first, then this process replaces, then the child tries. */
static int outcome_of_replaced(allow_fn *allow)
{
	int go[2], confined[2], status;
	char byte, aside[128];
	pid_t pid;

	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(confined), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (confine(allow) < 0 || write(confined[1], "", 1) != 1 ||
			read(go[0], &byte, 1) != 1)
			_exit(FAILED);
		_exit(read_a());
	}
	assert_int_equal(read(confined[0], &byte, 1), 1);
	(void)snprintf(aside, sizeof(aside), "%s/app/aside", root);
	assert_int_equal(rename(below("app/rules"), aside), 0);
	assert_int_equal(mkdir(below("app/rules"), 0755), 0);
	put("app/rules/a");
	assert_int_equal(write(go[1], "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)unlink(below("app/aside/a"));
	assert_int_equal(rmdir(aside), 0);
	for (int i = 0; i < 2; i++) {
		(void)close(go[i]);
		(void)close(confined[i]);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static void a_place_may_be_replaced(void **state)
{
	(void)state;
	need_landlock();
	/* landlock knows the directory, not its name: so a rule for it alone is not enough */
	assert_int_equal(outcome_of_replaced(allow_rules), EACCES);
	assert_int_equal(outcome_of_replaced(allow_rules_place), 0);
	assert_int_equal(outcome(allow_rules_place, read_outside), EACCES);
}

static int allow_future_place(struct ig_files *files)
{
	return ig_files_allow_place(files, below("app/later/deep"), NULL);
}

static int allow_top_place(struct ig_files *files)
{
	return ig_files_allow_place(files, "/ig-sandbox-none/deep", NULL) == -ENOENT ? 0 : -EPERM;
}

static int allow_top_directory(struct ig_files *files)
{
	return ig_files_allow_place(files, root, NULL);
}

static int read_tmp(void)
{
	return try_open("/tmp", O_RDONLY | O_DIRECTORY);
}

static int read_top(void)
{
	return try_open("/", O_RDONLY | O_DIRECTORY);
}

static void a_place_may_come_later_but_not_open_half_the_machine(void **state)
{
	(void)state;
	need_landlock();
	assert_int_equal(outcome(allow_future_place, read_other), 0);
	assert_int_equal(outcome(allow_future_place, read_outside), EACCES);
	assert_int_equal(outcome(allow_top_place, read_top), EACCES);
	assert_int_equal(outcome(allow_top_directory, read_outside), 0);
	assert_int_equal(outcome(allow_top_directory, read_tmp), EACCES);
}

/* ---- keeping files --------------------------------------------------------------------------- */

static int allow_keep(struct ig_files *files)
{
	_cleanup_close_ int fd = open(below("app/keep"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : ig_files_allow_fd(files, fd, IG_FILES_KEEP, NULL);
}

static int rotate(void)
{
	char to[128];
	int r = try_open(below("app/keep/new"), O_WRONLY | O_CREAT | O_EXCL);

	(void)snprintf(to, sizeof(to), "%s/app/keep/kept.1", root);
	if (r == 0)
		r = result(rename(below("app/keep/kept"), to));
	if (r == 0)
		r = result(rename(to, below("app/keep/kept")));
	if (r == 0)
		r = result(truncate(below("app/keep/kept"), 0));
	return r ? r : result(unlink(below("app/keep/new")));
}

static int make_directory(void)
{
	return result(mkdir(below("app/keep/dir"), 0700));
}

static int make_link(void)
{
	return result(symlink("/etc/shadow", below("app/keep/link")));
}

static int make_fifo(void)
{
	return result(mkfifo(below("app/keep/fifo"), 0600));
}

static int move_out(void)
{
	char from[128];

	(void)snprintf(from, sizeof(from), "%s/app/keep/kept", root);
	return result(rename(from, below("app/rules/kept")));
}

static void files_are_kept_in_their_directory(void **state)
{
	(void)state;
	need_landlock();
	assert_int_equal(outcome(allow_keep, rotate), 0);
	assert_int_equal(outcome(allow_keep, make_directory), EACCES);
	assert_int_equal(outcome(allow_keep, make_link), EACCES);
	assert_int_equal(outcome(allow_keep, make_fifo), EACCES);
	assert_true(
		outcome(allow_keep, move_out) == EACCES || outcome(allow_keep, move_out) == EXDEV);
	assert_int_equal(outcome(allow_keep, read_other), EACCES);
	assert_int_equal(outcome(allow_keep, make_in_rules), EACCES);
}

/* ---- what else there is ---------------------------------------------------------------------- */

static int bind_port(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return result(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
}

static int signal_parent(void)
{
	return result(kill(getppid(), 0));
}

static void ports_and_other_processes(void **state)
{
	(void)state;
	need_landlock();
	assert_int_equal(outcome(NULL, bind_port), abi() >= 4 ? EACCES : 0);
	assert_int_equal(outcome(NULL, signal_parent), abi() >= 6 ? EPERM : 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_allowed_but_what_is),
		cmocka_unit_test(files_without_their_directories),
		cmocka_unit_test(what_is_missing_is_said),
		cmocka_unit_test(a_place_may_be_replaced),
		cmocka_unit_test(a_place_may_come_later_but_not_open_half_the_machine),
		cmocka_unit_test(files_are_kept_in_their_directory),
		cmocka_unit_test(ports_and_other_processes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
