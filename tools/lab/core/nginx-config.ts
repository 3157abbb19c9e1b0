import type { BackendHost } from './topology.ts';

/** Files for downloads: name and size in bytes. They are sparse: they take no memory. */
export const downloadFiles: readonly { readonly name: string; readonly bytes: number }[] = [
  { name: '1k', bytes: 2 ** 10 },
  { name: '1m', bytes: 2 ** 20 },
  { name: '10m', bytes: 10 * 2 ** 20 },
  { name: '100m', bytes: 100 * 2 ** 20 },
  { name: '1g', bytes: 2 ** 30 },
];

/** Where a web server keeps its things. */
export interface NginxPaths {
  /** Folder with `www/big/SIZE` below it; temporary files go to `tmp`. */
  readonly folder: string;
  readonly pidFile: string;
  readonly errorLog: string;
  readonly accessLog: string;
}

/**
 * A backend's web server: `/` answers "NAME CLIENT-ADDRESS", `/forwarded` "NAME X-FORWARDED-FOR CLIENT-ADDRESS",
 * `/health` "ok"; `/big/SIZE` is a download
 * (`/big` 100 MiB), `/slow/SIZE?rate=BYTES` one at a limited rate (`/slow` 1 MiB in about 20 s).
 */
export function nginxConfig(backend: BackendHost, paths: NginxPaths): string {
  const listens = backend.ports.flatMap((port) => [
    `    listen ${port} reuseport;`,
    `    listen [::]:${port} reuseport ipv6only=on;`,
  ]);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `  ${kind}_temp_path ${paths.folder}/tmp/${kind};`,
  );
  return `worker_processes 1;
pid ${paths.pidFile};
error_log ${paths.errorLog} warn;
events { worker_connections 8192; }
http {
  access_log ${paths.accessLog};
${temporary.join('\n')}
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_max_body_size 0;
  map $arg_rate $slow_rate { default $arg_rate; "" 51k; }
  server {
${listens.join('\n')}
    server_name _;
    root ${paths.folder}/www;
    location / { default_type text/plain; return 200 "${backend.name} $remote_addr\\n"; }
    location = /forwarded { default_type text/plain; return 200 "${backend.name} $http_x_forwarded_for $remote_addr\\n"; }
    location = /health { default_type text/plain; access_log off; return 200 "ok\\n"; }
    location = /big { rewrite ^ /big/100m last; }
    location /big/ { add_header X-Backend ${backend.name}; }
    location = /slow { rewrite ^ /slow/1m last; }
    location /slow/ { alias ${paths.folder}/www/big/; limit_rate $slow_rate; add_header X-Backend ${backend.name}; }
  }
}
`;
}
