#!/bin/sh
# Gives the machine back and takes the module away, before its files go.
set -e

if [ "$1" = remove ] || [ "$1" = upgrade ] || [ "$1" = deconfigure ]; then
	if [ -d /run/systemd/system ]; then
		systemctl stop plinth.service || true
	fi
	if [ -e /dev/plinth ]; then
		/usr/sbin/vmmctl stop >/dev/null 2>&1 || true
		rmmod plinth || true
	fi
	if command -v dkms >/dev/null; then
		dkms remove -m plinth -v @VERSION@ --all || true
	fi
fi
