import type { HeadParser } from './head-parser.ts';

/*
 * The heads that the proxy writes. What is to be sent on comes from the parser as one piece of text;
 * start line and framing are written anew, so that they say what the proxy understood.
 */

/** What backends can be told of a client's TLS connection. Texts are of printable ASCII. */
export interface TlsFacts {
  readonly version?: string;
  readonly cipher?: string;
  readonly serverName?: string;
  /** Where certificates are asked for: its subject (RFC 4514); empty: the client has shown none. */
  readonly clientSubject?: string;
  /** The certificate in base64 of its DER. */
  readonly clientCertificate?: string;
}

/** The field lines of TLS, the same for all requests of a connection. */
export function tlsFields(facts: TlsFacts): string {
  let text = '';
  if (facts.version !== undefined) text += `X-TLS-Version: ${facts.version}\r\n`;
  if (facts.cipher !== undefined) text += `X-TLS-Cipher: ${facts.cipher}\r\n`;
  if (facts.serverName !== undefined) text += `X-TLS-Server-Name: ${printable(facts.serverName)}\r\n`;
  if (facts.clientSubject !== undefined) {
    text += `X-TLS-Client-Verify: ${facts.clientSubject === '' ? 'NONE' : 'SUCCESS'}\r\n`;
    if (facts.clientSubject !== '') text += `X-TLS-Client-Subject: ${printable(facts.clientSubject)}\r\n`;
  }
  // RFC 9440 section 2.1: a byte sequence of structured fields.
  if (facts.clientCertificate !== undefined) text += `Client-Cert: :${facts.clientCertificate}:\r\n`;
  return text;
}

/** Peers choose these texts: nothing in them may look like the end of a line. */
function printable(text: string): string {
  return text.slice(0, 4096).replace(/[^\x20-\x7e]/g, '?');
}

/** What a request's connection to its backend is for. */
export type UpstreamUse =
  /** Kept for further requests. */
  | 'kept'
  /** For this request alone. */
  | 'once'
  /** For a switch of protocols to what the head asks for. */
  | 'tunnel';

/** The head of a request to a backend. `hostField` undefined: an HTTP/1.0 client named no host. */
export function upstreamRequestHead(
  head: HeadParser,
  originForm: string,
  hostField: string | undefined,
  forwarded: string,
  use: UpstreamUse,
): string {
  let text = `${head.method} ${originForm} HTTP/1.1\r\nHost: ${hostField ?? ''}\r\n${head.fields}${forwarded}`;
  if (head.framing === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  // RFC 9110 section 8.6: a method that gives a body meaning is sent with Content-Length: 0.
  else if (head.contentLength < 0 && givesBodyMeaning(head.method)) text += 'Content-Length: 0\r\n';
  if (use === 'once') text += 'Connection: close\r\n';
  else if (use === 'tunnel') text += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`;
  return `${text}\r\n`;
}

/** How the proxy delimits a body towards the client. */
export type ClientFraming = 'none' | 'length' | 'chunked' | 'close';

/** The head of an answer to a client that speaks HTTP/1.`minorVersion` and whose connection is kept, or not. */
export function clientResponseHead(
  head: HeadParser,
  framing: ClientFraming,
  minorVersion: number,
  keepAlive: boolean,
): string {
  let text = `HTTP/1.1 ${head.status} ${head.reason}\r\n${fieldsForClient(head)}`;
  if (framing === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  if (!keepAlive) text += 'Connection: close\r\n';
  // An HTTP/1.0 client believes in a kept connection only when it is told.
  else if (minorVersion === 0) text += 'Connection: keep-alive\r\n';
  return `${text}\r\n`;
}

/** A 1xx answer that is passed on; of 101 with the protocol that is switched to. */
export function interimHead(head: HeadParser): string {
  const upgrade = head.status === 101 ? `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n` : '';
  return `HTTP/1.1 ${head.status} ${head.reason}\r\n${fieldsForClient(head)}${upgrade}\r\n`;
}

/** RFC 9110 section 8.6: 1xx and 204 have no Content-Length, whatever a backend says. */
function fieldsForClient(head: HeadParser): string {
  if (head.contentLength < 0 || (head.status >= 200 && head.status !== 204)) return head.fields;
  return head.fields.replace(/^content-length:[^\r]*\r\n/im, '');
}

/** How the body of an answer is delimited (RFC 9112 section 6.3) when `method` was asked. */
export function responseFraming(head: HeadParser, method: string): HeadParser['framing'] {
  const { status } = head;
  return method === 'HEAD' || status < 200 || status === 204 || status === 304 ? 'none' : head.framing;
}

function givesBodyMeaning(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH';
}

const untunnelled = /^(?:h2c?|http\/.*|tls\/.*)$/i;

/**
 * Whether a request asks for a tunnel that it may have. `h2c` and TLS are never tunnelled: through them
 * a client would speak to the backend past routes and header rules. RFC 9110 section 7.8: an Upgrade
 * field may simply be ignored.
 */
export function wantsTunnel(head: HeadParser): boolean {
  if (!head.asksUpgrade || head.upgrade === '' || head.minorVersion === 0) return false;
  // A body before the switch would have to be framed on both sides; nobody sends one.
  if (head.framing !== 'none') return false;
  return /^[\w!#$%&'*+.^`|~/-]+$/.test(head.upgrade) && !untunnelled.test(head.upgrade);
}

/** Whether a method may be sent twice with the effect of once (RFC 9110 section 9.2.2). */
export function isIdempotent(method: string): boolean {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'OPTIONS':
    case 'TRACE':
    case 'PUT':
    case 'DELETE':
      return true;
    default:
      return false;
  }
}
