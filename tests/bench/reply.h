/*
 * Is an answer whole, and is it one? For the clients of benchmarks, which read with as little work
 * as possible.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* 1, 0 (more has to come), or -EBADMSG for anything but a 200 with its Content-Length. There is
 * room for a NUL behind len. */
static inline int reply_is_whole(char *reply, size_t len)
{
	static const char key[] = "\r\nContent-Length: ";
	const char *body, *length;
	size_t whole;

	reply[len] = '\0';
	body = strstr(reply, "\r\n\r\n");
	if (!body)
		return 0;
	length = strcasestr(reply, key);
	if (strncmp(reply, "HTTP/1.1 200 ", 13) != 0 || !length || length > body) {
		(void)fprintf(stderr, "not the answer: %.15s\n", reply);
		return -EBADMSG;
	}
	if (sscanf(length + sizeof(key) - 1, "%zu", &whole) != 1)
		return -EBADMSG;
	whole += (size_t)(body + 4 - reply);
	return len > whole ? -EBADMSG : len == whole;
}
