import type { StructLayout } from './btf.ts';
import { InvariantError } from './errors.ts';

/** A member's value: a number for a scalar of up to 4 bytes, a bigint for 8, bytes for arrays (memory order). */
export type FieldValue = number | bigint | Uint8Array;

/**
 * Values to a struct's memory; members that are not given are zero, so padding is too (the kernel
 * compares hash keys by all their bytes). An unknown member or a wrong size throws InvariantError.
 */
export function encodeStruct(layout: StructLayout, values: Readonly<Record<string, FieldValue>>): Uint8Array {
  const bytes = new Uint8Array(layout.size);
  const view = new DataView(bytes.buffer);
  for (const [name, value] of Object.entries(values)) {
    const field = layout.fields.get(name);
    if (field === undefined) throw new InvariantError(`struct ${layout.name} has no member ${name}`);
    const little = !field.bigEndian;
    if (typeof value === 'object') {
      if (value.length !== field.elementSize * field.count) {
        throw new InvariantError(`${layout.name}.${name} takes ${field.elementSize * field.count} bytes`);
      }
      bytes.set(value, field.offset);
    } else if (field.count !== 1) {
      throw new InvariantError(`${layout.name}.${name} is an array`);
    } else if (field.elementSize === 8) {
      view.setBigUint64(field.offset, BigInt(value), little);
    } else if (field.elementSize === 4) {
      view.setUint32(field.offset, Number(value), little);
    } else if (field.elementSize === 2) {
      view.setUint16(field.offset, Number(value), little);
    } else {
      view.setUint8(field.offset, Number(value));
    }
  }
  return bytes;
}

/** A scalar member of up to 4 bytes. */
export function readNumber(layout: StructLayout, bytes: Uint8Array, name: string): number {
  const field = fieldOf(layout, name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = !field.bigEndian;
  if (field.elementSize === 4) return view.getUint32(field.offset, little);
  if (field.elementSize === 2) return view.getUint16(field.offset, little);
  if (field.elementSize === 1) return view.getUint8(field.offset);
  throw new InvariantError(`${layout.name}.${name} is no number of up to 4 bytes`);
}

/** An 8-byte member. */
export function readBigint(layout: StructLayout, bytes: Uint8Array, name: string): bigint {
  const field = fieldOf(layout, name);
  if (field.elementSize !== 8) throw new InvariantError(`${layout.name}.${name} is no 8-byte number`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getBigUint64(field.offset, !field.bigEndian);
}

/** An array member's memory, copied. */
export function readBytes(layout: StructLayout, bytes: Uint8Array, name: string): Uint8Array {
  const field = fieldOf(layout, name);
  return bytes.slice(field.offset, field.offset + field.elementSize * field.count);
}

function fieldOf(layout: StructLayout, name: string) {
  const field = layout.fields.get(name);
  if (field === undefined) throw new InvariantError(`struct ${layout.name} has no member ${name}`);
  return field;
}
