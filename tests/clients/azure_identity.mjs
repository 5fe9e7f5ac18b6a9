// Asks for tokens as applications on Azure do, with the real @azure/identity: prints one line of
// JSON, with the identity that each token was issued for instead of the token.
//
//   node azure_identity.mjs managed [CLIENT_ID] | default
//
// Run by test_node.py inside a pod of the test's world; never anywhere else.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// the packages are installed in a cache, not beside this file
const require = createRequire(pathToFileURL(`${process.env.IG_NODE_MODULES}/package.json`));
const { DefaultAzureCredential, ManagedIdentityCredential } = require("@azure/identity");

const SCOPE = "https://vault.azure.net/.default";

function credential(kind, clientId) {
  switch (kind) {
    case "managed":
      return new ManagedIdentityCredential(clientId ? { clientId } : {});
    case "default":
      return new DefaultAzureCredential();
    default:
      throw new Error(`unknown kind of credential: ${kind}`);
  }
}

function claims(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString("utf8"));
}

try {
  const got = await credential(process.argv[2], process.argv[3]).getToken(SCOPE);
  const { appid, aud } = claims(got.token);
  const expires = got.expiresOnTimestamp - Date.now();
  console.log(JSON.stringify({ result: "ok", pid: process.pid, appid, aud, expires }));
} catch (error) {
  console.log(JSON.stringify({ result: "error", name: error.name, message: error.message }));
  process.exitCode = 1;
}
