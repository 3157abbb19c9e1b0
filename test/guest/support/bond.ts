import { passProgram } from '../../../tools/lab/io/build-lab.ts';
import { ipIn, runIn } from '../../integration/support/network-namespace.ts';

/** How a bond sends: by one of its parts, or by all of them. */
export type BondMode = 'active-backup' | 'balance-xor' | '802.3ad';

/** A bond and the switch that it goes to. */
export interface BondedLink {
  /** Namespace of the bond. */
  readonly name: string;
  readonly device: string;
  readonly mode: BondMode;
  /** With their prefix lengths. */
  readonly addresses: readonly string[];
  readonly switchName: string;
  /** A bridge there: it has the ports themselves, or a bond of them where all are in use at once. */
  readonly bridge: string;
  readonly bridgeAddresses: readonly string[];
}

/** Names of the bond's two parts. */
export const partsOf = (device: string): readonly [string, string] => [`${device}a`, `${device}b`];

/** Names of the switch's ports to them. */
export const portsOf = (bridge: string): readonly [string, string] => [`${bridge}a`, `${bridge}b`];

/**
 * Segments as they are on a wire, with checksums and tags: a tag that a device keeps beside the frame (of 802.1ad too) is one that the
 * program does not see.
 */
const wholeFrames: readonly string[] = [
  ...[
    'tx',
    'tso',
    'gso',
    'gro',
    'txvlan',
    'rxvlan',
    'tx-vlan-stag-hw-insert',
    'rx-vlan-stag-hw-parse',
  ].flatMap((offload) => [offload, 'off']),
];

const options: Readonly<Record<BondMode, string>> = {
  'active-backup': '',
  'balance-xor': ' xmit_hash_policy layer3+4',
  '802.3ad': ' xmit_hash_policy layer3+4 lacp_rate fast',
};

/** Joins a machine to a switch by a bond of two links. */
export function linkByBond(link: BondedLink): void {
  const { name, device, mode, addresses, switchName, bridge, bridgeAddresses } = link;
  const kind = `type bond mode ${mode} miimon 50${options[mode]}`;
  ipIn(name, `link add ${device} ${kind}`);
  ipIn(switchName, `link add ${bridge} type bridge`);
  const aggregate = mode === 'active-backup' ? undefined : `${bridge}lag`;
  if (aggregate !== undefined) ipIn(switchName, `link add ${aggregate} ${kind}`);
  for (const [index, part] of partsOf(device).entries()) {
    const port = portsOf(bridge)[index] ?? '';
    ipIn(name, `link add ${part} type veth peer name ${port} netns ${switchName}`);
    for (const [where, end] of [
      [name, part],
      [switchName, port],
    ] as const) {
      runIn(where, 'ethtool', '-K', end, ...wholeFrames);
    }
    ipIn(name, `link set ${part} master ${device}`);
    ipIn(switchName, `link set ${port} master ${aggregate ?? bridge}`);
    if (aggregate === undefined) ipIn(switchName, `link set ${port} up`);
    // What XDP sends is taken by a port with a program of its own alone; one that has it joins no bond.
    if (aggregate === undefined) attachPass(switchName, port);
  }
  if (aggregate !== undefined) {
    attachPass(switchName, aggregate);
    ipIn(switchName, `link set ${aggregate} master ${bridge}`);
    ipIn(switchName, `link set ${aggregate} up`);
  }
  ipIn(name, `link set ${device} up`);
  ipIn(switchName, `link set ${bridge} up`);
  for (const address of addresses) ipIn(name, addressOn(device, address));
  for (const address of bridgeAddresses) ipIn(switchName, addressOn(bridge, address));
}

/** Joins a machine to a bridge by one link. */
export function linkToBridge(
  name: string,
  device: string,
  addresses: readonly string[],
  switchName: string,
  bridge: string,
): void {
  // By the machine: one may be on several bridges, and several on one.
  const port = `${bridge}${name.split('-').at(-1) ?? ''}`;
  ipIn(name, `link add ${device} type veth peer name ${port} netns ${switchName}`);
  for (const [where, end] of [
    [name, device],
    [switchName, port],
  ] as const)
    runIn(where, 'ethtool', '-K', end, ...wholeFrames);
  ipIn(switchName, `link set ${port} master ${bridge}`);
  ipIn(switchName, `link set ${port} up`);
  // So that it takes what XDP sends.
  attachPass(switchName, port);
  ipIn(name, `link set ${device} up`);
  for (const address of addresses) ipIn(name, addressOn(device, address));
}

function addressOn(device: string, address: string): string {
  return `address add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`;
}

function attachPass(name: string, device: string): void {
  ipIn(name, `link set dev ${device} xdpdrv obj ${passProgram} sec xdp.frags`);
}
