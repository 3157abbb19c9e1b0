import { networkInterfaces } from 'node:os';
import { ConfigError, exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { maskAddress, prefixContains } from '@l4d/kit/ip-prefix.ts';
import { ok } from '@l4d/kit/result.ts';
import { parseYaml } from '@l4d/kit/schema/yaml-document.ts';
import { readTextFile } from '@l4d/kit/text-file.ts';
import type { NextHops } from '../../core/config/peer-input.ts';
import { documentOf, type SidecarFlags } from '../core/command-line.ts';
import { parseSidecarConfig, type SidecarConfig } from '../core/config.ts';

/** Largest file read. */
const maxConfigBytes = 4 * 1024 * 1024;

/** The configuration of a file, of flags, or of both. Throws ConfigError for what is wrong in it, OperatorError otherwise. */
export async function loadConfig(path: string | undefined, flags: SidecarFlags): Promise<SidecarConfig> {
  if (path === undefined) return decode(undefined, flags, undefined);
  let text: string;
  try {
    text = await readTextFile(path, maxConfigBytes);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new ConfigError([{ path: '', message: `cannot be read: ${message}` }], path);
  }
  const hasFlags = Object.values(flags).some((value) => value !== undefined);
  // Positions are those of the file: only what is in it alone can have one.
  const parsed = parseYaml(
    text,
    path,
    (json) => (hasFlags ? ok(json) : parseSidecarConfig(json)),
    'as, peers and services',
  );
  if (!parsed.ok) throw parsed.error;
  return hasFlags ? decode(parsed.value.json, flags, path) : (parsed.value.value as SidecarConfig);
}

function decode(json: unknown, flags: SidecarFlags, source: string | undefined): SidecarConfig {
  const document = documentOf(json, flags);
  if (!document.ok) throw new OperatorError(document.error, exitCode.usage);
  const config = parseSidecarConfig(document.value);
  if (!config.ok) throw new ConfigError(config.error, source);
  return config.value;
}

/** The host's first IPv4 address that is not loopback. Throws OperatorError when there is none. */
export function findRouterId(): IpAddress {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { family, address, internal } of addresses ?? []) {
      const parsed = parseIpAddress(address);
      if (family === 'IPv4' && !internal && parsed.ok) return parsed.value;
    }
  }
  throw new OperatorError(
    'routerId: this host has no IPv4 address to take (needed: routerId, such as 192.0.2.21)',
    exitCode.config,
  );
}

/**
 * Where routers are to send what the session's own address cannot say: IPv6 VIPs told over IPv4, and the reverse. Of
 * the interface on whose subnet a neighbour is, else of the first that has one; link-local addresses do not count.
 */
export function findNextHops({ peers }: SidecarConfig): NextHops {
  const interfaces = Object.values(networkInterfaces()).map((addresses) =>
    (addresses ?? []).filter(({ internal, address }) => !internal && !/^fe[89ab]/i.test(address)),
  );
  const isNear = (cidr: string | null) => {
    const [text = '', length = ''] = cidr?.split('/') ?? [];
    const own = parseIpAddress(text);
    if (!own.ok) return false;
    const subnet = { address: maskAddress(own.value, Number(length)), length: Number(length) };
    return peers.some(({ address }) => address !== undefined && prefixContains(subnet, address));
  };
  const sorted = interfaces.toSorted(
    (one, other) =>
      Number(other.some(({ cidr }) => isNear(cidr))) - Number(one.some(({ cidr }) => isNear(cidr))),
  );
  const first = (family: 'IPv4' | 'IPv6') => sorted.flat().find((found) => found.family === family)?.address;
  return { ipv4: first('IPv4'), ipv6: first('IPv6') };
}
