/** What tests of routes share: tables made of wishes, UPDATEs as values. */
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { type AdjRibOut, change, nextUpdate, openAdjRibOut, refusal, retarget } from './adj-rib-out.ts';
import { decodeMessage } from './codec/message.ts';
import type { ReceivedUpdate } from './codec/update.ts';
import { routeView, type SessionView } from './out-routes.ts';
import {
  type AttributeSet,
  assign,
  emptyPrefixTable,
  keyAt,
  type PrefixTable,
  release,
  replaceAll,
  slotOfPrefix,
} from './prefix-table.ts';

/** A prefix that a test wants, and with what. */
export interface Wish extends AttributeSet {
  readonly text: string;
  readonly pathId?: number;
}

/** A wish without more than its communities, unless `more` says so. */
export function wish(text: string, more: Partial<Omit<Wish, 'text'>> = {}): Wish {
  return { text, communities: [], ...more };
}

function setOf({ text, pathId, ...set }: Wish): AttributeSet {
  return set;
}

/** A table of these prefixes. */
export function tableOf(wishes: readonly Wish[]): PrefixTable {
  const table = emptyPrefixTable();
  for (const one of wishes) assign(table, slotOfPrefix(table, ipPrefix(one.text), one.pathId), setOf(one));
  return table;
}

/** A session that was told nothing of a table that is empty. */
export function openRib(session: SessionView, maxBytes?: number): AdjRibOut {
  const { fourOctetAs } = session;
  const options = maxBytes === undefined ? { fourOctetAs } : { fourOctetAs, maxBytes };
  return openAdjRibOut(emptyPrefixTable(), routeView(session), options);
}

/** Replaces the whole of what is wanted. */
export function aim(rib: AdjRibOut, wishes: readonly Wish[]): void {
  const changed = replaceAll(rib.table, tableOf(wishes));
  retarget(rib, rib.view);
  for (const slot of changed) release(rib.table, slot);
}

/** Changes one prefix: to `wanted`, or away. */
export function put(rib: AdjRibOut, text: string, wanted: Wish | undefined): void {
  const slot = slotOfPrefix(rib.table, ipPrefix(text), wanted?.pathId);
  if (assign(rib.table, slot, wanted === undefined ? undefined : setOf(wanted))) change(rib, slot);
  release(rib.table, slot);
}

/** Why prefixes are kept back, by their keys. */
export function refusals(rib: AdjRibOut): Map<string, string> {
  const found = new Map<string, string>();
  for (let slot = 0; slot < rib.table.slots; slot++) {
    const reason = rib.table.attributes[slot] === undefined ? undefined : refusal(rib, slot);
    if (reason !== undefined) found.set(keyAt(rib.table, slot), reason);
  }
  return found;
}

/** The next UPDATE as the peer reads it. */
export function takeUpdate(rib: AdjRibOut, session: SessionView): ReceivedUpdate | undefined {
  const bytes = nextUpdate(rib);
  if (bytes === undefined) return undefined;
  const addPath = (session.pathFamilies ?? []).length > 0;
  const decoded = decodeMessage(bytes, { ...session, addPath }, rib.maxBytes);
  if (!decoded.ok || decoded.value.type !== 'update') throw new Error('not an UPDATE');
  return decoded.value;
}

/** All UPDATEs that are left, as bytes. */
export function drainBytes(rib: AdjRibOut): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (let bytes = nextUpdate(rib); bytes !== undefined; bytes = nextUpdate(rib)) messages.push(bytes);
  return messages;
}
