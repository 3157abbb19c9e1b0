/** What a soak is told on the command line. */
export interface SoakOptions {
  /** How often the thing is done; the soak's own number when left out. */
  readonly count?: number;
  /** For how long, of those that run for a time; the soak's own number when left out. */
  readonly minutes?: number;
  /** The same in seconds, of those that take minutes at most. */
  readonly seconds?: number;
  /** Where the pseudo-random numbers start, so that a failure can be repeated. */
  readonly seed: number;
  /** Of those that run test files: those that are meant, by parts of their paths; all when left out. */
  readonly files?: readonly string[];
  /** Tells its progress, line by line. */
  readonly say: (line: string) => void;
}

/** A proof that is too long for `npm test`. Its run throws when what it names does not hold. */
export interface Soak {
  readonly name: string;
  readonly summary: string;
  /** Loads the soak's module on demand, so that one needs nothing of the others. */
  load(): Promise<{ run(options: SoakOptions): Promise<string> }>;
}
