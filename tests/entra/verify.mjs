// Verifies one client assertion with jose: signature by the public half of the certificate,
// algorithm, thumbprint and claims. What to expect comes as JSON on standard input; the header goes
// to standard output. Run by tests/netns/test_entra.py.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const modules = createRequire(`${process.env.IG_NODE_MODULES}/package.json`);
const { importX509, jwtVerify } = await import(pathToFileURL(modules.resolve("jose")).href);

const wanted = JSON.parse(readFileSync(0, "utf8"));
const key = await importX509(wanted.certificate, wanted.alg);
const { payload, protectedHeader } = await jwtVerify(wanted.assertion, key, {
  algorithms: [wanted.alg],
  audience: wanted.audience,
  issuer: wanted.client,
  subject: wanted.client,
  typ: "JWT",
  requiredClaims: ["iat", "nbf", "exp", "jti"],
  maxTokenAge: "1m",
});
const [name, thumbprint] = wanted.thumbprint;

if (protectedHeader[name] !== thumbprint) throw new Error(`${name}: ${protectedHeader[name]}`);
if (payload.exp - payload.nbf > 600) throw new Error(`lives ${payload.exp - payload.nbf} s`);
if (typeof payload.aud !== "string") throw new Error("more than one audience");
console.log(JSON.stringify(protectedHeader));
