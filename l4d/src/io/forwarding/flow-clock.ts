import { InvariantError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { jiffyNanoseconds } from '@l4d/kit/ffi/libc.ts';
import { objectPath, objectTypes } from './bpf-objects.ts';

/**
 * The tick (FLOW_TICK_SHIFT of bpf/include/l4d.h) that flows are dated with, as of each call. It counts the kernel's
 * jiffies, which no clock of user space tells exactly. Throws VerifierError, SyscallError.
 */
export function openFlowClock(): () => number {
  const object = libbpf.openObject(objectPath('flow_tick'));
  const variable = objectTypes('flow_tick').sections.get('.rodata')?.get('jiffy_nanoseconds');
  if (variable === undefined) throw new InvariantError('the object has no variable jiffy_nanoseconds');
  libbpf.setData(
    object,
    '.rodata',
    variable.offset,
    new Uint8Array(Uint32Array.of(jiffyNanoseconds()).buffer),
  );
  libbpf.loadObject(object, 'flow_tick');
  const program = libbpf.programFd(object, 'flow_tick');
  const anything = new Uint8Array(64);
  return () => libbpf.testRun(program, anything).action;
}
