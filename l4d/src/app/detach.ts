import { existsSync, mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { stopVrrpProcess } from '@l4d/announcer/io/vrrp/stop-process.ts';
import { systemClock } from '@l4d/kit/clock.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { holdLock } from '@l4d/kit/run-folder.ts';
import { parseEndpoint } from '@l4d/kit/schema/endpoint.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { anyPort, type Vip, vipKeyText } from '../core/desired/vip.ts';
import { isProxied } from '../core/desired/vip-classes.ts';
import { withdrawGrace } from '../core/withdraw-grace.ts';
import { replaceAggregateRoutes } from '../io/aggregate-routes.ts';
import { removeCheckRouting } from '../io/check-routing.ts';
import { type Detached, readDetached, writeDetached } from '../io/detached-file.ts';
import { pinName, pinPath, removeBpfFolder, unpin } from '../io/forwarding/bpf-folder.ts';
import { openPinnedForwarding } from '../io/forwarding/data-plane.ts';
import { createListenerTable } from '../io/forwarding/listener-table.ts';
import { currentGeneration } from '../io/forwarding/map-generations.ts';
import { openPinnedListeners } from '../io/forwarding/proxy-lookup.ts';
import { dropXdpLinks, unpinStages } from '../io/forwarding/xdp-attachment.ts';
import { replaceLocalRoutes } from '../io/local-routes.ts';
import { keepSharedRoutes, replaceSharedRoutes, sharedAddresses } from '../io/shared-address-routes.ts';
import { openStateStore } from '../io/state-store.ts';
import { removeSourceReturn } from './source-return.ts';
import { type Folders, pathsIn } from './state-paths.ts';

/** Milliseconds that a process has to answer: the brake does not wait for one that hangs. */
const brakeTimeoutMs = 5000;

/** What `l4d detach` and `l4d attach` work with. */
export interface BrakeOptions {
  readonly folders: Folders;
  readonly logger: Logger;
  /** Tells the operator what was done. */
  readonly say: (line: string) => void;
}

/**
 * The brake that needs no daemon: withdraws everything, then takes the programs off the interface.
 * Maps stay pinned, so that `attach` continues with their flows; `forget` removes them too. A daemon,
 * running or started later, obeys until `attach`. Throws OperatorError at the end when that could not be
 * written down; all else is done then.
 */
export async function detachAll(options: BrakeOptions, forget: boolean): Promise<void> {
  requireRoot();
  const { folders, say } = options;
  const paths = pathsIn(folders);
  const daemonRuns = await daemonAnswers(paths.apiSocket);
  if (forget && daemonRuns) {
    throw new OperatorError(
      '--forget needs the daemon to be stopped, for it holds the maps; nothing was done',
    );
  }
  const notRecorded = await record(paths.detached, { ...detachedBefore(paths.detached), all: true });
  // A running daemon obeys from here on: it would announce again what is withdrawn behind its back.
  await pokeDaemon(paths.apiSocket);
  const withdrawn = await withdraw(paths.announcerSocket, 'all');
  if (withdrawn === true) {
    say('withdrawn from all BGP peers');
    await sleep(withdrawGrace);
  } else {
    if (withdrawn !== undefined) say(`NOT withdrawn: ${withdrawn}`);
    await leaveElections(paths.vrrpSocket, say);
  }
  const indices = dropXdpLinks(folders.bpfDir);
  unpinStages(folders.bpfDir);
  if (indices.length === 0) say('no XDP program was attached');
  for (const index of indices) say(`XDP program detached (interface index ${index})`);
  detachPinnedLink(folders.bpfDir, pinName.skLookupLink);
  for (const index of indices) {
    libbpf.detachTcEgress(index);
    const name = await interfaceName(index);
    if (name !== undefined) await removeCheckRouting({ interfaceName: name });
  }
  await replaceLocalRoutes([]);
  await removeSourceReturn(folders.bpfDir);
  await replaceSharedRoutes([], []);
  await replaceAggregateRoutes([]);
  await pokeDaemon(paths.apiSocket);
  if (forget) {
    removeBpfFolder(folders.bpfDir);
    say('maps removed: flows and counters are forgotten');
  }
  if (notRecorded !== undefined) throw notRecorded;
}

/** Takes one VIP, by name or ADDRESS:PORT[/PROTOCOL], out of the packet path; see detachAll. */
export async function detachVip(options: BrakeOptions, selector: string): Promise<void> {
  requireRoot();
  const { folders, say } = options;
  const paths = pathsIn(folders);
  const { vip, others } = await findStoredVip(paths.desired, selector);
  const key = vipKeyText(vip);
  const before = readDetached(paths.detached);
  const nowDetached = { ...before, vips: [...new Set([...before.vips, key])] };
  const notRecorded = await record(paths.detached, nowDetached);
  const prefix = formatIpPrefix(hostPrefix(vip.address));
  const stillServed = others.some(
    (other) =>
      formatIpAddress(other.address) === formatIpAddress(vip.address) &&
      !before.vips.includes(vipKeyText(other)),
  );
  if (stillServed) say(`${prefix} stays announced: other VIPs use the address`);
  else {
    const withdrawn = await withdraw(paths.announcerSocket, [prefix]);
    if (withdrawn === true) say(`${prefix} withdrawn`);
    else if (withdrawn !== undefined) say(`${prefix} is NOT withdrawn: ${withdrawn}`);
    if (withdrawn !== true && vip.vrrpGroup !== undefined) await leaveElections(paths.vrrpSocket, say);
  }
  if (await pokeDaemon(paths.apiSocket)) {
    // It reads the file: what is not in there it does not do.
    if (notRecorded !== undefined) throw notRecorded;
    say(`${vip.name} detached; the running daemon ends its forwarding`);
    return;
  }
  await sleep(withdrawGrace);
  if (currentGeneration(folders.bpfDir) === undefined) say(`${vip.name} was not in the packet path`);
  else {
    requireNoDaemon(folders);
    openPinnedForwarding(folders.bpfDir, systemClock).remove(key);
    if (isProxied(vip)) await endHandoff(folders.bpfDir, others, nowDetached.vips);
    say(`${vip.name} detached`);
  }
  if (notRecorded !== undefined) throw notRecorded;
}

/** Takes everything, or one VIP, back; a running daemon acts at once, else the next start does. */
export async function attach(options: BrakeOptions, selector: string | undefined): Promise<void> {
  requireRoot();
  const paths = pathsIn(options.folders);
  const before = readDetached(paths.detached);
  if (selector === undefined) await writeDetached(paths.detached, { all: false, vips: [] });
  else {
    const { vip } = await findStoredVip(paths.desired, selector);
    await writeDetached(paths.detached, {
      ...before,
      vips: before.vips.filter((key) => key !== vipKeyText(vip)),
    });
  }
  const acted = await pokeDaemon(paths.apiSocket);
  options.say(
    acted ? 'taken back by the running daemon' : 'no daemon runs: it takes effect when l4d is started',
  );
}

/** What was detached before, as far as it can be known: a damaged file is no reason not to brake. */
function detachedBefore(path: string): Detached {
  try {
    return readDetached(path);
  } catch {
    return { all: false, vips: [] };
  }
}

/** Writes down what is detached; the error to end with when that is not possible (a full disk). */
async function record(path: string, detached: Detached): Promise<OperatorError | undefined> {
  try {
    await writeDetached(path, detached);
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return new OperatorError(
      `${path} could not be written (${code ?? message}): no daemon knows that this is detached. ` +
        'One that runs, or is started, takes it back: stop it, make room, and detach again',
    );
  }
}

/** Keeps daemons out of the maps until this process ends. Throws OperatorError when one holds them. */
function requireNoDaemon({ runDir, bpfDir }: Folders): void {
  mkdirSync(runDir, { recursive: true, mode: 0o755 });
  if (holdLock(pathsIn({ runDir, bpfDir, stateDir: '' }).lock) && holdLock(bpfDir)) return;
  throw new OperatorError(
    'a daemon runs and does not answer: its maps are left alone, so the VIP is still in the packet path. ' +
      'The daemon ends its forwarding when it answers again or is restarted; at once: kill it, then detach again',
    exitCode.unavailable,
  );
}

/** Leaves the proxy only the l7 VIPs that are not detached. */
async function endHandoff(
  bpfDir: string,
  others: readonly Vip[],
  detachedKeys: readonly string[],
): Promise<void> {
  const attached = others.filter((other) => !detachedKeys.includes(vipKeyText(other)));
  const left = attached.filter(isProxied);
  const listeners = openPinnedListeners(bpfDir);
  if (listeners !== undefined) createListenerTable(listeners).replace(left);
  // Those that are local only for what comes in stay so: a daemon that starts arranges them.
  const shared = await sharedAddresses();
  const isShared = (address: IpAddress) => shared.some((one) => sameIpAddress(one, address));
  const addresses = left.map(({ address }) => address);
  await keepSharedRoutes(addresses.filter(isShared));
  await replaceLocalRoutes(addresses.filter((address) => !isShared(address)));
}

function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new OperatorError('this needs root', exitCode.permission);
}

