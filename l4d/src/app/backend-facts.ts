import type { HealthTarget } from '@l4d/health/core/target.ts';
import type { Verdict } from '@l4d/health/core/verdict.ts';
import type { HealthChecker } from '@l4d/health/io/health-checker.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { type BackendCondition, bothWays, drainDeadline, judgeBackend } from '../core/backend-condition.ts';
import { type Backend, isDrained } from '../core/desired/backend.ts';
import {
  backendPort,
  forwardModeOf,
  isDirect,
  routedAddress,
  type Vip,
  vipKeyText,
  vxlanEndOf,
} from '../core/desired/vip.ts';
import { isMixed, isProxied } from '../core/desired/vip-classes.ts';
import { sourceProbesOf } from '../core/desired/vip-source.ts';
import { sameVxlanEnd } from '../core/forwarding/vxlan-end.ts';
import { outsideSubnet } from '../core/outside-subnet.ts';
import { backendKey } from '../core/runtime-state.ts';
import type { BackendWay } from '../core/wanted-vip.ts';
import { markOfBackend } from '../io/check-routing.ts';
import type { ForwardingTable } from '../io/forwarding/forwarding-table.ts';
import type { NextHop } from '../io/next-hops.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import type { BackendAddressChange } from './backend-neighbours.ts';

/** What the facts about backends are gathered from. */
export interface BackendFactsParts {
  readonly forwarding: ForwardingTable;
  readonly checker: HealthChecker;
  readonly runtime: RuntimeStore;
  /** Wall clock milliseconds. */
  readonly wallClock: () => number;
  /** Of the host's interfaces. */
  readonly subnets: () => readonly IpPrefix[];
  /** Whether an interface of the host has an address. */
  readonly isOwnAddress?: (address: IpAddress) => boolean;
  /** Why no backend can be spoken to from its clients' addresses; undefined when they can. */
  readonly sourceProblem?: () => string | undefined;
  /** Index of the interface in whose segment an address is. */
  readonly segmentOf: (address: IpAddress) => number;
  /** Number of an interface in the kernel's tables, or why packets cannot leave by it. */
  readonly egressOf: (interfaceIndex: number) => number | string;
}

/**
 * What is known of the backends: verdicts of checks, MAC addresses, drains. What a fresh process does
 * not know yet is taken from before it: the saved verdicts, and what the kernel holds.
 */
export type BackendFactsSource = ReturnType<typeof createBackendFacts>;

/** Two interfaces may have neighbours of one address: link-local ones above all. */
function macKey(interfaceIndex: number, address: IpAddress): string {
  return `${interfaceIndex} ${formatIpAddress(address)}`;
}

