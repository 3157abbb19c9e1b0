import { type Duration, formatDuration, Milliseconds } from '@l4d/kit/duration.ts';
import type { StatusRange } from './check.ts';

/** What the errors that a check can meet mean, in plain words. */
const words: Readonly<Record<string, string>> = {
  EACCES: 'forbidden by a local route or filter',
  EADDRNOTAVAIL: 'no local address or port is free',
  ECONNABORTED: 'connection aborted',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EHOSTDOWN: 'host is down',
  EHOSTUNREACH: 'no route to host',
  EMFILE: 'this process has no free file descriptors',
  ENETDOWN: 'network is down',
  ENETUNREACH: 'network unreachable',
  ENFILE: 'this machine has no free file descriptors',
  ENOBUFS: 'no buffer space here',
  ENODEV: 'no such interface here',
  ENOMEM: 'no memory here',
  EPERM: 'not permitted here',
  EPIPE: 'connection closed',
  EPROTO: 'protocol error',
  ETIMEDOUT: 'connection timed out',
};

/** Errors that say something about this machine and nothing about the target. */
const ownFaults = new Set([
  'EADDRNOTAVAIL',
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENODEV',
  'ENOMEM',
  'EPERM',
  'EINVAL',
]);

/** `phase: words` of an error code such as ECONNREFUSED; the code itself when there are no words for it. */
export function errorReason(phase: string, code: string): string {
  return `${phase}: ${words[code] ?? code}`;
}

/** Whether the error is ours: then the check is inconclusive and moves no verdict. */
export function isOwnFault(code: string): boolean {
  return ownFaults.has(code);
}

/** Nothing came within the time. */
export function timeoutReason(phase: string, timeout: Duration): string {
  return `${phase}: no answer within ${formatDuration(Milliseconds(Math.round(timeout)))}`;
}

/** A status that was not wanted. */
export function statusReason(status: number, wanted: readonly StatusRange[]): string {
  const ranges = wanted.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`));
  return `HTTP ${status}, wanted ${ranges.join(',')}`;
}

/** Longest part of an answer that is shown. */
const shownBytes = 16;

/** An answer that was not wanted; both are shown as text when printable, else in hexadecimal. */
export function answerReason(answer: Uint8Array, wanted: Uint8Array): string {
  return `answered ${showBytes(answer)}, wanted ${showBytes(wanted)}`;
}

function showBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'nothing';
  const part = bytes.subarray(0, shownBytes);
  const more = bytes.length > shownBytes ? '…' : '';
  if (part.every((byte) => byte >= 0x20 && byte < 0x7f)) return `"${String.fromCharCode(...part)}${more}"`;
  return `0x${Array.from(part, (byte) => byte.toString(16).padStart(2, '0')).join('')}${more}`;
}
