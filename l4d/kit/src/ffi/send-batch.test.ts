import { expect, test } from 'vitest';
import { ipAddress } from '../ip-address.ts';
import { connectAt, fixedMemory, lastName, readLocalName } from './event-socket.ts';
import { bind, closeFd } from './libc.ts';
import { ReceiveBatch } from './receive-batch.ts';
import { SendBatch } from './send-batch.ts';
import { encodeSockaddr } from './sockaddr.ts';
import { udpSocket } from './udp-socket.ts';

function bound(): { readonly fd: number; readonly name: string } {
  const fd = udpSocket(4);
  bind(fd, encodeSockaddr(ipAddress('127.0.0.1'), 0));
  readLocalName(fd);
  return { fd, name: lastName() };
}

test('datagrams of several peers, runs and single ones arrive as they were added, also by more messages than there is room for', () => {
  const [from, one, other] = [bound(), bound(), bound()];
  const memory = fixedMemory(65_536);
  for (let at = 0; at < memory.bytes.length; at++) memory.bytes[at] = at % 251;
  const batch = new SendBatch(4, () => void batch.send(from.fd));
  const received = new ReceiveBatch(64);
  const lengths = (fd: number) => {
    const count = Math.max(0, received.receive(fd));
    return Array.from({ length: count }, (_, i) => received.length(i));
  };
  for (const apart of [false, true]) {
    const [toOne, toOther] = [one, other].map(({ name }) => ({ name, scopeId: 0, apart }));
    if (toOne === undefined || toOther === undefined) throw new Error('no peers');
    batch.add(toOne, memory.address, 2500, 1000);
    batch.add(toOther, memory.address + 7, 10);
    batch.add(toOther, memory.address + 17, 10);
    batch.add(toOther, memory.address + 40, 30);
    batch.add(toOther, memory.address + 100, 4);
    batch.add(toOther, memory.address, 0);
    for (let i = 0; i < 6; i++) batch.add(i % 2 === 0 ? toOne : toOther, memory.address + i, 20 + i);
    batch.send(from.fd);
    expect(batch.isEmpty).toBe(true);
    expect(lengths(one.fd)).toEqual([1000, 1000, 500, 20, 22, 24]);
    expect(received.bytes(1)[0]).toBe(1000 % 251);
    expect(lengths(other.fd)).toEqual([10, 10, 30, 4, 0, 21, 23, 25]);
    expect([1, 2, 3].map((i) => received.bytes(i)[0])).toEqual([17, 40, 100]);
    expect(received.source(0)).toBe(from.name);
  }
  const sockaddr = fixedMemory(64);
  sockaddr.bytes.set(
    encodeSockaddr(ipAddress('127.0.0.1'), one.name.charCodeAt(0) * 256 + one.name.charCodeAt(1)),
  );
  connectAt(from.fd, sockaddr.address, 16);
  batch.add({ name: '', scopeId: 0, apart: false }, memory.address + 3, 5);
  expect(batch.send(from.fd)).toMatchObject({ datagrams: 1, bytes: 5, refused: false });
  expect(lengths(one.fd)).toEqual([5]);
  // The shorter end of a run can be all that is left for a batch of its own.
  batch.add({ name: '', scopeId: 0, apart: true }, memory.address, 4400, 1000);
  expect(batch.send(from.fd)).toMatchObject({ datagrams: 1, bytes: 400 });
  expect(lengths(one.fd)).toEqual([1000, 1000, 1000, 1000, 400]);
  expect(received.bytes(4)[0]).toBe(4000 % 251);
  for (const { fd } of [from, one, other]) closeFd(fd);
});
