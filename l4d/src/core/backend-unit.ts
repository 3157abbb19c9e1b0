/** The unit of systemd that sets a backend up again at each start of its machine. Values only. */

import type { SetupCommand } from './backend-setup.ts';

/** Where the unit is written. */
export const unitPath = '/etc/systemd/system/l4d-backend.service';

/** Its name for systemctl. */
export const unitName = 'l4d-backend.service';

/** What has systemd take the unit. It is not started: what it does was done just now. */
export const persistCommands: readonly SetupCommand[] = [
  ['systemctl', 'daemon-reload'],
  ['systemctl', 'enable', unitName],
];

/** Content of the unit: the words of the setup and of its undoing, programs with absolute paths first. */
export function backendUnit(setup: readonly string[], teardown: readonly string[]): string {
  return `# Written by l4ctl backend setup --persist; gone with l4ctl backend teardown.
[Unit]
Description=l4d backend: VIPs, and the end of the balancers' tunnels
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${setup.map(unitWord).join(' ')}
ExecStop=-${teardown.map(unitWord).join(' ')}

[Install]
WantedBy=multi-user.target
`;
}

/** A word as systemd reads it back (systemd.service(5), "Command lines"). */
function unitWord(word: string): string {
  const escaped = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  if (/^[A-Za-z0-9@%$_./:+=,-]+$/.test(escaped)) return escaped;
  return `"${escaped.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
