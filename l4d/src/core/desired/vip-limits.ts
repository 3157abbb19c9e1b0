import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { maxHeadBytes, maxHeadFields } from '@l4d/kit/proxy-api.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { durationText, integer } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import type { Vip } from './vip.ts';

const upTo = (seconds: number) => durationText(Milliseconds(1), Seconds(seconds)).exactOptional();

const timeoutsSchema = z.strictObject({
  /** Until a TLS handshake, a PROXY header or the wish of a forward proxy's client is whole. */
  handshake: upTo(600),
  /** Until the head of a request is whole. */
  requestHead: upTo(600),
  /** Until a backend has accepted the connection. */
  connect: upTo(600),
  /** Without a byte from the backend that was asked. */
  response: upTo(3600),
  /** From a request to the begin of its answer, over all tries. */
  request: upTo(3600),
  /** Without a byte either way of a WebSocket. */
  tunnel: upTo(86_400),
  /** Of a kept connection to a backend, between two requests. */
  backendIdle: upTo(86_400),
});

const limitsSchema = z.strictObject({
  requestLineBytes: integer('a number of bytes', 64, maxHeadBytes).exactOptional(),
  requestHeadBytes: integer('a number of bytes', 256, maxHeadBytes).exactOptional(),
  requestFields: integer('a number of fields', 1, maxHeadFields).exactOptional(),
  answerHeadBytes: integer('a number of bytes', 256, maxHeadBytes).exactOptional(),
  answerFields: integer('a number of fields', 1, maxHeadFields).exactOptional(),
  /** Of one connection. */
  requestsPerConnection: integer('a number of requests', 1, 1_000_000_000).exactOptional(),
  /** Bytes/s that a client must send of its body, or take of its answer. */
  minimumRate: integer('a number of bytes per second', 0, 1_000_000_000).exactOptional(),
});

const retriesSchema = z.strictObject({
  /** Backends that are asked for one request, the first included. */
  tries: integer('a number of tries', 1, 10).exactOptional(),
  /** Further tries, in percent of the requests. */
  budgetPercent: integer('a percentage', 0, 100).exactOptional(),
});

/** What the proxy allows, and how often it tries; fields of an l7 VIP. */
export const vipLimitFields = {
  /** l7 only: how long the proxy waits for clients and backends. */
  timeouts: timeoutsSchema.exactOptional(),
  /** l7 only, mode http: how big messages may be, and how slow clients. */
  limits: limitsSchema.exactOptional(),
  /** l7 only: what happens to what a backend fails. */
  retries: retriesSchema.exactOptional(),
};

/** Names of those fields. */
export const vipLimitFieldNames = ['timeouts', 'limits', 'retries'] as const;

/** Timeouts that every mode with connections knows, and those that go with backends. */
const handshakeTimeouts: readonly string[] = ['handshake', 'connect'];

/** Rules over those fields of an l7 VIP. */
export function checkVipLimits(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const mode = vip.mode ?? 'http';
  const { timeouts, limits, retries } = vip;
  if (mode === 'http') return checkBounds(vip, at);
  const problems: PathProblem[] = [];
  if (limits !== undefined)
    problems.push(problemAt([...at, 'limits'], `is for mode http: there are no requests in mode ${mode}`));
  for (const name of Object.keys(timeouts ?? {})) {
    if (mode !== 'udp' && handshakeTimeouts.includes(name)) continue;
    problems.push(
      problemAt(
        [...at, 'timeouts', name],
        mode === 'udp'
          ? 'is of connections: mode udp has none'
          : `is for mode http: there are no requests in mode ${mode}`,
        'idleTimeout says how long a relay or session may be silent',
      ),
    );
  }
  if (retries !== undefined && mode !== 'tcp' && mode !== 'tls-passthrough')
    problems.push(
      problemAt(
        [...at, 'retries'],
        `is for modes http, tcp and tls-passthrough: mode ${mode} does not try again`,
      ),
    );
  return problems;
}

function checkBounds({ timeouts, limits }: Vip, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [];
  const { requestLineBytes, requestHeadBytes } = limits ?? {};
  if (requestLineBytes !== undefined && requestLineBytes > (requestHeadBytes ?? 16_384))
    problems.push(
      problemAt(
        [...at, 'limits', 'requestLineBytes'],
        `${requestLineBytes} is more than the whole head may have (allowed: up to limits.requestHeadBytes, ${requestHeadBytes ?? 16_384})`,
        'raise limits.requestHeadBytes too',
      ),
    );
  const { request, response } = timeouts ?? {};
  if (request !== undefined && response !== undefined && request < response)
    problems.push(
      problemAt(
        [...at, 'timeouts', 'request'],
        'is less than timeouts.response, which it bounds (allowed: as long, or longer)',
        'to have a second backend tried in time, make response shorter',
      ),
    );
  return problems;
}
