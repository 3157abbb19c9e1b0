import { bgpdConfig, zebraConfig } from './frr-config.ts';
import { type Command, hostInterfaces, hostNetworkCommands, namespaceView } from './host-network.ts';
import { hostEnvironment, hostFolder, type LabNames, namespaceOf } from './lab-names.ts';
import { downloadFiles, nginxConfig } from './nginx-config.ts';
import { starterConfig } from './starter-config.ts';
import {
  type BackendHost,
  type Host,
  hostsOf,
  type RouterHost,
  switchName,
  type Topology,
} from './topology.ts';

/** All that is done to build a lab, as data, in the order of the fields. */
export interface LabPlan {
  /** Network namespaces to add: the fabric's first, then one a host. */
  readonly namespaces: readonly string[];
  readonly folders: readonly PlannedFolder[];
  readonly files: readonly PlannedFile[];
  /** Run in the root namespace: the links between the hosts. */
  readonly wiring: readonly Command[];
  /** Run inside the namespace of the fabric: its bridge and ports. */
  readonly fabric: readonly Command[];
  /** Run inside each host's namespace, the hosts at the same time. */
  readonly hosts: readonly { readonly host: string; readonly commands: readonly Command[] }[];
  /** Started inside each host's namespace, in order; each puts itself in the background. */
  readonly daemons: readonly { readonly host: string; readonly commands: readonly Command[] }[];
}

/** A folder; parents come first. */
export interface PlannedFolder {
  readonly path: string;
  /** User and group that own it; root when left out. */
  readonly owner?: string;
}

/** A file with its text, or a sparse one of `bytes` length. */
export type PlannedFile =
  | { readonly kind: 'text'; readonly path: string; readonly text: string; readonly owner?: string }
  | { readonly kind: 'sparse'; readonly path: string; readonly bytes: number };

/** The plan of a whole lab; `passProgram` is the path of the object file with the XDP_PASS program. */
export function planLab(topology: Topology, names: LabNames, passProgram: string): LabPlan {
  return {
    namespaces: [switchName, ...topology.hosts.map(({ name }) => name)].map((name) =>
      namespaceOf(names, name),
    ),
    folders: [
      { path: names.bpfFolder },
      { path: switchBpfFolder(names) },
      ...topology.hosts.flatMap((host) => hostFolders(names, host)),
    ],
    files: topology.hosts.flatMap((host) => hostFiles(topology, names, host)),
    wiring: [
      ...fabricHosts(topology).map((host) =>
        veth(names, [host.name, 'eth0'], [switchName, portOf(host.name)]),
      ),
      ...clientLinks(topology, names),
    ],
    fabric: fabricCommands(topology, names, passProgram),
    hosts: topology.hosts.map((host) => ({
      host: host.name,
      commands: hostNetworkCommands(topology, host, namespaceView),
    })),
    daemons: [
      ...hostsOf(topology, 'router').map((router) => ({
        host: router.name,
        commands: routerDaemons(names, router),
      })),
      ...hostsOf(topology, 'backend').map((backend) => ({
        host: backend.name,
        commands: [startServerCommand(names, backend.name)],
      })),
    ],
  };
}

/** The bridge's port that a host is plugged into. */
export function portOf(host: string): string {
  return host;
}

/** The hosts that are plugged into the fabric's bridge. */
export function fabricHosts(topology: Topology): Exclude<Host, { role: 'client' }>[] {
  return topology.hosts.filter((host) => host.role !== 'client');
}

/** Folder of a router's FRR sockets and pid files, for `vtysh --vty_socket`. */
export function frrFolder(names: LabNames, router: string): string {
  return `${hostFolder(names, router)}/frr`;
}

/** Where a backend's nginx keeps its things. */
export function nginxPaths(names: LabNames, backend: string) {
  const folder = hostFolder(names, backend);
  return {
    folder,
    configFile: `${folder}/nginx.conf`,
    pidFile: `${folder}/nginx.pid`,
    errorLog: `${folder}/error.log`,
    accessLog: `${folder}/access.log`,
  };
}

/** Starts a backend's nginx, which returns when it listens. */
export function startServerCommand(names: LabNames, backend: string): Command {
  const paths = nginxPaths(names, backend);
  return ['nginx', '-p', paths.folder, '-e', paths.errorLog, '-c', paths.configFile];
}

function routerDaemons(names: LabNames, router: RouterHost): Command[] {
  const folder = frrFolder(names, router.name);
  return ['zebra', 'bgpd'].map((daemon) => [
    `/usr/lib/frr/${daemon}`,
    '--daemon',
    '--vty_socket',
    folder,
    '--pid_file',
    `${folder}/${daemon}.pid`,
    '--socket',
    `${folder}/zserv.api`,
    '--config_file',
    `${folder}/${daemon}.conf`,
    '--vty_addr',
    '127.0.0.1',
    '--vty_port',
    '0',
  ]);
}

