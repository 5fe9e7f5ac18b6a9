/*
 * Request paths of lists and watches; see paths.h.
 */
#include "kube/paths.h"

#include <ctype.h>
#include <string.h>

#include <imdsgate/limits.h>

/* Everything but RFC 3986's unreserved characters is escaped. */
static void put_escaped(struct ig_buf *path, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x80 && (isalnum(c) || strchr("-._~", c)))
			ig_buf_putc(path, *text);
		else
			ig_buf_printf(path, "%%%02X", c);
	}
}

static void put_base(struct ig_buf *path, const char *base, const char *query)
{
	ig_buf_printf(path, "%s?", base);
	if (query && query[0])
		ig_buf_printf(path, "%s&", query);
}

void ig_kube_path_list(struct ig_buf *path, const char *base, const char *query, const char *next,
	const char *at_least)
{
	put_base(path, base, query);
	ig_buf_printf(path, "limit=%d", IG_KUBE_PAGE_OBJECTS);
	if (next[0]) {
		ig_buf_puts(path, "&continue=");
		put_escaped(path, next);
	} else if (at_least[0]) {
		ig_buf_puts(path, "&resourceVersionMatch=NotOlderThan&resourceVersion=");
		put_escaped(path, at_least);
	}
}

void ig_kube_path_watch(struct ig_buf *path, const char *base, const char *query,
	const char *resource_version, uint64_t timeout_sec)
{
	put_base(path, base, query);
	ig_buf_puts(path, "watch=true&allowWatchBookmarks=true&resourceVersion=");
	put_escaped(path, resource_version);
	ig_buf_printf(path, "&timeoutSeconds=%llu", (unsigned long long)timeout_sec);
}
