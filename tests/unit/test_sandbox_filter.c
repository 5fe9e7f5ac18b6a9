/*
 * What the filters of system calls do to a process: each forbidden thing is tried from inside, by a
 * child that has confined itself as the agent's processes do, and has to end it. What the processes
 * live on has to go on working.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/filter.h"
#include "sandbox/sanitized.h"

#define KILLED (-1)
#define FAILED 255 /* the child could not confine itself, or died of something else */

/* ---- a child that is confined ---------------------------------------------------------------- */

static void forget_handlers(void)
{
	const int signals[] = {SIGABRT, SIGSYS, SIGSEGV, SIGBUS};

	for (size_t i = 0; i < IG_ARRAY_SIZE(signals); i++)
		(void)signal(signals[i], SIG_DFL);
}

static int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : -WTERMSIG(status);
	return WEXITSTATUS(status);
}

/* What the attempt returned (0, or an errno), KILLED, or another signal's number below zero. */
static int outcome(enum ig_filter filter, int (*attempt)(const void *), const void *arg)
{
	const struct rlimit no_core = {};
	struct ig_err err = {};
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		forget_handlers();
		(void)setrlimit(RLIMIT_CORE, &no_core);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
			ig_filter_install(filter, &err) < 0)
			_exit(FAILED);
		_exit(attempt(arg));
	}
	return wait_for(pid);
}

/* ---- what is forbidden ----------------------------------------------------------------------- */

struct call {
	const char *name;
	long number;
	unsigned long args[6];
	bool leak_check; /* allowed in builds with a sanitizer, whose leak check needs it */
};

#define CALL(name, ...)                                                                            \
	{                                                                                          \
#name, SYS_##name, {__VA_ARGS__ }, false                                           \
	}

static int make_call(const void *arg)
{
	const struct call *c = arg;

	errno = 0;
	(void)syscall(
		c->number, c->args[0], c->args[1], c->args[2], c->args[3], c->args[4], c->args[5]);
	return errno;
}

static void assert_killed(enum ig_filter filter, const struct call *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int got = outcome(filter, make_call, &calls[i]);

		if (got != KILLED && !(IG_SANITIZED && calls[i].leak_check))
			fail_msg("%s (call %zu of the table): outcome %d", calls[i].name, i, got);
	}
}

/* What neither may. Arguments are such that a call that got through would do nothing. */
static const struct call forbidden_to_both[] = {
	CALL(unshare, CLONE_NEWNS),
	CALL(clone, CLONE_NEWUSER | SIGCHLD),
	CALL(setns, (unsigned long)-1, CLONE_NEWUSER),
	CALL(setns, (unsigned long)-1, 0),
	CALL(mount),
	CALL(umount2),
	CALL(fsopen),
	CALL(move_mount),
	CALL(open_tree, (unsigned long)-1),
	CALL(pivot_root),
	CALL(chroot),
	CALL(mknodat, (unsigned long)-1),
	CALL(symlinkat),
	CALL(linkat, (unsigned long)-1),
	CALL(socket, AF_PACKET, SOCK_RAW, 0),
	CALL(socket, AF_INET, SOCK_RAW, IPPROTO_TCP),
	CALL(socket, AF_INET6, SOCK_RAW, IPPROTO_TCP),
	CALL(socket, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER),
	CALL(socket, AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT),
	CALL(socket, 44 /* AF_XDP */, SOCK_RAW, 0),
	CALL(socket, AF_ALG, SOCK_SEQPACKET, 0),
	CALL(socket, AF_VSOCK, SOCK_STREAM, 0),
	CALL(bpf, BPF_PROG_TEST_RUN),
	CALL(bpf, BPF_RAW_TRACEPOINT_OPEN),
	CALL(bpf, BPF_ENABLE_STATS),
	CALL(perf_event_open),
	CALL(io_uring_setup),
	CALL(io_uring_enter, (unsigned long)-1),
	CALL(userfaultfd),
	CALL(memfd_create),
	CALL(keyctl),
	CALL(add_key),
	CALL(request_key),
	CALL(init_module),
	CALL(finit_module, (unsigned long)-1),
	CALL(delete_module),
	CALL(kexec_load),
	CALL(reboot),
	CALL(swapon),
	CALL(sethostname),
	CALL(settimeofday),
	CALL(clock_settime),
	CALL(syslog, 1),
	CALL(acct),
	CALL(quotactl),
	CALL(process_vm_writev, 1),
	CALL(pidfd_getfd, (unsigned long)-1),
	CALL(kcmp, 1),
	CALL(ioctl, 0, TIOCSTI),
	CALL(ioctl, 0, TIOCSCTTY),
	CALL(prctl, PR_SET_MM),
	CALL(prctl, PR_SET_KEEPCAPS, 1),
	CALL(mprotect, 0, 0, PROT_READ | PROT_EXEC),
	CALL(mprotect, 0, 0, PROT_READ | PROT_WRITE | PROT_EXEC),
	CALL(pkey_mprotect, 0, 0, PROT_EXEC),
	CALL(mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		(unsigned long)-1),
	CALL(remap_file_pages),
	CALL(shmat),
	{"ptrace", SYS_ptrace, {PTRACE_TRACEME}, true},
	{"process_vm_readv", SYS_process_vm_readv, {1}, true},
	{"personality", SYS_personality, {0xffffffff}, true},
	/* a number that no kernel knows */
	{"none", 4000, {}, false},
#ifdef __x86_64__
	/* the other ways in: the numbers of the x32 ABI */
	{"x32 getpid", 0x40000000 + SYS_getpid, {}, false},
	CALL(modify_ldt),
	CALL(ioperm),
	CALL(iopl),
#endif
};

