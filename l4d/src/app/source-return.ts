/**
 * Keeps what the proxy needs to speak to backends from their clients' own addresses: the program that finds the answers on the
 * interfaces by which those backends are reached, and the routing that takes them in. Nothing of it is there while no
 * VIP has `source: client`, and connections of before have had their time to end. All of it is the kernel's: it goes on
 * without the daemon, and the next one adopts it.
 */
import { type Clock, systemClock, type Timer } from '@l4d/kit/clock.ts';
import { type Duration, Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { interfaceName } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { routeType } from '@l4d/kit/netlink/constants.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import {
  detachSourceReturn,
  hasSourceReturnPins,
  openSourceReturn,
  type SourcedService,
  type SourceReturnProgram,
  serviceText,
  unpinSourceReturn,
} from '../io/forwarding/source-return.ts';
import { replaceSourceRouting } from '../io/source-routing.ts';

/** What it works with. */
export interface SourceReturnParts {
  readonly bpfFolder: string;
  readonly logger: Logger;
  /** How long connections to a backend go on that is no longer spoken to from clients' addresses. */
  readonly leaveWithin: () => Duration;
  readonly clock?: Clock;
}

/** The way back of proxied connections that come from their clients' addresses. */
export interface SourceReturn {
  /** Makes it so for these backends. What fails is told by `problem` and tried again: no return path is proven meanwhile. */
  settle(services: readonly SourcedService[]): Promise<void>;
  /** Packets by what became of them; undefined while no VIP uses it. */
  results(): Record<string, number> | undefined;
  /** Why it cannot be; undefined when it is as wanted. */
  problem(): string | undefined;
  stop(): void;
}

/** How often it is looked whether routes lead elsewhere, or somebody took something away. */
const lookEvery = Seconds(2);

/** Begins without backends; what an earlier run left stays until the first `settle`. */
export function createSourceReturn(parts: SourceReturnParts): SourceReturn {
  const { bpfFolder, logger, leaveWithin } = parts;
  const clock = parts.clock ?? systemClock;
  let program: SourceReturnProgram | undefined;
  let services: readonly SourcedService[] = [];
  /** Those of before, by their text, and since when. */
  const leaving = new Map<string, { readonly service: SourcedService; readonly since: number }>();
  /** Interfaces on which the program is, by index; undefined: what an earlier run has left is not known. */
  let attached: readonly number[] | undefined;
  let failure: string | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  let work: Promise<void> = Promise.resolve();

  /** One after another: looks must not overtake changes. */
  function alone(action: () => Promise<void>): Promise<void> {
    work = work.then(action);
    return work;
  }

  /** Those that are wanted, and those that leave. */
  function kept(): readonly SourcedService[] {
    for (const [text, { since }] of leaving) if (clock.now() - since >= leaveWithin()) leaving.delete(text);
    return [...services, ...[...leaving.values()].map(({ service }) => service)];
  }

  function follow(wanted: readonly SourcedService[]): void {
    const texts = new Set(wanted.map(serviceText));
    for (const service of services) {
      const text = serviceText(service);
      if (!texts.has(text)) leaving.set(text, { service, since: clock.now() });
    }
    for (const text of texts) leaving.delete(text);
    services = wanted;
  }

  async function place(all: readonly SourcedService[]): Promise<void> {
    if (program === undefined) return;
    const wanted = await interfacesTo(all.map(({ address }) => address));
    const names = [...wanted].map(interfaceName).filter((name) => name !== '');
    for (const index of wanted) program.attach(index);
    await replaceSourceRouting(names);
    const before = attached ?? (await allInterfaces());
    attached = [...wanted];
    for (const index of before) if (!wanted.has(index)) detachSourceReturn(index);
  }

  async function apply(): Promise<void> {
    const all = kept();
    try {
      if (all.length === 0) await remove();
      else {
        program ??= openSourceReturn(bpfFolder);
        await place(all);
        program.replace(all);
      }
      note(undefined);
    } catch (error) {
      note(error);
    }
    timer?.cancel();
    const isOver = all.length === 0 && failure === undefined;
    timer = stopped || isOver ? undefined : clock.after(lookEvery, () => void alone(apply));
  }

  async function remove(): Promise<void> {
    if (attached === undefined && !hasSourceReturnPins(bpfFolder)) {
      attached = [];
      return;
    }
    // Also where it was put before something failed.
    for (const index of await allInterfaces()) detachSourceReturn(index);
    await replaceSourceRouting([]);
    unpinSourceReturn(bpfFolder);
    program?.close();
    program = undefined;
    attached = [];
  }

  function note(error: unknown): void {
    const text = error === undefined ? undefined : error instanceof Error ? error.message : String(error);
    if (text !== undefined && text !== failure)
      logger.error(
        { err: error },
        "the way back of proxied connections from clients' addresses cannot be kept",
      );
    failure = text;
  }

  return {
    async settle(wanted) {
      const isSame = wanted.map(serviceText).sort().join() === services.map(serviceText).sort().join();
      if (isSame && attached !== undefined && failure === undefined) return;
      follow(wanted);
      await alone(apply);
    },
    results: () => program?.read(),
    problem: () => failure,
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}

/** Takes all of it off a host, also without a daemon. Rejects with SyscallError. */
export async function removeSourceReturn(bpfFolder: string): Promise<void> {
  if (!hasSourceReturnPins(bpfFolder)) return;
  for (const index of await allInterfaces()) detachSourceReturn(index);
  await replaceSourceRouting([]);
  unpinSourceReturn(bpfFolder);
}

/** Indices of the interfaces by which the host reaches these addresses; one without a route has none. */
async function interfacesTo(addresses: readonly IpAddress[]): Promise<ReadonlySet<number>> {
  const distinct = new Map(addresses.map((address) => [formatIpAddress(address), address]));
  const indices = new Set<number>();
  const rtnetlink = openRtnetlink();
  try {
    for (const address of distinct.values()) {
      const route = await rtnetlink.routeTo(address).catch((error: unknown) => {
        if (error instanceof SyscallError) return undefined;
        throw error;
      });
      if (route?.type === routeType.unicast && route.interfaceIndex !== undefined)
        indices.add(route.interfaceIndex);
    }
    return indices;
  } finally {
    rtnetlink.close();
  }
}

async function allInterfaces(): Promise<readonly number[]> {
  const rtnetlink = openRtnetlink();
  try {
    return (await rtnetlink.links()).map(({ index }) => index);
  } finally {
    rtnetlink.close();
  }
}
