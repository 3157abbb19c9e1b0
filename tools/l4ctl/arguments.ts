/** Reads what is written compactly on the command line into the JSON of the API. Whether it is allowed, the API says. */
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { InvalidArgumentError } from 'commander';

/** A JSON object to be sent. */
export type Fields = Readonly<Record<string, unknown>>;

/** `ADDRESS:PORT[/tcp|udp]`, IPv6 in brackets; the port may be `any`. */
export function parseVipArgument(text: string): Fields {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d+|any)(?:\/(\w+))?$/.exec(text);
  if (match === null) {
    throw new InvalidArgumentError(
      'it is written ADDRESS:PORT[/tcp|udp], as 203.0.113.10:80 or [2001:db8::10]:53/udp; PORT may be any.',
    );
  }
  const [, bracketed, plain, port, protocol] = match;
  const number = port === 'any' ? port : Number(port);
  return { address: bracketed ?? plain, port: number, ...(protocol === undefined ? {} : { protocol }) };
}

/** What a backend may have behind its address, and where it stands in the configuration. */
const backendFields: Readonly<Record<string, 'backend' | 'vxlan'>> = {
  forward: 'backend',
  vni: 'vxlan',
  remote: 'vxlan',
  mac: 'vxlan',
};

/**
 * `ADDRESS[:PORT][=WEIGHT][@POOL][,FIELD=VALUE]...`; an IPv6 address with a port stands in brackets. Port and pool are
 * for l7, of the fields vni, remote and mac for vxlan.
 */
export function parseBackendArgument(text: string): Fields {
  const [where = '', ...further] = text.split(',');
  const match = /^(?:\[([^\]]+)\](?::(\d+))?|([^:=@]+)(?::(\d+))?|([^=@[\]]+))(?:=(\d+))?(?:@(.+))?$/.exec(
    where,
  );
  if (match === null) {
    throw new InvalidArgumentError(
      'it is written ADDRESS[:PORT][=WEIGHT][@POOL][,FIELD=VALUE]..., as 10.0.0.21=3, [fd00::21]:8080 or ' +
        '10.42.0.21,vni=42,remote=192.0.2.21.',
    );
  }
  const [, bracketed, bracketedPort, plain, plainPort, bare, weight, pool] = match;
  const port = bracketedPort ?? plainPort;
  return {
    address: bracketed ?? plain ?? bare,
    ...(port === undefined ? {} : { port: Number(port) }),
    ...(weight === undefined ? {} : { weight: Number(weight) }),
    ...(pool === undefined ? {} : { pool }),
    ...fieldsBehind(further),
  };
}

function fieldsBehind(further: readonly string[]): Fields {
  const fields = { backend: {} as Record<string, unknown>, vxlan: {} as Record<string, unknown> };
  for (const one of further) {
    const [, field = '', value = ''] = /^(\w+)=(.+)$/.exec(one) ?? [];
    const place = Object.hasOwn(backendFields, field) ? backendFields[field] : undefined;
    if (place === undefined) {
      const allowed = Object.keys(backendFields).join(', ');
      throw new InvalidArgumentError(
        `behind a comma is FIELD=VALUE, with FIELD one of ${allowed}; not "${one}".`,
      );
    }
    fields[place][field] = field === 'vni' && /^\d+$/.test(value) ? Number(value) : value;
  }
  return { ...fields.backend, ...(Object.keys(fields.vxlan).length > 0 ? { vxlan: fields.vxlan } : {}) };
}

/** `TYPE[:PORT][/PATH]`, with or without a colon before the path: `tcp`, `tcp:8080`, `http:/health`, `https:8443/`. */
export function parseCheckArgument(text: string): Fields {
  const match = /^(\w+)(?::(\d+)?)?(\/.*)?$/.exec(text);
  if (match === null || text.startsWith('http://') || text.startsWith('https://')) {
    throw new InvalidArgumentError(
      'it is written TYPE[:PORT][/PATH], as tcp, http:/health, https:8443/, udp, none.',
    );
  }
  const [, type, port, path] = match;
  return {
    type,
    ...(port === undefined ? {} : { port: Number(port) }),
    ...(path === undefined ? {} : { path }),
  };
}

/** `[HOST][/PATH]=POOL`. */
export function parseRouteArgument(text: string): Fields {
  const match = /^([^/=]*)(\/[^=]*)?=([^=]+)$/.exec(text);
  if (match === null)
    throw new InvalidArgumentError('it is written [HOST][/PATH]=POOL, as a.example/api=api.');
  const [, host, pathPrefix, pool] = match;
  return { ...(host === '' ? {} : { host }), ...(pathPrefix === undefined ? {} : { pathPrefix }), pool };
}