static void nobody_may(void **state)
{
	(void)state;
	assert_killed(IG_FILTER_SERVER, forbidden_to_both, IG_ARRAY_SIZE(forbidden_to_both));
	assert_killed(IG_FILTER_MONITOR, forbidden_to_both, IG_ARRAY_SIZE(forbidden_to_both));
}

static const struct call forbidden_to_the_server[] = {
	CALL(execve),
	CALL(execveat, (unsigned long)-1),
	CALL(clone, SIGCHLD),
	CALL(clone, CLONE_VM | CLONE_VFORK | SIGCHLD),
	CALL(clone, CLONE_THREAD | CLONE_NEWNET),
	CALL(setns, (unsigned long)-1, CLONE_NEWNET),
	CALL(bpf, BPF_MAP_CREATE),
	CALL(bpf, BPF_MAP_UPDATE_ELEM),
	CALL(bpf, BPF_MAP_GET_NEXT_KEY),
	CALL(bpf, BPF_PROG_LOAD),
	CALL(bpf, BPF_BTF_LOAD),
	CALL(bpf, BPF_OBJ_PIN),
	CALL(bpf, BPF_OBJ_GET),
	CALL(bpf, BPF_PROG_ATTACH),
	CALL(bpf, BPF_PROG_DETACH),
	CALL(bpf, BPF_LINK_CREATE),
	CALL(bpf, BPF_LINK_DETACH),
	CALL(bpf, BPF_LINK_UPDATE),
	CALL(bpf, BPF_MAP_GET_FD_BY_ID),
	CALL(bpf, BPF_PROG_GET_FD_BY_ID),
	CALL(socket, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG),
	CALL(listen, (unsigned long)-1),
	CALL(open_by_handle_at, (unsigned long)-1),
	CALL(name_to_handle_at, (unsigned long)-1),
	CALL(setresuid, (unsigned long)-1, (unsigned long)-1, (unsigned long)-1),
	CALL(setresgid, (unsigned long)-1, (unsigned long)-1, (unsigned long)-1),
	CALL(setuid, (unsigned long)-1),
	CALL(setgroups, (unsigned long)-1),
	CALL(capset),
	CALL(mkdirat, (unsigned long)-1),
	CALL(fchmod, (unsigned long)-1),
	CALL(fchown, (unsigned long)-1),
	CALL(fchownat, (unsigned long)-1),
	CALL(umask, 0),
	CALL(prctl, PR_CAPBSET_DROP, 0),
	CALL(prctl, PR_SET_SECCOMP, 0),
	CALL(seccomp, 99),
	CALL(landlock_create_ruleset, 0, 0, 99),
	CALL(pidfd_send_signal, (unsigned long)-1),
	CALL(sched_setaffinity),
	CALL(setpriority),
	{"kill", SYS_kill, {1, 0}, true},
	{"tgkill", SYS_tgkill, {1, 1, 0}, true},
	{"wait4", SYS_wait4, {(unsigned long)-1, 0, WNOHANG}, true},
	{"prlimit64", SYS_prlimit64, {0, RLIMIT_CORE, 1, 0}, true},
	{"prctl parent death", SYS_prctl, {PR_SET_PDEATHSIG, 0}, true},
	{"prctl dumpable", SYS_prctl, {PR_SET_DUMPABLE, 0}, true},
};

static void the_server_may_not(void **state)
{
	(void)state;
	assert_killed(
		IG_FILTER_SERVER, forbidden_to_the_server, IG_ARRAY_SIZE(forbidden_to_the_server));
}

/* A list that somebody forgot to connect would kill for everything and pass the tests above. */
static void harmless_calls_are_not_touched(void **state)
{
	static const struct call calls[] = {
		CALL(getpid),
		CALL(clock_gettime, CLOCK_MONOTONIC, 0),
		CALL(fcntl, 0, F_GETFD),
		CALL(prlimit64, 0, RLIMIT_NOFILE, 0, 0),
		CALL(mprotect, 0, 0, PROT_READ),
		CALL(close, (unsigned long)-1),
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(calls); i++) {
		assert_true(outcome(IG_FILTER_SERVER, make_call, &calls[i]) >= 0);
		assert_true(outcome(IG_FILTER_MONITOR, make_call, &calls[i]) >= 0);
	}
}

/* ---- what is refused with an error, and what goes on working --------------------------------- */

