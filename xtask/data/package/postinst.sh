#!/bin/sh
# Builds the module for the kernels that are installed, as DKMS's own packages do.
set -e

if [ "$1" = configure ]; then
	if [ -x /usr/lib/dkms/common.postinst ]; then
		/usr/lib/dkms/common.postinst plinth @VERSION@ "" "" "$2"
	fi
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
	fi
fi
