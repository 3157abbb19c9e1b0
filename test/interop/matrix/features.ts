/** What is tried with each router, and what is known to come of it: the test holds each cell, the page shows them. */
import { type RouterName, routerNames } from './names.ts';

/** Works as tried, or why it cannot. */
export type Cell = 'yes' | `no: ${string}`;

/** A row of the matrix. */
export interface Feature {
  readonly title: string;
  readonly standard: string;
  readonly cells: Readonly<Record<RouterName, Cell>>;
}

/** Names in the page, with the versions that the test asks for. */
export const columns: Readonly<Record<RouterName, { readonly name: string; readonly version: string }>> = {
  frr: { name: 'FRR', version: '8.4' },
  bird: { name: 'BIRD', version: '2.0.12' },
  gobgp: { name: 'GoBGP', version: '3.10' },
  exabgp: { name: 'ExaBGP', version: '4.2.21' },
};

const all: Feature['cells'] = { frr: 'yes', bird: 'yes', gobgp: 'yes', exabgp: 'yes' };
const unknown = 'no: unknown to it' as const;
const oneConnection = 'no: opens none while it has one' as const;
const noTable = 'no: it keeps no routes' as const;

/** Rows of the matrix. */
export const features = {
  overIpv4: { title: 'Session over IPv4, both families', standard: 'RFC 4271, 4760', cells: all },
  overIpv6: { title: 'Session over IPv6, both families', standard: 'RFC 2545', cells: all },
  extendedNextHop: { title: 'IPv4 prefixes with IPv6 next hops', standard: 'RFC 8950', cells: all },
  withdraw: { title: 'Withdrawn, and nothing else moves', standard: 'RFC 4271', cells: all },
  weConnect: { title: 'Only we connect', standard: 'RFC 4271', cells: all },
  routerConnects: { title: 'Only the router connects', standard: 'RFC 4271', cells: all },
  collision: {
    title: 'Two connections at once: one is closed, the session stands',
    standard: 'RFC 4271 6.8',
    cells: { ...all, gobgp: oneConnection, exabgp: oneConnection },
  },
  ourRange: { title: 'The router is in our range', standard: '–', cells: all },
  routersRange: { title: "We are in the router's range", standard: '–', cells: all },
  secured: { title: 'TCP MD5 and TTL security', standard: 'RFC 2385, 5082', cells: all },
  wrongPassword: { title: 'Another password: no session, and we say why', standard: 'RFC 2385', cells: all },
  refresh: {
    title: 'Route refresh',
    standard: 'RFC 2918',
    cells: { ...all, gobgp: 'no: it never asks' },
  },
  enhancedRefresh: {
    title: 'Enhanced route refresh',
    standard: 'RFC 7313',
    cells: { ...all, gobgp: unknown },
  },
  longOpen: {
    title: 'OPEN in the long form',
    standard: 'RFC 9072',
    cells: { ...all, gobgp: unknown, exabgp: 'no: it drops the connection' },
  },
  longMessages: {
    title: 'Messages of more than 4096 octets',
    standard: 'RFC 8654',
    cells: { ...all, gobgp: unknown },
  },
  addPath: { title: 'Two paths of a prefix', standard: 'RFC 7911', cells: all },
  roles: {
    title: 'Roles: customer to its provider',
    standard: 'RFC 9234',
    cells: { ...all, gobgp: unknown, exabgp: unknown },
  },
  largeCommunities: { title: 'Large communities', standard: 'RFC 8092', cells: all },
  linkBandwidth: { title: 'Link bandwidth', standard: 'RFC 4360', cells: all },
  gracefulRestart: {
    title: 'Killed: routes stay, and are fresh again after the restart',
    standard: 'RFC 4724',
    cells: { ...all, exabgp: noTable },
  },
  longLived: {
    title: 'Longer away: routes are the last resort, NO_LLGR gone',
    standard: 'RFC 9494',
    cells: { ...all, exabgp: noTable },
  },
  gracefulShutdown: { title: 'GRACEFUL_SHUTDOWN before a stop', standard: 'RFC 8326', cells: all },
  shutdownText: {
    title: 'The text of a stop is shown',
    standard: 'RFC 9003',
    cells: { ...all, exabgp: 'no: it says nothing of it' },
  },
} as const satisfies Readonly<Record<string, Feature>>;

/** Name of a row. */
export type FeatureName = keyof typeof features;

/** The table of the page. */
export function renderTable(): string {
  const titles = routerNames.map((name) => `${columns[name].name} ${columns[name].version}`);
  const rows = Object.values(features).map(({ title, standard, cells }) =>
    [title, standard, ...routerNames.map((name) => cells[name])].join(' | '),
  );
  return [
    ['', 'Standard', ...titles].join(' | '),
    Array(titles.length + 2)
      .fill('---')
      .join(' | '),
    ...rows,
  ]
    .map((row) => `| ${row.trimStart()} |\n`)
    .join('');
}
