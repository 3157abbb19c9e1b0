#!/bin/sh
# Sets up a client: an address of its own behind both routers, and tools to ask with.
. /vagrant/tools/provision/common.sh
install_packages curl iperf3 iputils-ping tcpdump
set_up_network
