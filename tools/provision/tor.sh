#!/bin/sh
# Sets up a top-of-rack router: FRR's zebra and bgpd.
. /vagrant/tools/provision/common.sh
install_packages frr tcpdump
set_up_network
sed -i 's/^bgpd=.*/bgpd=yes/' /etc/frr/daemons
place /etc/frr/frr.conf 640 frr:frr
systemctl enable --quiet frr
systemctl restart frr
