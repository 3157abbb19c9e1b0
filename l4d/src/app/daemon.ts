import { announcerClient } from '@l4d/announcer/io/client.ts';
import { createHealthChecker } from '@l4d/health/io/health-checker.ts';
import { systemClock } from '@l4d/kit/clock.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';
import { version } from '@l4d/kit/version.ts';
import { vipCensus } from '../core/desired/vip-census.ts';
import { keysWithBackend } from '../core/desired/vip-index.ts';
import { flowSettings } from '../core/forwarding/flow-settings.ts';
import { interfaceOf } from '../core/interface-of.ts';
import { replaceAggregateRoutes } from '../io/aggregate-routes.ts';
import { type Listener, startApiServer, startMetricsServer } from '../io/api-server.ts';
import { ensureCheckRouting } from '../io/check-routing.ts';
import { followAnnouncer, followProxy } from '../io/companions.ts';
import { type Detached, readDetached } from '../io/detached-file.ts';
import { pinName, pinPath } from '../io/forwarding/bpf-folder.ts';
import { openDataPlane } from '../io/forwarding/data-plane.ts';
import { findHostInterface, type HostInterface } from '../io/host-interface.ts';
import { watchInterfaces } from '../io/interface-watch.ts';
import { replaceLocalRoutes } from '../io/local-routes.ts';
import { openRuntimeStore } from '../io/runtime-store.ts';
import { replaceSharedRoutes } from '../io/shared-address-routes.ts';
import { watchAttachment } from './attachment-watch.ts';
import { createBackendFacts } from './backend-facts.ts';
import { backendAddresses, watchBackendNeighbours } from './backend-neighbours.ts';
import { createControl } from './control.ts';
import { createEgressInterfaces } from './egress-interfaces.ts';
import { createFabric } from './fabric.ts';
import type { StatusParts } from './fabric-status.ts';
import { startFlowPasses } from './flow-passes.ts';
import { followFragmentHosts } from './fragment-neighbours.ts';
import { startHostNat } from './host-nat.ts';
import { findFurther, followInterface, nextHopsOf, refuseOtherInterface } from './interface-choice.ts';
import { takeBpfFolder, takeFolders } from './own-folders.ts';
import { watchPaths } from './path-watch.ts';
import { createPlannedStop } from './planned-stop.ts';
import { createProxyHandoff } from './proxy-handoff.ts';
import { followProxyHosts } from './proxy-hosts.ts';
import { watchRedirectTargets } from './redirect-targets.ts';
import { createSourceReturn } from './source-return.ts';
import { type Folders, pathsIn } from './state-paths.ts';
import { openStoredState, takeConfig } from './take-config.ts';

/** How the daemon is started. */
export interface DaemonOptions {
  readonly folders: Folders;
  /** Declares the desired state; taken when it was changed since it was last taken. */
  readonly configPath: string | undefined;
  /** Take the file though the guard refuses what it would withdraw. */
  readonly force?: boolean;
  /** Called when a planned stop is done: VIPs have left, the announcer has ended, nothing is forwarded. */
  readonly onStopped?: () => void;
  readonly logger: Logger;
}

/** A running daemon. */
export interface Daemon {
  /** Ends the daemon alone: forwarding, routes and companions stay as they are. */
  stop(): Promise<void>;
}

