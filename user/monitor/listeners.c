/*
 * The gate listeners; see listeners.h. Called by the monitor only, on one thread. Never reads from
 * a socket: what a workload sends is the server's affair.
 */
#include "monitor/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/table.h"
#include "datapath/datapath.h"
#include "monitor/cookie.h"
#include "workload/netns.h"

/* Anonymous ones at a time: each takes a look into its cgroup, and pods wait meanwhile. */
#define SWEEP_TURN 16

struct entry {
	struct ig_listener listener;
	char *name; /* owned */
	UT_hash_handle hh;
};

struct ig_listeners {
	struct ig_datapath *dp; /* outlives the table */
	const struct ig_listeners_ops *ops;
	void *userdata;
	struct entry *by_cookie;
	int home_fd; /* the agent's own namespace */
	uint16_t preferred_port;
	uint64_t seq;
	size_t max;
	bool refusing; /* none of them has an entry in the map */
};

static void entry_free(struct entry *entry)
{
	(void)ig_close(entry->listener.sock);
	free(entry->name);
	free(entry);
}

IG_DEFINE_CLEANUP(struct entry *, entry_free);
IG_DEFINE_CLEANUP(struct ig_listeners *, ig_listeners_free);

int ig_listeners_new(struct ig_datapath *dp, uint16_t preferred_port, size_t max,
	const struct ig_listeners_ops *ops, void *userdata, struct ig_listeners **ret)
{
	_cleanup_(ig_listeners_freep) struct ig_listeners *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->dp = dp;
	t->ops = ops;
	t->userdata = userdata;
	t->preferred_port = preferred_port;
	t->max = max;
	t->home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (t->home_fd < 0)
		return -errno;
	*ret = TAKE_PTR(t);
	return 0;
}

struct ig_listeners *ig_listeners_free(struct ig_listeners *t)
{
	struct entry *entry, *next;

	if (!t)
		return NULL;
	HASH_ITER (hh, t->by_cookie, entry, next) {
		HASH_DEL(t->by_cookie, entry);
		entry_free(entry);
	}
	(void)ig_close(t->home_fd);
	free(t);
	return NULL;
}

static struct entry *find(const struct ig_listeners *t, uint64_t cookie)
{
	struct entry *entry;

	HASH_FIND(hh, t->by_cookie, &cookie, sizeof(cookie), entry);
	return entry;
}

/* The map entry goes first: from then on connects are refused instead of sent to a closed port. */
static void close_entry(struct ig_listeners *t, struct entry *entry)
{
	(void)ig_datapath_listener_delete(t->dp, entry->listener.netns_cookie);
	HASH_DEL(t->by_cookie, entry);
	t->ops->closed(&entry->listener, t->userdata);
	entry_free(entry);
}

static int listen_at(
	struct ig_listeners *t, int netns_fd, uint16_t port, struct ig_listener *listener)
{
	_cleanup_close_ int sock = -1;
	int r = ig_netns_socket(
		netns_fd, t->home_fd, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, &sock);

	if (r == 0)
		r = ig_datapath_port_owner_mark(t->dp, sock);
	if (r == 0)
		r = ig_netns_listen(sock, port, &listener->port);
	if (r == 0)
		listener->sock = TAKE_FD(sock);
	return r;
}

/* Opens a socket in the namespace; the entry is not in the table yet. */
static int open_entry(struct ig_listeners *t, int netns_fd, const char *name, struct entry **ret)
{
	_cleanup_(entry_freep) struct entry *entry = calloc(1, sizeof(*entry));
	int r;

	if (!entry)
		return -ENOMEM;
	entry->listener.sock = -1;
	entry->name = strdup(name);
	if (!entry->name)
		return -ENOMEM;
	entry->listener.name = entry->name;
	r = ig_cookie_of_netns(t->dp, netns_fd, t->home_fd, &entry->listener.netns_cookie);
	if (r == 0)
		r = listen_at(t, netns_fd, t->preferred_port, &entry->listener);
	if (r == -EADDRINUSE)
		r = listen_at(t, netns_fd, 0, &entry->listener);
	if (r < 0)
		return r;
	entry->listener.opened_seq = ++t->seq;
	*ret = TAKE_PTR(entry);
	return 0;
}

