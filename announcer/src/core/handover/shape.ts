/**
 * Checks plain data against a shape. The process of BFD takes its state by it: a library of schemas would cost that
 * process as much memory as all the rest of it.
 */

/**
 * What a value is to be. A set names the texts that it may be, a list has one shape for all of its items. A field
 * whose name ends with "?" may be absent; the one name "*" stands for all names of a record.
 */
export type Shape =
  | 'string'
  | 'number'
  | 'boolean'
  | readonly [Shape]
  | ReadonlySet<string>
  | { readonly [name: string]: Shape };

/** What is wrong with a value, by the path of the first thing that is; undefined: nothing. */
export function shaped(value: unknown, shape: Shape, path = ''): string | undefined {
  if (typeof shape === 'string') {
    const isIt = typeof value === shape && (shape !== 'number' || Number.isFinite(value));
    return isIt ? undefined : `${path}: must be a ${shape}`;
  }
  if (shape instanceof Set) {
    return typeof value === 'string' && shape.has(value)
      ? undefined
      : `${path}: must be one of ${[...shape].join(', ')}`;
  }
  if (typeof value !== 'object' || value === null) return `${path}: is missing`;
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) return `${path}: must be a list`;
    return firstProblem(value.entries(), ([index, item]) => shaped(item, shape[0], `${path}.${index}`));
  }
  if (Array.isArray(value)) return `${path}: must not be a list`;
  const fields = value as Record<string, unknown>;
  const named = shape as { readonly [name: string]: Shape };
  const every = named['*'];
  if (every !== undefined) {
    return firstProblem(Object.entries(fields), ([name, item]) => shaped(item, every, `${path}.${name}`));
  }
  return firstProblem(Object.entries(named), ([key, of]) => {
    const name = key.replace('?', '');
    if (key !== name && fields[name] === undefined) return undefined;
    return shaped(fields[name], of, `${path}.${name}`);
  });
}

function firstProblem<Item>(
  items: Iterable<Item>,
  problemOf: (item: Item) => string | undefined,
): string | undefined {
  for (const item of items) {
    const problem = problemOf(item);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Shapes of all fields of a type, so that one that is added to it does not compile without its place here. */
export type ShapeOf<Type> = {
  readonly [Name in keyof Type as undefined extends Type[Name]
    ? `${Name & string}?`
    : Name & string]-?: Shape;
};
