import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import { HeadParser } from '../http1/head-parser.ts';
import { requestLimits } from '../http1/limits.ts';
import { type RefusalStatus, refusal, refusalMessage } from '../refusal.ts';
import type { Destination } from './destinations.ts';
import type { Dialect, Reading, Refusal } from './dialect.ts';

const answers: Record<Refusal, readonly [RefusalStatus, string]> = {
  denied: [403, 'this destination is not allowed'],
  unresolved: [502, 'the name leads to no address'],
  unreachable: [502, 'the destination could not be reached'],
  timeout: [504, 'the destination did not answer in time'],
};

/** HTTP CONNECT (RFC 9110 section 9.3.6); other methods are refused: this proxy reads no requests. */
export function httpConnect(): Dialect {
  const head = new HeadParser('request', requestLimits);
  return {
    read(input): Reading {
      const state = head.parse(input);
      if (state === 'partial') return { kind: 'partial' };
      if (state === 'refused') {
        const { status, detail } = head.refusal ?? { status: 400, detail: '' };
        return refuse(status, detail);
      }
      if (head.method !== 'CONNECT') return refuse(405, 'this proxy takes CONNECT alone');
      // RFC 9110 section 9.3.6: a CONNECT request has no content.
      if (head.framing !== 'none') return refuse(400, 'CONNECT has no body');
      const destination = readAuthority(head.target);
      if (destination === undefined) return refuse(400, 'the request target is not HOST:PORT');
      return { kind: 'destination', destination, length: head.end };
    },
    accepted: () => 'HTTP/1.1 200 Connection established\r\n\r\n',
    refused: (why) => message(...answers[why]),
  };
}

/** A destination as authority-form writes it (RFC 9112 section 3.2.3): a port is needed. */
export function readAuthority(text: string): Destination | undefined {
  const [, bracketed, plain = '', digits] =
    /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+)):([0-9]{1,5})$/i.exec(text) ?? [];
  const port = Number(digits ?? 0);
  if (port < 1 || port > 65_535) return undefined;
  const address = parseIpAddress(bracketed ?? plain);
  if (address.ok && (address.value.family === 6) === (bracketed !== undefined))
    return { host: address.value, port };
  return bracketed === undefined ? named(plain, port) : undefined;
}

/** A destination by its name; undefined when it cannot be one. */
export function named(text: string, port: number): Destination | undefined {
  const name = text.toLowerCase().replace(/\.$/, '');
  // A last label of digits is a mistaken address, which resolvers read in many ways (127.1).
  if (!/^[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?$/.test(name) || /(^|\.)(0x[0-9a-f]*|[0-9]+)$/.test(name))
    return undefined;
  return { host: name, port };
}

function refuse(status: RefusalStatus, detail: string): Reading {
  return { kind: 'refused', text: message(status, detail) };
}

function message(status: RefusalStatus, detail: string): string {
  return refusalMessage(refusal(status, detail));
}
