/**
 * What the announcer counts, as metrics: a function of its status alone, so that the announcer by itself and the
 * daemon that asks it tell the same. After their prefix the names are those of MetalLB.
 */
import type { ErrorCount } from './error-counts.ts';
import { type LatencyHistogram, latencyBoundsMs } from './latency.ts';
import { type MessageCounters, totalMessages } from './message-counts.ts';
import type { MetricFamily } from './metric-text.ts';

/** What of the announcer's status the metrics are made of. */
export interface MetricSource {
  readonly peers: readonly {
    readonly address: string;
    readonly state: string;
    readonly prefixesReceived: number;
    readonly prefixesAdvertised: number;
    readonly flaps: number;
    readonly messages?: MessageCounters;
    readonly latency?: { readonly written: LatencyHistogram; readonly acked: LatencyHistogram };
    readonly errors?: readonly ErrorCount[];
    readonly bfd?: {
      readonly state: string;
      readonly packetsSent: number;
      readonly packetsReceived: number;
      readonly dropped: Readonly<Record<string, number>>;
      readonly flaps?: number;
    };
  }[];
  readonly connectionsRefused?: number;
}

type SourcePeer = MetricSource['peers'][number];

/** The families of all peers, and of BFD where peers have it. */
export function announcerMetrics({ peers, connectionsRefused }: MetricSource): MetricFamily[] {
  const family = (
    name: string,
    type: MetricFamily['type'],
    help: string,
    value: (peer: SourcePeer) => number | undefined,
  ): MetricFamily => ({
    name,
    help,
    type,
    samples: peers.flatMap((peer) => {
      const number = value(peer);
      return number === undefined ? [] : [{ labels: { peer: peer.address }, value: number }];
    }),
  });
  return [
    family('l4d_bgp_session_up', 'gauge', 'Whether the BGP session is established', ({ state }) =>
      state === 'Established' ? 1 : 0,
    ),
    family(
      'l4d_bgp_prefixes_advertised',
      'gauge',
      'Prefixes in the Adj-RIB-Out',
      (peer) => peer.prefixesAdvertised,
    ),
    family(
      'l4d_bgp_prefixes_received',
      'gauge',
      'Prefixes that the router announces; none is imported',
      (peer) => peer.prefixesReceived,
    ),
    family('l4d_bgp_flaps_total', 'counter', 'Times that the session was lost', ({ flaps }) => flaps),
    {
      name: 'l4d_bgp_errors_total',
      help: 'What went wrong: NOTIFICATIONs sent and received by code and subcode, and errors without one (local)',
      type: 'counter',
      samples: peers.flatMap(({ address, errors = [] }) =>
        errors.map(({ direction, code, subcode, count }) => ({
          labels: { peer: address, direction, code: `${code}`, subcode: `${subcode}` },
          value: count,
        })),
      ),
    },
    {
      name: 'l4d_bgp_connections_refused_total',
      help: 'Connections to the BGP port from addresses that are no peer',
      type: 'counter',
      samples: connectionsRefused === undefined ? [] : [{ labels: {}, value: connectionsRefused }],
    },
    family('l4d_bgp_updates_total', 'counter', 'UPDATE messages sent', (peer) => peer.messages?.sent.update),
    family(
      'l4d_bgp_updates_total_received',
      'counter',
      'UPDATE messages received',
      (peer) => peer.messages?.received.update,
    ),
    family('l4d_bgp_opens_sent', 'counter', 'OPEN messages sent', (peer) => peer.messages?.sent.open),
    family(
      'l4d_bgp_opens_received',
      'counter',
      'OPEN messages received',
      (peer) => peer.messages?.received.open,
    ),
    family(
      'l4d_bgp_notifications_sent',
      'counter',
      'NOTIFICATION messages sent',
      (peer) => peer.messages?.sent.notification,
    ),
    family(
      'l4d_bgp_notifications_received',
      'counter',
      'NOTIFICATION messages received',
      (peer) => peer.messages?.received.notification,
    ),
    family(
      'l4d_bgp_keepalives_sent',
      'counter',
      'KEEPALIVE messages sent',
      (peer) => peer.messages?.sent.keepalive,
    ),
    family(
      'l4d_bgp_keepalives_received',
      'counter',
      'KEEPALIVE messages received',
      (peer) => peer.messages?.received.keepalive,
    ),
    family(
      'l4d_bgp_route_refresh_sent',
      'counter',
      'ROUTE-REFRESH messages sent',
      (peer) => peer.messages?.sent.routeRefresh,
    ),
    family(
      'l4d_bgp_route_refresh_received',
      'counter',
      'ROUTE-REFRESH messages received',
      (peer) => peer.messages?.received.routeRefresh,
    ),
    family('l4d_bgp_total_sent', 'counter', 'BGP messages sent', ({ messages }) =>
      messages === undefined ? undefined : totalMessages(messages.sent),
    ),
    family('l4d_bgp_total_received', 'counter', 'BGP messages received', ({ messages }) =>
      messages === undefined ? undefined : totalMessages(messages.received),
    ),
    family(
      'l4d_bfd_session_up',
      'gauge',
      'Whether BFD with the peer is up; only where it is declared',
      ({ bfd }) => (bfd === undefined ? undefined : bfd.state === 'Up' ? 1 : 0),
    ),
    family(
      'l4d_bfd_control_packet_output',
      'counter',
      'BFD control packets sent',
      ({ bfd }) => bfd?.packetsSent,
    ),
    family(
      'l4d_bfd_control_packet_input',
      'counter',
      'BFD control packets received and taken',
      ({ bfd }) => bfd?.packetsReceived,
    ),
    family('l4d_bfd_control_packet_dropped', 'counter', 'BFD control packets not taken', ({ bfd }) =>
      bfd === undefined ? undefined : Object.values(bfd.dropped).reduce((sum, count) => sum + count, 0),
    ),
    family('l4d_bfd_session_up_events', 'counter', 'Times that BFD came up', ({ bfd }) =>
      // Each time that it was lost it had come up, and once more when it is up now.
      bfd?.flaps === undefined ? undefined : bfd.flaps + (bfd.state === 'Up' ? 1 : 0),
    ),
    latencyFamily(
      'l4d_bgp_update_written_seconds',
      'From a change that the announcer was asked for to its last UPDATE written',
      peers,
      'written',
    ),
    latencyFamily(
      'l4d_bgp_update_acked_seconds',
      "The same to the acknowledgement of the router's TCP",
      peers,
      'acked',
    ),
    family('l4d_bfd_session_down_events', 'counter', 'Times that BFD was lost', ({ bfd }) => bfd?.flaps),
  ];
}

function latencyFamily(
  name: string,
  help: string,
  peers: readonly SourcePeer[],
  which: 'written' | 'acked',
): MetricFamily {
  const samples = peers.flatMap(({ address, latency }) => {
    const histogram = latency?.[which];
    if (histogram === undefined) return [];
    let count = 0;
    const buckets = histogram.counts.map((inBucket, index) => {
      count += inBucket;
      const bound = latencyBoundsMs[index];
      const le = bound === undefined ? '+Inf' : String(bound / 1000);
      return { suffix: '_bucket', labels: { peer: address, le }, value: count };
    });
    const labels = { peer: address };
    return [
      ...buckets,
      { suffix: '_sum', labels, value: histogram.sumMs / 1000 },
      { suffix: '_count', labels, value: count },
    ];
  });
  return { name, help, type: 'histogram', samples };
}
