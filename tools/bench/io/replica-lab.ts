/**
 * Three replicas of a service behind a router that spreads over them:
 *
 *     client 10.79.9.2 ── 10.79.9.1 router 10.79.N.1 ── 10.79.N.2 replica N (nginx, VIP 203.0.113.79)     N = 1, 2, 3
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Address of the service. */
export const replicaVip = '203.0.113.79';
/** Its port. */
export const replicaPort = 8080;

/** Numbers of the replicas. */
export const replicas = [1, 2, 3] as const;

/** The lab, running. */
export interface ReplicaLab {
  readonly folder: string;
  /** Runs a command in a namespace (`router`, `client`, `r1`…), returns its output; throws with its errors. */
  runIn(place: string, command: string, ...args: readonly string[]): string;
  /** Starts a command there; it is killed at the end. */
  startIn(place: string, command: string, ...args: readonly string[]): ChildProcess;
  startService(replica: number): void;
  /** nginx and its workers. */
  signalService(replica: number, signal: NodeJS.Signals): void;
  /** Packets of the link are lost, without loss of carrier. */
  cut(replica: number): void;
  mend(replica: number): void;
  /** Replicas that the router's kernel sends to. */
  routed(): readonly number[];
  remove(): void;
}

/** Makes namespaces, FRR and the services. Throws what a command says; then nothing is left behind. */
export function createReplicaLab(): ReplicaLab {
  const prefix = `l4drep${process.pid}`;
  const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
  const places = ['router', 'client', ...replicas.map((replica) => `r${replica}`)];
  const children: ChildProcess[] = [];
  const services = new Map<number, ChildProcess>();
  const frr = join(folder, 'frr');
  const run = (command: string, ...args: readonly string[]) =>
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const enter = (place: string) => `--net=/run/netns/${prefix}-${place}`;
  const lab: ReplicaLab = {
    folder,
    runIn: (place, command, ...args) => run('nsenter', enter(place), command, ...args),
    startIn(place, command, ...args) {
      const child = spawn('nsenter', [enter(place), command, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
      child.stdout?.resume();
      child.stderr?.resume();
      children.push(child);
      return child;
    },
    startService(replica) {
      const own = join(folder, `nginx-${replica}`);
      mkdirSync(own, { recursive: true });
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((name) => `${name}_temp_path ${own}/${name};`)
        .join(' ');
      writeFileSync(
        join(own, 'nginx.conf'),
        `daemon off; worker_processes 1; error_log stderr crit; pid ${own}/pid; events {}
http { access_log off; ${temporary} server { listen ${replicaPort}; location / { return 200 "${replica}\\n"; } } }`,
      );
      services.set(replica, lab.startIn(`r${replica}`, 'nginx', '-c', join(own, 'nginx.conf')));
    },
    signalService(replica, signal) {
      const master = services.get(replica)?.pid;
      if (master === undefined) return;
      const workers = run('ps', '-o', 'pid=', '--ppid', String(master)).trim().split(/\s+/).map(Number);
      // The master first, which else starts others in their place.
      for (const pid of [master, ...workers]) {
        try {
          process.kill(pid, signal);
        } catch {
          // It has ended since it was listed.
        }
      }
    },
    cut(replica) {
      lab.runIn('router', 'nft', 'add', 'table', 'netdev', `cut${replica}`);
      for (const [hook, rule] of [
        ['ingress', `{ type filter hook ingress device "to${replica}" priority 0; policy drop; }`],
        ['egress', `{ type filter hook egress device "to${replica}" priority 0; policy drop; }`],
      ] as const) {
        lab.runIn('router', 'nft', 'add', 'chain', 'netdev', `cut${replica}`, hook, rule);
      }
    },
    mend: (replica) => void lab.runIn('router', 'nft', 'delete', 'table', 'netdev', `cut${replica}`),
    routed() {
      const text = lab.runIn('router', 'ip', 'route', 'show', `${replicaVip}/32`);
      return replicas.filter((replica) => text.includes(`via 10.79.${replica}.2 `));
    },
    remove() {
      for (const child of children) child.kill('SIGKILL');
      for (const daemon of ['bfdd', 'bgpd', 'zebra']) {
        try {
          process.kill(Number(readFileSync(join(frr, `${daemon}.pid`), 'utf8')), 'SIGKILL');
        } catch {
          // It was not started.
        }
      }
      for (const place of places) {
        try {
          // Workers of a killed nginx, and what speakers have started.
          for (const pid of run('ip', 'netns', 'pids', `${prefix}-${place}`).split('\n').filter(Boolean)) {
            process.kill(Number(pid), 'SIGKILL');
          }
          run('ip', 'netns', 'del', `${prefix}-${place}`);
        } catch {
          // It was not made.
        }
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    run('chmod', '755', folder);
    for (const place of places) {
      run('ip', 'netns', 'add', `${prefix}-${place}`);
      lab.runIn(place, 'ip', 'link', 'set', 'lo', 'up');
    }
    const link = (place: string, device: string, number: number) => {
      const peer = `${prefix}-${place}`;
      lab.runIn('router', 'ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', 'up0', 'netns', peer);
      lab.runIn('router', 'ip', 'address', 'add', `10.79.${number}.1/24`, 'dev', device);
      lab.runIn('router', 'ip', 'link', 'set', device, 'up');
      lab.runIn(place, 'ip', 'address', 'add', `10.79.${number}.2/24`, 'dev', 'up0');
      lab.runIn(place, 'ip', 'link', 'set', 'up0', 'up');
      lab.runIn(place, 'ip', 'route', 'add', 'default', 'via', `10.79.${number}.1`);
    };
    link('client', 'client', 9);
    for (const replica of replicas) link(`r${replica}`, `to${replica}`, replica);
    const sysctl = ['net.ipv4.ip_forward=1', 'net.ipv4.fib_multipath_hash_policy=1'];
    lab.runIn('router', 'sysctl', '-q', '-w', ...sysctl);
    startRouter();
    for (const replica of replicas) lab.startService(replica);
    return lab;
  } catch (error) {
    lab.remove();
    throw error;
  }

  function startRouter(): void {
    run('install', '-d', '-o', 'frr', '-g', 'frr', frr);
    writeFileSync(join(folder, 'zebra.conf'), 'hostname router\n');
    writeFileSync(
      join(folder, 'bfdd.conf'),
      'bfd\n profile lab\n  transmit-interval 100\n  receive-interval 100\n',
    );
    const each = (line: (address: string) => string) =>
      replicas.map((replica) => ` ${line(`10.79.${replica}.2`)}\n`).join('');
    writeFileSync(
      join(folder, 'bgpd.conf'),
      `router bgp 65000
 bgp router-id 10.79.9.1
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
${each((address) => `neighbor ${address} remote-as 65001\n neighbor ${address} timers 3 9\n neighbor ${address} timers connect 1\n neighbor ${address} advertisement-interval 0\n neighbor ${address} bfd profile lab`)} address-family ipv4 unicast
  maximum-paths 8
 exit-address-family
`,
    );
    const common = ['--vty_socket', frr, '-z', join(frr, 'zserv.api'), '-A', '127.0.0.1', '-P', '0'];
    for (const daemon of ['zebra', 'bgpd', 'bfdd']) {
      const files = ['-i', join(frr, `${daemon}.pid`), '-f', join(folder, `${daemon}.conf`)];
      const control = daemon === 'bfdd' ? ['--bfdctl', join(frr, 'bfdd.sock')] : [];
      const all = [...common, ...files, ...control];
      run('ip', 'netns', 'exec', `${prefix}-router`, `/usr/lib/frr/${daemon}`, '-d', ...all);
    }
  }
}
