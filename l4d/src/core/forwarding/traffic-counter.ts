/** What went to a VIP or a backend since its entry was made. */
export interface TrafficCounter {
  readonly packets: number;
  /** Bytes of whole frames. */
  readonly bytes: number;
  /** TCP SYNs and first packets of UDP flows. */
  readonly flows: number;
}