/* The socket listens already: a connection that comes before the server hears of it waits in the
 * backlog. */
static int insert(struct ig_listeners *t, struct entry *entry)
{
	uint64_t cookie = entry->listener.netns_cookie;
	int r = 0;

	HASH_ADD(hh, t->by_cookie, listener.netns_cookie, sizeof(cookie), entry);
	if (!ig_table_has(entry)) {
		entry_free(entry);
		return -ENOMEM;
	}
	if (!t->refusing)
		r = ig_datapath_listener_set(t->dp, cookie, htons(entry->listener.port));
	if (r < 0) {
		HASH_DEL(t->by_cookie, entry);
		entry_free(entry);
		return r;
	}
	t->ops->opened(&entry->listener, t->userdata);
	return 0;
}

int ig_listeners_add_host(struct ig_listeners *t, uint64_t *ret_cookie)
{
	struct entry *entry = NULL;
	int r = open_entry(t, t->home_fd, "host", &entry);

	if (r < 0)
		return r;
	entry->listener.is_host = true;
	*ret_cookie = entry->listener.netns_cookie;
	return insert(t, entry);
}

int ig_listeners_add_named(
	struct ig_listeners *t, int netns_fd, const char *name, uint64_t *ret_cookie)
{
	struct entry *entry = NULL, *known;
	int r = open_entry(t, netns_fd, name, &entry);

	if (r < 0)
		return r;
	*ret_cookie = entry->listener.netns_cookie;
	known = find(t, entry->listener.netns_cookie);
	if (known) {
		/* two names for one namespace, or a name for one that was anonymous until now */
		known->listener.names++;
		known->listener.owner = 0;
		entry_free(entry);
		return 0;
	}
	/* not before: those of the agent before us are named here */
	if (HASH_COUNT(t->by_cookie) >= t->max) {
		entry_free(entry);
		return -E2BIG;
	}
	entry->listener.names = 1;
	return insert(t, entry);
}

void ig_listeners_drop_name(struct ig_listeners *t, uint64_t cookie)
{
	struct entry *entry = find(t, cookie);

	if (!entry || entry->listener.names == 0)
		return;
	if (--entry->listener.names == 0 && !entry->listener.is_host)
		close_entry(t, entry);
}

static bool is_anonymous(const struct entry *entry)
{
	return entry->listener.owner != 0;
}

static void make_room(struct ig_listeners *t, uint64_t owner)
{
	struct entry *entry, *next, *oldest = NULL;
	size_t n = 0;

	HASH_ITER (hh, t->by_cookie, entry, next) {
		if (entry->listener.owner != owner)
			continue;
		n++;
		if (!oldest || entry->listener.opened_seq < oldest->listener.opened_seq)
			oldest = entry;
	}
	if (n >= IG_LISTENERS_WORKLOAD_MAX)
		close_entry(t, oldest);
}

/* expected_cookie 0: whatever it is. */
static int add_anonymous(
	struct ig_listeners *t, int netns_fd, uint64_t expected_cookie, uint64_t owner)
{
	_cleanup_(entry_freep) struct entry *entry = NULL;
	int r;

	if (HASH_COUNT(t->by_cookie) >= t->max)
		return -E2BIG;
	r = open_entry(t, netns_fd, "", &entry);
	if (r < 0)
		return r;
	if (expected_cookie && entry->listener.netns_cookie != expected_cookie)
		return -ESTALE;
	if (find(t, entry->listener.netns_cookie))
		return 0;
	make_room(t, owner);
	entry->listener.owner = owner;
	return insert(t, TAKE_PTR(entry));
}

int ig_listeners_add_anonymous(
	struct ig_listeners *t, int netns_fd, uint64_t expected_cookie, uint64_t owner_cgroup_id)
{
	if (find(t, expected_cookie))
		return 0;
	return add_anonymous(t, netns_fd, expected_cookie, owner_cgroup_id);
}

int ig_listeners_add_running(struct ig_listeners *t, int netns_fd, uint64_t owner_cgroup_id)
{
	return add_anonymous(t, netns_fd, 0, owner_cgroup_id);
}

