import { announcerMetrics } from '@l4d/announcer/core/metric-families.ts';
import { type MetricFamily, metricText } from '@l4d/announcer/core/metric-text.ts';
import { vrrpMetrics } from '@l4d/announcer/core/vrrp/metrics.ts';
import { Counter, Gauge, Registry } from 'prom-client';
import type { HostStatus } from './fabric-status.ts';

/** Prometheus text of what is the host's and not a VIP's: names after the Prometheus conventions, values as of now. */
export async function hostMetrics(status: HostStatus, more: readonly MetricFamily[] = []): Promise<string> {
  const registry = new Registry();
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers: [registry] });
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers: [registry] });

  const info = gauge('l4d_info', 'Version and packet path of this host', [
    'version',
    'interface',
    'xdp_mode',
  ]);
  info.set({ version: status.version, interface: status.host.interface, xdp_mode: status.host.xdpMode }, 1);
  gauge('l4d_revision', 'Revision of the desired state').set(status.revision);
  gauge('l4d_start_time_seconds', 'Start of the daemon, Unix time').set(status.startedAtMs / 1000);

  gauge('l4d_last_error', 'Whether the last pass failed: desired state and kernel differ').set(
    status.lastError === undefined ? 0 : 1,
  );
  gauge('l4d_xdp_attached', 'Whether the XDP program is on the interface').set(
    status.dataplane.mode === 'none' ? 0 : 1,
  );
  gauge('l4d_host_draining', 'Whether the host is draining').set(status.host.draining ? 1 : 0);
  gauge('l4d_detached', 'Whether the operator has taken the host or a VIP out of the packet path').set(
    status.detached === undefined ? 0 : 1,
  );
  if (status.bgp.state !== 'off') {
    gauge('l4d_announcer_up', 'Whether the announcer answers; absent without host.bgp').set(
      status.bgp.state === 'running' ? 1 : 0,
    );
    gauge('l4d_announcer_refusing', 'Whether the announcer refuses the desired state').set(
      status.bgp.state === 'running' && status.bgp.reason !== undefined ? 1 : 0,
    );
  }

  const { flowTable } = status.dataplane;
  gauge('l4d_flow_table_capacity', 'Flows that each address family has room for').set(flowTable.capacity);
  gauge('l4d_flow_table_inserts_limit', 'Flows a second that may be stored; 0: any').set(
    flowTable.insertsPerSecond,
  );
  const { census } = flowTable;
  if (census !== undefined) {
    const entries = gauge('l4d_flow_table_entries', 'Entries of the flow table', ['family']);
    const expired = gauge('l4d_flow_table_expired', 'Entries of flows that are over', ['family']);
    const idle = gauge('l4d_flow_table_longest_idle_seconds', 'Idle time of the oldest entry', ['family']);
    for (const family of ['ipv4', 'ipv6'] as const) {
      entries.set({ family }, census[family].entries);
      expired.set({ family }, census[family].expired);
      idle.set({ family }, census[family].longestIdleMs / 1000);
    }
    counter('l4d_flow_table_evicted_total', 'Entries dropped for others, as estimated').inc(census.evicted);
    gauge('l4d_flow_table_pass_seconds', 'Time of the last pass over the flow table').set(
      census.tookMs / 1000,
    );
  }
  const natPorts = gauge('l4d_nat_ports', 'Ports of a source address of NAT towards each backend', [
    'source',
  ]);
  const natConnections = gauge('l4d_nat_connections', 'Connections of NAT from a source address', ['source']);
  const natBusiest = gauge(
    'l4d_nat_ports_used_most',
    'Ports in use towards the backend that has most of them',
    ['source'],
  );
  if (status.nat !== undefined) {
    counter('l4d_nat_idle_resets_total', 'RSTs sent to ends of connections idle for too long').inc(
      status.nat.idleResets,
    );
    gauge('l4d_nat_capacity', 'Most connections of NAT, for each address family').set(status.nat.capacity);
    for (const { address: source, ports, connections, busiest } of status.nat.sources) {
      natPorts.set({ source }, ports);
      natConnections.set({ source }, connections);
      natBusiest.set({ source }, busiest?.used ?? 0);
    }
  }

  const pathErrors = counter('l4d_tunnel_errors_total', 'ICMP errors about outer packets of tunnels', [
    'destination',
    'error',
  ]);
  const pathMtu = gauge('l4d_tunnel_path_mtu_bytes', 'MTU of the way of tunnels, where one was learned', [
    'destination',
  ]);
  for (const { destination, mtu, errors } of status.paths ?? []) {
    if (mtu !== undefined) pathMtu.set({ destination }, mtu);
    for (const [error, count] of Object.entries(errors)) pathErrors.inc({ destination, error }, count);
  }

  const reasons = counter('l4d_packets_total', 'Packets by what happened to them', ['reason']);
  for (const [reason, count] of Object.entries(status.dataplane.dropReasons)) reasons.inc({ reason }, count);
  const lookups = counter('l4d_proxy_lookups_total', 'New connections by what the lookup program did', [
    'result',
  ]);
  for (const [result, count] of Object.entries(status.dataplane.lookups ?? {}))
    lookups.inc({ result }, count);
  const returns = counter(
    'l4d_source_returns_total',
    "Packets of backends to clients' addresses, of VIPs with source, by what became of them",
    ['result'],
  );
  for (const [result, count] of Object.entries(status.dataplane.sourceReturns ?? {}))
    returns.inc({ result }, count);

  // The announcer says the same of itself where it runs alone.
  const announcer = metricText([
    ...more,
    ...announcerMetrics(status.bgp.announcer ?? { peers: [] }),
    ...vrrpMetrics(status.vrrp ?? { routers: [] }),
  ]);
  return `${await registry.metrics()}${announcer}`;
}
