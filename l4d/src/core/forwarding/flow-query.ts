/** Which flows are asked for, and what is told of each. */
import type { ConfigProblem } from '@l4d/kit/errors.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Result } from '@l4d/kit/result.ts';
import { problemAt } from '@l4d/kit/schema/problem.ts';

/** Where an entry is: the table of all CPUs, the copy of one, that of first packets, that of NAT. */
export type FlowTableName = 'shared' | 'cpu' | 'embryonic' | 'nat';

/** What holds of an entry; `expired`: its next packet is placed anew, `stale`: its VIP or backend is gone. */
export type FlowState = 'active' | 'closed' | 'opening' | 'established' | 'closing' | 'expired' | 'stale';

/** One entry, as the API tells it. */
export interface FlowView {
  readonly table: FlowTableName;
  /** Of a copy. */
  readonly cpu?: number;
  readonly protocol: 'tcp' | 'udp' | 'unknown';
  readonly client: string;
  readonly clientPort: number;
  /** Name of the VIP; absent when it is not declared any more. */
  readonly vip?: string;
  readonly vipAddress?: string;
  readonly vipPort: number;
  /** Absent when it is gone. */
  readonly backend?: string;
  readonly state: FlowState;
  /** Since its last packet, seconds, to within two. */
  readonly idleSeconds: number;
  /** Until it is forgotten without a packet, seconds; 0: it is over. */
  readonly leftSeconds: number;
  /** What the backend sees as its client, and its own port. */
  readonly nat?: { readonly source: string; readonly sourcePort: number; readonly backendPort: number };
}

/** The answer to a query. */
export interface FlowList {
  readonly flows: readonly FlowView[];
  /** Entries that were looked at. */
  readonly looked: number;
  /** There may be more: `limit` was reached. */
  readonly truncated: boolean;
}

/** Which entries; all that is given must hold. */
export interface FlowQuery {
  /** Name of a VIP. */
  readonly vip?: string;
  readonly client?: IpPrefix;
  readonly clientPort?: number;
  readonly backend?: IpAddress;
  /** Copies of CPUs too. */
  readonly copies: boolean;
  /** Entries told, 1 to maxFlowLimit. */
  readonly limit: number;
}

/** Entries told when nobody says how many, and at most. */
export const usualFlowLimit = 100;
export const maxFlowLimit = 10_000;

const known = ['vip', 'client', 'clientPort', 'backend', 'copies', 'limit'];

/** Reads the query of a URL. */
export function parseFlowQuery(
  query: Readonly<Record<string, string>>,
): Result<FlowQuery, readonly ConfigProblem[]> {
  const problems: ConfigProblem[] = Object.keys(query)
    .filter((name) => !known.includes(name))
    .map((name) => problemAt([name], `is not known (allowed: ${known.join(', ')})`));
  const number = (name: string, least: number, most: number) => {
    const text = query[name];
    if (text === undefined) return undefined;
    const value = /^\d{1,6}$/.test(text) ? Number(text) : -1;
    if (value >= least && value <= most) return value;
    problems.push(problemAt([name], `${JSON.stringify(text)} (allowed: ${least} to ${most})`));
    return undefined;
  };
  const { vip, copies } = query;
  if (copies !== undefined && copies !== 'true' && copies !== 'false')
    problems.push(problemAt(['copies'], `${JSON.stringify(copies)} (allowed: true, false)`));
  const limit = number('limit', 1, maxFlowLimit) ?? usualFlowLimit;
  const clientPort = number('clientPort', 0, 65_535);
  const client = query['client'] === undefined ? undefined : parseIpPrefix(query['client']);
  if (client?.ok === false)
    problems.push(problemAt(['client'], `${client.error} (allowed: an address or a prefix)`));
  const backend = query['backend'] === undefined ? undefined : parseIpAddress(query['backend']);
  if (backend?.ok === false) problems.push(problemAt(['backend'], `${backend.error} (allowed: an address)`));
  if (problems.length > 0) return { ok: false, error: problems };
  return {
    ok: true,
    value: {
      limit,
      copies: copies === 'true',
      ...(vip === undefined ? {} : { vip }),
      ...(client?.ok ? { client: client.value } : {}),
      ...(clientPort === undefined ? {} : { clientPort }),
      ...(backend?.ok ? { backend: backend.value } : {}),
    },
  };
}
