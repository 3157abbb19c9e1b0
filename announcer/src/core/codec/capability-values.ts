/** Values of single capabilities: graceful restart, ADD-PATH, extended next hops, roles. */
import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import type { AddressFamily, Capability } from './capability.ts';
import { afi, capabilityCode, safi } from './iana.ts';

/** Graceful Restart (RFC 4724 section 3). */
export interface GracefulRestart {
  /** R: the speaker has restarted. */
  readonly restarted: boolean;
  /** N: NOTIFICATIONs other than a Hard Reset do not end the forwarding (RFC 8538 section 2). */
  readonly notification: boolean;
  /** Seconds that the speaker needs to come back, 0 to 4095. */
  readonly restartTimeSeconds: number;
  readonly families: readonly (AddressFamily & {
    /** F: forwarding went on during the restart. */
    readonly forwarding: boolean;
  })[];
}

const restartedBit = 0x8000;
const notificationBit = 0x4000;
const forwardingBit = 0x80;

/** The capability of a restarting or helping speaker. */
export function gracefulRestartCapability(value: GracefulRestart): Capability {
  const flags = (value.restarted ? restartedBit : 0) | (value.notification ? notificationBit : 0);
  const writer = new ByteWriter(2 + value.families.length * 4).u16(
    flags | (value.restartTimeSeconds & 0xfff),
  );
  for (const family of value.families) {
    writer
      .u16(family.afi)
      .u8(family.safi)
      .u8(family.forwarding ? forwardingBit : 0);
  }
  return { code: capabilityCode.gracefulRestart, value: writer.finish() };
}

/**
 * Graceful Restart of a peer. RFC 4724 section 3: of more than one instance the last counts. Undefined when there is
 * none, or one whose length is not 2 octets and 4 for each family.
 */
export function gracefulRestartOf(capabilities: readonly Capability[]): GracefulRestart | undefined {
  const value = capabilities.findLast(({ code }) => code === capabilityCode.gracefulRestart)?.value;
  if (value === undefined || value.length % 4 !== 2) return undefined;
  const reader = new ByteReader(value);
  const head = reader.u16() ?? 0;
  const families: { afi: number; safi: number; forwarding: boolean }[] = [];
  while (reader.remaining > 0) {
    const family = { afi: reader.u16() ?? 0, safi: reader.u8() ?? 0 };
    families.push({ ...family, forwarding: ((reader.u8() ?? 0) & forwardingBit) !== 0 });
  }
  return {
    restarted: (head & restartedBit) !== 0,
    notification: (head & notificationBit) !== 0,
    restartTimeSeconds: head & 0xfff,
    families,
  };
}

/** Long-lived stale time of a family (RFC 9494 section 4.1). */
export type LongLivedFamily = AddressFamily & {
  /** F: forwarding went on during the restart. */
  readonly forwarding: boolean;
  /** Seconds that stale routes may be kept after the restart time, 0 to 16777215. */
  readonly staleTimeSeconds: number;
};

/** Long-Lived Graceful Restart (RFC 9494 section 4.1); without families: only a helper. */
export function longLivedCapability(families: readonly LongLivedFamily[]): Capability {
  const writer = new ByteWriter(families.length * 7);
  for (const { afi, safi, forwarding, staleTimeSeconds } of families) {
    writer
      .u16(afi)
      .u8(safi)
      .u8(forwarding ? forwardingBit : 0);
    writer.u8(staleTimeSeconds >> 16).u16(staleTimeSeconds & 0xffff);
  }
  return { code: capabilityCode.longLivedGracefulRestart, value: writer.finish() };
}

/**
 * Long-lived stale times of a peer; undefined when it says none, or none that is well-formed. RFC 9494 section 4.1:
 * "If the Long-Lived Graceful Restart Capability is received without an accompanying Graceful Restart Capability,
 * the Long-Lived Graceful Restart Capability MUST be ignored".
 */
export function longLivedOf(capabilities: readonly Capability[]): LongLivedFamily[] | undefined {
  if (gracefulRestartOf(capabilities) === undefined) return undefined;
  const value = capabilities.findLast(({ code }) => code === capabilityCode.longLivedGracefulRestart)?.value;
  if (value === undefined || value.length % 7 !== 0) return undefined;
  const reader = new ByteReader(value);
  const families: LongLivedFamily[] = [];
  while (reader.remaining > 0) {
    const family = { afi: reader.u16() ?? 0, safi: reader.u8() ?? 0 };
    const forwarding = ((reader.u8() ?? 0) & forwardingBit) !== 0;
    const staleTimeSeconds = (reader.u8() ?? 0) * 0x10000 + (reader.u16() ?? 0);
    families.push({ ...family, forwarding, staleTimeSeconds });
  }
  return families;
}

