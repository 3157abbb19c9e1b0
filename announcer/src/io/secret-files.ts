import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import type { Desired } from '../core/api.ts';
import { maxKeyBytes, type PeerSecurity } from '../core/security.ts';

/** How often files are looked at; a rename into place is seen as well as a write. */
const lookTime = Seconds(1);

/** What is left of a desired state that every secret of is known. */
export interface FilledPeers {
  readonly desired: Desired;
  /** Peers whose secret cannot be had: nothing is sent to them without it. */
  readonly withheld: readonly { readonly name: string; readonly reason: string }[];
}

/** Secrets of peers that are in files. No message has a secret in it. */
export interface SecretFiles {
  /** Puts secrets in the place of their files, as the files are now, and watches those from here on. */
  fill(desired: Desired): FilledPeers;
  close(): void;
}

/** Makes a reader of secrets; `onChange` is called when a file of the last `fill` says something else than it did. */
export function createSecretFiles(clock: Clock, logger: Logger, onChange: () => void): SecretFiles {
  let known = new Map<string, string>();
  /** Files of known secrets that could not be read at the last look. */
  let doubtful = new Set<string>();
  let timer: Timer | undefined;

  /** Equal for an equal outcome; stays in this process. */
  const outcome = (path: string) => {
    const secret = readSecret(path);
    return secret.ok ? `+${secret.value}` : `-${secret.error}`;
  };

  function look(): void {
    timer = undefined;
    const missing = new Set<string>();
    const changed = [...known].filter(([path, before]) => {
      const now = outcome(path);
      if (now === before) return false;
      if (!before.startsWith('+') || now.startsWith('+') || doubtful.has(path)) return true;
      // Whoever is about to write it has emptied it, or moved it aside: no session ends for a moment.
      missing.add(path);
      return false;
    });
    doubtful = missing;
    schedule();
    if (changed.length === 0) return;
    logger.info({ files: changed.map(([path]) => path) }, 'secrets have changed');
    onChange();
  }

  function schedule(): void {
    if (known.size > 0) timer ??= clock.after(lookTime, look);
  }

  return {
    fill(desired) {
      known = new Map();
      const withheld: { name: string; reason: string }[] = [];
      const read = (path: string): string => {
        const found = known.get(path) ?? outcome(path);
        known.set(path, found);
        if (found.startsWith('+')) return found.slice(1);
        throw new SecretMissing(found.slice(1));
      };
      const complete = <Peer extends PeerSecurity>(name: string, peer: Peer): Peer[] => {
        try {
          return [withSecrets(peer, read)];
        } catch (error) {
          if (!(error instanceof SecretMissing)) throw error;
          logger.error({ peer: name, reason: error.message }, 'no session: its secret cannot be had');
          withheld.push({ name, reason: error.message });
          return [];
        }
      };
      const { interfacePeers, dynamicPeers } = desired;
      const filled: Desired = {
        ...desired,
        peers: desired.peers.flatMap((peer) => complete(peer.address, peer)),
        interfacePeers: interfacePeers?.flatMap((peer) => complete(peer.interface, peer)),
        dynamicPeers: dynamicPeers?.flatMap((peers) =>
          complete(peers.range, peers.template).map((template) => ({ ...peers, template })),
        ),
      };
      if (known.size === 0) timer?.cancel();
      if (known.size === 0) timer = undefined;
      schedule();
      return { desired: filled, withheld };
    },
    close() {
      timer?.cancel();
      known.clear();
    },
  };
}

class SecretMissing extends Error {}

function withSecrets<Peer extends PeerSecurity>(peer: Peer, read: (path: string) => string): Peer {
  const { passwordFile, tcpAo, bfd } = peer;
  const auth = bfd?.auth;
  return {
    ...peer,
    ...(passwordFile === undefined ? {} : { password: read(passwordFile) }),
    ...(tcpAo?.keyFile === undefined ? {} : { tcpAo: { ...tcpAo, key: read(tcpAo.keyFile) } }),
    ...(auth?.keyFile === undefined ? {} : { bfd: { ...bfd, auth: { ...auth, key: read(auth.keyFile) } } }),
  };
}

/**
 * The secret in a file: its only line. Refused when others than the owner may read it, or when the owner is neither root
 * nor us: then somebody else decides who may speak to us.
 */
export function readSecret(path: string): Result<string, string> {
  let file: number;
  try {
    // A pipe that nobody writes to would stop everything.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return err(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`);
  }
  try {
    const { mode, uid } = fstatSync(file);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) return err(`${path} is not a file`);
    if ((mode & 0o077) !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, '0');
      return err(`${path} may be read or changed by others (mode ${shown}; allowed: 0600 or 0400)`);
    }
    if (uid !== 0 && uid !== process.geteuid?.()) return err(`${path} belongs to another user (uid ${uid})`);
    const buffer = Buffer.alloc(maxKeyBytes + 3);
    const text = buffer.toString('utf8', 0, readSync(file, buffer, 0, buffer.length, 0));
    const secret = text.replace(/\r?\n$/, '');
    const isOneLine = /^[^\r\n\0]+$/.test(secret);
    if (!isOneLine || Buffer.byteLength(secret) > maxKeyBytes) {
      return err(`${path} must have one line of 1 to ${maxKeyBytes} octets`);
    }
    return ok(secret);
  } catch (error) {
    return err(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`);
  } finally {
    closeSync(file);
  }
}
