/**
 * Sends frames out of an interface as fast as one core can: `taskset -c CORE nsenter --net=NS node live-generator.ts
 * JSON`, with a LiveOrder; prints a LiveReport. A process of its own, because the kernel sends in the namespace and on
 * the core of the thread that asks for it.
 */

import { InvariantError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { objectPath, objectTypes } from '@l4d/l4d/io/forwarding/bpf-objects.ts';

/** What is to be sent. */
export interface LiveOrder {
  readonly device: string;
  /** A frame of 64 bytes, in hexadecimal. */
  readonly frame: string;
  /** Sources that take turns: a power of two, at most 65,536. */
  readonly flows: number;
  /** Where the frame's source port is. */
  readonly portOffset: number;
  /** For how long at least, after as many frames as have warmed up. */
  readonly seconds: number;
}

/** What was sent. */
export interface LiveReport {
  /** Warming up included. */
  readonly sent: number;
  /** Frames a second, without warming up. */
  readonly rate: number;
}

/** Frames a system call: a few tenths of a second, as each of them prepares memory first. */
const chunk = 1 << 20;

const order = JSON.parse(process.argv[2] ?? '') as LiveOrder;
process.stdout.write(`${JSON.stringify(send(order))}\n`);

function send({ device, frame, flows, portOffset, seconds }: LiveOrder): LiveReport {
  const bytes = Uint8Array.from(Buffer.from(frame, 'hex'));
  const object = libbpf.openObject(objectPath('bench_generator'));
  const variables = objectTypes('bench_generator').sections.get('.rodata');
  const words = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
  const values = {
    target: words(interfaceIndex(device)),
    port_mask: words(flows - 1),
    port_offset: words(portOffset),
    frame: bytes,
  };
  for (const [name, value] of Object.entries(values)) {
    const variable = variables?.get(name);
    if (variable?.size !== value.length)
      throw new InvariantError(`bench_generator: ${name} is no ${value.length} bytes`);
    libbpf.setData(object, '.rodata', variable.offset, value);
  }
  libbpf.loadObject(object, 'bench_generator');
  const program = libbpf.programFd(object, 'bench_generate');
  libbpf.testRunLive(program, bytes, chunk);
  const begun = performance.now();
  let sent = 0;
  let elapsed = 0;
  while (elapsed < seconds * 1000) {
    libbpf.testRunLive(program, bytes, chunk);
    sent += chunk;
    elapsed = performance.now() - begun;
  }
  libbpf.closeObject(object);
  return { sent: sent + chunk, rate: (sent / elapsed) * 1000 };
}