static int map_library(const void *arg)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	(void)arg;
	if (fd < 0)
		return FAILED;
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno
											 : 0;
}

static void a_library_cannot_be_loaded(void **state)
{
	(void)state;
	assert_int_equal(outcome(IG_FILTER_SERVER, map_library, NULL), EACCES);
	/* which the monitor may: its child has to be started */
	assert_int_equal(outcome(IG_FILTER_MONITOR, map_library, NULL), 0);
}

static void probes_of_libraries_get_an_error(void **state)
{
	static const struct call clone3 = CALL(clone3), load = CALL(bpf, BPF_PROG_LOAD),
				 make = CALL(bpf, BPF_MAP_CREATE), btf = CALL(bpf, BPF_BTF_LOAD);

	(void)state;
	assert_int_equal(outcome(IG_FILTER_SERVER, make_call, &clone3), ENOSYS);
	assert_int_equal(outcome(IG_FILTER_MONITOR, make_call, &clone3), ENOSYS);
	assert_int_equal(outcome(IG_FILTER_MONITOR, make_call, &load), EPERM);
	assert_int_equal(outcome(IG_FILTER_MONITOR, make_call, &make), EPERM);
	assert_int_equal(outcome(IG_FILTER_MONITOR, make_call, &btf), EPERM);
}

static void *in_thread(void *arg)
{
	struct addrinfo *found = NULL;
	void *memory = malloc(1 << 20);
	int r;

	(void)pthread_setname_np(pthread_self(), "thread");
	free(memory);
	r = getaddrinfo("localhost", "80", &(struct addrinfo){.ai_flags = AI_ADDRCONFIG}, &found);
	if (r == 0)
		freeaddrinfo(found);
	*(int *)arg = r == 0 ? 0 : FAILED;
	return NULL;
}

static int use_threads(const void *arg)
{
	int result = FAILED;
	pthread_t thread;

	(void)arg;
	if (pthread_create(&thread, NULL, in_thread, &result) != 0 ||
		pthread_join(thread, NULL) != 0)
		return FAILED;
	return result;
}

static void threads_and_names_of_hosts_work(void **state)
{
	(void)state;
	assert_int_equal(outcome(IG_FILTER_SERVER, use_threads, NULL), 0);
	assert_int_equal(outcome(IG_FILTER_MONITOR, use_threads, NULL), 0);
}

/* A thread that was there before is confined, too. */
static void *wait_and_call(void *arg)
{
	const int *go = arg;
	char byte;

	if (read(*go, &byte, 1) == 1)
		(void)syscall(SYS_unshare, CLONE_NEWNS);
	return NULL;
}

static int confine_beside_a_thread(void)
{
	struct ig_err err = {};
	pthread_t thread;
	int pair[2];

	if (pipe(pair) < 0 || pthread_create(&thread, NULL, wait_and_call, &pair[0]) != 0 ||
		ig_filter_install(IG_FILTER_SERVER, &err) < 0 || write(pair[1], "", 1) != 1)
		return FAILED;
	(void)pthread_join(thread, NULL);
	return 0;
}

static void threads_from_before_are_confined_too(void **state)
{
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		forget_handlers();
		_exit(confine_beside_a_thread());
	}
	assert_int_equal(wait_for(pid), KILLED);
}

static int end_abnormally(const void *arg)
{
	(void)arg;
	abort();
}

static void abort_is_still_abort(void **state)
{
	(void)state;
	assert_int_equal(outcome(IG_FILTER_SERVER, end_abnormally, NULL), -SIGABRT);
	assert_int_equal(outcome(IG_FILTER_MONITOR, end_abnormally, NULL), -SIGABRT);
}

/* The monitor starts a program, which confines itself further. */
static int start_program(const void *arg)
{
	pid_t pid = fork();
	int status;

	(void)arg;
	if (pid == 0) {
		(void)execl("/bin/true", "true", NULL);
		_exit(FAILED);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return FAILED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static int become_server(const void *arg)
{
	struct ig_err err = {};

	if (ig_filter_install(IG_FILTER_SERVER, &err) < 0)
		return FAILED;
	return make_call(arg);
}

static void the_monitor_can_start_the_server(void **state)
{
	static const struct call harmless = CALL(getpid), forbidden = CALL(execve);

	(void)state;
	assert_int_equal(outcome(IG_FILTER_MONITOR, start_program, NULL), 0);
	assert_int_equal(outcome(IG_FILTER_MONITOR, become_server, &harmless), 0);
	assert_int_equal(outcome(IG_FILTER_MONITOR, become_server, &forbidden), KILLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_may),
		cmocka_unit_test(the_server_may_not),
		cmocka_unit_test(harmless_calls_are_not_touched),
		cmocka_unit_test(a_library_cannot_be_loaded),
		cmocka_unit_test(probes_of_libraries_get_an_error),
		cmocka_unit_test(threads_and_names_of_hosts_work),
		cmocka_unit_test(threads_from_before_are_confined_too),
		cmocka_unit_test(abort_is_still_abort),
		cmocka_unit_test(the_monitor_can_start_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
