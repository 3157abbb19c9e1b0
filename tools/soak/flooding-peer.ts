/**
 * A router that announces as many routes as it is told, as fast as they are taken, each once:
 * `node flooding-peer.ts ADDRESS COUNT`. Prints its port, then `done SECONDS` when the last one is written.
 */
import { createServer, type Socket } from 'node:net';
import { encodeMessage } from '@l4d/announcer/core/codec/message.ts';
import { makeOpen } from '@l4d/announcer/core/negotiation.ts';

const [address = '', countText = '0'] = process.argv.slice(2);
const count = Number(countText);
/** ORIGIN, AS_PATH 65000, NEXT_HOP 10.0.0.1. */
const attributes = Buffer.from('4001010040020602010000fde84003040a000001', 'hex');
/** Prefixes of /32 in a message of at most 4096 octets. */
const perMessage = Math.floor((4096 - 19 - 4 - attributes.length) / 5);
const keepalive = encodeMessage({ type: 'keepalive' });

function update(first: number, prefixes: number): Buffer {
  const message = Buffer.alloc(23 + attributes.length + prefixes * 5, 0xff);
  message.writeUInt16BE(message.length, 16);
  message[18] = 2;
  message.writeUInt16BE(0, 19);
  message.writeUInt16BE(attributes.length, 21);
  attributes.copy(message, 23);
  for (let i = 0; i < prefixes; i++) {
    const at = 23 + attributes.length + i * 5;
    message[at] = 32;
    // From 11.0.0.0 on.
    message.writeUInt32BE(0x0b00_0000 + first + i, at + 1);
  }
  return message;
}

function flood(socket: Socket): void {
  const start = performance.now();
  let next = 0;
  const write = () => {
    let room = true;
    while (room && next < count) {
      const prefixes = Math.min(perMessage, count - next);
      room = socket.write(update(next, prefixes));
      next += prefixes;
    }
    if (next < count) socket.once('drain', write);
    else socket.write(keepalive, () => console.log(`done ${(performance.now() - start) / 1000}`));
  };
  write();
}

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => undefined);
  socket.resume();
  const open = {
    localAs: 65000,
    routerId: 1,
    peerAs: 65001,
    holdTimeSeconds: 30,
    families: ['ipv4'],
  } as const;
  socket.write(encodeMessage(makeOpen(open)));
  socket.write(keepalive);
  const timer = setInterval(() => socket.write(keepalive), 5000);
  socket.on('close', () => clearInterval(timer));
  process.stdin.once('data', () => flood(socket));
});
server.listen(0, address, () => console.log((server.address() as { port: number }).port));
process.stdin.on('end', () => process.exit(0));
