import { ConfigError, exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { ok } from '@l4d/kit/result.ts';
import { parseYaml } from '@l4d/kit/schema/yaml-document.ts';
import { readTextFile } from '@l4d/kit/text-file.ts';
import { documentOf, type SidecarFlags } from '../core/command-line.ts';
import { parseSidecarConfig, type SidecarConfig } from '../core/config.ts';

/** Largest file read. */
const maxConfigBytes = 4 * 1024 * 1024;

/** The configuration of a file, of flags, or of both. Throws ConfigError for what is wrong in it, OperatorError otherwise. */
export async function loadConfig(path: string | undefined, flags: SidecarFlags): Promise<SidecarConfig> {
  if (path === undefined) return decode(undefined, flags, undefined);
  let text: string;
  try {
    text = await readTextFile(path, maxConfigBytes);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new ConfigError([{ path: '', message: `cannot be read: ${message}` }], path);
  }
  const hasFlags = Object.values(flags).some((value) => value !== undefined);
  // Positions are those of the file: only what is in it alone can have one.
  const parsed = parseYaml(
    text,
    path,
    (json) => (hasFlags ? ok(json) : parseSidecarConfig(json)),
    'as, peers and services',
  );
  if (!parsed.ok) throw parsed.error;
  return hasFlags ? decode(parsed.value.json, flags, path) : (parsed.value.value as SidecarConfig);
}

function decode(json: unknown, flags: SidecarFlags, source: string | undefined): SidecarConfig {
  const document = documentOf(json, flags);
  if (!document.ok) throw new OperatorError(document.error, exitCode.usage);
  const config = parseSidecarConfig(document.value);
  if (!config.ok) throw new ConfigError(config.error, source);
  return config.value;
}
