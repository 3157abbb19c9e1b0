import { compareIpAddress } from '@l4d/kit/ip-address.ts';
import { vrrpPriority } from './packet.ts';
import type {
  VrrpEffect,
  VrrpEvent,
  VrrpPhase,
  VrrpReason,
  VrrpSettings,
  VrrpState,
  VrrpTimer,
} from './state-types.ts';
import { activeDownInterval, fenceInterval, skewTime } from './timing.ts';

/** What a step leads to. */
export interface VrrpStep {
  readonly state: VrrpState;
  readonly effects: readonly VrrpEffect[];
}

/**
 * Whoever is worse is told at once who is here, but not again within so many milliseconds: two advertisements of ours that
 * are closer together tell nobody more, and a flood must not be answered by one.
 */
const assertGapMs = 2;

type Advertisement = Extract<VrrpEvent, { kind: 'advertisement' }>;

/** A virtual router that has not been started. */
export function initialVrrpState(settings: VrrpSettings): VrrpState {
  return {
    phase: 'Initialize',
    owning: false,
    settings,
    activeIntervalMs: settings.intervalMs,
    heard: undefined,
    lastSentAt: Number.NEGATIVE_INFINITY,
    preemptSince: undefined,
    isPreempting: false,
    roundsLeft: 0,
    lastAnnouncedAt: Number.NEGATIVE_INFINITY,
  };
}

/**
 * Whether this host may answer for the addresses at that time. Ownership that was not asserted for as long as others
 * wait is not believed: a process that was stopped wakes up as an owner in its own eyes.
 */
export function ownsAt(state: VrrpState, now: number): boolean {
  return state.owning && !isFenced(state, now);
}

/**
 * RFC 9568 section 6.4. Beyond it: a claim is sent `claimDelayMs` before clients hear of it, so that of two routers
 * that become Active at the same moment one has yielded by then; and a router that stood still for as long as others
 * wait goes back to Backup before anything else.
 */
export function stepVrrp(state: VrrpState, event: VrrpEvent): VrrpStep {
  if (!isFenced(state, event.now)) return react(state, event);
  const fenced = yieldOnStall(state);
  const rest = react(fenced.state, event);
  return { state: rest.state, effects: [...fenced.effects, ...rest.effects] };
}

function isFenced({ phase, settings, lastSentAt }: VrrpState, now: number): boolean {
  return phase === 'Active' && now - lastSentAt > fenceInterval(settings.intervalMs);
}

function react(state: VrrpState, event: VrrpEvent): VrrpStep {
  if (event.kind === 'configure') return configure(state, event);
  switch (state.phase) {
    case 'Initialize':
      return event.kind === 'startup' ? start(state, event.now) : unchanged(state);
    case 'Backup':
      return reactAsBackup(state, event);
    case 'Active':
      return reactAsActive(state, event);
  }
}

/** Section 6.4.1. */
function start(state: VrrpState, now: number): VrrpStep {
  if (state.settings.priority === vrrpPriority.owner) return becomeActive(state, now, 'owns the addresses');
  const activeIntervalMs = state.settings.intervalMs;
  const delayMs = activeDownInterval(state.settings.priority, activeIntervalMs);
  return {
    state: { ...state, phase: 'Backup', activeIntervalMs, heard: undefined, preemptSince: undefined },
    effects: [{ kind: 'set-timer', timer: 'active-down', delayMs }, changed(state, 'Backup', 'started')],
  };
}

/** Section 6.4.2. */
function reactAsBackup(state: VrrpState, event: VrrpEvent): VrrpStep {
  switch (event.kind) {
    case 'shutdown':
      return {
        state: initialVrrpState(state.settings),
        effects: [{ kind: 'clear-timer', timer: 'active-down' }, changed(state, 'Initialize', 'stopped')],
      };
    case 'timer':
      return event.timer === 'active-down'
        ? becomeActive(state, event.now, silenceOf(state))
        : unchanged(state);
    case 'advertisement':
      return hearAsBackup(state, event);
    default:
      return unchanged(state);
  }
}

