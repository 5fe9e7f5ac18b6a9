/*
 * Recent lines; see recent.h. Numbers grow along the ring, but some may be missing.
 */
#include "audit/recent.h"

#include <errno.h>
#include <stdlib.h>

#include <imdsgate/limits.h>

struct ig_audit_recent {
	struct ig_audit_line *lines[IG_AUDIT_RECENT_LINES];
	size_t first, count, bytes;
};

int ig_audit_recent_new(struct ig_audit_recent **ret)
{
	struct ig_audit_recent *recent = calloc(1, sizeof(*recent));

	if (!recent)
		return -ENOMEM;
	*ret = recent;
	return 0;
}

static struct ig_audit_line *at(const struct ig_audit_recent *recent, size_t i)
{
	return recent->lines[(recent->first + i) % IG_AUDIT_RECENT_LINES];
}

static void drop_oldest(struct ig_audit_recent *recent)
{
	struct ig_audit_line *line = at(recent, 0);

	recent->bytes -= line->len;
	recent->first = (recent->first + 1) % IG_AUDIT_RECENT_LINES;
	recent->count--;
	(void)ig_audit_line_unref(line);
}

struct ig_audit_recent *ig_audit_recent_free(struct ig_audit_recent *recent)
{
	while (recent && recent->count)
		drop_oldest(recent);
	free(recent);
	return NULL;
}

void ig_audit_recent_add(struct ig_audit_recent *recent, struct ig_audit_line *line)
{
	while (recent->count && (recent->count == IG_AUDIT_RECENT_LINES ||
					recent->bytes + line->len > IG_AUDIT_RECENT_BYTES))
		drop_oldest(recent);
	recent->lines[(recent->first + recent->count) % IG_AUDIT_RECENT_LINES] =
		ig_audit_line_ref(line);
	recent->count++;
	recent->bytes += line->len;
}

struct ig_audit_line *ig_audit_recent_after(const struct ig_audit_recent *recent, uint64_t seq)
{
	size_t low = 0, high = recent->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (at(recent, middle)->seq > seq)
			high = middle;
		else
			low = middle + 1;
	}
	return low < recent->count ? at(recent, low) : NULL;
}
