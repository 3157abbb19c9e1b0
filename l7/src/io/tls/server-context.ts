import { createHash } from 'node:crypto';
import { fixedMemory } from '@l4d/kit/ffi/event-socket.ts';
import {
  certificateDer,
  libssl,
  parseDer,
  sslCallback,
  sslControl,
  sslOption,
  takeSslError,
  tlsVersionNumber,
} from '@l4d/kit/ffi/libssl.ts';
import type { ServerCertificate } from '@l4d/kit/tls/certificate.ts';
import { type TlsVersion, tlsGroups } from '@l4d/kit/tls/cipher-policy.ts';
import koffi from 'koffi';
import { findServerName, orderServerNames, type ServerNames } from '../../core/tls/server-names.ts';
import { type TicketKeyRing, ticketCallback } from './ticket-crypto.ts';

/*
 * What OpenSSL is told of a listener: a context (SSL_CTX) a certificate, or a pair of an RSA and an ECDSA one for
 * the same names. Contexts are made beside those in use and exchanged whole; connections keep theirs alive.
 */

/** Of a certificate: what is presented. */
export interface PresentedCertificate {
  readonly certificate: ServerCertificate;
  /** DER of the OCSP response to staple. */
  readonly ocsp: Uint8Array | undefined;
}

/** Everything that a listener's contexts are made of. */
export interface ServerTlsMaterial {
  /** At least one; the first is for clients that name no server. */
  readonly certificates: readonly PresentedCertificate[];
  readonly minVersion: TlsVersion;
  readonly ciphers: readonly string[];
  readonly cipherSuites: readonly string[];
  readonly serverPreference: boolean;
  /** Names that no certificate is for are refused with unrecognized_name. */
  readonly refuseUnknownNames: boolean;
  /** Undefined: no tickets. */
  readonly tickets: TicketKeyRing | undefined;
  readonly ticketLifetimeSeconds: number;
  readonly clientCertificates:
    | { readonly authorities: readonly Uint8Array[]; readonly required: boolean }
    | undefined;
  /** Sessions are resumed among contexts of the same one; at most 32 bytes. */
  readonly sessionIdContext: Uint8Array;
  /** ALPN, the preferred first. */
  readonly protocols: readonly string[];
}

/** What callbacks of OpenSSL find by the context of a connection. */
interface Known {
  readonly owner: ServerContexts;
  /** OCSP responses by the certificate that they are about. */
  ocsp: ReadonlyMap<number, Uint8Array>;
}

/** By context. */
const known = new Map<number, Known>();
/** A handshake that began before a context was exchanged may still ask for what belongs to it. */
const forgetAfterMs = 120_000;

const acknowledge = { ok: 0, fatal: 2, none: 3 } as const;
const unrecognizedName = 112;
const verifyPeer = 1;
const failWithoutCertificate = 2;
/** Partial writes, from memory that may move, and no buffers while a connection is idle. */
const modes = 0x1 | 0x2 | 0x10;
/** What clients may show: in base64, with the largest head, it still fits where heads are written. */
const maxClientChainBytes = 16 * 1024;
/** One ticket a full handshake of TLS 1.3; OpenSSL makes two by default. */
const ticketsPerHandshake = 1;

const alert = fixedMemory(16);
let callbacks: ReturnType<typeof registerCallbacks> | undefined;

