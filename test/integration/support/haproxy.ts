import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Writes the configuration of an HAProxy that wants a PROXY header on every connection and answers by itself with
 * whom it takes for the client and the server: `ADDRESS PORT -> ADDRESS PORT`. Returns its path.
 */
export function writeAcceptingHaproxy(folder: string, address: string, port: number): string {
  const file = join(folder, `haproxy-${port}.cfg`);
  writeFileSync(
    file,
    `defaults
  mode http
  timeout client 30s
  timeout server 30s
frontend f
  bind ${address}:${port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] -> %[dst] %[dst_port]"
`,
  );
  return file;
}
