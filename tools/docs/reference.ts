/** The part of JSON Schema that desired state uses. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

/** One field: where it is, and its schema. */
export interface Field {
  /** Such as `vips[].check.interval`. */
  readonly path: string;
  readonly schema: Schema;
  readonly required: boolean;
  /** Types of the check that have it, for a field of a check. */
  readonly variants: readonly string[];
  /** Defaults that other types of the check have, such as ``udp `5s` ``. */
  readonly otherDefaults: readonly string[];
}

/**
 * All fields of the schema in its order; the variants of a choice between mappings become one list. What neighbours of
 * a range have in common with named ones is there once.
 */
export function fieldsOf(schema: unknown): Field[] {
  const fields: Field[] = [];
  walk(schema as Schema, '', fields);
  const named = new Set(fields.map(({ path }) => path));
  const isNamedToo = (path: string) =>
    path.startsWith('dynamicPeers[].') && named.has(path.replace('dynamicPeers', 'peers'));
  return fields.filter(({ path }) => !isNamedToo(path));
}

function walk(schema: Schema, prefix: string, fields: Field[]): void {
  if (schema.items !== undefined) walk(schema.items, `${prefix}[]`, fields);
  for (const variant of schema.oneOf ?? []) {
    const name = String(variant.properties?.['type']?.const);
    for (const [key, value] of Object.entries(variant.properties ?? {})) {
      const path = `${prefix}.${key}`;
      const at = fields.findIndex((field) => field.path === path);
      const known = fields[at];
      if (known !== undefined) {
        const choice = [...(known.schema.enum ?? [known.schema.const]), value.const];
        const merged = key === 'type' ? { ...known.schema, enum: choice } : known.schema;
        const differs = JSON.stringify(value.default) !== JSON.stringify(known.schema.default);
        fields[at] = {
          ...known,
          schema: merged,
          variants: [...known.variants, name],
          otherDefaults: [...known.otherDefaults, ...(differs ? [`${name} \`${value.default}\``] : [])],
        };
      } else
        fields.push({ path, schema: value, required: key === 'type', variants: [name], otherDefaults: [] });
    }
  }
  for (const [key, value] of Object.entries(schema.properties ?? {})) {
    const path = prefix === '' ? key : `${prefix}.${key}`;
    fields.push({
      path,
      schema: value,
      required: schema.required?.includes(key) ?? false,
      variants: [],
      otherDefaults: [],
    });
    walk(value, path, fields);
  }
}

const sections: readonly (readonly [title: string, prefix: string, text: string])[] = [
  ['The document', '', ''],
  ['host', 'host.', ''],
  ['peers', 'peers[].', 'One entry a BGP neighbour. Peers need `host.bgp`.'],
  [
    'dynamicPeers',
    'dynamicPeers[].',
    'One entry a range. All other fields are those of `peers`, without `address`, `interface`, `port` and `mode`.',
  ],
  ['vips', 'vips[].', 'One entry an address, port and protocol.'],
  ['vips: backends', 'vips[].backends[].', ''],
  ['vips: check', 'vips[].check.', ''],
  ['vips: access and routes', 'vips[].access.', 'For policy `l7`.'],
];

/** The reference page of the desired state. Throws a TypeError when a field has no text. */
export function referencePage(schema: unknown, texts: Readonly<Record<string, string>>): string {
  const fields = fieldsOf(schema);
  const lines = [
    '# Configuration reference',
    '',
    'The fields of the desired state, in the file of `l4d run -c`, of `l4ctl apply` and in the API alike. Unknown fields are',
    'refused. `l4d check FILE` tells every problem with its line and column, and changes nothing. Made from the schema by',
    '`npm run docs`; do not edit.',
    '',
  ];
  for (const [title, prefix, text] of sections) {
    const inSection = fields.filter((field) => sectionOf(field.path) === prefix);
    lines.push(`## ${title}`, '', ...(text === '' ? [] : [text, '']));
    lines.push('| field | value | default | meaning |', '|---|---|---|---|');
    for (const field of inSection) {
      const meaning = texts[field.path];
      if (meaning === undefined)
        throw new TypeError(`${field.path} has no text in tools/docs/field-texts.ts`);
      const where =
        field.variants.length > 0 && field.variants.length < 4 ? ` (${field.variants.join(', ')})` : '';
      lines.push(
        `| \`${shownPath(field.path, prefix)}\`${where} | ${cell(valueText(field.schema))} | ${cell(defaultText(field))} | ${cell(meaning)} |`,
      );
    }
    lines.push('');
  }
  return lines.join('\n');
}

function sectionOf(path: string): string {
  if (path.startsWith('vips[].routes')) return 'vips[].access.';
  const found = sections
    .map(([, prefix]) => prefix)
    .filter((prefix) => prefix !== '' && path.startsWith(prefix));
  return found.toSorted((a, b) => b.length - a.length)[0] ?? '';
}

function shownPath(path: string, prefix: string): string {
  return prefix === 'vips[].access.' ? path.slice('vips[].'.length) : path.slice(prefix.length);
}

function valueText(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((word) => `\`${word}\``).join(', ');
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.anyOf !== undefined) return 'number or text';
  if (schema.oneOf !== undefined || schema.type === 'object') return 'mapping';
  if (schema.type === 'array') {
    const items = schema.items ?? {};
    return items.type === 'object' ? 'list of mappings' : `list of: ${valueText(items)}`;
  }
  if (schema.type === 'integer') return `${schema.minimum} to ${schema.maximum}`;
  if (schema.type === 'boolean') return '`true`, `false`';
  if (schema.description !== undefined) return schema.description;
  return schema.maxLength === undefined ? 'text' : `text, at most ${schema.maxLength} characters`;
}

function defaultText({ schema, required, otherDefaults }: Field): string {
  if (required) return '(needed)';
  if (schema.default === undefined) return '–';
  const isEmpty = typeof schema.default === 'object' && Object.keys(schema.default ?? {}).length === 0;
  if (isEmpty) return '–';
  const text = typeof schema.default === 'string' ? schema.default : JSON.stringify(schema.default);
  return [`\`${text}\``, ...otherDefaults].join(', ');
}

const cell = (text: string) => text.replaceAll('|', '\\|');
