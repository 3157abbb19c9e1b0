import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { formatMacAddress, type MacAddress } from '@l4d/kit/mac-address.ts';
import { compareAddressLists, describeDifference } from '../../core/vrrp/address-list.ts';
import { advertisementFrame } from '../../core/vrrp/frame.ts';
import { advertisedAddresses, type VirtualRouterPlan } from '../../core/vrrp/group-plan.ts';
import {
  type Advertisement,
  encodeAdvertisement,
  type VrrpDrop,
  vrrpPriority,
} from '../../core/vrrp/packet.ts';
import { initialVrrpState, ownsAt, stepVrrp } from '../../core/vrrp/state-machine.ts';
import type {
  VrrpEffect,
  VrrpEvent,
  VrrpReason,
  VrrpSettings,
  VrrpTimer,
} from '../../core/vrrp/state-types.ts';
import type { VirtualRouterStatus } from '../../core/vrrp/status.ts';
import { activeDownInterval, fenceInterval } from '../../core/vrrp/timing.ts';
import { virtualMac } from '../../core/vrrp/virtual-mac.ts';

/** What a virtual router has of its interface. */
export interface RouterPort {
  /** Primary IPv4 or link-local IPv6 address. */
  readonly source: IpAddress;
  /** MAC address of the interface. */
  readonly mac: MacAddress;
  readonly mtu: number;
  /** Whether the kernel took it; the error's name when not. */
  readonly send: (frame: Uint8Array) => string | undefined;
}

/** What a virtual router needs from its surroundings. */
export interface RouterEnvironment {
  readonly clock: Clock;
  /** Unix time in milliseconds. */
  readonly wallClock: () => number;
  /** Takes in all that has arrived, before silence is believed. */
  readonly drain: () => void;
  readonly onOwn: (router: VirtualRouter) => void;
  readonly onRelease: (router: VirtualRouter) => void;
  readonly onAnnounce: (router: VirtualRouter) => void;
  /** It may answer for its addresses for so many milliseconds from now; 0: it may not. */
  readonly onTenure: (router: VirtualRouter, milliseconds: number) => void;
  readonly onChange: (router: VirtualRouter, reason: VrrpReason) => void;
}

/** One running virtual router: performs the machine's effects and feeds it events. */
export interface VirtualRouter {
  readonly plan: VirtualRouterPlan;
  /** MAC address that clients are told. */
  mac(): MacAddress | undefined;
  /** Where its advertisements come from. */
  source(): IpAddress | undefined;
  /** Whether it answers for its addresses at this moment. */
  owns(): boolean;
  /** Takes part as long as there is a port and the group is enabled; `why` there is none. */
  setPort(port: RouterPort | undefined, why: string | undefined): void;
  /** Changes what can be changed while it runs. */
  reconfigure(plan: VirtualRouterPlan): void;
  receive(advertisement: Advertisement, source: IpAddress): void;
  countDrop(reason: VrrpDrop): void;
  countAnswer(): void;
  countAnnouncements(count: number): void;
  /** Leaves with priority 0. */
  close(): void;
  status(): VirtualRouterStatus;
}

/**
 * From the first advertisement as Active to the first word to clients. Another router that claims the same has heard of
 * us by then, or we of it: above the delay of a segment and of a scheduler, well below the shortest interval.
 */
const claimDelayMs = 3;

const latenessWindowMs = 60_000;

/** How long an operator can see a difference of addresses at least. */
const leastConflictMs = 10_000;

type BareEvent = VrrpEvent extends infer Event
  ? Event extends VrrpEvent
    ? Omit<Event, 'now'>
    : never
  : never;