uint64_t ig_listeners_sweep(struct ig_listeners *t, uint64_t after_seq,
	bool (*owner_lives)(uint64_t cgroup_id, void *userdata), void *userdata)
{
	struct entry *entry, *next;
	size_t n = 0;

	/* in the order in which they came */
	HASH_ITER (hh, t->by_cookie, entry, next) {
		if (!is_anonymous(entry) || entry->listener.opened_seq <= after_seq)
			continue;
		if (n++ == SWEEP_TURN)
			return after_seq;
		after_seq = entry->listener.opened_seq;
		if (!owner_lives(entry->listener.owner, userdata))
			close_entry(t, entry);
	}
	return 0;
}

bool ig_listeners_any_anonymous(const struct ig_listeners *t)
{
	const struct entry *entry;

	for (entry = t->by_cookie; entry; entry = entry->hh.next)
		if (is_anonymous(entry))
			return true;
	return false;
}

int ig_listeners_adopt(struct ig_listeners *t, const struct ig_listener *listener)
{
	_cleanup_(entry_freep) struct entry *entry = calloc(1, sizeof(*entry));
	uint64_t cookie = listener->netns_cookie;
	struct entry *known;
	int r;

	if (!entry) {
		(void)close(listener->sock);
		return -ENOMEM;
	}
	entry->listener = *listener;
	entry->name = strdup(listener->name);
	if (!entry->name)
		return -ENOMEM;
	entry->listener.name = entry->name;
	entry->listener.names = 0;
	/* closed and opened again meanwhile */
	known = find(t, cookie);
	if (known) {
		HASH_DEL(t->by_cookie, known);
		entry_free(known);
	}
	if (HASH_COUNT(t->by_cookie) >= t->max)
		return -E2BIG;
	HASH_ADD(hh, t->by_cookie, listener.netns_cookie, sizeof(cookie), entry);
	if (!ig_table_has(entry))
		return -ENOMEM;
	r = ig_datapath_listener_set(t->dp, cookie, htons(listener->port));
	if (r < 0) {
		HASH_DEL(t->by_cookie, entry);
		return r;
	}
	if (listener->opened_seq > t->seq)
		t->seq = listener->opened_seq;
	(void)TAKE_PTR(entry);
	return 0;
}

void ig_listeners_drop_unnamed(struct ig_listeners *t)
{
	struct entry *entry, *next;

	HASH_ITER (hh, t->by_cookie, entry, next)
		if (!entry->listener.is_host && !entry->listener.names && !is_anonymous(entry))
			close_entry(t, entry);
}

/* Without its entry in the map a namespace is refused at connect. */
void ig_listeners_refuse(struct ig_listeners *t)
{
	struct entry *entry, *next;

	HASH_ITER (hh, t->by_cookie, entry, next)
		(void)ig_datapath_listener_delete(t->dp, entry->listener.netns_cookie);
	t->refusing = true;
}

void ig_listeners_admit(struct ig_listeners *t)
{
	struct entry *entry, *next;

	if (!t->refusing)
		return;
	t->refusing = false;
	HASH_ITER (hh, t->by_cookie, entry, next)
		(void)ig_datapath_listener_set(
			t->dp, entry->listener.netns_cookie, htons(entry->listener.port));
}

bool ig_listeners_has(const struct ig_listeners *t, uint64_t cookie)
{
	return find(t, cookie) != NULL;
}

size_t ig_listeners_count(const struct ig_listeners *t)
{
	return HASH_COUNT(t->by_cookie);
}

const struct ig_listener *ig_listeners_next(const struct ig_listeners *t, uint64_t after_seq)
{
	struct entry *entry, *next;

	/* the table goes through them in the order in which they came */
	HASH_ITER (hh, t->by_cookie, entry, next)
		if (entry->listener.opened_seq > after_seq)
			return &entry->listener;
	return NULL;
}

uint64_t ig_listeners_last_seq(const struct ig_listeners *t)
{
	return t->seq;
}

void ig_listeners_each(const struct ig_listeners *t,
	void (*each)(const struct ig_listener *listener, void *userdata), void *userdata)
{
	struct entry *entry, *next;

	HASH_ITER (hh, t->by_cookie, entry, next)
		each(&entry->listener, userdata);
}
