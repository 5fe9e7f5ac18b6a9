/*
 * Shares of the loop; see share.h. A leaky bucket: time that was taken goes in, and a fixed part of
 * the time that passes leaks out.
 */
#include "http/share.h"

#include <imdsgate/limits.h>

/* more is forgotten, so that nobody pays for long */
#define BUSY_MAX_USEC (10 * IG_BUSY_OWNER_USEC)

static void leak(struct ig_http_share *share, uint64_t now_usec)
{
	uint64_t passed = now_usec > share->seen_usec ? now_usec - share->seen_usec : 0;
	uint64_t gone = passed / 100 * IG_BUSY_OWNER_PERCENT;

	/* what is less than a hundred microseconds is kept for the next time */
	share->seen_usec = share->seen_usec ? share->seen_usec + passed - passed % 100 : now_usec;
	share->busy_usec = gone < share->busy_usec ? share->busy_usec - gone : 0;
}

void ig_http_share_spend(struct ig_http_share *share, uint64_t usec, uint64_t now_usec)
{
	leak(share, now_usec);
	share->busy_usec += usec;
	if (share->busy_usec > BUSY_MAX_USEC)
		share->busy_usec = BUSY_MAX_USEC;
}

bool ig_http_share_is_over(struct ig_http_share *share, uint64_t now_usec)
{
	leak(share, now_usec);
	return share->busy_usec > IG_BUSY_OWNER_USEC;
}
