/**
 * Configuration files: YAML text -> desired state. Every problem, of the YAML or of the schema,
 * carries the line and column that it is about.
 */
import { ConfigError } from '@l4d/kit/errors.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { parseYaml } from '@l4d/kit/schema/yaml-document.ts';
import { readTextFile } from '@l4d/kit/text-file.ts';
import { type DesiredState, parseDesiredState } from '../core/desired-state.ts';

/** Largest file read: 10,000 VIPs with ten backends each take about 10 MiB. */
export const maxConfigBytes = 32 * 1024 * 1024;

/** What a configuration file says. */
export interface ConfigDocument {
  readonly state: DesiredState;
  /** The document as it was written, without anything filled in: what the API is to be sent. */
  readonly json: unknown;
}

/** Reads a configuration file; every failure, of reading too, is a ConfigError. `previous`: see parseDesiredState. */
export async function readConfigFile(
  path: string,
  previous?: DesiredState,
): Promise<Result<ConfigDocument, ConfigError>> {
  let text: string;
  try {
    text = await readTextFile(path, maxConfigBytes);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return err(new ConfigError([{ path: '', message: `cannot be read: ${message}` }], path));
  }
  return parseConfigText(text, path, previous);
}

/** Reads configuration text; `source` names it in messages. */
export function parseConfigText(
  text: string,
  source: string,
  previous?: DesiredState,
): Result<ConfigDocument, ConfigError> {
  const parsed = parseYaml(text, source, (json) => parseDesiredState(json, previous), 'version: 1');
  return parsed.ok ? ok({ state: parsed.value.value, json: parsed.value.json }) : parsed;
}