/** Gathers facts from its parts; holds only the MAC addresses and next hops that it is told. */
export function createBackendFacts(parts: BackendFactsParts) {
  const { forwarding, checker, runtime, wallClock } = parts;
  const macs = new Map<string, MacAddress | undefined>();
  /** Backends in the segment of an interface. */
  const bridged = new Set<string>();
  /** By the address of a tunnel's end. */
  const hops = new Map<string, NextHop>();
  /** How many tunnels' ends are behind each next hop, by macKey. */
  const routers = new Map<string, number>();
  /** When drains of limited time end (wall clock milliseconds), by VIP key. */
  const drains = new Map<string, readonly number[]>();

  const keyOf = (vip: Vip, backend: Backend) =>
    backendKey(vipKeyText(vip), formatIpAddress(backend.address), backendPort(vip, backend));

  /**
   * Of what checks say of it. A verdict without a return path, or with that to other addresses, says nothing of one with
   * this: it has a key of its own.
   */
  const checkKeyOf = (vip: Vip, backend: Backend) => {
    const probes = sourceProbesOf(vip, backend.address.family);
    return probes.length === 0
      ? keyOf(vip, backend)
      : `${keyOf(vip, backend)}|${probes.map(formatIpAddress).join()}`;
  };
  /** Of the second check of a backend that is reached in both ways: as the proxy reaches it. */
  const proxiedKeyOf = (vip: Vip, backend: Backend) => `${keyOf(vip, backend)}|l7`;

  /** Whether packets for it and connections of the proxy take different ways, each with a check of its own. */
  const hasTwoWays = (vip: Vip, backend: Backend) =>
    isProxied(vip) && isDirect(vip, backend) && forwardModeOf(vip, backend) !== 'nat';

  /** Of the check that asks it at its own address. */
  const ownKeyOf = (vip: Vip, backend: Backend) =>
    hasTwoWays(vip, backend) ? proxiedKeyOf(vip, backend) : checkKeyOf(vip, backend);

  const keysOf = (vip: Vip, backend: Backend) => [
    ...new Set([keyOf(vip, backend), checkKeyOf(vip, backend), ownKeyOf(vip, backend)]),
  ];

  const heldBackend = (vip: Vip, address: IpAddress) => forwarding.heldBackend(vipKeyText(vip), address);

  /** Takes note of a next hop, and forgets the MAC of one that nothing is behind any more. */
  function setHop(end: string, hop: NextHop | undefined): void {
    const before = hops.get(end);
    if (hop === undefined) hops.delete(end);
    else hops.set(end, hop);
    if (hop !== undefined && 'neighbour' in hop) {
      const key = macKey(hop.interfaceIndex, hop.neighbour);
      routers.set(key, (routers.get(key) ?? 0) + 1);
    }
    if (before === undefined || 'problem' in before) return;
    const { neighbour, interfaceIndex } = before;
    const key = macKey(interfaceIndex, neighbour);
    const left = (routers.get(key) ?? 0) - 1;
    if (left > 0) {
      routers.set(key, left);
      return;
    }
    routers.delete(key);
    const isBridged =
      bridged.has(formatIpAddress(neighbour)) && parts.segmentOf(neighbour) === interfaceIndex;
    if (!isBridged) macs.delete(key);
  }

  /** The verdict from before this process; a kernel entry that takes flows was up. */
  function verdictBefore(vip: Vip, backend: Backend, key: string): Verdict | undefined {
    const saved = runtime.verdict(key);
    // What the kernel holds of an l7 VIP tells nothing of return paths.
    if (saved !== undefined || vip.source !== undefined) return saved;
    // A way that was not asked yet is taken to be as the other one: a VIP that gets a second way stays announced.
    const other = keysOf(vip, backend).find((one) => one !== key);
    const known =
      other === undefined ? undefined : (checker.status(other)?.verdict ?? runtime.verdict(other));
    if (known === 'up' || known === 'down') return known;
    return heldBackend(vip, backend.address)?.state === 'up' ? 'up' : undefined;
  }

  /** Why a backend cannot be spoken to from clients' addresses whatever its checks say; undefined for one that may be. */
  function sourceProblem(vip: Vip, backend: Backend): string | undefined {
    if (vip.source === undefined) return undefined;
    const problem = parts.sourceProblem?.();
    if (problem !== undefined) return `clients' addresses cannot be kept: ${problem}`;
    if (isOwn(backend.address))
      return 'it is this host itself: what it answers to clients never comes back to the proxy (source: client)';
    const probe = sourceProbesOf(vip, backend.address.family).find(isOwn);
    if (probe === undefined) return undefined;
    return `its return path cannot be proven: ${formatIpAddress(probe)} of sourceProbes is this host's own address`;
  }

  const isOwn = (address: IpAddress) => parts.isOwnAddress?.(address) === true;

  /** Backends that are asked less than before, no longer for a return path, are what they were. */
  function keepProven(removed: readonly Vip[], added: readonly Vip[]): void {
    const sourced = new Map(
      removed.flatMap((vip) =>
        vip.source === undefined
          ? []
          : vip.backends.map((one) => [keyOf(vip, one), checkKeyOf(vip, one)] as const),
      ),
    );
    for (const vip of added) {
      if (vip.source !== undefined) continue;
      for (const backend of vip.backends) {
        const before = sourced.get(keyOf(vip, backend));
        if (before !== undefined && runtime.verdict(before) === 'up')
          runtime.setVerdict(keyOf(vip, backend), 'up');
      }
    }
  }

  /** The neighbour that packets to a backend go to; undefined before a route was looked up. */
  function hopOf(vip: Vip, backend: Backend): NextHop | undefined {
    const { address } = backend;
    if (forwardModeOf(vip, backend) === 'l2')
      return { neighbour: address, interfaceIndex: parts.segmentOf(address) };
    return hops.get(formatIpAddress(routedAddress(vip, backend)));
  }

  return {
    keyOf,
    checkKeyOf,

    /** Takes note of a neighbour's address; undefined: it was given up. */
    learnMac(interfaceIndex: number, address: IpAddress, mac: MacAddress | undefined): void {
      macs.set(macKey(interfaceIndex, address), mac);
    },

    /** Takes note of the way to a tunnel's end. */
    learnHop(end: IpAddress, hop: NextHop): void {
      setHop(formatIpAddress(end), hop);
    },

    /** Forgets what was learnt of backends that are gone: one that comes back may have another card. */
    changeBackends({ gone, come }: BackendAddressChange): void {
      for (const address of come.bridged) bridged.add(formatIpAddress(address));
      for (const address of gone.bridged) {
        bridged.delete(formatIpAddress(address));
        const key = macKey(parts.segmentOf(address), address);
        if (!routers.has(key)) macs.delete(key);
      }
      for (const address of gone.routed) setHop(formatIpAddress(address), undefined);
    },

    /** The first step of packets to a backend: the MAC address is its own, or that of the next hop. */
    wayOf(vip: Vip, backend: Backend): BackendWay {
      const held = heldBackend(vip, backend.address);
      const hop = hopOf(vip, backend);
      // Another way of forwarding goes to another neighbour.
      const isSame =
        held?.forward === forwardModeOf(vip, backend) && sameVxlanEnd(held.vxlan, vxlanEndOf(vip, backend));
      if (hop === undefined) return { mac: isSame ? held.mac : undefined, egress: held?.egress ?? 0 };
      if ('problem' in hop) return { mac: undefined, egress: held?.egress ?? 0 };
      const egress = parts.egressOf(hop.interfaceIndex);
      if (typeof egress === 'string') return { mac: undefined, egress: held?.egress ?? 0 };
      const key = macKey(hop.interfaceIndex, hop.neighbour);
      if (macs.has(key)) return { mac: macs.get(key), egress };
      return { mac: isSame && held.egress === egress ? held.mac : undefined, egress };
    },

    /** The MAC that packets should go to: the backend's, or that of the next hop to it. */
    macOf(vip: Vip, backend: Backend): MacAddress | undefined {
      return this.wayOf(vip, backend).mac;
    },

    /** Why packets cannot get to a backend whose MAC address is not known. */
    unreachedReason(vip: Vip, backend: Backend): string {
      const hop = hopOf(vip, backend);
      if (hop === undefined) return 'the route to it was not looked up yet';
      if ('problem' in hop) return hop.problem;
      const egress = parts.egressOf(hop.interfaceIndex);
      if (typeof egress === 'string') return egress;
      if (forwardModeOf(vip, backend) === 'l2') {
        const why = outsideSubnet(parts.subnets(), backend.address);
        return `its MAC address is not resolved: it ${why === undefined ? 'does not answer ARP or neighbour discovery' : `is ${why}`}`;
      }
      return `the MAC address of its next hop ${formatIpAddress(hop.neighbour)} is not resolved`;
    },

    /** How a backend is treated and shown now. */
    condition(vip: Vip, backend: Backend): BackendCondition {
      const key = keyOf(vip, backend);
      const unsourced = sourceProblem(vip, backend);
      const isChecked = vip.check.type !== 'none';
      const judge = (checkKey: string, needsMac: boolean) => {
        const status = checker.status(checkKey);
        const verdict =
          unsourced !== undefined
            ? 'down'
            : isChecked
              ? (status?.verdict ?? verdictBefore(vip, backend, checkKey) ?? 'unknown')
              : 'up';
        const before = isChecked ? 'known from before the restart' : 'not checked';
        return judgeBackend({
          backend,
          verdict,
          verdictReason: unsourced ?? status?.history.at(-1)?.reason ?? before,
          needsMac,
          mac: this.macOf(vip, backend),
          unreachedReason: this.unreachedReason(vip, backend),
          drainStartedAt: runtime.drainStarted(key),
          now: wallClock(),
        });
      };
      if (!isDirect(vip, backend)) return judge(ownKeyOf(vip, backend), false);
      const direct = judge(key, true);
      return isMixed(vip) ? bothWays(direct, judge(ownKeyOf(vip, backend), false)) : direct;
    },

    /**
     * The checks of a backend: none, or not one by way of packets while one could not reach it: it is not in the
     * kernel, or its MAC address was never known. What clients reach in both ways is asked in both.
     */
    healthTargets(vip: Vip, backend: Backend): HealthTarget[] {
      if (vip.check.type === 'none') return [];
      const targetOf = (key: string, port: number): Omit<HealthTarget, 'address'> => {
        const adoptedVerdict = verdictBefore(vip, backend, key);
        return { key, check: vip.check, port, ...(adoptedVerdict === undefined ? {} : { adoptedVerdict }) };
      };
      const targets: HealthTarget[] = [];
      if (isProxied(vip) || forwardModeOf(vip, backend) === 'nat') {
        // What is translated is reached as the host reaches it, and asked so.
        const { proxyProtocol } = vip;
        const returnPathOf = sourceProbesOf(vip, backend.address.family);
        targets.push({
          ...targetOf(ownKeyOf(vip, backend), backendPort(vip, backend)),
          ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
          ...(returnPathOf.length === 0 ? {} : { returnPathOf }),
          address: backend.address,
        });
        if (!hasTwoWays(vip, backend)) return targets;
      }
      const key = keyOf(vip, backend);
      const index = heldBackend(vip, backend.address)?.index;
      const reachable = this.macOf(vip, backend) !== undefined || checker.status(key) !== undefined;
      if (index === undefined || !reachable) return targets;
      return [...targets, { ...targetOf(key, vip.port), address: vip.address, mark: markOfBackend(index) }];
    },

    /** Drops what is saved of backends of `removed` that are not in `added`, and begins the time of new drains. */
    changeRuntime(removed: readonly Vip[], added: readonly Vip[]): void {
      for (const vip of removed) drains.delete(vipKeyText(vip));
      keepProven(removed, added);
      const keys = new Set<string>();
      for (const vip of added) {
        const deadlines: number[] = [];
        for (const backend of vip.backends) {
          const key = keyOf(vip, backend);
          for (const one of keysOf(vip, backend)) keys.add(one);
          if (!isDrained(backend)) {
            runtime.forgetDrain(key);
            continue;
          }
          if (runtime.drainStarted(key) === undefined) runtime.setDrainStarted(key, wallClock());
          const deadline = drainDeadline(backend, runtime.drainStarted(key));
          if (deadline !== undefined && deadline > wallClock()) deadlines.push(deadline);
        }
        if (deadlines.length > 0) drains.set(vipKeyText(vip), deadlines);
      }
      for (const vip of removed) {
        for (const backend of vip.backends) {
          for (const key of keysOf(vip, backend)) if (!keys.has(key)) runtime.forgetBackend(key);
        }
      }
    },

    /** Drops what is saved of all other backends, such as those that went while no daemon ran. */
    keepRuntimeOf(vips: readonly Vip[]): void {
      runtime.keepOnly(new Set(vips.flatMap((vip) => vip.backends.flatMap((one) => keysOf(vip, one)))));
    },

    /** Keys of the VIPs with drains of limited time that were not over when they were last looked at. */
    drainingVips: (): readonly string[] => [...drains.keys()],

    /** When the next of these drains ends (wall clock); undefined when there is none any more. */
    nextDrainEnd(): number | undefined {
      let next: number | undefined;
      for (const [vipKey, deadlines] of drains) {
        const left = deadlines.filter((at) => at > wallClock());
        if (left.length === 0) drains.delete(vipKey);
        else next = Math.min(next ?? Number.POSITIVE_INFINITY, ...left);
      }
      return next;
    },
  };
}