function detachPinnedLink(bpfDir: string, name: string): void {
  const link = libbpf.openPinned(pinPath(bpfDir, name));
  if (link === undefined) return;
  libbpf.detachLink(link);
  unpin(bpfDir, name);
}

async function interfaceName(index: number): Promise<string | undefined> {
  const rtnetlink = openRtnetlink();
  try {
    return (await rtnetlink.link(index))?.name;
  } finally {
    rtnetlink.close();
  }
}

/** True when the announcer has done it; undefined when none runs, so that nothing is announced; else why not. */
async function withdraw(
  socketPath: string,
  prefixes: readonly string[] | 'all',
): Promise<true | undefined | string> {
  if (!existsSync(socketPath)) return undefined;
  try {
    const answer = await requestJson(socketPath, 'POST', '/v1/withdraw', { prefixes }, brakeTimeoutMs);
    return answer.status === 200 || `the announcer answered ${answer.status}`;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ECONNREFUSED' ? undefined : `the announcer does not answer: ${message}`;
  }
}

/** The VRRP process goes on alone when its announcer dies: then nobody else can tell it to give up the addresses. */
async function leaveElections(socketPath: string, say: BrakeOptions['say']): Promise<void> {
  const left = await stopVrrpProcess(socketPath, brakeTimeoutMs);
  if (left === true) {
    say('VRRP: all addresses given up');
    await sleep(withdrawGrace);
  } else if (left !== undefined) say(`VRRP: addresses NOT given up: ${left}`);
}

