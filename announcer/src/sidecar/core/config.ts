/** What a sidecar is told: who it speaks as, to whom, and for which services. One schema for file, flags and environment. */
import { type LocalCheck, localCheckSchema } from '@l4d/health/core/local-check.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress, ipAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { decodeWith } from '@l4d/kit/schema/decode.ts';
import { duplicates } from '@l4d/kit/schema/duplicates.ts';
import { type PathProblem, problemAt, showValue } from '@l4d/kit/schema/problem.ts';
import {
  choice,
  durationText,
  endpointText,
  flag,
  ipAddressText,
  ipv4AddressText,
  list,
  portNumber,
  text,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { asNumber } from '../../core/config/as-number.ts';
import { peerSchema } from '../../core/config/peer.ts';
import { checkPeers } from '../../core/config/peer-rules.ts';
import { type Announce, announceSchema } from '../../core/config/route-attributes.ts';

/** What becomes of a VIP that is not to be used: withdrawn, or announced as a worse way. */
const fallback = z.union([z.literal('withdraw'), announceSchema], {
  error: ({ input }) =>
    `${showValue(input)} is neither "withdraw" nor attributes (allowed: withdraw, or such as { med: 1000 })`,
});

const serviceSchema = z.strictObject({
  name: text('a name', /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, '1 to 63 of A-Z a-z 0-9 . _ -'),
  /** Addresses that the service answers at, announced as /32 and /128. */
  vips: list(ipAddressText, 'addresses').min(1, { error: 'is empty (needed: at least one address)' }),
  /** Port of the service, for checks that name none. */
  port: portNumber.exactOptional(),
  /** Where checks ask; by default this host. */
  address: ipAddressText.prefault('127.0.0.1'),
  /** All of them must be good. */
  checks: list(localCheckSchema, 'checks').min(1, { error: 'is empty (needed: at least one check)' }),
  /** Withdraw when the kernel says that the service's listening socket has ended, without waiting for a check. */
  watch: flag().prefault(true),
  /**
   * `add`: on lo while it is announced; `keep`: as long as the sidecar runs; `none`: the addresses are somebody
   * else's care.
   */
  loopback: choice('a choice', ['add', 'keep', 'none']).prefault('add'),
  /** The address stays on lo so long after the withdraw: routers still send meanwhile. */
  linger: durationText(Milliseconds(0), Seconds(3600)).prefault('2s'),
  announce: announceSchema.prefault({}),
  /** When a check is bad. */
  whenDown: fallback.prefault('withdraw'),
  /** In maintenance. */
  whenMaintenance: fallback.prefault('withdraw'),
});

const fileSchema = z.strictObject({
  version: z.literal(1, { error: 'is not 1, the only version there is' }).prefault(1),
  as: asNumber,
  /** Own BGP identifier; by default the host's first IPv4 address. */
  routerId: ipv4AddressText.exactOptional(),
  /** Whether routers may open the session (port 179). */
  listen: flag().prefault(false),
  /** GRACEFUL_SHUTDOWN (RFC 8326) stands so long before a withdraw by intent. */
  gracefulShutdown: durationText(Milliseconds(0), Seconds(600)).prefault('2s'),
  /** Where /metrics and /healthz are served. */
  metrics: endpointText.exactOptional(),
  peers: list(peerSchema, 'neighbours').min(1, { error: 'is empty (needed: at least one neighbour)' }),
  services: list(serviceSchema, 'services').min(1, { error: 'is empty (needed: at least one service)' }),
});

/** A service and its addresses. */
export interface Service extends Omit<z.output<typeof serviceSchema>, 'checks'> {
  readonly checks: readonly LocalCheck[];
}

/** What a sidecar does. */
export interface SidecarConfig extends Omit<z.output<typeof fileSchema>, 'services'> {
  readonly services: readonly Service[];
}

/** Attributes of an announcement. */
export type Attributes = Announce;

/** Reads a document; its problems tell where and what is allowed. */
export function parseSidecarConfig(json: unknown): Result<SidecarConfig, PathProblem[]> {
  const decoded = decodeWith(fileSchema, json);
  if (!decoded.ok) return decoded;
  const config = decoded.value;
  // The router id is the shell's to find when it is not given; it is none that the rules would refuse.
  const speaker = { ...config, routerId: config.routerId ?? ipAddress('192.0.2.1') };
  const problems = [...checkPeers(config.peers, speaker, []), ...checkServices(config.services)];
  return problems.length === 0 ? ok(config) : err(problems);
}

function checkServices(services: readonly Service[]): PathProblem[] {
  const problems = duplicates(
    services,
    ({ name }) => name,
    ({ name }, { at, index }) => problemAt([...at, 'name'], `"${name}" is already services[${index}]`),
    'services',
  );
  const owners = new Map<string, string>();
  for (const [index, service] of services.entries()) {
    const at = ['services', index] as const;
    for (const [place, vip] of service.vips.entries()) {
      const where = [...at, 'vips', place];
      const shown = formatIpAddress(vip);
      const owner = owners.get(shown);
      if (owner !== undefined) problems.push(problemAt(where, `${shown} is already a VIP of "${owner}"`));
      owners.set(shown, service.name);
      const reason = unusable(vip);
      if (reason !== undefined) problems.push(problemAt(where, `${shown} is ${reason}, which no VIP can be`));
    }
    const asksItself = service.vips.some((vip) => sameIpAddress(vip, service.address));
    if (asksItself && service.loopback === 'add') {
      const shown = formatIpAddress(service.address);
      const message = `${shown} is a VIP that is on lo only while it is announced: before that another host would answer`;
      problems.push(problemAt([...at, 'address'], message, 'leave it out, or loopback: keep'));
    }
    for (const [place, check] of service.checks.entries()) {
      const where = [...at, 'checks', place];
      if (needsPort(check) && service.port === undefined) {
        const message = 'names no port, and neither does the service';
        problems.push(problemAt(where, message, 'set port, on the check or on the service'));
      }
    }
  }
  return problems;
}

/** Whether a check asks at a port that it does not name itself. */
function needsPort(check: LocalCheck): boolean {
  if (check.type === 'exec' || check.type === 'none') return false;
  return check.port === undefined;
}

function unusable({ family, bytes }: IpAddress): string | undefined {
  const first = bytes[0] ?? 0;
  if (bytes.every((byte) => byte === 0)) return 'the unspecified address';
  if (family === 4 && first === 127) return 'a loopback address';
  if (family === 4 && first >= 224) return 'a multicast or reserved address';
  if (family === 6 && first === 0xff) return 'a multicast address';
  if (family === 6 && first === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80) return 'a link-local address';
  if (family === 6 && bytes.every((byte, index) => byte === (index === 15 ? 1 : 0)))
    return 'a loopback address';
  return undefined;
}
