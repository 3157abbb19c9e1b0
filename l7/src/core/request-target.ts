import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';

/** Where a request wants to go, as far as routing looks at it. */
export interface RequestTarget {
  /** Host in lower case without port and final dot; empty when the request names none (HTTP/1.0). */
  readonly host: string;
  /** The Host field as it is to be sent on: of an absolute-form target its authority. */
  readonly hostField: string | undefined;
  /** Path for routing: dot segments removed, needless percent-encoding undone, no query. */
  readonly path: string;
  /** What to put on the upstream's request line: origin-form, otherwise as the client sent it. */
  readonly originForm: string;
}

const slash = '/'.charCodeAt(0);

// RFC 3986 section 3.2.2 without userinfo and percent-encoding: reg-name, IPv4, or bracketed IPv6.
const authorityForm = /^([a-z0-9._~!$&'()*+,;=-]*|\[[0-9a-f:.]+\])(?::([0-9]*))?$/i;

/**
 * Reads the request target (RFC 9112 section 3.2) with the value of the Host field, undefined when
 * an HTTP/1.0 client sends none. The error is a sentence for a 400 answer. CONNECT is not for this
 * function: its target has another form.
 */
export function readRequestTarget(
  method: string,
  target: string,
  host: string | undefined,
): Result<RequestTarget, string> {
  let hostField = host;
  let originForm = target;
  if (target.charCodeAt(0) !== slash) {
    const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target);
    if (absolute !== null) {
      // RFC 9112 section 3.2.2: a proxy "MUST ignore the received Host header field (if any) and
      // instead replace it with the host information of the request-target."
      hostField = absolute[1] ?? '';
      const rest = absolute[2] ?? '';
      // RFC 9112 section 3.2.4: OPTIONS of a URI without path and query is about the server.
      if (rest === '' && method === 'OPTIONS') originForm = '*';
      else originForm = rest.startsWith('/') ? rest : `/${rest}`;
      // RFC 9110 section 4.2.1: such a URI is to be rejected.
      if (hostField === '' || hostField.startsWith(':')) return err('the request target names no host');
      // RFC 9112 section 3.2: an invalid Host is 400, also where another one is used.
      if (readAuthority(host ?? '') === undefined) return err('the Host field is not valid');
    }
  }
  const authority = readAuthority(hostField ?? '');
  if (authority === undefined) return err('the Host field is not valid');
  const name = authority.toLowerCase().replace(/\.$/, '');

  if (originForm === '*' && method === 'OPTIONS') return ok({ host: name, hostField, path: '/', originForm });
  if (!originForm.startsWith('/') || originForm.includes('#')) return err('the request target is not valid');
  const query = originForm.indexOf('?');
  const path = query < 0 ? originForm : originForm.slice(0, query);
  return ok({ host: name, hostField, path: isNormal(path) ? path : normalizePath(path), originForm });
}

/** The host of an authority, in brackets if it is an IPv6 address; undefined: it is not valid. */
function readAuthority(text: string): string | undefined {
  if (text === lastText) return lastName;
  lastText = text;
  lastName = parseAuthority(text);
  return lastName;
}

/** Requests in a row mostly name the same. */
let lastText = '';
let lastName: string | undefined = '';

function parseAuthority(text: string): string | undefined {
  const match = authorityForm.exec(text);
  if (match === null) return undefined;
  const [, name = '', port = ''] = match;
  if (port.length > 4 && Number(port) > 65535) return undefined;
  if (!name.startsWith('[')) return name;
  const address = parseIpAddress(name.slice(1, -1));
  return address.ok && address.value.family === 6 ? name : undefined;
}

/** Whether a path has nothing that normalizePath would change. */
function isNormal(path: string): boolean {
  return !path.includes('%') && !path.includes('/.');
}

/**
 * A path as backends will understand it (RFC 3986 sections 6.2.2.2 and 6.2.2.3): unreserved
 * characters decoded, then dot segments removed. Routing on the raw text would let
 * `/public/%2e%2e/admin` take the route of /public and arrive as /admin.
 */
export function normalizePath(path: string): string {
  const decoded = path.replace(/%([0-9a-f]{2})/gi, (encoded, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return /[A-Za-z0-9._~-]/.test(character) ? character : encoded.toUpperCase();
  });
  const kept: string[] = [];
  const segments = decoded.split('/').slice(1);
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === '..') kept.pop();
    if (segment !== '.' && segment !== '..') kept.push(segment);
    else if (isLast) kept.push('');
  }
  return `/${kept.join('/')}`;
}

/** The same resource over https, at a port. `target` names a host. */
export function httpsLocation(target: RequestTarget, port: number): string {
  const path = target.originForm === '*' ? '/' : target.originForm;
  return `https://${target.host}${port === 443 ? '' : `:${port}`}${path}`;
}
