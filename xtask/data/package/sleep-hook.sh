#!/bin/sh
# Run by systemd before and after the machine sleeps. The module itself gives the machine back before sleep, whoever asks for
# it; this starts Plinth again, with the same options, where it ran before.
marker=/run/plinth/sleeps

case "$1" in
pre)
	if /usr/sbin/vmmctl status >/dev/null 2>&1; then
		mkdir -p /run/plinth && : >"$marker"
	fi
	;;
post)
	if [ -e "$marker" ]; then
		rm -f "$marker"
		/usr/sbin/vmmctl restart
	fi
	;;
esac
