import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type ObjectTypes, readObjectTypes, type StructLayout } from '@l4d/kit/btf.ts';
import { exitCode, InvariantError, OperatorError } from '@l4d/kit/errors.ts';

/** Programs built elsewhere, with other headers for instance: L4D_OBJECT_DIR. */
const elsewhere = process.env['L4D_OBJECT_DIR'];
const folder =
  elsewhere === undefined
    ? fileURLToPath(new URL('../../../../bpf/build/', import.meta.url))
    : `${elsewhere}/`;

/** Path of a built object such as `l4d_xdp`. Throws OperatorError when it was not built. */
export function objectPath(name: string): string {
  const path = `${folder}${name}.bpf.o`;
  if (!existsSync(path)) {
    throw new OperatorError(`${path} is missing; build the kernel programs: npm run build`, exitCode.system);
  }
  return path;
}

/** The object's types, as its BTF tells. */
export function objectTypes(name: string): ObjectTypes {
  return readObjectTypes(readFileSync(objectPath(name)));
}

/** Layout of a struct that must be there. */
export function structLayout(types: ObjectTypes, name: string): StructLayout {
  const layout = types.structs.get(name);
  if (layout === undefined) throw new InvariantError(`the object has no struct ${name}`);
  return layout;
}

/** Value of an enum constant that must be there. */
export function enumConstant(types: ObjectTypes, enumName: string, constant: string): number {
  const value = types.enums.get(enumName)?.get(constant);
  if (value === undefined) throw new InvariantError(`the object has no ${enumName}.${constant}`);
  return value;
}
