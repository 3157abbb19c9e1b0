import { isIP } from 'node:net';
import { libssl, sslControl, sslOption, takeSslError } from '@l4d/kit/ffi/libssl.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { ProxyBackendTls } from '@l4d/kit/proxy-api.ts';
import { readServerCertificate } from '@l4d/kit/tls/certificate.ts';
import { tlsPolicy } from '@l4d/kit/tls/cipher-policy.ts';
import { fileSignature, readNamedFile } from '@l4d/kit/tls/named-file.ts';
import { addAuthorities, protocolList, setPolicy, useCertificate } from './server-context.ts';
import { readAuthorityFile } from './tls-material.ts';
import { TlsSession } from './tls-session.ts';

/** Partial writes, from memory that may move, and no buffers while a connection is idle. */
const modes = 0x1 | 0x2 | 0x10;
const cacheClientWithoutStore = 0x1 | 0x300;
const verifyNothing = 0;
const verifyPeer = 1;

/** TLS towards backends of one configuration. */
interface Entry {
  readonly config: ProxyBackendTls;
  readonly files: readonly string[];
  /** SSL_CTX; 0: there has never been one. */
  context: number;
  problem: string | undefined;
  signature: string;
  seen: string;
  /** Looks at the files since they were refused. */
  looks: number;
}

/** After so many looks files that were refused are read again: what was missing can have been something else. */
const looksUntilAgain = 5;

/** Contexts for connections to backends, by their configuration; kept as their files are. */
export class BackendTls {
  readonly #log: Logger;
  #entries = new Map<string, Entry>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Makes what is new and gives back what is no longer declared. */
  use(configs: Iterable<ProxyBackendTls>): void {
    const entries = new Map<string, Entry>();
    for (const config of configs) {
      const key = JSON.stringify(config);
      if (entries.has(key)) continue;
      const files = [config.ca, config.cert, config.key].filter((path) => path !== undefined);
      const known = this.#entries.get(key);
      const entry = known ?? {
        config,
        files,
        context: 0,
        problem: undefined,
        signature: '',
        seen: '',
        looks: 0,
      };
      if (known === undefined) this.#read(entry);
      entries.set(key, entry);
    }
    for (const [key, { context }] of this.#entries)
      if (!entries.has(key) && context !== 0) libssl().freeContext(context);
    this.#entries = entries;
  }

  /** Looks at all files; what has changed is read when it has rested for one look. */
  poll(): void {
    for (const entry of this.#entries.values()) {
      const seen = entry.files.map(fileSignature).join('\n');
      const rested = seen === entry.seen;
      entry.seen = seen;
      entry.looks += 1;
      const isTriedAgain = entry.problem !== undefined && entry.looks >= looksUntilAgain;
      if ((seen !== entry.signature && rested) || isTriedAgain) this.#read(entry);
    }
  }

  /**
   * A session over a descriptor that is about to be connected to `address`. `resumable` is a session (SSL_SESSION)
   * to be gone on with; 0: none. A text: why there is none to be had.
   */
  session(config: ProxyBackendTls, fd: number, address: string, resumable: number): TlsSession | string {
    const entry = this.#entries.get(JSON.stringify(config));
    if (entry === undefined || entry.context === 0) return entry?.problem ?? 'it is not declared any more';
    const openssl = libssl();
    const session = new TlsSession(entry.context, fd, 'client');
    const name = config.serverName ?? address;
    // RFC 6066 section 3: literal addresses are not permitted as server names.
    if (isIP(name) === 0) {
      openssl.controlText(session.pointer, sslControl.setHostName, 0, name);
      openssl.setExpectedHost(session.pointer, name);
    } else {
      openssl.setVerifyIp(openssl.verifyParameters(session.pointer), name);
    }
    if (resumable !== 0) openssl.resume(session.pointer, resumable);
    return session;
  }

  #read(entry: Entry): void {
    entry.looks = 0;
    entry.signature = entry.files.map(fileSignature).join('\n');
    entry.seen = entry.signature;
    try {
      const context = createClientContext(entry.config);
      if (entry.context !== 0) libssl().freeContext(entry.context);
      entry.context = context;
      entry.problem = undefined;
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== entry.problem) this.#log.error({ problem }, 'TLS towards backends: files refused');
      entry.problem = problem;
    }
  }
}

/** Throws Error with a sentence, and UnsupportedFeature without OpenSSL. */
function createClientContext(config: ProxyBackendTls): number {
  const openssl = libssl();
  const context = openssl.newContext(openssl.clientMethod());
  if (context === 0) throw new Error(`SSL_CTX_new: ${takeSslError()}`);
  try {
    const policy = tlsPolicy(config.policy);
    openssl.setOptions(context, sslOption.noCompression | sslOption.noRenegotiation);
    openssl.contextControl(context, sslControl.mode, modes, 0);
    openssl.contextControl(context, sslControl.setReadAhead, 1, 0);
    openssl.contextControl(context, sslControl.setSessionCacheMode, cacheClientWithoutStore, 0);
    setPolicy(context, config.minVersion ?? policy.minVersion, policy.ciphers, policy.cipherSuites);
    const { memory, size } = protocolList(['http/1.1']);
    openssl.setAlpnOffer(context, memory.subarray(0, size), size);
    openssl.setVerify(context, config.verify ? verifyPeer : verifyNothing, 0);
    if (config.ca !== undefined) addAuthorities(context, readAuthorityFile(config.ca), false);
    else if (config.verify) openssl.useSystemAuthorities(context);
    if (config.cert !== undefined) {
      const cert = { path: config.cert, bytes: readNamedFile(config.cert) };
      const keyPath = config.key ?? config.cert;
      const read = readServerCertificate(cert, { path: keyPath, bytes: readNamedFile(keyPath) });
      if (!read.ok) throw new Error(read.error);
      useCertificate(context, read.value);
    }
    return context;
  } catch (error) {
    openssl.freeContext(context);
    throw error;
  }
}

/** A session that a later connection can go on with (SSL_SESSION, to be freed); 0: none. */
export function takeResumable(session: TlsSession): number {
  const openssl = libssl();
  const resumable = openssl.takeResumable(session.pointer);
  if (resumable === 0) return 0;
  if (openssl.isResumable(resumable) === 1) return resumable;
  openssl.freeResumable(resumable);
  return 0;
}

/** Gives a session back. */
export function freeResumable(resumable: number): void {
  if (resumable !== 0) libssl().freeResumable(resumable);
}
