import { createSocket } from 'node:dgram';

/**
 * UDP clients, each with a port of its own, that ask every 20 ms: `udp-load.ts ADDRESS PORT CLIENTS`. At SIGTERM a line of
 * JSON: of each client how many were answered, and by whom in turn (backend and the port that it saw).
 */
const [address = '', port = '', clients = ''] = process.argv.slice(2);

/** What one client has seen. */
export interface UdpClientResult {
  readonly sent: number;
  readonly answered: number;
  /** Each peer once, as often as it changed. */
  readonly peers: readonly string[];
}

let ending = false;
const lanes = Array.from({ length: Number(clients) }, () => {
  const state = { sent: 0, answered: 0, peers: [] as string[] };
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (bytes) => {
    const [name, peer] = bytes.toString().split(' ');
    state.answered += 1;
    if (state.peers.at(-1) !== `${name} ${peer}`) state.peers.push(`${name} ${peer}`);
  });
  socket.on('error', () => undefined);
  socket.connect(Number(port), address, () => {
    const timer = setInterval(() => {
      if (ending) return void clearInterval(timer);
      state.sent += 1;
      socket.send('ask', () => undefined);
    }, 20);
  });
  return state;
});
process.stdout.write('loading\n');
process.on('SIGTERM', () => {
  ending = true;
  // What is on its way still comes.
  setTimeout(() => {
    process.stdout.write(`${JSON.stringify(lanes satisfies UdpClientResult[])}\n`, () => process.exit(0));
  }, 500);
});
