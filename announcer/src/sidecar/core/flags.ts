/** The flags of a sidecar, the variables they can come from, and which field of the document each one sets. */
import type { PathProblem, PathSegment } from '@l4d/kit/schema/problem.ts';
import type { SidecarFlags } from './command-line.ts';

/** How a flag is given. */
export interface FlagSpec {
  /** As commander takes it: `--as <number>`. */
  readonly flags: string;
  /** Environment variable. */
  readonly variable: string;
  readonly text: string;
  /** May be repeated; in the environment separated by commas. */
  readonly isList?: true;
}

/** Every flag can be given by the environment too. */
export const sidecarFlags = {
  as: { flags: '--as <number>', variable: 'L4_ANNOUNCER_AS', text: 'own AS number' },
  routerId: {
    flags: '--router-id <address>',
    variable: 'L4_ANNOUNCER_ROUTER_ID',
    text: "own BGP identifier; by default this host's first IPv4 address",
  },
  peer: {
    flags: '--peer <address@as>',
    variable: 'L4_ANNOUNCER_PEERS',
    text: 'neighbour; may be repeated',
    isList: true,
  },
  bfd: { flags: '--bfd', variable: 'L4_ANNOUNCER_BFD', text: 'BFD to the neighbours' },
  promise: { flags: '--promise <promise>', variable: 'L4_ANNOUNCER_PROMISE', text: 'fast or continuity' },
  passwordFile: {
    flags: '--password-file <path>',
    variable: 'L4_ANNOUNCER_PASSWORD_FILE',
    text: 'TCP MD5 password of the neighbours',
  },
  metrics: {
    flags: '--metrics <address:port>',
    variable: 'L4_ANNOUNCER_METRICS',
    text: 'serve /metrics and /healthz',
  },
  name: { flags: '--name <name>', variable: 'L4_ANNOUNCER_NAME', text: 'name of the service' },
  vip: {
    flags: '--vip <address>',
    variable: 'L4_ANNOUNCER_VIPS',
    text: 'address of the service; may be repeated',
    isList: true,
  },
  check: {
    flags: '--check <check>',
    variable: 'L4_ANNOUNCER_CHECKS',
    text: 'such as http://127.0.0.1:8080/health; may be repeated',
    isList: true,
  },
  interval: { flags: '--interval <duration>', variable: 'L4_ANNOUNCER_INTERVAL', text: 'between checks' },
  timeout: { flags: '--timeout <duration>', variable: 'L4_ANNOUNCER_TIMEOUT', text: 'of a check' },
  rise: { flags: '--rise <count>', variable: 'L4_ANNOUNCER_RISE', text: 'good answers that bring it up' },
  fall: { flags: '--fall <count>', variable: 'L4_ANNOUNCER_FALL', text: 'bad answers that take it down' },
  med: { flags: '--med <number>', variable: 'L4_ANNOUNCER_MED', text: 'MULTI_EXIT_DISC' },
  community: {
    flags: '--community <community>',
    variable: 'L4_ANNOUNCER_COMMUNITIES',
    text: 'such as 65000:1; may be repeated',
    isList: true,
  },
} as const satisfies Readonly<Record<keyof SidecarFlags, FlagSpec>>;

/** A flag and its variable, as a message names them: `--as (L4_ANNOUNCER_AS)`. */
export function flagName(key: keyof SidecarFlags): string {
  const { flags, variable } = sidecarFlags[key];
  return `${flags.split(' ')[0]} (${variable})`;
}

/**
 * The flag that has set a field, or that would set it when there is no file; undefined for what a file has said or has
 * left out. `fileServices` is the number of services in the file, undefined without a file.
 */
export function flagOf(
  segments: readonly PathSegment[],
  flags: SidecarFlags,
  fileServices: number | undefined,
): keyof SidecarFlags | undefined {
  const flag = flagOfField(segments, fileServices ?? 0);
  if (flag === undefined || fileServices === undefined) return flag;
  // The service that flags describe stands behind the file's.
  if (segments[0] === 'services') {
    const isOwn = flags.vip !== undefined && typeof segments[1] === 'number' && segments[1] >= fileServices;
    return isOwn ? flag : undefined;
  }
  const owner = segments[0] === 'peers' ? 'peer' : flag;
  return flags[owner] === undefined ? undefined : flag;
}

const peerFields: Readonly<Record<string, keyof SidecarFlags>> = {
  bfd: 'bfd',
  promise: 'promise',
  passwordFile: 'passwordFile',
};
const serviceFields: Readonly<Record<string, keyof SidecarFlags>> = {
  name: 'name',
  vips: 'vip',
  checks: 'check',
  address: 'check',
  port: 'check',
};
const checkFields: Readonly<Record<string, keyof SidecarFlags>> = {
  interval: 'interval',
  timeout: 'timeout',
  rise: 'rise',
  fall: 'fall',
};

function flagOfField(
  [field, index, name, place, inner]: readonly PathSegment[],
  firstService: number,
): keyof SidecarFlags | undefined {
  switch (field) {
    case 'as':
    case 'routerId':
    case 'metrics':
      return field;
    case 'peers':
      return peerFields[String(name)] ?? 'peer';
    case 'services':
      if (typeof index === 'number' && index < firstService) return undefined;
      if (name === 'checks') return checkFields[String(inner)] ?? 'check';
      if (name === 'announce')
        return place === 'med' ? 'med' : place === 'communities' ? 'community' : undefined;
      return serviceFields[String(name)] ?? 'vip';
    default:
      return undefined;
  }
}

/** Problems in the words of who gave the values: a flag by its name, a field of the file by `source` and its path. */
export function nameFlags(
  problems: readonly PathProblem[],
  flags: SidecarFlags,
  fileServices: number | undefined,
  source: string | undefined,
): PathProblem[] {
  return problems.map((problem) => {
    const flag = flagOf(problem.segments, flags, fileServices);
    if (flag !== undefined) {
      // Flags describe one service: they have no list of services that could be missing.
      const isNoService = problem.segments.length === 1 && problem.segments[0] === 'services';
      const message = isNoService ? 'is missing (needed: an address of the service)' : problem.message;
      return { ...problem, path: flagName(flag), message };
    }
    const path = [source, problem.path].filter((part) => part !== undefined && part !== '').join(': ');
    return { ...problem, path };
  });
}
