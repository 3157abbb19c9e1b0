import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { BackendCondition } from './backend-condition.ts';
import type { Backend } from './desired/backend.ts';
import { selectionOf, serverIdOf } from './desired/scheduling.ts';
import { forwardModeOf, isDirect, type Vip, vxlanEndOf } from './desired/vip.ts';
import type { WantedBackend, WantedVip } from './forwarding/forwarding-plan.ts';
import { fullShare } from './slow-start.ts';

/** The data plane's tick is 2^30 ns (FLOW_TICK_SHIFT of bpf/include/l4d.h). */
const tickMilliseconds = 2 ** 30 / 1e6;

/** The first step of packets to a backend. */
export interface BackendWay {
  /** Undefined while it is not known. */
  readonly mac: MacAddress | undefined;
  /** Number of the interface by which they leave. */
  readonly egress: number;
}

/**
 * What the data plane should hold of a VIP, given the conditions of its backends (in their order). `shareOf`: tenths of
 * its weight that a backend has as of now, fullShare when it does not start slowly.
 */
export function wantedVip(
  vip: Vip,
  conditions: readonly BackendCondition[],
  wayOf: (backend: Backend) => BackendWay,
  shareOf: (backend: Backend) => number = () => fullShare,
): WantedVip {
  // Weights are whole numbers: all are scaled while one of them is less than declared.
  const isRamping = vip.backends.some((backend) => shareOf(backend) !== fullShare);
  const weightOf = (backend: Backend) => (isRamping ? backend.weight * shareOf(backend) : backend.weight);
  const backends: WantedBackend[] = [];
  for (const [index, backend] of vip.backends.entries()) {
    const state = conditions[index]?.forwarding ?? 'down';
    if (!isDirect(vip, backend) || state === 'finished') continue;
    const { address } = backend;
    const forward = forwardModeOf(vip, backend);
    const vxlan = vxlanEndOf(vip, backend);
    const serverId = serverIdOf(vip, backend);
    backends.push({
      ...{ address, weight: weightOf(backend), state, forward },
      ...wayOf(backend),
      ...(forward === 'nat' && backend.port !== undefined ? { port: backend.port } : {}),
      ...(vxlan === undefined ? {} : { vxlan }),
      ...(serverId === undefined ? {} : { serverId }),
    });
  }
  return {
    address: vip.address,
    port: vip.port,
    protocol: vip.protocol,
    policy: vip.policy,
    ...(vip.classes === undefined || vip.classes.length === 0 ? {} : { classes: vip.classes }),
    onBackendDown: vip.onBackendDown,
    idleTicks: Math.ceil(vip.idleTimeout / tickMilliseconds),
    selection: selectionOf(vip),
    tableSize: vip.tableSize,
    backends,
  };
}
