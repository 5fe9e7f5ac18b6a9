/*
 * imdsgate: the command-line tool. Asks the agent on this node over its control socket. Everything
 * is in ig_cli_run(), so that tests can call it; here is only what belongs to the process.
 *
 * SIGINT keeps its default: the tool holds nothing that would need to be put away, and ending
 * `audit tail` with it is how that ends.
 */
#include <signal.h>
#include <stdio.h>

#include "cli/cmd.h"

int main(int argc, char **argv)
{
	/* a reader that goes away is seen as EPIPE */
	(void)signal(SIGPIPE, SIG_IGN);
	return ig_cli_run(argc, argv, stdout, stderr);
}
