// The types of the client of a vsqlvault. Generated from its OpenAPI document: change generate.py or runtime.d.ts instead.

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = any;

/** A credential, or a function that returns the one to use now. */
export type Secret = string | (() => string | Promise<string>);

export interface Options {
  key?: Secret;
  token?: Secret;
  /** Default: `X-Vault-Key`. */
  keyHeader?: string;
  fetch?: typeof fetch;
  /** Allow `http://` to other hosts than the loopback. */
  insecurePlaintext?: boolean;
}

export interface Conditions {
  ifMatch?: string;
  ifNoneMatch?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface Answer<T> {
  data: T;
  status: number;
  etag?: string;
  requestId?: string;
  headers: Headers;
}

/** A request that failed. `status` is undefined where the vault did not answer. */
export declare class VaultError extends Error {
  status?: number;
  slug?: string;
  requestId?: string;
  detail?: string;
  errors: Array<{ field: string; expected: string }>;
}

export declare class Base {
  constructor(url: string, options?: Options);
  send<T = Json>(method: string, path: string, asked?: Conditions & { query?: Json; body?: Json }): Promise<Answer<T>>;
}
