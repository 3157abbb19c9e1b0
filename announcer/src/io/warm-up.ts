import { ipAddress } from '@l4d/kit/ip-address.ts';
import { change, closeAdjRibOut, nextUpdate, openAdjRibOut, retarget } from '../core/adj-rib-out.ts';
import { patchSchema } from '../core/api.ts';
import { routeView } from '../core/out-routes.ts';
import { maxPrefixes } from '../core/prefix-list.ts';
import { scanRequest } from '../core/prefix-scan.ts';
import { assign, emptyPrefixTable, release, replaceAll } from '../core/prefix-table.ts';

/** Prefixes and rounds: enough for all of it to be compiled, little enough to leave no memory behind. */
const size = 100;
const rounds = 2;

/**
 * Does with tables of its own what a request will do, so that the first one does not wait for the compiler: a
 * withdrawal may be the first thing that is asked.
 */
export function warmUp(): void {
  const session = { localAs: 65001, internal: false, fourOctetAs: true, families: ['ipv4', 'ipv6'] } as const;
  const view = routeView({
    ...session,
    nextHop4: ipAddress('192.0.2.1'),
    nextHop6: ipAddress('2001:db8::1'),
  });
  const list = (count: number) =>
    JSON.stringify(Array.from({ length: count }, (_, i) => ({ prefix: `10.0.${i >> 8}.${i & 255}/32` })));
  for (let round = 0; round < rounds; round++) {
    const table = emptyPrefixTable();
    const rib = openAdjRibOut(table, view, { fourOctetAs: true });
    const sendAll = () => {
      let octets = 0;
      for (let bytes = nextUpdate(rib); bytes !== undefined; bytes = nextUpdate(rib)) octets += bytes.length;
      return octets;
    };
    for (const count of [1, size]) {
      const text = `{"prefixes":${list(count)}}`;
      const scanned = scanRequest(Buffer.from(text), 'prefixes', maxPrefixes);
      if (scanned === undefined) return;
      replaceAll(table, scanned.prefixes);
      retarget(rib, view);
      sendAll();
    }
    patchSchema.safeParse({ add: [{ prefix: '10.0.0.1/32' }], remove: ['10.0.0.2/32'] });
    for (let slot = 0; slot < table.slots; slot++) {
      assign(table, slot, undefined);
      change(rib, slot);
      sendAll();
      release(table, slot);
    }
    closeAdjRibOut(rib);
  }
}