function hearAsBackup(state: VrrpState, { now, source, priority, intervalMs }: Advertisement): VrrpStep {
  const { settings } = state;
  const heard = { source, priority };
  if (priority === vrrpPriority.leaving) {
    const delayMs = skewTime(settings.priority, state.activeIntervalMs);
    return {
      state: { ...state, heard, preemptSince: undefined, isPreempting: false },
      effects: [{ kind: 'set-timer', timer: 'active-down', delayMs }],
    };
  }
  if (!settings.preempt || priority >= settings.priority) {
    return follow({ ...state, heard, preemptSince: undefined, isPreempting: false }, intervalMs);
  }
  const preemptSince = state.preemptSince ?? now;
  const next = { ...state, heard, preemptSince };
  if (now - preemptSince < settings.preemptDelayMs) return follow(next, intervalMs);
  // Discarded, so that Active_Down_Timer ends. After a delay nothing is left to wait for but the better ones of
  // those that waited with us.
  if (settings.preemptDelayMs === 0 || state.isPreempting) return unchanged(next);
  const delayMs = skewTime(settings.priority, intervalMs);
  return {
    state: { ...next, isPreempting: true },
    effects: [{ kind: 'set-timer', timer: 'active-down', delayMs }],
  };
}

/** Takes the advertisement of the Active Router for what it is: Active_Down_Timer begins anew. */
function follow(state: VrrpState, activeIntervalMs: number): VrrpStep {
  const delayMs = activeDownInterval(state.settings.priority, activeIntervalMs);
  return {
    state: { ...state, activeIntervalMs },
    effects: [{ kind: 'set-timer', timer: 'active-down', delayMs }],
  };
}

function becomeActive(state: VrrpState, now: number, reason: VrrpReason): VrrpStep {
  const { settings } = state;
  return {
    state: {
      ...state,
      phase: 'Active',
      owning: false,
      heard: undefined,
      preemptSince: undefined,
      isPreempting: false,
      activeIntervalMs: settings.intervalMs,
      lastSentAt: now,
    },
    effects: [
      { kind: 'clear-timer', timer: 'active-down' },
      { kind: 'send', priority: settings.priority },
      { kind: 'set-timer', timer: 'claim', delayMs: settings.claimDelayMs },
      { kind: 'set-timer', timer: 'advertisement', delayMs: settings.intervalMs },
      changed(state, 'Active', reason),
    ],
  };
}

/** Section 6.4.3. */
function reactAsActive(state: VrrpState, event: VrrpEvent): VrrpStep {
  switch (event.kind) {
    case 'shutdown':
      return {
        state: initialVrrpState(state.settings),
        effects: [
          ...stopActing(state),
          { kind: 'send', priority: vrrpPriority.leaving },
          changed(state, 'Initialize', 'stopped'),
        ],
      };
    case 'timer':
      return onActiveTimer(state, event.timer, event.now);
    case 'advertisement':
      return hearAsActive(state, event);
    case 'readdressed':
      return state.owning ? beginAnnouncing(state, event.now) : unchanged(state);
    default:
      return unchanged(state);
  }
}

function onActiveTimer(state: VrrpState, timer: VrrpTimer, now: number): VrrpStep {
  switch (timer) {
    case 'advertisement':
      return advertise(state, now);
    case 'claim': {
      const announced = beginAnnouncing({ ...state, owning: true }, now);
      return { state: announced.state, effects: [{ kind: 'own' }, ...announced.effects] };
    }
    case 'announce':
      return announceOnce(state, now);
    case 'active-down':
      return unchanged(state);
  }
}

function beginAnnouncing(state: VrrpState, now: number): VrrpStep {
  return announceOnce({ ...state, roundsLeft: state.settings.announceRounds }, now);
}

