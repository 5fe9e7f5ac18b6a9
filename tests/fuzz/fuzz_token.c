/*
 * Replies to requests for tokens, from the metadata service and from Entra ID. The first line holds
 * the choices: source, HTTP status, whether the request named its client id. A token that comes out
 * is one that may stand in a header, is not older than now, and belongs to whom it was asked for.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/parse.h"
#include "http/client.h"
#include "token/source.h"
#include "token/token.h"

#define NOW_SEC 1700000000U
#define CLIENT	"0d46c104-1111-2222-3333-444444444444"

static void check_token(const struct ig_token *token, const struct ig_token_key *key)
{
	FUZZ_CHECK(token->access_token[0]);
	FUZZ_CHECK(strlen(token->access_token) <= IG_TOKEN_BYTES);
	for (const char *p = token->access_token; *p; p++)
		FUZZ_CHECK(*p > 0x20 && *p < 0x7f);
	FUZZ_CHECK(token->expires_on_sec > NOW_SEC);
	FUZZ_CHECK(strlen(token->sha256) == 64);
	FUZZ_CHECK(strlen(token->fingerprint) == IG_TOKEN_FINGERPRINT_BYTES);
	FUZZ_CHECK(!token->object_id[0] || ig_parse_is_guid(token->object_id));
	FUZZ_CHECK(!token->tenant_id[0] || ig_parse_is_guid(token->tenant_id));
	if (key->expect_client_id[0])
		FUZZ_CHECK(!token->client_id[0] ||
			   ig_str_equal_nocase(token->client_id, key->expect_client_id));
}

static void check_failure(const struct ig_source_answer *answer)
{
	FUZZ_CHECK(answer->kind < _IG_TOKEN_FAILURE_MAX);
	FUZZ_CHECK(!answer->code || strlen(answer->code) <= 4096);
	FUZZ_CHECK(!answer->text || strlen(answer->text) <= 65536);
	FUZZ_CHECK(memchr(answer->own_text, '\0', sizeof(answer->own_text)));
	FUZZ_CHECK((answer->text && answer->text[0]) || answer->own_text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned int statuses[] = {
		200, 400, 401, 403, 404, 410, 429, 500, 503, 204, 302};
	struct fuzz_input in = {.data = data, .left = size};
	struct ig_source_answer answer = {};
	const struct ig_source *source = ig_source_get(fuzz_byte(&in) % _IG_TOKEN_SOURCE_MAX);
	unsigned int status = statuses[fuzz_byte(&in) % (sizeof(statuses) / sizeof(*statuses))];
	bool named = fuzz_byte(&in) & 1, expected;
	struct ig_token_key key = {.source = IG_TOKEN_SOURCE_IMDS,
		.tenant = "contoso",
		.authority = "https://login.example",
		.credential = "a/b",
		.resource = "https://vault.azure.net"};
	struct ig_http_response response = {.status = status, .retry_after_sec = -1};

	ig_json_wipe_memory();
	expected = named || fuzz_byte(&in) & 1;
	key.upstream = (struct ig_selector){.kind = IG_SELECTOR_NONE};
	if (named) {
		key.upstream.kind = IG_SELECTOR_CLIENT_ID;
		(void)snprintf(key.upstream.value, sizeof(key.upstream.value), "%s", CLIENT);
	}
	key.expect_client_id = expected ? CLIENT : "";
	response.retry_after_sec = (int64_t)(int8_t)fuzz_byte(&in);
	response.body = fuzz_text(&in);
	response.body_len = strlen(response.body);
	source->read(&response, &key, NOW_SEC, &answer);
	if (answer.token)
		check_token(answer.token, &key);
	else
		check_failure(&answer);
	FUZZ_CHECK(!answer.token || status == 200);
	ig_source_answer_done(&answer);
	free((char *)(uintptr_t)response.body);
	return 0;
}
