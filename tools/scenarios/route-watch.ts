import type { LabFabric } from './scenario.ts';

/** Follows changes of a router's kernel table. */
export interface RouteWatch {
  /** Lines of `ip monitor route` that name the address, so far. */
  changes(): readonly string[];
  stop(): void;
}

/** Starts following what a router's kernel does with the route to an address; silence means that nothing moved. */
export function watchRoute({ lab }: LabFabric, router: string, address: string): RouteWatch {
  const child = lab.spawn(router, [
    'ip',
    '-t',
    '-o',
    address.includes(':') ? '-6' : '-4',
    'monitor',
    'route',
  ]);
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  return {
    changes: () => text.split('\n').filter((line) => line.includes(`${address} `)),
    stop: () => void child.kill('SIGTERM'),
  };
}

/** What a router says of its sessions and its table. */
export interface RouterView {
  /** Grows with every change of the table. */
  readonly tableVersion: number;
  /** By neighbour: how often it was established and dropped, and its state. */
  readonly sessions: Readonly<Record<string, string>>;
}

/** Asks a router for its IPv4 summary. */
export async function routerView({ lab }: LabFabric, router: string): Promise<RouterView> {
  const answer = (await lab.vtysh(router, 'show bgp ipv4 unicast summary json')) as {
    readonly tableVersion: number;
    readonly peers: Readonly<
      Record<
        string,
        {
          readonly connectionsEstablished: number;
          readonly connectionsDropped: number;
          readonly state: string;
        }
      >
    >;
  };
  const sessions = Object.entries(answer.peers).map(([address, peer]) => [
    address,
    `established ${peer.connectionsEstablished}, dropped ${peer.connectionsDropped}, ${peer.state}`,
  ]);
  return { tableVersion: answer.tableVersion, sessions: Object.fromEntries(sessions) };
}
