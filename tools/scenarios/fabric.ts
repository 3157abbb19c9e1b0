import {
  type BackendHost,
  hostsOf,
  type L4dHost,
  type LabVip,
  type RouterHost,
} from '../lab/core/topology.ts';
import { waitFor } from '../lab/io/wait-for.ts';
import type { Lab } from '../lab/lab.ts';
import { createProduct } from '../lab/product.ts';
import { createTraffic } from '../lab/traffic.ts';
import type { LabFabric, Report } from './scenario.ts';

/** Both families, as the lab and the routers name them. */
export const families = ['ipv4', 'ipv6'] as const;

/** One of them. */
export type Family = (typeof families)[number];

/** The product and traffic for a lab that is up. */
export function createFabric(lab: Lab): LabFabric {
  return { lab, product: createProduct(lab), traffic: createTraffic(lab) };
}

/** The l4d hosts of the lab. */
export function l4dHosts({ lab }: LabFabric): L4dHost[] {
  return hostsOf(lab.topology, 'l4d');
}

/** The backends of the lab. */
export function backends({ lab }: LabFabric): BackendHost[] {
  return hostsOf(lab.topology, 'backend');
}

/** The routers of the lab. */
export function routers({ lab }: LabFabric): RouterHost[] {
  return hostsOf(lab.topology, 'router');
}

/** A VIP of the topology by its name. */
export function labVip({ lab }: LabFabric, name: string): LabVip {
  const vip = lab.topology.vips.find((one) => one.name === name);
  if (vip === undefined) throw new Error(`the topology has no VIP ${name}`);
  return vip;
}

