import {
  fixedMemory,
  listenOn,
  newSocket,
  receiveAt,
  sendAt,
  setNoDelay,
} from '@l4d/kit/ffi/event-socket.ts';
import { bind, connect, constant, setSocketOptionInt } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import koffi from 'koffi';

/*
 * Questions of 64 bytes and their answers on one TCP connection, one at a time, with sockets that block: what is between
 * the two is measured, no event loop at the ends. `serve PORT` answers; `ask PORT COUNT` says the median and the 99th
 * percentile in us as JSON.
 */

const bytes = 64;
const noSignal = 0x4000;
const memory = fixedMemory(4096);
const accept = koffi.load(null).func('int accept(int fd, void *address, void *length)');

function exchange(fd: number): boolean {
  let left = bytes;
  while (left > 0) {
    const count = receiveAt(fd, memory.address, left, 0);
    if (count <= 0) return false;
    left -= count;
  }
  return true;
}

function serve(port: number): void {
  const listener = newSocket(constant.AF_INET, constant.SOCK_STREAM, 0);
  setSocketOptionInt(listener, constant.SOL_SOCKET, constant.SO_REUSEADDR, 1);
  bind(listener, encodeSockaddr(ipAddress('127.0.0.1'), port));
  listenOn(listener, 16);
  for (;;) {
    const fd = accept(listener, null, null) as number;
    setNoDelay(fd);
    while (exchange(fd)) sendAt(fd, memory.address, bytes, noSignal);
    koffi.load(null).func('int close(int fd)')(fd);
  }
}

function ask(port: number, count: number): void {
  const fd = newSocket(constant.AF_INET, constant.SOCK_STREAM, 0);
  connect(fd, encodeSockaddr(ipAddress('127.0.0.1'), port));
  setNoDelay(fd);
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const begin = performance.now();
    sendAt(fd, memory.address, bytes, noSignal);
    if (!exchange(fd)) throw new Error('the connection has ended');
    times.push((performance.now() - begin) * 1000);
  }
  // What comes before the relay is what it will be is not counted.
  const sorted = times.slice(count >> 3).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)];
  process.stdout.write(JSON.stringify({ median: at(0.5), p99: at(0.99) }));
}

const [role, port, count] = process.argv.slice(2);
if (role === 'serve') serve(Number(port));
else ask(Number(port), Number(count));
