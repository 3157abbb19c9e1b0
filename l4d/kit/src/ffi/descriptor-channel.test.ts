import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import {
  type ChannelHandlers,
  connectChannel,
  listenForChannels,
  maxDescriptors,
} from './descriptor-channel.ts';
import { duplicate, memoryFile, readWhole } from './descriptors.ts';

const folder = mkdtempSync(join(tmpdir(), 'l4d-channel-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function record() {
  const messages: { text: string; descriptors: readonly number[] }[] = [];
  let closed!: () => void;
  const end = new Promise<void>((resolve) => {
    closed = resolve;
  });
  const handlers: ChannelHandlers = {
    onMessage: (text, descriptors) => messages.push({ text, descriptors }),
    onClosed: () => closed(),
  };
  return { messages, end, handlers };
}

it('carries messages and descriptors in order, and tells the end after all of them', async () => {
  const path = join(folder, 'a.sock');
  const server = record();
  const stop = listenForChannels(path, (open) => open(server.handlers).send('welcome'));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const client = record();
  const channel = connectChannel(path, client.handlers);
  await expect.poll(() => client.messages).toEqual([{ text: 'welcome', descriptors: [] }]);
  writeFileSync(join(folder, 'file'), 'contents');
  const fd = openSync(join(folder, 'file'), 'r');
  const many = Array.from({ length: maxDescriptors }, () => fd);
  channel.send('plain');
  channel.send('with descriptors', many);
  channel.send('last');
  channel.close();
  closeSync(fd);
  await server.end;
  stop();
  expect(server.messages.map(({ text }) => text)).toEqual(['plain', 'with descriptors', 'last']);
  expect(server.messages.map(({ descriptors }) => descriptors.length)).toEqual([0, maxDescriptors, 0]);
  const [first] = server.messages[1]?.descriptors ?? [];
  const buffer = Buffer.alloc(8);
  readSync(first ?? -1, buffer, 0, 8, 0);
  expect(buffer.toString()).toBe('contents');
  for (const descriptor of server.messages[1]?.descriptors ?? []) closeSync(descriptor);
  expect(() => channel.send('too late')).toThrow(/sendmsg/);
});

it('says when nobody listens', () => {
  expect(() => connectChannel(join(folder, 'none.sock'), record().handlers)).toThrow(/ENOENT/);
});

it('reads the whole of a memory file by another descriptor of it', () => {
  const contents = new Uint8Array(3_000_000).fill(7);
  const fd = memoryFile('test', contents);
  const other = duplicate(fd);
  closeSync(fd);
  expect(Buffer.compare(readWhole(other), contents)).toBe(0);
  closeSync(other);
});
