import { unreachable } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { ForwardingOperation } from './forwarding-plan.ts';

/** An operation on a VIP's forwarding in words. */
export function describeOperation(vipName: string, operation: ForwardingOperation): string {
  switch (operation.kind) {
    case 'write-backend': {
      const { backend, isNew } = operation;
      const what = `backend ${formatIpAddress(backend.address)} of ${vipName} as ${backend.state}`;
      return isNew ? `add ${what}` : `write ${what}`;
    }
    case 'write-vip':
      return operation.table === 'unchanged'
        ? `write the settings of ${vipName}`
        : `swap in a Maglev table of ${vipName} with ${operation.table.length} backends`;
    case 'free-backend':
      return `free backend ${formatIpAddress(operation.address)} of ${vipName}`;
    default:
      return unreachable(operation);
  }
}
