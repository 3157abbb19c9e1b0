import type { Clock } from '@l4d/kit/clock.ts';
import { type Duration, Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import {
  type AdjRibOut,
  change,
  closeAdjRibOut,
  endOfRib,
  hasWork,
  nextUpdate,
  openAdjRibOut,
  resend,
  retarget,
} from '../core/adj-rib-out.ts';
import { type BgpMessage, maxExtendedMessageBytes, maxMessageBytes } from '../core/codec/message.ts';
import type { SessionSnapshot } from '../core/handover/snapshot.ts';
import { restoreToldRoutes, toldRoutes } from '../core/handover/told-routes.ts';
import { type FamilyName, type Negotiated, refreshMarker } from '../core/negotiation.ts';
import type { RouteView } from '../core/out-routes.ts';
import type { PrefixTable } from '../core/prefix-table.ts';
import { emptyReceivedPrefixes, type ReceivedPrefixes } from '../core/received-prefixes.ts';
import type { Wire } from './wire.ts';

/** What an Established session works with. */
export interface SessionOptions {
  readonly connection: number;
  readonly wire: Wire;
  readonly negotiated: Negotiated;
  readonly table: PrefixTable;
  readonly clock: Clock;
  readonly logger: Logger;
  /** More routes are about to come. */
  readonly endOfRibHeld: boolean;
  /** How long End-of-RIB waits for them. */
  endOfRibBound(): Duration;
  /** How our routes look to the peer, as configured now. */
  view(): RouteView;
  send(messages: readonly (BgpMessage | Uint8Array)[]): void;
  /** UPDATEs have been written; `isAll`: nothing waits behind them. */
  onWritten(isAll: boolean): void;
}

/** What the peer of an Established session is told, and what it has told. */
export interface PeerSession {
  readonly connection: number;
  readonly wire: Wire;
  readonly negotiated: Negotiated;
  readonly rib: AdjRibOut;
  readonly received: ReceivedPrefixes;
  /** Begins to tell: all routes, then End-of-RIB where it was agreed on. */
  begin(): void;
  /** In place of `begin`: goes on where another was frozen. */
  resume(from: SessionSnapshot, slots: Uint32Array): void;
  /** Sends UPDATEs while the peer takes them; to be called again when there is room. */
  pump(): void;
  /** The whole table, or how it looks to the peer, may have changed. */
  tell(): void;
  tellChanges(slots: readonly number[]): void;
  /** No more routes are about to come. */
  releaseEndOfRib(): void;
  /** Sends all routes of a family again. */
  refresh(family: FamilyName): void;
  freeze(): SessionSnapshot;
  /** Nothing is sent any more. */
  close(): void;
}

/** UPDATEs taken from the work list at a time, between two looks at the write queue. */
const updatesPerTurn = 16;

/** Least time between two answers to route refresh of one family. */
const refreshPause = Seconds(1);

/** Makes a session that has told nothing yet. */
export function createPeerSession(options: SessionOptions): PeerSession {
  const { clock, logger, connection, negotiated, table, wire, send } = options;
  const { fourOctetAs, internal } = negotiated;
  const maxBytes = negotiated.extendedMessages ? maxExtendedMessageBytes : maxMessageBytes;
  wire.context = { fourOctetAs, internal, maxBytes, settled: true };
  const rib = openAdjRibOut(table, options.view(), { fourOctetAs, maxBytes });
  const received = emptyReceivedPrefixes();
  /** Families whose prefixes are on their way; what is said after them. */
  const owed = new Map<FamilyName, 'end-of-rib' | 'end-of-refresh'>();
  /** Families refreshed within the last refreshPause; true: asked for again since. */
  const refreshes = new Map<FamilyName, boolean>();
  let isEndOfRibDue = !options.endOfRibHeld;
  let closed = false;

  function boundEndOfRib(): void {
    if (isEndOfRibDue) return;
    const bound = options.endOfRibBound();
    clock.after(bound, () => {
      if (closed || isEndOfRibDue) return;
      if (bound > 0)
        logger.warn('End-of-RIB goes out though more routes are to come: the bound of the wait is reached');
      isEndOfRibDue = true;
      pump();
    });
  }

  /** RFC 2918 puts no bound on requests: those that come within refreshPause are answered together, after it. */
  function refresh(family: FamilyName): void {
    if (closed) return;
    if (refreshes.has(family)) {
      refreshes.set(family, true);
      return;
    }
    holdRefresh(family);
    // RFC 7313 section 4.1: begin and end around the routes; not before End-of-RIB was sent.
    if (negotiated.enhancedRouteRefresh && !owed.has(family)) {
      send([refreshMarker(family, 'begin')]);
      owed.set(family, 'end-of-refresh');
    }
    resend(rib, family);
    pump();
  }

  function holdRefresh(family: FamilyName): void {
    refreshes.set(family, false);
    clock.after(refreshPause, () => {
      const again = refreshes.get(family);
      refreshes.delete(family);
      if (again) refresh(family);
    });
  }

  function pump(): void {
    while (!closed && hasWork(rib) && wire.hasRoom()) {
      const updates: Uint8Array[] = [];
      while (updates.length < updatesPerTurn) {
        const update = nextUpdate(rib);
        if (update === undefined) break;
        updates.push(update);
      }
      send(updates);
      options.onWritten(!hasWork(rib));
    }
    if (closed || hasWork(rib)) return;
    for (const [family, what] of owed) {
      if (what === 'end-of-rib' && !isEndOfRibDue) continue;
      owed.delete(family);
      send([what === 'end-of-rib' ? endOfRib(family) : refreshMarker(family, 'end')]);
    }
  }

  return {
    connection,
    wire,
    negotiated,
    rib,
    received,
    begin() {
      // RFC 4724 section 2: End-of-RIB follows the first complete set of routes, also an empty one.
      if (negotiated.endOfRib) for (const family of negotiated.families) owed.set(family, 'end-of-rib');
      boundEndOfRib();
      pump();
    },
    resume(from, slots) {
      restoreToldRoutes(rib, from.told, slots);
      for (const [family, what] of from.owed) owed.set(family, what);
      for (const [key, path] of from.received.prefixes) {
        received.keys.add(key);
        if (path !== null) received.paths.set(key, path);
      }
      received.overflowed = from.received.overflowed;
      for (const family of from.refreshed) holdRefresh(family);
      boundEndOfRib();
    },
    pump,
    tell() {
      retarget(rib, options.view());
      pump();
    },
    tellChanges(slots) {
      for (const slot of slots) change(rib, slot);
      pump();
    },
    releaseEndOfRib() {
      if (isEndOfRibDue) return;
      isEndOfRibDue = true;
      pump();
    },
    refresh,
    freeze: () => ({
      connection,
      told: toldRoutes(rib),
      owed: [...owed],
      received: {
        prefixes: Array.from(received.keys, (key) => [key, received.paths.get(key) ?? null] as const),
        overflowed: received.overflowed,
      },
      refreshed: [...refreshes.keys()],
    }),
    close() {
      closed = true;
      closeAdjRibOut(rib);
    },
  };
}
