/*
 * Which texts are valid names; see names.h. No allocation, no locale, no regular expressions; every
 * function reads its argument once. Nothing here repairs what is wrong. Called by the validator.
 */
#include "objects/names.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/parse.h"

#define DNS_LABEL_BYTES 63
#define LABEL_BYTES	63

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_dns_label(const char *s, size_t len)
{
	if (len == 0 || !is_lower_alnum(s[0]) || !is_lower_alnum(s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_lower_alnum(s[i]) && s[i] != '-')
			return false;
	return true;
}

static bool is_dns_subdomain(const char *s, size_t len)
{
	if (len > IG_OBJECT_NAME_BYTES)
		return false;
	for (;;) {
		const char *dot = memchr(s, '.', len);
		size_t part = dot ? (size_t)(dot - s) : len;

		if (!is_dns_label(s, part))
			return false;
		if (!dot)
			return true;
		s += part + 1;
		len -= part + 1;
	}
}

bool ig_name_is_dns_label(const char *s)
{
	size_t len = strlen(s);

	return len <= DNS_LABEL_BYTES && is_dns_label(s, len);
}

bool ig_name_is_dns_subdomain(const char *s)
{
	return is_dns_subdomain(s, strlen(s));
}

static bool is_label_name(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > LABEL_BYTES || !is_alnum(s[0]) || !is_alnum(s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.')
			return false;
	return true;
}

bool ig_name_is_label_key(const char *s)
{
	const char *slash = strchr(s, '/');

	if (!slash)
		return is_label_name(s);
	return is_dns_subdomain(s, (size_t)(slash - s)) && is_label_name(slash + 1);
}

bool ig_name_is_label_value(const char *s)
{
	return !*s || is_label_name(s);
}

/* Group names may have letters of any language; anything else that means something in a path, a
 * query or a terminal is refused. */
static bool is_resource_char(char c)
{
	return is_alnum(c) || (unsigned char)c >= 0x80 || (c != '\0' && strchr("-_.()", c));
}

/* The length of the path segment at s if it is valid, else 0. */
static size_t resource_segment(const char *s)
{
	size_t len = 0;

	while (is_resource_char(s[len]))
		len++;
	if (len <= 2 && strspn(s, ".") >= len)
		return 0;
	return s[len] == '/' || s[len] == '\0' ? len : 0;
}

static bool segment_is(const char *s, size_t len, const char *want)
{
	if (len != strlen(want))
		return false;
	for (size_t i = 0; i < len; i++) {
		char a[2] = {s[i]}, b[2] = {want[i]};

		if (!ig_str_equal_nocase(a, b))
			return false;
	}
	return true;
}

bool ig_name_is_identity_resource_id(const char *s)
{
	/* NULL: any name */
	static const char *const parts[] = {"subscriptions", NULL, "resourcegroups", NULL,
		"providers", "Microsoft.ManagedIdentity", "userAssignedIdentities", NULL};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t len;

		if (*s++ != '/')
			return false;
		len = resource_segment(s);
		if (len == 0 || (parts[i] && !segment_is(s, len, parts[i])))
			return false;
		s += len;
	}
	return *s == '\0';
}

bool ig_name_is_tenant(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > IG_OBJECT_NAME_BYTES || !is_alnum(s[0]) || !is_alnum(s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(s[i]) && s[i] != '-' && (s[i] != '.' || s[i + 1] == '.'))
			return false;
	return true;
}

/* host[:port]; IPv6 addresses stand in brackets. Returns its length, 0 when it is not valid. */
static size_t authority(const char *s, bool *ret_loopback)
{
	size_t host = s[0] == '[' ? strspn(s + 1, "0123456789abcdefABCDEF:.") + 2 : 0;
	size_t digits;
	uint16_t port;
	char text[6];

	if (host && (host == 2 || s[host - 1] != ']'))
		return 0;
	if (!host)
		while (is_alnum(s[host]) || s[host] == '-' || s[host] == '.')
			host++;
	*ret_loopback = segment_is(s, host, "localhost") || segment_is(s, host, "127.0.0.1") ||
			segment_is(s, host, "[::1]");
	if (s[host] != ':')
		return host;
	digits = strspn(s + host + 1, "0123456789");
	if (host == 0 || digits == 0 || digits >= sizeof(text))
		return 0;
	memcpy(text, s + host + 1, digits);
	text[digits] = '\0';
	return ig_parse_u16(text, &port) == 0 && port ? host + 1 + digits : 0;
}

bool ig_name_is_authority_url(const char *s)
{
	bool https = ig_str_has_prefix(s, "https://");
	bool loopback = false;
	size_t len;

	if (!https && !ig_str_has_prefix(s, "http://"))
		return false;
	s += https ? strlen("https://") : strlen("http://");
	len = authority(s, &loopback);
	if (len == 0 || (!https && !loopback))
		return false;
	s += len;
	if (*s && *s != '/')
		return false;
	for (; *s; s++)
		if (!is_alnum(*s) && !strchr("/-_.~", *s))
			return false;
	return true;
}

bool ig_name_is_pod_uid(const char *s)
{
	size_t len = 0;

	if (ig_parse_is_guid(s))
		return true;
	while (ig_parse_hex_digit(s[len]) >= 0)
		len++;
	return len == 32 && s[len] == '\0';
}

bool ig_name_is_printable(const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < 0x20 || c == 0x7f)
			return false;
		/* U+0080 to U+009F are C2 80 to C2 9F */
		if (c == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] <= 0x9f)
			return false;
	}
	return true;
}
