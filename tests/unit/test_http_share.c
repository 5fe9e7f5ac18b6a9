/*
 * What the connections of one owner may have: time of the loop, and memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/eventfd.h>

#include "http/share.h"
#include "unit/http_harness.h"

static const struct ig_http_server_options roomy = {
	.header_timeout_usec = 60 * IG_USEC_PER_SEC,
	.idle_timeout_usec = 60 * IG_USEC_PER_SEC,
	.connections_max = 1024,
};

static void time_wears_off(void **state)
{
	struct ig_http_share share = {};
	const uint64_t begin = 77 * IG_USEC_PER_SEC;
	/* after which so much of it is forgotten as may be had at once */
	const uint64_t later = IG_BUSY_OWNER_USEC * 100 / IG_BUSY_OWNER_PERCENT;

	(void)state;
	assert_false(ig_http_share_is_over(&share, begin));
	ig_http_share_spend(&share, IG_BUSY_OWNER_USEC, begin);
	assert_false(ig_http_share_is_over(&share, begin));
	ig_http_share_spend(&share, IG_BUSY_OWNER_USEC, begin);
	assert_true(ig_http_share_is_over(&share, begin));
	/* in steps that are less than what is counted in */
	for (uint64_t now = begin; now < begin + later; now += 99)
		(void)ig_http_share_is_over(&share, now);
	assert_false(ig_http_share_is_over(&share, begin + later + 200));
	/* nobody pays for long, whatever was taken */
	ig_http_share_spend(&share, 3600 * IG_USEC_PER_SEC, begin + later);
	assert_true(ig_http_share_is_over(&share, begin + 2 * later));
	assert_false(ig_http_share_is_over(&share, begin + 12 * later));
}

/* One that is over has its request answered after another's that came later. */
static void who_is_over_goes_last(void **state)
{
	static const char greedy_request[] = "GET /greedy HTTP/1.1\r\nHost: a\r\n\r\n",
			  other_request[] = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
	struct ig_http_share greedy = {}, other = {};
	struct harness *h = calloc(1, sizeof(*h));
	int greedy_client;

	(void)state;
	assert_non_null(h);
	start(h, &roomy);
	assert_int_equal(event_base_priority_init(h->base, 3), 0);
	h->share = &greedy;
	greedy_client = add_pair(h);
	h->share = &other;
	h->client = add_pair(h);
	ig_http_share_spend(&greedy, 5 * IG_BUSY_OWNER_USEC, ig_clock_mono_usec());
	assert_int_equal(send(greedy_client, greedy_request, sizeof(greedy_request) - 1, 0),
		sizeof(greedy_request) - 1);
	client_send(h, other_request, sizeof(other_request) - 1);
	wait_for(h, &h->n_requests, 2);
	assert_string_equal(h->target, "/greedy"); /* the last one */
	assert_true(greedy.busy_usec > 0);
	(void)ig_close(greedy_client);
	end(h);
}

static void on_mark(evutil_socket_t fd, short what, void *arg)
{
	struct harness *h = arg;

	(void)fd;
	(void)what;
	h->n_requests_at_mark = h->n_requests;
}

/* A new connection of one that is over has its turn behind the others', and not one turn later. */
static void who_is_over_begins_last(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	struct ig_http_share greedy = {};
	struct harness *h = calloc(1, sizeof(*h));
	struct event *mark;
	int fd;

	(void)state;
	assert_non_null(h);
	start(h, &roomy);
	assert_int_equal(event_base_priority_init(h->base, 3), 0);
	h->share = &greedy;
	ig_http_share_spend(&greedy, 5 * IG_BUSY_OWNER_USEC, ig_clock_mono_usec());
	h->client = add_pair(h);
	client_send(h, request, sizeof(request) - 1);
	/* of the same rank, and readable after it */
	fd = eventfd(1, EFD_CLOEXEC);
	mark = event_new(h->base, fd, EV_READ, on_mark, h);
	assert_non_null(mark);
	assert_int_equal(event_priority_set(mark, 2), 0);
	assert_int_equal(event_add(mark, NULL), 0);
	pump(h);
	assert_int_equal(h->n_requests, 1);
	assert_int_equal(h->n_requests_at_mark, 1);
	event_free(mark);
	(void)ig_close(fd);
	end(h);
}

/* Sends half a request of a connection of its own, which stays open. Returns whether the server
 * kept it. */
static bool keep_half(struct harness *h, int *ret_client)
{
	static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
	_cleanup_free_ char *half = padded(head, 'x', 8000, "");
	unsigned int closed = h->n_closed;

	*ret_client = add_pair(h);
	assert_int_equal(send(*ret_client, half, strlen(half), 0), strlen(half));
	pump(h);
	return h->n_closed == closed;
}

static void an_owner_has_so_many_bytes(void **state)
{
	enum { MAX = IG_HTTP_BUFFERED_WORKLOAD_BYTES / 8000 };
	struct ig_http_share greedy = {}, other = {};
	struct harness *h = calloc(1, sizeof(*h));
	int clients[MAX + 2], last;
	size_t n = 0;

	(void)state;
	assert_non_null(h);
	start(h, &roomy);
	h->share = &greedy;
	while (n < MAX + 1 && keep_half(h, &clients[n]))
		n++;
	assert_in_range(n, 16, MAX);
	assert_int_equal(counter(h, IG_HTTP_LIMIT_BUFFERED), 1);
	assert_in_range(greedy.bytes, 1, IG_HTTP_BUFFERED_WORKLOAD_BYTES);
	h->share = &other;
	assert_true(keep_half(h, &last));
	(void)ig_close(last);
	for (size_t i = 0; i <= n; i++)
		(void)ig_close(clients[i]);
	wait_for(h, &h->n_closed, h->n_added);
	assert_int_equal(greedy.bytes, 0);
	assert_int_equal(other.bytes, 0);
	end(h);
}

static void all_together_have_so_many_bytes(void **state)
{
	enum { MAX = IG_HTTP_BUFFERED_BYTES / 8000, OWNERS = MAX / 16 + 1 };
	struct ig_http_share *owners = calloc(OWNERS, sizeof(*owners));
	struct harness *h = calloc(1, sizeof(*h));
	int *clients = calloc(MAX + 1, sizeof(*clients));
	size_t n = 0;

	(void)state;
	assert_true(h && owners && clients);
	start(h, &(struct ig_http_server_options){.connections_max = MAX + 1});
	do {
		h->share = &owners[n / 16];
	} while (n < MAX && keep_half(h, &clients[n]) && ++n);
	assert_int_equal(counter(h, IG_HTTP_LIMIT_BUFFERED), 1);
	assert_in_range(n, 512, MAX);
	for (size_t i = 0; i <= n; i++)
		(void)ig_close(clients[i]);
	wait_for(h, &h->n_closed, h->n_added);
	end(h);
	free(owners);
	free(clients);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_wears_off),
		cmocka_unit_test(who_is_over_goes_last),
		cmocka_unit_test(who_is_over_begins_last),
		cmocka_unit_test(an_owner_has_so_many_bytes),
		cmocka_unit_test(all_together_have_so_many_bytes),
	};

	return cmocka_run_group_tests_name("http/share", tests, NULL, NULL);
}
