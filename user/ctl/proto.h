/*
 * The control protocol on the unix stream socket: one JSON object a line in each direction.
 *
 *	request   {"v":1,"noun":"workload","verb":"show","args":{…}}
 *	reply     {"ok":true,"result":…}  or  {"ok":false,"error":{"code":"ENOENT","message":"…"}}
 *
 * "audit tail" is answered with {"ok":true,"result":"streaming"} and then audit lines until the
 * client hangs up. A connection carries one request.
 */
#pragma once

#define IG_CTL_VERSION	      1
#define IG_CTL_DEFAULT_SOCKET "/run/imdsgate/imdsgate.sock"
