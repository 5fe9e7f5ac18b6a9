/*
 * The guard and older connections; see packets.h. Called by the monitor's start-up.
 */
#include "monitor/packets.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/guard.h"
#include "monitor/listeners.h"
#include "monitor/older.h"
#include "monitor/uplinks.h"

struct ig_packets {
	struct ig_packets_options options;
	struct event_base *base;
	struct ig_guard *guard;	    /* NULL: off */
	struct ig_uplinks *uplinks; /* likewise */
	struct event *end_older;    /* owned */
	/* of the search for older connections: the namespaces that had a listener when it began, by
	 * opened_seq; a younger one cannot have any */
	uint64_t looked_at, last;
	uint64_t ended;
	int error;
};

IG_DEFINE_CLEANUP(struct ig_packets *, ig_packets_free);

/* ---- older connections ---- */

static void end_older_of(struct ig_packets *p, const struct ig_listener *listener)
{
	const struct ig_older older = {.dp = p->options.dp,
		.settings = &p->options.settings,
		.ended = p->options.ended,
		.userdata = p->options.userdata};
	_cleanup_close_ int home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int netns_fd = ioctl(listener->sock, SIOCGSKNS);
	int r = home_fd < 0 || netns_fd < 0
			? -errno
			: ig_older_end(&older, netns_fd, home_fd, listener->netns_cookie);

	if (r < 0)
		p->error = r;
	else
		p->ended += (uint64_t)r;
}

static void report_ended(const struct ig_packets *p)
{
	if (p->ended)
		ig_log_warning(
			"ended connections to an endpoint that were older than the gate, or than a rule",
			IG_KV_U64(COUNT, p->ended));
	if (p->error)
		(void)ig_log_errno(p->error,
			"cannot end connections that are older than the gate, or than a rule; the guard drops their packets");
}

/* Those that the guard would let through (their owner may) stay; others would only hang. One
 * namespace at a time: the kernel goes through all sockets of the machine for each, and new pods
 * wait for their listeners meanwhile. */
static void on_end_older(evutil_socket_t fd, short what, void *userdata)
{
	static const struct timeval now = {};
	struct ig_packets *p = userdata;
	const struct ig_listener *listener = ig_listeners_next(p->options.listeners, p->looked_at);

	(void)fd;
	(void)what;
	if (!listener || listener->opened_seq > p->last) {
		report_ended(p);
		return;
	}
	p->looked_at = listener->opened_seq;
	end_older_of(p, listener);
	(void)evtimer_add(p->end_older, &now);
}

static void end_older_soon(struct ig_packets *p)
{
	static const struct timeval now = {};

	p->looked_at = 0;
	p->last = ig_listeners_last_seq(p->options.listeners);
	if (!evtimer_pending(p->end_older, NULL)) {
		p->ended = 0;
		p->error = 0;
	}
	(void)evtimer_add(p->end_older, &now);
}

/* Once for all interfaces that get the guard together. */
static void on_guarded(const char *name, void *userdata)
{
	const struct ig_packets *p = userdata;

	(void)name;
	if (!p->options.adopting)
		end_older_soon(userdata);
}

void ig_packets_end_connections(struct ig_packets *p)
{
	end_older_soon(p);
}

/* ---- life ---- */

static int follow_uplinks(struct ig_packets *p)
{
	static const struct ig_uplinks_ops ops = {.guarded = on_guarded};

	return ig_uplinks_new(p->base, p->guard, p->options.guard, &ops, p, &p->uplinks);
}

static int load_guard(struct ig_packets *p, struct ig_err *reterr_err)
{
	int r = ig_guard_new(p->options.dp,
		p->options.clsact ? IG_GUARD_HOOK_CLSACT : IG_GUARD_HOOK_AUTO, &p->guard,
		reterr_err);

	if (r < 0)
		return r;
	r = follow_uplinks(p);
	return r < 0 ? ig_err_set(reterr_err, r, "cannot follow links and routes: %s", strerror(-r))
		     : 0;
}

int ig_packets_new(struct event_base *base, const struct ig_packets_options *options,
	struct ig_packets **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_packets_freep) struct ig_packets *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return -ENOMEM;
	p->options = *options;
	p->base = base;
	p->end_older = evtimer_new(base, on_end_older, p);
	if (!p->end_older)
		return -ENOMEM;
	if (strcmp(options->guard, "off") != 0)
		r = load_guard(p, reterr_err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

struct ig_packets *ig_packets_free(struct ig_packets *p)
{
	if (!p)
		return NULL;
	p->uplinks = ig_uplinks_free(p->uplinks);
	p->guard = ig_guard_free(p->guard);
	if (p->end_older)
		event_free(p->end_older);
	free(p);
	return NULL;
}

int ig_packets_start(struct ig_packets *p, struct ig_err *reterr_err)
{
	int r = p->uplinks ? ig_uplinks_start(p->uplinks, reterr_err) : 0;

	if (r == 0 && !p->options.adopting)
		end_older_soon(p);
	p->options.adopting = false;
	return r;
}

int ig_packets_again(struct ig_packets *p)
{
	p->options.adopting = true;
	p->uplinks = ig_uplinks_free(p->uplinks);
	return p->guard ? follow_uplinks(p) : 0;
}
