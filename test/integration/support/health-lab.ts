import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeSelfSigned } from '@l4d/kit/tls/self-signed.ts';
import { ipIn, run, runIn } from './network-namespace.ts';

/**
 *   balancer eth0 10.76.0.1 ──┐
 *   one      eth0 10.76.0.21 ─┼─ bridge (namespace switch)     fd76::1, ::21, ::22 likewise
 *   two      eth0 10.76.0.22 ─┘
 *
 * one and two hold the VIPs 203.0.113.76 and 2001:db8:76::76 on lo and do not answer ARP for them.
 */
export interface HealthLab {
  readonly balancer: string;
  readonly one: string;
  readonly two: string;
  /** A folder for files of the test. */
  readonly folder: string;
  /** Starts a process in a namespace; it is killed at the end. */
  start(namespace: string, command: string, ...args: readonly string[]): ChildProcess;
  remove(): void;
}

const hosts = [
  { name: 'b', address: 1 },
  { name: '1', address: 21 },
  { name: '2', address: 22 },
];

/** Builds the lab; what is left over from a failed attempt is removed. */
export function createHealthLab(): HealthLab {
  const prefix = `hc${process.pid}`;
  const bridge = `${prefix}-s`;
  const names = [bridge, ...hosts.map(({ name }) => `${prefix}-${name}`)];
  const folder = mkdtempSync(join(tmpdir(), 'l4d-health-'));
  const processes: ChildProcess[] = [];
  const remove = () => {
    for (const child of processes) child.kill('SIGKILL');
    for (const name of names) {
      try {
        // Children of those processes too: nginx's workers outlive a master that is killed.
        for (const pid of run('ip', 'netns', 'pids', name).split('\n').filter(Boolean))
          process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It was not made, or the process ended meanwhile.
      }
      try {
        run('ip', 'netns', 'del', name);
      } catch {
        // It was not made.
      }
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    for (const name of names) run('ip', 'netns', 'add', name);
    ipIn(bridge, 'link add br0 type bridge');
    ipIn(bridge, 'link set br0 up');
    for (const { name, address } of hosts) {
      const namespace = `${prefix}-${name}`;
      ipIn(namespace, `link add eth0 type veth peer name port${name} netns ${bridge}`);
      ipIn(bridge, `link set port${name} master br0 up`);
      ipIn(namespace, `addr add 10.76.0.${address}/24 dev eth0`);
      ipIn(namespace, `addr add fd76::${address}/64 dev eth0 nodad`);
      ipIn(namespace, 'link set lo up');
      ipIn(namespace, 'link set eth0 up');
      if (name === 'b') {
        // The answers to marked checks come from an address that no route here leads to.
        runIn(
          namespace,
          'sysctl',
          '-q',
          '-w',
          'net.ipv4.conf.all.rp_filter=0',
          'net.ipv4.conf.eth0.rp_filter=0',
        );
      } else {
        runIn(
          namespace,
          'sysctl',
          '-q',
          '-w',
          'net.ipv4.conf.all.arp_ignore=1',
          'net.ipv4.conf.all.arp_announce=2',
        );
        ipIn(namespace, 'addr add 203.0.113.76/32 dev lo');
        ipIn(namespace, 'addr add 2001:db8:76::76/128 dev lo nodad');
      }
    }
  } catch (error) {
    remove();
    throw error;
  }
  return {
    balancer: `${prefix}-b`,
    one: `${prefix}-1`,
    two: `${prefix}-2`,
    folder,
    start(namespace, command, ...args) {
      const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, command, ...args], {
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      processes.push(child);
      return child;
    },
    remove,
  };
}

/** Answers like real backends do, well and badly; see the paths. */
export function writeNginxConfiguration(folder: string, name: string): string {
  makeSelfSigned(folder, name, 'other.example');
  const path = join(folder, `${name}.conf`);
  writeFileSync(
    path,
    `daemon off; worker_processes 1; pid ${folder}/${name}.pid; error_log ${folder}/${name}.log;
events { worker_connections 1024; }
http {
  log_format check '$status "$http_host" "$http_user_agent" "$ssl_server_name"';
  access_log ${folder}/${name}.access check;
  server {
    listen 80 default_server; listen [::]:80 default_server;
    listen 443 ssl default_server; ssl_certificate ${folder}/${name}.pem; ssl_certificate_key ${folder}/${name}.key;
    location / { return 200 "${name}"; }
    location /moved { return 301 /; }
    location /broken { return 503; }
    location /only-one { return ${name === 'one' ? 200 : 503}; }
  }
}
`,
  );
  return path;
}

/** Waits until a port accepts connections. */
export async function waitForPort(host: string, port: number): Promise<void> {
  for (let attempt = 0; attempt < 250; attempt++) {
    const accepted = await new Promise<boolean>((resolve) => {
      const socket = createConnection({ host, port });
      socket.on('connect', () => resolve(true));
      socket.on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (accepted) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nothing accepts on ${host} port ${port}`);
}
