import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { guardChange } from '../../core/change-guard.ts';
import type { ControlPort } from '../../core/control-port.ts';
import { isDrained } from '../../core/desired/backend.ts';
import { declaredPort, type Vip } from '../../core/desired/vip.ts';
import { diffDesired, diffWarnings } from '../../core/desired-diff.ts';
import { type DesiredState, emptyDesiredState } from '../../core/desired-state.ts';
import type { FlowList, FlowQuery } from '../../core/forwarding/flow-query.ts';
import type { BgpStatus, VipStatus } from '../../core/status.ts';

/** A control port that keeps everything in memory and programs nothing: for tests of the API and of its clients. */
export interface MemoryPort extends ControlPort {
  /** Told by `bgp()` and in the status; replace it at will. */
  bgpStatus: BgpStatus;
  /** Told by `flows()`, and what was asked last. */
  flowList: FlowList;
  flowQuery?: FlowQuery;
  /** Text of the planned stop that was asked for. */
  stopped?: string;
  /** Answers for the announcer; without it there is none. */
  announcer?: (method: string, path: string, body?: unknown) => { status: number; body: unknown };
  /** Called before each `replace`, to interfere. */
  beforeReplace?: () => void;
}

/** A control port over a state held in memory, starting at revision 0. */
export function createMemoryPort(initial: DesiredState = emptyDesiredState): MemoryPort {
  const history: DesiredState[] = [initial];
  let revision = 0;
  const now = () => history.at(-1) ?? emptyDesiredState;
  const port: MemoryPort = {
    flowList: { flows: [], looked: 0, truncated: false },
    bgpStatus: { state: 'off', reason: 'host.bgp is not declared' },
    desired: () => ({ revision, state: now() }),
    async replace(next, { ifRevision, force }) {
      port.beforeReplace?.();
      if (ifRevision !== undefined && ifRevision !== revision)
        return { ok: false, error: { kind: 'stale', revision } };
      const reasons = force === true ? [] : guardChange(now(), next);
      if (reasons.length > 0) return { ok: false, error: { kind: 'guarded', reasons } };
      const warnings = diffWarnings(now(), next);
      history.push(next);
      revision += 1;
      return { ok: true, value: { revision, warnings } };
    },
    async undo() {
      if (history.length < 2) return { ok: false, error: { kind: 'nothing-to-undo' } };
      const before = now();
      history.pop();
      revision += 1;
      const [changes, warnings] = [diffDesired(before, now()), diffWarnings(before, now())];
      return { ok: true, value: { revision, undone: 'a change', changes, warnings } };
    },
    plan: async (next) => ({
      changes: diffDesired(now(), next),
      operations: next.vips.map((vip) => `program vip ${vip.name}`),
      warnings: diffWarnings(now(), next),
      guard: guardChange(now(), next),
    }),
    async stop({ text }) {
      port.stopped = text ?? '';
    },
    reconcile: async () => ({ operations: [] }),
    status: async () => ({
      version: '0.0.0-test',
      pid: 4242,
      startedAtMs: 1_700_000_000_000,
      revision,
      host: { interface: now().host.interface, xdpMode: 'native', draining: now().host.draining },
      vips: now().vips.map((vip) => vipStatus(vip, now().host.draining)),
      bgp: port.bgpStatus,
      dataplane: {
        program: 'l4d_xdp',
        mode: 'native',
        dropReasons: { drop_no_backend: 3, drop_fragment: 0, pass_not_vip: 7 },
        flowTable: { kind: 'shared', entries: 12, capacity: 65_536, insertsPerSecond: 1092 },
      },
    }),
    async flows(query) {
      port.flowQuery = query;
      return port.flowList;
    },
    bgp: async () => port.bgpStatus,
    vrrp: async () => ({ state: 'off', reason: 'host.vrrp is not declared', routers: [], dropped: {} }),
    askAnnouncer: async (method, path, body) => port.announcer?.(method, path, body),
    async *metrics() {
      yield '# TYPE l4d_up gauge\n';
      yield 'l4d_up 1\n';
    },
  };
  return port;
}

function vipStatus(vip: Vip, draining: boolean): VipStatus {
  const verdict = !vip.enabled
    ? ({ code: 'disabled', reason: 'the VIP is disabled' } as const)
    : draining
      ? ({ code: 'host-draining', reason: 'the host is draining' } as const)
      : ({ code: 'announced', reason: 'enabled, programmed, enough backends are healthy' } as const);
  return {
    name: vip.name,
    address: formatIpAddress(vip.address),
    port: declaredPort(vip.port),
    protocol: vip.protocol,
    policy: vip.policy,
    enabled: vip.enabled,
    announced: verdict.code === 'announced',
    addressAdvertised: verdict.code === 'announced',
    verdict,
    tableSize: vip.tableSize,
    backends: vip.backends.map((backend) => ({
      address: formatIpAddress(backend.address),
      weight: backend.weight,
      state: isDrained(backend) ? 'drained' : 'up',
      reason: isDrained(backend) ? 'drained by the operator' : 'passed 2 checks',
      counters: { packets: 1500, bytes: 96_000, flows: 20 },
    })),
    counters: { packets: 3000, bytes: 192_000, flows: 40 },
  };
}
