# What the machines of the lab have in common. Sourced by the script of each role, which runs as root from the
# repository's copy in /vagrant. The machine's own files (from TOPOLOGY.json) lie in /etc/l4d-lab/files.
set -eu

provision=/vagrant/tools/provision
export DEBIAN_FRONTEND=noninteractive

# Installs packages that are not there yet.
install_packages() {
  for package in "$@"; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
      apt-get -q update
      apt-get -q -y --no-install-recommends install "$@"
      return
    fi
  done
}

# Puts one of the machine's files in place: place /etc/frr/frr.conf 640 frr:frr
place() {
  install -D -m "$2" "/etc/l4d-lab/files$1" "$1"
  chown "$3" "$1"
}

# Names the lab's interfaces, and sets up addresses, routes and kernel settings, now and at every start.
set_up_network() {
  install_packages iproute2 procps
  place /etc/l4d-lab/network.sh 755 root:root
  place /etc/l4d-lab/links 644 root:root
  install -m 755 "$provision/name-links.sh" /etc/l4d-lab/name-links.sh
  cat >/etc/systemd/system/l4d-lab-network.service <<'UNIT'
[Unit]
Description=Interfaces, addresses and routes of the l4d lab
After=network.target
Before=frr.service nginx.service l4d.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/l4d-lab/name-links.sh /etc/l4d-lab/links
ExecStart=/bin/sh /etc/l4d-lab/network.sh

[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet l4d-lab-network.service
  systemctl restart l4d-lab-network.service
}