function registerCallbacks() {
  const openssl = libssl();
  const serverName = koffi.register(
    (ssl: number, alertPlace: number): number => {
      const owner = known.get(openssl.contextOf(ssl))?.owner;
      const asked = openssl.serverNameOf(ssl, 0);
      if (owner === undefined || asked === null) return acknowledge.none;
      const context = findServerName(owner.names, asked);
      if (context !== undefined) {
        openssl.setContext(ssl, context);
        return acknowledge.ok;
      }
      if (!owner.material.refuseUnknownNames) return acknowledge.none;
      new DataView(alert.bytes.buffer).setInt32(0, unrecognizedName, true);
      copy(alertPlace, alert.address, 4);
      return acknowledge.fatal;
    },
    koffi.pointer(koffi.proto('int l4d_server_name(uintptr_t ssl, uintptr_t alert, uintptr_t argument)')),
  );
  const status = koffi.register(
    (ssl: number): number => {
      const response = known.get(openssl.contextOf(ssl))?.ocsp.get(openssl.ownCertificate(ssl));
      if (response === undefined) return acknowledge.none;
      // OpenSSL frees it.
      const memory = openssl.duplicate(response, response.length, 'l4d', 0);
      if (memory === 0) return acknowledge.none;
      openssl.control(ssl, sslControl.setOcspResponse, response.length, memory);
      return acknowledge.ok;
    },
    koffi.pointer(koffi.proto('int l4d_status(uintptr_t ssl, uintptr_t argument)')),
  );
  const protocol = koffi.register(
    (ssl: number, out: number, outLength: number, theirs: number, length: number): number => {
      const ours = known.get(openssl.contextOf(ssl))?.owner.alpn;
      if (ours === undefined) return acknowledge.none;
      const { address, size } = ours;
      const chosen = openssl.selectProtocol(out, outLength, address, size, theirs, length);
      // RFC 7301 section 3.2: no protocol in common SHALL be answered with no_application_protocol.
      return chosen === 1 ? acknowledge.ok : acknowledge.fatal;
    },
    koffi.pointer(
      koffi.proto(
        'int l4d_alpn(uintptr_t ssl, uintptr_t out, uintptr_t out_length, uintptr_t theirs, unsigned int length, uintptr_t argument)',
      ),
    ),
  );
  const ticket = ticketCallback((ssl) => known.get(openssl.contextOf(ssl))?.owner.material.tickets);
  return { serverName, status, protocol, ticket };
}

const copy = koffi.load(null).func('void *memcpy(uintptr_t to, uintptr_t from, size_t size)') as (
  to: number,
  from: number,
  size: number,
) => unknown;

/**
 * The contexts of a listener. An exchange of material keeps those whose part of it is the same, so that one
 * changed file among thousands costs one context. Throws Error with OpenSSL's reason, and UnsupportedFeature
 * without OpenSSL; what was in force then stays.
 */
export class ServerContexts {
  material: ServerTlsMaterial;
  /** Contexts by the names of their certificates. */
  names: ServerNames<number>;
  readonly alpn: ReturnType<typeof protocolList>;
  /** By a digest of all that the context was made of. */
  #contexts: ReadonlyMap<string, number> = new Map();

  constructor(material: ServerTlsMaterial) {
    callbacks ??= registerCallbacks();
    this.material = material;
    this.alpn = protocolList(material.protocols);
    this.names = this.#make(material);
  }

  /** What new connections begin with. */
  get first(): number {
    return this.names.first;
  }

  /** Other material, all of it or none. */
  exchange(material: ServerTlsMaterial): void {
    this.names = this.#make(material);
    this.material = material;
  }