/** `PREFIX=POLICY`. */
export function parseClassArgument(text: string): Fields {
  const match = /^([^=]+)=(\w+)$/.exec(text);
  if (match === null)
    throw new InvalidArgumentError(
      'it is written PREFIX=POLICY, as 198.51.100.0/24=l7 or 2001:db8::/32=drop.',
    );
  const [, prefix, policy] = match;
  return { prefix, policy };
}

/** Address of a client. */
export function parseClientArgument(text: string): IpAddress {
  const address = parseIpAddress(text);
  if (!address.ok) throw new InvalidArgumentError('it is an address, as 198.51.100.7 or 2001:db8::7.');
  return address.value;
}

/** `CERT[,KEY]`: paths of PEM files. */
export function parseCertificateArgument(text: string): Fields {
  const [cert = '', key, ...more] = text.split(',');
  if (cert === '' || more.length > 0)
    throw new InvalidArgumentError('it is written CERT[,KEY], as /etc/l4d/tls/a.pem,/etc/l4d/tls/a.key.');
  return { cert, ...(key === undefined ? {} : { key }) };
}

/**
 * `[HOST|PREFIX][:PORTS]`: what clients of a forward proxy may reach; `any` for a host is every one. Ports are
 * separated by commas, each a port or a range. An IPv6 prefix with ports is in brackets.
 */
export function parseDestinationArgument(text: string): Fields {
  const match =
    /^(?:\[([0-9a-fA-F:./]+)\]|([0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:./]*)|([^:[\],]*))(?::([\d,-]+))?$/.exec(
      text,
    );
  const [, bracketed, bare, word = '', ports] = match ?? [];
  const where = bracketed ?? bare ?? word;
  if (match === null || (where === '' && ports === undefined))
    throw new InvalidArgumentError(
      'it is written [HOST|PREFIX][:PORTS], as *.example:80,443 or 198.51.100.0/24:8000-8999 or any.',
    );
  const isAddress = /^[\d.]+(\/\d+)?$/.test(where) || where.includes(':');
  return {
    ...(where === '' || where === 'any' ? {} : { [isAddress ? 'prefixes' : 'hosts']: [where] }),
    ...(ports === undefined ? {} : { ports: ports.split(',') }),
  };
}

/** A whole number. */
export function parseNumberArgument(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('it is a whole number.');
  return Number(text);
}

/** A count, or a share such as 50%. */
export function parseCountOrShare(text: string): number | string {
  return /^\d+$/.test(text) ? Number(text) : text;
}

/** A field by its path, from the top: `['quic', 'configId']`. */
export interface FieldArgument {
  readonly path: readonly string[];
  readonly value: unknown;
}

/** `FIELD=VALUE` or `FIELD.FIELD=VALUE`, the value as JSON, or else as text. Throws an OperatorError for anything else. */
export function parseFieldArgument(text: string): FieldArgument {
  const match = /^([a-zA-Z]\w*(?:\.[a-zA-Z]\w*)*)=(.*)$/s.exec(text);
  if (match === null) {
    throw new OperatorError(
      `"${text}" is not written FIELD=VALUE, as minHealthy=2 or check.interval=1s`,
      exitCode.usage,
    );
  }
  const [, field = '', value = ''] = match;
  return { path: field.split('.'), value: jsonOrText(value) };
}

/**
 * The top fields that arguments change, as the API takes them: whole. What a mapping has beside the field that is
 * changed is taken from `before`; null takes a field away.
 */
export function patchOf(before: Fields, changes: readonly FieldArgument[]): Fields {
  const patch: Record<string, unknown> = {};
  for (const { path, value } of changes) {
    const [field = '', ...within] = path;
    patch[field] = changedAt(Object.hasOwn(patch, field) ? patch[field] : before[field], within, value);
  }
  return patch;
}

function changedAt(before: unknown, path: readonly string[], value: unknown): unknown {
  const [field, ...within] = path;
  if (field === undefined) return value;
  const fields = isMapping(before) ? before : {};
  const changed = { ...fields, [field]: changedAt(fields[field], within, value) };
  return Object.fromEntries(Object.entries(changed).filter(([, one]) => one !== null));
}

function isMapping(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Makes a parser of one value one of an option that may be given again. */
export function repeated<Value>(parse: (text: string) => Value) {
  return (text: string, before: readonly Value[] | undefined): Value[] => [...(before ?? []), parse(text)];
}

/** The fields that have a value. */
export function given(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