function switchBpfFolder(names: LabNames): string {
  return `${names.bpfFolder}/${switchName}`;
}

function hostFolders(names: LabNames, host: Host): PlannedFolder[] {
  const folder = { path: hostFolder(names, host.name) };
  const environment = hostEnvironment(names, host.name);
  switch (host.role) {
    case 'client':
      return [folder];
    case 'router':
      return [folder, { path: frrFolder(names, host.name), owner: 'frr' }];
    case 'l4d':
      return [
        folder,
        { path: environment.L4D_RUN_DIR },
        { path: environment.L4D_STATE_DIR },
        { path: environment.L4D_BPF_DIR },
      ];
    case 'backend':
      return [folder, ...['tmp', 'www', 'www/big'].map((name) => ({ path: `${folder.path}/${name}` }))];
  }
}

function hostFiles(topology: Topology, names: LabNames, host: Host): PlannedFile[] {
  switch (host.role) {
    case 'client':
      return [];
    case 'router':
      return routerFiles(topology, names, host);
    case 'l4d': {
      const folder = hostFolder(names, host.name);
      const interfaceName = hostInterfaces(topology, host, namespaceView)[0]?.name ?? '';
      const text = (vips: Topology['vips']) => starterConfig(topology, host, { interfaceName, vips });
      return [
        { kind: 'text', path: `${folder}/l4d.yaml`, text: text([]) },
        { kind: 'text', path: `${folder}/l4d-with-vips.yaml`, text: text(topology.vips) },
      ];
    }
    case 'backend':
      return backendFiles(names, host);
  }
}

function routerFiles(topology: Topology, names: LabNames, router: RouterHost): PlannedFile[] {
  const folder = frrFolder(names, router.name);
  const log = (daemon: string) => `file ${folder}/${daemon}.log`;
  const texts = {
    zebra: zebraConfig(router, log('zebra')),
    bgpd: bgpdConfig(topology, router, log('bgpd')),
  };
  return Object.entries(texts).map(([daemon, text]) => ({
    kind: 'text',
    path: `${folder}/${daemon}.conf`,
    text,
    owner: 'frr',
  }));
}

function backendFiles(names: LabNames, backend: BackendHost): PlannedFile[] {
  const paths = nginxPaths(names, backend.name);
  return [
    { kind: 'text', path: paths.configFile, text: nginxConfig(backend, paths) },
    ...downloadFiles.map(
      ({ name, bytes }): PlannedFile => ({ kind: 'sparse', path: `${paths.folder}/www/big/${name}`, bytes }),
    ),
  ];
}

function clientLinks(topology: Topology, names: LabNames): Command[] {
  const used = new Map<string, number>();
  return hostsOf(topology, 'client').flatMap((client) =>
    client.links.map((link, index) => {
      // A router's eth0 is the fabric; its client links follow in the order of the clients.
      const routerIndex = (used.get(link.router) ?? 0) + 1;
      used.set(link.router, routerIndex);
      return veth(names, [client.name, `eth${index}`], [link.router, `eth${routerIndex}`]);
    }),
  );
}

function veth(names: LabNames, a: readonly [string, string], b: readonly [string, string]): Command {
  return [
    ...['ip', 'link', 'add', a[1], 'netns', namespaceOf(names, a[0])],
    ...['type', 'veth', 'peer', 'name', b[1], 'netns', namespaceOf(names, b[0])],
  ];
}

function fabricCommands(topology: Topology, names: LabNames, passProgram: string): Command[] {
  const mtu = String(topology.fabric.mtu);
  const bridge = ['ip', 'link', 'add', 'fabric', 'type', 'bridge'];
  const commands: Command[] = [
    // The bridge is a switch and nothing else: no address of its own.
    ['sysctl', '-q', '-w', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1'],
    // Snooping would hold back neighbour solicitations until it has seen reports.
    [...bridge, 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0'],
    ['ip', 'link', 'set', 'dev', 'fabric', 'mtu', mtu, 'up'],
  ];
  for (const host of fabricHosts(topology)) {
    const port = portOf(host.name);
    commands.push(['ip', 'link', 'set', 'dev', port, 'mtu', mtu, 'master', 'fabric', 'up']);
    if (host.role !== 'l4d') continue;
    // A veth hands on frames that its peer sent by XDP_TX only when it runs an XDP program itself, and what
    // XDP sends on must have its checksums already: both on the bridge's side.
    commands.push(['ethtool', '-K', port, 'tx', 'off']);
    // ip(8) makes folders in bpffs when it loads a program: let it do that in the lab's own.
    const ip = ['env', `TC_BPF_MNT=${switchBpfFolder(names)}`, 'ip'];
    commands.push([...ip, 'link', 'set', 'dev', port, 'xdpdrv', 'obj', passProgram, 'sec', 'xdp.frags']);
  }
  return commands;
}
