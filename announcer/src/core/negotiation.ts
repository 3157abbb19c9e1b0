import { formatIpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { twoOctetAs } from './codec/as-path.ts';
import {
  type AddressFamily,
  type Capability,
  fourOctetAsCapability,
  fourOctetAsNumber,
  multiprotocolCapability,
  multiprotocolFamilies,
  routeRefreshCapability,
} from './codec/capability.ts';
import {
  addPathReceivers,
  addPathSendCapability,
  enhancedRouteRefreshCapability,
  extendedMessageCapability,
  extendedNextHopCapability,
  gracefulRestartCapability,
  gracefulRestartOf,
  hasCapability,
  longLivedCapability,
  longLivedOf,
  type RoleName,
  roleCapability,
  roleCounterpart,
  roleNumbers,
  roleOf,
  takesExtendedNextHop,
} from './codec/capability-values.ts';
import { afi, asTrans, capabilityCode, errorCode, openSubcode, safi } from './codec/iana.ts';
import { describeNotification, type NotificationMessage, notification } from './codec/notification.ts';
import { type OpenMessage, openCapabilities } from './codec/open.ts';
import type { RouteRefreshMessage } from './codec/route-refresh.ts';

/** Families by the names of the API. */
export type FamilyName = 'ipv4' | 'ipv6';

/** What both sides of a session have to agree on, from our side. */
export interface SessionSettings {
  readonly localAs: number;
  /** Our BGP Identifier, unsigned 32 bits. */
  readonly routerId: number;
  /** `external`: any other than ours. */
  readonly peerAs: number | 'external';
  /** Seconds: 0, or 3 to 65535. */
  readonly holdTimeSeconds: number;
  readonly families: readonly FamilyName[];
  /** Routers shall keep our routes for so long when we are away (RFC 4724); 1 to 4095. */
  readonly restartTimeSeconds?: number;
  /** And for so long after that, as routes of last resort (RFC 9494); 1 to 16777215. */
  readonly longLivedSeconds?: number;
  /** RFC 8654. */
  readonly extendedMessages?: boolean;
  /** RFC 7313. */
  readonly enhancedRouteRefresh?: boolean;
  /** RFC 9072 also where it need not be. */
  readonly extendedOptionalParameters?: boolean;
  /** RFC 8950. */
  readonly extendedNextHop?: boolean;
  /** RFC 7911, to send. */
  readonly addPath?: boolean;
  /** RFC 9234. */
  readonly role?: RoleName;
  readonly roleStrict?: boolean;
}

/** What the two OPEN messages amount to. */
export interface Negotiated {
  /** Seconds; 0: neither hold timer nor keepalives. */
  readonly holdTimeSeconds: number;
  readonly remoteAs: number;
  readonly fourOctetAs: boolean;
  readonly internal: boolean;
  /** Families that both sides have announced. */
  readonly families: readonly FamilyName[];
  readonly remoteRouterId: number;
  /** The peer waits for End-of-RIB (RFC 4724 section 2). */
  readonly endOfRib?: boolean;
  /** Both sides have announced graceful restart. */
  readonly gracefulRestart?: {
    /** RFC 8538: on both sides; then a Hard Reset is what ends it. */
    readonly notification: boolean;
    readonly peerRestartTimeSeconds: number;
    readonly peerRestarted: boolean;
    /** RFC 9494: on both sides. */
    readonly longLived?: true;
  };
  readonly extendedMessages?: boolean;
  readonly enhancedRouteRefresh?: boolean;
  readonly extendedNextHop?: boolean;
  /** Families whose prefixes go with path identifiers. */
  readonly addPath?: readonly FamilyName[];
}

/** An OPEN that is not acceptable: what to send, and what to tell the operator. */
export interface OpenRefusal {
  readonly notification: NotificationMessage;
  readonly text: string;
}

const familyOf: Readonly<Record<FamilyName, AddressFamily>> = {
  ipv4: { afi: afi.ipv4, safi: safi.unicast },
  ipv6: { afi: afi.ipv6, safi: safi.unicast },
};

/** The name of a family, undefined for those that l4d does not announce. */
export function familyName(family: AddressFamily): FamilyName | undefined {
  if (family.safi !== safi.unicast) return undefined;
  if (family.afi === afi.ipv4) return 'ipv4';
  return family.afi === afi.ipv6 ? 'ipv6' : undefined;
}

/** Our OPEN. `restarted`: this process has had no session with the peer yet (the R bit of RFC 4724). */
export function makeOpen(settings: SessionSettings, restarted = false): OpenMessage {
  const families = settings.families.map((family) => familyOf[family]);
  const optional: Capability[] = [];
  if (settings.restartTimeSeconds !== undefined) {
    optional.push(
      gracefulRestartCapability({
        restarted,
        notification: true,
        restartTimeSeconds: settings.restartTimeSeconds,
        // Packets are forwarded by programs in the kernel, whether this process lives or not.
        families: families.map((family) => ({ ...family, forwarding: true })),
      }),
    );
  }
  const { longLivedSeconds: staleTimeSeconds } = settings;
  // RFC 9494 section 4.1: of no effect without Graceful Restart.
  if (settings.restartTimeSeconds !== undefined && staleTimeSeconds !== undefined) {
    const longLived = families.map((family) => ({ ...family, forwarding: true, staleTimeSeconds }));
    optional.push(longLivedCapability(longLived));
  }
  if (settings.extendedMessages) optional.push(extendedMessageCapability);
  if (settings.enhancedRouteRefresh) optional.push(enhancedRouteRefreshCapability);
  if (settings.extendedNextHop) optional.push(extendedNextHopCapability);
  if (settings.addPath) optional.push(addPathSendCapability(families));
  // RFC 9234 section 4.1: between different AS alone.
  if (settings.role !== undefined && settings.localAs !== settings.peerAs) {
    optional.push(roleCapability(settings.role));
  }
  return {
    type: 'open',
    // RFC 6793 section 9: AS_TRANS where the number does not fit; the capability has the true one.
    myAs: twoOctetAs(settings.localAs),
    holdTimeSeconds: settings.holdTimeSeconds,
    routerId: settings.routerId,
    capabilityParameters: [
      [
        ...families.map(multiprotocolCapability),
        routeRefreshCapability,
        fourOctetAsCapability(settings.localAs),
        ...optional,
      ],
    ],
    extendedLength: settings.extendedOptionalParameters ?? false,
  };
}

/** Checks the peer's OPEN against what is configured (RFC 4271 section 6.2). */
export function acceptOpen(settings: SessionSettings, open: OpenMessage): Result<Negotiated, OpenRefusal> {
  const capabilities = openCapabilities(open);
  const fourOctet = fourOctetAsNumber(capabilities);
  // RFC 6793 section 4.1: the capability's number is the AS number of the peer.
  const remoteAs = fourOctet ?? open.myAs;
  // RFC 7607 section 2: AS 0 is Bad Peer AS, in the capability as in the field; AS_TRANS is nobody's number.
  if (remoteAs === 0 || remoteAs === asTrans) {
    return refuse(openSubcode.badPeerAs, `the peer says that it is AS ${remoteAs}, which no network has`);
  }
  // RFC 4271 section 6.2: "If the Autonomous System field of the OPEN message is unacceptable, then the Error
  // Subcode MUST be set to Bad Peer AS."
  const isExpected =
    settings.peerAs === 'external' ? remoteAs !== settings.localAs : remoteAs === settings.peerAs;
  if (!isExpected) {
    const configured = typeof settings.peerAs === 'number' ? `AS ${settings.peerAs}` : 'another AS than ours';
    return refuse(
      openSubcode.badPeerAs,
      `the peer says that it is AS ${remoteAs}, configured is ${configured}`,
    );
  }
  const internal = settings.localAs === settings.peerAs;
  // RFC 6286 section 2.2: for internal peers, an identifier equal to our own: Bad BGP Identifier.
  if (internal && open.routerId === settings.routerId) {
    return refuse(
      openSubcode.badBgpIdentifier,
      `the peer has our own router id ${formatRouterId(open.routerId)}`,
    );
  }
  const mismatch = internal ? undefined : roleMismatch(settings, capabilities);
  if (mismatch !== undefined) return refuse(openSubcode.roleMismatch, mismatch);
  const announced = multiprotocolFamilies(capabilities);
  const hasMultiprotocol = capabilities.some(({ code }) => code === capabilityCode.multiprotocol);
  // RFC 4760 section 8: a speaker without the capability exchanges IPv4 unicast alone.
  const theirs: readonly (FamilyName | undefined)[] = hasMultiprotocol ? announced.map(familyName) : ['ipv4'];
  const families = settings.families.filter((family) => theirs.includes(family));
  return ok({
    remoteAs,
    // RFC 4271 section 4.2: "calculate the value of the Hold Timer by using the smaller of its configured
    // Hold Time and the Hold Time received". Zero on either side turns the timers off.
    holdTimeSeconds: Math.min(settings.holdTimeSeconds, open.holdTimeSeconds),
    fourOctetAs: fourOctet !== undefined,
    internal,
    families,
    remoteRouterId: open.routerId,
    ...negotiateOptions(settings, capabilities, families),
  });
}

/** RFC 9234 section 4.2: "Role Mismatch" for pairs that do not fit, and in strict mode for no role at all. */
function roleMismatch(settings: SessionSettings, capabilities: readonly Capability[]): string | undefined {
  const { role, roleStrict } = settings;
  if (role === undefined) return undefined;
  const theirs = roleOf(capabilities);
  const wanted = roleCounterpart[role];
  if (theirs === undefined) {
    return roleStrict ? `the peer says no role, it must be ${wanted} to our ${role}` : undefined;
  }
  if (theirs === roleNumbers[wanted]) return undefined;
  const name = Object.entries(roleNumbers).find(([, number]) => number === theirs)?.[0] ?? String(theirs);
  return `the peer says role ${name}, it must be ${wanted} to our ${role}`;
}

/** What both sides have of the options; nothing that is off is in it. */
function negotiateOptions(
  settings: SessionSettings,
  capabilities: readonly Capability[],
  families: readonly FamilyName[],
): Partial<Negotiated> {
  const restart = gracefulRestartOf(capabilities);
  const both = (own: boolean | undefined, capability: Capability) =>
    own === true && hasCapability(capabilities, capability);
  const receivers = settings.addPath ? addPathReceivers(capabilities).map(familyName) : [];
  const addPath = families.filter((family) => receivers.includes(family));
  return {
    ...(restart === undefined ? {} : { endOfRib: true }),
    ...(restart === undefined || settings.restartTimeSeconds === undefined
      ? {}
      : {
          gracefulRestart: {
            notification: restart.notification,
            peerRestartTimeSeconds: restart.restartTimeSeconds,
            peerRestarted: restart.restarted,
            ...(settings.longLivedSeconds === undefined || longLivedOf(capabilities) === undefined
              ? {}
              : { longLived: true as const }),
          },
        }),
    ...(both(settings.extendedMessages, extendedMessageCapability) ? { extendedMessages: true } : {}),
    ...(both(settings.enhancedRouteRefresh, enhancedRouteRefreshCapability)
      ? { enhancedRouteRefresh: true }
      : {}),
    ...(settings.extendedNextHop && takesExtendedNextHop(capabilities) ? { extendedNextHop: true } : {}),
    ...(addPath.length === 0 ? {} : { addPath }),
  };
}

/** The marker before or after a refresh (RFC 7313 section 3.2). */
export function refreshMarker(family: FamilyName, which: 'begin' | 'end'): RouteRefreshMessage {
  const subtype = which === 'begin' ? 1 : 2;
  return { type: 'route-refresh', ...familyOf[family], subtype, filters: new Uint8Array(0) };
}

/** What is in force beside the families, by the names of the options. */
export function describeNegotiated(negotiated: Negotiated): string[] {
  const { gracefulRestart, extendedMessages, enhancedRouteRefresh, extendedNextHop, addPath } = negotiated;
  return [
    ...negotiated.families,
    ...(negotiated.fourOctetAs ? ['fourOctetAs'] : []),
    ...(gracefulRestart === undefined ? [] : ['gracefulRestart']),
    ...(gracefulRestart?.notification ? ['gracefulRestartNotification'] : []),
    ...(gracefulRestart?.longLived ? ['longLivedGracefulRestart'] : []),
    ...(extendedMessages ? ['extendedMessages'] : []),
    ...(enhancedRouteRefresh ? ['enhancedRouteRefresh'] : []),
    ...(extendedNextHop ? ['extendedNextHop'] : []),
    ...(addPath === undefined ? [] : ['addPath']),
  ];
}

/** Dotted quad of a BGP Identifier. */
export function formatRouterId(routerId: number): string {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, routerId);
  return formatIpAddress(ipAddressFromBytes(bytes));
}

function refuse(subcode: number, why: string): { readonly ok: false; readonly error: OpenRefusal } {
  const message = notification(errorCode.open, subcode);
  return err({ notification: message, text: `${describeNotification(message)}: ${why}` });
}
