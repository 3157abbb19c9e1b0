import { memoryFile, readWhole } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { readKeptPolicy } from '@l4d/kit/kept-policy.ts';
import type { ProxyDesired } from '@l4d/kit/proxy-api.ts';
import { noAccounts } from '../../core/accounts.ts';
import type { Accounts, KeptName, ToWorker } from '../../core/worker-messages.ts';
import { ticketKeeper } from './ticket-keeper.ts';
import type { WorkerPeer } from './worker-peer.ts';

/** A desired state and how many were taken before it. */
export interface Policy {
  readonly desired: ProxyDesired;
  readonly revision: number;
}

/**
 * What the supervisor knows and every worker keeps for the next supervisor: the policy, the counters of workers that
 * are gone, the keys of TLS tickets. Each is a memory file that is told to all workers when it changes.
 */
export interface KeptState {
  readonly policy: Policy | undefined;
  readonly accounts: Accounts;
  /** Takes another desired state; returns its revision. */
  usePolicy(desired: ProxyDesired): number;
  setAccounts(accounts: Accounts): void;
  /** Tells a worker all that it does not know. */
  tell(peer: WorkerPeer): void;
  /** Takes what a worker has kept of the supervisor before this one, with the revision of its policy. Owns the file. */
  adopt(name: KeptName, file: number, revision: number): void;
  stop(): void;
}

/** Begins with nothing known. `tellAll` reaches every worker. */
export function createKeptState(
  tellAll: (message: ToWorker, descriptors: readonly number[]) => void,
): KeptState {
  const tickets = ticketKeeper((file) => tellAll({ type: 'tickets' }, [file]));
  let policy: (Policy & { readonly file: number }) | undefined;
  let accounts: Accounts = noAccounts;
  let accountsFile: number | undefined;

  function setPolicy(desired: ProxyDesired, revision: number, file: number): void {
    if (policy !== undefined) closeFd(policy.file);
    policy = { desired, revision, file };
  }

  function setAccounts(next: Accounts): void {
    accounts = next;
    if (accountsFile !== undefined) closeFd(accountsFile);
    accountsFile = memoryFile('l4-proxy-accounts', Buffer.from(JSON.stringify(accounts)));
    tellAll({ type: 'accounts' }, [accountsFile]);
  }

  return {
    get policy() {
      return policy;
    },
    get accounts() {
      return accounts;
    },
    usePolicy(desired) {
      const revision = (policy?.revision ?? 0) + 1;
      const file = memoryFile('l4-proxy-policy', Buffer.from(JSON.stringify(desired)));
      setPolicy(desired, revision, file);
      tellAll({ type: 'policy', revision }, [file]);
      return revision;
    },
    setAccounts,
    tell(peer) {
      if (accountsFile !== undefined) peer.send({ type: 'accounts' }, [accountsFile]);
      peer.send({ type: 'tickets' }, [tickets.file()]);
      if (policy !== undefined && peer.revision !== policy.revision)
        peer.send({ type: 'policy', revision: policy.revision }, [policy.file]);
    },
    adopt(name, file, revision) {
      if (name === 'tickets') return void tickets.adopt(file);
      const text = new TextDecoder().decode(readWhole(file));
      if (name === 'policy' && revision > (policy?.revision ?? 0))
        return void setPolicy(readKeptPolicy(JSON.parse(text)), revision, file);
      closeFd(file);
      if (name !== 'accounts') return;
      const told = JSON.parse(text) as Accounts;
      // Of several the one that knows of most deaths is the latest.
      if (told.deaths >= accounts.deaths) setAccounts(told);
    },
    stop: () => tickets.stop(),
  };
}
