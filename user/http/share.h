/*
 * What the connections of one owner have together of what all owners share: the loop's time, and
 * memory for what came in or did not go out. The HTTP server counts; whoever adds the connections
 * says which of them belong together. An owner who had more than its part is not refused: it goes
 * on when nobody else has anything to do.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero at first. */
struct ig_http_share {
	uint64_t busy_usec; /* of the loop's time, less what has worn off */
	uint64_t seen_usec;
	size_t bytes; /* of its connections' buffers */
};

/* Its connections took that much of the loop's time, until now. */
void ig_http_share_spend(struct ig_http_share *share, uint64_t usec, uint64_t now_usec);
/* Did it have more than its part lately? */
bool ig_http_share_is_over(struct ig_http_share *share, uint64_t now_usec);
