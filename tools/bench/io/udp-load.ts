import { closeSocket, connectAt, epollEvent, fixedMemory } from '@l4d/kit/ffi/event-socket.ts';
import { ReceiveBatch } from '@l4d/kit/ffi/receive-batch.ts';
import { SendBatch } from '@l4d/kit/ffi/send-batch.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { udpSocket } from '@l4d/kit/ffi/udp-socket.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ReadySockets } from './ready-sockets.ts';

/**
 * UDP clients, each with so many datagrams on their way: `udp-load.ts PORT CLIENTS WINDOW BYTES SECONDS RENEW`. With RENEW
 * `1` each answer ends its socket, and the next question has another. Lost ones are sent again after 200 ms. Writes how many
 * were answered, as a line of JSON, and round-trip times of a sample.
 */
const [port = 0, clients = 0, window = 0, bytes = 0, seconds = 0, renew = 0] = process.argv
  .slice(2)
  .map(Number);

interface Client {
  fd: number;
  /** On their way. */
  out: number;
  sentAt: number;
}

const sockets = new ReadySockets();
const payload = fixedMemory(Math.max(bytes, 64));
const sockaddr = fixedMemory(64);
const target = encodeSockaddr(ipAddress('127.0.0.1'), port);
sockaddr.bytes.set(target);
const received = new ReceiveBatch(64);
/** What was given up and sent again can be answered twice: as many are asked again as came at a time. */
const outgoing = new SendBatch(Math.max(window, received.count));
/** No runs: each is a datagram of its own, as those of many clients are. */
const connected = { name: '', scopeId: 0, apart: true };
const byFd: Client[] = [];
const times: number[] = [];
let answered = 0;

function connect(client: Client): void {
  client.fd = udpSocket(4);
  connectAt(client.fd, sockaddr.address, target.length);
  sockets.watch(client.fd, epollEvent.in);
  byFd[client.fd] = client;
}

function ask(client: Client, count: number): void {
  for (let i = 0; i < count; i++) outgoing.add(connected, payload.address, bytes);
  outgoing.send(client.fd);
  client.out += count;
  client.sentAt = performance.now();
}

function take(fd: number): void {
  const client = byFd[fd];
  if (client === undefined) return;
  const got = received.receive(fd);
  if (got <= 0) return;
  answered += got;
  if (answered % 64 === 0) times.push(performance.now() - client.sentAt);
  client.out -= got;
  if (renew === 1) {
    closeSocket(fd);
    connect(client);
  }
  ask(client, got);
}

const all = Array.from({ length: clients }, (): Client => ({ fd: -1, out: 0, sentAt: 0 }));
for (const client of all) {
  connect(client);
  ask(client, window);
}
const begin = performance.now();
const end = begin + seconds * 1000;
let looked = begin;
let now = begin;
while (now < end) {
  sockets.wait(50, take);
  now = performance.now();
  if (now - looked < 100) continue;
  looked = now;
  for (const client of all) {
    if (client.out === 0 || now - client.sentAt < 200) continue;
    const lost = client.out;
    client.out = 0;
    ask(client, lost);
  }
}
times.sort((a, b) => a - b);
const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
process.stdout.write(`${JSON.stringify({ answered, seconds: (now - begin) / 1000, p99 })}\n`);
