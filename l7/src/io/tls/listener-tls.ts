import { randomBytes } from 'node:crypto';
import type { Logger } from '@l4d/kit/logger.ts';
import type { ProxyListenerTls, ProxyTlsStatus } from '@l4d/kit/proxy-api.ts';
import { fileSignature } from '@l4d/kit/tls/named-file.ts';
import {
  type TicketKey,
  ticketKey,
  ticketKeyBytes,
  ticketLifetimeSeconds,
} from '@l4d/kit/tls/ticket-keys.ts';
import type { PolicyTable } from '../../core/policy.ts';
import { ServerContexts } from './server-context.ts';
import { type TicketKeyRing, ticketKeyRing } from './ticket-crypto.ts';
import { filesOf, type LoadedTls, loadTls } from './tls-material.ts';

/** After so long files that were refused are read again, also when they are the same. */
const againMs = 5000;

/** TLS of a listener: what is in force, and why what the files hold now is not. */
export interface ListenerTls {
  readonly config: ProxyListenerTls;
  /** Undefined: it has never been possible to serve. */
  readonly contexts: ServerContexts | undefined;
  /** Why the files as they are now are not in force. */
  readonly problem: string | undefined;
  readonly status: ProxyTlsStatus;
}

class Entry implements ListenerTls {
  readonly name: string;
  readonly config: ProxyListenerTls;
  readonly files: readonly string[];
  contexts: ServerContexts | undefined = undefined;
  problem: string | undefined = undefined;
  loaded: LoadedTls | undefined = undefined;
  loadedAtMs = 0;
  reloads = 0;
  failures = 0;
  /** Of the files that were read last. */
  signature = '';
  /** Of the files at the last look. */
  seen = '';
  /** When they were read last, epoch milliseconds. */
  readAtMs = 0;

  constructor(name: string, config: ProxyListenerTls) {
    this.name = name;
    this.config = config;
    this.files = filesOf(config);
  }

  look(): string {
    return this.files.map(fileSignature).join('\n');
  }

  get status(): ProxyTlsStatus {
    const { loaded, problem } = this;
    return {
      serving: this.contexts !== undefined,
      ...(problem === undefined ? {} : { problem }),
      warnings: [...(loaded?.warnings ?? [])],
      ...(this.loadedAtMs === 0 ? {} : { loadedAt: new Date(this.loadedAtMs).toISOString() }),
      reloads: this.reloads,
      failedReloads: this.failures,
      ticketKeys: loaded?.material.tickets?.keys.length ?? 0,
      certificates: (loaded?.certificates ?? []).map(({ path, certificate, ocsp }) => ({
        path,
        subject: certificate.subject,
        issuer: certificate.issuer,
        names: [...certificate.names],
        keyType: certificate.keyType,
        notBefore: new Date(certificate.notBeforeMs).toISOString(),
        notAfter: new Date(certificate.notAfterMs).toISOString(),
        ...(ocsp?.nextUpdateMs === undefined
          ? {}
          : { ocspNextUpdate: new Date(ocsp.nextUpdateMs).toISOString() }),
      })),
    };
  }
}

/** TLS of all listeners, kept as their files are. */
export class TlsListeners {
  readonly #log: Logger;
  readonly #now: () => number;
  #entries = new Map<string, Entry>();
  #tickets: TicketKeyRing;
  #ticketsMadeMs: number;
  #ticketsAreGiven = false;

  /** `now`: epoch milliseconds. */
  constructor(log: Logger, now: () => number = Date.now) {
    this.#log = log;
    this.#now = now;
    this.#tickets = ticketKeyRing([newKey()]);
    this.#ticketsMadeMs = now();
  }

  /** By Listener.key. */
  get(key: string): ListenerTls | undefined {
    return this.#entries.get(key);
  }