/**
 * Starts the daemon: adopts what is in the kernel, then brings it to the desired state.
 * Throws ConfigError or OperatorError with the exit code in it; nothing is changed then.
 */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { folders, logger } = options;
  const paths = pathsIn(folders);
  if (process.getuid?.() !== 0) {
    throw new OperatorError(
      'l4d needs root: it loads programs into the kernel and changes routes',
      exitCode.permission,
    );
  }
  await takeFolders(folders);

  const store = await openStoredState(paths.desired, options.configPath === undefined, logger);
  const refusedConfig =
    options.configPath === undefined
      ? undefined
      : await takeConfig(store, options.configPath, paths.appliedConfig, logger, options.force === true);
  let detached: Detached = readDetached(paths.detached);
  const desired = () => store.current().state;

  const clock = systemClock;
  let on = await findHostInterface(desired().host.interface);
  /** Those of host.interfaces that are there. */
  let further = await findFurther(desired().host.interfaces, logger);
  const wallClock = () => Date.now();
  takeBpfFolder(folders.bpfDir);
  const dataPlane = openDataPlane({
    bpfFolder: folders.bpfDir,
    capacity: desired().host.capacity,
    flowTable: desired().host.flowTable,
    clock,
    logger,
  });
  const nat = startHostNat({ clock, logger, dataPlane, desired, on: () => on });
  const runtime = openRuntimeStore(paths.runtime, clock, logger);
  const interfaces = await watchInterfaces({
    clock,
    logger,
    onChange() {
      egress.rewrite();
      redirectTargets.look();
      neighbours.interfacesChanged();
      // The proxy is told of the host's subnets where clients' addresses are kept.
      if (desired().vips.some(({ source }) => source !== undefined)) fabric.touchProxied();
    },
  });
  // What came by an interface goes back by it without being redirected; and generic XDP sends by any.
  const redirectsNatively = (index: number): boolean =>
    [on, ...further].every((one) => one.index !== index) &&
    dataPlane.attachments().some(({ mode }) => mode === 'native');
  const egress = createEgressInterfaces({
    table: dataPlane.egress,
    interfaces: interfaces.all,
    tunnel: () => desired().host.tunnel,
    takesRedirected: (index) => (redirectsNatively(index) ? redirectTargets.canSend(index) : undefined),
    redirectsNatively,
    onPlaced: () => redirectTargets.look(),
    logger,
  });
  const redirectTargets = watchRedirectTargets({
    clock,
    logger,
    targets: () => [...dataPlane.egress.placed().values()].map(({ interfaceIndex }) => interfaceIndex),
    onChange: () => neighbours.interfacesChanged(),
  });
  const served = () => [on, ...further].map(egress.egressOf);
  const segmentOf = (address: IpAddress) => interfaceOf(interfaces.all(), on.index, address);
  const subnets = () => interfaces.all().flatMap((one) => one.subnets);

  /** When a health check last changed its verdict, by VIP: for the metrics. */
  const verdictTimes = new Map<string, number>();
  const checker = createHealthChecker({
    clock,
    logger,
    version,
    random: Math.random,
    onVerdict(event) {
      logger.info(
        { target: event.key, verdict: event.verdict, was: event.previous, reason: event.reason },
        'health',
      );
      runtime.setVerdict(event.key, event.verdict);
      const vipKey = event.key.slice(0, event.key.indexOf('|'));
      verdictTimes.set(vipKey, wallClock());
      fabric.touch([vipKey]);
    },
  });
  const sourceReturn = createSourceReturn({
    ...{ bpfFolder: folders.bpfDir, clock, logger },
    leaveWithin: () => desired().host.proxy.drainAtMost,
  });
  const facts = createBackendFacts({
    ...{ forwarding: dataPlane.forwarding, checker, runtime, wallClock },
    ...{ subnets, segmentOf, egressOf: egress.numberOf },
    isOwnAddress: (address) =>
      interfaces.all().some(({ ownAddresses }) => ownAddresses.has(formatIpAddress(address))),
    sourceProblem: sourceReturn.problem,
  });
  const neighbours = watchBackendNeighbours({
    logger,
    segmentOf,
    onMac: facts.learnMac,
    onHop: facts.learnHop,
    onChange(addresses) {
      fabric.touchReach([...addresses].flatMap((address) => keysWithBackend(desired().vips, address)));
    },
  });
  const companionOptions = {
    ...folders,
    clock,
    logger,
    onOverruled: () =>
      void obeyDetached().catch((error) => logger.error({ err: error }, 'reconciling failed')),
  };
  const announcer = followAnnouncer({ ...companionOptions, onChange: () => fabric.tellAnnouncer() });
  const proxy = followProxy({ ...companionOptions, onChange: () => fabric.touchProxied() });
  const announcerApi = announcerClient(paths.announcerSocket, 2000);
  const otherPaths = () =>
    announcerApi.otherPaths().catch((error: unknown) => {
      logger.debug({ err: error }, "other hosts' paths are not known");
      return [];
    });
  const fabric = createFabric({
    clock,
    logger,
    forwarding: dataPlane.forwarding,
    resolve: (change) => neighbours.change(change),
    resolved: () => neighbours.ready(),
    checker,
    facts,
    natProblem: nat.problem,
    announcer,
    handoff: createProxyHandoff({
      proxy,
      clock,
      listeners: dataPlane.listeners,
      replaceRoutes: replaceLocalRoutes,
      workersLive: dataPlane.workersLive,
      segmentLimit: () => proxyHosts.segmentLimit(),
      settleSources: sourceReturn.settle,
      subnets,
      replaceSharedRoutes,
      interfaces: () => [on.name, ...desired().host.interfaces],
      onChange: () => fabric.touchProxied(),
    }),
    runtime,
    setAggregateRoutes: replaceAggregateRoutes,
    otherPaths,
    wallClock,
    nextHops: () => nextHopsOf(desired(), on),
    vrrpPlace: () => ({ interface: on.name, ownedMacsPin: pinPath(folders.bpfDir, pinName.virtualMacs) }),
    attachmentProblem: () => dataPlane.attachmentProblem(served()),
    readBackShared() {
      const difference = dataPlane.maps.sharedDifference();
      if (difference === undefined) return undefined;
      logger.warn({ difference }, 'somebody else changed the kernel: it is written again');
      dataPlane.maps.writeSharedAgain();
      const left = dataPlane.maps.sharedDifference();
      return left === undefined ? undefined : `the kernel does not hold ${left}`;
    },
    onFailure: (error) => logger.error({ err: error }, 'reconciling failed; it is tried again'),
    // Not to be caught by whoever waits for the pass: the process ends, the kernel forwards on.
    onInvariant: (error) =>
      setImmediate(() => {
        throw error;
      }),
  });

  const refusedAt = store.current().revision;
  const monotonicOffset = wallClock() - clock.now();
  const flowPasses = startFlowPasses({ dataPlane, clock, logger });
  const tunnelPaths = watchPaths({ dataPlane, clock, logger });
  const { flowTable } = desired().host;
  const fragmentNeighbours = followFragmentHosts({ logger, write: dataPlane.maps.writeFragmentHosts });
  const proxyHosts = followProxyHosts({
    maps: dataPlane.maps,
    clock,
    logger,
    onSegments: () => fabric.touchProxied(),
  });
  const statusParts: StatusParts = {
    flowPasses,
    flowTable,
    version,
    startedAtMs: wallClock(),
    interfaceName: () => on.name,
    revision: () => store.current().revision,
    desired,
    detached: () => detached,
    fabric,
    dataPlane,
    missingInterfaces: () =>
      desired().host.interfaces.filter((name) => !further.some((one) => one.name === name)),
    fragmentWarnings: fragmentNeighbours.warnings,
    proxyHosts,
    nat: nat.status,
    sourceReturns: sourceReturn.results,
    paths: tunnelPaths,
    facts,
    checker,
    announcer,
    proxy: () => proxy.status(),
    wallClock,
    refusedConfig: () => (store.current().revision === refusedAt ? refusedConfig : undefined),
    wallTimeOf: (monotonic) => monotonic + monotonicOffset,
  };

  /** Checks leave by the first that is up, and go on from there. */
  const routeChecks = () =>
    ensureCheckRouting({ interfaceName: ([on, ...further].find(({ up }) => up) ?? on).name });
  let attaching: Promise<void> = Promise.resolve();
  /** Attaches unless the operator detached everything. */
  const attach = () => {
    attaching = attaching
      .catch(() => undefined)
      .then(async () => {
        if (detached.all) return;
        await dataPlane.attach(served(), desired().host.xdpMode);
        await routeChecks();
      });
    return attaching;
  };

  const followHosts = () => {
    fragmentNeighbours.follow(desired().host.fragments?.hosts ?? [], on);
    const { proxy, tunnel } = desired().host;
    proxyHosts.follow({ hosts: proxy.hosts ?? [], port: proxy.handoverPort, mtu: tunnel.mtu }, on);
  };
  const takeDesired = async () => {
    egress.rewrite();
    followHosts();
    dataPlane.maps.setFeature('neighbours', vipCensus(desired().vips).grouped > 0);
    dataPlane.maps.writeFlowSettings(flowSettings(desired().host, desired().vips));
    await nat.settle();
    const before = namesOf(further);
    const wanted = desired().host.interfaces;
    if (wanted.join() !== before.join()) {
      further = await findFurther(wanted, logger);
      if (namesOf(further).join() !== before.join() && dataPlane.attachment() !== undefined) await attach();
    }
    return await fabric.setDesired(desired(), detached);
  };
  /** Reads again what the operator has detached, and looks at everything. */
  const obeyDetached = async () => {
    const before = detached;
    detached = readDetached(paths.detached);
    if (before.all && !detached.all) await attach();
    if (detached.all) dataPlane.forgetAttachment();
    await takeDesired();
  };
  await takeDesired();
  await attach();
  // What was not attached was not announced.
  fabric.touchVerdicts();

  const plannedStop = createPlannedStop({
    ...{ fabric, runtime, announcer, clock, wallClock, logger },
    announcerApi: announcerClient(paths.announcerSocket),
    onStopped: options.onStopped,
  });
  plannedStop.resume();

  const port = createControl({
    ...{ store, runtime, fabric, dataPlane, statusParts, verdictTimes, plannedStop, wallClock },
    announcerSocket: paths.announcerSocket,
    surroundings: { subnets, otherPaths },
    refusedInterface: (next) => refuseOtherInterface(desired(), next, on),
    takeDesired,
    reconcile: async () => {
      await obeyDetached();
      return await fabric.reconcileAll();
    },
    announcerStatus: () => announcerApi.status().catch(() => undefined),
  });

  const listeners: Listener[] = [
    await startApiServer({
      port,
      version,
      socketPath: paths.apiSocket,
      onInternalError: (error) => logger.error({ err: error }, 'the API failed'),
    }),
  ];
  const { metrics } = desired().host;
  if (metrics !== undefined) listeners.push(await startMetricsServer(metrics, () => port.metrics()));
  const lookAtInterface = async () => {
    const now = await findHostInterface(desired().host.interface);
    const nowFurther = await findFurther(desired().host.interfaces, logger);
    const placesOf = (all: readonly HostInterface[]) =>
      all.map(({ name, index, mac }) => `${name} ${index} ${formatMacAddress(mac)}`).join();
    const same = placesOf([now, ...nowFurther]) === placesOf([on, ...further]);
    const moved = now.index !== on.index;
    const before = nextHopsOf(desired(), on);
    on = now;
    followHosts();
    further = nowFurther;
    const after = nextHopsOf(desired(), on);
    if (before.ipv4 !== after.ipv4 || before.ipv6 !== after.ipv6) {
      logger.warn({ before, after }, 'the addresses changed: other next hops are announced');
      fabric.touch();
    }
    await nat.settle();
    // An interface that was down has lost the routes and neighbours that checks need.
    await routeChecks();
    if (same) return;
    if (moved) {
      const all = backendAddresses(desired().vips);
      const none = { bridged: [], routed: [] };
      facts.changeBackends({ gone: all, come: none });
      facts.changeBackends({ gone: none, come: all });
      neighbours.interfacesChanged();
    }
    logger.warn(
      { interfaces: namesOf([on, ...further]), index: now.index },
      'an interface changed: attaching anew',
    );
    await attach();
    fabric.touch();
  };
  const stopLinks = followInterface({
    current: () => [on, ...further],
    names: () => desired().host.interfaces,
    onChange: lookAtInterface,
    clock,
    logger,
  });
  const stopWatching = watchAttachment({
    clock,
    logger,
    problem: () => (detached.all ? undefined : dataPlane.attachmentProblem(served())),
    attach,
    onChange: () => fabric.touchVerdicts(),
  });
  logger.info(
    {
      interface: on.name,
      mode: dataPlane.attachment()?.mode,
      vips: desired().vips.length,
      socket: paths.apiSocket,
    },
    'running',
  );

  return {
    async stop() {
      stopLinks();
      interfaces.stop();
      redirectTargets.stop();
      stopWatching();
      flowPasses.stop();
      tunnelPaths.stop();
      fabric.stop();
      nat.stop();
      sourceReturn.stop();
      checker.stop();
      neighbours.stop();
      fragmentNeighbours.stop();
      proxyHosts.stop();
      announcer.stop();
      proxy.stop();
      for (const listener of listeners) await listener.close();
      await runtime.close();
    },
  };
}

function namesOf(interfaces: readonly HostInterface[]): string[] {
  return interfaces.map(({ name }) => name);
}
