import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { createProxyClient } from '@l4d/kit/proxy-client.ts';
import { backendPort, type ProxyLab, type RunningProxy, type Transport, writeNginx } from './proxy-lab.ts';

/** A proxy that can be measured. */
export interface ProxySubject {
  readonly subject: string;
  /** Why it cannot be measured here. */
  readonly missing: string | undefined;
  start(lab: ProxyLab): Promise<RunningProxy>;
}

/** Ours of this checkout, or of another one that is named beside it. */
export function ownSubject(checkout?: string): ProxySubject {
  return {
    subject: checkout === undefined ? 'l4d' : `l4d of ${checkout}`,
    missing: undefined,
    start: (lab) => startOwnWith(lab, 'http', backendPort, checkout),
  };
}

/** Peers; as ours each has one worker, upstream keep-alive and X-Forwarded-For. */
export const proxyPeers: readonly ProxySubject[] = [
  {
    subject: version('nginx', ['-v'], /nginx\/(\S+)/, 'nginx'),
    missing: installed('nginx') ? undefined : 'not installed; Debian package nginx',
    start: startNginx,
  },
  {
    subject: version('haproxy', ['-v'], /version (\d[\d.]*)/, 'HAProxy'),
    missing: installed('haproxy') ? undefined : 'not installed; Debian package haproxy',
    start: startHaproxy,
  },
];

/** Whether a peer's command is there. */
export function installed(command: string): boolean {
  return spawnSync(command, ['-v']).error === undefined;
}

/** A peer's name with the version that its command tells. */
export function version(command: string, args: readonly string[], pattern: RegExp, name: string): string {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  const found = pattern.exec(`${stdout}${stderr}`)?.[1];
  return found === undefined ? name : `${name} ${found}`;
}

/**
 * Ours with one worker and one listener that has one backend. `taskset` and `nsenter` exec, so the child's pid is the
 * proxy's.
 */
export async function startOwnWith(
  lab: ProxyLab,
  mode: 'http' | 'tcp' | 'udp',
  backend: number,
  checkout = '.',
  more: object = {},
): Promise<RunningProxy> {
  const own = mkdtempSync(join(lab.folder, 'own-'));
  const runDir = join(own, 'run');
  mkdirSync(runDir);
  const command = join(checkout, 'l7/bin/l4-proxy');
  const { pid = 0 } = lab.start(command, '--run-dir', runDir, '--bpf-dir', join(own, 'bpf'));
  let listening: number | undefined;
  for (let i = 0; i < 100 && listening === undefined; i++) {
    await sleep(50);
    [listening] = lab.portsOf(pid, mode === 'udp' ? 'udp' : 'tcp');
  }
  const port = listening;
  if (port === undefined) throw new OperatorError('the proxy does not listen', 1);
  const pools = [{ name: 'default', backends: [{ address: '127.0.0.1', port: backend }] }];
  const proxy = createProxyClient(runDir);
  const { cert, key, ticketKeys } = lab.secrets;
  // A worker has one socket: it is one listener after the other.
  const use = async (transport: Transport): Promise<number> => {
    const tickets = transport === 'tickets' ? { ticketKeys } : { tickets: false };
    const tls = transport === 'plain' ? {} : { tls: { certificates: [{ cert, key }], ...tickets } };
    const listener = { name: 'bench', address: '127.0.0.1', port, mode, pools, ...tls, ...more };
    await proxy.putDesired({ workers: 1, listeners: [listener] });
    return port;
  };
  await use('plain');
  // It is the worker that works.
  for (let i = 0; i < 200; i++) {
    const [worker] = (await proxy.status()).workers;
    if (worker !== undefined) return { pid: worker.pid, port, portFor: use };
    await sleep(50);
  }
  throw new OperatorError('the proxy has no worker', 1);
}

/** Ports of the peers, which run at the same time. */
const nginxPorts: Readonly<Record<Transport, number>> = { plain: 8080, tickets: 8081, 'no-tickets': 8082 };
const haproxyPorts: Readonly<Record<Transport, number>> = { plain: 8090, tickets: 8091, 'no-tickets': 8092 };

async function startNginx(lab: ProxyLab): Promise<RunningProxy> {
  const { cert, key, ticketKey } = lab.secrets;
  const location = `location / { proxy_pass http://backend; proxy_http_version 1.1;
     proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }`;
  const file = writeNginx(
    lab.folder,
    'proxy',
    // As many requests of a connection as ours, and its usual buffers.
    `keepalive_requests 100; upstream backend { server 127.0.0.1:${backendPort}; keepalive 128; keepalive_requests 1000000000; }
     ssl_certificate ${cert}; ssl_certificate_key ${key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off;
     server { listen 127.0.0.1:${nginxPorts.plain} backlog=4096; ${location} }
     server { listen 127.0.0.1:${nginxPorts.tickets} ssl backlog=4096; ssl_session_ticket_key ${ticketKey}; ${location} }
     server { listen 127.0.0.1:${nginxPorts['no-tickets']} ssl backlog=4096; ssl_session_tickets off; ${location} }`,
  );
  const { pid = 0 } = lab.start('nginx', '-c', file);
  await lab.listening(nginxPorts.plain);
  return { pid, port: nginxPorts.plain, portFor: async (transport) => nginxPorts[transport] };
}

async function startHaproxy(lab: ProxyLab): Promise<RunningProxy> {
  const { both, ticketKeys } = lab.secrets;
  const file = join(lab.folder, 'haproxy.cfg');
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 8192
  tune.ssl.cachesize 0
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  http-reuse always
frontend f
  bind 127.0.0.1:${haproxyPorts.plain} backlog 4096
  bind 127.0.0.1:${haproxyPorts.tickets} ssl crt ${both} tls-ticket-keys ${ticketKeys} backlog 4096
  bind 127.0.0.1:${haproxyPorts['no-tickets']} ssl crt ${both} no-tls-tickets backlog 4096
  option forwardfor
  default_backend b
backend b
  server s 127.0.0.1:${backendPort}
`,
  );
  const { pid = 0 } = lab.start('haproxy', '-db', '-f', file);
  await lab.listening(haproxyPorts.plain);
  return { pid, port: haproxyPorts.plain, portFor: async (transport) => haproxyPorts[transport] };
}

/** Whether the load generator is there. */
export function hasWrk(): boolean {
  try {
    execFileSync('which', ['wrk']);
    return true;
  } catch {
    return false;
  }
}
