/*
 * The sockets of the server; see services.h. Called by the monitor, on one thread.
 */
#include "monitor/services.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "monitor/channel.h"

struct ig_services {
	const struct ig_monitor_service *table;
	size_t n;
	struct ig_datapath *dp;
	int fds[IG_SERVICES_MAX]; /* owned; -1 */
};

int ig_services_new(const struct ig_monitor_service *table, size_t n, struct ig_datapath *dp,
	struct ig_services **ret)
{
	struct ig_services *s;

	if (n > IG_SERVICES_MAX)
		return -E2BIG;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->table = table;
	s->n = n;
	s->dp = dp;
	for (size_t i = 0; i < IG_SERVICES_MAX; i++)
		s->fds[i] = -1;
	*ret = s;
	return 0;
}

struct ig_services *ig_services_free(struct ig_services *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n; i++)
		(void)ig_close(s->fds[i]);
	free(s);
	return NULL;
}

int ig_services_get(
	const struct ig_services *s, unsigned int index, const char **ret_key, int *ret_fd)
{
	if (index >= s->n)
		return -ENOENT;
	*ret_key = s->table[index].key;
	*ret_fd = s->fds[index];
	return 0;
}

void ig_services_adopt(struct ig_services *s, const char *key, int fd)
{
	for (size_t i = 0; i < s->n && fd >= 0; i++) {
		if (!key[0] || s->fds[i] >= 0 || strcmp(s->table[i].key, key) != 0)
			continue;
		s->fds[i] = TAKE_FD(fd);
		if (s->table[i].adopted)
			s->table[i].adopted(s->table[i].userdata);
	}
	(void)ig_close(fd);
}

int ig_services_open(struct ig_services *s, struct ig_err *reterr_err)
{
	int r = 0;

	for (size_t i = 0; i < s->n && r == 0; i++)
		if (s->table[i].key[0] && s->fds[i] < 0)
			r = s->table[i].open(s->table[i].userdata, s->dp, &s->fds[i], reterr_err);
	return r;
}

int ig_services_announce(const struct ig_services *s, struct ig_channel *channel)
{
	int r = 0;

	for (size_t i = 0; i < s->n && r == 0; i++) {
		const struct ig_monitor_message message = {
			.kind = IG_MONITOR_SERVICE, .service = (uint32_t)i};

		if (s->fds[i] >= 0)
			r = ig_channel_send(channel, &message, &s->fds[i], 1);
	}
	return r;
}
