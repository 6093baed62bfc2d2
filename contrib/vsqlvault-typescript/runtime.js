// The client of a vsqlvault. Generated from its OpenAPI document: change generate.py or runtime.js instead.

const URN = "urn:vsqlvault:problem:";
const SEGMENT = /^[A-Za-z0-9._:@~/-]{1,256}$/;

/** A request that failed. `status` is undefined where the vault did not answer. */
export class VaultError extends Error {
  constructor(message, { status, slug, requestId, detail, errors } = {}) {
    super(message);
    this.name = "VaultError";
    Object.assign(this, { status, slug, requestId, detail, errors: errors ?? [] });
  }
}

function segment(asked, name) {
  const text = String(asked[name] ?? "");
  if (!SEGMENT.test(text) || text.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw new VaultError(`${name}: expected text that can be part of a path`, { slug: "invalid-path" });
  }
  return text;
}

function isLoopback(host) {
  return host === "localhost" || host === "[::1]" || /^127\./.test(host);
}

/** Settings, and one request. */
export class Base {
  #headers;
  #fetch;
  #url;

  constructor(url, { key, token, keyHeader = "X-Vault-Key", fetch = globalThis.fetch, insecurePlaintext = false } = {}) {
    const parsed = new URL(url);
    if (parsed.protocol !== "https:" && !insecurePlaintext && !isLoopback(parsed.hostname)) {
      throw new VaultError("url: expected https://: plain HTTP would show the credential to the network");
    }
    if (key !== undefined && token !== undefined) {
      throw new VaultError("expected at most one of key and token");
    }
    this.#url = url.replace(/\/+$/, "");
    this.#headers = async () => {
      const given = key ?? token;
      const secret = typeof given === "function" ? await given() : given;
      if (secret === undefined) return {};
      return key !== undefined ? { [keyHeader]: secret } : { Authorization: `Bearer ${secret}` };
    };
    this.#fetch = fetch;
  }

  async send(method, path, { query = {}, body, ifMatch, ifNoneMatch, headers = {}, signal } = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const search = given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
    const sent = { Accept: "application/json", ...headers, ...(await this.#headers()) };
    if (ifMatch !== undefined) sent["If-Match"] = ifMatch;
    if (ifNoneMatch !== undefined) sent["If-None-Match"] = ifNoneMatch;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const options = { method, headers: sent, redirect: "error", signal };
    if (body !== undefined) options.body = JSON.stringify(body);
    const fetch = this.#fetch;
    const response = await fetch(this.#url + path + search, options);
    const isJson = (response.headers.get("content-type") ?? "").includes("json") && !response.headers.get("content-type").includes("ndjson");
    const text = method === "HEAD" ? "" : await response.text();
    const requestId = response.headers.get("x-request-id") ?? undefined;
    let data = text;
    if (isJson && text) {
      try {
        data = JSON.parse(text);
      } catch {
        throw new VaultError("expected JSON", { status: response.status, requestId });
      }
    }
    if (response.ok) {
      return { data, status: response.status, etag: response.headers.get("etag") ?? undefined, requestId, headers: response.headers };
    }
    const problem = typeof data === "object" && data !== null ? data : {};
    const slug = String(problem.type ?? "").startsWith(URN) ? problem.type.slice(URN.length) : undefined;
    throw new VaultError(`${problem.title ?? "the vault rejected the request"} (${response.status}, ${slug ?? "no problem document"})`, {
      status: response.status,
      slug,
      requestId,
      detail: problem.detail,
      errors: problem.errors,
    });
  }
}
