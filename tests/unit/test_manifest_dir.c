/*
 * The manifest directory on a real file system below the temporary directory: reading, following by
 * inotify, half-written files, mounted ConfigMaps, clashes between files, and a directory that goes
 * and comes back. The queue of events is filled before the loop turns, so nothing here waits.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"
#include "objects/manifest.h"

#define POD(name)   "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " name "}\n"
#define IGNORED	    "---\napiVersion: batch/v1\nkind: Job\n"
#define BROKEN	    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: NO}\n"
#define EMPTY	    ""
#define REPORTS_MAX 64

struct seen {
	char file[128]; /* the last part; "" for the directory itself */
	int error;
	unsigned int line;
	char message[256];
	size_t objects;
	size_t ignored;
};

struct fixture {
	char root[64]; /* of everything */
	char path[96]; /* the manifest directory, root/m */
	struct event_base *base;
	struct ig_store *store;
	struct ig_manifest_dir *dir;
	struct seen reports[REPORTS_MAX];
	size_t n_reports;
};

static void on_report(const struct ig_manifest_report *r, void *userdata)
{
	struct fixture *f = userdata;
	struct seen *seen = &f->reports[f->n_reports++];
	size_t len = strlen(f->path);

	assert_in_range(f->n_reports, 1, REPORTS_MAX);
	assert_memory_equal(r->file, f->path, len);
	assert_int_equal(r->error != 0, r->detail != NULL);
	*seen = (struct seen){.error = r->error, .objects = r->objects, .ignored = r->ignored};
	(void)snprintf(seen->file, sizeof(seen->file), "%s", r->file[len] ? r->file + len + 1 : "");
	if (r->detail) {
		seen->line = r->detail->line;
		(void)snprintf(seen->message, sizeof(seen->message), "%.255s", r->detail->message);
	}
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->root, sizeof(f->root), "%.40s/ig-manifest-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->root));
	(void)snprintf(f->path, sizeof(f->path), "%s/m", f->root);
	assert_int_equal(mkdir(f->path, 0755), 0);
	f->base = event_base_new();
	assert_non_null(f->base);
	assert_int_equal(ig_store_new(&f->store), 0);
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_null(ig_manifest_dir_free(f->dir));
	assert_null(ig_store_free(f->store));
	event_base_free(f->base);
	assert_int_equal(nftw(f->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	free(f);
	return 0;
}

/* Path below the manifest directory. */
static const char *at(const struct fixture *f, const char *name, char buf[PATH_MAX])
{
	(void)snprintf(buf, PATH_MAX, "%s/%s", f->path, name);
	return buf;
}

static void write_fd(int fd, const char *text)
{
	assert_int_equal(ig_fd_write_all(fd, text, strlen(text)), 0);
}

static int open_new(const struct fixture *f, const char *name)
{
	char buf[PATH_MAX];
	int fd = open(at(f, name, buf), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	return fd;
}

static void write_file(const struct fixture *f, const char *name, const char *text)
{
	_cleanup_close_ int fd = open_new(f, name);

	write_fd(fd, text);
}

static void rename_file(const struct fixture *f, const char *from, const char *to)
{
	char a[PATH_MAX], b[PATH_MAX];

	assert_int_equal(rename(at(f, from, a), at(f, to, b)), 0);
}

static void remove_file(const struct fixture *f, const char *name)
{
	char buf[PATH_MAX];

	assert_int_equal(remove(at(f, name, buf)), 0);
}

static void link_file(const struct fixture *f, const char *target, const char *name)
{
	char buf[PATH_MAX];

	assert_int_equal(symlink(target, at(f, name, buf)), 0);
}

static void make_dir(const struct fixture *f, const char *name)
{
	char buf[PATH_MAX];

	assert_int_equal(mkdir(at(f, name, buf), 0755), 0);
}

static const struct ig_manifest_source *source_at(const char *path)
{
	static struct ig_manifest_source source;

	source = (struct ig_manifest_source){.path = path, .policy_namespace = "gate"};
	return &source;
}

static void start(struct fixture *f)
{
	struct ig_err err = {};

	if (ig_manifest_dir_new(
		    f->base, source_at(f->path), f->store, on_report, f, &f->dir, &err) != 0)
		fail_msg("%s", err.message);
}

/* Lets the loop see what has happened so far; forgets earlier reports. */
static void turn(struct fixture *f)
{
	f->n_reports = 0;
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

static bool has(const struct fixture *f, const char *pod)
{
	return ig_store_pod_by_name(f->store, "default", pod);
}

static void expect_report(
	const struct fixture *f, size_t i, const char *file, int error, size_t objects)
{
	assert_in_range(i + 1, 1, f->n_reports);
	assert_string_equal(f->reports[i].file, file);
	if (f->reports[i].error != error)
		fail_msg("%s: %d: %s", file, f->reports[i].error, f->reports[i].message);
	assert_int_equal(f->reports[i].objects, objects);
}

static void expect_bad(const char *path, int error, void *userdata)
{
	assert_string_equal(strrchr(path, '/'), "/bad.yaml");
	assert_int_equal(error, -EINVAL);
	(*(size_t *)userdata)++;
}

static void test_first_look(void **state)
{
	struct fixture *f = *state;
	size_t n_bad = 0;

	write_file(f, "b.yml", POD("b1") POD("b2") IGNORED);
	write_file(f, "a.yaml", POD("a"));
	write_file(f, "c.yaml", EMPTY);
	write_file(f, "bad.yaml", POD("x") BROKEN);
	write_file(f, ".hidden.yaml", POD("hidden"));
	write_file(f, "a.yaml~", POD("backup"));
	write_file(f, "#a.yaml#", POD("auto"));
	write_file(f, "#b.yaml", POD("auto2"));
	write_file(f, "readme.txt", "no manifest");
	write_file(f, ".yaml", POD("nameless"));
	start(f);
	assert_int_equal(f->n_reports, 4);
	expect_report(f, 0, "a.yaml", 0, 1);
	expect_report(f, 1, "b.yml", 0, 2);
	assert_int_equal(f->reports[1].ignored, 1);
	expect_report(f, 2, "bad.yaml", -EINVAL, 0);
	assert_int_equal(f->reports[2].line, 8);
	expect_report(f, 3, "c.yaml", 0, 0);
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 1);
	ig_manifest_dir_each_bad(f->dir, expect_bad, &n_bad);
	assert_int_equal(n_bad, 1);
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 3);
	assert_true(has(f, "a") && has(f, "b1") && has(f, "b2"));
	assert_false(has(f, "x"));
	/* nothing has happened since */
	turn(f);
	assert_int_equal(f->n_reports, 0);
}

static void test_cannot_start(void **state)
{
	struct fixture *f = *state;
	struct ig_err err = {};
	char buf[PATH_MAX];

	assert_int_equal(ig_manifest_dir_new(f->base, source_at(at(f, "none", buf)), f->store,
				 on_report, f, &f->dir, &err),
		-ENOENT);
	assert_string_equal(err.file, buf);
	assert_non_null(strstr(err.message, "No such file"));
	write_file(f, "file", "");
	assert_int_equal(ig_manifest_dir_new(f->base, source_at(at(f, "file", buf)), f->store,
				 on_report, f, &f->dir, &err),
		-ENOTDIR);
	assert_int_equal(
		ig_manifest_dir_new(f->base, source_at(""), f->store, on_report, f, &f->dir, &err),
		-ENOENT);
	assert_null(f->dir);
	assert_int_equal(f->n_reports, 0);
}

static void test_follow(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(f->n_reports, 0);
	write_file(f, "a.yaml", POD("a"));
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", 0, 1);
	assert_true(has(f, "a"));
	/* in place */
	write_file(f, "a.yaml", POD("a2"));
	turn(f);
	assert_true(has(f, "a2") && !has(f, "a"));
	/* by rename, as editors and kubectl do it */
	write_file(f, ".a.yaml.tmp", POD("a3"));
	rename_file(f, ".a.yaml.tmp", "a.yaml");
	turn(f);
	assert_int_equal(f->n_reports, 1);
	assert_true(has(f, "a3") && !has(f, "a2"));
	/* to another name */
	rename_file(f, "a.yaml", "b.yaml");
	turn(f);
	assert_true(has(f, "a3"));
	rename_file(f, "b.yaml", "b.off");
	turn(f);
	expect_report(f, 0, "b.yaml", 0, 0);
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 0);
	rename_file(f, "b.off", "b.yaml");
	turn(f);
	assert_true(has(f, "a3"));
	remove_file(f, "b.yaml");
	turn(f);
	assert_false(has(f, "a3"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
}

/* Several things between two turns are one look. */
static void test_burst(void **state)
{
	struct fixture *f = *state;

	start(f);
	for (int i = 0; i < 20; i++)
		write_file(f, "a.yaml", i % 2 ? POD("odd") : POD("even"));
	write_file(f, "b.yaml", POD("b"));
	remove_file(f, "b.yaml");
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", 0, 1);
	assert_true(has(f, "odd"));
	assert_int_equal(ig_store_epoch(f->store), 1);
}

static void test_same_content(void **state)
{
	struct fixture *f = *state;

	write_file(f, "a.yaml", POD("a"));
	start(f);
	assert_int_equal(ig_store_epoch(f->store), 1);
	write_file(f, ".tmp", POD("a"));
	rename_file(f, ".tmp", "a.yaml");
	turn(f);
	assert_int_equal(ig_store_epoch(f->store), 1);
	assert_true(has(f, "a"));
}

static void test_last_good_stays(void **state)
{
	struct fixture *f = *state;

	write_file(f, "a.yaml", POD("a"));
	write_file(f, "b.yaml", POD("b"));
	start(f);
	write_file(f, "a.yaml", POD("new") BROKEN);
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", -EINVAL, 0);
	assert_int_equal(f->reports[0].line, 8);
	assert_true(has(f, "a") && has(f, "b") && !has(f, "new"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 1);
	/* the others go on, and the wrong one is not told again */
	write_file(f, "b.yaml", POD("b2"));
	turn(f);
	assert_int_equal(f->n_reports, 1);
	assert_true(has(f, "a") && has(f, "b2"));
	write_file(f, "a.yaml", POD("new"));
	turn(f);
	expect_report(f, 0, "a.yaml", 0, 1);
	assert_true(has(f, "new") && !has(f, "a"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
	/* a wrong file that goes away takes what it declared before */
	write_file(f, "a.yaml", BROKEN);
	turn(f);
	assert_true(has(f, "new"));
	remove_file(f, "a.yaml");
	turn(f);
	assert_false(has(f, "new"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
}

/* A file that is being written, new or in place, is not looked at, whatever else happens. */
static void test_half_written(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int old = -1, new = -1;

	write_file(f, "old.yaml", POD("o1") POD("o2"));
	start(f);
	old = open_new(f, "old.yaml");
	new = open_new(f, "new.yaml");
	write_fd(old, POD("o1"));
	write_fd(new, POD("n1"));
	write_file(f, "other.yaml", POD("other"));
	turn(f);
	assert_int_equal(f->n_reports, 1);
	assert_true(has(f, "o1") && has(f, "o2") && has(f, "other") && !has(f, "n1"));
	write_fd(old, POD("o3"));
	old = ig_close(old);
	turn(f);
	assert_true(has(f, "o1") && !has(f, "o2") && has(f, "o3") && !has(f, "n1"));
	write_fd(new, POD("n2"));
	new = ig_close(new);
	turn(f);
	expect_report(f, 0, "new.yaml", 0, 2);
}

static void test_links(void **state)
{
	struct fixture *f = *state;
	char outside[PATH_MAX], inside[PATH_MAX];
	FILE *file;

	(void)snprintf(outside, sizeof(outside), "%s/outside.yaml", f->root);
	file = fopen(outside, "we");
	assert_non_null(file);
	assert_true(fputs(POD("outside"), file) >= 0);
	assert_int_equal(fclose(file), 0);
	start(f);
	write_file(f, "text", POD("inside"));
	link_file(f, "text", "in.yaml");
	link_file(f, "../outside.yaml", "out.yaml");
	link_file(f, outside, "abs.yaml");
	link_file(f, "missing", "dangling.yaml");
	link_file(f, "loop.yaml", "loop.yaml");
	make_dir(f, "dir.yaml");
	turn(f);
	assert_int_equal(f->n_reports, 6);
	expect_report(f, 0, "abs.yaml", -EXDEV, 0);
	expect_report(f, 1, "dangling.yaml", -ENOENT, 0);
	expect_report(f, 2, "dir.yaml", -EINVAL, 0);
	expect_report(f, 3, "in.yaml", 0, 1);
	expect_report(f, 4, "loop.yaml", -ELOOP, 0);
	expect_report(f, 5, "out.yaml", -EXDEV, 0);
	assert_non_null(strstr(f->reports[0].message, "leads out of the directory"));
	assert_true(has(f, "inside") && !has(f, "outside"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 5);
	/* the target comes, or changes: no event names the link */
	write_file(f, "missing", POD("found"));
	write_file(f, "text", POD("inside2"));
	turn(f);
	assert_int_equal(f->n_reports, 2);
	assert_true(has(f, "found") && has(f, "inside2") && !has(f, "inside"));
	/* a hard link is complete at once */
	assert_int_equal(link(outside, at(f, "hard.yaml", inside)), 0);
	turn(f);
	assert_true(has(f, "outside"));
}

static void test_not_regular(void **state)
{
	struct fixture *f = *state;
	char buf[PATH_MAX];

	make_dir(f, "dir.yaml");
	assert_int_equal(mkfifo(at(f, "fifo.yaml", buf), 0644), 0);
	start(f);
	assert_int_equal(f->n_reports, 2);
	expect_report(f, 0, "dir.yaml", -EINVAL, 0);
	expect_report(f, 1, "fifo.yaml", -EINVAL, 0);
	assert_non_null(strstr(f->reports[0].message, "not a regular file"));
}

static void test_too_large(void **state)
{
	struct fixture *f = *state;
	char buf[PATH_MAX];

	write_file(f, "a.yaml", POD("a"));
	write_file(f, "b.yaml", POD("b"));
	start(f);
	write_file(f, "a.yaml", POD("new"));
	assert_int_equal(truncate(at(f, "a.yaml", buf), IG_MANIFEST_FILE_BYTES + 1), 0);
	turn(f);
	expect_report(f, 0, "a.yaml", -E2BIG, 0);
	assert_true(has(f, "a"));
}

/* kubelet's way: files are links into ..data, a link that one rename swaps. */
static void test_config_map(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "..v1");
	write_file(f, "..v1/a.yaml", POD("a1"));
	write_file(f, "..v1/b.yaml", POD("b1"));
	link_file(f, "..v1", "..data");
	link_file(f, "..data/a.yaml", "a.yaml");
	link_file(f, "..data/b.yaml", "b.yaml");
	start(f);
	assert_int_equal(f->n_reports, 2);
	assert_true(has(f, "a1") && has(f, "b1"));
	/* the object b2 moves from one file to the other on the way */
	make_dir(f, "..v2");
	write_file(f, "..v2/a.yaml", POD("a2") POD("b1"));
	write_file(f, "..v2/b.yaml", POD("b2"));
	link_file(f, "..v2", "..data_tmp");
	turn(f);
	assert_int_equal(f->n_reports, 0);
	rename_file(f, "..data_tmp", "..data");
	remove_file(f, "..v1/a.yaml");
	remove_file(f, "..v1/b.yaml");
	remove_file(f, "..v1");
	turn(f);
	assert_int_equal(f->n_reports, 2);
	assert_int_equal(f->reports[0].error, 0);
	assert_int_equal(f->reports[1].error, 0);
	assert_true(has(f, "a2") && has(f, "b1") && has(f, "b2") && !has(f, "a1"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
}

static void test_clash(void **state)
{
	struct fixture *f = *state;

	write_file(f, "z.yaml", POD("x"));
	start(f);
	/* who was first keeps it, whatever the names' order says */
	write_file(f, "a.yaml", POD("y") POD("x"));
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", -EINVAL, 0);
	assert_non_null(strstr(f->reports[0].message, "Pod default/x is already declared by"));
	assert_non_null(strstr(f->reports[0].message, "/m/z.yaml"));
	assert_int_equal(f->reports[0].line, 6);
	assert_false(has(f, "y"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 1);
	/* told once */
	write_file(f, "other.yaml", POD("o"));
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "other.yaml", 0, 1);
	/* tried again when the way is free */
	write_file(f, "z.yaml", POD("z"));
	turn(f);
	assert_int_equal(f->n_reports, 2);
	expect_report(f, 0, "z.yaml", 0, 1);
	expect_report(f, 1, "a.yaml", 0, 2);
	assert_true(has(f, "x") && has(f, "y") && has(f, "z"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
}

static void replace(struct fixture *f, const char *source, const char *text)
{
	struct ig_object_set *set = NULL;

	if (text)
		assert_int_equal(
			ig_manifest_parse(source, text, strlen(text), NULL, &set, NULL), 0);
	assert_int_equal(ig_store_replace(f->store, source, set, NULL), 0);
}

static void on_store_changed(uint64_t epoch, void *userdata)
{
	const struct fixture *f = userdata;

	(void)epoch;
	ig_manifest_dir_store_changed(f->dir);
}

/* What the cluster declared goes: nobody would declare it if the file were not tried again. */
static void test_clash_with_cluster(void **state)
{
	struct fixture *f = *state;

	replace(f, "kube:Pod/default/x", POD("x"));
	start(f);
	ig_store_set_listener(f->store, on_store_changed, f);
	write_file(f, "a.yaml", POD("x") POD("y"));
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", -EINVAL, 0);
	/* what others change is no news as long as it does not help */
	replace(f, "kube:Pod/default/z", POD("z"));
	turn(f);
	assert_int_equal(f->n_reports, 0);
	assert_false(has(f, "y"));
	/* the next try comes after a pause */
	replace(f, "kube:Pod/default/x", NULL);
	assert_false(has(f, "x"));
	f->n_reports = 0;
	while (!f->n_reports)
		assert_int_equal(event_base_loop(f->base, EVLOOP_ONCE), 0);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", 0, 2);
	assert_true(has(f, "x") && has(f, "y") && has(f, "z"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
	ig_store_set_listener(f->store, NULL, NULL);
}

/* So many descriptors are left, and no more. */
static struct rlimit leave_descriptors(size_t n)
{
	struct rlimit before, few;
	int fds[4];

	assert_in_range(n, 0, IG_ARRAY_SIZE(fds) - 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	for (size_t i = 0; i <= n; i++) {
		fds[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
		assert_true(fds[i] >= 0);
	}
	for (size_t i = 0; i <= n; i++)
		assert_int_equal(close(fds[i]), 0);
	few.rlim_cur = (rlim_t)fds[n];
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	return before;
}

/* One turn that something happens in, which may be that time has passed. */
static void wait_turn(struct fixture *f)
{
	f->n_reports = 0;
	assert_int_equal(event_base_loop(f->base, EVLOOP_ONCE), 0);
}

/* No event tells that there are descriptors again, and nobody has to touch the file. */
static void test_passing_error(void **state)
{
	struct fixture *f = *state;
	struct rlimit before;

	start(f);
	write_file(f, "a.yaml", POD("a"));
	before = leave_descriptors(1);
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", -EMFILE, 0);
	/* said once */
	wait_turn(f);
	assert_int_equal(f->n_reports, 0);
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	wait_turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", 0, 1);
	assert_true(has(f, "a"));
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
	/* and then there is nothing to wait for */
	assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), 1);
}

/* The same of the directory itself; and of a file that clashes once it can be read. */
static void test_passing_error_of_directory(void **state)
{
	struct fixture *f = *state;
	struct rlimit before;

	start(f);
	write_file(f, "a.yaml", POD("a"));
	write_file(f, "b.yaml", POD("a"));
	before = leave_descriptors(0);
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "", -EMFILE, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	before = leave_descriptors(1);
	wait_turn(f);
	assert_int_equal(f->n_reports, 3);
	expect_report(f, 0, "a.yaml", -EMFILE, 0);
	expect_report(f, 1, "b.yaml", -EMFILE, 0);
	expect_report(f, 2, "", 0, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	wait_turn(f);
	assert_int_equal(f->n_reports, 2);
	expect_report(f, 0, "a.yaml", 0, 1);
	expect_report(f, 1, "b.yaml", -EINVAL, 0);
	assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), 1);
}

/* What is tried again is what was there: not what somebody has half written since. */
static void test_passing_error_half_written(void **state)
{
	struct fixture *f = *state;
	struct rlimit before;
	int fd;

	write_file(f, "a.yaml", POD("a") POD("b"));
	start(f);
	write_file(f, "a.yaml", POD("a") POD("b") POD("c"));
	before = leave_descriptors(1);
	turn(f);
	expect_report(f, 0, "a.yaml", -EMFILE, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	fd = open_new(f, "a.yaml");
	write_fd(fd, POD("a"));
	before = leave_descriptors(1);
	wait_turn(f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	wait_turn(f);
	assert_int_equal(f->n_reports, 0);
	assert_true(has(f, "b"));
	write_fd(fd, POD("d"));
	assert_int_equal(close(fd), 0);
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "a.yaml", 0, 2);
	assert_true(has(f, "d") && !has(f, "b"));
}

/* A removal frees the way, too, and one success may free the next. */
static void test_clash_chain(void **state)
{
	struct fixture *f = *state;

	write_file(f, "1.yaml", POD("a"));
	write_file(f, "2.yaml", POD("b"));
	write_file(f, "3.yaml", POD("c"));
	start(f);
	/* everybody hands on to the left; 1 cannot go before 2, 2 not before 3 */
	write_file(f, "1.yaml", POD("b"));
	write_file(f, "2.yaml", POD("c"));
	turn(f);
	assert_int_equal(f->n_reports, 2);
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 2);
	assert_true(has(f, "a") && has(f, "b") && has(f, "c"));
	remove_file(f, "3.yaml");
	turn(f);
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 0);
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 2);
	assert_false(has(f, "a"));
	assert_true(has(f, "b") && has(f, "c"));
	assert_int_equal(f->n_reports, 3);
}

/* An object that moves between two files within one turn is no clash to anybody. */
static void test_move_between_files(void **state)
{
	struct fixture *f = *state;

	write_file(f, "a.yaml", POD("a"));
	write_file(f, "b.yaml", POD("b") POD("moving"));
	start(f);
	write_file(f, "a.yaml", POD("a") POD("moving"));
	write_file(f, "b.yaml", POD("b"));
	turn(f);
	assert_int_equal(f->n_reports, 2);
	assert_int_equal(f->reports[0].error, 0);
	assert_int_equal(f->reports[1].error, 0);
	assert_true(has(f, "moving"));
}

static void test_mode(void **state)
{
	struct fixture *f = *state;
	char buf[PATH_MAX];

	if (geteuid() == 0) {
		/* root reads it all the same: what is left to see is that nothing breaks */
		write_file(f, "a.yaml", POD("a"));
		start(f);
		assert_int_equal(chmod(at(f, "a.yaml", buf), 0), 0);
		turn(f);
		assert_true(has(f, "a"));
		return;
	}
	write_file(f, "a.yaml", POD("a"));
	assert_int_equal(chmod(at(f, "a.yaml", buf), 0), 0);
	start(f);
	expect_report(f, 0, "a.yaml", -EACCES, 0);
	assert_int_equal(chmod(buf, 0644), 0);
	turn(f);
	expect_report(f, 0, "a.yaml", 0, 1);
	assert_true(has(f, "a"));
}

static void test_too_many(void **state)
{
	struct fixture *f = *state;
	char name[32];

	write_file(f, "keep.yaml", POD("a"));
	start(f);
	for (int i = 0; i < IG_MANIFEST_FILES_MAX; i++) {
		(void)snprintf(name, sizeof(name), "f%d.yaml", i);
		write_file(f, name, EMPTY);
	}
	write_file(f, "keep.yaml", POD("b"));
	turn(f);
	/* nothing is taken over by half */
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "", -E2BIG, 0);
	assert_true(has(f, "a") && !has(f, "b"));
	/* at the limit all is well, and what was missed meanwhile is made up for */
	for (int i = 0; i < IG_MANIFEST_FILES_MAX - 10; i++) {
		(void)snprintf(name, sizeof(name), "f%d.yaml", i);
		remove_file(f, name);
	}
	turn(f);
	assert_true(has(f, "b") && !has(f, "a"));
	assert_int_equal(f->n_reports, 12);
	expect_report(f, 11, "", 0, 0);
}

static void move_dir(const struct fixture *f, bool away)
{
	char other[PATH_MAX];

	(void)snprintf(other, sizeof(other), "%s/moved", f->root);
	assert_int_equal(away ? rename(f->path, other) : rename(other, f->path), 0);
}

static void test_directory_moved(void **state)
{
	struct fixture *f = *state;
	char inside[PATH_MAX], outside[PATH_MAX];

	write_file(f, "a.yaml", POD("a"));
	write_file(f, "gone.yaml", POD("gone"));
	start(f);
	move_dir(f, true);
	turn(f);
	assert_int_equal(f->n_reports, 1);
	expect_report(f, 0, "", -ENOENT, 0);
	assert_non_null(strstr(f->reports[0].message, "stays in force"));
	assert_true(has(f, "a") && has(f, "gone"));
	/* what happens where it is now is none of ours */
	(void)snprintf(outside, sizeof(outside), "%s/moved/gone.yaml", f->root);
	assert_int_equal(unlink(outside), 0);
	turn(f);
	assert_int_equal(f->n_reports, 0);
	assert_true(has(f, "gone"));
	move_dir(f, false);
	turn(f);
	assert_int_equal(f->n_reports, 2);
	expect_report(f, 0, "gone.yaml", 0, 0);
	expect_report(f, 1, "", 0, 0);
	assert_true(has(f, "a") && !has(f, "gone"));
	/* and it is followed again */
	write_file(f, "b.yaml", POD("b"));
	turn(f);
	assert_true(has(f, "b"));
	assert_int_equal(unlink(at(f, "b.yaml", inside)), 0);
	turn(f);
	assert_false(has(f, "b"));
}

static void test_directory_deleted(void **state)
{
	struct fixture *f = *state;

	write_file(f, "a.yaml", POD("a"));
	start(f);
	/* all in one turn, so that the file's end is part of the directory's */
	remove_file(f, "a.yaml");
	assert_int_equal(rmdir(f->path), 0);
	turn(f);
	expect_report(f, 0, "", -ENOENT, 0);
	assert_true(has(f, "a"));
	assert_int_equal(mkdir(f->path, 0755), 0);
	write_file(f, "b.yaml", POD("b"));
	turn(f);
	assert_true(has(f, "b") && !has(f, "a"));
	write_file(f, "c.yaml", POD("c"));
	turn(f);
	assert_true(has(f, "c"));
}

/* Replaced before we look: the new one is taken up at once. */
static void test_directory_replaced(void **state)
{
	struct fixture *f = *state;

	write_file(f, "a.yaml", POD("a"));
	start(f);
	move_dir(f, true);
	assert_int_equal(mkdir(f->path, 0755), 0);
	write_file(f, "b.yaml", POD("b"));
	turn(f);
	assert_true(has(f, "b") && !has(f, "a"));
	assert_int_equal(f->reports[0].error, -ENOENT);
	expect_report(f, f->n_reports - 1, "", 0, 0);
	write_file(f, "b.yaml", POD("b2"));
	turn(f);
	assert_true(has(f, "b2"));
}

/* The parent goes as well, and something that is no directory takes the place for a while. */
static void test_parent_gone(void **state)
{
	struct fixture *f = *state;
	char sub[PATH_MAX], deep[96];
	_cleanup_close_ int fd = -1;

	make_dir(f, "sub");
	at(f, "sub", sub);
	(void)snprintf(deep, sizeof(deep), "%.80s/sub/deep", f->path);
	assert_int_equal(mkdir(deep, 0755), 0);
	memcpy(f->path, deep, sizeof(deep));
	start(f);
	write_file(f, "a.yaml", POD("a"));
	turn(f);
	assert_true(has(f, "a"));
	remove_file(f, "a.yaml");
	assert_int_equal(rmdir(deep), 0);
	assert_int_equal(rmdir(sub), 0);
	turn(f);
	expect_report(f, 0, "", -ENOENT, 0);
	assert_true(has(f, "a"));
	fd = open(sub, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	turn(f);
	assert_int_equal(unlink(sub), 0);
	assert_int_equal(mkdir(sub, 0755), 0);
	turn(f);
	assert_int_equal(f->n_reports, 0);
	assert_int_equal(mkdir(deep, 0755), 0);
	turn(f);
	expect_report(f, f->n_reports - 1, "", 0, 0);
	write_file(f, "b.yaml", POD("b"));
	turn(f);
	assert_true(has(f, "b") && !has(f, "a"));
}

/* More events than the kernel queues: it says so, and everything is looked at. */
static void test_overflow(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *text = NULL;
	char a[PATH_MAX], b[PATH_MAX];
	uint32_t limit = 0;
	size_t len = 0;

	assert_int_equal(ig_fd_read_file(AT_FDCWD, "/proc/sys/fs/inotify/max_queued_events", 32,
				 &text, &len),
		0);
	text[strcspn(text, "\n")] = '\0';
	assert_int_equal(ig_parse_u32(text, &limit), 0);
	/* an administrator's large queue would take too long to fill */
	if (limit > 100000)
		skip();
	write_file(f, "x", EMPTY);
	start(f);
	at(f, "x", a);
	at(f, "y", b);
	for (uint32_t i = 0; i <= limit / 2 + 1; i++)
		assert_int_equal(i % 2 ? rename(b, a) : rename(a, b), 0);
	/* lost, for the queue is full */
	write_file(f, "a.yaml", POD("a"));
	/* a turn reads so much and no more */
	for (int i = 0; i < 16 && !has(f, "a"); i++)
		turn(f);
	assert_true(has(f, "a"));
	write_file(f, "b.yaml", POD("b"));
	turn(f);
	assert_true(has(f, "b"));
}

static void test_check(void **state)
{
	struct fixture *f = *state;
	struct ig_err err = {};
	char buf[PATH_MAX];

	write_file(f, "a.yaml", POD("x"));
	write_file(f, "b.yaml", POD("y") POD("x"));
	write_file(f, "c.yaml", BROKEN);
	write_file(f, "d.yaml", POD("d"));
	assert_int_equal(ig_manifest_dir_check(source_at(f->path), on_report, f, &err), 2);
	assert_int_equal(f->n_reports, 4);
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_POD), 0);
	remove_file(f, "b.yaml");
	remove_file(f, "c.yaml");
	assert_int_equal(ig_manifest_dir_check(source_at(f->path), NULL, NULL, &err), 0);
	assert_int_equal(
		ig_manifest_dir_check(source_at(at(f, "none", buf)), on_report, f, &err), -ENOENT);
	assert_string_equal(err.file, buf);
}

/* What reaches beyond a namespace is refused in all but the one that governs the cluster. */
static void test_policy_namespace(void **state)
{
	static const char policy[] =
		"apiVersion: imdsgate.dev/v1alpha1\nkind: MetadataPolicy\nmetadata: {name: p, namespace: %s}\nspec: {subject: Host}\n";
	struct fixture *f = *state;
	char text[256];

	(void)snprintf(text, sizeof(text), policy, "gate");
	write_file(f, "a.yaml", text);
	(void)snprintf(text, sizeof(text), policy, "shop");
	write_file(f, "b.yaml", text);
	start(f);
	assert_int_equal(ig_store_count(f->store, IG_OBJECT_METADATA_POLICY), 1);
	assert_int_equal(ig_manifest_dir_bad_files(f->dir), 1);
	assert_int_equal(ig_manifest_dir_check(source_at(f->path), NULL, NULL, NULL), 1);
}

/* A slash at the end of the path is not doubled in reports, and the store outlives the rest. */
static void test_trailing_slash(void **state)
{
	struct fixture *f = *state;
	struct ig_err err = {};
	char buf[PATH_MAX];

	write_file(f, "a.yaml", POD("a"));
	assert_int_equal(ig_manifest_dir_new(f->base, source_at(at(f, "", buf)), f->store,
				 on_report, f, &f->dir, &err),
		0);
	expect_report(f, 0, "a.yaml", 0, 1);
	f->dir = ig_manifest_dir_free(f->dir);
	assert_true(has(f, "a"));
	assert_null(ig_manifest_dir_free(NULL));
}

#define DIR_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DIR_TEST(test_first_look),
		DIR_TEST(test_cannot_start),
		DIR_TEST(test_follow),
		DIR_TEST(test_burst),
		DIR_TEST(test_same_content),
		DIR_TEST(test_last_good_stays),
		DIR_TEST(test_half_written),
		DIR_TEST(test_links),
		DIR_TEST(test_not_regular),
		DIR_TEST(test_too_large),
		DIR_TEST(test_config_map),
		DIR_TEST(test_clash),
		DIR_TEST(test_clash_with_cluster),
		DIR_TEST(test_passing_error),
		DIR_TEST(test_passing_error_of_directory),
		DIR_TEST(test_passing_error_half_written),
		DIR_TEST(test_clash_chain),
		DIR_TEST(test_move_between_files),
		DIR_TEST(test_mode),
		DIR_TEST(test_too_many),
		DIR_TEST(test_directory_moved),
		DIR_TEST(test_directory_deleted),
		DIR_TEST(test_directory_replaced),
		DIR_TEST(test_parent_gone),
		DIR_TEST(test_overflow),
		DIR_TEST(test_check),
		DIR_TEST(test_policy_namespace),
		DIR_TEST(test_trailing_slash),
	};

	return cmocka_run_group_tests_name("manifest_dir", tests, NULL, NULL);
}
