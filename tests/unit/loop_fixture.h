/*
 * An event loop that is turned until something happened, and not for ever. Included after cmocka's
 * headers.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#define GUARD_SEC 8

static inline void on_guard(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Turns the loop as long as goes_on says so. */
static inline void run_while(
	struct event_base *base, bool (*goes_on)(const void *userdata), const void *userdata)
{
	const struct timeval guard = {.tv_sec = GUARD_SEC};
	bool too_long = false;
	struct event *timer = evtimer_new(base, on_guard, &too_long);

	evtimer_add(timer, &guard);
	while (goes_on(userdata) && !too_long)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(timer);
	assert_false(too_long);
}

struct awaited {
	const int *counter;
	int value;
};

static inline bool is_awaited(const void *userdata)
{
	const struct awaited *a = userdata;

	return *a->counter < a->value;
}

static inline void run_until(struct event_base *base, const int *counter, int value)
{
	const struct awaited awaited = {.counter = counter, .value = value};

	run_while(base, is_awaited, &awaited);
}

/* Lets everything happen that is ready to happen. */
static inline void run_turns(struct event_base *base)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}
