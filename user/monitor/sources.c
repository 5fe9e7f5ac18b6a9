/*
 * Sources of packets; see sources.h. The kernel numbers the namespaces that ours has links to: an
 * interface says the number of its peer's, and each listener's namespace can be asked for its own.
 * What was found is kept, and found anew when something is asked for that it does not have, so a
 * flood of packets costs a look at /proc now and then.
 */
#include "monitor/sources.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "datapath/datapath.h"
#include "monitor/listeners.h"
#include "monitor/rtnl.h"
#include "workload/process.h"
#include "workload/tasks.h"

#define ANSWER_BYTES 32768
#define PEERS	     256
#define PEER_USEC    (10 * IG_USEC_PER_SEC)

struct place {
	int32_t number; /* that the kernel gave it in our namespace */
	uint64_t netns_cookie, cgroup_id;
	ino_t inode;
};

/* An interface and where its other end is; -1: it has none elsewhere. Asking the kernel takes a
 * lock that is held for long while namespaces come and go, so it is not done for every packet. */
struct peer {
	unsigned int ifindex;
	int32_t number;
	uint64_t asked_usec;
};

struct ig_sources {
	struct ig_datapath *dp;
	const struct ig_listeners *listeners;
	int netlink_fd;
	struct place *places; /* owned */
	size_t n_places, max_places;
	uint64_t next_look_usec;
	struct peer peers[PEERS]; /* place by ifindex */
};

IG_DEFINE_CLEANUP(struct ig_sources *, ig_sources_free);

int ig_sources_new(
	struct ig_datapath *dp, const struct ig_listeners *listeners, struct ig_sources **ret)
{
	_cleanup_(ig_sources_freep) struct ig_sources *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->dp = dp;
	s->listeners = listeners;
	s->netlink_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (s->netlink_fd < 0)
		return -errno;
	r = ig_rtnl_hear_kernel_only(s->netlink_fd);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

struct ig_sources *ig_sources_free(struct ig_sources *s)
{
	if (!s)
		return NULL;
	(void)ig_close(s->netlink_fd);
	free(s->places);
	free(s);
	return NULL;
}

/* One question, one answer (the kernel gives it before send() returns). */
static int ask(const struct ig_sources *s, const struct nlmsghdr *question, char *answer,
	uint16_t expected)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
	const struct nlmsgerr *error = NLMSG_DATA(header);
	ssize_t n;

	if (send(s->netlink_fd, question, question->nlmsg_len, 0) < 0)
		return -errno;
	n = recv(s->netlink_fd, answer, ANSWER_BYTES, MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(header, n))
		return -EBADMSG;
	if (header->nlmsg_type == NLMSG_ERROR)
		return header->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error
			       ? error->error
			       : -EBADMSG;
	return header->nlmsg_type == expected ? 0 : -EBADMSG;
}

static int number_of_netns(const struct ig_sources *s, int netns_fd, int32_t *ret)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg family;
		char pad[3];
		struct rtattr attribute;
		uint32_t fd;
	} question = {
		.header = {.nlmsg_len = sizeof(question),
			.nlmsg_type = RTM_GETNSID,
			.nlmsg_flags = NLM_F_REQUEST},
		.attribute = {.rta_len = RTA_LENGTH(sizeof(question.fd)), .rta_type = NETNSA_FD},
		.fd = (uint32_t)netns_fd,
	};
	char answer[ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = ask(s, &question.header, answer, RTM_NEWNSID);

	return r < 0 ? r : ig_rtnl_nsid_read((const struct nlmsghdr *)answer, ret);
}

static int ask_for_peer(const struct ig_sources *s, unsigned int ifindex, int32_t *ret)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} question = {
		.header = {.nlmsg_len = sizeof(question),
			.nlmsg_type = RTM_GETLINK,
			.nlmsg_flags = NLM_F_REQUEST},
		.link = {.ifi_index = (int)ifindex},
	};
	char answer[ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = ask(s, &question.header, answer, RTM_NEWLINK);

	return r < 0 ? r : ig_rtnl_peer_read((const struct nlmsghdr *)answer, ret);
}

