/** Where clients of each kind go. */
export interface DayPorts {
  /** Workers that live all day. */
  readonly http: number;
  readonly tls: number;
  readonly tcp: number;
  readonly connect: number;
  readonly socks: number;
  /** The one whose worker is killed now and then. */
  readonly struck: number;
  readonly backend: number;
}

/** What clients have done, by kind, and what has failed, by kind and reason. */
export interface DayReport {
  readonly done: Readonly<Record<string, number>>;
  readonly failed: Readonly<Record<string, number>>;
}
