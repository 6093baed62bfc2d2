// Compiled, and not run: what is right compiles, and what is wrong does not.

import { Vault, VaultError } from "./vsqlvault.js";

async function uses(vault: Vault): Promise<string | undefined> {
  const stored = await vault.store({ purpose: "card", external_id: "p1", body: { encrypted_value: "x", encoding: "base64" } });
  await vault.list({ purpose: "card", query: { limit: 5 } });
  await vault.health();
  // @ts-expect-error a purpose is required
  await vault.retrieve({ external_id: "p1" });
  // @ts-expect-error there is no such encoding
  await vault.store({ purpose: "card", external_id: "p1", body: { encrypted_value: "x", encoding: "latin-1" } });
  // @ts-expect-error there is no such member
  await vault.list({ purpose: "card", query: { limitt: 5 } });
  return stored.etag ?? new VaultError("none").slug;
}

export { uses };
