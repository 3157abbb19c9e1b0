import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import {
  choice,
  durationText,
  flag,
  integer,
  notA,
  portNumber,
  text,
  typed,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/** A range of HTTP status codes, both ends included. */
export interface StatusRange {
  readonly from: number;
  readonly to: number;
}

// Users know 1 s to 50 s; labs and tests need shorter ones.
const interval = durationText(Milliseconds(100), Seconds(50));
const timeout = durationText(Milliseconds(10), Seconds(300));
const inARow = integer('a count', 1, 100);

/** When a check is made, and how many answers change the verdict. */
export const checkTiming = {
  interval: interval.prefault('2s'),
  timeout: timeout.prefault('5s'),
  /** Good answers in a row that bring a backend up. */
  rise: inARow.prefault(2),
  /** Bad answers in a row that take a backend down. */
  fall: inARow.prefault(3),
};

/** What is common to the checks over TCP. */
const streamFields = {
  ...checkTiming,
  /** Port asked; by default the backend's. */
  port: portNumber.exactOptional(),
};

const statusAllowed = '100 to 599, such as 200, "200-399" or "200-299,404"';
const statusError = notA('a list of HTTP status codes', statusAllowed);

/** HTTP status codes that are good: `200`, `"200-399"`, `"200-299,404"`. */
export const statusRanges = z.codec(
  z.union([z.int(), z.string()], { error: statusError }),
  typed<readonly StatusRange[]>(),
  {
    decode(input, context) {
      const ranges = parseStatusRanges(String(input));
      if (ranges !== undefined) return ranges;
      context.issues.push({ code: 'custom', input, message: statusError({ input }) });
      return z.NEVER;
    },
    encode: (ranges) => ranges.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(','),
  },
);

/** Methods that a check may use. */
export const checkMethods = ['GET', 'HEAD'] as const;

const hostName = text('a host name', /^[A-Za-z0-9.:[\]-]{1,255}$/, 'such as www.example.com');

const httpFields = {
  ...streamFields,
  /** Path and query asked for. */
  path: text('a path', /^\/[\x21-\x7e]*$/, 'starts with /, no spaces').prefault('/'),
  /** Host header (and TLS server name); by default the address asked. */
  host: hostName.exactOptional(),
  method: choice('a method', checkMethods).prefault('GET'),
  expectStatus: statusRanges.prefault('200-399'),
};

const payload = z
  .string({ error: notA('a payload', 'text, or 0x and hexadecimal digits') })
  .max(1024, { error: 'is too long (allowed: at most 1024 characters)' })
  .refine((value) => !value.startsWith('0x') || /^0x([0-9a-fA-F]{2})+$/.test(value), {
    error: notA('a payload', 'text, or 0x and an even number of hexadecimal digits'),
  });

const serviceAllowed = 'at most 127 of A-Z a-z 0-9 . _ - /';

/** Kinds of checks that ask over the network. */
export const remoteChecks = [
  z.strictObject({ type: z.literal('tcp'), ...streamFields }),
  z.strictObject({ type: z.literal('http'), ...httpFields }),
  z.strictObject({ type: z.literal('https'), ...httpFields }),
  /** grpc.health.v1.Health/Check. */
  z.strictObject({
    type: z.literal('grpc'),
    ...streamFields,
    /** Service asked for; by default the server as a whole. */
    service: text('a gRPC service', /^[A-Za-z0-9._/-]{0,127}$/, serviceAllowed).prefault(''),
    /** :authority, and TLS server name; by default the address asked. */
    host: hostName.exactOptional(),
    tls: flag().prefault(false),
  }),
  z.strictObject({
    type: z.literal('udp'),
    interval: interval.prefault('5s'),
    timeout: timeout.prefault('10s'),
    rise: inARow.prefault(3),
    fall: inARow.prefault(3),
    port: portNumber.exactOptional(),
    /** Datagram sent (see checkPayload); empty by default. */
    send: payload.exactOptional(),
    /** What the answer must begin with; without it silence is good and only an ICMP error is bad. */
    expect: payload.exactOptional(),
  }),
  /** Always up. */
  z.strictObject({ type: z.literal('none') }),
] as const;

/** How a backend is asked whether it can serve. */
export const checkSchema = z.discriminatedUnion('type', remoteChecks);

/** How a backend is asked whether it can serve. */
export type Check = z.output<typeof checkSchema>;

/** The bytes of a `send` or `expect`: `0x` and hexadecimal digits, or UTF-8 text. */
export function checkPayload(payloadText: string): Uint8Array {
  if (!payloadText.startsWith('0x')) return new TextEncoder().encode(payloadText);
  return Uint8Array.from(payloadText.slice(2).match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** Whether a status code is one of the good ones. */
export function statusIsGood(ranges: readonly StatusRange[], status: number): boolean {
  return ranges.some(({ from, to }) => status >= from && status <= to);
}

function parseStatusRanges(input: string): readonly StatusRange[] | undefined {
  const ranges: StatusRange[] = [];
  for (const part of input.split(',')) {
    const match = /^\s*([1-5]\d\d)(?:-([1-5]\d\d))?\s*$/.exec(part);
    if (match === null) return undefined;
    const from = Number(match[1]);
    const to = Number(match[2] ?? match[1]);
    if (from > to) return undefined;
    ranges.push({ from, to });
  }
  return ranges;
}
