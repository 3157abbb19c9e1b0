import { addCounts, type Counts } from './counts.ts';
import type { Accounts, ListenerFacts, WorkerCounts } from './worker-messages.ts';

const noCounts: WorkerCounts = { unknownConnections: 0, listeners: {} };

/** Of a proxy that has lost no worker. */
export const noAccounts: Accounts = { past: noCounts, deaths: 0 };

/** Counts of several workers together. */
export function sumCounts(all: readonly WorkerCounts[]): WorkerCounts {
  return all.reduce(
    (sum, counts) => ({
      unknownConnections: sum.unknownConnections + counts.unknownConnections,
      listeners: addCounts<Record<string, Counts>>({ ...sum.listeners }, { ...counts.listeners }),
      facts: mergeFacts(sum.facts ?? {}, counts.facts ?? {}),
    }),
    noCounts,
  );
}

/** Where two workers differ, the one that has a problem is believed. */
function mergeFacts(
  one: Readonly<Record<string, ListenerFacts>>,
  other: Readonly<Record<string, ListenerFacts>>,
): Readonly<Record<string, ListenerFacts>> {
  const merged: Record<string, ListenerFacts> = { ...one };
  for (const [key, facts] of Object.entries(other)) {
    const before = merged[key];
    const tls = before?.tls?.problem === undefined ? (facts.tls ?? before?.tls) : before.tls;
    merged[key] = {
      ...(tls === undefined ? {} : { tls }),
      tlsProblems: { ...before?.tlsProblems, ...facts.tlsProblems },
    };
  }
  return merged;
}

/** Takes in what a worker that is gone has counted: all but what it had open. */
export function settle(accounts: Accounts, counts: WorkerCounts, died: boolean): Accounts {
  const listeners = Object.entries(counts.listeners).map(([key, counted]) => [
    key,
    typeof counted === 'object' ? { ...counted, activeConnections: 0 } : counted,
  ]);
  const numbers = {
    unknownConnections: counts.unknownConnections,
    listeners: Object.fromEntries(listeners),
  };
  const { facts: _, ...past } = sumCounts([accounts.past, numbers]);
  return { past, deaths: accounts.deaths + (died ? 1 : 0) };
}

/** Forgets the listeners that are not `declared`. */
export function pruneAccounts(accounts: Accounts, declared: (key: string) => boolean): Accounts {
  const left = Object.entries(accounts.past.listeners).filter(([key]) => declared(key));
  return { ...accounts, past: { ...accounts.past, listeners: Object.fromEntries(left) } };
}
