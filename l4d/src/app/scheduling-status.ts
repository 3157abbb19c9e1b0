import type { Backend } from '../core/desired/backend.ts';
import { serverIdOf } from '../core/desired/scheduling.ts';
import { type Vip, vipKeyText } from '../core/desired/vip.ts';
import { flowSettings } from '../core/forwarding/flow-settings.ts';
import { fullShare } from '../core/slow-start.ts';
import type { BackendStatus, FlowTableStatus } from '../core/status.ts';
import type { StatusParts } from './fabric-status.ts';

/** The flow table, as the last pass found it. */
export function flowTableStatus({ dataPlane, flowPasses, desired, flowTable }: StatusParts): FlowTableStatus {
  const census = flowPasses.census();
  return {
    kind: flowTable,
    capacity: dataPlane.maps.capacity.flows,
    insertsPerSecond: flowSettings(desired().host, desired().vips).insertsPerSecond,
    ...(census === undefined ? {} : { entries: census.ipv4.entries + census.ipv6.entries, census }),
  };
}

/** What a backend's status has because of its VIP's scheduler; `share` as of slow-start.ts. */
export function schedulingStatus(
  { dataPlane }: StatusParts,
  vip: Vip,
  backend: Backend,
  share: number,
): Pick<BackendStatus, 'slowStartTenths' | 'activeFlows' | 'serverId'> {
  const serverId = serverIdOf(vip, backend);
  const activeFlows =
    vip.scheduler === 'least-connections'
      ? dataPlane.forwarding.activeFlows(vipKeyText(vip), backend.address)
      : undefined;
  return {
    ...(share === fullShare ? {} : { slowStartTenths: share }),
    ...(activeFlows === undefined ? {} : { activeFlows }),
    ...(serverId === undefined ? {} : { serverId }),
  };
}
