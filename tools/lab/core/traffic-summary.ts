import type { BrokenEvent, DatagramEvent, PingEvent, RequestEvent, TrafficEvent } from './traffic-events.ts';

/** What many requests came to. */
export interface RequestSummary {
  readonly total: number;
  readonly succeeded: number;
  readonly failures: readonly RequestEvent[];
  /** Answers by the name of the backend. */
  readonly byBackend: Readonly<Record<string, number>>;
  /** Client addresses that backends saw. */
  readonly seenClients: readonly string[];
  readonly largestMs: number;
}

/** Sums up the requests that were begun in [fromMs, untilMs), milliseconds since the epoch. */
export function summarizeRequests(
  events: readonly TrafficEvent[],
  span: { readonly fromMs?: number; readonly untilMs?: number } = {},
): RequestSummary {
  const requests = events.filter(
    (event): event is RequestEvent =>
      event.type === 'request' &&
      event.atMs >= (span.fromMs ?? 0) &&
      event.atMs < (span.untilMs ?? Number.POSITIVE_INFINITY),
  );
  const good = requests.filter(({ failure }) => failure === undefined);
  return {
    total: requests.length,
    succeeded: good.length,
    failures: requests.filter(({ failure }) => failure !== undefined),
    byBackend: countBy(good.map(({ backend }) => backend ?? '?')),
    seenClients: [...new Set(good.map(({ seenClient }) => seenClient ?? '?'))],
    largestMs: Math.max(0, ...requests.map(({ tookMs }) => tookMs)),
  };
}

/** One long-lived connection. */
export interface ConnectionSummary {
  readonly port: number;
  /** Who answered, in order, repetitions left out: one name when it stayed where it was. */
  readonly backends: readonly string[];
  readonly pings: number;
  /** Longest time between two answers. */
  readonly largestGapMs: number;
  readonly lastPingAtMs: number;
  readonly broken?: BrokenEvent;
}

/** Sums up long-lived connections, in the order of their numbers; those that never answered are there too. */
export function summarizeConnections(events: readonly TrafficEvent[]): ConnectionSummary[] {
  const told = events.filter(
    (event): event is PingEvent | BrokenEvent => event.type === 'ping' || event.type === 'broken',
  );
  const numbers = [...new Set(told.map(({ connection }) => connection))].sort((a, b) => a - b);
  return numbers.map((number) => {
    const own = told.filter(({ connection }) => connection === number);
    const pings = own.filter((event) => event.type === 'ping');
    const gaps = pings.map((ping, index) => ping.atMs - (pings[index - 1]?.atMs ?? ping.atMs));
    const broken = own.find((event) => event.type === 'broken');
    return {
      port: own[0]?.port ?? 0,
      backends: withoutRepetitions(pings.map(({ backend }) => backend)),
      pings: pings.length,
      largestGapMs: Math.max(0, ...gaps),
      lastPingAtMs: pings.at(-1)?.atMs ?? 0,
      ...(broken === undefined ? {} : { broken }),
    };
  });
}

/** One UDP flow. */
export interface FlowSummary {
  readonly port: number;
  readonly backends: readonly string[];
  readonly answered: number;
  readonly lost: readonly DatagramEvent[];
}

/** Sums up UDP flows by their source port, of requests sent in [fromMs, untilMs). */
export function summarizeFlows(
  events: readonly TrafficEvent[],
  span: { readonly fromMs?: number; readonly untilMs?: number } = {},
): FlowSummary[] {
  const datagrams = events.filter(
    (event): event is DatagramEvent =>
      event.type === 'datagram' &&
      event.atMs >= (span.fromMs ?? 0) &&
      event.atMs < (span.untilMs ?? Number.POSITIVE_INFINITY),
  );
  const ports = [...new Set(datagrams.map(({ port }) => port))].sort((a, b) => a - b);
  return ports.map((flowPort) => {
    const own = datagrams.filter(({ port }) => port === flowPort);
    return {
      port: flowPort,
      backends: withoutRepetitions(own.flatMap(({ backend }) => backend ?? [])),
      answered: own.filter(({ backend }) => backend !== undefined).length,
      lost: own.filter(({ backend }) => backend === undefined),
    };
  });
}

/** How often each text occurs. */
export function countBy(texts: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const text of texts) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
}

function withoutRepetitions(names: readonly string[]): string[] {
  return names.filter((name, index) => name !== names[index - 1]);
}
