import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { TunnelSettings } from './tunnel-settings.ts';

/** An interface by which packets leave, as the data plane should hold it. */
export interface Egress {
  readonly name: string;
  /** As the kernel counts interfaces. */
  readonly interfaceIndex: number;
  readonly mac: MacAddress;
  /** Bytes of IP in a frame. */
  readonly mtu: number;
  /** How packets for tunnelled backends are wrapped there. */
  readonly tunnel: TunnelSettings;
}
