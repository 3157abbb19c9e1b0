/**
 * Sends frames whose source port takes 2,048 turns out of an interface: `node flood.ts DEVICE FRAME-IN-HEX COUNT`. A process
 * of its own, in the namespace that the kernel shall send in.
 */
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { objectPath, objectTypes } from '@l4d/l4d/io/forwarding/bpf-objects.ts';

const [device = '', hex = '', count = '0'] = process.argv.slice(2);
const frame = Uint8Array.from(Buffer.from(hex, 'hex'));
const object = libbpf.openObject(objectPath('bench_generator'));
const variables = objectTypes('bench_generator').sections.get('.rodata');
const words = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const values = {
  target: words(interfaceIndex(device)),
  // Few enough that each comes again while its entry is there: who is seen once only, the kernel pushes out first.
  port_mask: words(0x7ff),
  // Ethernet and an IPv4 header without options.
  port_offset: words(34),
  frame,
};
for (const [name, value] of Object.entries(values)) {
  const variable = variables?.get(name);
  if (variable?.size !== value.length)
    throw new TypeError(`bench_generator: ${name} is no ${value.length} bytes`);
  libbpf.setData(object, '.rodata', variable.offset, value);
}
libbpf.loadObject(object, 'bench_generator');
libbpf.testRunLive(libbpf.programFd(object, 'bench_generate'), frame, Number(count));
process.exit(0);
