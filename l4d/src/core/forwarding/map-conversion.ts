/**
 * Contents of a map from one layout to another, field by field by name. What is new is zero; what is gone is left out.
 * Enumerated values go by the names of their constants, for numbers may have moved.
 */
import type { FieldLayout, MapShape, ObjectTypes, TypeShape } from '@l4d/kit/btf.ts';

/** Enum constants by name. */
export type Constants = ReadonlyMap<string, number>;

/** Fields whose bits an enum names, by struct and field. */
const flagFields: Readonly<Record<string, string>> = {
  'vip.flags': 'vip_flag',
  'backend.flags': 'backend_flag',
};

/** Maps whose whole value is such bits. */
const flagMaps: Readonly<Record<string, string>> = { features: 'feature' };

/** Maps whose indices an enum names. */
const indexMaps: Readonly<Record<string, string>> = { reasons: 'reason' };

/** A layout of one map, with the enums that give it meaning. */
export interface MapLayout extends MapShape {
  readonly flags: Constants;
  readonly indices: Constants | undefined;
}

/** The layout of a map by name, given its types and the enums beside them. */
export function layoutOf(name: string, shape: MapShape, enums: ObjectTypes['enums']): MapLayout {
  const named = (shape.value?.fields ?? []).flatMap(
    (field) => flagFields[`${shape.value?.name}.${field.name}`] ?? [],
  );
  const flagEnum = flagMaps[name] ?? named[0];
  const indexEnum = indexMaps[name];
  return {
    ...shape,
    flags: (flagEnum === undefined ? undefined : enums.get(flagEnum)) ?? new Map(),
    indices: indexEnum === undefined ? undefined : (enums.get(indexEnum) ?? new Map()),
  };
}

/** Text that is the same for layouts that mean the same. */
export function layoutText({ key, value, flags, indices }: MapLayout): string {
  const shape = (one: TypeShape | undefined) =>
    one === undefined ? 'opaque' : { size: one.size, fields: one.fields };
  return JSON.stringify([shape(key), shape(value), [...flags], indices === undefined ? 0 : [...indices]]);
}

/** Turns one key or value of the old layout into one of the new. */
export type Convert = (bytes: Uint8Array) => Uint8Array;

/** How keys, values and indices are converted; an index that has no successor is undefined. */
export interface MapConversion {
  readonly key: Convert;
  readonly value: Convert;
  readonly index: (index: number) => number | undefined;
}

/** The conversion between two layouts of a map. */
export function conversionOf(name: string, before: MapLayout, after: MapLayout): MapConversion {
  const sizeOf = (shape: TypeShape | undefined) => shape?.size ?? 4;
  return {
    key: convertShape(before.key, after.key, sizeOf(after.key), () => undefined),
    value: convertShape(before.value, after.value, sizeOf(after.value), (field) => {
      const isFlags =
        flagMaps[name] !== undefined || flagFields[`${after.value?.name}.${field}`] !== undefined;
      return isFlags ? (bits) => convertFlags(bits, before.flags, after.flags) : undefined;
    }),
    index: indexConversion(before.indices, after.indices),
  };
}

function indexConversion(before: Constants | undefined, after: Constants | undefined) {
  if (before === undefined || after === undefined) return (index: number) => index;
  const names = new Map([...before].map(([name, index]) => [index, name]));
  return (index: number) => after.get(names.get(index) ?? '');
}

function convertShape(
  before: TypeShape | undefined,
  after: TypeShape | undefined,
  size: number,
  translated: (field: string) => ((bits: number) => number) | undefined,
): Convert {
  if (before === undefined || after === undefined) {
    return (bytes) => bytes.slice(0, size);
  }
  const old = new Map(before.fields.map((field) => [field.name, field]));
  const pairs = after.fields.flatMap((to) => {
    const from = old.get(to.name);
    return from === undefined ? [] : [{ from, to, translate: translated(to.name) }];
  });
  return (bytes) => {
    const result = new Uint8Array(size);
    for (const { from, to, translate } of pairs) copyField(bytes, from, result, to, translate);
    return result;
  };
}

function copyField(
  source: Uint8Array,
  from: FieldLayout,
  target: Uint8Array,
  to: FieldLayout,
  translate: ((bits: number) => number) | undefined,
): void {
  const isAlike = from.elementSize === to.elementSize && from.bigEndian === to.bigEndian;
  if (isAlike && translate === undefined) {
    const length = Math.min(from.count, to.count) * from.elementSize;
    target.set(source.subarray(from.offset, from.offset + length), to.offset);
    return;
  }
  for (let i = 0; i < Math.min(from.count, to.count); i++) {
    let value = readInteger(source, from.offset + i * from.elementSize, from);
    if (translate !== undefined) value = BigInt(translate(Number(value)));
    writeInteger(target, to.offset + i * to.elementSize, to, value);
  }
}

function readInteger(bytes: Uint8Array, at: number, { elementSize, bigEndian }: FieldLayout): bigint {
  let value = 0n;
  for (let i = 0; i < elementSize; i++) {
    value = (value << 8n) | BigInt(bytes[at + (bigEndian ? i : elementSize - 1 - i)] ?? 0);
  }
  return value;
}

function writeInteger(
  bytes: Uint8Array,
  at: number,
  { elementSize, bigEndian }: FieldLayout,
  value: bigint,
): void {
  for (let i = 0; i < elementSize; i++) {
    bytes[at + (bigEndian ? elementSize - 1 - i : i)] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
}

/** Each constant is a run of bits: what stands in it goes to where the constant of that name is. */
export function convertFlags(bits: number, before: Constants, after: Constants): number {
  let result = 0;
  for (const [name, from] of before) {
    const to = after.get(name);
    if (to === undefined || from === 0 || to === 0) continue;
    const value = (bits & from) >>> trailingZeros(from);
    result |= (value << trailingZeros(to)) & to;
  }
  return result >>> 0;
}

function trailingZeros(value: number): number {
  return 31 - Math.clz32(value & -value);
}
