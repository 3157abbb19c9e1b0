import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { BackendCondition } from './backend-condition.ts';
import type { Backend } from './desired/backend.ts';
import { forwardModeOf, type Vip, vxlanEndOf } from './desired/vip.ts';
import type { WantedBackend, WantedVip } from './forwarding/forwarding-plan.ts';

/** The data plane's tick is 2^30 ns (FLOW_TICK_SHIFT of bpf/include/l4d.h). */
const tickMilliseconds = 2 ** 30 / 1e6;

/** The first step of packets to a backend. */
export interface BackendWay {
  /** Undefined while it is not known. */
  readonly mac: MacAddress | undefined;
  /** Number of the interface by which they leave. */
  readonly egress: number;
}

/** What the data plane should hold of a VIP, given the conditions of its backends (in their order). */
export function wantedVip(
  vip: Vip,
  conditions: readonly BackendCondition[],
  wayOf: (backend: Backend) => BackendWay,
): WantedVip {
  const backends: WantedBackend[] = [];
  for (const [index, backend] of vip.backends.entries()) {
    const state = conditions[index]?.forwarding ?? 'down';
    if (vip.policy === 'l7' || state === 'finished') continue;
    const { address, weight } = backend;
    const vxlan = vxlanEndOf(vip, backend);
    backends.push({
      ...{ address, weight, state, forward: forwardModeOf(vip, backend) },
      ...wayOf(backend),
      ...(vxlan === undefined ? {} : { vxlan }),
    });
  }
  return {
    address: vip.address,
    port: vip.port,
    protocol: vip.protocol,
    policy: vip.policy,
    onBackendDown: vip.onBackendDown,
    idleTicks: Math.ceil(vip.idleTimeout / tickMilliseconds),
    tableSize: vip.tableSize,
    backends,
  };
}
