import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { objectPath, objectTypes } from './bpf-objects.ts';
import { setTick } from './read-only-data.ts';

/** The tick by which the programs age flows, as they read it (FLOW_TICK_SHIFT of bpf/include/l4d.h). */
export interface TickReader {
  /** 32 bits, which wrap. Throws SyscallError. */
  now(): number;
  close(): void;
}

/** Loads the program that tells it. Throws VerifierError, SyscallError. */
export function openTickReader(): TickReader {
  const object = libbpf.openObject(objectPath('tick'));
  try {
    setTick(object, objectTypes('tick'));
    libbpf.loadObject(object, 'tick');
  } catch (error) {
    libbpf.closeObject(object);
    throw error;
  }
  const program = libbpf.programFd(object, 'l4d_tick');
  // The kernel wants a frame of an Ethernet header at least.
  const frame = new Uint8Array(14);
  return {
    now: () => libbpf.testRun(program, frame).action,
    close: () => libbpf.closeObject(object),
  };
}
