import { SyscallError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { type IpAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import { objectTypes, structLayout } from './bpf-objects.ts';
import { ipProtocol } from './map-codec.ts';

/** An address and port whose connections or datagrams go to the proxy. */
export interface ProxyListener {
  readonly address: IpAddress;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

/** The listeners that sk_lookup hands to the proxy. */
export interface ListenerTable {
  /**
   * Makes the kernel's set equal to `listeners`, with one more entry for each address; returns how many
   * entries changed. Throws SyscallError.
   */
  replace(listeners: readonly ProxyListener[]): number;
}

/** Typed access to the map `l7_listeners`. */
export function createListenerTable(fd: number): ListenerTable {
  const layout = structLayout(objectTypes('l7_lookup'), 'vip_key');
  return {
    replace(listeners) {
      const wanted = new Map<string, Uint8Array>();
      const want = (address: IpAddress, port: number, protocol: number) => {
        const key = encodeStruct(layout, { address: toMappedBytes(address), port, protocol });
        wanted.set(Buffer.from(key).toString('hex'), key);
      };
      for (const { address, port, protocol } of listeners) want(address, port, ipProtocol[protocol]);
      // After the listeners: their address as a whole, whose other ports are refused.
      for (const { address } of listeners) want(address, 0, 0);
      let changes = 0;
      for (const key of libbpf.mapKeys(fd, layout.size)) {
        if (wanted.delete(Buffer.from(key).toString('hex'))) continue;
        libbpf.deleteElement(fd, key);
        changes += 1;
      }
      for (const key of wanted.values()) {
        try {
          libbpf.updateElement(fd, key, new Uint8Array(4));
        } catch (error) {
          if (error instanceof SyscallError && error.code === 'E2BIG') {
            throw new SyscallError('add listener', error.errno, 'the map of proxied listeners is full');
          }
          throw error;
        }
        changes += 1;
      }
      return changes;
    },
  };
}
