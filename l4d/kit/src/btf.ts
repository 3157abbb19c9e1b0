import { InvariantError } from './errors.ts';

/**
 * Struct layouts of a BPF object, read from its .BTF section (kernel: Documentation/bpf/btf.rst).
 * Objects are our own build, so a broken one is an InvariantError, not user input.
 */

/** One member of a struct. Scalars have `count` 1; arrays more. Nested structs are not supported. */
export interface FieldLayout {
  readonly name: string;
  /** Bytes from the start of the struct. */
  readonly offset: number;
  /** Bytes of one element. */
  readonly elementSize: number;
  readonly count: number;
  /** Whether the C type is __be16, __be32 or __be64. */
  readonly bigEndian: boolean;
}

/** A struct's size in bytes and its members by name. */
export interface StructLayout {
  readonly name: string;
  readonly size: number;
  readonly fields: ReadonlyMap<string, FieldLayout>;
}

/** A global variable's place in its data section. */
export interface VariableLayout {
  readonly offset: number;
  readonly size: number;
}

/** What one key or value of a map looks like: a struct, those in it flattened (`outer.inner`), or one nameless field. */
export interface TypeShape {
  readonly size: number;
  readonly name: string;
  readonly fields: readonly FieldLayout[];
}

/** Key and value of a map; undefined where the map does not tell. */
export interface MapShape {
  readonly key: TypeShape | undefined;
  readonly value: TypeShape | undefined;
}

/** What an object's BTF tells. */
export interface ObjectTypes {
  /** Maps by name, as the object declares them. */
  readonly maps: ReadonlyMap<string, MapShape>;
  /** The type of that number; undefined for none. */
  shapeOf(id: number): TypeShape | undefined;
  readonly structs: ReadonlyMap<string, StructLayout>;
  /** Enum constants, by enum name, then constant name. */
  readonly enums: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** Variables by section name (`.rodata`), then variable name. */
  readonly sections: ReadonlyMap<string, ReadonlyMap<string, VariableLayout>>;
}

interface BtfType {
  readonly kind: number;
  readonly name: string;
  readonly vlen: number;
  /** Size in bytes or referenced type id, by kind. */
  readonly sizeOrType: number;
  /** Offset of the kind's trailing data. */
  readonly tail: number;
}

const kind = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  functionPrototype: 13,
  variable: 14,
  dataSection: 15,
  declarationTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

const modifiers = new Set<number>([kind.typedef, kind.volatile, kind.const, kind.restrict, kind.typeTag]);

/** Bytes of trailing data per kind: a fixed part and a part per element. */
const tailSizes: Readonly<Record<number, readonly [number, number]>> = {
  [kind.int]: [4, 0],
  [kind.array]: [12, 0],
  [kind.struct]: [0, 12],
  [kind.union]: [0, 12],
  [kind.enum]: [0, 8],
  [kind.functionPrototype]: [0, 8],
  [kind.variable]: [4, 0],
  [kind.dataSection]: [0, 12],
  [kind.declarationTag]: [4, 0],
  [kind.enum64]: [0, 12],
};

/** Reads the types of an ELF object (64-bit little-endian, as clang's bpf target writes). */
export function readObjectTypes(elf: Uint8Array): ObjectTypes {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  return readTypes(elf, view, findSection(elf, view, '.BTF').offset, readSymbols(elf, view));
}

/** Reads the types that the kernel keeps with a map or program: BTF by itself. */
export function readKernelTypes(btf: Uint8Array): ObjectTypes {
  return readTypes(btf, new DataView(btf.buffer, btf.byteOffset, btf.byteLength), 0, new Map());
}

function readTypes(
  elf: Uint8Array,
  view: DataView,
  start: number,
  symbols: ReadonlyMap<string, number>,
): ObjectTypes {
  const base = start + view.getUint32(start + 4, true);
  const typesStart = base + view.getUint32(start + 8, true);
  const typesLength = view.getUint32(start + 12, true);
  const stringsStart = base + view.getUint32(start + 16, true);
  const text = (offset: number) => cString(elf, stringsStart + offset);

  const types: BtfType[] = [{ kind: 0, name: 'void', vlen: 0, sizeOrType: 0, tail: 0 }];
  for (let at = typesStart; at < typesStart + typesLength; ) {
    const info = view.getUint32(at + 4, true);
    const type: BtfType = {
      kind: (info >> 24) & 0x1f,
      name: text(view.getUint32(at, true)),
      vlen: info & 0xffff,
      sizeOrType: view.getUint32(at + 8, true),
      tail: at + 12,
    };
    types.push(type);
    const [fixed, each] = tailSizes[type.kind] ?? [0, 0];
    at += 12 + fixed + each * type.vlen;
  }

  const structs = new Map<string, StructLayout>();
  const enums = new Map<string, Map<string, number>>();
  const sections = new Map<string, Map<string, VariableLayout>>();
  for (const type of types) {
    if (type.kind === kind.struct && type.name !== '') {
      structs.set(type.name, readStruct(view, types, type, text));
    } else if (type.kind === kind.enum) {
      const constants = new Map<string, number>();
      for (let i = 0; i < type.vlen; i++) {
        const at = type.tail + i * 8;
        constants.set(text(view.getUint32(at, true)), view.getInt32(at + 4, true));
      }
      enums.set(type.name, constants);
    } else if (type.kind === kind.dataSection) {
      const variables = new Map<string, VariableLayout>();
      for (let i = 0; i < type.vlen; i++) {
        const at = type.tail + i * 12;
        const variable = types[view.getUint32(at, true)];
        if (variable === undefined) throw new InvariantError('BTF: variable of an unknown type');
        // In an object file the data section's own offsets are all 0: the linker or loader fills them in.
        variables.set(variable.name, {
          offset: symbols.get(variable.name) ?? 0,
          size: view.getUint32(at + 8, true),
        });
      }
      sections.set(type.name, variables);
    }
  }
  const shapeOf = (id: number): TypeShape | undefined => {
    let at = id;
    for (let type = types[at]; type !== undefined && modifiers.has(type.kind); type = types[at])
      at = type.sizeOrType;
    const type = types[at];
    if (type === undefined || at === 0) return undefined;
    if (type.kind === kind.struct) {
      const { name, size } = readStruct(view, types, type, text);
      return { name, size, fields: flatFields(view, types, type, text) };
    }
    const one = elementShape(view, types, id);
    return { name: '', size: one.elementSize * one.count, fields: [{ name: '', offset: 0, ...one }] };
  };
  const maps = new Map<string, MapShape>();
  const section = types.find((type) => type.kind === kind.dataSection && type.name === '.maps');
  for (let i = 0; section !== undefined && i < section.vlen; i++) {
    const variable = types[view.getUint32(section.tail + i * 12, true)];
    const declared = variable === undefined ? undefined : types[variable.sizeOrType];
    if (variable === undefined || declared === undefined) continue;
    const pointedAt = (name: string): TypeShape | undefined => {
      for (let j = 0; j < declared.vlen; j++) {
        const at = declared.tail + j * 12;
        if (text(view.getUint32(at, true)) !== name) continue;
        const pointer = types[view.getUint32(at + 4, true)];
        return pointer === undefined ? undefined : shapeOf(pointer.sizeOrType);
      }
      return undefined;
    };
    maps.set(variable.name, { key: pointedAt('key'), value: pointedAt('value') });
  }
  return { structs, enums, sections, maps, shapeOf };
}

