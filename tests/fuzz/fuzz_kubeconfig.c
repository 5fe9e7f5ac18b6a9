/*
 * kubeconfig files. What is taken has a server over https (or on this machine), a token that can
 * stand in a header, and no key without its certificate; what is not taken says why, without a
 * value.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/fdutil.h"
#include "kube/bearer.h"
#include "kube/config.h"

static void check_config(struct ig_kube_config *config)
{
	const char *server = config->server;
	const char *host = strstr(server, "://") + 3;
	size_t len = strlen(server);

	FUZZ_CHECK(strncmp(server, "https://", 8) == 0 || strncmp(server, "http://", 7) == 0);
	FUZZ_CHECK(strncmp(server, "http://", 7) != 0 || strncmp(server, "http://127.", 11) == 0 ||
		   strncasecmp(server, "http://localhost:", 17) == 0 ||
		   strncmp(server, "http://[::1]:", 13) == 0);
	FUZZ_CHECK(server[len - 1] != '/' && !strpbrk(server, " \r\n\t?#"));
	/* nobody's name and password in front of the host */
	FUZZ_CHECK(!memchr(host, '@', strcspn(host, "/")));
	FUZZ_CHECK(!config->key.len == !config->certificate.len);
	if (config->bearer) {
		const char *token = ig_kube_bearer_token(config->bearer, 1);

		FUZZ_CHECK(token[0] && strlen(token) <= IG_KUBE_TOKEN_BYTES);
		for (; *token; token++)
			FUZZ_CHECK(*token > 0x20 && *token < 0x7f);
	}
}

/* A message may name keys, so a token is looked for only if that text is nowhere else. */
static void check_message(const char *message, const char *text)
{
	static const char secret[] = "s3cr3t-t0k3n";
	const char *at = strstr(text, secret);

	FUZZ_CHECK(message[0]);
	if (at && at - text >= 7 && strncmp(at - 7, "token: ", 7) == 0 && !strstr(at + 1, secret))
		FUZZ_CHECK(!strstr(message, secret));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ig_kube_config *config = NULL;
	struct ig_err err = {};
	struct fuzz_input in = {.data = data, .left = size};
	int fd = memfd_create("kubeconfig", MFD_CLOEXEC), r;
	char *text = fuzz_text(&in);
	char path[64];

	FUZZ_CHECK(fd >= 0 && ig_fd_write_all(fd, data, size) == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = ig_kube_config_load_file(path, &config, &err);
	if (r == 0)
		check_config(config);
	else
		check_message(err.message, text);
	free(text);
	(void)ig_kube_config_free(config);
	(void)close(fd);
	return 0;
}
