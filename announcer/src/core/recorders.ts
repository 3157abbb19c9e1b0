import { createFlightRecorder, type FlightRecorder, type RecorderBounds } from './flight-recorder.ts';

/** Recorders kept of peers that are gone; the one that is gone the longest goes first. */
export const maxPastRecorders = 64;

/** The flight recorders of all peers, also of those that were removed. */
export interface Recorders {
  /** The recorder of a peer that is there: the one it had, or a new one. By canonical address. */
  take(address: string): FlightRecorder;
  /** The peer is gone; its recorder stays for a while. */
  release(address: string): void;
  find(address: string): FlightRecorder | undefined;
  /** Addresses of peers that are gone and still have a record. */
  past(): readonly string[];
}

/** No recorders. */
export function createRecorders(bounds?: RecorderBounds): Recorders {
  const present = new Map<string, FlightRecorder>();
  const past = new Map<string, FlightRecorder>();
  return {
    take(address) {
      const recorder = present.get(address) ?? past.get(address) ?? createFlightRecorder(bounds);
      past.delete(address);
      present.set(address, recorder);
      return recorder;
    },
    release(address) {
      const recorder = present.get(address);
      if (recorder === undefined) return;
      present.delete(address);
      past.set(address, recorder);
      for (const oldest of past.keys()) {
        if (past.size <= maxPastRecorders) break;
        past.delete(oldest);
      }
    },
    find: (address) => present.get(address) ?? past.get(address),
    past: () => [...past.keys()],
  };
}
