import * as libbpf from '@l4d/kit/ffi/libbpf.ts';

/** Elements of maps that all VIPs share, with what was written there last: so that they can be read back. */
export interface SharedValues {
  /** Writes a value where the kernel holds another one; without a key, of a map's only element. Throws SyscallError. */
  set(name: string, fd: number, value: Uint8Array, key?: Uint8Array): void;
  /** What was written under that name is not read back any more. */
  forget(name: string): void;
  /** Name of one that the kernel holds otherwise; undefined when all are as written. */
  difference(): string | undefined;
  /** Writes all again. Throws SyscallError. */
  writeAgain(): void;
}

interface Value {
  readonly fd: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Holds none yet. */
export function createSharedValues(): SharedValues {
  const values = new Map<string, Value>();
  const only = new Uint8Array(4);

  function isHeld({ fd, key, value }: Value): boolean {
    const inKernel = new Uint8Array(value.length);
    return libbpf.lookupElement(fd, key, inKernel) && Buffer.compare(value, inKernel) === 0;
  }

  return {
    set(name, fd, value, key = only) {
      const one = { fd, key, value };
      values.set(name, one);
      if (!isHeld(one)) libbpf.updateElement(fd, key, value);
    },
    forget: (name) => void values.delete(name),
    difference() {
      for (const [name, one] of values) if (!isHeld(one)) return name;
      return undefined;
    },
    writeAgain() {
      for (const { fd, key, value } of values.values()) libbpf.updateElement(fd, key, value);
    },
  };
}
