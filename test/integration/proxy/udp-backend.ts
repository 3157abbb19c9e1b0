import { createSocket } from 'node:dgram';

/**
 * Answers datagrams: `udp-backend.ts ADDRESS PORT NAME`. `NAME PEER-PORT what came`; what is longer than 60,000 bytes as it
 * came; `many COUNT SIZE` with so many datagrams of that size; what begins with a PROXY header by the header in hex.
 */
const [address = '', port = '', name = ''] = process.argv.slice(2);

const server = createSocket(address.includes(':') ? 'udp6' : 'udp4');
server.on('message', (bytes, { address: peer, port: peerPort }) => {
  const text = bytes.toString('latin1');
  if (bytes.length > 60_000) return void server.send(bytes, peerPort, peer);
  if (text.startsWith('\r\n\r\n\0\r\nQUIT\n')) {
    const length = 16 + bytes.readUInt16BE(14);
    const answer = `${name} ${bytes.subarray(0, length).toString('hex')} ${text.slice(length)}`;
    return void server.send(answer, peerPort, peer);
  }
  const [, count, size] = /^many (\d+) (\d+)$/.exec(text) ?? [];
  for (let i = 0; i < Number(count ?? 0); i++)
    server.send(Buffer.alloc(Number(size), String(i % 10)), peerPort, peer);
  if (count === undefined) server.send(`${name} ${peerPort} ${text}`, peerPort, peer);
});
server.bind(Number(port), address, () => process.stdout.write('listening\n'));
