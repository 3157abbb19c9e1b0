/**
 * What the fields of the desired state mean, for the reference page; types, defaults and bounds come from the schema.
 * Paths are those of the schema, `[]` for the elements of a list. A test holds that none is missing or too many.
 */
export const fieldTexts: Readonly<Record<string, string>> = {
  version: 'Version of this format. Always `1`.',
  host: 'This host.',
  'host.interface':
    'Where VIP traffic arrives. `auto` is the interface of the default route. Cannot be changed while the daemon runs.',
  'host.interfaces':
    'Further interfaces where VIP traffic arrives; they may be added and taken away while the daemon runs. One that is not there is told in the status and served when it comes. See [several interfaces](forwarding.md#several-interfaces).',
  'host.xdpMode':
    '`auto` takes native XDP, else generic XDP with a warning. Takes effect at the next start of the daemon.',
  'host.bgp': 'The local side of BGP. Without it nothing is announced.',
  'host.bgp.as': 'Own autonomous system.',
  'host.bgp.routerId': 'Own BGP identifier; unique among the speakers, as a rule an address of the host.',
  'host.bgp.listen': 'Whether routers may open the session towards this host.',
  'host.bgp.listenPort': 'Port listened on when `listen` is true.',
  'host.bgp.aggregates':
    'Prefixes that cover VIPs, each announced while any VIP within it is to be: see [covering prefixes](bgp.md#covering-prefixes). By default none: each VIP is a /32 or /128.',
  'host.bgp.aggregates[].prefix': 'The prefix: IPv4 /16 to /31, IPv6 /32 to /127, over VIPs alone.',
  'host.bgp.aggregates[].summaryOnly': 'VIPs within it are not announced by themselves.',
  'host.bgp.aggregates[].announce': 'How the prefix is announced; what VIPs say is not taken over.',
  'host.bgp.aggregates[].announce.med':
    'MULTI_EXIT_DISC: lower is better to a router of one neighbouring AS.',
  'host.bgp.aggregates[].announce.localPref': 'LOCAL_PREF, to routers of the same AS alone.',
  'host.bgp.aggregates[].announce.prepend': 'How often our AS is said beyond once: longer paths are worse.',
  'host.bgp.aggregates[].announce.communities': 'Communities such as `65000:1`.',
  'host.bgp.aggregates[].announce.largeCommunities': 'Large communities such as `65000:1:2` (RFC 8092).',
  'host.bgp.aggregates[].announce.extendedCommunities':
    'Extended communities: `rt:AS:NUMBER`, `soo:AS:NUMBER`, or `0x` and 16 digits (RFC 4360).',
  'host.bgp.aggregates[].announce.linkBandwidth': 'Share of this host among equal paths, as link bandwidth.',
  'host.bgp.aggregates[].announce.linkBandwidth.mbps': 'Mbit/s; only the ratio between hosts matters.',
  'host.bgp.aggregates[].announce.linkBandwidth.transitive':
    'Type 0x00, which FRR takes from external peers; `false`: 0x40 of the draft. By default `true`.',
  'host.vrrp':
    'Virtual routers (RFC 9568) for VIPs of the subnet that the hosts are in: see [same subnet](same-subnet.md).',
  'host.vrrp.groups': 'VIPs that move between hosts together; at most 255.',
  'host.vrrp.groups[].id': 'Name of the group; VIPs say it as `vrrpGroup`.',
  'host.vrrp.groups[].vrid':
    'Virtual router identifier, the same on all hosts of the group (with `share` the one of this host) and of nobody else on the segment.',
  'host.vrrp.groups[].priority':
    'The host with the highest is Active. Give a larger one to a host with more capacity.',
  'host.vrrp.groups[].healthWeight':
    'What the priority loses when no backend of the group is healthy; its share when some are not. 0: health is not looked at beyond whether the host can serve any VIP of the group.',
  'host.vrrp.groups[].preempt': 'Whether the host takes over from an Active one of lower priority.',
  'host.vrrp.groups[].preemptDelay':
    'How long an Active host of lower priority is suffered first. By default the longest `interval` + `timeout` of the checks of its VIPs and half a second, so that hosts that see a backend die a check apart do not take the group from each other; `0s` with `healthWeight: 0`.',
  'host.vrrp.groups[].advertiseInterval':
    'Pause between advertisements, in whole hundredths of a second. A dead host is replaced after three to four of them.',
  'host.vrrp.groups[].useVmac':
    'Clients are told the virtual MAC address 00:00:5e:00:01:VRID (IPv6: 00:00:5e:00:02:VRID), which moves with the group, in place of the MAC address of the interface. By default with `share` alone; the network must let the host use it.',
  'host.vrrp.groups[].checksum':
    'Checksum of IPv4 advertisements: `rfc5798` has the pseudo-header in it, as keepalived and older FRR want. Both are taken.',
  'host.vrrp.groups[].garp':
    'What the Active host tells the segment unasked: gratuitous ARP, unsolicited neighbour advertisements.',
  'host.vrrp.groups[].garp.repeat': 'Rounds after a take-over.',
  'host.vrrp.groups[].garp.interval': 'Pause between these rounds.',
  'host.vrrp.groups[].garp.refresh': 'One more round so often; `0s` for none.',
  'host.vrrp.groups[].share':
    'All hosts carry traffic: each has a virtual router of its own, and each client is told the MAC address of one of them.',
  'host.vrrp.groups[].share.vrids':
    'One identifier for each host, the same list on all hosts, in the same order.',
  'host.vrrp.groups[].share.step':
    'How much lower the priority is for the virtual router of each next host of the ring.',
  'host.nextHops': "Next hops announced. By default the interface's first global addresses.",
  'host.nextHops.ipv4': 'For IPv4 prefixes.',
  'host.nextHops.ipv6': 'For IPv6 prefixes.',
  'host.metrics':
    'Address and port where `/metrics` is served beside the unix socket. Takes effect at the next start of the daemon.',
  'host.fragments':
    'Which hosts put the fragments of a packet together; without it each host keeps what it gets.',
  'host.fragments.hosts':
    "Addresses of all balancer hosts in the interface's subnet, this one's too: 2 to 32, one a host, the same list on all of them.",
  'host.tunnel':
    'How packets are wrapped for backends with `forward: ipip`, `gue` or `vxlan`: see [forwarding modes](forwarding.md).',
  'host.tunnel.sourceIpv4':
    "Range of outer source addresses to IPv4 backends; each flow keeps one of it. By default the interface's own address.",
  'host.tunnel.sourceIpv6': 'Alike to IPv6 backends; the last 32 bits vary at most.',
  'host.tunnel.mtu':
    "MTU of the ways to the backends: what is larger with its outer header is answered with the size that fits. By default the interface's, which is also the most.",
  'host.tunnel.guePort': 'UDP port of GUE at the backends.',
  'host.tunnel.vxlanPort': "UDP port of VXLAN at the backends' ends.",
  'host.tunnel.gueVariant':
    '`1`: the packet follows the UDP header at once; `0`: behind a header of 4 bytes.',
  'host.nat': 'What packets to backends with `forward: nat` come from, see [NAT](nat.md).',
  'host.nat.sourceIpv4':
    'Source addresses towards IPv4 backends: an address, or a prefix of /24 or longer, all of whose addresses are used. Every host needs its own. By default the first address of the interface.',
  'host.nat.sourceIpv6': 'Alike towards IPv6 backends; a prefix of /120 or longer.',
  'host.nat.ports':
    'Source ports, `FIRST-LAST`. They must lie outside of those that the kernel gives to programs of the host (`net.ipv4.ip_local_port_range`). By default from 10240 to below those.',
  'host.capacity':
    "Sizes of the kernel's tables, taken when the daemon starts; flows stay: see [sizing](sizing.md) for their memory.",
  'host.capacity.vips': 'Most VIPs.',
  'host.capacity.backends': 'Most backends, those of all VIPs together.',
  'host.capacity.tableSlots':
    'Slots of all Maglev tables together, with room for one more copy of the largest.',
  'host.capacity.flows': 'Flows remembered, for each address family. The least recently used one makes room.',
  'host.proxy': 'The proxy of this host, which serves its VIPs with `policy: l7`: see [l7](l7.md#workers).',
  'host.proxy.workers': 'Processes that serve connections; by default one for each core.',
  'host.proxy.drainAtMost':
    'A worker that is replaced or ended may take so long to finish its connections; then they are broken off.',
  'host.proxy.handoverPort':
    'UDP port of the tunnels between hosts of different subnets; the same on all of them.',
  'host.proxy.hosts':
    'Hosts whose proxies share the connections of l7 VIPs, this one too: 2 to 32, the same list on all of them; see [several hosts](l7.md#several-hosts). Without it each host keeps what it gets.',
  'host.proxy.hosts[].address':
    'Its own address on its interface. A host behind a router gets connections through a [tunnel](l7.md#hosts-of-other-subnets).',
  'host.proxy.hosts[].state':
    '`joining`: it takes new connections, and older ones are looked for where they were before it came. `draining`: it takes no new ones and keeps those that it has.',
  'host.capacity.embryonicFlows':
    'First packets remembered apart for `wrr` and `least-connections`, for each address family.',
  'host.flowTable':
    '`per-cpu`: each CPU has a table of its own before the shared one, for hosts with many cores. See [sizing](sizing.md#the-flow-table).',
  'host.flowInserts':
    'New flows a second that may be stored, all CPUs and families together; what comes faster goes by the hash. `0`: any. By default so many that a flood evicts no flow that sends a packet a minute. See [sizing](sizing.md#the-flow-table).',
  'host.capacity.natFlows':
    'Connections by NAT at once, for each address family. None makes room for another one while it is in use. About 300 bytes each, while there are any.',
  'host.draining': 'A draining host withdraws all its VIPs and goes on forwarding what still arrives.',
  'host.withdraw': 'How VIPs leave that are removed, disabled, drained or stopped: see [drain](drain.md).',
  'host.withdraw.gracefulShutdown':
    'GRACEFUL_SHUTDOWN (RFC 8326) stands so long before a VIP is withdrawn by intent. `0s`: not at all.',
  'host.withdraw.quiet': 'A VIP whose packet counter has rested so long is quiet: its forwarding may end.',
  'host.withdraw.atMost': 'Forwarding goes on no longer than this after the withdraw, quiet or not.',
  'host.guard': 'What one change may not do unless it is forced: see [the guard](drain.md#the-guard).',
  'host.guard.maxWithdrawShare':
    'Largest share of the VIPs that are to be announced which one change may take away.',
  'host.guard.minVips': 'The share counts from so many VIPs on.',
  'host.guard.lastAnnouncer':
    "A draining host to which no router has shown another host's path: `warn` says so and goes on, `hold` leaves the VIP announced with GRACEFUL_SHUTDOWN until one does or it is forced.",
  peers: 'BGP neighbours: the routers that are told of the VIPs.',
  'peers[].address':
    'Address of the neighbour; each once. Link-local with its interface: `fe80::1%eth0`. Needed unless `interface` is there.',
  'peers[].interface':
    'In place of an address: whoever advertises itself as a router on this interface. See [unnumbered](bgp.md#unnumbered).',
  'peers[].as': 'Its autonomous system; `external` is any but ours, `internal` ours.',
  'peers[].port': 'Its port.',
  'peers[].localAddress': "Source address of the session. By default the kernel's choice.",
  'peers[].holdTime': 'Proposed hold time, in whole seconds; the smaller of both sides counts.',
  'peers[].connectRetry': 'Time between two attempts to connect; doubles up to 15 s while they fail.',
  'peers[].mode':
    'Who opens the session: we (`active`), the peer (`passive`, needs `host.bgp.listen`), or whoever is first.',
  'peers[].families': 'Address families negotiated on the session.',
  'peers[].bfd':
    'Bidirectional forwarding detection: a dead path ends the session and its routes within `multiplier` × interval. By default off.',
  'peers[].bfd.txInterval': 'Fastest that we send; the router may ask for slower.',
  'peers[].bfd.rxInterval': 'Fastest that we take.',
  'peers[].bfd.multiplier': 'So many of our packets in a row may be lost.',
  'peers[].bfd.multihop': 'The router is not on the link (RFC 5883).',
  'peers[].bfd.minTtl':
    'With `multihop`: least TTL of what is taken. By default `254`, one router in between. BIRD sends with 64.',
  'peers[].bfd.echo':
    "Loops the router's echo packets back to it, as fast as `rxInterval` (RFC 5881 section 4). Not with `multihop`.",
  'peers[].bfd.strict': 'No BGP session before BFD is up.',
  'peers[].bfd.auth': 'Authentication of BFD packets; the same at both ends. By default off.',
  'peers[].bfd.auth.type': 'Its type (RFC 5880).',
  'peers[].bfd.auth.keyId': 'Number of the key.',
  'peers[].bfd.auth.key': 'The key, or `keyFile`.',
  'peers[].bfd.auth.keyFile': 'A file with the key, as `passwordFile`.',
  'peers[].password': 'TCP MD5 password (RFC 2385), the same on the router.',
  'peers[].passwordFile':
    'In place of `password`: a file with it, of mode 0600, read again when it changes. See [secrets](bgp.md#secrets-in-files).',
  'peers[].tcpAo':
    'TCP-AO (RFC 5925), where the kernel has it (6.7 and later, if built with it). Not together with a password.',
  'peers[].tcpAo.key': 'The key, or `keyFile`.',
  'peers[].tcpAo.keyFile': 'A file with the key, as `passwordFile`.',
  'peers[].tcpAo.sendId': 'KeyID of what we send: the RecvID of the router.',
  'peers[].tcpAo.receiveId': 'KeyID of what the router sends: its SendID.',
  'peers[].tcpAo.algorithm': 'Algorithm (RFC 5926).',
  'peers[].ttl': 'TTL of what is sent. By default `1` to routers of another AS, `64` inside ours.',
  'peers[].ttlSecurityHops':
    'GTSM (RFC 5082): the router is at most so many hops away; 1 is on the same link.',
  'peers[].promise':
    'What a dead announcer means: `fast`, its routes go at once; `continuity`, the router keeps them (RFC 4724). By default `fast`.',
  'peers[].restartTime': 'With `continuity`: how long the router keeps routes. By default `2m`.',
  'peers[].longLivedGracefulRestart':
    'With `promise: continuity`: after `restartTime` routers with RFC 9494 keep the routes so long, behind all others. By default not at all.',
  'peers[].gracefulShutdown':
    'How long GRACEFUL_SHUTDOWN (RFC 8326) stands before a planned stop. By default not at all.',
  'peers[].extendedMessages': 'Messages up to 65535 octets (RFC 8654).',
  'peers[].enhancedRouteRefresh': 'Refreshes are marked begin and end (RFC 7313).',
  'peers[].extendedNextHop':
    'IPv4 VIPs with IPv6 next hops (RFC 8950). By default `true` on an interface and to a link-local address, else `false`.',
  'peers[].extendedOptionalParameters': 'OPEN in the form of RFC 9072 also where it need not be.',
  'peers[].addPath': 'Prefixes go with a path identifier (RFC 7911) to routers that take it. Only sent.',
  'peers[].role': 'What we are to the router (RFC 9234); between different AS alone.',
  'peers[].roleStrict': 'With `role`: a router that says no role is refused.',
  'peers[].delayOpen': 'Waits so long for the OPEN of the router before ours is sent.',
  'peers[].idleHold': 'Stays idle so long after a session has failed, longer after each further failure.',
  'peers[].maxPrefixesReceived': 'More prefixes from the router end the session.',
  'peers[].nextHops': 'Next hops told to this router, in place of `host.nextHops`.',
  'peers[].nextHops.ipv4': 'Of IPv4 VIPs.',
  'peers[].nextHops.ipv6': 'Of IPv6 VIPs.',
  'peers[].nextHopSelf': 'Our own address on the session is the next hop, in place of `host.nextHops`.',
  'peers[].policy': 'What the router is told of all VIPs where they leave it open, and of which VIPs.',
  'peers[].policy.med': 'MULTI_EXIT_DISC: lower is better to a router of one neighbouring AS.',
  'peers[].policy.localPref': 'LOCAL_PREF, to routers of the same AS alone.',
  'peers[].policy.prepend': 'How often our AS is said beyond once: longer paths are worse.',
  'peers[].policy.communities': 'Communities such as `65000:1`.',
  'peers[].policy.largeCommunities': 'Large communities such as `65000:1:2` (RFC 8092).',
  'peers[].policy.extendedCommunities':
    'Extended communities: `rt:AS:NUMBER`, `soo:AS:NUMBER`, or `0x` and 16 digits (RFC 4360).',
  'peers[].policy.allow': 'VIPs within these prefixes alone.',
  'peers[].policy.deny': 'None of the VIPs within these prefixes.',
  vips: 'What is served.',
  'vips[].vrrpGroup':
    'Group of `host.vrrp` that the address moves with. Routers are then not told of it. VIPs that share an address agree.',
  'vips[].backends[].serverId':
    'With `quic`: what its connection ids carry, in hexadecimal. By default the last bytes of its address.',
  'vips[].announce': 'How the address is announced; VIPs that share an address must agree.',
  'vips[].announce.med': 'MULTI_EXIT_DISC: lower is better to a router of one neighbouring AS.',
  'vips[].announce.localPref': 'LOCAL_PREF, to routers of the same AS alone.',
  'vips[].announce.prepend': 'How often our AS is said beyond once: longer paths are worse.',
  'vips[].announce.communities': 'Communities such as `65000:1`.',
  'vips[].announce.largeCommunities': 'Large communities such as `65000:1:2` (RFC 8092).',
  'vips[].announce.extendedCommunities':
    'Extended communities: `rt:AS:NUMBER`, `soo:AS:NUMBER`, or `0x` and 16 digits (RFC 4360).',
  'vips[].announce.linkBandwidth': 'Share of this host among equal paths, as link bandwidth.',
  'vips[].announce.linkBandwidth.mbps': 'Mbit/s; only the ratio between hosts matters.',
  'vips[].announce.linkBandwidth.transitive':
    'Type 0x00, which FRR takes from external peers; `false`: 0x40 of the draft. By default `true`.',
  'vips[].name': 'Unique name. By default `ADDRESS-PORT-PROTOCOL`.',
  'vips[].address': 'The virtual address.',
  'vips[].port':
    'Its port, or `any`: every port that no other VIP of the address and protocol has; the check then needs a port of its own. Backends are reached at the same port (forward).',
  'vips[].protocol': 'Its transport. With `l7`, `udp` has mode `udp`.',
  'vips[].policy':
    'Of clients that `classes` does not name. `forward`: packets go to backends, answers go straight to the client. `l7`: connections, or datagrams, go to the proxy of this host. `drop`: nowhere; `classes` then says who is let in.',
  'vips[].classes':
    'Clients with another policy, by prefixes of their addresses; the longest counts. At most 1000. See [by source](vip.md#policies-by-source).',
  'vips[].classes[].prefix': "Of the VIP's address family.",
  'vips[].classes[].policy': '`forward`, `l7` or `drop`, as that of the VIP.',
  'vips[].forward':
    'How packets get to the backends: `l2` by MAC address, `ipip`, `gue` and `vxlan` through tunnels, `nat` from an address of this host, see [forwarding modes](forwarding.md). By default `l2`. Not with `l7`.',
  'vips[].enabled': 'A VIP that is not enabled is withdrawn and stays declared.',
  'vips[].tableSize':
    'Slots of the Maglev table, a prime. Chosen once (about 100 slots a backend) and kept: a resize moves most flows.',
  'vips[].expectedBackends': 'Size the table for so many. By default the number of backends, at least 10.',
  'vips[].scheduler':
    'How a new flow finds its backend: `maglev` by client address and ports, `wrr` in turn, `least-connections` the less loaded of two, `source` by client address, `source-prefix` by the first bits of it. `wrr` and `least-connections` answer differently on each host. See [schedulers](schedulers.md). Not with `l7`.',
  'vips[].sourcePrefixLength':
    "With `source-prefix`: so many first bits of the client's address decide. By default 24 for IPv4, 56 for IPv6.",
  'vips[].slowStart':
    'A backend that comes back gets its weight in ten steps over so long; hosts differ meanwhile. By default at once. See [schedulers](schedulers.md#slow-start).',
  'vips[].stateful':
    '`false`: no flow table, every packet goes by the hash. See [schedulers](schedulers.md#without-a-flow-table).',
  'vips[].quic':
    'UDP: QUIC packets go to the server that their connection id names, see [QUIC](schedulers.md#quic-by-connection-id). By default as any UDP.',
  'vips[].quic.configId': 'Config rotation bits of the connection ids, 0 to 6.',
  'vips[].quic.serverIdLength': 'Bytes of a server id.',
  'vips[].onBackendDown':
    'Existing TCP flows of a backend that died: `keep` sending to it, `repick` another one, or `reset` the client. UDP is always re-picked.',
  'vips[].minHealthy':
    'Healthy backends needed to be announced: a count, or a share of the weight that is not drained, such as `"50%"`.',
  'vips[].idleTimeout':
    'A flow without a packet for so long is forgotten. By default `900s` for tcp, `90s` for udp.',
  'vips[].check': 'How backends are checked. By default a `tcp` or `udp` check, after the protocol.',
  'vips[].backends': 'The servers, at least one.',
  'vips[].backends[].address':
    "A server's own address; `l2`: of the VIP's family and in a subnet of one of the host's interfaces; `vxlan`: the one in its tenant's network.",
  'vips[].backends[].weight': 'Share of new flows against the others; `0` drains.',
  'vips[].backends[].drain': 'Keep its flows, give it no new ones.',
  'vips[].backends[].drainTimeout':
    'The drain ends after so long: flows that are left are re-picked. By default never.',
  'vips[].backends[].forward': 'In place of what the VIP says.',
  'vips[].backends[].vxlan':
    "Where the backend is inside a tenant's network: needed with `forward: vxlan`, and allowed with it alone.",
  'vips[].backends[].vxlan.vni': 'Number of the network.',
  'vips[].backends[].vxlan.remote': 'Address of the machine that ends the tunnel (VTEP).',
  'vips[].backends[].vxlan.mac':
    'MAC address of the backend in that network. By default derived from its address: see [VXLAN](forwarding.md#vxlan).',
  'vips[].backends[].port':
    "Where it listens: with l7 and with `forward: nat` only. By default the VIP's port.",
  'vips[].backends[].pool': 'l7 only. By default `default`.',
  'vips[].access': 'l7 only: which clients are let in. `deny` wins; an empty `allow` lets everyone in.',
  'vips[].access.allow': 'Prefixes let in.',
  'vips[].access.deny': 'Prefixes kept out.',
  'vips[].mode':
    'l7 only: `http` looks at requests, `tcp` at nothing (with `tls`: at the name asked for), `tls-passthrough` at the name in the first message of TLS, which the backends get as it came; `connect` and `socks` connect clients to what they ask for; `udp`, which VIPs of protocol udp have, passes datagrams. See [TCP](l7.md#tcp-and-tls-as-it-comes), [forward proxies](l7.md#forward-proxies), [UDP](l7.md#udp). By default `http`, of protocol udp `udp`.',
  'vips[].udp': 'l7 only, mode `udp`: bounds of its sessions. See [UDP](l7.md#udp).',
  'vips[].udp.maxSessions':
    'Sessions in each worker. A further one takes the place of one that rests, or is refused. By default 16384.',
  'vips[].udp.maxSessionsPerClient':
    'Sessions of one client address in each worker; its further ones are refused. By default as many as there are.',
  'vips[].udp.datagramsPerSecond':
    'Datagrams that a client may send in one session each second; further ones are dropped. By default without end.',
  'vips[].udp.responses':
    'A session ends when its backend has sent so many datagrams: `1` suits DNS. By default only `idleTimeout` ends it.',
  'vips[].udp.proxyHeader':
    'With `proxyProtocol: v2`: `first`, the first datagram of a session to a backend begins with the header; `every`, each one does, as PowerDNS and dnsdist want it. By default `first`.',
  'vips[].destinations':
    'Modes `connect` and `socks` only, and needed there: what clients may reach; one that fits is enough. See [forward proxies](l7.md#forward-proxies).',
  'vips[].destinations[].hosts':
    'Names, with `*.` for all below. A name never leads to loopback, link-local or multicast addresses.',
  'vips[].destinations[].prefixes':
    'Addresses, also those that a name leads to. Without `hosts` and `prefixes`: every address but those.',
  'vips[].destinations[].ports': 'Ports or ranges such as `"8000-8999"`. By default every port.',
  'vips[].routes': 'l7 only: which requests go to which pool. Without routes all go to the pool `default`.',
  'vips[].routes[].host':
    'Host name of the request; in other modes the name asked for in TLS. By default any.',
  'vips[].routes[].pathPrefix':
    'Beginning of the path, on segment boundaries. The longest wins. By default any.',
  'vips[].routes[].pool': 'Pool of backends.',
  'vips[].tls':
    'l7 only: what comes is TLS, see [TLS](tls.md). Files are of this host and read again when they change.',
  'vips[].tls.certificates':
    'Certificates, chosen by the name that the client asks for; the first for clients that name none, or another.',
  'vips[].tls.certificates[].cert': 'PEM: the certificate, then its chain.',
  'vips[].tls.certificates[].key': 'PEM, not encrypted. By default the file of the certificate.',
  'vips[].tls.certificates[].ocsp': 'OCSP response in DER, to be stapled. By default none.',
  'vips[].tls.policy':
    'Versions and cipher suites, after Mozilla: `modern` is TLS 1.3 alone, `old` lets in what is broken. By default `intermediate`.',
  'vips[].tls.minVersion':
    'Lowest version of TLS. By default that of the policy; `1.0` and `1.1` need `policy: old`.',
  'vips[].tls.ciphers':
    'Cipher suites up to TLS 1.2 by the names of OpenSSL, the preferred first. By default those of the policy.',
  'vips[].tls.cipherSuites': 'Cipher suites of TLS 1.3. By default those of the policy.',
  'vips[].tls.unknownNames':
    'What a client gets that asks for a name without a certificate: the first certificate, or `unrecognized_name`. By default `default`.',
  'vips[].tls.tickets': 'Whether sessions can be resumed, by tickets of 300 s. By default `true`.',
  'vips[].tls.ticketKeys':
    'File of ticket keys, one a line, the newest first: the same on all hosts. By default each host makes its own.',
  'vips[].tls.clientCertificates': 'Asks clients for a certificate.',
  'vips[].tls.clientCertificates.ca': 'PEM: the authorities that may have signed it.',
  'vips[].tls.clientCertificates.mode':
    '`required`: without one the handshake fails; `optional`: a backend is told `X-TLS-Client-Verify: NONE`. By default `required`.',
  'vips[].tls.headers':
    'What backends are told of the connection: `X-TLS-Version`, `X-TLS-Cipher`, `X-TLS-Server-Name`, `Client-Cert` (RFC 9440). By default nothing.',
  'vips[].backendTls': 'l7 only: connections to the backends are TLS.',
  'vips[].backendTls.pools': 'Pools for which it holds. By default all.',
  'vips[].backendTls.serverName':
    'Name that is asked for (SNI) and that the certificate must have. By default none is asked for, and it must have the address.',
  'vips[].backendTls.ca': 'PEM: authorities. By default those of the system.',
  'vips[].backendTls.verify': '`false`: anybody may answer. By default `true`.',
  'vips[].backendTls.cert': 'PEM: certificate and chain for backends that ask for one.',
  'vips[].backendTls.key': 'PEM. By default the file of the certificate.',
  'vips[].backendTls.policy': 'As that of `tls`. By default `intermediate`.',
  'vips[].backendTls.minVersion': 'As that of `tls`. By default that of the policy.',
  'vips[].redirectToHttps':
    'l7 only, without `tls`: port of the VIP with TLS, to which every request is sent with 308. By default none.',
  'vips[].trustedProxies':
    'l7 only: prefixes of proxies in front whose word about their clients counts: see [clients](l7.md#who-the-client-is). By default nobody is believed.',
  'vips[].acceptProxyProtocol':
    'l7 only: connections of `trustedProxies` begin with a PROXY header (version 1 or 2); those of others must not. By default `false`.',
  'vips[].forwardedHeader':
    'l7 only: backends get a `Forwarded` field (RFC 7239) beside `X-Forwarded-For`. By default `false`.',
  'vips[].relay':
    'l7 only: who passes on the bytes of a tunnel, which are not TLS of the proxy: `kernel` spares each packet the way through it, and has no back-pressure. By default `proxy`: see [who relays](l7.md#who-relays).',
  'vips[].relayBytes':
    'With `relay: kernel`: how much may wait in each direction of a tunnel, in bytes, with 1,024 more for each packet; then both ends are reset. By default 4194304.',
  'vips[].via':
    'l7 only, mode `http`: backends get a `Via` field with this name (RFC 9110 section 7.6.3), and a request that has it already is refused with 508: it goes round. By default none: see [Via](l7.md#who-the-client-is).',
  'vips[].keepAliveTimeout':
    'l7 only, mode `http`: how long the connection of a client may be without a request until it is closed. By default `15s`.',
  'vips[].timeouts':
    'l7 only: how long the proxy waits for clients and backends. See [limits](l7.md#limits).',
  'vips[].timeouts.handshake':
    'l7 only: until a TLS handshake is done; as long for a PROXY header, for the first message of TLS that is passed through, and for what a forward proxy is asked. By default `10s`.',
  'vips[].timeouts.requestHead':
    'l7 only, mode `http`: until the head of a request is whole, from its first byte; then 408. By default `60s`.',
  'vips[].timeouts.connect':
    'l7 only: until a backend has accepted the connection; then the next one is tried. By default `5s`.',
  'vips[].timeouts.response':
    'l7 only, mode `http`: without a byte from the backend that was asked; then the next one is tried where that is allowed, else 504. By default `60s`.',
  'vips[].timeouts.request':
    'l7 only, mode `http`: from a request, or the last byte of its body, to the begin of its answer, over all tries; then 504. By default `60s`, or as `response` where that is longer.',
  'vips[].timeouts.tunnel':
    'l7 only, mode `http`: without a byte either way of a WebSocket or another upgraded connection. By default `60s`.',
  'vips[].timeouts.backendIdle':
    'l7 only, mode `http`: how long a connection to a backend is kept without a request. By default `4s`, less than common backends keep theirs.',
  'vips[].limits':
    'l7 only, mode `http`: how big messages may be, and how slow clients. See [limits](l7.md#limits).',
  'vips[].limits.requestLineBytes':
    'l7 only, mode `http`: longest request line, without its line end; 414 above. By default 8192.',
  'vips[].limits.requestHeadBytes':
    'l7 only, mode `http`: longest head of a request, line ends included; 431 above. By default 16384.',
  'vips[].limits.requestFields': 'l7 only, mode `http`: most fields of a request; 431 above. By default 100.',
  'vips[].limits.answerHeadBytes':
    'l7 only, mode `http`: longest head of a backend’s answer; 502 above. By default 32768.',
  'vips[].limits.answerFields':
    'l7 only, mode `http`: most fields of a backend’s answer; 502 above. By default 200.',
  'vips[].limits.requestsPerConnection':
    'l7 only, mode `http`: requests after which a client’s connection ends; of some connections up to a tenth fewer, so that clients that came together do not come again together. By default 100.',
  'vips[].limits.minimumRate':
    'l7 only, mode `http`: bytes per second, over a minute in which a client is waited for, that it must send of a body or take of an answer; then 408, or a reset. 0: any. By default 100.',
  'vips[].retries':
    'l7 only, modes `http`, `tcp` and `tls-passthrough`: what happens to what a backend fails. See [retries](l7.md#retries).',
  'vips[].retries.tries':
    'l7 only: backends that are asked for one request or connection, the first included. By default 3.',
  'vips[].retries.budgetPercent':
    'l7 only: further tries, in percent of the requests or connections, of each worker; 10 a second are always allowed, with 0 none. By default 20.',
  'vips[].proxyProtocol':
    'l7 only: connections to backends begin with a PROXY header of this version, which tells the client and the VIP; checks at the port of the service begin with one too. By default none.',
  'vips[].source':
    "l7 only, modes `http`, `tcp`, `tls-passthrough`: `client`, connections to backends come from the client's own address. Each backend must send what it answers by way of this host, which every check proves. See [the client's own address](l7.md#the-clients-own-address). By default they come from the host's.",
  'vips[].sourceProbes':
    "With `source`: addresses, not the host's and no client's, from which the return path is proven; each of the backend's family with every check. By default `192.0.0.8` and `100::8`.",
  'vips[].check.type': 'What is asked.',
  'vips[].check.interval': 'Time between the starts of two checks of one backend, ± 10 %.',
  'vips[].check.timeout': 'Bounded by the interval: checks of one backend never overlap.',
  'vips[].check.rise': 'Good answers in a row that bring a backend up. The very first answer is enough.',
  'vips[].check.fall': 'Bad answers in a row that take it down.',
  'vips[].check.port': "Port asked. By default the backend's.",
  'vips[].check.path': 'Path and query asked for.',
  'vips[].check.host': 'Host header (gRPC: authority), and TLS server name. By default the address asked.',
  'vips[].check.method': 'Method of the request.',
  'vips[].check.expectStatus': 'Good status codes: `200`, `"200-399"`, `"200-299,404"`.',
  'vips[].check.service':
    'Service asked for by `grpc.health.v1.Health/Check`. By default the server as a whole.',
  'vips[].check.tls': 'gRPC over TLS; the certificate is not verified.',
  'vips[].check.send': 'Datagram sent: text, or `0x` and hexadecimal digits. By default empty.',
  'vips[].check.expect':
    'What the answer must begin with. Without it silence is good and only an ICMP error is bad.',
  dynamicPeers:
    'Whoever connects from these ranges is a neighbour; needs `host.bgp.listen`. Named neighbours go first.',
  'dynamicPeers[].range': 'Prefix of the addresses.',
  'dynamicPeers[].limit': 'Neighbours of the range at a time.',
};
