import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
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

const port = 8080;

/** Ours and its peers, each with one worker, upstream keep-alive and X-Forwarded-For. */
export const proxySubjects: readonly ProxySubject[] = [
  { subject: 'l4d', missing: undefined, start: startOwn },
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

async function startOwn(lab: ProxyLab): Promise<RunningProxy> {
  return startOwnWith(lab, 'http', backendPort);
}

/** `taskset` and `nsenter` exec, so the child's pid is the proxy's. Ours with one worker and one listener that has one backend. */
export async function startOwnWith(
  lab: ProxyLab,
  mode: 'http' | 'tcp',
  backend: number,
): Promise<RunningProxy> {
  const runDir = join(lab.folder, 'run');
  mkdirSync(runDir, { recursive: true });
  const { pid = 0 } = lab.start('l7/bin/l4-proxy', '--run-dir', runDir, '--bpf-dir', join(lab.folder, 'bpf'));
  let own: number | undefined;
  for (let i = 0; i < 100 && own === undefined; i++) {
    await sleep(50);
    [own] = lab.portsOf(pid);
  }
  if (own === undefined) throw new OperatorError('the proxy does not listen', 1);
  const pools = [{ name: 'default', backends: [{ address: '127.0.0.1', port: backend }] }];
  const proxy = createProxyClient(runDir);
  const { cert, key, ticketKeys } = lab.secrets;
  // A worker has one socket: it is one listener after the other.
  const use = async (transport: Transport): Promise<number> => {
    const tickets = transport === 'tickets' ? { ticketKeys } : { tickets: false };
    const tls = transport === 'plain' ? {} : { tls: { certificates: [{ cert, key }], ...tickets } };
    const listener = { name: 'bench', address: '127.0.0.1', port: own, mode, pools, ...tls };
    await proxy.putDesired({ workers: 1, listeners: [listener] });
    return own;
  };
  await use('plain');
  const { workers } = await proxy.status();
  // It is the worker that works.
  return { pid: workers[0]?.pid ?? pid, port: own, portFor: use };
}

/** Ports of the peers. */
const portOf: Readonly<Record<Transport, number>> = {
  plain: port,
  tickets: port + 1,
  'no-tickets': port + 2,
};

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
     server { listen 127.0.0.1:${portOf.plain} backlog=4096; ${location} }
     server { listen 127.0.0.1:${portOf.tickets} ssl backlog=4096; ssl_session_ticket_key ${ticketKey}; ${location} }
     server { listen 127.0.0.1:${portOf['no-tickets']} ssl backlog=4096; ssl_session_tickets off; ${location} }`,
  );
  const { pid = 0 } = lab.start('nginx', '-c', file);
  await lab.listening(port);
  return { pid, port, portFor: async (transport) => portOf[transport] };
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
  bind 127.0.0.1:${portOf.plain} backlog 4096
  bind 127.0.0.1:${portOf.tickets} ssl crt ${both} tls-ticket-keys ${ticketKeys} backlog 4096
  bind 127.0.0.1:${portOf['no-tickets']} ssl crt ${both} no-tls-tickets backlog 4096
  option forwardfor
  default_backend b
backend b
  server s 127.0.0.1:${backendPort}
`,
  );
  const { pid = 0 } = lab.start('haproxy', '-db', '-f', file);
  await lab.listening(port);
  return { pid, port, portFor: async (transport) => portOf[transport] };
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
