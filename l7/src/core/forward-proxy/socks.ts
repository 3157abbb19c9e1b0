import { type IpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import type { Destination } from './destinations.ts';
import type { Dialect, Reading, Refusal } from './dialect.ts';
import { named } from './http-connect.ts';

/*
 * SOCKS 5 (RFC 1928) without authentication, SOCKS 4 and 4a, told apart by their first byte. Of their commands
 * CONNECT alone.
 */

const connectCommand = 1;
const partial: Reading = { kind: 'partial' };
const nothing: Reading = { kind: 'refused', text: '' };
/** Names in requests of SOCKS 4 end with a zero, and could go on for ever. */
const maxTextBytes = 255;

const replies5: Record<Refusal, number> = { denied: 2, unresolved: 4, unreachable: 5, timeout: 4 };
const commandNotSupported = 7;
const addressTypeNotSupported = 8;
const granted4 = 90;
const refused4 = 91;

/** SOCKS as one client speaks it. */
export function socks(): Dialect {
  let version = 0;
  let greeted = false;
  return {
    read(input): Reading {
      if (input === '') return partial;
      version = input.charCodeAt(0);
      if (version === 4) return readRequest4(input);
      if (version !== 5) return nothing;
      if (greeted) return readRequest5(input);
      const reading = readGreeting(input);
      greeted = reading.kind === 'answer';
      return reading;
    },
    accepted: () => (version === 4 ? reply4(granted4) : reply5(0)),
    refused: (why) => (version === 4 ? reply4(refused4) : reply5(replies5[why])),
  };
}

/** RFC 1928 section 3: of the methods that are offered "no authentication" is taken, or none. */
function readGreeting(input: string): Reading {
  if (input.length < 2) return partial;
  const length = 2 + input.charCodeAt(1);
  if (input.length < length) return partial;
  if (!input.slice(2, length).includes('\0')) return { kind: 'refused', text: '\x05\xff' };
  return { kind: 'answer', text: '\x05\0', length };
}

/** RFC 1928 section 4. */
function readRequest5(input: string): Reading {
  if (input.length < 5) return partial;
  const type = input.charCodeAt(3);
  const size = type === 1 ? 4 : type === 4 ? 16 : type === 3 ? 1 + input.charCodeAt(4) : 0;
  if (size === 0) return { kind: 'refused', text: reply5(addressTypeNotSupported) };
  const length = 4 + size + 2;
  if (input.length < length) return partial;
  if (input.charCodeAt(1) !== connectCommand) return { kind: 'refused', text: reply5(commandNotSupported) };
  const port = portAt(input, length - 2);
  const destination =
    type === 3 ? named(input.slice(5, 4 + size), port) : { host: addressOf(input.slice(4, 4 + size)), port };
  return reached(destination, length, reply5(1));
}

/** VN 4, CD, port, address, user id, zero; with an address of 0.0.0.x a name and a zero more (SOCKS 4a). */
function readRequest4(input: string): Reading {
  const userEnd = input.indexOf('\0', 8);
  if (userEnd < 0) return input.length > 8 + maxTextBytes ? nothing : partial;
  const isNamed = input.startsWith('\0\0\0', 4) && input.charCodeAt(7) !== 0;
  const end = isNamed ? input.indexOf('\0', userEnd + 1) : userEnd;
  if (end < 0) return input.length > userEnd + 1 + maxTextBytes ? nothing : partial;
  if (input.charCodeAt(1) !== connectCommand) return { kind: 'refused', text: reply4(refused4) };
  const port = portAt(input, 2);
  const destination = isNamed
    ? named(input.slice(userEnd + 1, end), port)
    : { host: addressOf(input.slice(4, 8)), port };
  return reached(destination, end + 1, reply4(refused4));
}

function reached(destination: Destination | undefined, length: number, otherwise: string): Reading {
  if (destination === undefined || destination.port === 0) return { kind: 'refused', text: otherwise };
  return { kind: 'destination', destination, length };
}

function portAt(input: string, at: number): number {
  return input.charCodeAt(at) * 256 + input.charCodeAt(at + 1);
}

function addressOf(bytes: string): IpAddress {
  return ipAddressFromBytes(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
}

/** RFC 1928 section 6; the address that was bound is nobody's business. */
function reply5(code: number): string {
  return `\x05${String.fromCharCode(code)}\0\x01\0\0\0\0\0\0`;
}

function reply4(code: number): string {
  return `\0${String.fromCharCode(code)}\0\0\0\0\0\0`;
}
