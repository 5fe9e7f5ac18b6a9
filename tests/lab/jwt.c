/*
 * JSON Web Tokens (RFC 7519) as Entra's v1 endpoint writes them, and IMDS's memory of them; see
 * jwt.h. Must never hand out the token of another identity or resource: the key of the memory is
 * the pair, compared byte for byte. Called by imds.c and entra.c.
 */
#include "lab/jwt.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "lab/encode.h"

#define TOKEN_BYTES   65536
#define UTI_BYTES     16
#define BACKDATED_SEC 300 /* tolerance for clocks that are late, as the real ones have */

struct kept {
	TAILQ_ENTRY(kept) link;		     /* oldest first */
	const struct lab_identity *identity; /* owned by the directory */
	char *resource;			     /* owned */
	struct lab_token token;		     /* owned */
};

struct lab_tokens {
	TAILQ_HEAD(, kept) list;
	size_t n;
};

static void put_header(struct ig_buf *b, const struct lab_signer *signer)
{
	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "typ", "JWT");
	ig_buf_json_member_str(b, "alg", "RS256");
	ig_buf_json_member_str(b, "x5t", lab_signer_kid(signer));
	ig_buf_json_member_str(b, "kid", lab_signer_kid(signer));
	ig_buf_putc(b, '}');
}

static void put_issuer(struct ig_buf *b, const char *key, const char *tenant)
{
	ig_buf_json_key(b, key);
	ig_buf_printf(b, "\"https://sts.windows.net/%s/\"", tenant);
}

static int put_uti(struct ig_buf *b)
{
	unsigned char bytes[UTI_BYTES];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -EIO;
	ig_buf_json_key(b, "uti");
	ig_buf_putc(b, '"');
	lab_base64url(b, bytes, sizeof(bytes));
	ig_buf_putc(b, '"');
	return 0;
}

static int put_claims(struct ig_buf *b, const char *tenant, const struct lab_identity *identity,
	const char *resource, const char *appidacr, const struct lab_token *token)
{
	int r;

	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "aud", resource);
	put_issuer(b, "iss", tenant);
	ig_buf_json_member_u64(b, "iat", token->not_before_sec);
	ig_buf_json_member_u64(b, "nbf", token->not_before_sec);
	ig_buf_json_member_u64(b, "exp", token->expires_on_sec);
	ig_buf_json_member_str(b, "appid", identity->client_id);
	ig_buf_json_member_str(b, "appidacr", appidacr);
	put_issuer(b, "idp", tenant);
	ig_buf_json_member_str(b, "idtyp", "app");
	ig_buf_json_member_str(b, "oid", identity->object_id);
	ig_buf_json_member_str(b, "sub", identity->object_id);
	ig_buf_json_member_str(b, "tid", tenant);
	r = put_uti(b);
	if (r < 0)
		return r;
	ig_buf_json_member_str(b, "ver", "1.0");
	if (*identity->resource_id)
		ig_buf_json_member_str(b, "xms_mirid", identity->resource_id);
	ig_buf_putc(b, '}');
	return ig_buf_finish(b);
}

int lab_jwt_mint(const struct lab_signer *signer, const char *tenant,
	const struct lab_identity *identity, const char *resource, const char *appidacr,
	uint64_t now_sec, uint64_t life_sec, struct lab_token *ret)
{
	struct lab_token token = {.not_before_sec = now_sec - BACKDATED_SEC,
		.expires_on_sec = now_sec + life_sec,
		.life_sec = life_sec};
	_cleanup_(ig_buf_donep) struct ig_buf header = {.limit = TOKEN_BYTES};
	_cleanup_(ig_buf_donep) struct ig_buf claims = {.limit = TOKEN_BYTES};
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = 3 * TOKEN_BYTES};
	_cleanup_(ig_buf_donep) struct ig_buf signature = {.limit = TOKEN_BYTES};
	int r;

	put_header(&header, signer);
	r = put_claims(&claims, tenant, identity, resource, appidacr, &token);
	if (r < 0)
		return r;
	r = ig_buf_finish(&header);
	if (r < 0)
		return r;
	lab_base64url(&text, header.data, header.len);
	ig_buf_putc(&text, '.');
	lab_base64url(&text, claims.data, claims.len);
	r = ig_buf_finish(&text);
	if (r < 0)
		return r;
	r = lab_signer_rs256(signer, text.data, text.len, &signature);
	if (r < 0)
		return r;
	ig_buf_putc(&text, '.');
	ig_buf_append(&text, signature.data, signature.len);
	r = ig_buf_finish(&text);
	if (r < 0)
		return r;
	token.text = TAKE_PTR(text.data);
	*ret = token;
	return 0;
}

void lab_token_done(struct lab_token *token)
{
	free(token->text);
	*token = (struct lab_token){};
}

static void drop(struct lab_tokens *tokens, struct kept *kept)
{
	TAILQ_REMOVE(&tokens->list, kept, link);
	tokens->n--;
	lab_token_done(&kept->token);
	free(kept->resource);
	free(kept);
}

static struct kept *find(
	struct lab_tokens *tokens, const struct lab_identity *identity, const char *resource)
{
	struct kept *kept;

	TAILQ_FOREACH (kept, &tokens->list, link)
		if (kept->identity == identity && strcmp(kept->resource, resource) == 0)
			return kept;
	return NULL;
}

int lab_tokens_new(struct lab_tokens **ret)
{
	struct lab_tokens *tokens = calloc(1, sizeof(*tokens));

	if (!tokens)
		return -ENOMEM;
	TAILQ_INIT(&tokens->list);
	*ret = tokens;
	return 0;
}

struct lab_tokens *lab_tokens_free(struct lab_tokens *tokens)
{
	if (tokens)
		lab_tokens_flush(tokens);
	free(tokens);
	return NULL;
}

void lab_tokens_flush(struct lab_tokens *tokens)
{
	struct kept *kept;

	while ((kept = TAILQ_FIRST(&tokens->list)))
		drop(tokens, kept);
}

const struct lab_token *lab_tokens_get(struct lab_tokens *tokens,
	const struct lab_identity *identity, const char *resource, uint64_t now_sec)
{
	struct kept *kept = find(tokens, identity, resource);

	if (!kept || now_sec + kept->token.life_sec / 2 >= kept->token.expires_on_sec)
		return NULL;
	return &kept->token;
}

int lab_tokens_put(struct lab_tokens *tokens, const struct lab_identity *identity,
	const char *resource, struct lab_token *token, const struct lab_token **ret_kept)
{
	struct kept *old = find(tokens, identity, resource);
	struct kept *kept = calloc(1, sizeof(*kept));
	char *copy = kept ? strdup(resource) : NULL;

	if (!copy) {
		free(kept);
		lab_token_done(token);
		return -ENOMEM;
	}
	if (!old && tokens->n == LAB_TOKENS_KEPT_MAX)
		old = TAILQ_FIRST(&tokens->list);
	if (old)
		drop(tokens, old);
	*kept = (struct kept){.identity = identity, .resource = copy, .token = *token};
	*token = (struct lab_token){};
	TAILQ_INSERT_TAIL(&tokens->list, kept, link);
	tokens->n++;
	*ret_kept = &kept->token;
	return 0;
}
