import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Ports of one proxy: those of its clients, and those of its backends, one of each a row. */
export interface RowPorts {
  readonly clients: number;
  readonly backends: number;
  readonly count: number;
}

const rows = (ports: RowPorts) => Array.from({ length: ports.count }, (_, i) => i);

/** Writes the configuration of an nginx on loopback with a server a row; returns its path. */
export function writeNginx(folder: string, ports: RowPorts): string {
  const own = join(folder, 'nginx-peer');
  mkdirSync(own);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${own}/${kind};`)
    .join(' ');
  const servers = rows(ports).map(
    (i) =>
      `server { listen 127.0.0.1:${ports.clients + i}; location / { proxy_pass http://127.0.0.1:${ports.backends + i}; } }`,
  );
  const file = join(own, 'nginx.conf');
  writeFileSync(
    file,
    `daemon off; master_process off; error_log stderr notice; pid ${own}/pid; worker_rlimit_nofile 16384;
events { worker_connections 4096; }
http { access_log off; ${temporary} proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off;
${servers.join('\n')} }
`,
  );
  return file;
}

/** Writes the configuration of an HAProxy on loopback with a frontend a row; returns its path. */
export function writeHaproxy(folder: string, ports: RowPorts): string {
  const file = join(folder, 'haproxy-peer.cfg');
  const servers = rows(ports).map(
    (i) => `listen r${i}\n  bind 127.0.0.1:${ports.clients + i}\n  server s 127.0.0.1:${ports.backends + i}`,
  );
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 4000
defaults
  mode http
  retries 0
  timeout connect 5s
  timeout client 30s
  timeout server 30s
${servers.join('\n')}
`,
  );
  return file;
}