/** Makes a virtual router that is silent until it has a port. */
export function createVirtualRouter(
  initial: VirtualRouterPlan,
  environment: RouterEnvironment,
): VirtualRouter {
  const { clock } = environment;
  const timers = new Map<VrrpTimer, { timer: Timer; dueAt: number }>();
  const dropped: Record<string, number> = {};
  const sendErrors: Record<string, number> = {};
  const noSource: IpAddress = {
    family: initial.family,
    bytes: new Uint8Array(initial.family === 4 ? 4 : 16),
  };
  let plan = initial;
  let port: RouterPort | undefined;
  let problem: string | undefined;
  let state = initialVrrpState(settingsOf(plan, noSource));
  let since = environment.wallClock();
  let reason: VrrpReason | undefined;
  let ownAddresses = addressTexts(plan);
  let conflict: { readonly source: IpAddress; readonly text: string; readonly until: number } | undefined;
  /** What clients were told of. */
  let told = '';
  let tenure = 0;
  let lateness = { worst: 0, previous: 0, since: clock.now() };
  const counts = { transitions: 0, sent: 0, received: 0, answers: 0, announcements: 0, mismatches: 0 };

  function dispatch(event: BareEvent): void {
    const result = stepVrrp(state, { ...event, now: clock.now() } as VrrpEvent);
    state = result.state;
    for (const effect of result.effects) perform(effect);
    tellTenure();
  }

  /** How long the last advertisement carries. What is given up is told before anything else learns of it. */
  function tellTenure(): void {
    const until = state.owning ? state.lastSentAt + fenceInterval(state.settings.intervalMs) : 0;
    if (until === tenure) return;
    tenure = until;
    environment.onTenure(router, until === 0 ? 0 : Math.max(0, until - clock.now()));
  }

  function perform(effect: VrrpEffect): void {
    switch (effect.kind) {
      case 'send':
        send(effect.priority);
        return;
      case 'set-timer':
        setTimer(effect.timer, effect.delayMs);
        return;
      case 'clear-timer':
        timers.get(effect.timer)?.timer.cancel();
        timers.delete(effect.timer);
        return;
      case 'own':
        environment.onOwn(router);
        return;
      case 'release':
        environment.onRelease(router);
        return;
      case 'announce':
        environment.onAnnounce(router);
        return;
      case 'changed':
        counts.transitions += 1;
        since = environment.wallClock();
        reason = effect.reason;
        environment.onChange(router, effect.reason);
        return;
    }
  }

  function send(priority: number): void {
    if (port === undefined) return;
    const addresses = advertisedAddresses(plan, port.mtu);
    const intervalCs = state.settings.intervalMs / 10;
    const advertisement = { vrid: plan.vrid, priority, intervalCs, addresses };
    const message = encodeAdvertisement(advertisement, port.source, plan.group.checksum);
    const error = port.send(advertisementFrame(message, port.source, macOf(port)));
    if (error === undefined) counts.sent += 1;
    else sendErrors[error] = (sendErrors[error] ?? 0) + 1;
  }

  const macOf = ({ mac }: RouterPort) => (plan.group.useVmac ? virtualMac(plan.family, plan.vrid) : mac);

  function setTimer(name: VrrpTimer, delayMs: number): void {
    timers.get(name)?.timer.cancel();
    // Timers count whole milliseconds.
    const delay = Math.max(0, Math.round(delayMs));
    const dueAt = clock.now() + delay;
    timers.set(name, { timer: clock.after(Milliseconds(delay), () => onTimer(name)), dueAt });
  }

  function onTimer(name: VrrpTimer): void {
    const entry = timers.get(name);
    if (entry === undefined) return;
    const late = clock.now() - entry.dueAt;
    observeLateness(late);
    // After this process stood still, packets wait in the socket that tell who is Active by now.
    if (name === 'active-down' || name === 'claim' || late > state.settings.intervalMs) environment.drain();
    if (timers.get(name) !== entry) return;
    timers.delete(name);
    dispatch({ kind: 'timer', timer: name });
  }

  function observeLateness(late: number): void {
    const now = clock.now();
    if (now - lateness.since > latenessWindowMs)
      lateness = { worst: 0, previous: lateness.worst, since: now };
    lateness.worst = Math.max(lateness.worst, late);
  }

  function isWanted(): boolean {
    return port !== undefined && plan.group.enabled;
  }

  function startOrStop(): void {
    if (isWanted() && state.phase === 'Initialize') dispatch({ kind: 'startup' });
    if (!isWanted() && state.phase !== 'Initialize') dispatch({ kind: 'shutdown' });
  }

  function configure(): void {
    const settings = settingsOf(plan, port?.source ?? noSource);
    if (JSON.stringify(settings) === JSON.stringify(state.settings)) return;
    dispatch({ kind: 'configure', settings });
  }

  /** Clients have to learn what was not so when they were told last. */
  function tellClients(): void {
    const mac = router.mac();
    const now = `${mac === undefined ? '' : formatMacAddress(mac)} ${[...ownAddresses].join(' ')}`;
    if (now === told) return;
    told = now;
    dispatch({ kind: 'readdressed' });
  }

  const router: VirtualRouter = {
    get plan() {
      return plan;
    },
    source: () => port?.source,
    mac: () => (port === undefined ? undefined : macOf(port)),
    owns: () => ownsAt(state, clock.now()),
    setPort(changed, why) {
      problem = why;
      // What is known of another link is of no use on this one; the farewell goes out where it still can.
      const isOther =
        changed === undefined || port === undefined || !sameIpAddress(changed.source, port.source);
      if (isOther && state.phase !== 'Initialize') dispatch({ kind: 'shutdown' });
      port = changed;
      configure();
      startOrStop();
      tellClients();
    },
    reconfigure(changed) {
      plan = changed;
      ownAddresses = addressTexts(plan);
      configure();
      startOrStop();
    },
    receive(advertisement, source) {
      counts.received += 1;
      // RFC 9568 section 7.1: the owner of the addresses listens to nobody.
      if (plan.priority === vrrpPriority.owner) return count(dropped, 'address-owner');
      if (port !== undefined && sameIpAddress(source, port.source)) return count(dropped, 'own-packet');
      compareAddresses(advertisement, source);
      const { priority, intervalCs } = advertisement;
      dispatch({ kind: 'advertisement', source, priority, intervalMs: intervalCs * 10 });
    },
    countDrop: (name) => count(dropped, name),
    countAnswer() {
      counts.answers += 1;
    },
    countAnnouncements(sent) {
      counts.announcements += sent;
    },
    close() {
      if (state.phase !== 'Initialize') dispatch({ kind: 'shutdown' });
      for (const { timer } of timers.values()) timer.cancel();
      timers.clear();
    },
    status() {
      const active = state.phase === 'Active' ? port?.source : state.heard?.source;
      const activePriority = state.phase === 'Active' ? plan.priority : state.heard?.priority;
      const mac = router.mac();
      return {
        group: plan.group.id,
        interface: plan.group.interface,
        vrid: plan.vrid,
        family: plan.family === 4 ? 'ipv4' : 'ipv6',
        state: state.phase,
        owning: router.owns(),
        priority: plan.priority,
        ...(mac === undefined ? {} : { mac: formatMacAddress(mac) }),
        ...(active === undefined ? {} : { activeRouter: formatIpAddress(active) }),
        ...(activePriority === undefined ? {} : { activePriority }),
        ...(reason === undefined ? {} : { reason }),
        since,
        addresses: plan.addresses.length,
        intervalMs: state.settings.intervalMs,
        activeDownMs: activeDownInterval(plan.priority, state.activeIntervalMs),
        transitions: counts.transitions,
        packetsSent: counts.sent,
        packetsReceived: counts.received,
        answersSent: counts.answers,
        announcementsSent: counts.announcements,
        addressMismatches: counts.mismatches,
        ...(conflict === undefined || conflict.until < clock.now() ? {} : { addressConflict: conflict.text }),
        dropped: { ...dropped },
        sendErrors: { ...sendErrors },
        timerLatenessMs: Math.round(Math.max(lateness.worst, lateness.previous) * 10) / 10,
        ...(problem === undefined ? {} : { problem }),
      };
    },
  };

  function compareAddresses({ addresses, intervalCs }: Advertisement, source: IpAddress): void {
    const isCut = port !== undefined && advertisedAddresses(plan, port.mtu).length < plan.addresses.length;
    const difference = compareAddressLists(ownAddresses, isCut, addresses);
    if (difference === undefined) {
      if (conflict !== undefined && sameIpAddress(conflict.source, source)) conflict = undefined;
      return;
    }
    counts.mismatches += 1;
    const until = clock.now() + Math.max(leastConflictMs, activeDownInterval(1, intervalCs * 10));
    conflict = { source, text: describeDifference(formatIpAddress(source), plan.vrid, difference), until };
  }

  return router;
}

/** Texts of all addresses, made once: there may be many, and advertisements come often. */
function addressTexts({ addresses }: VirtualRouterPlan): ReadonlySet<string> {
  return new Set(addresses.map(formatIpAddress));
}

function settingsOf({ group, priority }: VirtualRouterPlan, source: IpAddress): VrrpSettings {
  return {
    priority,
    intervalMs: group.advertiseIntervalMs,
    preempt: group.preempt,
    preemptDelayMs: group.preemptDelayMs,
    claimDelayMs,
    announceRounds: group.garp.repeat,
    announceIntervalMs: group.garp.intervalMs,
    announceRefreshMs: group.garp.refreshMs,
    source,
  };
}

function count(counters: Record<string, number>, name: string): void {
  counters[name] = (counters[name] ?? 0) + 1;
}
