/*
 * Puts audit events into the ring of an agent that runs, for case_audit.py:
 *
 *	flood RING
 *
 * RING is the pinned map. Each line on stdin is a round: so many events, as fast as there is room
 * in the ring, which it never fills. An empty line says that they are there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/clock.h"
#include "flood.h"
#include "flood.skel.h"

#define PAUSE_USEC 200

static int fail(const char *what, int error)
{
	(void)fprintf(stderr, "flood: %s: %s\n", what, strerror(-error));
	return 1;
}

/* The agent's ring in place of ours; of the other maps none is used. */
static int open_program(const char *ring, struct flood_bpf **ret)
{
	struct flood_bpf *skel = flood_bpf__open();
	struct bpf_map *map;
	int fd = bpf_obj_get(ring), r = fd;

	if (!skel || fd < 0)
		return fd < 0 ? -errno : -ENOMEM;
	bpf_object__for_each_map(map, skel->obj)(void) bpf_map__set_autocreate(map, false);
	(void)bpf_map__set_autocreate(skel->maps.events, true);
	r = bpf_map__reuse_fd(skel->maps.events, fd);
	if (r == 0)
		r = flood_bpf__load(skel);
	(void)close(fd);
	if (r < 0) {
		flood_bpf__destroy(skel);
		return r;
	}
	*ret = skel;
	return 0;
}

static int run_round(int program, struct flood *f, uint64_t events, uint64_t rate)
{
	/* what the program writes there comes back */
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = f, .ctx_size_in = sizeof(*f));
	const uint64_t begin = ig_clock_mono_usec(), first = f->made, end = first + events;

	while (f->made < end) {
		uint64_t before = f->made;
		uint64_t due = (ig_clock_mono_usec() - begin) * rate / IG_USEC_PER_SEC;
		int r;

		f->wanted = due < events ? first + due : end;
		r = bpf_prog_test_run_opts(program, &opts);
		if (r < 0)
			return r;
		if (f->made == before)
			(void)usleep(PAUSE_USEC);
	}
	(void)puts("");
	(void)fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	struct flood_bpf *skel = NULL;
	struct flood f = {.netns_cookie = 1};
	uint64_t events, rate;
	int r;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: flood RING\n");
		return 2;
	}
	r = open_program(argv[1], &skel);
	if (r < 0)
		return fail(argv[1], r);
	while (r == 0 && scanf("%" SCNu64 " %" SCNu64, &events, &rate) == 2)
		r = run_round(bpf_program__fd(skel->progs.flood), &f, events, rate);
	flood_bpf__destroy(skel);
	return r < 0 ? fail("a run of the program", r) : 0;
}
