import { integratedFrrConfig } from './frr-config.ts';
import { hostInterfaces, hostNetworkCommands, machineView, shellScript } from './host-network.ts';
import { nginxConfig } from './nginx-config.ts';
import { starterConfig } from './starter-config.ts';
import type { Host, Topology } from './topology.ts';

/** The lab as virtual machines: what the Vagrantfile reads. */
export interface Machines {
  readonly topology: string;
  readonly machines: readonly Machine[];
}

/** One virtual machine. */
export interface Machine {
  readonly name: string;
  readonly role: Host['role'];
  /** Name of the script in tools/provision that sets it up. */
  readonly script: string;
  /** MiB. */
  readonly memory: number;
  readonly cpus: number;
  readonly links: readonly MachineLink[];
  /** Text files by absolute path; the role's script puts them in place. */
  readonly files: Readonly<Record<string, string>>;
}

/** A network interface, which the guest finds by its MAC address and renames. */
export interface MachineLink {
  readonly interface: string;
  /** Interfaces of one segment are in one virtual network. */
  readonly segment: string;
  readonly mac: string;
}

/** Where a machine's network script lies. */
export const networkScriptPath = '/etc/l4d-lab/network.sh';

const hardware: Readonly<Record<Host['role'], Pick<Machine, 'script' | 'memory' | 'cpus'>>> = {
  client: { script: 'client.sh', memory: 512, cpus: 1 },
  router: { script: 'tor.sh', memory: 512, cpus: 1 },
  // Compiling the programs and two Node processes beside the daemon want some room.
  l4d: { script: 'l4d-host.sh', memory: 2048, cpus: 2 },
  backend: { script: 'backend.sh', memory: 512, cpus: 1 },
};

/** The machines of a topology; their configurations are those of the namespace lab. */
export function machinesOf(topology: Topology): Machines {
  const machines = topology.hosts.map((host, hostIndex) => {
    const interfaces = hostInterfaces(topology, host, machineView);
    return {
      name: host.name,
      role: host.role,
      ...hardware[host.role],
      links: interfaces.map((each, index) => ({
        interface: each.name,
        segment: each.segment,
        mac: macAddress(hostIndex, index),
      })),
      files: {
        [networkScriptPath]: shellScript(hostNetworkCommands(topology, host, machineView)),
        ...roleFiles(topology, host, interfaces[0]?.name ?? ''),
      },
    };
  });
  return { topology: topology.name, machines };
}

/** The text of tools/provision/TOPOLOGY.json. */
export function machinesFile(topology: Topology): string {
  return `${JSON.stringify(machinesOf(topology), undefined, 2)}\n`;
}

function roleFiles(topology: Topology, host: Host, firstInterface: string): Record<string, string> {
  switch (host.role) {
    case 'client':
      return {};
    case 'router':
      return { '/etc/frr/frr.conf': integratedFrrConfig(topology, host) };
    case 'l4d':
      return {
        '/etc/l4d/l4d.yaml': starterConfig(topology, host, {
          interfaceName: firstInterface,
          vips: topology.vips,
        }),
      };
    case 'backend':
      return {
        '/etc/nginx/nginx.conf': nginxConfig(host, {
          folder: '/srv/l4d-lab',
          pidFile: '/run/nginx.pid',
          errorLog: '/var/log/nginx/error.log',
          accessLog: '/var/log/nginx/access.log',
        }),
      };
  }
}

/** A locally administered address (second bit of the first byte) made from the two indexes. */
function macAddress(host: number, link: number): string {
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return `52:54:00:77:${hex(host)}:${hex(link)}`;
}
