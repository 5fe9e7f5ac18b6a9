// Asks for a token as Node.js applications on Azure do, with the real packages: prints one line of
// JSON, with the identity that the token was issued for instead of the token.
//
//   node azure_node.mjs managed|default|msal [client_id|object_id|resource_id VALUE]
//
// Run by test_clients.py inside a pod of the test's world; never anywhere else.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const RESOURCE = "https://vault.azure.net";

// the packages are installed in a cache, not beside this file
const require = createRequire(pathToFileURL(`${process.env.IG_NODE_MODULES}/package.json`));

// what each class calls its selectors
const names = {
  managed: { client_id: "clientId", object_id: "objectId", resource_id: "resourceId" },
  default: { client_id: "managedIdentityClientId", resource_id: "managedIdentityResourceId" },
  msal: {
    client_id: "userAssignedClientId",
    object_id: "userAssignedObjectId",
    resource_id: "userAssignedResourceId",
  },
};

function options(kind, selector, value) {
  if (!selector) return {};
  if (!names[kind][selector]) throw new Error(`${kind} has no ${selector}`);
  return { [names[kind][selector]]: value };
}

async function askMsal(chosen) {
  const { ManagedIdentityApplication } = require("@azure/msal-node");
  const application = new ManagedIdentityApplication({ managedIdentityIdParams: chosen });
  return (await application.acquireToken({ resource: RESOURCE })).accessToken;
}

async function askIdentity(name, chosen) {
  const credential = new (require("@azure/identity")[name])(chosen);
  return (await credential.getToken(`${RESOURCE}/.default`)).token;
}

const ask = {
  managed: (chosen) => askIdentity("ManagedIdentityCredential", chosen),
  default: (chosen) => askIdentity("DefaultAzureCredential", chosen),
  msal: askMsal,
};

function claims(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString("utf8"));
}

const [kind, selector, value] = process.argv.slice(2);
try {
  const { appid, aud } = claims(await ask[kind](options(kind, selector, value)));
  console.log(JSON.stringify({ result: "ok", appid, aud }));
} catch (error) {
  console.log(JSON.stringify({ result: "error", name: error.name, message: error.message }));
  process.exitCode = 1;
}
