import { createLogger } from '@l4d/kit/logger.ts';
import koffi from 'koffi';
import { expect, test } from 'vitest';
import { startFront } from '../front.ts';
import { bindLoopback } from '../listening-socket.ts';

const libc = koffi.load(null);
const duplicate = libc.func('int dup(int fd)') as (fd: number) => number;
const duplicateTo = libc.func('int dup2(int from, int to)') as (from: number, to: number) => number;
const close = libc.func('int close(int fd)') as (fd: number) => number;

test('a listening socket that another process holds too can be left and taken again under the same number', async () => {
  const front = startFront(createLogger('l7-test'));
  const fd = bindLoopback(4);
  // As the supervisor does: closing a descriptor then takes nothing out of an epoll set.
  const kept = duplicate(fd);
  for (let i = 0; i < 3; i++) {
    const leave = front.serve([fd]);
    leave();
    expect(duplicateTo(kept, fd)).toBe(fd);
  }
  close(kept);
  close(fd);
  await front.drain();
});
