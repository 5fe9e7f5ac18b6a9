/*
 * Candidate rules; see candidates.h. No agent is asked: what the command line says is all there is.
 */
#include "cli/candidates.h"

#include <string.h>

#include "base/cleanup.h"
#include "cli/logs.h"
#include "cli/out.h"
#include "review/rules.h"

static void on_problem(const struct ig_err *err, void *userdata)
{
	const struct ig_cli *cli = userdata;
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	char text[IG_ERR_MESSAGE_BYTES + IG_ERR_FILE_BYTES + 32];

	(void)ig_err_format(err, text, sizeof(text));
	ig_buf_puts(&b, "imdsgate: ");
	ig_out_text(&b, text, strlen(text));
	ig_buf_putc(&b, '\n');
	(void)ig_out_flush(cli->err, &b);
}

int ig_cli_candidates_load(
	const struct ig_cli *cli, const char *const *option, struct ig_cli_candidates *ret)
{
	const char *ns = option[IG_CANDIDATES_POLICY_NAMESPACE];
	const struct ig_manifest_source source = {.path = option[IG_CANDIDATES_MANIFESTS],
		.policy_namespace = ns ? ns : IG_POLICY_NAMESPACE};
	struct ig_err err = {};
	int r = ig_rules_load(&source, on_problem, (void *)cli, &ret->store, &err);

	if (r < 0)
		return ig_cli_fail_at(cli, r, &err);
	ret->options = (struct ig_policy_options){
		.allow_cross_namespace = option[IG_CANDIDATES_CROSS_NAMESPACE],
		.no_aks_exception = option[IG_CANDIDATES_NO_AKS_EXCEPTION],
		.policy_namespace = ns};
	return IG_CLI_OK;
}

void ig_cli_candidates_done(struct ig_cli_candidates *candidates)
{
	candidates->store = ig_store_free(candidates->store);
}