/** Bits of Send/Receive in ADD-PATH (RFC 7911 section 4). */
const addPathBit = { receive: 1, send: 2 } as const;

/** ADD-PATH, to send several paths of families (RFC 7911 section 4). */
export function addPathSendCapability(families: readonly AddressFamily[]): Capability {
  const writer = new ByteWriter(families.length * 4);
  for (const family of families) writer.u16(family.afi).u8(family.safi).u8(addPathBit.send);
  return { code: capabilityCode.addPath, value: writer.finish() };
}

/** Families of which a peer takes several paths. RFC 7911 section 4: values other than 1 to 3 are ignored. */
export function addPathReceivers(capabilities: readonly Capability[]): AddressFamily[] {
  return capabilities
    .filter(({ code, value }) => code === capabilityCode.addPath && value.length % 4 === 0)
    .flatMap(({ value }) => {
      const reader = new ByteReader(value);
      const found: AddressFamily[] = [];
      while (reader.remaining > 0) {
        const family = { afi: reader.u16() ?? 0, safi: reader.u8() ?? 0 };
        const ways = reader.u8() ?? 0;
        if (ways <= 3 && (ways & addPathBit.receive) !== 0) found.push(family);
      }
      return found;
    });
}

/** Extended Next Hop: IPv4 unicast with IPv6 next hops (RFC 8950 section 4). */
export const extendedNextHopCapability: Capability = {
  code: capabilityCode.extendedNextHop,
  value: new ByteWriter(6).u16(afi.ipv4).u16(safi.unicast).u16(afi.ipv6).finish(),
};

/** Whether a peer takes IPv4 unicast with IPv6 next hops. */
export function takesExtendedNextHop(capabilities: readonly Capability[]): boolean {
  return capabilities.some(({ code, value }) => {
    if (code !== capabilityCode.extendedNextHop || value.length % 6 !== 0) return false;
    const reader = new ByteReader(value);
    while (reader.remaining > 0) {
      const [family, subsequent, nextHop] = [reader.u16(), reader.u16(), reader.u16()];
      if (family === afi.ipv4 && subsequent === safi.unicast && nextHop === afi.ipv6) return true;
    }
    return false;
  });
}

/** Roles by their numbers in the capability (RFC 9234 section 4.1). */
export const roleNumbers = { provider: 0, rs: 1, 'rs-client': 2, customer: 3, peer: 4 } as const;

/** A role of RFC 9234: what we are to the peer. */
export type RoleName = keyof typeof roleNumbers;

/** BGP Role (RFC 9234 section 4.1). */
export function roleCapability(role: RoleName): Capability {
  return { code: capabilityCode.role, value: Uint8Array.of(roleNumbers[role]) };
}

/**
 * Role number of a peer; undefined when it says none. RFC 9234 section 4.2: several capabilities with different
 * values are a mismatch ("conflict").
 */
export function roleOf(capabilities: readonly Capability[]): number | 'conflict' | undefined {
  const found = capabilities.filter(({ code, value }) => code === capabilityCode.role && value.length === 1);
  const values = new Set(found.map(({ value }) => value[0] ?? 0));
  if (values.size > 1) return 'conflict';
  return found[0]?.value[0];
}

/** Which role the other side must have (RFC 9234 section 4.2). */
export const roleCounterpart: Readonly<Record<RoleName, RoleName>> = {
  provider: 'customer',
  customer: 'provider',
  rs: 'rs-client',
  'rs-client': 'rs',
  peer: 'peer',
};

/** Extended Message (RFC 8654 section 3). */
export const extendedMessageCapability: Capability = {
  code: capabilityCode.extendedMessage,
  value: new Uint8Array(0),
};

/** Enhanced Route Refresh (RFC 7313 section 3.1). */
export const enhancedRouteRefreshCapability: Capability = {
  code: capabilityCode.enhancedRouteRefresh,
  value: new Uint8Array(0),
};

/** Whether a capability without a value is there. */
export function hasCapability(capabilities: readonly Capability[], wanted: Capability): boolean {
  return capabilities.some(({ code, value }) => code === wanted.code && value.length === 0);
}
