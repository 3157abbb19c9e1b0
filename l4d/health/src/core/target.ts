import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { localProxyHeader, type ProxyProtocol } from '@l4d/kit/proxy-protocol.ts';
import type { LocalCheck } from './local-check.ts';
import type { HealthLimits, Verdict } from './verdict.ts';

/** Something whose health is asked. */
export interface HealthTarget {
  /** Name under which its verdict is told; unique among the targets. */
  readonly key: string;
  /** Where the check is sent: the backend itself, or the VIP when `mark` steers it. */
  readonly address: IpAddress;
  /** Port of the service; the check's own port, when it has one, goes before it. */
  readonly port: number;
  readonly check: LocalCheck;
  /** SO_MARK of the check's packets. */
  readonly mark?: number;
  /** Interface that the check's socket is bound to; needed for link-local addresses. */
  readonly interfaceName?: string;
  /** Verdict from before a restart. */
  readonly adoptedVerdict?: Verdict;
  /**
   * The service wants a PROXY header first: the check says that it is its own connection. Not where the check has a
   * port of its own.
   */
  readonly proxyProtocol?: ProxyProtocol;
  /** Address that the check comes from, which need not be this host's; left out: the host's own. */
  readonly source?: IpAddress;
  /**
   * What the service sends to these addresses, which are not this host's, must come back by way of it: with each check, and
   * beside it, a TCP connection from each of them must come about. Of the service's family and at its port.
   */
  readonly returnPathOf?: readonly IpAddress[];
  /** End a TCP check by RST in place of FIN: leaves no TIME_WAIT here, but a log line there. */
  readonly reset?: boolean;
}

/** Port that is asked. */
export function checkPort(target: HealthTarget): number {
  return ('port' in target.check ? target.check.port : undefined) ?? target.port;
}

/** What a check says before all else, of UDP in the same datagram; undefined: nothing. */
export function checkPreamble({ check, proxyProtocol }: HealthTarget): Uint8Array | undefined {
  const hasOwnPort = 'port' in check && check.port !== undefined;
  return proxyProtocol === undefined || hasOwnPort ? undefined : localProxyHeader(proxyProtocol);
}

/** Host and port as HTTP writes them: `192.0.2.1:80`, `[2001:db8::1]:80`. */
export function authorityOf(target: HealthTarget): string {
  const address = formatIpAddress(target.address);
  return `${target.address.family === 6 ? `[${address}]` : address}:${checkPort(target)}`;
}

/** Limits of the target's check. */
export function limitsOf(check: LocalCheck): HealthLimits {
  return check.type === 'none' ? { rise: 1, fall: 1 } : { rise: check.rise, fall: check.fall };
}

/**
 * How a new declaration differs from the old one under the same key: `same` keeps everything, `asked
 * otherwise` (timing, path, mark …) keeps the verdict but starts the counts anew, `another` is another
 * endpoint, of which nothing is known.
 */
export function compareTargets(
  before: HealthTarget,
  after: HealthTarget,
): 'same' | 'asked-otherwise' | 'another' {
  if (!sameIpAddress(before.address, after.address) || before.port !== after.port) return 'another';
  return fingerprint(before) === fingerprint(after) ? 'same' : 'asked-otherwise';
}

function fingerprint(target: HealthTarget): string {
  const { check, mark, interfaceName, reset, proxyProtocol, source, returnPathOf } = target;
  const fields = Object.entries(check).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([
    formatIpAddress(target.address),
    target.port,
    fields,
    mark,
    interfaceName,
    reset ?? false,
    proxyProtocol,
    source === undefined ? undefined : formatIpAddress(source),
    returnPathOf?.map(formatIpAddress),
  ]);
}
