import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { type PathError, pathErrors, type TunnelEnd } from './forwarding/tunnel-end.ts';
import type { PathStatus } from './status.ts';

/** A tick of the programs in milliseconds (FLOW_TICK_SHIFT of bpf/include/l4d.h). */
const tickMs = 2 ** 30 / 1e6;
/** What was learned of a way holds for so many ticks (PATH_MTU_TICKS). */
const learnedTicks = 560;
/** Errors that are older say nothing of now. */
const recentMs = 600_000;

/** What routers have said of the way to an end of tunnels, as of tick `now`; undefined when none has said anything. */
export function pathStatus(remote: IpAddress, end: TunnelEnd, now: number): PathStatus | undefined {
  const { learned, errors, last } = end;
  if (last === undefined) return undefined;
  const age = (tick: number) => Math.max(0, (now - tick) | 0);
  return {
    destination: formatIpAddress(remote),
    ...(learned === undefined || age(learned.tick) > learnedTicks ? {} : { mtu: learned.mtu }),
    errors,
    last: {
      type: last.type,
      code: last.code,
      reporter: formatIpAddress(last.reporter),
      agoMs: Math.round(age(last.tick) * tickMs),
    },
  };
}

/** The counts in words, such as `3 too-big, 1 unreachable`. */
export function pathErrorText(errors: Readonly<Record<PathError, number>>): string {
  return pathErrors
    .filter((kind) => errors[kind] > 0)
    .map((kind) => `${errors[kind]} ${kind}`)
    .join(', ');
}

/** One way in words. */
export function pathText({ destination, mtu, errors, last }: PathStatus): string {
  const learned = mtu === undefined ? 'brought ' : `carries ${mtu} bytes; `;
  const when = `${Math.round(last.agoMs / 1000)} s ago from ${last.reporter}`;
  return `the way to ${destination} ${learned}ICMP errors: ${pathErrorText(errors)}, the last ${when} (type ${last.type}, code ${last.code})`;
}

/** Most ways that are warned of one by one. */
const mostWarnings = 8;

/** What an operator should do something about: reports of the last ten minutes. */
export function pathWarnings(paths: readonly PathStatus[]): string[] {
  const recent = paths.filter(({ mtu, last }) => mtu !== undefined || last.agoMs <= recentMs);
  const told = recent.slice(0, mostWarnings).map(pathText);
  return recent.length > mostWarnings
    ? [...told, `and of ${recent.length - mostWarnings} other ways behind this host`]
    : told;
}
