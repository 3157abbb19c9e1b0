import { formatIpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { twoOctetAs } from './codec/as-path.ts';
import {
  type AddressFamily,
  fourOctetAsCapability,
  fourOctetAsNumber,
  multiprotocolCapability,
  multiprotocolFamilies,
  routeRefreshCapability,
} from './codec/capability.ts';
import { afi, capabilityCode, errorCode, openSubcode, safi } from './codec/iana.ts';
import { describeNotification, type NotificationMessage, notification } from './codec/notification.ts';
import { type OpenMessage, openCapabilities } from './codec/open.ts';

/** Families by the names of the API. */
export type FamilyName = 'ipv4' | 'ipv6';

/** What both sides of a session have to agree on, from our side. */
export interface SessionSettings {
  readonly localAs: number;
  /** Our BGP Identifier, unsigned 32 bits. */
  readonly routerId: number;
  readonly peerAs: number;
  /** Seconds: 0, or 3 to 65535. */
  readonly holdTimeSeconds: number;
  readonly families: readonly FamilyName[];
}

/** What the two OPEN messages amount to. */
export interface Negotiated {
  /** Seconds; 0: neither hold timer nor keepalives. */
  readonly holdTimeSeconds: number;
  readonly fourOctetAs: boolean;
  readonly internal: boolean;
  /** Families that both sides have announced. */
  readonly families: readonly FamilyName[];
  readonly remoteRouterId: number;
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

/** Our OPEN. */
export function makeOpen(settings: SessionSettings): OpenMessage {
  return {
    type: 'open',
    // RFC 6793 section 9: AS_TRANS where the number does not fit; the capability has the true one.
    myAs: twoOctetAs(settings.localAs),
    holdTimeSeconds: settings.holdTimeSeconds,
    routerId: settings.routerId,
    capabilityParameters: [
      [
        ...settings.families.map((family) => multiprotocolCapability(familyOf[family])),
        routeRefreshCapability,
        fourOctetAsCapability(settings.localAs),
      ],
    ],
    extendedLength: false,
  };
}

/** Checks the peer's OPEN against what is configured (RFC 4271 section 6.2). */
export function acceptOpen(settings: SessionSettings, open: OpenMessage): Result<Negotiated, OpenRefusal> {
  const capabilities = openCapabilities(open);
  const fourOctet = fourOctetAsNumber(capabilities);
  // RFC 6793 section 4.1: the capability's number is the AS number of the peer.
  const remoteAs = fourOctet ?? open.myAs;
  // RFC 4271 section 6.2: "If the Autonomous System field of the OPEN message is unacceptable, then the Error
  // Subcode MUST be set to Bad Peer AS."
  if (remoteAs !== settings.peerAs) {
    return refuse(
      openSubcode.badPeerAs,
      `the peer says that it is AS ${remoteAs}, configured is AS ${settings.peerAs}`,
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
  const announced = multiprotocolFamilies(capabilities);
  const hasMultiprotocol = capabilities.some(({ code }) => code === capabilityCode.multiprotocol);
  // RFC 4760 section 8: a speaker without the capability exchanges IPv4 unicast alone.
  const theirs: readonly (FamilyName | undefined)[] = hasMultiprotocol ? announced.map(familyName) : ['ipv4'];
  return ok({
    // RFC 4271 section 4.2: "calculate the value of the Hold Timer by using the smaller of its configured
    // Hold Time and the Hold Time received". Zero on either side turns the timers off.
    holdTimeSeconds: Math.min(settings.holdTimeSeconds, open.holdTimeSeconds),
    fourOctetAs: fourOctet !== undefined,
    internal,
    families: settings.families.filter((family) => theirs.includes(family)),
    remoteRouterId: open.routerId,
  });
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
