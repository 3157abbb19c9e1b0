import { type ProxyDesired, proxyDesiredSchema } from './proxy-api.ts';

/**
 * Desired state of the proxy as a process of another version has kept it or sends it on: it was validated there. What that version did not
 * know yet has the default, what this one does not know is left out. Changes `document`.
 */
export function readKeptPolicy(document: unknown): ProxyDesired {
  let parsed = proxyDesiredSchema.safeParse(document);
  if (!parsed.success) {
    for (const issue of parsed.error.issues)
      if (issue.code === 'unrecognized_keys') forget(document, issue.path, issue.keys);
    parsed = proxyDesiredSchema.safeParse(document);
  }
  // Of another opinion on something else: what was in force goes on as it is.
  return parsed.success ? parsed.data : (document as ProxyDesired);
}

function forget(document: unknown, path: readonly PropertyKey[], keys: readonly string[]): void {
  let at = document;
  for (const part of path) at = (at as Record<PropertyKey, unknown>)[part];
  for (const key of keys) delete (at as Record<string, unknown>)[key];
}
