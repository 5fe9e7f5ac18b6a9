/*
 * The watches of many agents in one process, against a real API server: each has a client, a feeder
 * and a store of its own, exactly as an agent has, and the pods of another node. For measurements:
 * what agents cost the API server and themselves.
 *
 *	swarm KUBECONFIG AGENTS NODE_PREFIX
 *
 * Prints a line of JSON when all are synced, and one more for each line on standard input; ends
 * with its input. Counters are sums over all agents since the start.
 */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/parse.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/feeder.h"

struct agent {
	struct ig_store *store;
	struct ig_kube_client *client;
	struct ig_kube_feeder *feeder;
	uint64_t changes; /* that its store told of */
};

struct swarm {
	struct event_base *base;
	struct agent *agents;
	uint32_t n;
	bool was_synced;
};

/* In KiB; what is shared between processes counts in full. */
static long resident_kib(void)
{
	char text[128] = "";
	FILE *f = fopen("/proc/self/statm", "re");
	uint64_t pages = 0;
	char *second;

	if (!f)
		return -1;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	(void)fclose(f);
	second = strchr(text, ' ');
	if (!second)
		return -1;
	second++;
	second[strcspn(second, " ")] = '\0';
	return ig_parse_u64(second, &pages) < 0 ? -1 : (long)pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static uint64_t cpu_usec(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u) < 0)
		return 0;
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void report(const struct swarm *s)
{
	struct ig_kube_watch_stats sum = {};
	uint64_t changes = 0, rejected = 0, synced = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		synced += ig_kube_feeder_synced(s->agents[i].feeder);
		changes += s->agents[i].changes;
		for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
			struct ig_kube_feeder_stats stats;

			if (!ig_kube_feeder_stats(
				    s->agents[i].feeder, (enum ig_object_kind)kind, &stats))
				continue;
			rejected += stats.rejected;
			sum.objects += stats.watch.objects;
			sum.events += stats.watch.events;
			sum.lists += stats.watch.lists;
			sum.watches += stats.watch.watches;
			sum.errors += stats.watch.errors;
			sum.bytes += stats.watch.bytes;
		}
	}
	(void)printf("{\"agents\":%" PRIu32 ",\"synced\":%" PRIu64 ",\"objects\":%" PRIu64
		     ",\"rejected\":%" PRIu64 ",\"events\":%" PRIu64 ",\"changes\":%" PRIu64
		     ",\"lists\":%" PRIu64 ",\"watches\":%" PRIu64 ",\"errors\":%" PRIu64
		     ",\"bytes\":%" PRIu64 ",\"rss_kib\":%ld,\"cpu_usec\":%" PRIu64 "}\n",
		s->n, synced, sum.objects, rejected, sum.events, changes, sum.lists, sum.watches,
		sum.errors, sum.bytes, resident_kib(), cpu_usec());
	(void)fflush(stdout);
}

static void on_rejected(enum ig_object_kind kind, const char *ns, const char *name,
	const struct ig_err *err, void *userdata)
{
	(void)userdata;
	(void)fprintf(stderr, "%s %s/%s: %s\n", ig_object_kind_name(kind), ns, name, err->message);
}

static void on_state(
	enum ig_object_kind kind, enum ig_kube_watch_state state, const char *text, void *userdata)
{
	struct swarm *s = userdata;

	if (text[0])
		(void)fprintf(stderr, "%s: %s: %s\n", ig_object_kind_name(kind),
			ig_kube_watch_state_name(state), text);
	if (s->was_synced)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		if (!s->agents[i].feeder || !ig_kube_feeder_synced(s->agents[i].feeder))
			return;
	s->was_synced = true;
	report(s);
}

static void on_changed(uint64_t epoch, void *userdata)
{
	struct agent *agent = userdata;

	(void)epoch;
	agent->changes++;
}

static int start(
	struct swarm *s, const struct ig_kube_config *config, uint32_t i, const char *node_prefix)
{
	static const struct ig_kube_feeder_ops ops = {.rejected = on_rejected, .state = on_state};
	struct ig_kube_feeder_options options = {.policy_namespace = "imdsgate-system"};
	struct agent *agent = &s->agents[i];
	char node[64];
	int r = ig_store_new(&agent->store);

	(void)snprintf(node, sizeof(node), "%s%" PRIu32, node_prefix, i);
	options.node = node;
	if (r == 0) {
		ig_store_set_listener(agent->store, on_changed, agent);
		r = ig_kube_client_new(s->base, config, "imdsgate-swarm", &agent->client);
	}
	if (r == 0)
		r = ig_kube_feeder_new(
			s->base, agent->client, agent->store, &options, &ops, s, &agent->feeder);
	return r;
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct swarm *s = arg;
	char text[64];
	ssize_t n = read((int)fd, text, sizeof(text));

	(void)what;
	if (n <= 0)
		(void)event_base_loopbreak(s->base);
	for (ssize_t i = 0; i < n; i++)
		if (text[i] == '\n')
			report(s);
}

static void raise_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void done(struct swarm *s)
{
	for (uint32_t i = 0; s->agents && i < s->n; i++) {
		(void)ig_kube_feeder_free(s->agents[i].feeder);
		(void)ig_kube_client_free(s->agents[i].client);
		(void)ig_store_free(s->agents[i].store);
	}
	free(s->agents);
}

int main(int argc, char **argv)
{
	struct ig_kube_config *config = NULL;
	struct ig_err err = {};
	struct event *input;
	struct swarm s = {};
	int r;

	if (argc != 4 || ig_parse_u32(argv[2], &s.n) < 0) {
		(void)fprintf(stderr, "usage: swarm KUBECONFIG AGENTS NODE_PREFIX\n");
		return 2;
	}
	raise_limit();
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	r = ig_kube_config_load(argv[1], &config, &err);
	if (r < 0) {
		(void)fprintf(stderr, "swarm: %s\n", err.message);
		return 1;
	}
	s.base = event_base_new();
	s.agents = calloc(s.n, sizeof(*s.agents));
	if (!s.base || !s.agents)
		return 1;
	for (uint32_t i = 0; r == 0 && i < s.n; i++)
		r = start(&s, config, i, argv[3]);
	input = event_new(s.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &s);
	if (r == 0 && input && event_add(input, NULL) == 0)
		(void)event_base_dispatch(s.base);
	else
		(void)fprintf(stderr, "swarm: cannot start: %s\n", strerror(-r));
	if (input)
		event_free(input);
	done(&s);
	(void)ig_kube_config_free(config);
	event_base_free(s.base);
	return r < 0;
}
