import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { type ProxiedVip, proxyDesired } from '../core/proxy-desired.ts';
import type { ProxyFollower } from '../io/companions.ts';
import type { ListenerTable, ProxyListener } from '../io/forwarding/listener-table.ts';
import { replaceLocalRoutes } from '../io/local-routes.ts';

/** Hands l7 VIPs to the proxy: its configuration, the kernel's routes, the listeners of sk_lookup. */
export interface ProxyHandoff {
  /**
   * Makes it so; `ending` are listeners that are withdrawn but still served. Resolves with how many
   * listeners changed. `force`: also when nothing seems to have changed. Rejects with SyscallError.
   */
  sync(proxied: readonly ProxiedVip[], ending: readonly ProxyListener[], force: boolean): Promise<number>;
  /** Why the proxy cannot serve; undefined when it can. */
  problem(): string | undefined;
}

/** Works with the proxy and the kernel's table of listeners. */
export function createProxyHandoff(proxy: ProxyFollower, listeners: ListenerTable): ProxyHandoff {
  let last: string | undefined;
  return {
    async sync(proxied, ending, force) {
      const served: ProxyListener[] = [...proxied.map(({ vip }) => vip), ...ending];
      if (force) proxy.tellAgain();
      // A VIP that ends keeps its listener in the proxy until the end, without new desired state for it.
      if (served.length === 0) await proxy.follow(undefined);
      else if (ending.length === 0) await proxy.follow(proxyDesired(proxied));
      const text = served.map((vip) => `${formatIpAddress(vip.address)} ${vip.port}`).join();
      if (text === last && !force) return 0;
      await replaceLocalRoutes(served.map(({ address }) => address));
      const changes = listeners.replace(served.map(({ address, port }) => ({ address, port })));
      last = text;
      return changes;
    },
    problem() {
      const refusal = proxy.refusal();
      if (refusal !== undefined) return `it refuses its configuration: ${refusal}`;
      if (!proxy.inSync()) return 'it does not answer';
      return proxy.status()?.registered === true ? undefined : 'its sockets are not registered';
    },
  };
}
