#!/bin/sh
# Sets up an l4d host: the repository's copy in /opt/l4d with all it needs, and the daemon as a service.
. /vagrant/tools/provision/common.sh
install_packages nodejs npm rsync tcpdump
set_up_network
rsync -a --delete --exclude node_modules --exclude bpf/build /vagrant/ /opt/l4d/
sh /opt/l4d/tools/setup/setup.sh
for program in l4d l4ctl l4-announcer l4-proxy; do
  ln -sf "/opt/l4d/node_modules/.bin/$program" "/usr/local/bin/$program"
done
place /etc/l4d/l4d.yaml 644 root:root
cat >/etc/systemd/system/l4d.service <<'UNIT'
[Unit]
Description=l4d load balancer
After=l4d-lab-network.service
Requires=l4d-lab-network.service

[Service]
ExecStart=/usr/local/bin/l4d run --config /etc/l4d/l4d.yaml
Restart=always
RestartSec=1
# The announcer and the proxy outlive the daemon: packets and sessions go on while it restarts.
KillMode=process

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet l4d
systemctl restart l4d
