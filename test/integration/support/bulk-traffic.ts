import { ipIn } from './network-namespace.ts';
import { patience, type TunnelLab, vips } from './tunnel-lab.ts';

/** Bytes that uploads and downloads have by default: many windows of TCP. */
export const bulkBytes = 8_000_000;

/**
 * A program for a backend: counts what is posted and sends as much as is asked for; answers datagrams, from the
 * address that they came to, with their length.
 */
export function bulkServer(tcpPorts: readonly number[], udpPorts: readonly number[]): string {
  return `
const http = require('node:http'), dgram = require('node:dgram');
for (const port of ${JSON.stringify(tcpPorts)}) http.createServer((request, answer) => {
  let bytes = 0;
  request.on('data', (chunk) => { bytes += chunk.length; });
  request.on('end', () => answer.end(request.method === 'POST' ? String(bytes) : Buffer.alloc(Number(request.url.slice(1)), 7)));
}).listen(port, '::');
for (const [type, address] of [['udp4', '${vips.ipv4}'], ['udp6', '${vips.ipv6}']])
  for (const port of ${JSON.stringify(udpPorts)}) {
    const socket = dgram.createSocket(type);
    socket.on('message', (message, from) => socket.send(String(message.length), from.port, from.address));
    socket.bind(port, address);
  }
`;
}

const datagramSender = `
const [, address, port, size] = process.argv;
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
socket.on('message', (message) => { process.stdout.write(String(message)); process.exit(); });
socket.on('error', () => process.exit());
socket.send(Buffer.alloc(Number(size)), Number(port), address);
setTimeout(() => process.exit(), ${400 * patience});
`;

/** A TCP service of a VIP. */
export interface BulkService {
  readonly vip: string;
  readonly port: number;
}

/** What a client asks of a service; everything gives text, empty when nothing came back. */
export function bulkClient(lab: TunnelLab) {
  const url = ({ vip, port }: BulkService, path = '') =>
    `http://${vip.includes(':') ? `[${vip}]` : vip}:${port}/${path}`;
  return {
    /** Posts; gives how many bytes the backend has counted. */
    upload: (service: BulkService, bytes = bulkBytes) =>
      lab.ask(
        'client',
        'sh',
        '-c',
        `head -c ${bytes} /dev/zero | curl -s -m ${10 * patience} --data-binary @- '${url(service)}'`,
      ),
    /** Gets; gives how many bytes came. */
    download: (service: BulkService, bytes = bulkBytes) =>
      lab.ask(
        'client',
        ...['curl', '-s', '-m', String(10 * patience), '-o', '/dev/null', '-w', '%{size_download}'],
        url(service, `${bytes}`),
      ),
    /** Sends one datagram; gives the length that the backend has seen. */
    datagram: (vip: string, port: number, bytes: number) =>
      lab.ask('client', process.execPath, '-e', datagramSender, vip, String(port), String(bytes)),
    /** The largest packet that the client knows to come through to a VIP. */
    knownMtu: (vip: string) =>
      Number(/mtu (\d+)/.exec(ipIn(lab.names.client, `route get ${vip}`))?.[1] ?? 1500),
    /** Lets the client forget it. */
    forgetMtu: (vip: string) =>
      ipIn(lab.names.client, `${vip.includes(':') ? '-6' : '-4'} route flush cache`),
  };
}

/** Waits for a condition. Throws with the daemon's view and log when it does not come true in 15 s (times patience). */
export async function until(lab: TunnelLab, what: string, holds: () => Promise<boolean>): Promise<void> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > 15_000 * patience) {
      const { vips: seen, host } = await lab.status();
      throw new Error(`not in time: ${what}\n${JSON.stringify({ seen, host })}\n${lab.log().slice(-4000)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
