import koffi from 'koffi';
import { constant, setSocketOption } from './libc.ts';

/** One instruction of classic BPF (struct sock_filter of <linux/filter.h>): opcode, jumps if true and if false, operand. */
export type FilterInstruction = readonly [code: number, jumpTrue: number, jumpFalse: number, operand: number];

/** Opcodes of classic BPF (<linux/bpf_common.h>), those that the filters here are made of. */
export const filterOp = {
  /** A = the byte at the operand. */
  LOAD_BYTE: 0x30,
  /** A = the two bytes at the operand, in network order. */
  LOAD_HALF: 0x28,
  JUMP_EQUAL: 0x15,
  /** Keep so many bytes of the packet; 0 drops it. */
  RETURN: 0x06,
} as const;

/** The operand of RETURN that keeps a packet whole. */
export const keepWhole = 0xffff_ffff;

/** Most instructions of a filter (BPF_MAXINSNS). */
export const maxFilterLength = 4096;

const instructionBytes = 8;

/** Has the kernel sift what a socket receives. Throws SyscallError: EINVAL of a filter that it does not take. */
export function attachSocketFilter(fd: number, instructions: readonly FilterInstruction[]): void {
  const program = new Uint8Array(instructions.length * instructionBytes);
  const view = new DataView(program.buffer);
  for (const [index, [code, jumpTrue, jumpFalse, operand]] of instructions.entries()) {
    const at = index * instructionBytes;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jumpTrue);
    view.setUint8(at + 3, jumpFalse);
    view.setUint32(at + 4, operand, true);
  }
  // struct sock_fprog: count, padding, pointer. The kernel copies the program during the call.
  const head = new Uint8Array(16);
  const headView = new DataView(head.buffer);
  headView.setUint16(0, instructions.length, true);
  headView.setBigUint64(8, koffi.address(program) as bigint, true);
  setSocketOption(fd, constant.SOL_SOCKET, constant.SO_ATTACH_FILTER, head);
}
