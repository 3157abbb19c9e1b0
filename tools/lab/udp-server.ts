/**
 * A UDP server for backends: answers each datagram with "NAME CLIENT-ADDRESS:PORT REQUEST", and "health", as
 * a check may ask, with "ok".
 * Usage: udp-server.ts NAME PORT ADDRESS... It is bound to each address by itself, so that answers carry it
 * as their source. Writes "ready" to stdout when it listens everywhere.
 */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

const [name = '', port = '', ...addresses] = process.argv.slice(2);
await Promise.all(
  addresses.map(
    (address) =>
      new Promise<void>((resolve, reject) => {
        const socket = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4', reuseAddr: true });
        socket.on('error', reject);
        socket.on('message', (message, from) => {
          const client = isIPv6(from.address) ? `[${from.address}]` : from.address;
          const request = message.toString('latin1');
          const answer = request === 'health' ? 'ok' : `${name} ${client}:${from.port} ${request}`;
          // The client may be gone: what the kernel says about it concerns nobody.
          socket.send(answer, from.port, from.address, () => {});
        });
        socket.bind(Number(port), address, resolve);
      }),
  ),
);
process.stdout.write('ready\n');
