import { getSystemErrorName } from 'node:util';

/** Process exit codes of every l4d program, after sysexits.h where that has a fitting code. */
export const exitCode = {
  ok: 0,
  /** The operation was tried and failed. */
  failure: 1,
  /** The command line is wrong (commander's own code too). */
  usage: 2,
  /** A configuration is refused (EX_CONFIG). */
  config: 78,
  /** The process may not do this: no root, no capability (EX_NOPERM). */
  permission: 77,
  /** A needed service does not answer: daemon not running (EX_UNAVAILABLE). */
  unavailable: 69,
  /** The machine lacks something: library, kernel feature, interface (EX_OSERR). */
  system: 71,
  /** Another instance holds the state directory (EX_TEMPFAIL). */
  alreadyRunning: 75,
} as const;

/** One thing that is wrong with what an operator declared. */
export interface ConfigProblem {
  /** Path of the field, such as `vips[0].port`; empty for the document itself. */
  readonly path: string;
  /** What is wrong, with the value and what is allowed, in one sentence. */
  readonly message: string;
  /** How to mend it, where that can be told. */
  readonly hint?: string;
  /** 1-based position in the source document, where there is one. */
  readonly line?: number;
  readonly column?: number;
}

/** An operator's file, flag or request is refused; nothing was changed. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];
  /** Name of the source document, such as the file's path. */
  readonly source: string | undefined;

  constructor(problems: readonly ConfigProblem[], source?: string) {
    super(problems.map((problem) => formatConfigProblem(problem, source)).join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
    this.source = source;
  }
}

/** `file:line:column: path: message (hint)`, leaving out what is not known. */
export function formatConfigProblem(problem: ConfigProblem, source?: string): string {
  const place = [source, problem.line, problem.column].filter((part) => part !== undefined).join(':');
  const parts = [place, problem.path].filter((part) => part !== '');
  const hint = problem.hint === undefined ? '' : ` (${problem.hint})`;
  return `${parts.map((part) => `${part}: `).join('')}${problem.message}${hint}`;
}

/** A system call or library call failed. */
export class SyscallError extends Error {
  /** The call, such as `bpf_link_create`. */
  readonly call: string;
  /** Positive errno value (errno(3)). */
  readonly errno: number;
  /** Symbolic name, such as `EBUSY`. */
  readonly code: string;

  constructor(call: string, errno: number, hint?: string) {
    const code = errnoName(errno);
    super(`${call}: ${code}${hint === undefined ? '' : `: ${hint}`}`);
    this.name = 'SyscallError';
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}

/** Names of errno(3), and of the kernel's own errno.h, that Node does not know and bpf(2) or netlink(7) can give. */
const errnoNames: { readonly [errno: number]: string } = {
  37: 'ENOLCK',
  42: 'ENOMSG',
  61: 'ENODATA',
  62: 'ETIME',
  67: 'ENOLINK',
  77: 'EBADFD',
  116: 'ESTALE',
  129: 'EKEYREJECTED',
  512: 'ERESTARTSYS',
  524: 'ENOTSUPP',
};

/** Symbolic name of a positive errno value; `errno N` when it has none. */
export function errnoName(errno: number): string {
  const name = errnoNames[errno];
  if (name !== undefined) return name;
  try {
    // Of what it does not know Node says `Unknown system error -N`, or throws.
    const known = getSystemErrorName(-errno);
    return known.startsWith('Unknown') ? `errno ${errno}` : known;
  } catch {
    return `errno ${errno}`;
  }
}

/** The kernel's verifier refused a program. The message is two lines; the whole log is in `log`. */
export class VerifierError extends Error {
  readonly log: string;

  constructor(program: string, errno: number, log: string) {
    const lines = log.split('\n').filter((line) => line.trim() !== '');
    super(`the kernel refused ${program} (${errnoName(errno)})\n${lines.slice(-2).join(' | ')}`);
    this.name = 'VerifierError';
    this.log = log;
  }
}

/** The machine lacks a feature that the operation needs. */
export class UnsupportedFeature extends Error {
  readonly feature: string;

  constructor(feature: string, remedy: string) {
    super(`${feature} is not available here: ${remedy}`);
    this.name = 'UnsupportedFeature';
    this.feature = feature;
  }
}

/** A message meant for the operator as it stands, with the exit code it leads to. */
export class OperatorError extends Error {
  readonly exitCode: number;

  constructor(message: string, code: number = exitCode.failure) {
    super(message);
    this.name = 'OperatorError';
    this.exitCode = code;
  }
}

/** Our own invariant is broken: the process must exit; the kernel goes on forwarding. */
export class InvariantError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'InvariantError';
  }
}

/** Marks a place that the types say is unreachable; throws InvariantError. */
export function unreachable(value: never): never {
  throw new InvariantError(`unexpected value ${JSON.stringify(value)}`);
}