static int number_of_peer(struct ig_sources *s, unsigned int ifindex, int32_t *ret)
{
	uint64_t now_usec = ig_clock_mono_usec();
	struct peer *peer = &s->peers[ifindex % PEERS];
	int r;

	if (peer->ifindex != ifindex || now_usec - peer->asked_usec >= PEER_USEC) {
		*peer = (struct peer){.ifindex = ifindex, .number = -1, .asked_usec = now_usec};
		r = ask_for_peer(s, ifindex, &peer->number);
		if (r < 0 && r != -ENOENT && r != -ENODEV)
			return r;
	}
	*ret = peer->number;
	return *ret < 0 ? -ENOENT : 0;
}

/* ---- namespaces ---- */

static void add_place(const struct ig_listener *listener, void *userdata)
{
	struct ig_sources *s = userdata;
	_cleanup_close_ int netns_fd = ioctl(listener->sock, SIOCGSKNS);
	struct place place = {.netns_cookie = listener->netns_cookie};
	struct stat st;

	/* one that we have no link to has no number */
	if (listener->is_host || s->n_places >= s->max_places || netns_fd < 0 ||
		fstat(netns_fd, &st) < 0 || number_of_netns(s, netns_fd, &place.number) < 0)
		return;
	place.inode = st.st_ino;
	s->places[s->n_places++] = place;
}

static void add_cgroup(int netns_fd, uint64_t cgroup_id, void *userdata)
{
	struct ig_sources *s = userdata;
	struct stat st;

	if (fstat(netns_fd, &st) < 0)
		return;
	for (size_t i = 0; i < s->n_places; i++)
		if (s->places[i].inode == st.st_ino)
			s->places[i].cgroup_id = cgroup_id;
}

static int look(struct ig_sources *s)
{
	size_t max = ig_listeners_count(s->listeners);
	struct place *places = calloc(max ? max : 1, sizeof(*places));

	if (!places)
		return -ENOMEM;
	free(s->places);
	s->places = places;
	s->n_places = 0;
	s->max_places = max;
	ig_listeners_each(s->listeners, add_place, s);
	return ig_tasks_each_namespace(ig_datapath_cgroup_fd(s->dp), add_cgroup, s);
}

/* A listener keeps its namespace, and the namespace its number: while there is one, neither can
 * mean another. */
static const struct place *find(const struct ig_sources *s, int32_t number)
{
	for (size_t i = 0; i < s->n_places; i++) {
		const struct place *p = &s->places[i];

		if (p->number == number)
			return ig_listeners_has(s->listeners, p->netns_cookie) ? p : NULL;
	}
	return NULL;
}

static bool is_complete(const struct ig_sources *s, const struct place *place)
{
	return place && ig_cgroup_id_has_processes(ig_datapath_cgroup_fd(s->dp), place->cgroup_id);
}

/* On a busy machine with many processes a look takes long: a tenth of the time is enough for that.
 */
static void put_off(struct ig_sources *s, uint64_t began_usec)
{
	uint64_t now_usec = ig_clock_mono_usec(), pause_usec = 10 * (now_usec - began_usec);

	s->next_look_usec =
		now_usec + (pause_usec > IG_SOURCES_LOOK_USEC ? pause_usec : IG_SOURCES_LOOK_USEC);
}

int ig_sources_find(struct ig_sources *s, unsigned int ifindex, uint64_t *ret_netns_cookie,
	uint64_t *ret_cgroup_id)
{
	uint64_t now_usec = ig_clock_mono_usec();
	const struct place *place;
	bool is_early = now_usec < s->next_look_usec;
	int32_t number = -1;
	int r = number_of_peer(s, ifindex, &number);

	if (r < 0)
		return r;
	place = find(s, number);
	if (!is_complete(s, place) && !is_early) {
		r = look(s);
		put_off(s, now_usec);
		if (r < 0)
			return r;
		place = find(s, number);
		is_early = false;
	}
	if (!place)
		return is_early ? -EAGAIN : -ENOENT;
	*ret_netns_cookie = place->netns_cookie;
	*ret_cgroup_id = place->cgroup_id;
	return 0;
}
