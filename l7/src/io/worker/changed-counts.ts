import type { Counts } from '../../core/counts.ts';
import type { ListenerFacts, WorkerCounts } from '../../core/worker-messages.ts';
import { type ListenerCounters, listenerCounts } from '../counters.ts';
import type { Front } from '../front.ts';

/** Finds what has changed since it was asked last. */
export interface ChangedCounts {
  /** Undefined: nothing. */
  take(front: Front): WorkerCounts | undefined;
  /** What was taken did not arrive: next time everything is taken. */
  forget(): void;
}

/** Begins with nothing known. */
export function changedCounts(): ChangedCounts {
  let known = new WeakMap<ListenerCounters, string>();
  let knownFacts = new Map<string, string>();
  let knownUnknown = -1;

  function changedListeners({ counters }: Front): Record<string, Counts> {
    const changed: Record<string, Counts> = {};
    for (const [key, counted] of counters) {
      const mark = markOf(counted);
      if (known.get(counted) === mark) continue;
      known.set(counted, mark);
      changed[key] = listenerCounts(counted);
    }
    return changed;
  }

  function changedFacts({ counters, table, tls }: Front): Record<string, ListenerFacts> {
    const changed: Record<string, ListenerFacts> = {};
    for (const [key, { pools, tls: isTls }] of table) {
      if (
        isTls === undefined &&
        pools.every(({ backends }) => backends.every((one) => one.tls === undefined))
      )
        continue;
      const facts = factsOf(counters.get(key), tls.get(key)?.status);
      const text = JSON.stringify(facts);
      if (knownFacts.get(key) === text) continue;
      knownFacts.set(key, text);
      changed[key] = facts;
    }
    return changed;
  }

  return {
    take(front) {
      const listeners = changedListeners(front);
      const facts = changedFacts(front);
      const { unknownConnections } = front;
      const isSame = Object.keys(listeners).length === 0 && Object.keys(facts).length === 0;
      if (isSame && unknownConnections === knownUnknown) return undefined;
      knownUnknown = unknownConnections;
      return { unknownConnections, listeners, facts };
    },
    forget() {
      known = new WeakMap();
      knownFacts = new Map();
      knownUnknown = -1;
    },
  };
}

function factsOf(counted: ListenerCounters | undefined, tls: ListenerFacts['tls']): ListenerFacts {
  const problems = [...(counted?.backends ?? [])].flatMap(([key, { tlsProblem }]) =>
    tlsProblem === undefined ? [] : [[key, tlsProblem] as const],
  );
  return { ...(tls === undefined ? {} : { tls }), tlsProblems: Object.fromEntries(problems) };
}

/** Changes whenever anything of a listener's numbers does, but for what changes together with something here. */
function markOf(counted: ListenerCounters): string {
  const { activeConnections, connections, denied, requests, unserved, responses, tls, datagrams } = counted;
  const total = (counts: Iterable<number>) => [...counts].reduce((sum, count) => sum + count, 0);
  // A tunnel's backend is chosen long after its client has come, and may be all that changes for as long as it lasts.
  const asked = [...counted.backends.values()].flatMap((backend) => [backend.requests, backend.errors]);
  return [
    ...[activeConnections, connections, denied, requests, unserved, ...responses, total(asked)],
    total(counted.sourceRefused.values()),
    ...[total(tls.handshakes.values()), tls.resumed, total(tls.failures.values())],
    ...(datagrams === undefined
      ? []
      : [datagrams.received, datagrams.sent, datagrams.repicked, total(Object.values(datagrams.dropped))]),
  ].join();
}
