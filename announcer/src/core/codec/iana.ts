/**
 * Numbers that IANA assigns for BGP, in one place. Sources: "BGP Parameters", "Capability Codes",
 * "Address Family Numbers", "SAFI Values". What l4d does not act on is here for its name only.
 */

/** Message types (RFC 4271 section 4.1; RFC 2918 for ROUTE-REFRESH). */
export const messageType = { open: 1, update: 2, notification: 3, keepalive: 4, routeRefresh: 5 } as const;

/** NOTIFICATION error codes (RFC 4271 section 4.5; RFC 7313; RFC 9687). */
export const errorCode = {
  messageHeader: 1,
  open: 2,
  update: 3,
  holdTimerExpired: 4,
  finiteStateMachine: 5,
  cease: 6,
  routeRefresh: 7,
  sendHoldTimerExpired: 8,
} as const;

/** Subcodes of error code 1. */
export const headerSubcode = {
  connectionNotSynchronized: 1,
  badMessageLength: 2,
  badMessageType: 3,
} as const;

/** Subcodes of error code 2. */
export const openSubcode = {
  unspecific: 0,
  unsupportedVersion: 1,
  badPeerAs: 2,
  badBgpIdentifier: 3,
  unsupportedOptionalParameter: 4,
  unacceptableHoldTime: 6,
  unsupportedCapability: 7,
  /** RFC 9234. */
  roleMismatch: 11,
} as const;

/** Subcodes of error code 3. */
export const updateSubcode = {
  malformedAttributeList: 1,
  unrecognizedWellKnownAttribute: 2,
  missingWellKnownAttribute: 3,
  attributeFlagsError: 4,
  attributeLengthError: 5,
  invalidOrigin: 6,
  invalidNextHop: 8,
  optionalAttributeError: 9,
  invalidNetworkField: 10,
  malformedAsPath: 11,
} as const;

/** Subcodes of error code 5 (RFC 6608). */
export const fsmSubcode = { unspecified: 0, inOpenSent: 1, inOpenConfirm: 2, inEstablished: 3 } as const;

/** Subcodes of error code 6 (RFC 4486, 8538, 9384). */
export const ceaseSubcode = {
  maximumPrefixes: 1,
  administrativeShutdown: 2,
  peerDeconfigured: 3,
  administrativeReset: 4,
  connectionRejected: 5,
  otherConfigurationChange: 6,
  connectionCollision: 7,
  outOfResources: 8,
  hardReset: 9,
  bfdDown: 10,
} as const;

/** Subcodes of error code 7 (RFC 7313). */
export const routeRefreshSubcode = { invalidMessageLength: 1 } as const;

const errorNames: Readonly<Record<number, readonly [string, Readonly<Record<number, string>>]>> = {
  1: [
    'Message Header Error',
    { 1: 'Connection Not Synchronized', 2: 'Bad Message Length', 3: 'Bad Message Type' },
  ],
  2: [
    'OPEN Message Error',
    {
      1: 'Unsupported Version Number',
      2: 'Bad Peer AS',
      3: 'Bad BGP Identifier',
      4: 'Unsupported Optional Parameter',
      6: 'Unacceptable Hold Time',
      7: 'Unsupported Capability',
      11: 'Role Mismatch',
    },
  ],
  3: [
    'UPDATE Message Error',
    {
      1: 'Malformed Attribute List',
      2: 'Unrecognized Well-known Attribute',
      3: 'Missing Well-known Attribute',
      4: 'Attribute Flags Error',
      5: 'Attribute Length Error',
      6: 'Invalid ORIGIN Attribute',
      8: 'Invalid NEXT_HOP Attribute',
      9: 'Optional Attribute Error',
      10: 'Invalid Network Field',
      11: 'Malformed AS_PATH',
    },
  ],
  4: ['Hold Timer Expired', {}],
  5: [
    'Finite State Machine Error',
    {
      1: 'Unexpected Message in OpenSent',
      2: 'Unexpected Message in OpenConfirm',
      3: 'Unexpected Message in Established',
    },
  ],
  6: [
    'Cease',
    {
      1: 'Maximum Number of Prefixes Reached',
      2: 'Administrative Shutdown',
      3: 'Peer De-configured',
      4: 'Administrative Reset',
      5: 'Connection Rejected',
      6: 'Other Configuration Change',
      7: 'Connection Collision Resolution',
      8: 'Out of Resources',
      9: 'Hard Reset',
      10: 'BFD Down',
    },
  ],
  7: ['ROUTE-REFRESH Message Error', { 1: 'Invalid Message Length' }],
  8: ['Send Hold Timer Expired', {}],
};

/** `Cease / Administrative Shutdown`; numbers where IANA has no name. */
export function errorName(code: number, subcode: number): string {
  const [name, subcodes] = errorNames[code] ?? [`error ${code}`, {}];
  const detail = subcodes[subcode] ?? (subcode === 0 ? undefined : `subcode ${subcode}`);
  return detail === undefined ? name : `${name} / ${detail}`;
}

/** Path attribute type codes. */
export const attributeType = {
  origin: 1,
  asPath: 2,
  nextHop: 3,
  med: 4,
  localPref: 5,
  atomicAggregate: 6,
  aggregator: 7,
  communities: 8,
  originatorId: 9,
  clusterList: 10,
  mpReach: 14,
  mpUnreach: 15,
  extendedCommunities: 16,
  as4Path: 17,
  as4Aggregator: 18,
  largeCommunities: 32,
  bgpsecPath: 33,
  onlyToCustomer: 35,
} as const;

/** Bits of the attribute flags octet (RFC 4271 section 4.3). */
export const attributeFlag = {
  optional: 0x80,
  transitive: 0x40,
  partial: 0x20,
  extendedLength: 0x10,
} as const;

const { optional, transitive } = attributeFlag;

/** Optional and Transitive bits that each recognized attribute must carry. */
export const attributeFlags: Readonly<Record<number, number>> = {
  1: transitive,
  2: transitive,
  3: transitive,
  4: optional,
  5: transitive,
  6: transitive,
  7: optional | transitive,
  8: optional | transitive,
  9: optional,
  10: optional,
  14: optional,
  15: optional,
  16: optional | transitive,
  17: optional | transitive,
  18: optional | transitive,
  32: optional | transitive,
  35: optional | transitive,
};

/** Capability codes (RFC 5492 registry). */
export const capabilityCode = {
  multiprotocol: 1,
  routeRefresh: 2,
  extendedNextHop: 5,
  extendedMessage: 6,
  role: 9,
  gracefulRestart: 64,
  fourOctetAs: 65,
  addPath: 69,
  enhancedRouteRefresh: 70,
  longLivedGracefulRestart: 71,
} as const;

/** Optional parameter types of OPEN (RFC 5492, RFC 9072). */
export const optionalParameter = { capabilities: 2, extendedLength: 255 } as const;

/** Address family numbers. */
export const afi = { ipv4: 1, ipv6: 2 } as const;

/** Subsequent address family identifiers. */
export const safi = { unicast: 1 } as const;

/** Stands in two-octet fields for an AS number that needs four (RFC 6793 section 9). */
export const asTrans = 23456;
