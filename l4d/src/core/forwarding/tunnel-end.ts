import type { IpAddress } from '@l4d/kit/ip-address.ts';

/** Kinds of ICMP errors about outer packets, in the order of `enum path_error`. */
export const pathErrors = ['too-big', 'unreachable', 'time-exceeded', 'other'] as const;

/** One of them. */
export type PathError = (typeof pathErrors)[number];

/** An end of tunnels as the kernel has it (`struct tunnel_end`): what routers have said of the way there. */
export interface TunnelEnd {
  /** Number of the interface by which it is reached. */
  readonly egress: number;
  /** The MTU that was learned, and the tick when; undefined when nothing ever was. */
  readonly learned: { readonly mtu: number; readonly tick: number } | undefined;
  /** Errors since it was made. */
  readonly errors: Readonly<Record<PathError, number>>;
  /** The last of them. */
  readonly last:
    | { readonly tick: number; readonly type: number; readonly code: number; readonly reporter: IpAddress }
    | undefined;
}
