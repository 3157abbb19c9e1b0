/** Network namespaces of a bench, with links between them; all go at its end, also after a failure. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';

/** One end of a link. */
export interface LinkEnd {
  readonly place: string;
  readonly device: string;
  /** The kernel chooses one when it is not given. */
  readonly mac?: string;
  /** Addresses with their prefix length. */
  readonly addresses?: readonly string[];
}

/** Namespaces by the places' names. */
export interface BenchNetwork {
  /** Path of a place's namespace, as nsenter takes it. */
  namespaceOf(place: string): string;
  /** Runs a command in a place, returns its output; throws with its errors. */
  runIn(place: string, command: string, ...args: readonly string[]): string;
  /** Starts a command there; it is killed at the end. */
  startIn(place: string, command: string, ...args: readonly string[]): ChildProcess;
  /** A veth pair with one queue a side, up. */
  link(one: LinkEnd, other: LinkEnd): void;
  remove(): void;
}

/** Makes a namespace a place. `prefix` is unique on the machine. Throws what a command says. */
export function createBenchNetwork(prefix: string, places: readonly string[]): BenchNetwork {
  const children: ChildProcess[] = [];
  const run = (command: string, args: readonly string[]) =>
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const name = (place: string) => `${prefix}-${place}`;
  const network: BenchNetwork = {
    namespaceOf: (place) => `/run/netns/${name(place)}`,
    runIn: (place, command, ...args) =>
      run('nsenter', [`--net=${network.namespaceOf(place)}`, command, ...args]),
    startIn(place, command, ...args) {
      const child = spawn('nsenter', [`--net=${network.namespaceOf(place)}`, command, ...args], {
        stdio: 'ignore',
      });
      children.push(child);
      return child;
    },
    link(one, other) {
      const queues = ['numrxqueues', '1', 'numtxqueues', '1'];
      network.runIn(
        one.place,
        ...['ip', 'link', 'add', one.device, ...queues, 'type', 'veth', 'peer', 'name', other.device],
        ...[...queues, 'netns', name(other.place)],
      );
      for (const end of [one, other]) {
        const { place, device, mac, addresses = [] } = end;
        if (mac !== undefined) network.runIn(place, 'ip', 'link', 'set', device, 'address', mac);
        for (const address of addresses) {
          const nodad = address.includes(':') ? ['nodad'] : [];
          network.runIn(place, 'ip', 'address', 'add', address, 'dev', device, ...nodad);
        }
        network.runIn(place, 'ip', 'link', 'set', device, 'up');
      }
    },
    remove() {
      for (const child of children) child.kill('SIGKILL');
      for (const place of places) {
        try {
          for (const pid of run('ip', ['netns', 'pids', name(place)])
            .split('\n')
            .filter(Boolean)) {
            process.kill(Number(pid), 'SIGKILL');
          }
          run('ip', ['netns', 'del', name(place)]);
        } catch {
          // It was not made.
        }
      }
    },
  };
  try {
    for (const place of places) {
      run('ip', ['netns', 'add', name(place)]);
      network.runIn(place, 'ip', 'link', 'set', 'lo', 'up');
      network.runIn(
        place,
        'sysctl',
        '-q',
        '-w',
        'net.ipv4.conf.all.rp_filter=0',
        'net.ipv4.conf.default.rp_filter=0',
      );
    }
    return network;
  } catch (error) {
    network.remove();
    throw error;
  }
}
