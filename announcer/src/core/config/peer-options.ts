import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import {
  choice,
  durationText,
  flag,
  integer,
  ipv4AddressText,
  ipv6AddressText,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { maxKeyBytes } from '../security.ts';
import { policySchema } from './route-attributes.ts';
import { secretFileText, secretText } from './secret.ts';

/** Options of a BGP neighbour; without them a session is plain BGP-4. */
export const peerOptionsShape = {
  /** TCP MD5 (RFC 2385). */
  password: secretText('a password', maxKeyBytes).exactOptional(),
  /** In place of the password: the file that has it, read again when it changes. */
  passwordFile: secretFileText.exactOptional(),
  /** TCP-AO (RFC 5925), where the kernel has it. */
  tcpAo: z
    .strictObject({
      key: secretText('a key', maxKeyBytes).exactOptional(),
      /** In place of the key: the file that has it. */
      keyFile: secretFileText.exactOptional(),
      sendId: integer('a key id', 0, 255),
      receiveId: integer('a key id', 0, 255),
      algorithm: choice('an algorithm', ['hmac(sha1)', 'cmac(aes128)']).prefault('hmac(sha1)'),
    })
    .exactOptional(),
  /** TTL of what is sent; 1 to routers of another AS, 64 inside ours. */
  ttl: integer('a TTL', 1, 255).exactOptional(),
  /** GTSM (RFC 5082): the router is at most so many hops away; 1 is on the same link. */
  ttlSecurityHops: integer('a number of hops', 1, 254).exactOptional(),
  /** fast: a dead announcer takes its routes with it; continuity: the router keeps them (RFC 4724). */
  promise: choice('a promise', ['fast', 'continuity']).exactOptional(),
  /** With continuity: how long routes are kept; 2m by default. */
  restartTime: durationText(Seconds(1), Seconds(4095)).exactOptional(),
  /** With continuity: how long routers with RFC 9494 keep the routes after that; not at all by default. */
  longLivedGracefulRestart: durationText(Seconds(1), Seconds(16_777_215)).exactOptional(),
  /** How long GRACEFUL_SHUTDOWN (RFC 8326) stands before a planned stop; not at all by default. */
  gracefulShutdown: durationText(Milliseconds(0), Seconds(600)).exactOptional(),
  /** RFC 8654. */
  extendedMessages: flag().exactOptional(),
  /** RFC 7313. */
  enhancedRouteRefresh: flag().exactOptional(),
  /** OPEN in the form of RFC 9072 also where it need not be. */
  extendedOptionalParameters: flag().exactOptional(),
  /** Several paths of a prefix (RFC 7911); only sent. */
  addPath: flag().exactOptional(),
  /** IPv4 VIPs with IPv6 next hops (RFC 8950); on by itself where the neighbour has a link-local address. */
  extendedNextHop: flag().exactOptional(),
  /** What we are to the router (RFC 9234). */
  role: choice('a role', ['provider', 'customer', 'peer', 'rs', 'rs-client']).exactOptional(),
  /** A router without a role is refused. */
  roleStrict: flag().exactOptional(),
  /** Waits so long for the router's OPEN (RFC 4271 section 8.1.1). */
  delayOpen: durationText(Milliseconds(0), Seconds(120)).exactOptional(),
  /** Stays idle so long after a session has failed, longer after each further failure. */
  idleHold: durationText(Milliseconds(0), Seconds(600)).exactOptional(),
  /** More prefixes from the router end the session. */
  maxPrefixesReceived: integer('a number of prefixes', 1, 1_000_000).exactOptional(),
  /** Next hops told to this router, in place of host.nextHops. */
  nextHops: z
    .strictObject({ ipv4: ipv4AddressText.exactOptional(), ipv6: ipv6AddressText.exactOptional() })
    .exactOptional(),
  /** Our own address on the session as next hop, in place of host.nextHops. */
  nextHopSelf: flag().exactOptional(),
  policy: policySchema.exactOptional(),
};
