import { expect, test } from 'vitest';
import { backendUnit } from './backend-unit.ts';

test('the unit has the words as they were given, quoted where systemd would read them otherwise', () => {
  const unit = backendUnit(
    ['/opt/a b/l4ctl', 'backend', 'setup', '--pins', '/sys/fs/bpf/50%$x'],
    ['/usr/bin/l4ctl', 'backend', 'teardown', '--vip', '2001:db8::10'],
  );
  expect(unit).toContain('ExecStart="/opt/a b/l4ctl" backend setup --pins /sys/fs/bpf/50%%$$x\n');
  expect(unit).toContain('ExecStop=-/usr/bin/l4ctl backend teardown --vip 2001:db8::10\n');
  expect(unit).toMatch(/^WantedBy=multi-user\.target$/m);
});
