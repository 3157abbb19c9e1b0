import { closeSocket } from '@l4d/kit/ffi/event-socket.ts';
import { expect, test } from 'vitest';
import { bindLoopback } from '../listening-socket.ts';
import { limitSegments } from './place.ts';

test.each([
  ['none', undefined],
  ['the least that is declared', { ipv4: 88, ipv6: 88 }],
  ['as of interfaces that carry 64 KB', { ipv4: 65_495, ipv6: 65_475 }],
])('the kernel takes a limit of segments: %s', (_name, limit) => {
  const sockets = [bindLoopback(4), bindLoopback(6)] as const;
  expect(() => limitSegments({ sockets }, limit)).not.toThrow();
  for (const fd of sockets) closeSocket(fd);
});