async function pokeDaemon(socketPath: string): Promise<boolean> {
  const answer = await requestJson(socketPath, 'POST', '/v1/reconcile', {}, brakeTimeoutMs).catch(
    () => undefined,
  );
  return answer?.status === 200;
}

async function daemonAnswers(socketPath: string): Promise<boolean> {
  const answer = await requestJson(socketPath, 'GET', '/v1/status').catch(() => undefined);
  return answer !== undefined;
}

async function findStoredVip(
  folder: string,
  selector: string,
): Promise<{ vip: Vip; others: readonly Vip[] }> {
  const { store } = await openStateStore({ folder });
  const { vips } = store.current().state;
  const [place = '', protocol = 'tcp'] = selector.split('/');
  const isAny = place.endsWith(':any');
  const endpoint = parseEndpoint(isAny ? place.replace(/any$/, '1') : place);
  const key = endpoint.ok
    ? vipKeyText({ ...endpoint.value, ...(isAny ? { port: anyPort } : {}), protocol })
    : selector;
  const vip = vips.find((candidate) => candidate.name === selector || vipKeyText(candidate) === key);
  if (vip === undefined) {
    const names = vips.map((candidate) => candidate.name).join(', ');
    throw new OperatorError(`no VIP "${selector}" is declared (known: ${names === '' ? 'none' : names})`);
  }
  return { vip, others: vips.filter((other) => other !== vip) };
}
