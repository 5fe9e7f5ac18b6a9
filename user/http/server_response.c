/*
 * The text of a response head. Pure; writes into buffers of the caller and never allocates. Called
 * by the HTTP server once per response, so it copies bytes instead of interpreting formats.
 *
 * Must never let text of a client become a header: extra headers are literals of ours, and one with
 * a control character is left out all the same.
 */
#include "http/server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Real IMDS says "IMDS/150.870.65.1854"; some clients look for the first four letters. */
#define SERVER_LINE "Server: IMDS/imdsgate\r\n"

const char *ig_http_date_text(struct ig_http_date *date, uint64_t real_sec)
{
	/* not strftime(): the names must not depend on the locale */
	static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t t = (time_t)real_sec;
	struct tm tm;

	if (date->text[0] && date->sec == real_sec)
		return date->text;
	if (!gmtime_r(&t, &tm))
		return "Thu, 01 Jan 1970 00:00:00 GMT";
	/* the remainders tell the compiler what the calendar guarantees */
	(void)snprintf(date->text, sizeof(date->text), "%s, %02u %s %04u %02u:%02u:%02u GMT",
		days[tm.tm_wday % 7], (unsigned int)tm.tm_mday % 100, months[tm.tm_mon % 12],
		((unsigned int)tm.tm_year + 1900) % 10000, (unsigned int)tm.tm_hour % 100,
		(unsigned int)tm.tm_min % 100, (unsigned int)tm.tm_sec % 100);
	date->sec = real_sec;
	return date->text;
}

struct writer {
	char *buf;
	size_t len;
	bool overflow;
};

static void put(struct writer *w, const char *s, size_t len)
{
	if (w->overflow || len > IG_HTTP_RESPONSE_HEAD_BYTES - w->len) {
		w->overflow = true;
		return;
	}
	memcpy(w->buf + w->len, s, len);
	w->len += len;
}

static void put_str(struct writer *w, const char *s)
{
	put(w, s, strlen(s));
}

static void put_number(struct writer *w, size_t n)
{
	char digits[24];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(w, digits + i, sizeof(digits) - i);
}

static bool is_clean(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static void put_header(struct writer *w, const char *name, const char *value)
{
	if (!is_clean(name) || !is_clean(value))
		return;
	put_str(w, name);
	put_str(w, ": ");
	put_str(w, value);
	put_str(w, "\r\n");
}

ssize_t ig_http_format_head(unsigned int status, const char *content_type, const char *date,
	const struct ig_http_header *extra, size_t n_extra, size_t body_len, bool close, char *buf)
{
	struct writer w = {.buf = buf};

	put_str(&w, "HTTP/1.1 ");
	put_number(&w, status);
	put_str(&w, " ");
	put_str(&w, ig_http_reason(status));
	put_str(&w, "\r\n");
	if (content_type)
		put_header(&w, "Content-Type", content_type);
	put_str(&w, SERVER_LINE "Date: ");
	put_str(&w, date);
	put_str(&w, "\r\nContent-Length: ");
	put_number(&w, body_len);
	put_str(&w, "\r\n");
	for (size_t i = 0; i < n_extra; i++)
		put_header(&w, extra[i].name, extra[i].value);
	put_str(&w, close ? "Connection: close\r\n\r\n" : "\r\n");
	return w.overflow ? -E2BIG : (ssize_t)w.len;
}
