#!/bin/sh
# What a person does who has installed the package, word by word as docs/late-launch.md has it.
exec > /dev/ttyS0 2>&1

fail() {
	echo "TEST debian FAILED: $*"
	journalctl --unit plinth --no-pager | tail -n 20
	dmesg | tail -n 20
	systemctl poweroff
	exit 0
}

# Runs a command that must end with status 0. What it says is shown, and kept for `has`.
run() { ends_with 0 "$@"; }
# The same with another status.
ends_with() {
	wanted=$1
	shift
	echo "\$ $*"
	"$@" > /tmp/out 2>&1
	status=$?
	head -n 40 /tmp/out
	[ $status = "$wanted" ] || fail "$* ended with $status, not with $wanted"
}
# The last command said such a line.
has() { grep -q -E "$1" /tmp/out || fail "no line '$1'"; }

run dkms status
has '^plinth/.*: installed$'
[ "$(systemctl is-enabled plinth)" = disabled ] || fail "the service is enabled before anybody asked for it"
[ "$(systemctl is-active plinth)" = inactive ] || fail "the service runs before anybody asked for it"
ends_with 3 vmmctl status

run modprobe plinth
ends_with 8 vmmctl status
run vmmctl check
run systemctl start plinth
[ "$(systemctl is-active plinth)" = active ] || fail "the service does not run"
run vmmctl status
has '[Ee]xtension'
run vmmctl status --json
for format in perfetto chrome csv; do
	run vmmctl trace --duration 1 --format $format -o /tmp/trace.$format
	[ -s /tmp/trace.$format ] || fail "the trace in format $format is empty"
done
run vmmctl dump
has 'launched; the OS is the root VM now'
run systemctl restart plinth
run systemctl stop plinth
ends_with 8 vmmctl status
run vmmctl dump
has 'it runs the bare machine again'
run rmmod plinth
dmesg | grep -E 'BUG:|WARNING: CPU|Oops|Call Trace' && fail "Linux has complained"
man -w vmmctl > /dev/null 2>&1 || [ -f /usr/share/man/man8/vmmctl.8.gz ] || fail "there is no manual page"
run systemctl enable plinth
echo "TEST debian cpus=$(nproc) ok"
systemctl poweroff