  /** Reads what is new, keeps what is the same. */
  use(table: PolicyTable): void {
    const entries = new Map<string, Entry>();
    for (const [key, listener] of table) {
      if (listener.tls === undefined) continue;
      const before = this.#entries.get(key);
      if (before !== undefined && JSON.stringify(before.config) === JSON.stringify(listener.tls)) {
        entries.set(key, before);
        continue;
      }
      const entry = new Entry(listener.name, listener.tls);
      // New settings of which nothing can be made: the old ones stay in force.
      this.#read(entry, { hasOther: before?.contexts !== undefined });
      if (entry.contexts === undefined && before?.contexts !== undefined) {
        entry.contexts = before.contexts;
        entry.loaded = before.loaded;
        entry.loadedAtMs = before.loadedAtMs;
      }
      entries.set(key, entry);
    }
    const kept = new Set([...entries.values()].map(({ contexts }) => contexts));
    for (const { contexts } of this.#entries.values()) if (!kept.has(contexts)) contexts?.release();
    this.#entries = entries;
  }

  /** Looks at all files; to be called again and again: a change is taken when it has rested for one look. */
  poll(): void {
    this.#rotateTickets();
    for (const entry of this.#entries.values()) {
      const seen = entry.look();
      const rested = seen === entry.seen;
      entry.seen = seen;
      const stapledUntilNow = entry.loaded?.certificates.some(
        ({ ocsp, isStapled }) => isStapled && (ocsp?.nextUpdateMs ?? Number.POSITIVE_INFINITY) <= this.#now(),
      );
      // A certificate and its key are two files: what changes is read when it has come to rest.
      // What was missing can have been something else than the files: descriptors, OpenSSL.
      const isTriedAgain = entry.problem !== undefined && this.#now() - entry.readAtMs >= againMs;
      if ((seen !== entry.signature && rested) || stapledUntilNow === true) this.#read(entry);
      else if (isTriedAgain) this.#read(entry, { isAgain: true });
    }
  }

  /** `hasOther`: something else is in force if this cannot be. */
  #read(entry: Entry, { isAgain = false, hasOther = entry.contexts !== undefined } = {}): void {
    entry.readAtMs = this.#now();
    entry.signature = entry.look();
    entry.seen = entry.signature;
    try {
      const loaded = loadTls(entry.config, this.#tickets, this.#now());
      if (entry.contexts === undefined) entry.contexts = new ServerContexts(loaded.material);
      else {
        entry.contexts.exchange(loaded.material);
        entry.reloads += 1;
      }
      entry.loaded = loaded;
      entry.loadedAtMs = this.#now();
      entry.problem = undefined;
      const files = entry.files.length;
      this.#log.info({ listener: entry.name, files, warnings: loaded.warnings }, 'TLS files taken');
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      // The same files with the same outcome are no further failure.
      if (!isAgain || problem !== entry.problem) entry.failures += 1;
      if (problem === entry.problem) return;
      entry.problem = problem;
      const kept = hasOther ? 'what was in force stays in force' : 'nothing is served';
      this.#log.error({ listener: entry.name, problem }, `TLS files refused: ${kept}`);
    }
  }

  /** Listeners without a key file have these keys from now on, in base64, the newest first: every worker of the host. */
  useTicketKeys(keys: readonly string[]): void {
    this.#ticketsAreGiven = true;
    this.#exchangeTickets(ticketKeyRing(keys.map((key) => ticketKey(Buffer.from(key, 'base64')))));
  }

  /** A listener without a key file has keys of this process, when it is given none: the one before still reads its tickets. */
  #rotateTickets(): void {
    if (this.#ticketsAreGiven || this.#now() - this.#ticketsMadeMs < ticketLifetimeSeconds * 1000) return;
    this.#exchangeTickets(ticketKeyRing([newKey(), ...this.#tickets.keys.slice(0, 1)]));
  }

  #exchangeTickets(next: TicketKeyRing): void {
    const before = this.#tickets;
    this.#tickets = next;
    this.#ticketsMadeMs = this.#now();
    for (const { contexts } of this.#entries.values()) {
      if (contexts?.material.tickets === before)
        contexts.material = { ...contexts.material, tickets: this.#tickets };
    }
  }
}

function newKey(): TicketKey {
  return ticketKey(randomBytes(ticketKeyBytes));
}
