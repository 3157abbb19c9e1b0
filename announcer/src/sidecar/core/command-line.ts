/** Flags and environment of the sidecar -> the document that a file would hold. */
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { flagName } from './flags.ts';

/** What was given; undefined: not given. Lists are in the order given. */
export interface SidecarFlags {
  readonly as?: string;
  readonly routerId?: string;
  /** `ADDRESS@AS`. */
  readonly peer?: readonly string[];
  readonly bfd?: boolean;
  readonly passwordFile?: string;
  readonly promise?: string;
  readonly metrics?: string;
  readonly name?: string;
  readonly vip?: readonly string[];
  /** `http://127.0.0.1:8080/health`, `tcp://:80`, `grpc://:50051/SERVICE`, `listening://:80`, `exec:PROGRAM ARGUMENT…`. */
  readonly check?: readonly string[];
  readonly interval?: string;
  readonly timeout?: string;
  readonly rise?: string;
  readonly fall?: string;
  readonly med?: string;
  readonly community?: readonly string[];
}

type Json = Record<string, unknown>;

/**
 * The file's document (undefined without a file) with what flags say laid over it: the speaker's fields replace the
 * file's, a service given by flags stands beside the file's. An error names the flag.
 */
export function documentOf(file: unknown, flags: SidecarFlags): Result<unknown, string> {
  const base: Json = isMapping(file) ? { ...file } : {};
  if (file !== undefined && !isMapping(file)) return ok(file);
  const document: Json = { ...base };
  if (flags.as !== undefined) document['as'] = numeric(flags.as);
  if (flags.routerId !== undefined) document['routerId'] = flags.routerId;
  if (flags.metrics !== undefined) document['metrics'] = flags.metrics;
  const peers = peersOf(flags);
  if (!peers.ok) return peers;
  if (peers.value.length > 0) document['peers'] = peers.value;
  const service = serviceOf(flags);
  if (!service.ok) return service;
  if (service.value !== undefined) {
    const others = Array.isArray(base['services']) ? (base['services'] as unknown[]) : [];
    document['services'] = [...others, service.value];
  }
  return ok(document);
}

function peersOf(flags: SidecarFlags): Result<Json[], string> {
  const peers: Json[] = [];
  for (const text of flags.peer ?? []) {
    const match = /^([^@]+)@(\d+)$/.exec(text);
    if (match === null) {
      return err(
        `${flagName('peer')}: "${text}" is not a neighbour (allowed: ADDRESS@AS such as 10.0.0.1@65000)`,
      );
    }
    peers.push({
      address: match[1],
      as: Number(match[2]),
      ...(flags.bfd === true ? { bfd: {} } : {}),
      ...(flags.promise === undefined ? {} : { promise: flags.promise }),
      ...(flags.passwordFile === undefined ? {} : { passwordFile: flags.passwordFile }),
    });
  }
  return ok(peers);
}

function serviceOf(flags: SidecarFlags): Result<Json | undefined, string> {
  const { vip = [], check = [] } = flags;
  if (vip.length === 0) {
    return check.length === 0
      ? ok(undefined)
      : err(`${flagName('check')}: goes with --vip (needed: --vip ADDRESS)`);
  }
  const timing: Json = {
    ...(flags.interval === undefined ? {} : { interval: flags.interval }),
    ...(flags.timeout === undefined ? {} : { timeout: flags.timeout }),
    ...(flags.rise === undefined ? {} : { rise: numeric(flags.rise) }),
    ...(flags.fall === undefined ? {} : { fall: numeric(flags.fall) }),
  };
  const checks: Json[] = [];
  let address: string | undefined;
  for (const text of check) {
    const parsed = checkOf(text);
    if (!parsed.ok) return parsed;
    const { host, ...rest } = parsed.value;
    if (host !== undefined && address !== undefined && host !== address) {
      return err(
        `${flagName('check')}: asks ${address} and ${host} (allowed: one address a service; others in a file)`,
      );
    }
    address = host ?? address;
    checks.push({ ...rest, ...timing });
  }
  const announce: Json = {
    ...(flags.med === undefined ? {} : { med: numeric(flags.med) }),
    ...(flags.community === undefined || flags.community.length === 0
      ? {}
      : { communities: [...flags.community] }),
  };
  return ok({
    name: flags.name ?? 'service',
    vips: [...vip],
    checks,
    ...(address === undefined ? {} : { address }),
    ...(Object.keys(announce).length === 0 ? {} : { announce }),
  });
}

const checkAllowed =
  'http://ADDRESS:PORT/PATH, https://…, grpc://ADDRESS:PORT/SERVICE, tcp://ADDRESS:PORT, listening://:PORT, exec:PROGRAM ARGUMENT…';

type CheckFields = Json & { readonly host: string | undefined };

function checkOf(text: string): Result<CheckFields, string> {
  const command = /^exec:(.+)$/.exec(text)?.[1];
  if (command !== undefined) {
    return ok({ type: 'exec', command: command.trim().split(/\s+/), host: undefined });
  }
  const match = /^(https?|grpcs?|tcp|listening):\/\/(?:\[([^\]]+)\]|([^:/]*))(?::(\d+))?(\/.*)?$/.exec(text);
  if (match === null) return err(`${flagName('check')}: "${text}" is not a check (allowed: ${checkAllowed})`);
  const [, scheme = '', ipv6, plain = '', port, path] = match;
  const named = ipv6 ?? plain;
  const host = named === '' ? undefined : named === 'localhost' ? '127.0.0.1' : named;
  const usual = scheme === 'http' ? '80' : scheme === 'https' ? '443' : undefined;
  const number = port ?? usual;
  if (number === undefined)
    return err(`${flagName('check')}: "${text}" names no port (needed: ${scheme}://ADDRESS:PORT)`);
  const fields: Json = { port: Number(number) };
  if (scheme === 'grpc' || scheme === 'grpcs') {
    const service = path?.slice(1);
    return ok({
      type: 'grpc',
      ...fields,
      ...(scheme === 'grpcs' ? { tls: true } : {}),
      ...(service === undefined || service === '' ? {} : { service }),
      host,
    });
  }
  if (scheme === 'http' || scheme === 'https') {
    return ok({ type: scheme, ...fields, ...(path === undefined ? {} : { path }), host });
  }
  if (path !== undefined && path !== '/')
    return err(`${flagName('check')}: "${text}": ${scheme} has no path`);
  return ok({ type: scheme, ...fields, host });
}

/** A number where it is one; else the text, which the schema refuses in its own words. */
function numeric(text: string): number | string {
  return /^\d+$/.test(text) ? Number(text) : text;
}

function isMapping(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
