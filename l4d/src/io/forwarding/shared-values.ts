import * as libbpf from '@l4d/kit/ffi/libbpf.ts';

/** The only elements of maps that all VIPs share, with what was written there last: so that they can be read back. */
export interface SharedValues {
  /** Writes a value where the kernel holds another one. Throws SyscallError. */
  set(name: string, fd: number, value: Uint8Array): void;
  /** Name of one that the kernel holds otherwise; undefined when all are as written. */
  difference(): string | undefined;
  /** Writes all again. Throws SyscallError. */
  writeAgain(): void;
}

/** Holds none yet. */
export function createSharedValues(): SharedValues {
  const values = new Map<string, { readonly fd: number; readonly value: Uint8Array }>();
  const only = new Uint8Array(4);

  function isHeld({ fd, value }: { readonly fd: number; readonly value: Uint8Array }): boolean {
    const inKernel = new Uint8Array(value.length);
    return libbpf.lookupElement(fd, only, inKernel) && Buffer.compare(value, inKernel) === 0;
  }

  return {
    set(name, fd, value) {
      const one = { fd, value };
      values.set(name, one);
      if (!isHeld(one)) libbpf.updateElement(fd, only, value);
    },
    difference() {
      for (const [name, one] of values) if (!isHeld(one)) return name;
      return undefined;
    },
    writeAgain() {
      for (const { fd, value } of values.values()) libbpf.updateElement(fd, only, value);
    },
  };
}
