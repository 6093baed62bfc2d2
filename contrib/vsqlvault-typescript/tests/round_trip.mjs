// Stores and retrieves: node round_trip.mjs MODULE URL KEY

import assert from "node:assert/strict";

const [module, url, key] = process.argv.slice(2);
const { Vault, VaultError } = await import(module);
const vault = new Vault(url, { key: async () => key });
const place = { purpose: "card", external_id: "from-typescript" };

const stored = await vault.store({ ...place, body: { encrypted_value: "vault:v1:ciphertext", metadata: { n: 1 } }, ifNoneMatch: "*" });
assert.equal(stored.status, 201);
const entry = await vault.retrieve(place);
assert.equal(entry.data.encrypted_value, "vault:v1:ciphertext");
assert.deepEqual(entry.data.metadata, { n: 1 });
assert.equal(entry.etag, stored.etag);
assert.equal((await vault.inspect(place)).headers.get("x-vault-access-policy"), "owner-only");
const listed = await vault.list({ purpose: "card", query: { limit: 5 } });
assert.deepEqual(listed.data.entries.map((each) => each.external_id), ["from-typescript"]);

const failed = async (call, expected) => {
  await assert.rejects(call, (error) => error instanceof VaultError && Object.entries(expected).every(([name, value]) => error[name] === value));
};
await failed(() => vault.store({ ...place, body: { encrypted_value: "x" }, ifNoneMatch: "*" }), { status: 412, slug: "precondition-failed" });
await failed(() => vault.retrieve({ ...place, external_id: "none" }), { status: 404, slug: "not-found" });
await failed(() => vault.retrieve({ ...place, external_id: "../x" }), { slug: "invalid-path", status: undefined });
assert.throws(() => new Vault("http://vault.example", { key }), VaultError);
assert.equal((await vault.purge({ ...place, ifMatch: stored.etag })).data.external_id, "from-typescript");
console.log("done");