function announceOnce(state: VrrpState, now: number): VrrpStep {
  const { announceIntervalMs, announceRefreshMs } = state.settings;
  const roundsLeft = Math.max(0, state.roundsLeft - 1);
  const delayMs = roundsLeft > 0 ? announceIntervalMs : announceRefreshMs;
  const next: VrrpEffect[] = delayMs > 0 ? [{ kind: 'set-timer', timer: 'announce', delayMs }] : [];
  return { state: { ...state, roundsLeft, lastAnnouncedAt: now }, effects: [{ kind: 'announce' }, ...next] };
}

function advertise(state: VrrpState, now: number): VrrpStep {
  return {
    state: { ...state, lastSentAt: now },
    effects: [
      { kind: 'send', priority: state.settings.priority },
      { kind: 'set-timer', timer: 'advertisement', delayMs: state.settings.intervalMs },
    ],
  };
}

function hearAsActive(state: VrrpState, { now, source, priority, intervalMs }: Advertisement): VrrpStep {
  const { settings } = state;
  // Whoever leaves, and whoever is worse, is told at once who is here.
  if (priority === vrrpPriority.leaving) return assertOnce(state, now);
  const isBetter =
    priority > settings.priority ||
    (priority === settings.priority && compareIpAddress(source, settings.source) > 0);
  if (!isBetter) {
    // Both have spoken to clients and switches if the other one came from a part of the network that was cut off.
    const told = assertOnce(state, now);
    if (!state.owning || now - state.lastAnnouncedAt < settings.announceIntervalMs) return told;
    return {
      state: { ...told.state, lastAnnouncedAt: now },
      effects: [...told.effects, { kind: 'announce' }],
    };
  }
  const backup = follow(yielded(state, { source, priority }), intervalMs);
  return {
    state: backup.state,
    effects: [...stopActing(state), ...backup.effects, changed(state, 'Backup', 'a better router is Active')],
  };
}

function assertOnce(state: VrrpState, now: number): VrrpStep {
  return now - state.lastSentAt < assertGapMs ? unchanged(state) : advertise(state, now);
}

/** Back to Backup without a word. One interval is enough to hear of an Active Router, which has had three to begin. */
function yieldOnStall(state: VrrpState): VrrpStep {
  const { settings } = state;
  const delayMs = settings.intervalMs + skewTime(settings.priority, settings.intervalMs);
  return {
    state: yielded(state, undefined),
    effects: [
      ...stopActing(state),
      { kind: 'set-timer', timer: 'active-down', delayMs },
      changed(state, 'Backup', 'this process stood still'),
    ],
  };
}

function yielded(state: VrrpState, heard: VrrpState['heard']): VrrpState {
  return { ...state, phase: 'Backup', owning: false, heard, preemptSince: undefined, isPreempting: false };
}

function stopActing(state: VrrpState): VrrpEffect[] {
  const timers = ['advertisement', 'claim', 'announce'] as const;
  const clear = timers.map((timer): VrrpEffect => ({ kind: 'clear-timer', timer }));
  return state.owning ? [{ kind: 'release' }, ...clear] : clear;
}

/** What an Active Router says of itself changes at once; a Backup Router goes on with what it waits for. */
function configure(state: VrrpState, { now, settings }: Extract<VrrpEvent, { kind: 'configure' }>): VrrpStep {
  const before = state.settings;
  const next = { ...state, settings };
  const isHeard = before.priority !== settings.priority || before.intervalMs !== settings.intervalMs;
  return state.phase === 'Active' && isHeard ? advertise(next, now) : unchanged(next);
}

/** What the end of Active_Down_Timer means. */
function silenceOf({ heard, settings }: VrrpState): VrrpReason {
  if (heard?.priority === vrrpPriority.leaving) return 'the Active Router left';
  const isPreempted = heard !== undefined && settings.preempt && heard.priority < settings.priority;
  return isPreempted ? 'better than the Active Router' : 'silence of the Active Router';
}

function changed({ phase }: VrrpState, to: VrrpPhase, reason: VrrpReason): VrrpEffect {
  return { kind: 'changed', from: phase, to, reason };
}

function unchanged(state: VrrpState): VrrpStep {
  return { state, effects: [] };
}