  /** Gives all back; connections that have them go on. */
  release(): void {
    for (const context of this.#contexts.values()) forget(context);
    this.#contexts = new Map();
  }

  #make(material: ServerTlsMaterial): ServerNames<number> {
    const openssl = libssl();
    const settings = settingsDigest(material);
    const made: number[] = [];
    const contexts = new Map<string, number>();
    const responses = new Map<number, Map<number, Uint8Array>>();
    try {
      const entries = groupByNames(material.certificates).map(({ names, presented }) => {
        const key = groupDigest(settings, presented);
        let context = this.#contexts.get(key);
        if (context === undefined) {
          context = openssl.newContext(openssl.serverMethod());
          if (context === 0) throw new Error(`SSL_CTX_new: ${takeSslError()}`);
          made.push(context);
          configure(context, material);
          for (const { certificate } of presented) useCertificate(context, certificate);
        }
        contexts.set(key, context);
        responses.set(context, ocspResponses(context, presented));
        return { names, entry: context };
      });
      const names = orderServerNames(entries);
      if (names === undefined) throw new Error('there is no certificate');
      for (const [context, ocsp] of responses) {
        known.set(context, { owner: this, ocsp });
        if (ocsp.size > 0) openssl.contextCallback(context, sslCallback.status, callbacks?.status ?? null);
      }
      for (const [key, context] of this.#contexts) if (!contexts.has(key)) forget(context);
      this.#contexts = contexts;
      return names;
    } catch (error) {
      for (const context of made) openssl.freeContext(context);
      throw error;
    }
  }
}

function forget(context: number): void {
  const entry = known.get(context);
  libssl().freeContext(context);
  // When its memory is another context's by then, it has another entry.
  setTimeout(() => {
    if (known.get(context) === entry) known.delete(context);
  }, forgetAfterMs).unref();
}

function settingsDigest(material: ServerTlsMaterial): string {
  const { minVersion, ciphers, cipherSuites, serverPreference, ticketLifetimeSeconds } = material;
  return JSON.stringify([
    [minVersion, ciphers, cipherSuites, serverPreference, ticketLifetimeSeconds],
    [material.tickets === undefined, material.clientCertificates?.required ?? null],
    [Buffer.from(material.sessionIdContext).toString('hex')],
  ]);
}

function groupDigest(settings: string, presented: readonly PresentedCertificate[]): string {
  const hash = createHash('sha256').update(settings);
  for (const { certificate } of presented) {
    for (const der of certificate.chain) hash.update(der);
    hash.update(certificate.key);
  }
  return hash.digest('hex');
}

/** Certificates for exactly the same names, with keys of different types, are presented by one context. */
function groupByNames(certificates: readonly PresentedCertificate[]) {
  const groups = new Map<string, { names: readonly string[]; presented: PresentedCertificate[] }>();
  for (const one of certificates) {
    const key = [...one.certificate.names].sort().join(' ');
    const group = groups.get(key) ?? { names: one.certificate.names, presented: [] };
    groups.set(key, group);
    if (!group.presented.some(({ certificate }) => certificate.keyType === one.certificate.keyType))
      group.presented.push(one);
  }
  return [...groups.values()];
}

function configure(context: number, material: ServerTlsMaterial): void {
  const openssl = libssl();
  const { clientCertificates, tickets, sessionIdContext } = material;
  openssl.setOptions(
    context,
    sslOption.noCompression |
      // CVE-2009-3555, CVE-2011-1473: nobody needs it, and it lets a client cause work at will.
      sslOption.noRenegotiation |
      (tickets === undefined ? sslOption.noTicket : 0n) |
      (material.serverPreference ? sslOption.serverPreference | sslOption.prioritizeChacha : 0n),
  );
  openssl.contextControl(context, sslControl.mode, modes, 0);
  openssl.contextControl(context, sslControl.setReadAhead, 1, 0);
  // Sessions are in tickets alone: a cache in one worker's memory helps no other worker or host.
  openssl.contextControl(context, sslControl.setSessionCacheMode, 0, 0);
  openssl.setTicketCount(context, tickets === undefined ? 0 : ticketsPerHandshake);
  openssl.setTimeout(context, material.ticketLifetimeSeconds);
  openssl.setSessionIdContext(context, sessionIdContext, sessionIdContext.length);
  setPolicy(context, material.minVersion, material.ciphers, material.cipherSuites);
  const { serverName, protocol, ticket } = callbacks ?? registerCallbacks();
  openssl.contextCallback(context, sslCallback.serverName, serverName);
  openssl.setAlpnSelect(context, protocol, 0);
  if (tickets !== undefined) openssl.setTicketKeyCallback(context, ticket);
  if (clientCertificates === undefined) return;
  addAuthorities(context, clientCertificates.authorities, true);
  openssl.contextControl(context, sslControl.setMaxCertificateList, maxClientChainBytes, 0);
  openssl.setVerify(
    context,
    clientCertificates.required ? verifyPeer | failWithoutCertificate : verifyPeer,
    0,
  );
}

/** Versions, cipher suites and groups, of servers and clients. Throws Error. */
export function setPolicy(
  context: number,
  minVersion: TlsVersion,
  ciphers: readonly string[],
  cipherSuites: readonly string[],
): void {
  const openssl = libssl();
  // Security level 1 refuses everything before TLS 1.2, whose signatures rest on SHA-1.
  const level = minVersion === '1.0' || minVersion === '1.1' ? ':@SECLEVEL=0' : '';
  openssl.contextControl(context, sslControl.setMinVersion, tlsVersionNumber[minVersion], 0);
  if (openssl.setCipherList(context, ciphers.join(':') + level) !== 1)
    throw new Error(`none of the ciphers ${ciphers.join(', ')} is known to OpenSSL: ${takeSslError()}`);
  if (openssl.setCipherSuites(context, cipherSuites.join(':')) !== 1)
    throw new Error(`the cipher suites ${cipherSuites.join(', ')} are refused by OpenSSL: ${takeSslError()}`);
  openssl.contextControlText(context, sslControl.setGroupsList, 0, tlsGroups);
}

/** Certificates of authorities that the peer's is verified against. Throws Error. */
export function addAuthorities(
  context: number,
  authorities: readonly Uint8Array[],
  announced: boolean,
): void {
  const openssl = libssl();
  const store = openssl.certificateStore(context);
  for (const der of authorities) {
    const certificate = parseDer(openssl.parseCertificate, der);
    if (certificate === 0) throw new Error(`a certificate of an authority is refused: ${takeSslError()}`);
    openssl.addToStore(store, certificate);
    if (announced) openssl.addClientAuthority(context, certificate);
    openssl.freeCertificate(certificate);
  }
  // Of the same certificate twice OpenSSL complains.
  takeSslError();
}

/** Gives a context a certificate, its chain and its key. Throws Error. */
export function useCertificate(context: number, certificate: ServerCertificate): void {
  const openssl = libssl();
  for (const [index, der] of certificate.chain.entries()) {
    const parsed = parseDer(openssl.parseCertificate, der);
    if (parsed === 0) throw new Error(`certificate ${index + 1} is refused: ${takeSslError()}`);
    if (index > 0) {
      // The context owns it from here on.
      openssl.contextControl(context, sslControl.addChainCertificate, 0, parsed);
      continue;
    }
    const taken = openssl.useCertificate(context, parsed);
    openssl.freeCertificate(parsed);
    if (taken !== 1) throw new Error(`the certificate is refused: ${takeSslError()}`);
  }
  const key = parseDer(openssl.parsePrivateKey, certificate.key);
  const taken = key === 0 ? 0 : openssl.usePrivateKey(context, key);
  if (key !== 0) openssl.freePrivateKey(key);
  if (taken !== 1) throw new Error(`the private key is refused: ${takeSslError()}`);
}

/** OCSP responses by the certificates that OpenSSL holds. */
function ocspResponses(context: number, presented: readonly PresentedCertificate[]): Map<number, Uint8Array> {
  const openssl = libssl();
  const responses = new Map<number, Uint8Array>();
  // The current certificate is the one that was set last; 1 and 2: make the first, the next one current.
  let more = openssl.contextControl(context, sslControl.setCurrentCertificate, 1, 0) === 1;
  while (more) {
    const pointer = openssl.currentCertificate(context);
    const der = certificateDer(pointer);
    for (const { certificate, ocsp } of presented) {
      const [own] = certificate.chain;
      if (ocsp !== undefined && own !== undefined && der.equals(own)) responses.set(pointer, ocsp);
    }
    more = openssl.contextControl(context, sslControl.setCurrentCertificate, 2, 0) === 1;
  }
  return responses;
}

/** Names as ALPN has them on the wire: each behind its length. */
export function protocolList(protocols: readonly string[]): {
  address: number;
  size: number;
  memory: Uint8Array;
} {
  const memory = fixedMemory(256);
  let size = 0;
  for (const name of protocols) {
    memory.bytes[size] = name.length;
    memory.bytes.latin1Write(name, size + 1);
    size += 1 + name.length;
  }
  return { address: memory.address, size, memory: memory.bytes };
}
