/** How a VIP's packets find their backend: what of the schedulers the data plane knows. */

/** Where the server's id stands in a QUIC connection id. */
export interface QuicIds {
  /** Config rotation bits, 0 to 6. */
  readonly configId: number;
  /** Bytes, 1 to 15. */
  readonly serverIdLength: number;
}

/** How the data plane chooses among the slots of a VIP's table. */
export interface BackendSelection {
  /**
   * `hash`: the slot that the client's address and ports stand for; `turn`: the next slot;
   * `load`: the less loaded backend of two slots by chance.
   */
  readonly by: 'hash' | 'turn' | 'load';
  /** Only so many first bits of the client's address are hashed, and no ports; 0: address and ports. */
  readonly sourceBits: number;
  /** No flow table: every packet is chosen by the hash. */
  readonly isStateless: boolean;
  /** Connection ids decide before anything else. */
  readonly quic: QuicIds | undefined;
}

/** By the hash of address and ports, with the flow table. */
export const usualSelection: BackendSelection = {
  by: 'hash',
  sourceBits: 0,
  isStateless: false,
  quic: undefined,
};

/** Whether two are the same to the data plane. */
export function sameSelection(one: BackendSelection, other: BackendSelection): boolean {
  return (
    one.by === other.by &&
    one.sourceBits === other.sourceBits &&
    one.isStateless === other.isStateless &&
    one.quic?.configId === other.quic?.configId &&
    one.quic?.serverIdLength === other.quic?.serverIdLength
  );
}