function readStruct(
  view: DataView,
  types: readonly BtfType[],
  type: BtfType,
  text: (offset: number) => string,
): StructLayout {
  const fields = new Map<string, FieldLayout>();
  for (let i = 0; i < type.vlen; i++) {
    const at = type.tail + i * 12;
    const name = text(view.getUint32(at, true));
    const shape = elementShape(view, types, view.getUint32(at + 4, true));
    // The low 24 bits are the bit offset also where the struct has bit fields (btf.rst, BTF_KIND_STRUCT).
    const offset = (view.getUint32(at + 8, true) & 0xffffff) >> 3;
    fields.set(name, { name, offset, ...shape });
  }
  return { name: type.name, size: type.sizeOrType, fields };
}

/** The fields of a struct with those of the structs in it in their place, named `outer.inner`. */
function flatFields(
  view: DataView,
  types: readonly BtfType[],
  type: BtfType,
  text: (offset: number) => string,
  depth = 0,
): FieldLayout[] {
  const members = [...readStruct(view, types, type, text).fields.values()];
  return members.flatMap((field, i) => {
    const inner = types[view.getUint32(type.tail + i * 12 + 4, true)];
    if (inner?.kind !== kind.struct || depth > 8) return [field];
    return flatFields(view, types, inner, text, depth + 1).map((one) => ({
      ...one,
      name: `${field.name}.${one.name}`,
      offset: field.offset + one.offset,
    }));
  });
}

function elementShape(
  view: DataView,
  types: readonly BtfType[],
  id: number,
): { elementSize: number; count: number; bigEndian: boolean } {
  let bigEndian = false;
  let count = 1;
  for (let current = types[id], steps = 0; current !== undefined && steps < 32; steps++) {
    if (current.kind === kind.typedef && /^__be(16|32|64)$/.test(current.name)) bigEndian = true;
    if (current.kind === kind.array) {
      count *= view.getUint32(current.tail + 8, true);
      current = types[view.getUint32(current.tail, true)];
    } else if (current.kind === kind.pointer) {
      return { elementSize: 8, count, bigEndian };
    } else if (
      [kind.typedef, kind.volatile, kind.const, kind.restrict, kind.typeTag].includes(current.kind as 8)
    ) {
      current = types[current.sizeOrType];
    } else {
      return { elementSize: current.sizeOrType, count, bigEndian };
    }
  }
  throw new InvariantError(`BTF: type ${id} has no size`);
}

function findSection(elf: Uint8Array, view: DataView, name: string): { offset: number; size: number } {
  if (elf.length < 64 || view.getUint32(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1) {
    throw new InvariantError('not a 64-bit little-endian ELF object');
  }
  const table = Number(view.getBigUint64(40, true));
  const entrySize = view.getUint16(58, true);
  const count = view.getUint16(60, true);
  const namesHeader = table + view.getUint16(62, true) * entrySize;
  const names = Number(view.getBigUint64(namesHeader + 24, true));
  for (let i = 0; i < count; i++) {
    const header = table + i * entrySize;
    if (cString(elf, names + view.getUint32(header, true)) !== name) continue;
    return {
      offset: Number(view.getBigUint64(header + 24, true)),
      size: Number(view.getBigUint64(header + 32, true)),
    };
  }
  throw new InvariantError(`the object has no ${name} section`);
}

/** Values of the symbol table by name: for a variable, its offset in its section (ELF-64, Elf64_Sym). */
function readSymbols(elf: Uint8Array, view: DataView): Map<string, number> {
  const table = findSection(elf, view, '.symtab');
  const names = findSection(elf, view, '.strtab');
  const symbols = new Map<string, number>();
  for (let at = table.offset; at < table.offset + table.size; at += 24) {
    const name = cString(elf, names.offset + view.getUint32(at, true));
    if (name !== '') symbols.set(name, Number(view.getBigUint64(at + 8, true)));
  }
  return symbols;
}

function cString(bytes: Uint8Array, start: number): string {
  return Buffer.from(bytes.subarray(start, bytes.indexOf(0, start))).toString('latin1');
}
