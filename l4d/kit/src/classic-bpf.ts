/** Programs of classic BPF, which the kernel runs on what a socket receives (<linux/filter.h>). */

/** One instruction (struct sock_filter): opcode, jumps if true and if false, operand. */
export type FilterInstruction = readonly [code: number, jumpTrue: number, jumpFalse: number, operand: number];

/** Opcodes (<linux/bpf_common.h>), those that filters here are made of. */
export const filterOp = {
  /** A = the two bytes at the operand, in network order. */
  LOAD_HALF: 0x28,
  JUMP_EQUAL: 0x15,
  /** Keep so many bytes of the packet; 0 drops it. */
  RETURN: 0x06,
} as const;

/** The operand of RETURN that keeps a packet whole. */
export const keepWhole = 0xffff_ffff;

const instructionBytes = 8;

/** The program in memory layout: an array of struct sock_filter. */
export function encodeFilter(instructions: readonly FilterInstruction[]): Uint8Array {
  const program = new Uint8Array(instructions.length * instructionBytes);
  const view = new DataView(program.buffer);
  for (const [index, [code, jumpTrue, jumpFalse, operand]] of instructions.entries()) {
    const at = index * instructionBytes;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jumpTrue);
    view.setUint8(at + 3, jumpFalse);
    view.setUint32(at + 4, operand, true);
  }
  return program;
}
