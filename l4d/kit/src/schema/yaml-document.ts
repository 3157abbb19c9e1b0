/**
 * YAML text -> a typed value. Every problem, of the YAML or of the schema, carries the line and column that it is about.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type YAMLError,
} from 'yaml';
import { ConfigError, type ConfigProblem } from '../errors.ts';
import { err, ok, type Result } from '../result.ts';
import type { PathProblem } from './problem.ts';

/** Most nodes that aliases may unfold to, a node. */
const maxAliasCount = 1000;

/** Most problems told at once. */
const maxProblems = 50;

/** What a YAML document says. */
export interface YamlDocument<Value> {
  readonly value: Value;
  /** The document as it was written, without anything filled in. */
  readonly json: unknown;
}

/**
 * Reads one YAML document; `source` names it in messages, `decode` makes the value of it, `leastNeeded` tells what an
 * empty one lacks, such as `version: 1`.
 */
export function parseYaml<Value>(
  text: string,
  source: string,
  decode: (json: unknown) => Result<Value, readonly PathProblem[]>,
  leastNeeded: string,
): Result<YamlDocument<Value>, ConfigError> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const broken = [...document.errors, ...document.warnings];
  if (broken.length > 0)
    return refuse(
      broken.map((error) => yamlProblem(error, text, lines)),
      source,
    );
  if (document.contents === null) {
    const message = `the document is empty (needed: at least ${leastNeeded})`;
    return refuse([{ path: '', message, line: 1, column: 1 }], source);
  }
  let json: unknown;
  try {
    json = document.toJS({ maxAliasCount });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return refuse([{ path: '', message: `aliases: ${message}`, line: 1, column: 1 }], source);
  }
  const decoded = decode(json);
  if (decoded.ok) return ok({ value: decoded.value, json });
  return refuse(
    decoded.error.map((problem) => placed(problem, document, lines)),
    source,
  );
}

function refuse(problems: readonly ConfigProblem[], source: string): Result<never, ConfigError> {
  const sorted = problems.toSorted(
    (a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0),
  );
  const rest = sorted.length - maxProblems;
  const more = rest > 0 ? [{ path: '', message: `and ${rest} more problems` }] : [];
  return err(new ConfigError([...sorted.slice(0, maxProblems), ...more], source));
}

function yamlProblem(error: YAMLError, text: string, lines: LineCounter): ConfigProblem {
  const { line, col } = lines.linePos(error.pos[0]);
  const place = { line, column: col };
  if (error.code === 'DUPLICATE_KEY') {
    const key = /^[^\s:,[\]{}]+/.exec(text.slice(error.pos[0]))?.[0] ?? '';
    return {
      path: '',
      message: `the key ${JSON.stringify(key)} is there twice in one mapping (allowed: once)`,
      ...place,
    };
  }
  if (error.code === 'MULTIPLE_DOCS') {
    return {
      path: '',
      message: 'the file holds more than one document (allowed: one)',
      hint: 'remove the --- line',
      ...place,
    };
  }
  const tab = error.code === 'TAB_AS_INDENT' ? { hint: 'indent with spaces' } : {};
  return { path: '', message: `not valid YAML: ${error.message.split('\n')[0]}`, ...tab, ...place };
}

/** Gives a problem the position of its value; of its key, when that is what is wrong; of the nearest parent, when it is missing. */
function placed(problem: PathProblem, document: Document, lines: LineCounter): ConfigProblem {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, segment] of problem.segments.entries()) {
    const container = isAlias(node) ? node.resolve(document) : node;
    let key: unknown;
    if (isMap(container)) {
      const pair = container.items.find(
        (item) => (isScalar(item.key) ? String(item.key.value) : undefined) === String(segment),
      );
      key = pair?.key;
      node = pair?.value;
    } else if (isSeq(container)) {
      node = container.items[Number(segment)];
    } else {
      node = undefined;
    }
    const last = depth === problem.segments.length - 1;
    const start = last && problem.atKey === true ? startOf(key) : (startOf(node) ?? startOf(key));
    if (start === undefined) break;
    offset = start;
  }
  const { line, col } = lines.linePos(offset);
  const { path, message, hint } = problem;
  return { path, message, ...(hint === undefined ? {} : { hint }), line, column: col };
}

function startOf(node: unknown): number | undefined {
  if (!isScalar(node) && !isMap(node) && !isSeq(node) && !isAlias(node)) return undefined;
  return node.range?.[0];
}
