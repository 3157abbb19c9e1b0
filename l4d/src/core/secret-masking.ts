import { maskedSecret } from '@l4d/announcer/core/config/secret.ts';
import type { JsonObject } from '@l4d/kit/schema/json.ts';

/** A neighbour as JSON, its secrets masked. Paths of files are no secrets. */
export function maskPeer(peer: JsonObject): JsonObject {
  const masked: Record<string, unknown> = { ...peer };
  const { password, tcpAo, bfd } = masked;
  if (password !== undefined) masked['password'] = maskedSecret;
  if (isMapping(tcpAo)) masked['tcpAo'] = maskKey(tcpAo);
  if (isMapping(bfd) && isMapping(bfd['auth'])) masked['bfd'] = { ...bfd, auth: maskKey(bfd['auth']) };
  return masked;
}

/** A desired state as JSON, the secrets of its neighbours masked. */
export function maskSecrets(state: JsonObject): JsonObject {
  const masked: Record<string, unknown> = { ...state };
  for (const list of ['peers', 'dynamicPeers']) {
    const peers = masked[list];
    if (Array.isArray(peers)) masked[list] = peers.map((peer: JsonObject) => maskPeer(peer));
  }
  return masked;
}

function maskKey(holder: JsonObject): JsonObject {
  return holder['key'] === undefined ? holder : { ...holder, key: maskedSecret };
}

function isMapping(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
