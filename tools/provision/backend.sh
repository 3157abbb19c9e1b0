#!/bin/sh
# Sets up a backend: nginx that answers with its name, and files to download.
. /vagrant/tools/provision/common.sh
install_packages nginx tcpdump
set_up_network
place /etc/nginx/nginx.conf 644 root:root
install -d /srv/l4d-lab/tmp /srv/l4d-lab/www/big
for size in 1k 1m 10m 100m 1g; do
  truncate -s "$(echo "$size" | tr kmg KMG)" "/srv/l4d-lab/www/big/$size"
done
systemctl enable --quiet nginx
systemctl restart nginx