/** The URL of an address, which may be of either family. */
export function urlOf(address: string, port = 80, path = '/'): string {
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}${path}`;
}

/** `l4ctl` on a host, told to the report first; its answer parsed. */
export function operate(
  fabric: LabFabric,
  report: Report,
  host: string,
  args: readonly string[],
): Promise<unknown> {
  report.command(host, `l4ctl ${args.join(' ')}`);
  return fabric.product.l4ctl(host, args);
}

/** `l4ctl` on every l4d host, in order. */
export async function operateAll(fabric: LabFabric, report: Report, args: readonly string[]): Promise<void> {
  for (const { name } of l4dHosts(fabric)) await operate(fabric, report, name, args);
}

/** Shows a table of l4ctl in the report. */
export async function showTable(
  fabric: LabFabric,
  report: Report,
  host: string,
  args: readonly string[],
): Promise<void> {
  report.command(host, `l4ctl ${args.join(' ')}`);
  report.show((await fabric.product.runL4ctl(host, args)).stdout.trimEnd());
}

/**
 * Brings the fabric to where every scenario begins: ports and servers as in a fresh lab, a daemon on every
 * l4d host, sessions established with every router, no VIP declared and no VIP routed.
 */
export async function resetFabric(fabric: LabFabric): Promise<void> {
  const { lab, product } = fabric;
  await Promise.all([...l4dHosts(fabric), ...backends(fabric)].map(({ name }) => lab.restorePort(name)));
  await Promise.all(backends(fabric).map(({ name }) => lab.startServer(name)));
  await Promise.all(l4dHosts(fabric).map(({ name }) => restoreHost(fabric, name)));
  await Promise.all(
    l4dHosts(fabric).map(({ name }) =>
      waitFor(
        `${name}: sessions with all routers are established`,
        async () => (await product.status(name)).bgp.announcer?.peers.map(({ state }) => state) ?? [],
        (states) => states.length === routers(fabric).length && states.every((one) => one === 'Established'),
        { timeoutMs: 15_000 },
      ),
    ),
  );
  await waitForNoRoutes(fabric, 10_000);
}

async function restoreHost({ product }: LabFabric, host: string): Promise<void> {
  const running = await product.daemon(host);
  if (running === undefined) await product.startDaemon(host);
  const status = await product.status(host);
  if (status.detached?.all === true) await product.runL4d(host, ['attach', '--all']);
  else for (const vip of status.detached?.vips ?? []) await product.runL4d(host, ['attach', '--vip', vip]);
  if (status.host.draining) await product.l4ctl(host, ['host', 'undrain']);
  for (const { name } of status.vips) await product.l4ctl(host, ['vip', 'rm', name]);
}

/** Waits until no router has a BGP route in its kernel. */
export async function waitForNoRoutes(fabric: LabFabric, timeoutMs: number): Promise<void> {
  await waitFor(
    'no router has a route to a VIP',
    async () => {
      const tables = routers(fabric).flatMap(({ name }) =>
        families.map((family) => fabric.lab.kernelRoutes(name, family)),
      );
      return (await Promise.all(tables)).flat().filter(({ protocol }) => protocol === 'bgp');
    },
    (routes) => routes.length === 0,
    { timeoutMs },
  );
}

/** Next hops that a router's kernel has for an address, sorted; none when it has no route by BGP. */
export async function nextHops({ lab }: LabFabric, router: string, address: string): Promise<string[]> {
  const routes = await lab.kernelRoutes(router, address.includes(':') ? 'ipv6' : 'ipv4');
  return routes
    .filter(({ destination, protocol }) => destination === address && protocol === 'bgp')
    .flatMap((route) => route.nextHops.map(({ gateway }) => gateway ?? ''))
    .sort();
}

/**
 * Waits until every router's kernel has exactly these l4d hosts as next hops of an address. Next hops over
 * IPv6 are the hosts' addresses in the fabric. Gives the milliseconds that it took.
 */
export async function waitForNextHops(
  fabric: LabFabric,
  address: string,
  hosts: readonly string[],
  timeoutMs = 10_000,
): Promise<number> {
  const start = performance.now();
  const isIpv6 = address.includes(':');
  const wanted = l4dHosts(fabric)
    .filter(({ name }) => hosts.includes(name))
    .map((host) => (isIpv6 ? host.ipv6 : host.ipv4))
    .sort();
  await waitFor(
    `every router sends ${address} to ${hosts.join(', ') || 'nobody'}`,
    () => Promise.all(routers(fabric).map(({ name }) => nextHops(fabric, name, address))),
    (seen) => seen.every((hops) => hops.join() === wanted.join()),
    { timeoutMs },
  );
  return performance.now() - start;
}

/** The state that a host shows for a backend of a VIP, such as `up`. */
export async function backendState(
  { product }: LabFabric,
  host: string,
  vip: string,
  address: string,
): Promise<string> {
  const found = (await product.status(host)).vips.find(({ name }) => name === vip);
  return found?.backends.find((backend) => backend.address === address)?.state ?? 'absent';
}

/** Waits until all l4d hosts (or those given) show a backend in that state. */
export async function waitForBackend(
  fabric: LabFabric,
  vip: string,
  address: string,
  state: string,
  options: { readonly timeoutMs?: number; readonly hosts?: readonly string[] } = {},
): Promise<void> {
  const hosts = options.hosts ?? l4dHosts(fabric).map(({ name }) => name);
  await waitFor(
    `${hosts.join(' and ')} show backend ${address} of ${vip} as ${state}`,
    () => Promise.all(hosts.map((host) => backendState(fabric, host, vip, address))),
    (states) => states.every((one) => one === state),
    { timeoutMs: options.timeoutMs ?? 10_000 },
  );
}

/** How a VIP of the topology is declared by declareVip. */
export interface DeclareOptions {
  /** Name of the topology's VIP, `web` or `app`. */
  readonly vip: string;
  /** By default the topology's name of it, with `-udp` and `-ipv6` where that is so. */
  readonly name?: string;
  readonly family?: Family;
  /** Weights in the order of the lab's backends; 1 each by default. */
  readonly weights?: readonly number[];
  /** Further options of `l4ctl vip add`; the default check is HTTP every 500 ms, rise 2, fall 2. */
  readonly options?: readonly string[];
  /** The default check when left out; `[]` for none of these options. */
  readonly check?: readonly string[];
  readonly port?: number;
  readonly protocol?: 'tcp' | 'udp';
  /** l4d hosts; all by default. */
  readonly hosts?: readonly string[];
}

/** A quick HTTP check, so that stories do not take long. */
export const quickCheck = [
  ...['--check', 'http:/health', '--check-interval', '500ms', '--check-timeout', '500ms'],
  ...['--check-rise', '2', '--check-fall', '2'],
];

/** A VIP that declareVip declared. */
export interface DeclaredVip {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

/** Declares a VIP of the topology over all backends by `l4ctl vip add` on every l4d host. Does not wait. */
export async function declareVip(
  fabric: LabFabric,
  report: Report,
  options: DeclareOptions,
): Promise<DeclaredVip> {
  const family = options.family ?? 'ipv4';
  const vip = labVip(fabric, options.vip);
  const address = vip[family];
  const port = options.port ?? vip.port;
  const udp = options.protocol === 'udp';
  const suffix = `${udp ? '-udp' : ''}${family === 'ipv6' ? '-ipv6' : ''}`;
  const name = options.name ?? `${options.vip}${suffix}`;
  const where = `${family === 'ipv6' ? `[${address}]` : address}:${port}${udp ? '/udp' : ''}`;
  const chosen = backends(fabric).flatMap((backend, index) => {
    const weight = options.weights?.[index] ?? 1;
    return ['-b', weight === 1 ? backend[family] : `${backend[family]}=${weight}`];
  });
  const args = ['vip', 'add', where, '--name', name, ...chosen];
  args.push(...(options.check ?? (udp ? [] : quickCheck)), ...(options.options ?? []));
  const hosts = options.hosts ?? l4dHosts(fabric).map((host) => host.name);
  for (const host of hosts) await operate(fabric, report, host, args);
  return { name, address, port };
}

/** Waits until every l4d host announces a VIP and every router's kernel has them all as next hops. */
export async function waitUntilServed(
  fabric: LabFabric,
  vip: DeclaredVip,
  options: { readonly hosts?: readonly string[]; readonly timeoutMs?: number } = {},
): Promise<void> {
  const hosts = options.hosts ?? l4dHosts(fabric).map(({ name }) => name);
  const timeoutMs = options.timeoutMs ?? 15_000;
  await waitFor(
    `${hosts.join(' and ')} announce ${vip.name} with all its backends up`,
    () =>
      Promise.all(
        hosts.map(async (host) => {
          const found = (await fabric.product.status(host)).vips.find(({ name }) => name === vip.name);
          const states = found?.backends.map(({ state }) => state) ?? [];
          return { host, announced: found?.announced ?? false, states, verdict: found?.verdict };
        }),
      ),
    (seen) =>
      seen.every(
        ({ announced, states }) => announced && states.every((one) => one === 'up' || one === 'drained'),
      ),
    { timeoutMs },
  );
  await waitForNextHops(fabric, vip.address, hosts, timeoutMs);
}
