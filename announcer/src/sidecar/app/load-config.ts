import { ConfigError, exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { ok } from '@l4d/kit/result.ts';
import { parseYaml } from '@l4d/kit/schema/yaml-document.ts';
import { readTextFile } from '@l4d/kit/text-file.ts';
import { documentOf, type SidecarFlags } from '../core/command-line.ts';
import { parseSidecarConfig, type SidecarConfig } from '../core/config.ts';
import { checkPrograms, timeoutWarnings } from '../core/config-warnings.ts';
import { nameFlags } from '../core/flags.ts';
import { isProgram } from '../io/find-program.ts';

/** Largest file read. */
const maxConfigBytes = 4 * 1024 * 1024;

/** A configuration, and what in it is allowed but hardly meant. */
export interface LoadedConfig {
  readonly config: SidecarConfig;
  readonly warnings: readonly string[];
}

/** The configuration of a file, of flags, or of both. Throws ConfigError for what is wrong in it, OperatorError otherwise. */
export async function loadConfig(path: string | undefined, flags: SidecarFlags): Promise<LoadedConfig> {
  const { config, document } = await read(path, flags);
  const warnings = timeoutWarnings(config, document);
  for (const { path: where, program } of checkPrograms(config)) {
    if (await isProgram(program, process.env['PATH'] ?? '')) continue;
    warnings.push(`${where}: "${program}" is not found on this machine, or cannot be run`);
  }
  return { config, warnings };
}

interface Read {
  readonly config: SidecarConfig;
  /** What was written, without defaults. */
  readonly document: unknown;
}

async function read(path: string | undefined, flags: SidecarFlags): Promise<Read> {
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
  const { json, value } = parsed.value;
  return hasFlags ? decode(json, flags, path) : { config: value as SidecarConfig, document: json };
}

function decode(json: unknown, flags: SidecarFlags, source: string | undefined): Read {
  const document = documentOf(json, flags);
  if (!document.ok) throw new OperatorError(document.error, exitCode.usage);
  const config = parseSidecarConfig(document.value);
  if (config.ok) return { config: config.value, document: document.value };
  const services = (json as { readonly services?: unknown } | null | undefined)?.services;
  const fileServices = source === undefined ? undefined : Array.isArray(services) ? services.length : 0;
  throw new ConfigError(nameFlags(config.error, flags, fileServices, source));
}
