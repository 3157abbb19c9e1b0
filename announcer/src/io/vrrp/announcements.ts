import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { encodeAnnouncement, encodeUnicastAnnouncement } from '../../core/vrrp/neighbour-message.ts';
import type { VirtualRouter } from './router.ts';

/** Frames sent between two looks at the timers. */
const framesPerTurn = 64;

/** Rounds of a router that may wait to be sent, each to all or to single clients. */
const roundsWaiting = 4;

/** Frames to single clients in one round. */
const maxUnicastFrames = 4096;

/** A client of the kernel's neighbour table. */
interface Client {
  readonly address: IpAddress;
  readonly mac: MacAddress;
}

/** Sends rounds of announcements, a part in each turn of the loop. */
export interface Announcements {
  /** One round for all addresses of a router that owns them; nothing for shared ones. */
  round(router: VirtualRouter, interfaceIndex: number, send: (frame: Uint8Array) => string | undefined): void;
}

/** Makes an empty queue. `neighboursOf` gives the clients of an interface that the kernel knows. */
export function createAnnouncements(
  neighboursOf: (index: number) => Promise<readonly Client[]>,
): Announcements {
  const queue: {
    readonly router: VirtualRouter;
    readonly frames: Iterator<Uint8Array>;
    readonly send: Send;
  }[] = [];
  let isPumping = false;

  function pump(): void {
    let left = framesPerTurn;
    while (left > 0) {
      const head = queue[0];
      if (head === undefined) break;
      // Whoever has lost the addresses meanwhile must not speak for them.
      const next = head.router.owns() ? head.frames.next() : { done: true as const, value: undefined };
      if (next.done === true) {
        queue.shift();
        continue;
      }
      if (head.send(next.value) === undefined) head.router.countAnnouncements(1);
      left -= 1;
    }
    isPumping = queue.length > 0;
    if (isPumping) setImmediate(pump);
  }

  function add(router: VirtualRouter, frames: Iterator<Uint8Array>, send: Send): void {
    // What is still on its way says the same: more of it would grow without end.
    if (queue.filter((waiting) => waiting.router === router).length >= roundsWaiting) return;
    queue.push({ router, frames, send });
    if (!isPumping) pump();
  }

  return {
    round(router, interfaceIndex, send) {
      const { group, addresses } = router.plan;
      const mac = router.mac();
      // Of a shared address clients have different answers: the advertisements alone move the virtual MAC address.
      if (mac === undefined || group.share !== undefined) return;
      add(router, toAll(addresses, mac), send);
      // The virtual MAC address stays as it is: then only switches have to learn.
      if (group.useVmac) return;
      void neighboursOf(interfaceIndex).then((clients) => {
        const ofFamily = clients.filter(({ address }) => address.family === router.plan.family);
        if (ofFamily.length > 0) add(router, toEach(addresses, mac, ofFamily), send);
      });
    },
  };
}

type Send = (frame: Uint8Array) => string | undefined;

function* toAll(addresses: readonly IpAddress[], mac: MacAddress): Generator<Uint8Array, undefined> {
  for (const address of addresses) yield encodeAnnouncement(address, mac);
  return undefined;
}

function* toEach(
  addresses: readonly IpAddress[],
  mac: MacAddress,
  clients: readonly Client[],
): Generator<Uint8Array, undefined> {
  let left = maxUnicastFrames;
  for (const client of clients) {
    for (const address of addresses) {
      if (left-- <= 0) return undefined;
      yield encodeUnicastAnnouncement(address, mac, client.address, client.mac);
    }
  }
  return undefined;
}

/** The clients that the kernel's neighbour table knows; none when it cannot be read. */
export async function knownClients(interfaceIndex: number): Promise<readonly Client[]> {
  const rtnetlink = openRtnetlink();
  try {
    const neighbours = await rtnetlink.neighbours({ interfaceIndex });
    return neighbours.flatMap(({ address, mac }) =>
      // Groups and broadcasts are entries too.
      mac === undefined || mac.length !== 6 || ((mac[0] ?? 1) & 1) === 1 || mac.every((byte) => byte === 0)
        ? []
        : [{ address, mac }],
    );
  } catch {
    return [];
  } finally {
    rtnetlink.close();
  }
}
