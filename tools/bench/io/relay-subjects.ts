import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ProxyLab, type RunningProxy, writeNginx } from './proxy-lab.ts';
import { installed, startOwnWith, version } from './proxy-subjects.ts';

/** A proxy that relays TCP and looks at nothing. */
export interface RelaySubject {
  readonly subject: string;
  /** Why it cannot be measured here. */
  readonly missing: string | undefined;
  /** Relays to a port of 127.0.0.1. */
  start(lab: ProxyLab, backend: number): Promise<RunningProxy>;
  /** Passes datagrams to a port of 127.0.0.1; absent: it cannot. `once`: a session ends with its answer. */
  startDatagrams?(lab: ProxyLab, backend: number, once: boolean): Promise<RunningProxy>;
}

const port = 8080;
const streamModule = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** Ours and its peers, each with one worker. */
export const relaySubjects: readonly RelaySubject[] = [
  {
    subject: 'l4d',
    missing: undefined,
    start: (lab, backend) => startOwnWith(lab, 'tcp', backend),
    startDatagrams: (lab, backend, once) =>
      startOwnWith(lab, 'udp', backend, '.', once ? { udp: { responses: 1 } } : {}),
  },
  {
    subject: 'l4d, relay in the kernel',
    missing: undefined,
    // Bulk over loopback outruns its reader for as long as that is somewhere else: the limit is to be out of the way.
    start: (lab, backend) =>
      startOwnWith(lab, 'tcp', backend, '.', { relay: 'kernel', limits: { relayBytes: 1_073_741_824 } }),
  },
  haproxy('', ''),
  haproxy(', splicing', '  option splice-auto\n'),
  {
    subject: version('nginx', ['-v'], /nginx\/(\S+)/, 'nginx'),
    missing: existsSync(streamModule) ? undefined : 'not installed; Debian package libnginx-mod-stream',
    start: startNginx,
    startDatagrams: startNginxDatagrams,
  },
];

function haproxy(suffix: string, options: string): RelaySubject {
  return {
    subject: version('haproxy', ['-v'], /version (\d[\d.]*)/, 'HAProxy') + suffix,
    missing: installed('haproxy') ? undefined : 'not installed; Debian package haproxy',
    async start(lab, backend) {
      const file = join(lab.folder, 'relay.cfg');
      writeFileSync(
        file,
        `global
  nbthread 1
  maxconn 2000
defaults
  mode tcp
  timeout client 60s
  timeout server 60s
  timeout connect 5s
${options}listen f
  bind 127.0.0.1:${port} backlog 4096
  server s 127.0.0.1:${backend}
`,
      );
      const { pid = 0 } = lab.start('haproxy', '-db', '-f', file);
      await lab.listening(port);
      return { pid, port };
    },
  };
}

async function startNginxDatagrams(lab: ProxyLab, backend: number, once: boolean): Promise<RunningProxy> {
  const bound = once ? 'proxy_responses 1;' : '';
  const stream = `stream { server { listen 127.0.0.1:${port} udp; proxy_pass 127.0.0.1:${backend}; ${bound} } }`;
  const file = writeNginx(lab.folder, 'datagrams', '', `load_module ${streamModule}; ${stream}`);
  const { pid = 0 } = lab.start('nginx', '-c', file);
  await lab.listening(port, 'udp');
  return { pid, port };
}

async function startNginx(lab: ProxyLab, backend: number): Promise<RunningProxy> {
  const stream = `stream { server { listen 127.0.0.1:${port} backlog=4096; proxy_pass 127.0.0.1:${backend}; } }`;
  const file = writeNginx(lab.folder, 'relay', '', `load_module ${streamModule}; ${stream}`);
  const { pid = 0 } = lab.start('nginx', '-c', file);
  await lab.listening(port);
  return { pid, port };
}
